"""Drift: the statistics are right, the report says which columns have changed."""

from __future__ import annotations

import math
import random

import pytest

from mlgate_tracking.kit.drift import compare, frequencies, ks_2samp, metrics
from mlgate_tracking.kit.transport import TrackingError
from tests.support.environments import environment
from tests.tracking.kit.conftest import MLFLOW3, RunScript, Step


@pytest.mark.parametrize(
    ("first", "second", "statistic", "p_value"),
    # scipy.stats.ks_2samp(..., method="exact")
    [
        ([1, 2, 3], [4, 5, 6], 1.0, 0.1),
        ([1, 2, 3, 4], [1, 2, 3, 4], 0.0, 1.0),
        ([0.5, 1.5, 2.5, 3.5, 9], [1, 2, 3, 4, 5, 6, 7], 0.37142857142857144, 0.7373737373737375),
        (range(30), range(10, 40), 1 / 3, 0.07088798881821606),
    ],
)
def test_small_samples_are_tested_exactly(
    first: list[float], second: list[float], statistic: float, p_value: float
) -> None:
    assert ks_2samp(first, second) == pytest.approx((statistic, p_value))


def test_large_samples_use_the_asymptotic_distribution() -> None:
    first = [number / 1000 for number in range(1000)]
    second = [number / 1000 + 0.05 for number in range(1000)]
    statistic, p_value = ks_2samp(first, second)
    assert statistic == pytest.approx(0.051)
    assert p_value == pytest.approx(0.1484, rel=0.05)
    assert ks_2samp(first, [value + 5 for value in second]) == (1.0, pytest.approx(0, abs=1e-100))


def test_categories_are_compared_by_their_frequencies() -> None:
    distance, p_value = frequencies(["a"] * 30 + ["b"] * 70, ["a"] * 50 + ["b"] * 50)
    assert distance == pytest.approx(0.2)
    assert p_value == pytest.approx(
        math.erfc(math.sqrt(8.333333333 / 2)), rel=1e-6
    )  # chi-square, one degree of freedom


def test_the_report_names_the_columns_that_changed() -> None:
    numbers = random.Random(1)
    reference = {
        "age": [numbers.gauss(40, 10) for _ in range(400)],
        "income": [numbers.gauss(50, 5) for _ in range(400)],
        "city": ["x", "y"] * 200,
        "gone": [1] * 400,
    }
    current = {
        "age": [numbers.gauss(40, 10) for _ in range(300)],
        "income": [numbers.gauss(60, 5) for _ in range(300)],
        "city": ["x"] * 290 + ["z"] * 10,
        "new": [None] * 300,
    }
    report = compare(reference, current)
    assert report["drifted"] == ["income", "city"]
    assert report["share"] == pytest.approx(2 / 3)
    assert (report["missing_columns"], report["new_columns"]) == (["gone"], ["new"])
    assert (report["rows_reference"], report["rows_current"]) == (400, 300)
    found = metrics(report)
    assert found["drift_share"] == pytest.approx(2 / 3)
    assert found["drift_income_p_value"] < 1e-10
    assert set(found) >= {"drift_age_ks_stat", "drift_age_p_value", "drift_city_tv_stat"}


def test_missing_values_are_counted_not_compared() -> None:
    report = compare({"a": [1.0, 2.0, None, float("nan")]}, {"a": [1.0, 2.0]})
    assert report["columns"]["a"]["missing_reference"] == 0.5
    assert report["columns"]["a"]["p_value"] == 1.0
    assert compare({"a": [None]}, {"a": [1]})["drifted"] == ["a"]


@pytest.mark.parametrize(
    ("reference", "current", "columns", "said"),
    [
        ({"a": [1]}, {"b": [1]}, None, "no column in common"),
        ({"a": [1]}, {"a": [1]}, ["z"], "no column ..z.."),
        ("text", {"a": [1]}, None, "cannot compare a str"),
    ],
)
def test_what_cannot_be_compared_is_refused(reference: object, current: object, columns: object, said: str) -> None:
    with pytest.raises(TrackingError, match=said):
        compare(reference, current, columns=columns)  # type: ignore[arg-type]


def test_log_drift_writes_metrics_and_the_report(run_script: RunScript, step: Step) -> None:
    child = run_script(
        """
        import mlgate_tracking as tracking
        report = tracking.log_drift({"a": [1, 2, 3] * 50}, {"a": [7, 8, 9] * 50})
        print(report["drifted"])
        """,
        env=step.env,
    )
    assert (child.exit_code, child.stdout, child.stderr) == (0, "['a']\n", "")
    assert step.metrics["drift_a_ks_stat"] == 1.0
    assert b'"drifted": [' in step.file("drift.json")


@pytest.mark.frameworks
def test_the_test_agrees_with_scipy(run_script: RunScript) -> None:
    python = environment("mlflow3-frameworks", MLFLOW3)
    child = run_script(
        """
        import numpy as np
        from scipy.stats import ks_2samp as theirs
        from mlgate_tracking.kit.drift import ks_2samp
        numbers = np.random.default_rng(0)
        for n, m, shift, digits in [(20, 30, .3, 6), (50, 80, 0, 1), (80, 100, .5, 6), (4000, 3000, .03, 6)]:
            a, b = numbers.normal(size=n).round(digits), numbers.normal(shift, size=m).round(digits)
            ours, reference = ks_2samp(a.tolist(), b.tolist()), theirs(a, b)
            assert abs(ours[0] - reference.statistic) < 1e-12, (n, m)
            assert abs(ours[1] - reference.pvalue) < (1e-9 if n * m <= 10_000 else 0.02), (n, m, ours, reference)
        print("agreed")
        """,
        python=python,
    )
    assert child.stdout == "agreed\n", child.stderr
