"""Measures what gates need to know: models in their own environment, tables, entry points, files of the registry.

What cannot be measured comes back as `Unmeasured` with the reason, and the gate that asked says no: promotion fails
closed. A store that is away is not a measurement and raises.
"""

from __future__ import annotations

import hashlib
import json
import os
import re
import shlex
import sys
import tempfile
import threading
import uuid
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from mlgate.errors import OrchestratorError, UsageError
from mlgate.gates.evidence import (
    CheckOutcome,
    CheckRun,
    ColumnPair,
    Columns,
    Evaluation,
    EvaluationResult,
    History,
    LatencyOf,
    ModelFacts,
    Need,
    Quality,
    Side,
    SignatureOf,
    SizeOf,
    Unmeasured,
)
from mlgate.tracking import Tracking
from mlgate_projects.errors import ProjectError
from mlgate_projects.spec import EnvSpec, SystemSpec, VirtualenvSpec
from mlgate_tracking.artifacts import ArtifactRepository
from mlgate_tracking.errors import InvalidParameterValue, ResourceDoesNotExist, TemporarilyUnavailable, TrackingError

Asked = tuple[Side, Need[Any]]

_REMOTE = re.compile(r"[A-Za-z][A-Za-z0-9+.-]*:/")
_SCRIPT = Path(__file__).with_name("measure_model.py")


