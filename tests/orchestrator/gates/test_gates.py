"""Every gate: what passes, what does not, and what its reasons say."""

from __future__ import annotations

import math
from dataclasses import replace
from types import SimpleNamespace
from typing import Any

import pytest

from mlgate import gates
from mlgate.gates import BUILT_IN, Evidence, ModelFacts, Side, Unmeasured, gate_named, gate_names
from mlgate.gates.data import ColumnRange, DataQualityGate, DriftGate
from mlgate.gates.evidence import CheckOutcome, ColumnPair, EvaluationResult, Finding, History, SignatureOf, SizeOf
from mlgate.gates.model import LatencyGate, SignatureGate, SizeGate
from mlgate.gates.people import ApprovalGate, EntryPointGate, PythonGate
from mlgate.gates.thresholds import ChampionGate, EvaluateGate, MetricGate, Threshold
from mlgate.units import Bytes, Seconds
from mlgate_tracking.governance import (
    Approval,
    ApprovalStatus,
    Decision,
    GateResult,
    Reason,
    Target,
    VerdictStatus,
    decode,
    encode,
    status_of,
)

CANDIDATE = ModelFacts("iris", 4, metrics={"accuracy": 0.95, "loss": 0.2})
CHAMPION = ModelFacts("iris", 3, metrics={"accuracy": 0.93, "loss": 0.3})
EVIDENCE = Evidence(CANDIDATE, CHAMPION, Target(alias="champion"), now=1000)


def with_measured(*measured: tuple[Side, Any, Any], evidence: Evidence = EVIDENCE) -> Evidence:
    return replace(evidence, measured={(side, need): value for side, need, value in measured})


def messages(result: GateResult) -> list[str]:
    return [reason.message for reason in result.reasons]


# --- metric ---------------------------------------------------------------------------------------------------------


def test_metric_compares_the_last_value_with_its_bounds() -> None:
    passed = MetricGate("accuracy", min=0.9, max=1.0).judge(EVIDENCE)
    assert passed.passed
    assert messages(passed) == ["accuracy 0.95 >= 0.9", "accuracy 0.95 <= 1"]
    rejected = MetricGate("accuracy", min=0.99).judge(EVIDENCE)
    assert not rejected.passed
    assert rejected.reasons == (Reason("accuracy 0.95 not >= 0.99", False, "accuracy", 0.95, ">=", 0.99),)


def test_metric_that_was_not_logged_rejects_and_names_the_known_ones() -> None:
    result = MetricGate("f1", min=0.5).judge(EVIDENCE)
    assert not result.passed
    assert messages(result) == ["f1 was not logged by the run of iris version 4; known: accuracy, loss"]


def test_metric_takes_the_best_of_its_history() -> None:
    evidence = with_measured((Side.CANDIDATE, History("accuracy"), (0.8, 0.97, 0.95)))
    assert messages(MetricGate("accuracy", min=0.96, rule="best").judge(evidence)) == ["accuracy 0.97 >= 0.96"]
    assert messages(MetricGate("accuracy", max=0.9, rule="best").judge(evidence)) == ["accuracy 0.8 <= 0.9"]


def test_nan_never_passes_and_still_travels_as_json() -> None:
    evidence = replace(EVIDENCE, candidate=replace(CANDIDATE, metrics={"loss": math.nan}))
    result = MetricGate("loss", max=1.0).judge(evidence)
    assert not result.passed
    assert decode(GateResult, encode(result)) == result


# --- champion -------------------------------------------------------------------------------------------------------


def test_champion_counts_a_fall_of_a_loss_as_progress() -> None:
    assert ChampionGate("accuracy", min_change=0.01).judge(EVIDENCE).passed
    loss = ChampionGate("loss", min_change=0.05).judge(EVIDENCE)
    assert messages(loss) == ["change of loss 0.1 >= 0.05 (0.2 against 0.3 of champion version 3)"]


def test_champion_compares_relative_changes() -> None:
    assert not ChampionGate("accuracy", min_relative_change=0.05).judge(EVIDENCE).passed
    assert ChampionGate("accuracy", min_relative_change=-0.05).judge(EVIDENCE).passed


def test_a_first_version_has_nobody_to_beat() -> None:
    alone = replace(EVIDENCE, champion=None)
    assert ChampionGate("accuracy").judge(alone).passed
    assert not ChampionGate("accuracy", on_missing="reject").judge(alone).passed


