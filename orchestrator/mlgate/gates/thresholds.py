"""Gates on numbers: a metric against bounds, against the champion, and scores on a dataset."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, ClassVar, Literal

from mlgate.gates.evidence import Evaluation, Evidence, History, Need, Side, Unmeasured
from mlgate.gates.reasons import compared, known, number, result, stated
from mlgate.gates.scores import SCORES, canonical_name, greater_is_better
from mlgate.gates.statistics import paired_bootstrap
from mlgate_tracking.governance import GateResult, Reason


@dataclass(frozen=True)
class MetricGate:
    """A metric of the candidate's run lies between bounds.

    Attributes:
        rule: `last` looks at the value the run ended with, `best` at the best of its history (the greatest when `min`
            bounds it, the smallest when `max` does).
    """

    name: str
    min: float | None = None
    max: float | None = None
    rule: Literal["last", "best"] = "last"
    kind: ClassVar[str] = "metric"

    def __post_init__(self) -> None:
        if self.min is None and self.max is None:
            raise ValueError("needs min, max or both")
        if self.min is not None and self.max is not None and self.min > self.max:
            raise ValueError(f"min {self.min:g} is greater than max {self.max:g}")
        if self.rule == "best" and self.min is not None and self.max is not None:
            raise ValueError("rule 'best' needs either min or max, to know which end is best")

    def needs(self) -> tuple[tuple[Side, Need[Any]], ...]:
        return ((Side.CANDIDATE, History(self.name)),) if self.rule == "best" else ()

    def judge(self, evidence: Evidence) -> GateResult:
        value, problem = self._value(evidence)
        if value is None:
            return result(self.kind, [stated(self.name, False, problem)])
        reasons = []
        if self.min is not None:
            reasons.append(compared(self.name, value, ">=", self.min))
        if self.max is not None:
            reasons.append(compared(self.name, value, "<=", self.max))
        return result(self.kind, reasons)

    def _value(self, evidence: Evidence) -> tuple[float | None, str]:
        metrics = evidence.candidate.metrics
        missing = f"{self.name} was not logged by the run of {evidence.candidate}; {known(list(metrics))}"
        if self.rule == "last":
            return metrics.get(self.name), missing
        history = evidence.of(History(self.name))
        if isinstance(history, Unmeasured):
            return None, f"{self.name}: {history.reason}"
        numbers = [value for value in history if not math.isnan(value)]
        if not numbers:
            return None, missing
        return (max(numbers) if self.min is not None else min(numbers)), ""


@dataclass(frozen=True)
class ChampionGate:
    """The candidate is at least as good as the champion.

    The change is counted so that more is better: for a metric that should fall, a fall is a positive change.

    Attributes:
        min_change: absolute change that is needed at least; negative tolerates a loss.
        min_relative_change: the same as a share of the champion's value (0.05: five per cent better).
        confidence: share of bootstrap resamples (paired, by rows of `dataset`) in which the change has to be reached.
        dataset, target: where both models are scored; without them the metrics that their runs logged are compared.
        on_missing: what to say when nobody is champion yet.
    """

    metric: str
    min_change: float | None = None
    min_relative_change: float | None = None
    greater_is_better: bool | None = None
    dataset: str | None = None
    target: str | None = None
    task: Literal["classifier", "regressor"] | None = None
    confidence: float | None = None
    resamples: int = 1000
    seed: int = 0
    on_missing: Literal["pass", "reject"] = "pass"
    kind: ClassVar[str] = "champion"

    def __post_init__(self) -> None:
        if (self.dataset is None) != (self.target is None):
            raise ValueError("dataset and target go together: the file and the column that holds the truth")
        if self.confidence is not None:
            if self.dataset is None:
                raise ValueError("confidence needs dataset and target, to compare the models row by row")
            if not 0.5 <= self.confidence < 1:
                raise ValueError(f"confidence {self.confidence:g} is not in 0.5 to 1")
            if canonical_name(self.metric) not in SCORES:
                raise ValueError(f"confidence knows no metric {self.metric!r}; {known(list(SCORES))}")
            if self.min_change is not None and self.min_relative_change is not None:
                raise ValueError("confidence needs either min_change or min_relative_change")
        if self.resamples < 100:
            raise ValueError(f"resamples {self.resamples} are too few; use 100 or more")

    def needs(self) -> tuple[tuple[Side, Need[Any]], ...]:
        evaluation = self._evaluation()
        return tuple((side, evaluation) for side in Side) if evaluation else ()

    def judge(self, evidence: Evidence) -> GateResult:
        if evidence.champion is None:
            passed = self.on_missing == "pass"
            return result(self.kind, [stated(self.metric, passed, f"nobody holds {evidence.target} yet")])
        if self.confidence is not None:
            return result(self.kind, [self._bootstrap(evidence)])
        values = {}
        for side in Side:
            value = self._value(evidence, side)
            if isinstance(value, str):
                return result(self.kind, [stated(self.metric, False, value)])
            values[side] = value
        return result(self.kind, self._changes(values[Side.CANDIDATE], values[Side.CHAMPION], evidence))

    def _evaluation(self) -> Evaluation | None:
        return Evaluation(self.dataset, self.target or "", self.task) if self.dataset else None

    @property
    def _sign(self) -> float:
        rises = greater_is_better(self.metric) if self.greater_is_better is None else self.greater_is_better
        return 1.0 if rises else -1.0

    def _value(self, evidence: Evidence, side: Side) -> float | str:
        facts = evidence.facts(side)
        assert facts is not None
        evaluation = self._evaluation()
        if evaluation is None:
            metrics = facts.metrics
        else:
            measured = evidence.of(evaluation, side)
            if isinstance(measured, Unmeasured):
                return f"{facts} could not be scored on {self.dataset}: {measured.reason}"
            metrics = measured.metrics
        value = metrics.get(self.metric, metrics.get(canonical_name(self.metric)))
        if value is None:
            return f"{self.metric} is not known for {facts}; {known(list(metrics))}"
        return value

    def _changes(self, ours: float, theirs: float, evidence: Evidence) -> list[Reason]:
        assert evidence.champion is not None
        note = f"{number(ours)} against {number(theirs)} of champion version {evidence.champion.version}"
        change = self._sign * (ours - theirs)
        reasons = []
        if self.min_relative_change is not None:
            relative = change / abs(theirs) if theirs else (math.copysign(math.inf, change) if change else 0.0)
            reasons.append(
                compared(f"relative change of {self.metric}", relative, ">=", self.min_relative_change, note)
            )
        if self.min_change is not None or not reasons:
            reasons.append(compared(f"change of {self.metric}", change, ">=", self.min_change or 0.0, note))
        return reasons

    def _bootstrap(self, evidence: Evidence) -> Reason:
        evaluation = self._evaluation()
        assert evaluation is not None
        assert self.confidence is not None
        assert evidence.champion is not None
        ours, theirs = evidence.of(evaluation), evidence.of(evaluation, Side.CHAMPION)
        for side, measured in ((Side.CANDIDATE, ours), (Side.CHAMPION, theirs)):
            if isinstance(measured, Unmeasured):
                return stated(self.metric, False, f"{side} could not be scored on {self.dataset}: {measured.reason}")
        assert not isinstance(ours, Unmeasured)
        assert not isinstance(theirs, Unmeasured)
        if not ours.expected or len(ours.expected) != len(theirs.predicted):
            return stated(
                self.metric,
                False,
                f"{len(ours.expected)} and {len(theirs.predicted)} predictions cannot be compared row by row",
            )
        score, sign = SCORES[canonical_name(self.metric)], self._sign
        relative = self.min_relative_change is not None
        bar = (self.min_relative_change if relative else self.min_change) or 0.0
        interval = paired_bootstrap(
            ours.expected,
            ours.predicted,
            theirs.predicted,
            score if sign > 0 else lambda pairs: -score(pairs),
            bar=bar,
            relative=relative,
            confidence=self.confidence,
            resamples=self.resamples,
            seed=self.seed,
        )
        note = (
            f"change {number(interval.change)} in [{number(interval.low)}, {number(interval.high)}] "
            f"against champion version {evidence.champion.version}, {self.resamples} resamples"
        )
        subject = f"share of resamples with change of {self.metric} >= {number(bar)}"
        return compared(subject, interval.share, ">=", self.confidence, note)


@dataclass(frozen=True)
class Threshold:
    """What one score has to reach: bounds, and changes against the champion (see `ChampionGate`)."""

    min: float | None = None
    max: float | None = None
    min_change: float | None = None
    min_relative_change: float | None = None
    greater_is_better: bool | None = None

    def __post_init__(self) -> None:
        if all(value is None for value in (self.min, self.max, self.min_change, self.min_relative_change)):
            raise ValueError("needs min, max, min_change or min_relative_change")

    @property
    def relative_to_champion(self) -> bool:
        return self.min_change is not None or self.min_relative_change is not None


@dataclass(frozen=True)
class EvaluateGate:
    """Scores of the candidate on a dataset, predicted in the model's own environment, reach their thresholds.

    Attributes:
        thresholds: score name → what it has to reach.
        function: `module:function` that gives more scores from (expected, predicted).
    """

    dataset: str
    target: str
    thresholds: Mapping[str, Threshold] = field(default_factory=dict)
    task: Literal["classifier", "regressor"] | None = None
    function: str | None = None
    on_missing: Literal["pass", "reject"] = "pass"
    kind: ClassVar[str] = "evaluate"

    def __post_init__(self) -> None:
        if not self.thresholds:
            raise ValueError("needs thresholds, as in thresholds: {accuracy: {min: 0.9}}")

    @property
    def evaluation(self) -> Evaluation:
        return Evaluation(self.dataset, self.target, self.task, self.function)

    def needs(self) -> tuple[tuple[Side, Need[Any]], ...]:
        compares = any(threshold.relative_to_champion for threshold in self.thresholds.values())
        return tuple((side, self.evaluation) for side in (Side if compares else (Side.CANDIDATE,)))

    def judge(self, evidence: Evidence) -> GateResult:
        ours = evidence.of(self.evaluation)
        if isinstance(ours, Unmeasured):
            return result(self.kind, [stated(self.dataset, False, f"could not be evaluated: {ours.reason}")])
        reasons: list[Reason] = []
        for name, threshold in self.thresholds.items():
            value = ours.metrics.get(name, ours.metrics.get(canonical_name(name)))
            if value is None:
                reasons.append(stated(name, False, f"{name} was not computed; {known(list(ours.metrics))}"))
                continue
            if threshold.min is not None:
                reasons.append(compared(name, value, ">=", threshold.min))
            if threshold.max is not None:
                reasons.append(compared(name, value, "<=", threshold.max))
            if threshold.relative_to_champion:
                reasons += self._against_champion(name, threshold, evidence)
        return result(self.kind, reasons)

    def _against_champion(self, name: str, threshold: Threshold, evidence: Evidence) -> tuple[Reason, ...]:
        return (
            ChampionGate(
                metric=name,
                min_change=threshold.min_change,
                min_relative_change=threshold.min_relative_change,
                greater_is_better=threshold.greater_is_better,
                on_missing=self.on_missing,
            )
            .judge(_with_scores(evidence, self.evaluation))
            .reasons
        )


def _with_scores(evidence: Evidence, evaluation: Evaluation) -> Evidence:
    """The same evidence with the scores of an evaluation in the place of the metrics that the runs logged."""
    from dataclasses import replace

    def scored(side: Side) -> Any:
        facts, measured = evidence.facts(side), evidence.of(evaluation, side)
        if facts is None:
            return None
        return replace(facts, metrics={} if isinstance(measured, Unmeasured) else measured.metrics)

    return replace(evidence, candidate=scored(Side.CANDIDATE), champion=scored(Side.CHAMPION))


__all__ = ["ChampionGate", "EvaluateGate", "MetricGate", "Threshold"]
