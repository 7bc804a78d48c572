"""The grammar of `pipelines:` in an MLproject: plain data in, typed steps or every mistake out.

What is checked here can be said of the file alone. References, the graph, entry points and types of values need the
whole project and are checked by `mlgate.plan`.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from mlgate.references import has_references
from mlgate.units import seconds
from mlgate_projects.errors import Problem
from mlgate_projects.spec import Parameter, RawPipeline

_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_-]*")

PIPELINE_KEYS = ("description", "parameters", "experiment", "defaults", "steps", "finally")
DEFAULT_KEYS = ("retries", "timeout", "cache", "environment", "env", "secrets", "tags", "autolog", "experiment")
COMMON_KEYS = ("needs", "when", "description", "tags", "experiment", "run_name")
RUN_KEYS = (
    "entry_point", "parameters", "matrix", "select", "retries", "timeout", "cache", "environment", "env", "secrets",
    "autolog",
)  # fmt: skip
PROMOTE_KEYS = (
    "model", "source", "version", "to", "gates", "policy", "mode", "on_reject", "archive", "expires", "ladder",
    "health", "comment",
)  # fmt: skip
GATE_KEYS = ("model", "source", "version", "to", "gates", "policy", "mode", "on_reject", "expires")
RETRY_KEYS = ("count", "delay", "backoff", "max_delay")
CACHE_KEYS = ("files", "key", "expires")
SELECT_KEYS = ("metric", "mode", "failed")
ENVIRONMENT_FILES = ("python_env", "conda_env", "docker_env")
ENVIRONMENT_KEYS = ("manager", *ENVIRONMENT_FILES, "python", "strict_python", "locked", "offline", "docker_args")
MANAGERS = ("virtualenv", "conda", "docker", "system", "local", "uv", "external")


@dataclass(frozen=True, slots=True)
class Retries:
    """How often a failed attempt is repeated, and after how many seconds: delay, delay·backoff, delay·backoff², …"""

    count: int = 0
    delay: float = 0.0
    backoff: float = 1.0
    max_delay: float = 3600.0

    def wait_before(self, retry: int) -> float:
        """Seconds before the first (0), second (1), … retry."""
        return min(self.delay * self.backoff**retry, self.max_delay)


@dataclass(frozen=True, slots=True)
class Select:
    """Which instance of a matrix goes on: the one with the best `metric`. `failed`: whether failures may be ignored."""

    metric: str
    mode: str = "max"
    failed: str = "fail"


@dataclass(frozen=True, slots=True)
class CacheRule:
    """That a step's result may be used again: the files that count (patterns; none for all), extra text, seconds."""

    files: tuple[str, ...] = ()
    key: str = ""
    expires: float | None = None


@dataclass(frozen=True, slots=True)
class PipelineStep:
    """One step as the file has it; texts may hold references.

    Attributes:
        kind: `run`, `promote` or `gate`.
        matrix: as written; None for a step that runs once.
        manager, environment, env_options: environment manager; declaration like the project's; options of its kind.
        action: body of a promote or gate step.
        final: stands under `finally`, so it runs whatever happened before.
        line: where it stands in the file.
    """

    name: str
    kind: str = "run"
    entry_point: str = "main"
    parameters: Mapping[str, Any] = field(default_factory=dict)
    needs: tuple[str, ...] = ()
    matrix: Any = None
    select: Select | None = None
    retries: Retries = field(default_factory=Retries)
    timeout: float | None = None
    cache: CacheRule | None = None
    when: str | None = None
    manager: str | None = None
    environment: Mapping[str, Any] | None = None
    env_options: Mapping[str, Any] = field(default_factory=dict)
    env: Mapping[str, str] = field(default_factory=dict)
    secrets: tuple[str, ...] = ()
    tags: Mapping[str, str] = field(default_factory=dict)
    experiment: str | None = None
    run_name: str | None = None
    autolog: bool | None = None
    action: Mapping[str, Any] = field(default_factory=dict)
    final: bool = False
    description: str = ""
    line: int = 0


@dataclass(frozen=True, slots=True)
class Pipeline:
    """A pipeline as the file has it."""

    name: str
    steps: tuple[PipelineStep, ...]
    parameters: tuple[Parameter, ...] = ()
    experiment: str | None = None
    description: str = ""
    file: str = "MLproject"
    line: int = 0


def read_pipeline(raw: RawPipeline, file: str = "MLproject") -> tuple[Pipeline, list[Problem]]:
    """The pipeline, as far as it can be understood, and every mistake in it."""
    reader = _Reader(raw, file)
    return reader.pipeline(), reader.problems