def test_champion_asks_the_bootstrap_how_sure_the_change_is() -> None:
    gate = ChampionGate("accuracy", dataset="test.csv", target="y", confidence=0.9, resamples=200)
    need = gate.needs()[0][1]
    truth = ("a", "b") * 50
    right = EvaluationResult({"accuracy": 1.0}, truth, truth)
    wrong = EvaluationResult({"accuracy": 0.7}, truth, truth[:70] + ("c",) * 30)
    better = gate.judge(with_measured((Side.CANDIDATE, need, right), (Side.CHAMPION, need, wrong)))
    worse = gate.judge(with_measured((Side.CANDIDATE, need, wrong), (Side.CHAMPION, need, right)))
    assert better.passed
    assert not worse.passed
    assert worse.reasons[0].actual == 0.0
    assert "against champion version 3, 200 resamples" in worse.reasons[0].message


# --- evaluate -------------------------------------------------------------------------------------------------------


def test_evaluate_compares_scores_with_bounds_and_with_the_champion() -> None:
    gate = EvaluateGate("t.csv", "y", {"accuracy_score": Threshold(min=0.9), "rmse": Threshold(min_change=0.0)})
    need = gate.evaluation
    ours = EvaluationResult({"accuracy": 0.91, "root_mean_squared_error": 2.0})
    theirs = EvaluationResult({"accuracy": 0.9, "root_mean_squared_error": 1.5})
    result = gate.judge(with_measured((Side.CANDIDATE, need, ours), (Side.CHAMPION, need, theirs)))
    assert not result.passed
    assert messages(result) == [
        "accuracy_score 0.91 >= 0.9",
        "change of rmse -0.5 not >= 0 (2 against 1.5 of champion version 3)",
    ]


def test_evaluate_measures_the_champion_only_when_it_is_compared() -> None:
    assert len(EvaluateGate("t.csv", "y", {"accuracy": Threshold(min=0.9)}).needs()) == 1
    assert len(EvaluateGate("t.csv", "y", {"accuracy": Threshold(min_change=0.0)}).needs()) == 2


def test_what_could_not_be_measured_rejects() -> None:
    gate = EvaluateGate("t.csv", "y", {"accuracy": Threshold(min=0.9)})
    result = gate.judge(with_measured((Side.CANDIDATE, gate.evaluation, Unmeasured("no column 'y'"))))
    assert not result.passed
    assert messages(result) == ["could not be evaluated: no column 'y'"]


# --- signature, size, latency -----------------------------------------------------------------------------------------


def columns(**types: str) -> list[dict[str, Any]]:
    return [{"name": name, "type": kind} for name, kind in types.items()]


@pytest.mark.parametrize(
    ("inputs", "outputs", "reason"),
    [
        (columns(a="double"), columns(y="long"), None),
        ([*columns(a="double"), {"name": "c", "type": "long", "required": False}], columns(y="long"), None),
        (
            columns(a="double", c="long"),
            columns(y="long"),
            "input 'c' is required but callers do not send it; known: a",
        ),
        (columns(a="integer"), columns(y="long"), "input 'a' was float and is integer now"),
        (columns(a="float"), columns(y="string"), "output 'y' was long and is string now"),
        (columns(a="float"), columns(z="long"), "output 'y' has gone; known: z"),
    ],
)
def test_signature_lets_the_champions_callers_go_on(inputs: Any, outputs: Any, reason: str | None) -> None:
    old = {"inputs": columns(a="float"), "outputs": columns(y="long")}
    new = {"inputs": inputs, "outputs": outputs}
    evidence = with_measured((Side.CANDIDATE, SignatureOf(), new), (Side.CHAMPION, SignatureOf(), old))
    result = SignatureGate().judge(evidence)
    assert result.passed is (reason is None)
    if reason:
        assert messages(result)[-1] == reason


def test_signature_compares_tensors_by_dtype_and_shape() -> None:
    def tensor(shape: list[int], dtype: str = "float32") -> dict[str, Any]:
        return {"inputs": [{"type": "tensor", "tensor-spec": {"dtype": dtype, "shape": shape}}], "outputs": None}

    def judged(new: dict[str, Any]) -> bool:
        old = tensor([-1, 28, 28])
        evidence = with_measured((Side.CANDIDATE, SignatureOf(), new), (Side.CHAMPION, SignatureOf(), old))
        return SignatureGate().judge(evidence).passed

    assert judged(tensor([-1, 28, 28]))
    assert not judged(tensor([-1, 32, 32]))
    assert not judged(tensor([-1, 28, 28], "float64"))


def test_a_model_without_signature_is_rejected_unless_told_otherwise() -> None:
    evidence = with_measured((Side.CANDIDATE, SignatureOf(), None))
    assert not SignatureGate().judge(evidence).passed
    assert SignatureGate(required=False).judge(evidence).passed


