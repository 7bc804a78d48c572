"""What gates look at. A gate names its needs as data; whoever gathers evidence measures each need once.

Nothing here measures anything: `mlgate.evidence` does.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any, Generic, TypeVar, cast

from mlgate_tracking.governance import Approval, Target

T = TypeVar("T")


class Side(StrEnum):
    """Which model is looked at."""

    CANDIDATE = "candidate"
    CHAMPION = "champion"


class Need(Generic[T]):
    """Something to be measured; the type parameter says what the measurement looks like. Subclasses are frozen."""


@dataclass(frozen=True)
class Unmeasured:
    """Stands for a measurement that could not be made, and says why."""

    reason: str


@dataclass(frozen=True)
class History(Need["tuple[float, ...]"]):
    """Every value of one metric of the model's run, in order of step."""

    metric: str


@dataclass(frozen=True)
class EvaluationResult:
    """Scores on a dataset and, row by row, what was expected and predicted."""

    metrics: Mapping[str, float]
    expected: tuple[Any, ...] = ()
    predicted: tuple[Any, ...] = ()


@dataclass(frozen=True)
class Evaluation(Need[EvaluationResult]):
    """The model's predictions on a dataset, in the model's own environment.

    Attributes:
        dataset: path, URI or `runs:/<run>/<path>` of a CSV, JSON lines or Parquet file.
        target: column that holds the truth.
        task: `classifier` or `regressor`; None lets the truth decide (numbers with fractions: a regressor).
        function: `module:function` beside the dataset's project, called with (expected, predicted) → {name: number}.
    """

    dataset: str
    target: str
    task: str | None = None
    function: str | None = None


@dataclass(frozen=True)
class SignatureOf(Need["Mapping[str, Any] | None"]):
    """The model's signature: {inputs, outputs, params}, each a list of columns or None; None without a signature."""


@dataclass(frozen=True)
class SizeOf(Need[int]):
    """Bytes of all files of the model."""


@dataclass(frozen=True)
class LatencyOf(Need["tuple[float, ...]"]):
    """Seconds of repeated predictions on the model's input example (or the first rows of a dataset)."""

    repeats: int = 50
    warmup: int = 5
    dataset: str | None = None


@dataclass(frozen=True)
class ColumnPair:
    """One column of two tables, missing values left out."""

    reference: tuple[Any, ...]
    current: tuple[Any, ...]


@dataclass(frozen=True)
class Columns(Need["Mapping[str, ColumnPair]"]):
    """Columns that two tables have in common; those named, or all."""

    reference: str
    current: str
    columns: tuple[str, ...] = ()


@dataclass(frozen=True)
class Finding:
    """One rule of a data-quality check and how the table kept it."""

    rule: str
    column: str
    passed: bool
    message: str
    failures: int = 0


@dataclass(frozen=True)
class Quality(Need["tuple[Finding, ...]"]):
    """A table checked against rules, given as canonical JSON text so that the need stays hashable."""

    data: str
    rules: str


@dataclass(frozen=True)
class CheckOutcome:
    exit_code: int
    run_id: str = ""
    reason: str = ""


@dataclass(frozen=True)
class CheckRun(Need[CheckOutcome]):
    """An entry point of a project, run as a tracked step; `{model_uri}` in parameters names the candidate."""

    entry_point: str
    project: str | None = None
    version: str | None = None
    parameters: tuple[tuple[str, str], ...] = ()
    timeout: float | None = None


@dataclass(frozen=True)
class ModelFacts:
    """What the store knows about one model version without measuring anything.

    Attributes:
        metrics: latest value of every metric of its run (and of its logged model).
        starter: user who started the run that made it; empty when unknown.
    """

    model: str
    version: int
    run_id: str | None = None
    source: str = ""
    starter: str = ""
    metrics: Mapping[str, float] = field(default_factory=dict)
    params: Mapping[str, str] = field(default_factory=dict)
    tags: Mapping[str, str] = field(default_factory=dict)

    def __str__(self) -> str:
        return f"{self.model} version {self.version}"


@dataclass(frozen=True)
class Evidence:
    """Everything that the gates of one policy are told.

    Attributes:
        champion: who holds the target now; None when nobody does.
        measured: (side, need) → measurement or `Unmeasured`.
        now: milliseconds since the epoch.
    """

    candidate: ModelFacts
    champion: ModelFacts | None = None
    target: Target = field(default_factory=Target)
    measured: Mapping[tuple[Side, Need[Any]], Any] = field(default_factory=dict)
    approvals: tuple[Approval, ...] = ()
    now: int = 0

    def of(self, need: Need[T], side: Side = Side.CANDIDATE) -> T | Unmeasured:
        """The measurement of a need; `Unmeasured` also when nobody made it."""
        found = self.measured.get((side, need))
        if found is None and (side, need) not in self.measured:
            return Unmeasured("nobody measured it")
        return cast("T | Unmeasured", found)

    def facts(self, side: Side) -> ModelFacts | None:
        return self.candidate if side is Side.CANDIDATE else self.champion


__all__ = [
    "CheckOutcome",
    "CheckRun",
    "ColumnPair",
    "Columns",
    "Evaluation",
    "EvaluationResult",
    "Evidence",
    "Finding",
    "History",
    "LatencyOf",
    "ModelFacts",
    "Need",
    "Quality",
    "Side",
    "SignatureOf",
    "SizeOf",
    "Unmeasured",
]
