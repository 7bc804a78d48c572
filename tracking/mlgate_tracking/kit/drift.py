"""Has the data changed? One two-sample Kolmogorov-Smirnov test per numeric column, frequencies for the others, and
what is missing. Plain Python; faster where numpy is loaded.
"""

from __future__ import annotations

import math
import sys

from mlgate_tracking.kit.transport import Refused

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence
    from typing import Any

SAMPLE = 200_000
"""Values of a column that are compared; of longer ones, evenly spaced rows."""


def compare(
    reference: Any, current: Any, *, columns: Sequence[str] | None = None, threshold: float = 0.05
) -> dict[str, Any]:
    """Compare each column of two tables.

    Args:
        reference, current: DataFrames, dictionaries of columns, or 2-d arrays (columns `0`, `1`, ...).
        columns: which ones; default all that both have.
        threshold: a column has drifted when the p-value of its test is below.

    Returns:
        `{"columns": {name: {"kind", "statistic", "p_value", "drifted", "missing_reference", "missing_current"}},
        "drifted": [names], "share": part of the columns that drifted, "missing_columns", "new_columns",
        "rows_reference", "rows_current", "threshold"}`. For `kind` `numeric`, `statistic` is the largest distance of
        the two distribution functions; for `categorical` it is half the summed differences of the frequencies (total
        variation), and the p-value is the chi-square test's.

    Raises:
        TrackingError: a named column is missing, or there is nothing to compare.
    """
    before, after = _columns(reference), _columns(current)
    unknown = [name for name in columns or () if name not in before or name not in after]
    if unknown:
        raise Refused("no column %s on both sides; there are %s" % (unknown, sorted(set(before) & set(after))))
    names = [str(name) for name in columns] if columns else [name for name in before if name in after]
    if not names:
        raise Refused("the tables have no column in common: %s and %s" % (list(before), list(after)))
    report = {name: _column(before[name], after[name], threshold) for name in names}
    drifted = [name for name in names if report[name]["drifted"]]
    return {
        "columns": report,
        "drifted": drifted,
        "share": len(drifted) / len(names),
        "missing_columns": [name for name in before if name not in after],
        "new_columns": [name for name in after if name not in before],
        "rows_reference": max((len(values) for values in before.values()), default=0),
        "rows_current": max((len(values) for values in after.values()), default=0),
        "threshold": threshold,
    }


def metrics(report: dict[str, Any], prefix: str = "drift_") -> dict[str, float]:
    """The report as metrics: `drift_<column>_ks_stat` (or `_tv_stat`), `drift_<column>_p_value`, `drift_share`."""
    found: dict[str, float] = {prefix + "share": report["share"], prefix + "columns": len(report["drifted"])}
    for name, column in report["columns"].items():
        kind = "ks_stat" if column["kind"] == "numeric" else "tv_stat"
        clean = "".join(letter if letter.isalnum() or letter in "_-./ " else "_" for letter in name).strip("/ ") or "_"
        found["%s%s_%s" % (prefix, clean, kind)] = column["statistic"]
        found["%s%s_p_value" % (prefix, clean)] = column["p_value"]
        found["%s%s_missing" % (prefix, clean)] = column["missing_current"]
    return found


def _columns(table: Any) -> dict[str, list[Any]]:
    if isinstance(table, dict):
        found = {str(name): _listed(values) for name, values in table.items()}
    elif hasattr(table, "columns") and hasattr(table, "iloc"):
        found = {str(name): _listed(table.iloc[:, number]) for number, name in enumerate(table.columns)}
    elif hasattr(table, "ndim"):
        if table.ndim == 1:
            table = table.reshape(-1, 1)
        if table.ndim != 2:
            raise Refused("an array to compare has 1 or 2 dimensions, not %d" % table.ndim)
        found = {str(number): _listed(table[:, number]) for number in range(table.shape[1])}
    else:
        raise Refused(
            "cannot compare a %s; pass a DataFrame, a dictionary of columns, or an array" % type(table).__name__
        )
    return found