@dataclass
class Measurer:
    """Measures needs; keeps what it downloads for as long as it lives (use it as a context manager, or let it go).

    Attributes:
        base: directory that relative paths of datasets and projects are relative to.
        env_manager: `local` measures models with the running interpreter; None in the environment they came with.
        timeout: seconds for one model's measurements.
        digests: of what was measured, by the names that verdicts use (`model`, `champion`, `data`).
    """

    tracking: Tracking
    base: Path = field(default_factory=Path.cwd)
    env_manager: str | None = None
    timeout: float = 900.0
    progress: Callable[[str], None] = lambda _line: None
    digests: dict[str, str] = field(default_factory=dict)
    _models: dict[tuple[str, int], Path] = field(default_factory=dict)
    _files: dict[str, Path] = field(default_factory=dict)
    _scratch: tempfile.TemporaryDirectory[str] | None = None

    def measure(
        self, needs: Sequence[Asked], candidate: ModelFacts, champion: ModelFacts | None
    ) -> Mapping[Asked, Any]:
        """A measurement or `Unmeasured` for each need."""
        found: dict[Asked, Any] = {}
        for side, facts in ((Side.CANDIDATE, candidate), (Side.CHAMPION, champion)):
            if facts is None:
                continue
            mine = [need for asked, need in needs if asked is side]
            in_model = [need for need in mine if isinstance(need, Evaluation | LatencyOf)]
            if in_model:
                found |= {(side, need): value for need, value in self._in_model(in_model, facts, side).items()}
            for need in mine:
                if (side, need) not in found:
                    found[side, need] = self._guarded(need, facts, side)
        return found

    def _guarded(self, need: Need[Any], facts: ModelFacts, side: Side) -> Any:
        try:
            return self._measure(need, facts, side)
        except TemporarilyUnavailable:
            raise
        except (OrchestratorError, ProjectError, TrackingError, OSError) as error:
            return Unmeasured(str(error))

    def _measure(self, need: Need[Any], facts: ModelFacts, side: Side) -> Any:
        match need:
            case History():
                return self._history(need, facts)
            case SignatureOf():
                return self._signature(facts)
            case SizeOf():
                return self._size(facts, side)
            case Columns():
                return self._columns(need)
            case Quality():
                from mlgate.quality import check_table

                return check_table(self.file(need.data), json.loads(need.rules))
            case CheckRun():
                return self._check_run(need, facts)
        return Unmeasured(f"nobody here knows how to measure {type(need).__name__}")

    # --- from the store -----------------------------------------------------------------------------------------

    def _history(self, need: History, facts: ModelFacts) -> tuple[float, ...]:
        if facts.run_id is None:
            return ()
        values: list[float] = []
        token: str | None = None
        while True:
            page = self.tracking.store.metric_history(facts.run_id, need.metric, max_results=25_000, page_token=token)
            values += [metric.value for metric in page.items]
            token = page.token
            if token is None:
                return tuple(values)

    def _repository(self, facts: ModelFacts) -> tuple[ArtifactRepository, str]:
        from mlgate.fetch import locate

        root, path = locate(self.tracking.store, f"models:/{facts.model}/{facts.version}")
        return self.tracking.repository(root), path

    def _signature(self, facts: ModelFacts) -> Mapping[str, Any] | None:
        import yaml

        repository, path = self._repository(facts)
        name = f"{path}/MLmodel" if path else "MLmodel"
        text = b"".join(repository.download(name)).decode()
        about = yaml.safe_load(text) or {}
        return decoded_signature(about.get("signature")) if isinstance(about, dict) else None

    def _size(self, facts: ModelFacts, side: Side) -> int:
        repository, path = self._repository(facts)
        files = sorted(_files_below(repository, path))
        if not files:
            raise ResourceDoesNotExist(f"{facts} has no files at {facts.source}")
        self._note("model" if side is Side.CANDIDATE else "champion", [[name, size] for name, size in files])
        return sum(size for _, size in files)

    # --- models in their environment ------------------------------------------------------------------------------

    def _in_model(self, needs: Sequence[Need[Any]], facts: ModelFacts, side: Side) -> dict[Need[Any], Any]:
        """All measurements of one model in one process."""
        try:
            jobs = [self._job(need) for need in needs]
            answer = self._run_model(facts, side, jobs)
        except TemporarilyUnavailable:
            raise
        except (OrchestratorError, ProjectError, TrackingError, OSError) as error:
            return dict.fromkeys(needs, Unmeasured(str(error)))
        if "problem" in answer:
            return dict.fromkeys(needs, Unmeasured(str(answer["problem"])))
        return {need: _measured(need, one) for need, one in zip(needs, answer["results"], strict=True)}

    def _job(self, need: Need[Any]) -> dict[str, Any]:
        if isinstance(need, LatencyOf):
            dataset = str(self.file(need.dataset)) if need.dataset else None
            return {"kind": "latency", "repeats": need.repeats, "warmup": need.warmup, "dataset": dataset}
        assert isinstance(need, Evaluation)
        dataset = str(self.file(need.dataset))
        return {
            "kind": "evaluate",
            "dataset": dataset,
            "target": need.target,
            "task": need.task,
            "function": need.function,
        }

    def _run_model(self, facts: ModelFacts, side: Side, jobs: list[dict[str, Any]]) -> dict[str, Any]:
        from mlgate_projects.envs import EnvOptions, environment_for, inherited_variables
        from mlgate_projects.process import ProcessRequest, Stream
        from mlgate_tracking.kit import stage

        directory = self.model(facts)
        self._note("model" if side is Side.CANDIDATE else "champion", sorted(_digests_below(directory)))
        spec = environment_of(directory) if self.env_manager is None else SystemSpec()
        settings = self.tracking.settings
        environment = environment_for(spec.kind)
        options = EnvOptions(cache_root=settings.envs, project_directory=directory, offline=settings.offline)
        prepared = environment.prepare(spec, options, self.progress)
        place = Path(tempfile.mkdtemp(dir=self.scratch))
        (place / "request.json").write_text(json.dumps({"model": str(directory), "jobs": jobs}))
        python = prepared.python or sys.executable
        variables = inherited_variables(spec.kind, os.environ)
        search = os.pathsep.join([str(stage(settings.kit)), str(self.base)])
        output: list[bytes] = []

        def on_output(stream: Stream, data: bytes) -> None:
            if stream is Stream.STDERR:
                output.append(data)

        request = ProcessRequest(
            argv=(),
            cwd=self.base,
            env={**variables, "PYTHONPATH": search, "MLGATE_AUTOLOG": "0"},
            timeout=self.timeout,
        )
        command = shlex.join([python, str(_SCRIPT), str(place / "request.json"), str(place / "answer.json")])
        outcome = environment.run(prepared, command, request, on_output, threading.Event(), lambda _about: None)
        answer = place / "answer.json"
        if not answer.exists():
            lines = b"".join(output).decode(errors="replace").strip().splitlines()
            said = f": {lines[-1]}" if lines else ""
            raise UsageError(f"measuring {facts} ended with exit code {outcome.exit_code}{said}")
        found: dict[str, Any] = json.loads(answer.read_text())
        return found

    def model(self, facts: ModelFacts) -> Path:
        """The model's files on this machine."""
        key = (facts.model, facts.version)
        if key not in self._models:
            target = Path(tempfile.mkdtemp(dir=self.scratch))
            self._models[key] = self.tracking.fetch(f"models:/{facts.model}/{facts.version}", target)
        return self._models[key]

    # --- tables ---------------------------------------------------------------------------------------------------

    def file(self, uri: str) -> Path:
        """A dataset on this machine: a path relative to `base`, or whatever `mlgate.fetch` can bring."""
        if uri not in self._files:
            path = uri.removeprefix("file://")
            if _REMOTE.match(path):
                found = self.tracking.fetch(uri, Path(tempfile.mkdtemp(dir=self.scratch)))
            else:
                found = self.base / path
                if not found.is_file():
                    raise UsageError(f"{uri}: no such file in {self.base}")
            self._files[uri] = found
            self._note("data", sorted(f"{name} {_sha256(path)}" for name, path in self._files.items()))
        return self._files[uri]

    def _columns(self, need: Columns) -> Mapping[str, ColumnPair]:
        from mlgate.tables import read_table

        old, new = read_table(self.file(need.reference)), read_table(self.file(need.current))
        names = [name for name in (need.columns or old) if name in old and name in new]
        return {
            name: ColumnPair(
                tuple(value for value in old[name] if value is not None),
                tuple(value for value in new[name] if value is not None),
            )
            for name in names
        }

    # --- entry points -----------------------------------------------------------------------------------------------

    def _check_run(self, need: CheckRun, facts: ModelFacts) -> CheckOutcome:
        from mlgate.runner import Hooks, run_step
        from mlgate.step import Engine, Step

        project = need.project or facts.tags.get("mlflow.source.git.repoURL") or facts.tags.get("mlflow.source.name")
        if not project:
            raise UsageError(f"tests: {facts} does not say which project made it; add project: to the gate")
        version = need.version or (facts.tags.get("mlflow.source.git.commit") if need.project is None else None)
        if need.project is not None and "://" not in project and (self.base / project).is_dir():
            project = str(self.base / project)
        elif Path(project.partition("#")[0]).is_dir():
            version = None  # a local directory is used as it is
        words = {
            "model_uri": f"models:/{facts.model}/{facts.version}",
            "model": facts.model,
            "version": str(facts.version),
            "run_id": facts.run_id or "",
        }
        step = Step(
            uri=project,
            engine=Engine("gate", f"gate-{uuid.uuid4().hex}"),
            name=f"tests-{need.entry_point}",
            entry_point=need.entry_point,
            parameters={name: _filled(value, words) for name, value in need.parameters},
            version=version,
            env_manager=self.env_manager,
            timeout=need.timeout,
            tags={"mlgate.gate": "tests", "mlgate.model": f"{facts.model}/{facts.version}"},
        )
        done = run_step(
            step,
            settings=self.tracking.settings,
            hooks=Hooks(progress=self.progress),
            working_directory=self.base,
            tracking=self.tracking,
        )
        return CheckOutcome(done.exit_code if not done.ok else 0, done.run_id, done.reason)

    # --- life -----------------------------------------------------------------------------------------------------

    @property
    def scratch(self) -> str:
        if self._scratch is None:
            self._scratch = tempfile.TemporaryDirectory(prefix="mlgate-evidence-", ignore_cleanup_errors=True)
        return self._scratch.name

    def close(self) -> None:
        """Remove what was downloaded. Safe to call twice; the measurer can be used again."""
        self._models.clear()
        self._files.clear()
        if self._scratch is not None:
            self._scratch.cleanup()
            self._scratch = None

    def __enter__(self) -> Measurer:
        return self

    def __exit__(self, *_exc: object) -> None:
        self.close()

    def _note(self, name: str, content: Any) -> None:
        self.digests[name] = hashlib.sha256(json.dumps(content, default=str).encode()).hexdigest()


