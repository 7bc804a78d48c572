"""Scores of predictions, in plain Python, for the resamples of the bootstrap; named and defined as scikit-learn does.

Each takes (expected, predicted) pairs. Averages over classes are unweighted (`macro`).
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Callable, Sequence
from typing import Any

Pairs = Sequence[tuple[Any, Any]]


def accuracy(pairs: Pairs) -> float:
    return sum(bool(truth == guess) for truth, guess in pairs) / len(pairs)


def balanced_accuracy(pairs: Pairs) -> float:
    """Mean recall over the classes that occur in the truth."""
    cells = Counter(pairs)
    totals: Counter[Any] = Counter()
    for (truth, _), count in cells.items():
        totals[truth] += count
    return sum(cells[(label, label)] / total for label, total in totals.items()) / len(totals)


def _per_class(pairs: Pairs) -> list[tuple[int, int, int]]:
    """(true positives, predicted, actual) of every class that occurs."""
    cells = Counter(pairs)
    actual: Counter[Any] = Counter()
    guessed: Counter[Any] = Counter()
    for (truth, guess), count in cells.items():
        actual[truth] += count
        guessed[guess] += count
    return [(cells[(label, label)], guessed[label], actual[label]) for label in actual.keys() | guessed.keys()]


def precision(pairs: Pairs) -> float:
    classes = _per_class(pairs)
    return sum(hits / guessed if guessed else 0.0 for hits, guessed, _ in classes) / len(classes)


def recall(pairs: Pairs) -> float:
    classes = _per_class(pairs)
    return sum(hits / actual if actual else 0.0 for hits, _, actual in classes) / len(classes)


def f1(pairs: Pairs) -> float:
    classes = _per_class(pairs)
    return sum(2 * hits / (guessed + actual) for hits, guessed, actual in classes) / len(classes)


def mean_absolute_error(pairs: Pairs) -> float:
    return math.fsum(abs(truth - guess) for truth, guess in pairs) / len(pairs)


def mean_squared_error(pairs: Pairs) -> float:
    return math.fsum((truth - guess) ** 2 for truth, guess in pairs) / len(pairs)


def root_mean_squared_error(pairs: Pairs) -> float:
    return math.sqrt(mean_squared_error(pairs))


def r2(pairs: Pairs) -> float:
    """Share of the variance explained; 1 or 0 when the truth does not vary (exact or not), as scikit-learn answers."""
    mean = math.fsum(truth for truth, _ in pairs) / len(pairs)
    total = math.fsum((truth - mean) ** 2 for truth, _ in pairs)
    residual = math.fsum((truth - guess) ** 2 for truth, guess in pairs)
    if total == 0:
        return 1.0 if residual == 0 else 0.0
    return 1.0 - residual / total


SCORES: dict[str, Callable[[Pairs], float]] = {
    "accuracy": accuracy,
    "balanced_accuracy": balanced_accuracy,
    "precision": precision,
    "recall": recall,
    "f1": f1,
    "mean_absolute_error": mean_absolute_error,
    "mean_squared_error": mean_squared_error,
    "root_mean_squared_error": root_mean_squared_error,
    "r2": r2,
}

ALIASES = {
    "accuracy_score": "accuracy",
    "precision_score": "precision",
    "recall_score": "recall",
    "f1_score": "f1",
    "mae": "mean_absolute_error",
    "mse": "mean_squared_error",
    "rmse": "root_mean_squared_error",
    "r2_score": "r2",
}

LOWER_IS_BETTER = ("loss", "error", "mae", "mse", "rmse", "mape", "latency", "hinge", "deviance")


def canonical_name(name: str) -> str:
    """The name that this module and the evaluator use for a score."""
    return ALIASES.get(name, name)


def greater_is_better(metric: str) -> bool:
    """What the name of a metric says about its direction: losses and errors should fall, everything else rise."""
    words = metric.lower().replace("-", "_").replace(".", "_").replace("/", "_").split("_")
    return not any(word in LOWER_IS_BETTER for word in words)


__all__ = ["ALIASES", "SCORES", "Pairs", "canonical_name", "greater_is_better"]