class _Reader:
    def __init__(self, raw: RawPipeline, file: str) -> None:
        self.raw = raw
        self.file = file
        self.problems: list[Problem] = []

    def error(self, path: Sequence[object], message: str) -> None:
        self.problems.append(problem_at(self.raw, self.file, path, message))

    # --- pipeline and steps -------------------------------------------------------------------------------------

    def pipeline(self) -> Pipeline:
        data = self.raw.data
        if not _NAME.fullmatch(self.raw.name):
            self.error((), "names are letters, digits, _ and -, beginning with a letter")
        self.known_keys(data, (), PIPELINE_KEYS)
        defaults = self.mapping(data.get("defaults"), ("defaults",))
        self.known_keys(defaults, ("defaults",), DEFAULT_KEYS)
        listed = self.mapping(data.get("steps"), ("steps",))
        if not listed:
            self.error(("steps",) if "steps" in data else (), "has no steps; add steps: {main: {entry_point: main}}")
        steps = [self.step(name, body, ("steps", name), defaults, final=False) for name, body in listed.items()]
        for name, body in self.mapping(data.get("finally"), ("finally",)).items():
            if name in listed:
                self.error(("finally", name), f"'{name}' is a step already; give it another name")
            else:
                steps.append(self.step(name, body, ("finally", name), defaults, final=True))
        return Pipeline(
            name=self.raw.name,
            steps=tuple(steps),
            parameters=tuple(
                self.parameter(str(name), body)
                for name, body in self.mapping(data.get("parameters"), ("parameters",)).items()
            ),
            experiment=self.text(data.get("experiment"), ("experiment",)),
            description=self.text(data.get("description"), ("description",)) or "",
            file=self.file,
            line=self.raw.line,
        )

    def parameter(self, name: str, data: Any) -> Parameter:
        from mlgate_projects.parameters import canonical_type, mismatch

        path = ("parameters", name)
        line = place_of(self.raw, path)[0]
        if not _NAME.fullmatch(name):
            self.error(path, "names are letters, digits, _ and -, beginning with a letter")
        if isinstance(data, str):
            data = {"type": data}
        if not isinstance(data, Mapping):
            self.error(path, "must be a type such as float, or {type: float, default: 0.1}")
            return Parameter(name, line=line)
        self.known_keys(data, path, ("type", "default", "description"))
        type_name = str(data.get("type", "string"))
        if canonical_type(type_name) is None:
            self.error((*path, "type"), f"'{type_name}' is not a type; use string, float, int, bool, path or uri")
        default = data.get("default")
        text = None if default is None else str(default)
        if text is not None and (why := mismatch(type_name, text)):
            self.error((*path, "default"), why)
        return Parameter(name, type_name, text, line)

    def step(
        self, name: Any, data: Any, path: tuple[object, ...], defaults: Mapping[str, Any], *, final: bool
    ) -> PipelineStep:
        if not isinstance(name, str) or not _NAME.fullmatch(name):
            self.error(path, "names are letters, digits, _ and -, beginning with a letter")
        if not isinstance(data, Mapping):
            self.error(path, "must hold keys such as entry_point, needs, parameters")
            data = {}
        kinds = [kind for kind in ("entry_point", "promote", "gate") if kind in data]
        if len(kinds) > 1:
            self.error((*path, kinds[1]), f"{' and '.join(kinds)} exclude each other; make them two steps")
        kind = {"promote": "promote", "gate": "gate"}.get(kinds[0] if kinds else "", "run")
        self.known_keys(data, path, (*COMMON_KEYS, *(RUN_KEYS if kind == "run" else (kind,))))
        common: dict[str, Any] = {
            "name": str(name),
            "kind": kind,
            "needs": self.names(data.get("needs"), (*path, "needs")),
            "when": self.condition(data.get("when"), (*path, "when")),
            "tags": {
                **self.texts(defaults.get("tags"), ("defaults", "tags")),
                **self.texts(data.get("tags"), (*path, "tags")),
            },
            "experiment": self.text(data.get("experiment", defaults.get("experiment")), (*path, "experiment")),
            "run_name": self.text(data.get("run_name"), (*path, "run_name")),
            "description": self.text(data.get("description"), (*path, "description")) or "",
            "final": final,
            "line": place_of(self.raw, path)[0],
        }
        if kind != "run":
            return PipelineStep(**common, action=self.action(kind, data[kind], (*path, kind)))
        given = {key: (data[key], (*path, key)) for key in DEFAULT_KEYS if key in data}
        inherited = {key: (defaults[key], ("defaults", key)) for key in DEFAULT_KEYS if key in defaults}
        values = {**inherited, **given}

        def value(key: str) -> tuple[Any, Sequence[object]]:
            return values.get(key, (None, (*path, key)))

        manager, environment, options = self.environment(*value("environment"))
        matrix, select = data.get("matrix"), self.select(data.get("select"), (*path, "select"))
        if select is not None and matrix is None:
            self.error((*path, "select"), "selects among the settings of a matrix, and the step has none")
        return PipelineStep(
            **common,
            entry_point=self.text(data.get("entry_point", "main"), (*path, "entry_point")) or "main",
            parameters=self.mapping(data.get("parameters"), (*path, "parameters")),
            matrix=matrix,
            select=select,
            retries=self.retries(*value("retries")),
            timeout=self.duration(*value("timeout")),
            cache=self.cache(*value("cache")),
            manager=manager,
            environment=environment,
            env_options=options,
            env={**self.texts(*inherited.get("env", (None, ()))), **self.texts(*given.get("env", (None, ())))},
            secrets=self.names(*value("secrets")),
            autolog=self.flag(*value("autolog")),
        )

    # --- parts of a step ----------------------------------------------------------------------------------------

    def retries(self, data: Any, path: Sequence[object]) -> Retries:
        if data is None:
            return Retries()
        if not isinstance(data, Mapping):
            data = {"count": data}
        self.known_keys(data, path, RETRY_KEYS)
        backoff = data.get("backoff", 1.0)
        if not isinstance(backoff, int | float) or isinstance(backoff, bool) or not 1 <= backoff <= 100:
            self.error((*path, "backoff"), f"{backoff!r} is not a factor from 1 to 100, as in backoff: 2")
            backoff = 1.0
        return Retries(
            count=self.whole(data.get("count", 1), (*path, "count")),
            delay=self.duration(data.get("delay"), (*path, "delay")) or 0.0,
            backoff=float(backoff),
            max_delay=self.duration(data.get("max_delay"), (*path, "max_delay")) or 3600.0,
        )

    def cache(self, data: Any, path: Sequence[object]) -> CacheRule | None:
        if data is None or data is False:
            return None
        if data is True:
            return CacheRule()
        if not isinstance(data, Mapping):
            self.error(path, "must be true, false, or options such as {files: [prepare_data.py, src/**]}")
            return None
        self.known_keys(data, path, CACHE_KEYS)
        return CacheRule(
            files=self.names(data.get("files"), (*path, "files")),
            key=self.text(data.get("key"), (*path, "key")) or "",
            expires=self.duration(data.get("expires"), (*path, "expires")),
        )

    def select(self, data: Any, path: Sequence[object]) -> Select | None:
        if data is None:
            return None
        if not isinstance(data, Mapping) or not isinstance(data.get("metric"), str):
            self.error(path, "needs a metric, as in {metric: accuracy, mode: max}")
            return None
        self.known_keys(data, path, SELECT_KEYS)
        return Select(
            metric=data["metric"],
            mode=self.one_of(data.get("mode", "max"), (*path, "mode"), ("max", "min")),
            failed=self.one_of(data.get("failed", "fail"), (*path, "failed"), ("fail", "ignore")),
        )

    def environment(
        self, data: Any, path: Sequence[object]
    ) -> tuple[str | None, Mapping[str, Any] | None, Mapping[str, Any]]:
        if data is None:
            return None, None, {}
        if isinstance(data, str):
            return self.one_of(data, path, MANAGERS), None, {}
        if not isinstance(data, Mapping):
            self.error(path, f"must be one of {', '.join(MANAGERS)}, or options such as {{python_env: other.yaml}}")
            return None, None, {}
        self.known_keys(data, path, ENVIRONMENT_KEYS)
        files = [kind for kind in ENVIRONMENT_FILES if kind in data]
        if len(files) > 1:
            self.error((*path, files[1]), f"{' and '.join(files)} exclude each other; keep one")
        manager = data.get("manager")
        if manager is not None:
            manager = self.one_of(manager, (*path, "manager"), MANAGERS)
        options = {key: value for key, value in data.items() if key not in ("manager", *ENVIRONMENT_FILES)}
        return manager, {files[0]: data[files[0]]} if files else None, options

    def action(self, kind: str, data: Any, path: Sequence[object]) -> Mapping[str, Any]:
        if not isinstance(data, Mapping):
            self.error(path, "must hold keys such as model, source, to, gates")
            return {}
        self.known_keys(data, path, PROMOTE_KEYS if kind == "promote" else GATE_KEYS)
        if not data.get("model"):
            self.error(path, "needs the name of a registered model, as in model: iris_classifier")
        if ("source" in data) == ("version" in data):
            self.error(path, "needs either the source of a new version, or a version that is there already")
        if kind == "promote" and not data.get("to") and not data.get("policy"):
            self.error(path, "needs to say where to, as in to: {alias: champion, stage: Production}")
        if kind == "gate" and not data.get("gates") and not data.get("policy"):
            self.error(path, "needs gates, or the file of a policy")
        target = data.get("to")
        if target is not None:
            self.known_keys(self.mapping(target, (*path, "to")), (*path, "to"), ("alias", "stage"))
        if "mode" in data:
            self.one_of(data["mode"], (*path, "mode"), ("enforce", "dry_run"))
        if "on_reject" in data:
            self.one_of(data["on_reject"], (*path, "on_reject"), ("skip", "fail"))
        if data.get("gates") is not None:
            from mlgate.policy import gate_problems  # the gates come with it, which most pipelines do not need

            place = self.place_function()
            self.problems += gate_problems(
                data["gates"], file=self.file, path=(*self.prefix(), *path, "gates"), place=place
            )
        return dict(data)

    # --- values -------------------------------------------------------------------------------------------------

    def condition(self, data: Any, path: Sequence[object]) -> str | None:
        if data is None:
            return None
        from mlgate.conditions import parse_condition

        text = str(data)
        try:
            parse_condition(text)
        except ValueError as error:
            self.error(path, str(error))
            return None
        return text

    def known_keys(self, data: Mapping[Any, Any], path: Sequence[object], known: Sequence[str]) -> None:
        for key in data:
            if key not in known:
                import difflib

                close = difflib.get_close_matches(str(key), known, 1)
                hint = f"did you mean {close[0]}?" if close else f"known are {', '.join(known)}"
                self.error((*path, key), f"unknown key; {hint}")

    def mapping(self, data: Any, path: Sequence[object]) -> Mapping[str, Any]:
        if data is None:
            return {}
        if not isinstance(data, Mapping):
            self.error(path, "must be a mapping of names")
            return {}
        return data

    def texts(self, data: Any, path: Sequence[object]) -> dict[str, str]:
        found = {}
        for name, value in self.mapping(data, path).items():
            if value is None or isinstance(value, list | Mapping):
                self.error((*path, name), "must be text")
            else:
                found[str(name)] = str(value)
        return found

    def names(self, data: Any, path: Sequence[object]) -> tuple[str, ...]:
        items = [data] if isinstance(data, str) else [] if data is None else data
        if not isinstance(items, list) or not all(isinstance(item, str) for item in items):
            self.error(path, "must be a name or a list of names")
            return ()
        return tuple(dict.fromkeys(items))

    def text(self, data: Any, path: Sequence[object]) -> str | None:
        if isinstance(data, list | Mapping):
            self.error(path, "must be text")
            return None
        return None if data is None else str(data)

    def flag(self, data: Any, path: Sequence[object]) -> bool | None:
        if data is None or isinstance(data, bool):
            return data
        self.error(path, f"{data!r} is not a bool; use true or false")
        return None

    def whole(self, data: Any, path: Sequence[object]) -> int:
        if isinstance(data, int) and not isinstance(data, bool) and 0 <= data <= 100:
            return data
        self.error(path, f"{data!r} is not a whole number from 0 to 100")
        return 0

    def duration(self, data: Any, path: Sequence[object]) -> float | None:
        if data is None:
            return None
        try:
            return float(seconds(data))
        except ValueError as error:
            self.error(path, str(error))
            return None

    def one_of(self, data: Any, path: Sequence[object], known: Sequence[str]) -> str:
        if data in known or (isinstance(data, str) and has_references(data)):
            return str(data)
        self.error(path, f"{data!r} is not known; use {', '.join(known)}")
        return known[0]

    def prefix(self) -> tuple[object, ...]:
        return ("pipelines", self.raw.name)

    def place_function(self) -> Callable[[tuple[object, ...]], tuple[int, int]]:
        return lambda path: place_of(self.raw, path[2:])


def place_of(raw: RawPipeline, path: Sequence[object]) -> tuple[int, int]:
    """Line and column of a key below the pipeline, or of the nearest one above it that is there."""
    parts = [str(part) for part in path]
    while parts:
        found = raw.lines.get(".".join(parts))
        if found is not None:
            return found
        parts.pop()
    return (raw.line, 1)


def problem_at(raw: RawPipeline, file: str, path: Sequence[object], message: str) -> Problem:
    line, column = place_of(raw, path)
    key = ".".join(["pipelines", raw.name, *(str(part) for part in path)])
    return Problem(file=file, message=message, key=key, line=line, column=column)


__all__ = [
    "CacheRule",
    "Pipeline",
    "PipelineStep",
    "Retries",
    "Select",
    "place_of",
    "problem_at",
    "read_pipeline",
]
