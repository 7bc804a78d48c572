"""Promotion policies: YAML files (or parts of an MLproject) in, typed gates or every mistake at once out.

```yaml
name: iris-champion
to: {alias: champion, stage: Production}
expires: 7d                       # how long a verdict may be used
gates:
  - metric: {name: accuracy, min: 0.9}
  - champion: {metric: accuracy, min_change: 0.0}
  - size: {max: 50MB}
    mode: dry_run                 # judged and recorded, never in the way
  - approval: {role: ml_engineer, expires: 24h}
health:
  smoke: [{python: {call: "checks:answers"}}]
  window: 30m
  gates: [{python: {call: "checks:error_rate", settings: {max: 0.01}}}]
```
"""

from __future__ import annotations

import math
import types
import typing
from collections.abc import Callable, Mapping, Sequence
from dataclasses import MISSING, dataclass, field, fields, is_dataclass
from pathlib import Path
from typing import Any, Literal

from mlgate.errors import InvalidPlan
from mlgate.gates import Gate, gate_named, gate_names
from mlgate.gates.people import ApprovalGate
from mlgate.units import Bytes, Seconds, seconds, size
from mlgate_projects.errors import InvalidProject, Problem
from mlgate_tracking.governance import GateMode, RequiredApproval, Target, digest_of

_EVERY = Seconds(60.0)

KeyPath = tuple[object, ...]
Place = Callable[[KeyPath], tuple[int, int]]
"""Where a key stands in its file: (line, column), 1-based."""


@dataclass(frozen=True)
class PolicyGate:
    """A gate and whether its no counts; `settings` are as written."""

    gate: Gate
    mode: GateMode = GateMode.ENFORCE
    settings: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class Health:
    """What is watched after a promotion; when it goes wrong, the champion moves back.

    Attributes:
        smoke: gates that must pass right after the promotion.
        window: seconds during which `gates` are judged again and again, `every` seconds apart.
        unconfirmed: what happens at the end of the window when nobody could judge (a dead worker, a store away).
    """

    smoke: tuple[PolicyGate, ...] = ()
    window: Seconds | None = None
    every: Seconds = _EVERY
    gates: tuple[PolicyGate, ...] = ()
    unconfirmed: Literal["rollback", "keep"] = "rollback"
    data: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class Policy:
    """Which gates stand before which target.

    Attributes:
        ladder: stages in the order in which a version climbs them, one at a time; empty for MLflow's four, any way.
        expires: seconds for which a verdict may be used; None for ever.
        archive: other versions in the target's stage become Archived.
        data: the policy as written, which is what its digest covers.
    """

    gates: tuple[PolicyGate, ...] = ()
    name: str = "policy"
    mode: GateMode = GateMode.ENFORCE
    target: Target | None = None
    ladder: tuple[str, ...] = ()
    expires: Seconds | None = None
    archive: bool = True
    health: Health | None = None
    data: Mapping[str, Any] = field(default_factory=dict)

    @property
    def digest(self) -> str:
        return digest_of(self.data)

    @property
    def required_approvals(self) -> tuple[RequiredApproval, ...]:
        """What the enforced approval gates ask for, one entry a role: the most that any of them asks."""
        found: dict[str, RequiredApproval] = {}
        for one in self.gates:
            if isinstance(one.gate, ApprovalGate) and self.enforced(one):
                gate, known = one.gate, found.get(one.gate.role, RequiredApproval(one.gate.role, 1, False))
                found[gate.role] = RequiredApproval(
                    gate.role, max(known.count, gate.count), known.four_eyes or gate.four_eyes
                )
        return tuple(found.values())

    def enforced(self, gate: PolicyGate) -> bool:
        return self.mode is GateMode.ENFORCE and gate.mode is GateMode.ENFORCE


def load_policy(path: Path | str) -> Policy:
    """Read a policy file.

    Raises:
        InvalidPlan: with every mistake, each naming file, line, key, value and what would work.
    """
    from mlgate_projects.document import read_document

    path = Path(path)
    try:
        document, duplicates = read_document(path, str(path))
    except InvalidProject as error:
        raise InvalidPlan(error.problems) from None
    if duplicates:
        raise InvalidPlan(duplicates)
    return parse_policy(document.data, file=str(path), place=lambda key: document.place(*key), name=path.stem)


def read_policy(policy: Path | str | Mapping[str, Any]) -> Policy:
    """A policy from the path of its file, or from a mapping; raises what `load_policy` raises."""
    return parse_policy(dict(policy)) if isinstance(policy, Mapping) else load_policy(policy)


def parse_policy(
    data: Any, *, file: str = "", path: KeyPath = (), place: Place | None = None, name: str = "policy"
) -> Policy:
    """The policy that plain data (of a YAML file, a step of a pipeline, JSON) describes.

    Args:
        file, path, place: where the data comes from, for messages.
        name: what the policy is called when it does not say.

    Raises:
        InvalidPlan: with every mistake.
    """
    reader = _Reader(file, place)
    policy = reader.policy(data, path, name)
    if reader.problems:
        raise InvalidPlan(reader.problems)
    return policy


