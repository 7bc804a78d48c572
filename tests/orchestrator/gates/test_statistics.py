"""The statistics of the gates: known values, properties, and side by side with scipy and scikit-learn."""

from __future__ import annotations

import json
import random
import subprocess
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mlgate.gates import scores
from mlgate.gates.statistics import (
    binomial,
    category_stability_index,
    chi_square,
    chi_square_survival,
    kolmogorov_smirnov,
    paired_bootstrap,
    percentile,
    stability_index,
)
from tests.support.environments import ROOT, environment

numbers = st.lists(st.floats(-1e6, 1e6, allow_nan=False), min_size=1, max_size=30)


# Values of scipy 1.17 (ks_2samp with method="exact", chi2.sf, chi2_contingency without correction).
def test_kolmogorov_smirnov_gives_scipys_exact_p_value() -> None:
    test = kolmogorov_smirnov([1, 2, 3, 4, 5], [3.5, 4.5, 5.5, 6.5, 7.5, 8.5])
    assert test.statistic == pytest.approx(2 / 3)
    assert test.p_value == pytest.approx(0.10822510822510821)


@pytest.mark.parametrize(
    ("statistic", "degrees", "expected"),
    [(0.1, 1, 0.7518296340458492), (5.0, 2, 0.0820849986238988), (100.0, 30, 1.8568023365102314e-09)],
)
def test_chi_square_survival_gives_scipys_values(statistic: float, degrees: int, expected: float) -> None:
    assert chi_square_survival(statistic, degrees) == pytest.approx(expected, rel=1e-10)


def test_chi_square_compares_shares_of_categories() -> None:
    assert chi_square(["a"] * 10 + ["b"] * 10, ["a"] * 10 + ["b"] * 10).p_value == pytest.approx(1.0)
    assert chi_square(["a"] * 90 + ["b"] * 10, ["a"] * 10 + ["b"] * 90).p_value < 1e-20


@given(numbers, numbers)
def test_kolmogorov_smirnov_is_symmetric_and_a_probability(first: list[float], second: list[float]) -> None:
    one, other = kolmogorov_smirnov(first, second), kolmogorov_smirnov(second, first)
    assert one.statistic == other.statistic
    assert one.p_value == pytest.approx(other.p_value)
    assert 0 <= one.p_value <= 1


@given(numbers)
def test_a_sample_has_not_drifted_from_itself(values: list[float]) -> None:
    assert kolmogorov_smirnov(values, values).p_value == 1.0
    assert stability_index(values, values) == pytest.approx(0.0)
    assert category_stability_index(values, values) == pytest.approx(0.0)


def test_stability_index_grows_with_the_shift() -> None:
    draw = random.Random(1)
    reference = [draw.gauss(0, 1) for _ in range(500)]
    shifts = [stability_index(reference, [value + shift for value in reference]) for shift in (0.0, 0.2, 0.5, 1.0)]
    assert shifts == sorted(shifts)
    assert shifts[1] < 0.1 < shifts[3]


def test_percentile_interpolates() -> None:
    assert percentile([4, 1, 3, 2], 0.5) == 2.5
    assert percentile([7], 0.95) == 7


def test_paired_bootstrap_repeats_itself_and_sees_a_better_model() -> None:
    draw = random.Random(3)
    truth = [draw.choice("ab") for _ in range(200)]
    better = [one if draw.random() < 0.95 else "c" for one in truth]
    worse = [one if draw.random() < 0.7 else "c" for one in truth]
    first = paired_bootstrap(truth, better, worse, scores.accuracy, resamples=300, seed=7)
    assert first == paired_bootstrap(truth, better, worse, scores.accuracy, resamples=300, seed=7)
    assert first.low > 0
    assert first.share == 1.0
    assert paired_bootstrap(truth, worse, better, scores.accuracy, resamples=300).share == 0.0


def test_many_rows_of_few_kinds_are_resampled_like_few_of_many() -> None:
    truth, ours, theirs = ("a", "b") * 600, ("a", "b") * 540 + ("b", "a") * 60, ("a", "b") * 500 + ("b", "a") * 100
    counted = paired_bootstrap(truth, ours, theirs, scores.accuracy, resamples=2000)
    # Labels that differ in kind but not in worth keep the rows apart, so that they are drawn one by one.
    apart = [f"{one}{index}" for index, one in enumerate(truth)]
    same = {name: [row if right else "x" for row, right in zip(apart, map(str.__eq__, truth, side), strict=True)]
            for name, side in (("ours", ours), ("theirs", theirs))}  # fmt: skip
    drawn = paired_bootstrap(apart, same["ours"], same["theirs"], scores.accuracy, resamples=2000)
    assert counted.change == pytest.approx(drawn.change)
    assert counted.low == pytest.approx(drawn.low, abs=0.004)
    assert counted.high == pytest.approx(drawn.high, abs=0.004)


@pytest.mark.parametrize(("trials", "chance"), [(40, 0.5), (500, 0.03), (1000, 0.9)])
def test_binomial_variates_have_the_right_distribution(trials: int, chance: float) -> None:
    draw = random.Random(11)
    ours = [binomial(draw, trials, chance) for _ in range(400)]
    plain = [sum(draw.random() < chance for _ in range(trials)) for _ in range(400)]
    assert kolmogorov_smirnov(ours, plain).p_value > 0.01
    assert binomial(draw, trials, 0.0) == 0
    assert binomial(draw, trials, 1.0) == trials


