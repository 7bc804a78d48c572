"""The statistics behind the gates, in plain Python: two-sample tests, stability index, paired bootstrap.

Every function names its source; tests compare each with scipy.
"""

from __future__ import annotations

import bisect
import math
import random
from collections import Counter
from collections.abc import Callable, Hashable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, TypeVar

K = TypeVar("K")

_EXACT_LIMIT = 50_000
"""Largest product of sample sizes for which the Kolmogorov-Smirnov p-value is counted exactly (about 20 ms)."""


@dataclass(frozen=True, slots=True)
class Significance:
    statistic: float
    p_value: float


@dataclass(frozen=True, slots=True)
class Interval:
    """A bootstrap result: the observed change, its percentile interval, and the share of resamples at or over a bar."""

    change: float
    low: float
    high: float
    share: float


def percentile(values: Sequence[float], fraction: float) -> float:
    """Linear interpolation between order statistics (Hyndman and Fan 1996, type 7; numpy's default)."""
    ordered = sorted(values)
    if not ordered:
        raise ValueError("percentile of no values")
    position = (len(ordered) - 1) * fraction
    low = math.floor(position)
    high = min(low + 1, len(ordered) - 1)
    return ordered[low] + (ordered[high] - ordered[low]) * (position - low)


def kolmogorov_smirnov(first: Sequence[float], second: Sequence[float]) -> Significance:
    """Two-sample, two-sided Kolmogorov-Smirnov test.

    The p-value is exact for smaller samples (the share of lattice paths that leave the band; Hodges 1958) and
    asymptotic for larger ones (Kolmogorov's distribution with Stephens' 1970 correction for finite samples).
    """
    a, b = sorted(first), sorted(second)
    m, n = len(a), len(b)
    if not m or not n:
        raise ValueError("both samples need at least one value")
    # In units of 1/(m*n) the distance is a whole number: no rounding decides whether a path touches the band.
    gap = max(abs(bisect.bisect_right(a, x) * n - bisect.bisect_right(b, x) * m) for x in {*a, *b})
    statistic = gap / (m * n)
    if gap == 0:
        return Significance(0.0, 1.0)
    if m * n <= _EXACT_LIMIT:
        return Significance(statistic, _share_of_paths_outside(m, n, gap))
    root = math.sqrt(m * n / (m + n))
    return Significance(statistic, _kolmogorov_survival((root + 0.12 + 0.11 / root) * statistic))


def _share_of_paths_outside(m: int, n: int, gap: int) -> float:
    """Share of the lattice paths from (0, 0) to (m, n) that somewhere reach |i*n - j*m| >= gap."""
    row = [0.0] * (n + 1)
    for i in range(m + 1):
        for j in range(n + 1):
            if abs(i * n - j * m) >= gap:
                row[j] = 1.0
            elif i == 0:
                row[j] = 0.0 if j == 0 else row[j - 1]
            elif j:
                row[j] = (i * row[j] + j * row[j - 1]) / (i + j)
    return min(1.0, row[n])


def _kolmogorov_survival(value: float) -> float:
    if value < 0.2:  # the series converges slowly there, and 1 - P is below 1e-12
        return 1.0
    total = 0.0
    for k in range(1, 101):
        term = math.exp(-2.0 * (k * value) ** 2)
        total += term if k % 2 else -term
        if term < 1e-16:
            break
    return max(0.0, min(1.0, 2.0 * total))


def chi_square(first: Sequence[Hashable], second: Sequence[Hashable]) -> Significance:
    """Pearson's chi-square test of homogeneity: do two samples of categories come from one distribution?"""
    counts = (Counter(first), Counter(second))
    sizes = (len(first), len(second))
    if not all(sizes):
        raise ValueError("both samples need at least one value")
    categories = counts[0].keys() | counts[1].keys()
    statistic = 0.0
    for category in categories:
        total = counts[0][category] + counts[1][category]
        for side in (0, 1):
            expected = total * sizes[side] / sum(sizes)
            statistic += (counts[side][category] - expected) ** 2 / expected
    return Significance(statistic, chi_square_survival(statistic, len(categories) - 1))


def chi_square_survival(statistic: float, degrees: int) -> float:
    """P(X >= statistic) for a chi-square variable: the regularized upper incomplete gamma function.

    Series below the mean, Lentz's continued fraction above it (Press et al., Numerical Recipes, section 6.2).
    """
    if degrees < 1 or statistic <= 0:
        return 1.0
    a, x = degrees / 2.0, statistic / 2.0
    front = math.exp(a * math.log(x) - x - math.lgamma(a))
    if x < a + 1:
        term = total = 1.0 / a
        for k in range(1, 10_000):
            term *= x / (a + k)
            total += term
            if term < total * 1e-16:
                break
        return max(0.0, 1.0 - front * total)
    tiny = 1e-300
    b = x + 1.0 - a
    c, d = 1.0 / tiny, 1.0 / b
    fraction = d
    for k in range(1, 10_000):
        numerator = -k * (k - a)
        b += 2.0
        d = 1.0 / (numerator * d + b or tiny)
        c = b + numerator / c or tiny
        step = c * d
        fraction *= step
        if abs(step - 1.0) < 1e-16:
            break
    return min(1.0, front * fraction)


