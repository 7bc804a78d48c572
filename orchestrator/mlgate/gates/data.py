"""Gates on data: has it drifted from the reference, and does it keep its rules?"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from typing import Any, ClassVar, Literal

from mlgate.gates.evidence import ColumnPair, Columns, Evidence, Need, Quality, Side, Unmeasured
from mlgate.gates.reasons import compared, known, result, stated
from mlgate.gates.statistics import (
    category_stability_index,
    chi_square,
    kolmogorov_smirnov,
    stability_index,
)
from mlgate_tracking.governance import GateResult, Reason, canonical


@dataclass(frozen=True)
class DriftGate:
    """Column by column, current data comes from the same distribution as the reference.

    Attributes:
        columns: those to look at; none means all that both tables have.
        method: `ks` (Kolmogorov-Smirnov), `chi_square`, `psi` (population stability index); `auto` takes ks for
            numbers and chi_square for categories.
        alpha: level of significance of the whole test; divided by the number of columns when `correction` is
            `bonferroni`, so that many columns do not raise false alarms.
        max_psi: largest stability index that is no drift.
        max_drifted: share of the columns that may drift (0: none).
    """

    reference: str
    current: str
    columns: tuple[str, ...] = ()
    method: Literal["auto", "ks", "chi_square", "psi"] = "auto"
    alpha: float = 0.05
    correction: Literal["bonferroni", "none"] = "bonferroni"
    max_psi: float = 0.2
    bins: int = 10
    max_drifted: float = 0.0
    kind: ClassVar[str] = "drift"

    def __post_init__(self) -> None:
        if not 0 < self.alpha < 1:
            raise ValueError(f"alpha {self.alpha:g} is not between 0 and 1")
        if not 0 <= self.max_drifted < 1:
            raise ValueError(f"max_drifted {self.max_drifted:g} is not a share from 0 to below 1")
        if self.bins < 2:
            raise ValueError(f"bins {self.bins} are too few; use 2 or more")

    @property
    def pairs(self) -> Columns:
        return Columns(self.reference, self.current, self.columns)

    def needs(self) -> tuple[tuple[Side, Need[Any]], ...]:
        return ((Side.CANDIDATE, self.pairs),)

    def judge(self, evidence: Evidence) -> GateResult:
        measured = evidence.of(self.pairs)
        if isinstance(measured, Unmeasured):
            return result(self.kind, [stated("drift", False, f"could not be measured: {measured.reason}")])
        missing = [name for name in self.columns if name not in measured]
        if missing or not measured:
            message = f"no column {missing[0]!r} in both tables" if missing else "the tables have no column in common"
            return result(self.kind, [stated("drift", False, f"{message}; {known(list(measured))}")])
        level = self.alpha / len(measured) if self.correction == "bonferroni" else self.alpha
        reasons = [self._column(name, pair, level) for name, pair in measured.items()]
        drifted = sum(not reason.passed for reason in reasons)
        passed = drifted <= self.max_drifted * len(reasons)
        return GateResult(self.kind, passed, tuple(reasons))

    def _column(self, name: str, pair: ColumnPair, level: float) -> Reason:
        if not pair.reference or not pair.current:
            side = "current data" if pair.reference else "the reference"
            return stated(name, False, f"{name} has no values in {side}")
        numeric = all(_is_number(value) for values in (pair.reference, pair.current) for value in values)
        method = ("ks" if numeric else "chi_square") if self.method == "auto" else self.method
        if method == "psi":
            index = (
                stability_index(pair.reference, pair.current, self.bins)
                if numeric
                else category_stability_index(pair.reference, pair.current)
            )
            return compared(f"stability index of {name}", index, "<=", self.max_psi)
        if method == "ks" and not numeric:
            return stated(name, False, f"{name} holds categories, which the ks method cannot compare; use chi_square")
        test = (kolmogorov_smirnov if method == "ks" else chi_square)(pair.reference, pair.current)
        return compared(f"p-value of {name}", test.p_value, ">=", level, f"{method} statistic {test.statistic:.4g}")


def _is_number(value: object) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)


@dataclass(frozen=True)
class ColumnRange:
    min: float | None = None
    max: float | None = None

    def __post_init__(self) -> None:
        if self.min is None and self.max is None:
            raise ValueError("needs min, max or both")


@dataclass(frozen=True)
class DataQualityGate:
    """A table keeps its rules: schema, missing values, ranges, allowed values, uniqueness, number of rows.

    Checked by pandera (`mlgate[quality]`).

    Attributes:
        columns: name → type (`int`, `float`, `str`, `bool`, `datetime`); with `strict` no others may be there.
        not_null: columns without missing values; `max_null_share` allows a share for others.
        unique: columns, or combinations written `a,b`, without repeated values.
    """

    data: str
    columns: Mapping[str, str] = field(default_factory=dict)
    strict: bool = False
    not_null: tuple[str, ...] = ()
    max_null_share: Mapping[str, float] = field(default_factory=dict)
    ranges: Mapping[str, ColumnRange] = field(default_factory=dict)
    allowed: Mapping[str, tuple[Any, ...]] = field(default_factory=dict)
    patterns: Mapping[str, str] = field(default_factory=dict)
    unique: tuple[str, ...] = ()
    min_rows: int | None = None
    max_rows: int | None = None
    kind: ClassVar[str] = "data_quality"

    def __post_init__(self) -> None:
        wrong = [kind for kind in self.columns.values() if kind not in COLUMN_TYPES]
        if wrong:
            raise ValueError(f"columns: no type {wrong[0]!r}; {known(list(COLUMN_TYPES))}")
        if not any(value for name, value in asdict(self).items() if name not in ("data", "strict")):
            raise ValueError("needs at least one rule: columns, not_null, ranges, allowed, unique, min_rows, ...")

    @property
    def quality(self) -> Quality:
        rules = {name: value for name, value in asdict(self).items() if name != "data"}
        return Quality(self.data, canonical(rules))

    def needs(self) -> tuple[tuple[Side, Need[Any]], ...]:
        return ((Side.CANDIDATE, self.quality),)

    def judge(self, evidence: Evidence) -> GateResult:
        findings = evidence.of(self.quality)
        if isinstance(findings, Unmeasured):
            return result(self.kind, [stated(self.data, False, f"could not be checked: {findings.reason}")])
        return result(
            self.kind,
            [
                Reason(finding.message, finding.passed, finding.column, finding.failures, "<=", 0)
                for finding in findings
            ],
        )


COLUMN_TYPES = ("int", "float", "str", "bool", "datetime")

__all__ = ["COLUMN_TYPES", "ColumnRange", "DataQualityGate", "DriftGate"]
