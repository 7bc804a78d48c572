"""Scores of predictions, in plain Python, for the resamples of the bootstrap; named and defined as scikit-learn does.

Each takes counted (expected, predicted) pairs, so that a resample costs what its distinct pairs cost and not its rows.
Averages over classes are unweighted (`macro`).
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Callable, Mapping
from typing import Any

Cells = Mapping[tuple[Any, Any], int]
"""(expected, predicted) → how often."""


def accuracy(cells: Cells) -> float:
    return sum(count for (truth, guess), count in cells.items() if truth == guess) / sum(cells.values())


def balanced_accuracy(cells: Cells) -> float:
    """Mean recall over the classes that occur in the truth."""
    totals: Counter[Any] = Counter()
    for (truth, _), count in cells.items():
        totals[truth] += count
    return sum(cells.get((label, label), 0) / total for label, total in totals.items()) / len(totals)


def _per_class(cells: Cells) -> list[tuple[int, int, int]]:
    """(true positives, predicted, actual) of every class that occurs."""
    actual: Counter[Any] = Counter()
    guessed: Counter[Any] = Counter()
    for (truth, guess), count in cells.items():
        actual[truth] += count
        guessed[guess] += count
    labels = actual.keys() | guessed.keys()
    return [(cells.get((label, label), 0), guessed[label], actual[label]) for label in labels]


def precision(cells: Cells) -> float:
    classes = _per_class(cells)
    return sum(hits / guessed if guessed else 0.0 for hits, guessed, _ in classes) / len(classes)


def recall(cells: Cells) -> float:
    classes = _per_class(cells)
    return sum(hits / actual if actual else 0.0 for hits, _, actual in classes) / len(classes)


def f1(cells: Cells) -> float:
    classes = _per_class(cells)
    return sum(2 * hits / (guessed + actual) for hits, guessed, actual in classes) / len(classes)


def mean_absolute_error(cells: Cells) -> float:
    return _mean(cells, lambda truth, guess: abs(truth - guess))


def mean_squared_error(cells: Cells) -> float:
    return _mean(cells, lambda truth, guess: (truth - guess) ** 2)


def root_mean_squared_error(cells: Cells) -> float:
    return math.sqrt(mean_squared_error(cells))


def r2(cells: Cells) -> float:
    """Share of the variance explained; 1 or 0 when the truth does not vary (exact or not), as scikit-learn answers."""
    mean = _mean(cells, lambda truth, _: truth)
    total = _mean(cells, lambda truth, _: (truth - mean) ** 2)
    residual = mean_squared_error(cells)
    if total == 0:
        return 1.0 if residual == 0 else 0.0
    return 1.0 - residual / total


def _mean(cells: Cells, of: Callable[[Any, Any], float]) -> float:
    return math.fsum(count * of(truth, guess) for (truth, guess), count in cells.items()) / sum(cells.values())


SCORES: dict[str, Callable[[Cells], float]] = {
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


__all__ = ["ALIASES", "SCORES", "Cells", "canonical_name", "greater_is_better"]