def environment_of(directory: Path) -> EnvSpec:
    """The environment that a model's files ask for, with what scoring needs besides."""
    import yaml

    file = directory / "python_env.yaml"
    extra = ("pandas", "scikit-learn")
    if file.is_file():
        data = yaml.safe_load(file.read_text()) or {}
        if not isinstance(data, dict):
            raise InvalidParameterValue(f"{file}: is not a python_env.yaml")
        python = data.get("python")
        lines = [str(line) for line in data.get("dependencies") or []]
        builds = tuple(str(line) for line in data.get("build_dependencies") or [])
        return VirtualenvSpec(
            file="python_env.yaml",
            python=None if python is None else str(python),
            build_dependencies=builds,
            dependencies=(*lines, *extra),
        )
    if (directory / "requirements.txt").is_file():
        return VirtualenvSpec(file="requirements.txt", dependencies=("-r requirements.txt", *extra))
    return SystemSpec()


def decoded_signature(signature: Any) -> Mapping[str, Any] | None:
    """A signature of an MLmodel file, whose parts are JSON texts, as data; None when it says nothing."""
    if not isinstance(signature, dict):
        return None
    parts: dict[str, Any] = {}
    for name in ("inputs", "outputs", "params"):
        value = signature.get(name)
        parts[name] = json.loads(value) if isinstance(value, str) and value.strip() else value
    return parts if any(parts.values()) else None


def _measured(need: Need[Any], answer: Mapping[str, Any]) -> Any:
    if "problem" in answer:
        return Unmeasured(str(answer["problem"]))
    if isinstance(need, LatencyOf):
        return tuple(answer["samples"])
    return EvaluationResult(answer["metrics"], tuple(answer["expected"]), tuple(answer["predicted"]))


def _filled(value: str, words: Mapping[str, str]) -> str:
    for name, word in words.items():
        value = value.replace(f"{{{name}}}", word)
    return value


def _files_below(repository: ArtifactRepository, path: str) -> Iterator[tuple[str, int]]:
    token: str | None = None
    while True:
        page = repository.list(path, page_token=token)
        for entry in page.items:
            if entry.is_dir:
                yield from _files_below(repository, entry.path)
            else:
                yield entry.path, entry.size or 0
        token = page.token
        if token is None:
            return


def _digests_below(directory: Path) -> Iterator[tuple[str, str]]:
    for path in directory.rglob("*"):
        if path.is_file():
            yield path.relative_to(directory).as_posix(), _sha256(path)


def _sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


__all__ = ["Measurer", "decoded_signature", "environment_of"]
