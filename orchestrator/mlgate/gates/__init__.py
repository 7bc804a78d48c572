"""Gates: pure functions from evidence to `GateResult(passed, reasons)`, chosen by name.

A gate is a frozen dataclass whose fields are the settings that a policy gives; `needs` says what has to be measured and
`judge` compares. Others can bring gates through the entry-point group `mlgate.gates`; on a name clash ours wins.
"""

from __future__ import annotations

from typing import Any, ClassVar, Protocol

from mlgate.gates.data import DataQualityGate, DriftGate
from mlgate.gates.evidence import Evidence, ModelFacts, Need, Side, Unmeasured
from mlgate.gates.model import LatencyGate, SignatureGate, SizeGate
from mlgate.gates.people import ApprovalGate, EntryPointGate, PythonGate
from mlgate.gates.thresholds import ChampionGate, EvaluateGate, MetricGate
from mlgate_tracking.governance import GateResult, Reason


class Gate(Protocol):
    """One rule of a policy, its settings checked."""

    kind: ClassVar[str]

    def needs(self) -> tuple[tuple[Side, Need[Any]], ...]:
        """What has to be measured, and of which model, before `judge` is called."""
        ...

    def judge(self, evidence: Evidence) -> GateResult:
        """Compare. Missing evidence never passes."""
        ...


BUILT_IN: dict[str, type[Any]] = {
    gate.kind: gate
    for gate in (
        MetricGate,
        ChampionGate,
        EvaluateGate,
        SignatureGate,
        LatencyGate,
        SizeGate,
        DriftGate,
        DataQualityGate,
        EntryPointGate,
        ApprovalGate,
        PythonGate,
    )
}

ENTRY_POINT_GROUP = "mlgate.gates"


def gate_named(name: str) -> type[Any] | None:
    """The gate class of that name: built in, else from an installed package; None when there is none."""
    if name in BUILT_IN:
        return BUILT_IN[name]
    from importlib.metadata import entry_points

    for point in entry_points(group=ENTRY_POINT_GROUP, name=name):
        found: type[Any] = point.load()
        return found
    return None


def gate_names() -> tuple[str, ...]:
    """Names of all gates there are, sorted."""
    from importlib.metadata import entry_points

    return tuple(sorted({*BUILT_IN, *(point.name for point in entry_points(group=ENTRY_POINT_GROUP))}))


__all__ = [
    "BUILT_IN",
    "ENTRY_POINT_GROUP",
    "Evidence",
    "Gate",
    "GateResult",
    "ModelFacts",
    "Need",
    "Reason",
    "Side",
    "Unmeasured",
    "gate_named",
    "gate_names",
]