def test_size_and_latency_compare_what_was_measured() -> None:
    assert messages(SizeGate(Bytes(1_000_000)).judge(with_measured((Side.CANDIDATE, SizeOf(), 1_500_000)))) == [
        "size 1.5 MB not <= 1 MB"
    ]
    gate = LatencyGate(p50=Seconds(0.02), p95=Seconds(0.03))
    result = gate.judge(with_measured((Side.CANDIDATE, gate.latency, (0.01, 0.01, 0.01, 0.2))))
    assert [reason.passed for reason in result.reasons] == [True, False]
    assert messages(result)[0] == "p50 10 ms <= 20 ms"


# --- data ---------------------------------------------------------------------------------------------------------


def drift(gate: DriftGate, **pairs: tuple[Any, Any]) -> GateResult:
    measured = {name: ColumnPair(tuple(old), tuple(new)) for name, (old, new) in pairs.items()}
    return gate.judge(with_measured((Side.CANDIDATE, gate.pairs, measured)))


def test_drift_tests_numbers_and_categories_each_in_its_way() -> None:
    same, moved = list(range(100)), list(range(60, 160))
    gate = DriftGate("old.csv", "new.csv")
    assert drift(gate, n=(same, same), c=("ab" * 50, "ab" * 50)).passed
    result = drift(gate, n=(same, moved), c=("ab" * 50, "b" * 100))
    assert not result.passed
    assert "ks statistic" in result.reasons[0].message
    assert "chi_square statistic" in result.reasons[1].message


def test_bonferroni_divides_the_level_by_the_number_of_columns() -> None:
    pairs = {f"c{index}": (range(20), range(20)) for index in range(5)}
    assert drift(DriftGate("a", "b"), **pairs).reasons[0].expected == 0.01
    assert drift(DriftGate("a", "b", correction="none"), **pairs).reasons[0].expected == 0.05


def test_drift_tolerates_the_share_that_it_was_told() -> None:
    same, moved = (range(100), range(100)), (range(100), range(80, 180))
    assert not drift(DriftGate("a", "b", max_drifted=0.4), a=same, b=moved).passed
    assert drift(DriftGate("a", "b", max_drifted=0.5), a=same, b=moved).passed
    assert not drift(DriftGate("a", "b", method="psi"), a=moved).passed


def test_drift_rejects_missing_and_empty_columns() -> None:
    assert messages(drift(DriftGate("a", "b", columns=("z",)), a=([1], [1])))[0].startswith("no column 'z'")
    assert not drift(DriftGate("a", "b"), a=([1], [])).passed


def test_data_quality_reports_every_finding() -> None:
    gate = DataQualityGate("data.csv", not_null=("a",), ranges={"a": ColumnRange(min=0)})
    findings = (
        Finding("not_null", "a", True, "a has no missing values"),
        Finding("range", "a", False, "a: 2 values below 0", 2),
    )
    result = gate.judge(with_measured((Side.CANDIDATE, gate.quality, findings)))
    assert not result.passed
    assert [(reason.passed, reason.actual) for reason in result.reasons] == [(True, 0), (False, 2)]


# --- people ---------------------------------------------------------------------------------------------------------


def approval(status: ApprovalStatus, *users: str, expires_at: int | None = None, said: bool = True) -> Approval:
    decisions = tuple(Decision(user, said) for user in users)
    return Approval("a1", "v1", "iris", 4, "ml", status, starter="bob", expires_at=expires_at, decisions=decisions)


def judged(gate: ApprovalGate, *approvals: Approval) -> GateResult:
    return gate.judge(replace(EVIDENCE, approvals=approvals))


def test_approval_waits_until_somebody_of_the_role_has_spoken() -> None:
    gate = ApprovalGate("ml")
    assert judged(gate).pending
    assert judged(gate, approval(ApprovalStatus.PENDING)).pending
    assert judged(gate, approval(ApprovalStatus.APPROVED, "alice")).passed
    refused = judged(gate, approval(ApprovalStatus.REJECTED, "alice", said=False))
    assert not refused.passed
    assert not refused.pending


def test_approval_by_the_starter_does_not_count() -> None:
    assert not judged(ApprovalGate("ml"), approval(ApprovalStatus.APPROVED, "bob")).passed
    assert judged(ApprovalGate("ml", four_eyes=False), approval(ApprovalStatus.APPROVED, "bob")).passed