def stability_index(reference: Sequence[float], current: Sequence[float], bins: int = 10) -> float:
    """Population stability index over bins cut at the reference's quantiles (Siddiqi 2006); about 0.2 is a shift.

    Empty bins count as half an observation, so that the logarithm stays finite.
    """
    if not reference or not current:
        raise ValueError("both samples need at least one value")
    edges = sorted({percentile(reference, k / bins) for k in range(1, bins)})
    return _index_of_counts(
        Counter(bisect.bisect_left(edges, value) for value in reference),
        Counter(bisect.bisect_left(edges, value) for value in current),
    )


def category_stability_index(reference: Sequence[Hashable], current: Sequence[Hashable]) -> float:
    """Population stability index with one bin a category."""
    if not reference or not current:
        raise ValueError("both samples need at least one value")
    return _index_of_counts(Counter(reference), Counter(current))


def _index_of_counts(reference: Counter[Hashable] | Counter[int], current: Counter[Hashable] | Counter[int]) -> float:
    total_reference, total_current = sum(reference.values()), sum(current.values())
    index = 0.0
    for key in {*reference, *current}:
        expected = max(reference[key], 0.5) / total_reference
        actual = max(current[key], 0.5) / total_current
        index += (actual - expected) * math.log(actual / expected)
    return index


Score = Callable[[Mapping[tuple[Any, Any], int]], float]
"""Counted (expected, predicted) pairs → one number."""


def paired_bootstrap(
    expected: Sequence[Hashable],
    candidate: Sequence[Hashable],
    champion: Sequence[Hashable],
    score: Score,
    *,
    bar: float = 0.0,
    relative: bool = False,
    confidence: float = 0.95,
    resamples: int = 1000,
    seed: int = 0,
) -> Interval:
    """Percentile bootstrap of score(candidate) - score(champion) on the same rows (Efron and Tibshirani 1993, ch. 13).

    Both models are scored on the same resampled rows, so what the rows have in common cancels. `relative` divides the
    change by the champion's score in each resample. The same seed gives the same interval.
    """
    rows = Counter(zip(expected, candidate, champion, strict=True))
    if not rows:
        raise ValueError("no rows to compare")

    def change(sample: Mapping[tuple[Any, Any, Any], int]) -> float:
        ours: Counter[tuple[Any, Any]] = Counter()
        theirs: Counter[tuple[Any, Any]] = Counter()
        for (truth, one, other), count in sample.items():
            ours[truth, one] += count
            theirs[truth, other] += count
        first, second = score(ours), score(theirs)
        if not relative:
            return first - second
        return (first - second) / abs(second) if second else math.copysign(math.inf, first - second) if first else 0.0

    resample = _resampler(rows, random.Random(seed))  # noqa: S311  resampling, not cryptography
    changes = [change(resample()) for _ in range(resamples)]
    tail = (1.0 - confidence) / 2.0
    return Interval(
        change=change(rows),
        low=percentile(changes, tail),
        high=percentile(changes, 1.0 - tail),
        share=sum(value >= bar for value in changes) / resamples,
    )


def _resampler(rows: Counter[K], draw: random.Random) -> Callable[[], Mapping[K, int]]:
    """Draws as many rows as there are, with replacement, and counts them.

    Where rows repeat a lot (classes), the counts are drawn themselves: a multinomial variate, one conditional binomial
    for each distinct row. That costs the same for a million rows as for a thousand.
    """
    total = sum(rows.values())
    if len(rows) * 30 > total:
        population = list(rows.elements())
        return lambda: Counter(draw.choices(population, k=total))

    def counts() -> Mapping[K, int]:
        found, left, weight = {}, total, total
        for row, count in rows.items():
            drawn = binomial(draw, left, count / weight) if count < weight else left
            if drawn:
                found[row] = drawn
            left, weight = left - drawn, weight - count
        return found

    return counts


def binomial(draw: random.Random, trials: int, chance: float) -> int:
    """How many of so many trials succeed, in time that grows with the logarithm of their number.

    The trials are halved again and again at the median of their uniform variates, which is a beta variate (Relles
    1972; Ahrens and Dieter 1974).
    """
    successes = 0
    while trials > 30:
        middle = trials // 2 + 1
        median = draw.betavariate(middle, trials + 1 - middle)
        if median <= chance:
            successes, trials, chance = successes + middle, trials - middle, (chance - median) / (1.0 - median)
        else:
            trials, chance = middle - 1, chance / median
    return successes + sum(draw.random() < chance for _ in range(trials))


__all__ = [
    "Interval",
    "Score",
    "Significance",
    "binomial",
    "category_stability_index",
    "chi_square",
    "chi_square_survival",
    "kolmogorov_smirnov",
    "paired_bootstrap",
    "percentile",
    "stability_index",
]
