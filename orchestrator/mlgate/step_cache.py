"""Whether a step has to run at all: its inputs as one key, and the finished run that had the same.

The index is the tracking store itself: a run that may be used again carries its key as a tag, so a run that is deleted
is no longer used, and a server's cache is shared by all its users. What the key was made of is kept as an artifact, so
that `explain` can say which input changed.
"""

from __future__ import annotations

import hashlib
import json
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Any

from mlgate.binding import SKIPPED, States
from mlgate.errors import UsageError
from mlgate.pipeline import CacheRule
from mlgate.plan import Plan, PlannedStep
from mlgate.records import CACHE_KEY, read_json, search_everywhere, tags_of
from mlgate.references import as_text, fill_in, references_in
from mlgate.resolve import ResolvedStep
from mlgate.tracking import Tracking
from mlgate_projects.digest import Entry, digest_of, entry_of, walk
from mlgate_tracking.entities import Run

INPUTS_FILE = "mlgate/cache.json"

_SCHEME = 1


@dataclass(frozen=True, slots=True)
class Inputs:
    """Everything that the result of a step depends on, each by value or digest.

    Attributes:
        files: of the project, that the step's cache rule names (all by default): path → mode and content id.
        data: files and directories outside the project that parameters name: parameter → digest.
        upstream: step → its own key, or the id of its run where it has none.
        extra: the rule's own text.
    """

    step: str
    entry_point: str
    command: str
    environment: str
    parameters: Mapping[str, str] = field(default_factory=dict)
    env: Mapping[str, str] = field(default_factory=dict)
    files: Mapping[str, Entry] = field(default_factory=dict)
    data: Mapping[str, str] = field(default_factory=dict)
    upstream: Mapping[str, str] = field(default_factory=dict)
    extra: str = ""

    @property
    def key(self) -> str:
        """Hex sha256; equal for equal inputs."""
        summary = {**self.to_data(), "files": digest_of(self.files), "scheme": _SCHEME}
        return hashlib.sha256(json.dumps(summary, sort_keys=True).encode()).hexdigest()

    def to_data(self) -> dict[str, Any]:
        """As plain data; values of variables as digests, since they may be secrets."""
        return {
            "step": self.step,
            "entry_point": self.entry_point,
            "command": self.command,
            "environment": self.environment,
            "parameters": dict(self.parameters),
            "env": {name: _digest(value) for name, value in self.env.items()},
            "files": {path: list(entry) for path, entry in self.files.items()},
            "data": dict(self.data),
            "upstream": dict(self.upstream),
            "extra": self.extra,
        }


def inputs_of(
    plan: Plan,
    step: PlannedStep,
    map_index: int,
    resolved: ResolvedStep,
    environment_digest: str,
    keys: Mapping[str, str],
    states: States,
) -> Inputs:
    """The inputs of a step (one instance of its matrix) that is about to run.

    Args:
        resolved: the bound step, resolved; gives the project's files.
        environment_digest: of the environment that it runs in.
        keys: cache keys of the steps before it that have one.
    """
    rule = step.cache or CacheRule()
    setting = step.settings[map_index] if map_index >= 0 else {}

    def fixed(value: Any) -> str:
        # References to other steps stay as they are written: what they stand for is covered by `upstream`.
        from mlgate.references import LATER

        return as_text(fill_in(value, lambda one: setting[one.path[1]] if one.path[0] == "matrix" else LATER))

    return Inputs(
        step=step.name,
        entry_point=step.entry_point,
        command=resolved.entry_point.command or "",
        environment=environment_digest,
        parameters={
            **{name: text for name, text in resolved.parameters.logged.items() if name not in step.parameters},
            **{name: fixed(value) for name, value in step.parameters.items()},
        },
        env={name: fixed(value) for name, value in step.env.items()},
        files=select_files(resolved.source.files, rule.files),
        data=dict(_outside_data(step, resolved)),
        upstream={name: _upstream_key(name, keys, states) for name in step.needs},
        extra=rule.key,
    )


def select_files(files: Mapping[str, Entry], patterns: tuple[str, ...]) -> dict[str, Entry]:
    """The files that match any of the patterns (`*.py`, `src/**`, a directory's name); all without patterns."""
    if not patterns:
        return dict(files)
    return {path: entry for path, entry in files.items() if any(_matches(path, pattern) for pattern in patterns)}