def test_expired_approval_counts_for_nothing() -> None:
    result = judged(ApprovalGate("ml"), approval(ApprovalStatus.APPROVED, "alice", expires_at=999))
    assert result.pending
    assert "an earlier one has expired" in result.reasons[0].message


def test_two_approvals_are_two_people() -> None:
    gate = ApprovalGate("ml", count=2)
    assert not judged(gate, approval(ApprovalStatus.APPROVED, "alice")).passed
    assert judged(gate, approval(ApprovalStatus.APPROVED, "alice", "carol")).passed


def test_entry_point_passes_on_exit_code_zero() -> None:
    gate = EntryPointGate("check", {"model": "{model_uri}"})
    assert gate.judge(with_measured((Side.CANDIDATE, gate.check, CheckOutcome(0, "r1")))).passed
    failed = gate.judge(with_measured((Side.CANDIDATE, gate.check, CheckOutcome(3, "r1"))))
    assert messages(failed) == ["entry point check exited with 3 in run r1"]


@pytest.mark.parametrize(
    ("answer", "passed", "message"),
    [
        (True, True, "checks:ask says yes"),
        ((False, "too slow"), False, "too slow"),
        (GateResult("x", True, (Reason("fine", True),)), True, "fine"),
        ("yes", False, "answered 'yes'; a GateResult, a bool or (bool, sentence) is needed"),
        (ValueError("broken"), False, "raised ValueError: broken"),
    ],
)
def test_python_gate_takes_a_functions_word(
    answer: Any, passed: bool, message: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    def ask(evidence: Evidence, limit: int) -> Any:
        assert evidence is EVIDENCE
        assert limit == 3
        if isinstance(answer, Exception):
            raise answer
        return answer

    monkeypatch.setitem(__import__("sys").modules, "checks", SimpleNamespace(ask=ask))
    result = PythonGate("checks:ask", {"limit": 3}).judge(EVIDENCE)
    assert (result.passed, messages(result)) == (passed, [message])


# --- registry and verdict -------------------------------------------------------------------------------------------


def test_all_gates_are_known_by_name() -> None:
    names = "approval champion data_quality drift evaluate latency metric python signature size tests"
    assert gate_names() == tuple(names.split())
    assert all(gate_named(name) is BUILT_IN[name] for name in gate_names())
    assert gate_named("nothing") is None


def test_installed_gates_join_in_but_never_replace_a_built_in(monkeypatch: pytest.MonkeyPatch) -> None:
    class Other:
        kind = "other"

    points = [SimpleNamespace(name=name, load=lambda: Other) for name in ("other", "metric")]
    monkeypatch.setattr(
        "importlib.metadata.entry_points",
        lambda group, name=None: [
            point for point in points if group == gates.ENTRY_POINT_GROUP and name in (None, point.name)
        ],
    )
    assert gate_named("other") is Other
    assert gate_named("metric") is MetricGate
    assert "other" in gate_names()


@pytest.mark.parametrize(
    ("results", "status"),
    [
        ([], VerdictStatus.PASSED),
        ([GateResult("a", True)], VerdictStatus.PASSED),
        ([GateResult("a", False)], VerdictStatus.REJECTED),
        ([GateResult("a", False, enforced=False)], VerdictStatus.PASSED),
        ([GateResult("a", False, pending=True), GateResult("b", True)], VerdictStatus.PENDING),
        ([GateResult("a", False, pending=True), GateResult("b", False)], VerdictStatus.REJECTED),
    ],
)
def test_a_verdict_is_what_its_enforced_gates_say(results: list[GateResult], status: VerdictStatus) -> None:
    assert status_of(results) is status


@pytest.mark.parametrize(
    "make",
    [
        lambda: MetricGate("a"),
        lambda: MetricGate("a", min=2, max=1),
        lambda: MetricGate("a", min=1, max=2, rule="best"),
        lambda: ChampionGate("a", dataset="x"),
        lambda: ChampionGate("accuracy", confidence=0.9),
        lambda: ChampionGate("accuracy", dataset="x", target="y", confidence=2),
        lambda: ChampionGate("unheard", dataset="x", target="y", confidence=0.9),
        lambda: EvaluateGate("x", "y"),
        LatencyGate,
        lambda: DriftGate("a", "b", alpha=0),
        lambda: DataQualityGate("a"),
        lambda: DataQualityGate("a", columns={"x": "complex"}),
        lambda: ApprovalGate("ml", count=0),
        lambda: PythonGate("nothing"),
    ],
)
def test_settings_that_cannot_be_meant_are_refused(make: Any) -> None:
    with pytest.raises(ValueError, match=r"\w+"):
        make()