def _listed(values: Any) -> list[Any]:
    return list(getattr(values, "tolist", lambda: values)()[:: max(1, -(-len(values) // SAMPLE))])


def _is_missing(value: Any) -> bool:
    return value is None or (isinstance(value, float) and math.isnan(value)) or str(value) in ("<NA>", "NaT")


def _column(before: list[Any], after: list[Any], threshold: float) -> dict[str, Any]:
    kept = [[value for value in values if not _is_missing(value)] for values in (before, after)]
    numeric = all(isinstance(value, (int, float)) and not isinstance(value, bool) for part in kept for value in part)
    if not kept[0] or not kept[1]:
        statistic, p_value = (0.0, 1.0) if not kept[0] and not kept[1] else (1.0, 0.0)
    elif numeric:
        statistic, p_value = ks_2samp(kept[0], kept[1])
    else:
        statistic, p_value = frequencies([str(value) for value in kept[0]], [str(value) for value in kept[1]])
    return {
        "kind": "numeric" if numeric else "categorical",
        "statistic": statistic,
        "p_value": p_value,
        "drifted": p_value < threshold,
        "missing_reference": 1 - len(kept[0]) / len(before) if before else 0.0,
        "missing_current": 1 - len(kept[1]) / len(after) if after else 0.0,
    }


def ks_2samp(first: Sequence[float], second: Sequence[float]) -> tuple[float, float]:
    """Two-sided two-sample Kolmogorov-Smirnov test: (statistic, p-value).

    The p-value is exact where the product of the sizes is at most 10,000, else from the asymptotic distribution.
    """
    one, two = sorted(first), sorted(second)
    n, m = len(one), len(two)
    if not n or not m:
        raise Refused("a Kolmogorov-Smirnov test needs values on both sides, not %d and %d" % (n, m))
    distance = _distance(one, two)  # times n * m, an integer
    statistic = distance / (n * m)
    if n * m <= 10_000:
        return statistic, _exact(n, m, distance)
    # Kolmogorov's distribution; the effective size is rounded as is customary for the two-sample test.
    size = n * m / (n + m)
    return statistic, _kolmogorov(statistic * math.sqrt(size))


def _distance(one: list[float], two: list[float]) -> int:
    """The largest |i/n - j/m| over all values, times n * m."""
    n, m = len(one), len(two)
    numpy = sys.modules.get("numpy")
    if numpy is not None and n + m > 1000:
        both = numpy.concatenate([one, two])
        below_one = numpy.searchsorted(one, both, side="right")
        below_two = numpy.searchsorted(two, both, side="right")
        return int(numpy.abs(below_one * m - below_two * n).max())
    largest = i = j = 0
    while i < n and j < m:
        value = min(one[i], two[j])
        while i < n and one[i] == value:
            i += 1
        while j < m and two[j] == value:
            j += 1
        largest = max(largest, abs(i * m - j * n))
    return largest


def _exact(n: int, m: int, distance: int) -> float:
    """P(D >= d) by counting lattice paths from (0, 0) to (n, m) that stay closer than d to the diagonal."""
    if distance == 0:
        return 1.0
    # inside[j]: share of the paths to (i, j) that never reached the distance
    inside = [0.0] * (m + 1)
    for i in range(n + 1):
        for j in range(m + 1):
            if abs(i * m - j * n) >= distance:
                inside[j] = 0.0
            elif i == 0 and j == 0:
                inside[j] = 1.0
            else:
                left = inside[j - 1] * j if j else 0.0
                inside[j] = (left + inside[j] * i) / (i + j) if i else left / j
    return min(1.0, max(0.0, 1.0 - inside[m]))


def _kolmogorov(x: float) -> float:
    """P(K > x) of Kolmogorov's distribution, by the series that converges fast on its side."""
    if x <= 0:
        return 1.0
    if x < 1.0:
        total = sum(math.exp(-((2 * k - 1) ** 2) * math.pi**2 / (8 * x * x)) for k in range(1, 20))
        return min(1.0, max(0.0, 1.0 - math.sqrt(2 * math.pi) / x * total))
    total = sum(math.exp(-2 * k * k * x * x) * (1 if k % 2 else -1) for k in range(1, 20))
    return min(1.0, max(0.0, 2 * total))


def frequencies(first: Sequence[str], second: Sequence[str]) -> tuple[float, float]:
    """(total variation distance, p-value of the chi-square test) of two samples of categories."""
    counts: dict[str, list[int]] = {}
    for side, values in enumerate((first, second)):
        for value in values:
            counts.setdefault(value, [0, 0])[side] += 1
    n, m = len(first), len(second)
    distance = sum(abs(a / n - b / m) for a, b in counts.values()) / 2
    square = 0.0
    for a, b in counts.values():
        share = (a + b) / (n + m)
        square += (a - n * share) ** 2 / (n * share) + (b - m * share) ** 2 / (m * share)
    return distance, _chi_square(square, len(counts) - 1)


def _chi_square(value: float, freedom: int) -> float:
    """P(X > value) of the chi-square distribution: the regularized upper incomplete gamma function."""
    if freedom <= 0 or value <= 0:
        return 1.0
    a, x = freedom / 2, value / 2
    scale = math.exp(a * math.log(x) - x - math.lgamma(a))
    if x < a + 1:  # series for the lower part
        term = total = 1 / a
        k = a
        while abs(term) > abs(total) * 1e-15:
            k += 1
            term *= x / k
            total += term
        return min(1.0, max(0.0, 1 - total * scale))
    b = x + 1 - a  # continued fraction (Lentz)
    c = 1e300
    d = 1 / b
    h = d
    for i in range(1, 10_000):
        an = -i * (i - a)
        b += 2
        d = 1 / (an * d + b or 1e-300)
        c = b + an / c or 1e-300
        change = c * d
        h *= change
        if abs(change - 1) < 1e-15:
            break
    return min(1.0, max(0.0, h * scale))


__all__ = ["compare", "frequencies", "ks_2samp", "metrics"]
