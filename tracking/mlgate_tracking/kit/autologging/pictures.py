"""Confusion matrix and feature importances as PNG, drawn by matplotlib where the environment has it."""

from __future__ import annotations

import importlib.util
import io
import logging

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence
    from typing import Any

MOST = 30
"""Features in the picture, classes in the matrix; more would be unreadable."""


def _figure(width: float, height: float) -> Any:
    """A matplotlib figure without pyplot (whose backend and open figures are the script's); None without matplotlib."""
    if importlib.util.find_spec("matplotlib") is None:
        return None
    logger = logging.getLogger("matplotlib")
    level = logger.level
    logger.setLevel(logging.ERROR)  # it tells when it builds its font cache
    try:
        from matplotlib.backends.backend_agg import FigureCanvasAgg
        from matplotlib.figure import Figure

        figure = Figure(figsize=(width, height), layout="tight") if _has_layout(Figure) else Figure((width, height))
        FigureCanvasAgg(figure)
        return figure
    finally:
        logger.setLevel(level)


def _has_layout(figure: Any) -> bool:
    import inspect

    return "layout" in inspect.signature(figure.__init__).parameters


def _png(figure: Any) -> bytes:
    stream = io.BytesIO()
    figure.savefig(stream, format="png", dpi=100)
    return stream.getvalue()


def confusion_matrix(labels: Sequence[Any], counts: Any) -> bytes | None:
    """A matrix of counts, rows true and columns predicted; None without matplotlib or with too many classes."""
    if len(labels) > MOST:
        return None
    side = 3 + 0.4 * len(labels)
    figure = _figure(side + 1, side)
    if figure is None:
        return None
    axes = figure.add_subplot()
    image = axes.imshow(counts, cmap="Blues")
    figure.colorbar(image, ax=axes)
    names = [str(label) for label in labels]
    axes.set_xticks(range(len(names)), names, rotation=45 if max(map(len, names)) > 3 else 0)
    axes.set_yticks(range(len(names)), names)
    axes.set_xlabel("predicted")
    axes.set_ylabel("true")
    half = counts.max() / 2
    for row in range(len(names)):
        for column in range(len(names)):
            shade = "white" if counts[row][column] > half else "black"
            axes.text(column, row, str(counts[row][column]), ha="center", va="center", color=shade)
    return _png(figure)


def importances(values: dict[str, float], title: str = "feature importance") -> bytes | None:
    """Bars, the largest first; None without matplotlib."""
    largest = sorted(values.items(), key=lambda item: abs(item[1]))[-MOST:]
    figure = _figure(7, 1 + 0.3 * len(largest))
    if figure is None or not largest:
        return None
    axes = figure.add_subplot()
    axes.barh([name for name, _ in largest], [value for _, value in largest])
    axes.set_xlabel(title)
    return _png(figure)


__all__ = ["confusion_matrix", "importances"]