def gate_problems(data: Any, *, file: str = "", path: KeyPath = (), place: Place | None = None) -> list[Problem]:
    """What is wrong with a list of gates whose values may still hold references (`${{ ... }}`), for plans."""
    reader = _Reader(file, place, references=True)
    reader.gates(data, path)
    return reader.problems


class _Reference(Exception):
    """A value that is known only later."""


class _Reader:
    def __init__(self, file: str, place: Place | None, references: bool = False) -> None:
        self.file = file
        self.place = place
        self.references = references
        self.problems: list[Problem] = []

    def error(self, path: KeyPath, message: str) -> None:
        line, column = self.place(path) if self.place else (0, 0)
        self.problems.append(Problem(self.file, message, ".".join(str(part) for part in path), line, column))

    # --- the policy ---------------------------------------------------------------------------------------------

    def policy(self, data: Any, path: KeyPath, name: str) -> Policy:
        known = ("name", "mode", "to", "ladder", "expires", "archive", "gates", "health")
        values = self.mapping(data, path, known)
        if values is None:
            return Policy()
        ladder: tuple[str, ...] = self.value(values, "ladder", tuple[str, ...], path, ())
        if len(set(ladder)) != len(ladder):
            self.error((*path, "ladder"), "a stage is named twice")
        target = self.target(values["to"], (*path, "to")) if values.get("to") is not None else None
        if target and target.stage and ladder and target.stage not in ladder:
            self.error((*path, "to"), f"stage {target.stage!r} is not on the ladder; known: {', '.join(ladder)}")
        return Policy(
            name=self.value(values, "name", str, path, name),
            mode=self.mode(values, path),
            target=target,
            ladder=ladder,
            expires=self.value(values, "expires", Seconds, path, None),
            archive=self.value(values, "archive", bool, path, True),
            gates=self.gates(values.get("gates", []), (*path, "gates")),
            health=self.health(values["health"], (*path, "health")) if values.get("health") is not None else None,
            data=dict(data),
        )

    def target(self, data: Any, path: KeyPath) -> Target:
        values = self.mapping(data, path, ("alias", "stage"))
        if values is None:
            return Target()
        target = Target(
            alias=self.value(values, "alias", str, path, None), stage=self.value(values, "stage", str, path, None)
        )
        if target == Target():
            self.error(path, "names neither an alias nor a stage, as in to: {alias: champion}")
        return target

    def health(self, data: Any, path: KeyPath) -> Health:
        known = ("smoke", "window", "every", "gates", "unconfirmed")
        values = self.mapping(data, path, known)
        if values is None:
            return Health()
        smoke = self.gates(values.get("smoke", []), (*path, "smoke"))
        watched = self.gates(values.get("gates", []), (*path, "gates"))
        window = self.value(values, "window", Seconds, path, None)
        if watched and window is None:
            self.error(path, "gates are judged during a window; add window, as in window: 30m")
        if window is not None and not watched:
            self.error(path, "a window needs gates to judge; add gates")
        for index, one in enumerate((*smoke, *watched)):
            if one.gate.kind == "approval":
                self.error((*path, index), "nobody can approve while a model is in use; take the approval gate out")
        return Health(
            smoke=smoke,
            window=window,
            every=self.value(values, "every", Seconds, path, _EVERY),
            gates=watched,
            unconfirmed=self.value(values, "unconfirmed", Literal["rollback", "keep"], path, "rollback"),
            data=dict(data),
        )

    def mode(self, values: Mapping[str, Any], path: KeyPath) -> GateMode:
        return GateMode(self.value(values, "mode", Literal["enforce", "dry_run"], path, "enforce"))

    # --- gates --------------------------------------------------------------------------------------------------

    def gates(self, data: Any, path: KeyPath) -> tuple[PolicyGate, ...]:
        if data is None:
            return ()
        if not isinstance(data, list):
            self.error(path, f"{_shown(data)} is not a list of gates, as in - metric: {{name: accuracy, min: 0.9}}")
            return ()
        found = [self.gate(item, (*path, index)) for index, item in enumerate(data)]
        return tuple(gate for gate in found if gate is not None)

    def gate(self, data: Any, path: KeyPath) -> PolicyGate | None:
        if isinstance(data, str):
            data = {data: {}}
        if not isinstance(data, dict):
            self.error(path, f"{_shown(data)} is not a gate, as in metric: {{name: accuracy, min: 0.9}}")
            return None
        names = [str(key) for key in data if key != "mode"]
        if len(names) != 1:
            shown = ", ".join(names) or "none"
            self.error(path, f"needs exactly one gate (and mode, if wanted); there is {shown}")
            return None
        gate_class = gate_named(names[0])
        if gate_class is None:
            self.error((*path, names[0]), f"no gate of that name; known: {', '.join(gate_names())}")
            return None
        settings = data[names[0]]
        before = len(self.problems)
        try:
            gate = self.construct(gate_class, {} if settings is None else settings, (*path, names[0]))
        except _Reference:
            return None
        mode = self.mode(data, path)
        if len(self.problems) > before:
            return None
        return PolicyGate(gate=gate, mode=mode, settings=settings or {})

    # --- values -------------------------------------------------------------------------------------------------

    def mapping(self, data: Any, path: KeyPath, known: Sequence[str]) -> dict[str, Any] | None:
        if not isinstance(data, dict):
            self.error(path, f"{_shown(data)} is not a mapping with keys such as {', '.join(known[:3])}")
            return None
        for key in data:
            if key not in known:
                self.error((*path, key), f"unknown key; known: {', '.join(known)}")
        return data

    def value(self, values: Mapping[str, Any], key: str, kind: Any, path: KeyPath, default: Any) -> Any:
        if values.get(key) is None:
            return default
        try:
            converted = self.convert(values[key], kind, (*path, key))
        except _Reference:
            return default
        return default if converted is None else converted

    def construct(self, kind: type[Any], data: Any, path: KeyPath) -> Any:
        """An instance of a dataclass from a mapping of its fields; its own checks count as mistakes at `path`."""
        declared = {one.name: one for one in fields(kind) if one.init}
        values = self.mapping(data, path, tuple(declared))
        if values is None:
            return None
        hints = typing.get_type_hints(kind)
        before, arguments, later = len(self.problems), {}, False
        for name, one in declared.items():
            if values.get(name) is None:
                if one.default is MISSING and one.default_factory is MISSING:
                    self.error(path, f"needs {name}")
                continue
            try:
                arguments[name] = self.convert(values[name], hints[name], (*path, name))
            except _Reference:
                later = True
        if len(self.problems) > before:
            return None
        if later:
            raise _Reference
        try:
            return kind(**arguments)
        except ValueError as error:
            self.error(path, str(error))
            return None

    def convert(self, value: Any, kind: Any, path: KeyPath) -> Any:
        """`value` as the annotated type `kind`; a mistake is noted and None returned."""
        if self.references and isinstance(value, str) and "${{" in value:
            raise _Reference
        origin, arguments = typing.get_origin(kind), typing.get_args(kind)
        if kind is Any:
            return value
        if origin in (typing.Union, types.UnionType):
            return self.convert(value, next(one for one in arguments if one is not type(None)), path)
        if origin is Literal:
            if value in arguments:
                return value
            return self.error(path, f"{_shown(value)} is not one of {', '.join(map(str, arguments))}")
        if origin is tuple:
            if not isinstance(value, list | tuple):
                return self.error(path, f"{_shown(value)} is not a list")
            return tuple(self.convert(one, arguments[0], (*path, index)) for index, one in enumerate(value))
        if origin is not None and issubclass(origin, Mapping):
            if not isinstance(value, dict):
                return self.error(path, f"{_shown(value)} is not a mapping")
            return {str(key): self.convert(one, arguments[1], (*path, key)) for key, one in value.items()}
        if is_dataclass(kind) and isinstance(kind, type):
            return self.construct(kind, value, path)
        try:
            return _SCALARS[kind](value)
        except ValueError as error:
            return self.error(path, str(error))


