"""What the runner writes on a run by itself."""

from __future__ import annotations

from mlgate.tags import closing_metrics, closing_tags
from mlgate_projects.process import Outcome


def test_usage_and_numeric_outputs_become_metrics_and_nothing_else_does() -> None:
    outcome = Outcome(argv=(), exit_code=0, started=1.0, ended=3.5, peak_memory=3 * 2**20, cpu_time=0.5)
    outputs = {"accuracy": 0.9, "rows": 12, "path": "a/b", "ok": True, "broken": float("nan"), "list": [1]}
    assert {metric.key: metric.value for metric in closing_metrics(outcome, outputs, 7)} == {
        "system/wall_time_seconds": 2.5,
        "system/peak_memory_megabytes": 3.0,
        "system/cpu_time_seconds": 0.5,
        "accuracy": 0.9,
        "rows": 12.0,
    }


def test_what_is_unknown_is_not_written() -> None:
    outcome = Outcome(argv=(), exit_code=0, started=1.0, ended=2.0)
    assert [metric.key for metric in closing_metrics(outcome, {}, 7)] == ["system/wall_time_seconds"]
    assert closing_metrics(None, {}, 7) == []


def test_a_good_attempt_clears_the_reason_of_a_bad_one() -> None:
    assert {tag.key: tag.value for tag in closing_tags(0, "")} == {"mlgate.exit_code": "0", "mlgate.reason": ""}