@pytest.mark.parametrize("metric", ["accuracy", "f1_score", "rmse", "val_loss", "mean_absolute_error", "r2"])
def test_direction_of_a_metric_is_read_from_its_name(metric: str) -> None:
    assert scores.greater_is_better(metric) is (metric in ("accuracy", "f1_score", "r2"))


_PEERS = """
import collections, json, random, sys
import numpy, scipy.stats, sklearn.metrics
from mlgate.gates import scores, statistics

draw = numpy.random.default_rng(0)
worst = {}
def see(name, ours, theirs):
    gap = abs(ours - theirs) / max(abs(theirs), 1e-12)
    worst[name] = max(worst.get(name, 0.0), gap)

for m, n in ((5, 7), (40, 40), (200, 240)):
    for shift in (0.0, 0.3, 1.0):
        a, b = draw.normal(size=m).round(2).tolist(), draw.normal(shift, size=n).round(2).tolist()
        ours, theirs = statistics.kolmogorov_smirnov(a, b), scipy.stats.ks_2samp(a, b, method="exact")
        see("ks statistic", ours.statistic, theirs.statistic)
        see("ks exact", ours.p_value, theirs.pvalue)
a, b = draw.normal(size=260).tolist(), draw.normal(0.1, size=250).tolist()
see("ks asymptotic", statistics.kolmogorov_smirnov(a, b).p_value, scipy.stats.ks_2samp(a, b, method="exact").pvalue)
for size in (20, 200):
    a, b = draw.choice(list("abc"), size).tolist(), draw.choice(list("abbc"), size * 2).tolist()
    table = [[side.count(key) for key in "abc"] for side in (a, b)]
    see("chi square", statistics.chi_square(a, b).p_value, scipy.stats.chi2_contingency(table, correction=False)[1])
reference, current = draw.normal(size=1000), draw.normal(0.4, size=700)
edges = numpy.quantile(reference, numpy.arange(1, 10) / 10)
shares = [numpy.bincount(numpy.searchsorted(edges, side), minlength=10) / len(side) for side in (reference, current)]
index = float(((shares[1] - shares[0]) * numpy.log(shares[1] / shares[0])).sum())
see("psi", statistics.stability_index(reference.tolist(), current.tolist()), index)

truth = draw.choice(list("abc"), 300).tolist()
guess = [one if draw.random() < 0.8 else "a" for one in truth]
other = [one if draw.random() < 0.7 else "b" for one in truth]
pairs, macro = collections.Counter(zip(truth, guess)), {"average": "macro", "zero_division": 0}
see("accuracy", scores.accuracy(pairs), sklearn.metrics.accuracy_score(truth, guess))
see("balanced", scores.balanced_accuracy(pairs), sklearn.metrics.balanced_accuracy_score(truth, guess))
see("precision", scores.precision(pairs), sklearn.metrics.precision_score(truth, guess, **macro))
see("recall", scores.recall(pairs), sklearn.metrics.recall_score(truth, guess, **macro))
see("f1", scores.f1(pairs), sklearn.metrics.f1_score(truth, guess, **macro))
x, y = draw.normal(size=100), draw.normal(size=100)
pairs = collections.Counter(zip(x.tolist(), y.tolist()))
see("mae", scores.mean_absolute_error(pairs), sklearn.metrics.mean_absolute_error(x, y))
see("rmse", scores.root_mean_squared_error(pairs), sklearn.metrics.root_mean_squared_error(x, y))
see("r2", scores.r2(pairs), sklearn.metrics.r2_score(x, y))

hits = [numpy.array([a == b for a, b in zip(truth, side)], float) for side in (guess, other)]
theirs = scipy.stats.bootstrap(
    hits, lambda a, b, axis=-1: a.mean(axis=axis) - b.mean(axis=axis), paired=True, vectorized=True,
    method="percentile", n_resamples=4000, rng=numpy.random.default_rng(1),
).confidence_interval
ours = statistics.paired_bootstrap(truth, guess, other, scores.accuracy, resamples=4000)
worst["bootstrap"] = max(abs(ours.low - theirs.low), abs(ours.high - theirs.high))
print(json.dumps(worst))
"""


@pytest.mark.frameworks
def test_statistics_agree_with_scipy_and_scikit_learn(tmp_path: Path) -> None:
    python = environment("peers", ["numpy", "scipy", "scikit-learn"])
    script = tmp_path / "peers.py"
    script.write_text(_PEERS)
    paths = ":".join(str(ROOT / name) for name in ("orchestrator", "tracking", "projects"))
    done = subprocess.run(
        [python, script], capture_output=True, text=True, check=False, timeout=120, env={"PYTHONPATH": paths}
    )
    assert done.returncode == 0, done.stderr
    worst = json.loads(done.stdout)
    bounds = {"ks asymptotic": 0.02, "bootstrap": 0.01}
    assert {name: gap for name, gap in worst.items() if gap > bounds.get(name, 1e-8)} == {}