def _number(value: Any) -> float:
    if isinstance(value, int | float | str) and not isinstance(value, bool):
        try:
            if math.isfinite(number := float(value)):
                return number
        except ValueError:
            pass
    raise ValueError(f"{_shown(value)} is not a number")


def _whole(value: Any) -> int:
    if isinstance(value, int | str) and not isinstance(value, bool):
        try:
            return int(value)
        except ValueError:
            pass
    raise ValueError(f"{_shown(value)} is not a whole number")


def _flag(value: Any) -> bool:
    if isinstance(value, bool):
        return value
    raise ValueError(f"{_shown(value)} is not true or false")


def _text(value: Any) -> str:
    if isinstance(value, str | int | float) and not isinstance(value, bool):
        return str(value)
    raise ValueError(f"{_shown(value)} is not text")


_SCALARS: dict[Any, Callable[[Any], Any]] = {
    float: _number,
    int: _whole,
    bool: _flag,
    str: _text,
    Seconds: seconds,
    Bytes: size,
}


def _shown(value: Any) -> str:
    return "nothing" if value is None else repr(value) if len(repr(value)) <= 60 else repr(value)[:57] + "..."


__all__ = [
    "Health",
    "KeyPath",
    "Place",
    "Policy",
    "PolicyGate",
    "gate_problems",
    "load_policy",
    "parse_policy",
    "read_policy",
]
