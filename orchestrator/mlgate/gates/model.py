"""Gates on the model itself: its signature, its size, how fast it answers."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

from mlgate.gates.evidence import Evidence, LatencyOf, Need, Side, SignatureOf, SizeOf, Unmeasured
from mlgate.gates.reasons import known, result, stated
from mlgate.gates.statistics import percentile
from mlgate.units import Bytes, Seconds, format_seconds, format_size
from mlgate_tracking.governance import GateResult, Reason

_WIDER = {
    "integer": {"integer", "long", "float", "double"},
    "long": {"long", "double"},
    "float": {"float", "double"},
    "boolean": {"boolean"},
}
"""What callers already send → types that take it without loss."""


@dataclass(frozen=True)
class SignatureGate:
    """The model says what goes in and out, and callers of the champion can go on calling it.

    Attributes:
        compatible: every input column that the candidate requires is one the champion has, of a type that takes the
            same values; every output column of the champion is still there; no parameter has gone.
    """

    required: bool = True
    compatible: bool = True
    kind: ClassVar[str] = "signature"

    def needs(self) -> tuple[tuple[Side, Need[Any]], ...]:
        return tuple((side, SignatureOf()) for side in (Side if self.compatible else (Side.CANDIDATE,)))

    def judge(self, evidence: Evidence) -> GateResult:
        ours = evidence.of(SignatureOf())
        if isinstance(ours, Unmeasured):
            return result(self.kind, [stated("signature", False, f"could not be read: {ours.reason}")])
        if ours is None:
            message = "the model has no signature; log it with one, or set required: false"
            return result(self.kind, [stated("signature", not self.required, message)])
        reasons = [stated("signature", True, "the model has a signature")]
        if self.compatible and evidence.champion is not None:
            theirs = evidence.of(SignatureOf(), Side.CHAMPION)
            if isinstance(theirs, Unmeasured):
                reasons.append(stated("signature", False, f"the champion's could not be read: {theirs.reason}"))
            elif theirs is None:
                reasons.append(stated("signature", True, "the champion has none to be compatible with"))
            else:
                reasons += incompatibilities(theirs, ours) or [
                    stated("signature", True, f"compatible with champion version {evidence.champion.version}")
                ]
        return result(self.kind, reasons)


def incompatibilities(old: Mapping[str, Any], new: Mapping[str, Any]) -> list[Reason]:
    """Why callers of `old` could not call `new`; empty when they can. Decoded signatures."""
    reasons = []
    had, wants = _columns(old.get("inputs")), _columns(new.get("inputs"))
    for name, column in wants.items():
        shown = f"input {name!r}" if name else "the input"
        if name not in had:
            if column.get("required", not column.get("optional", False)):
                reasons.append(stated(name, False, f"{shown} is required but callers do not send it; {known([*had])}"))
        elif not _takes(had[name], column):
            reasons.append(stated(name, False, f"{shown} was {_type(had[name])} and is {_type(column)} now"))
    gave, gives = _columns(old.get("outputs")), _columns(new.get("outputs"))
    for name, column in gave.items():
        shown = f"output {name!r}" if name else "the output"
        if name not in gives:
            reasons.append(stated(name, False, f"{shown} has gone; {known([*gives])}"))
        elif _type(column) != _type(gives[name]):
            reasons.append(stated(name, False, f"{shown} was {_type(column)} and is {_type(gives[name])} now"))
    gone = _columns(old.get("params")).keys() - _columns(new.get("params")).keys()
    reasons += [stated(name, False, f"parameter {name!r} has gone") for name in sorted(gone)]
    return reasons


def _columns(schema: Sequence[Mapping[str, Any]] | None) -> dict[str, Mapping[str, Any]]:
    """Columns by name; the only unnamed one under ''. Unnamed ones beside others go by their position."""
    columns = list(schema or ())
    if len(columns) == 1 and "name" not in columns[0]:
        return {"": columns[0]}
    return {str(column.get("name", index)): column for index, column in enumerate(columns)}


def _takes(sent: Mapping[str, Any], wanted: Mapping[str, Any]) -> bool:
    if sent.get("type") == "tensor" or wanted.get("type") == "tensor":
        return _tensor_takes(sent.get("tensor-spec") or {}, wanted.get("tensor-spec") or {})
    if wanted.get("type") == "any":
        return True
    if sent.get("type") == wanted.get("type") and isinstance(sent.get("type"), str):
        return all(sent.get(key) == wanted.get(key) for key in ("items", "properties", "values"))
    return wanted.get("type") in _WIDER.get(str(sent.get("type")), ())


def _tensor_takes(sent: Mapping[str, Any], wanted: Mapping[str, Any]) -> bool:
    if sent.get("dtype") != wanted.get("dtype"):
        return False
    had, wants = sent.get("shape") or [], wanted.get("shape") or []
    return len(had) == len(wants) and all(want in (-1, size) for size, want in zip(had, wants, strict=True))


def _type(column: Mapping[str, Any]) -> str:
    if column.get("type") == "tensor":
        spec = column.get("tensor-spec") or {}
        return f"tensor {spec.get('dtype')}{spec.get('shape')}"
    return str(column.get("type"))


@dataclass(frozen=True)
class SizeGate:
    """The files of the model together are not larger than `max`."""

    max: Bytes
    kind: ClassVar[str] = "size"

    def needs(self) -> tuple[tuple[Side, Need[Any]], ...]:
        return ((Side.CANDIDATE, SizeOf()),)

    def judge(self, evidence: Evidence) -> GateResult:
        size = evidence.of(SizeOf())
        if isinstance(size, Unmeasured):
            return result(self.kind, [stated("size", False, f"could not be measured: {size.reason}")])
        passed = size <= self.max
        message = f"size {format_size(size)} {'' if passed else 'not '}<= {format_size(self.max)}"
        return result(self.kind, [Reason(message, passed, "size", size, "<=", self.max)])


@dataclass(frozen=True)
class LatencyGate:
    """Predictions on the input example are fast enough at the median and the 95th percentile."""

    p50: Seconds | None = None
    p95: Seconds | None = None
    repeats: int = 50
    warmup: int = 5
    dataset: str | None = None
    kind: ClassVar[str] = "latency"

    def __post_init__(self) -> None:
        if self.p50 is None and self.p95 is None:
            raise ValueError("needs p50, p95 or both, as in p95: 50ms")
        if self.repeats < 1 or self.warmup < 0:
            raise ValueError("repeats is at least 1 and warmup at least 0")

    @property
    def latency(self) -> LatencyOf:
        return LatencyOf(self.repeats, self.warmup, self.dataset)

    def needs(self) -> tuple[tuple[Side, Need[Any]], ...]:
        return ((Side.CANDIDATE, self.latency),)

    def judge(self, evidence: Evidence) -> GateResult:
        samples = evidence.of(self.latency)
        if isinstance(samples, Unmeasured) or not samples:
            why = samples.reason if isinstance(samples, Unmeasured) else "no predictions were made"
            return result(self.kind, [stated("latency", False, f"could not be measured: {why}")])
        reasons = []
        for name, fraction, limit in (("p50", 0.5, self.p50), ("p95", 0.95, self.p95)):
            if limit is not None:
                value = percentile(samples, fraction)
                passed = value <= limit
                message = f"{name} {format_seconds(value)} {'' if passed else 'not '}<= {format_seconds(limit)}"
                reasons.append(Reason(message, passed, name, value, "<=", limit))
        return result(self.kind, reasons)


__all__ = ["LatencyGate", "SignatureGate", "SizeGate", "incompatibilities"]