def find_cached(tracking: Tracking, key: str, rule: CacheRule) -> Run | None:
    """The newest finished run with this key that the rule still lets count."""
    found = search_everywhere(
        tracking.store, f"tags.`{CACHE_KEY}` = '{key}' and attributes.status = 'FINISHED'", limit=1
    )
    run = next(found, None)
    if run is None or (rule.expires is not None and (run.info.end_time or 0) / 1000 + rule.expires < time.time()):
        return None
    return run


def explain(tracking: Tracking, plan: Plan, inputs: Inputs, map_index: int = -1) -> tuple[Run | None, list[str]]:
    """The last finished run of the step that left its inputs, and a line for each input that is not the same now."""
    index = str(map_index) if map_index >= 0 else None
    pipeline = plan.pipeline or ""
    last = next(
        (
            run
            for run in search_everywhere(
                tracking.store,
                f"tags.`mlgate.step` = '{inputs.step}' and tags.`mlgate.pipeline` = '{pipeline}'"
                " and attributes.status = 'FINISHED'",
            )
            if CACHE_KEY in (tags := tags_of(run))
            and tags.get("mlgate.map_index") == index
            and tags.get("mlgate.project.name", "") == plan.project
        ),
        None,
    )
    if last is None:
        return None, ["no finished run of this step has left a result that can be used again"]
    then = read_json(tracking, last, INPUTS_FILE)
    if not isinstance(then, dict):
        raise UsageError(f"run {last.info.run_id}: the artifact {INPUTS_FILE} is gone, so nothing can be compared")
    return last, list(_differences(then, inputs.to_data()))


def _differences(then: Mapping[str, Any], now: Mapping[str, Any]) -> Iterator[str]:
    names = {"files": "file", "env": "variable", "data": "data of parameter", "parameters": "parameter"}
    for part in sorted({*then, *now}):
        before, after = then.get(part), now.get(part)
        if before == after:
            continue
        if not isinstance(before, Mapping) or not isinstance(after, Mapping):
            yield f"{part.replace('_', ' ')}: was {_shown(before)}, is {_shown(after)}"
            continue
        what = names.get(part, part)
        for name in sorted({*before, *after}):
            if name not in after:
                yield f"{what} {name}: is gone"
            elif name not in before:
                yield f"{what} {name}: is new"
            elif before[name] != after[name]:
                plain = part == "parameters"
                yield f"{what} {name}: " + (
                    f"was {_shown(before[name])}, is {_shown(after[name])}" if plain else "changed"
                )


def _outside_data(step: PlannedStep, resolved: ResolvedStep) -> Iterator[tuple[str, str]]:
    """Contents of files that `path` parameters name, where they are no part of the project and of no other step."""
    project = resolved.source.directory.resolve()
    for parameter in resolved.entry_point.parameters:
        text = resolved.parameters.declared.get(parameter.name, "")
        given = step.parameters.get(parameter.name)
        if parameter.type != "path" or parameter.name in resolved.parameters.remote:
            continue
        if any(True for _ in references_in(given)):
            continue
        path = Path(text)
        if path.resolve().is_relative_to(project):
            relative = path.resolve().relative_to(project).as_posix()
            if any(name == relative or name.startswith(f"{relative}/") for name in resolved.source.files):
                continue
        yield parameter.name, digest_of(walk(path)) if path.is_dir() else "".join(entry_of(path) or ("", ""))


def _upstream_key(name: str, keys: Mapping[str, str], states: States) -> str:
    state = states.get(name)
    if name in keys:
        return keys[name]
    if state is None or state.status == SKIPPED:
        return "skipped"
    return ",".join(result.run_id for result in state.results)


def _matches(path: str, pattern: str) -> bool:
    pattern = pattern.removeprefix("./").rstrip("/")
    return fnmatchcase(path, pattern) or path.startswith(f"{pattern}/") or fnmatchcase(path, f"{pattern}/*")


def _digest(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()


def _shown(value: Any) -> str:
    text = str(value)
    return repr(text if len(text) <= 60 else text[:57] + "...")


__all__ = ["INPUTS_FILE", "Inputs", "explain", "find_cached", "inputs_of", "select_files"]
