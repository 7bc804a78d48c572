"""Confusion matrix and feature importances as SVG: no drawing library is needed, and none is imported."""

from __future__ import annotations

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence
    from typing import Any

MOST = 30
"""Features in the picture, classes in the matrix; more would be unreadable."""
_CELL, _ROW, _LETTER = 44, 20, 7
"""Pixels: a cell of the matrix, a bar with its gap, the width of a letter of the 12-pixel font."""


def _text(x: float, y: float, content: Any, anchor: str = "middle", color: str = "#222", turn: str = "") -> str:
    clean = str(content).replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")
    clean = "".join(letter for letter in clean if letter.isprintable())
    form = '<text x="%.1f" y="%.1f" text-anchor="%s" dominant-baseline="central" fill="%s"%s>%s</text>'
    return form % (x, y, anchor, color, turn, clean)


def _box(x: float, y: float, width: float, height: float, color: str) -> str:
    return '<rect x="%.1f" y="%.1f" width="%.1f" height="%.1f" fill="%s"/>' % (x, y, width, height, color)


def _svg(width: float, height: float, shapes: list[str]) -> bytes:
    head = '<svg xmlns="http://www.w3.org/2000/svg" width="%d" height="%d" font-family="sans-serif" font-size="12">'
    whole = [head % (width, height), _box(0, 0, width, height, "white"), *shapes, "</svg>"]
    return "\n".join(whole).encode("utf-8")


def _short(content: Any, most: int) -> str:
    text = str(content)
    return text if len(text) <= most else text[: most - 1] + "\u2026"


def confusion_matrix(labels: Sequence[Any], counts: Any) -> bytes | None:
    """A matrix of counts, rows true and columns predicted; None with too many classes."""
    if not 0 < len(labels) <= MOST:
        return None
    names = [_short(label, 16) for label in labels]
    rows = [[int(value) for value in row] for row in counts]
    largest = max(max(row) for row in rows) or 1
    left, top = 40 + _LETTER * max(map(len, names)), 60
    width, height = left + _CELL * len(names) + 20, top + _CELL * len(names) + 20
    shapes = [_text(left + _CELL * len(names) / 2, 14, "predicted")]
    middle = top + _CELL * len(names) / 2
    shapes.append(_text(14, middle, "true", turn=' transform="rotate(-90 14 %.1f)"' % middle))
    for number, name in enumerate(names):
        shapes.append(_text(left + _CELL * (number + 0.5), top - 16, _short(name, 6)))
        shapes.append(_text(left - 8, top + _CELL * (number + 0.5), name, "end"))
    for row, values in enumerate(rows):
        for column, value in enumerate(values):
            share = value / largest
            shade = "rgb(%d,%d,%d)" % (247 - share * 239, 251 - share * 203, 255 - share * 148)
            x, y = left + _CELL * column, top + _CELL * row
            shapes.append(_box(x, y, _CELL - 1, _CELL - 1, shade))
            shapes.append(_text(x + _CELL / 2, y + _CELL / 2, value, color="white" if share > 0.5 else "#222"))
    return _svg(width, height, shapes)


def importances(values: dict[str, float], title: str = "feature importance") -> bytes | None:
    """Bars, the largest first; None without any."""
    largest = sorted(values.items(), key=lambda item: -abs(item[1]))[:MOST]
    longest = max((abs(value) for _, value in largest), default=0.0)
    if not longest:
        return None
    left = 20 + _LETTER * max(len(_short(name, 40)) for name, _ in largest)
    shapes = [_text(left, 14, title, "start")]
    for number, (name, value) in enumerate(largest):
        y = 40 + _ROW * number
        length = 360 * abs(value) / longest
        shapes.append(_text(left - 8, y, _short(name, 40), "end"))
        shapes.append(_box(left, y - 7, length, 14, "#3b7dd8" if value >= 0 else "#d8743b"))
        shapes.append(_text(left + length + 6, y, "%.4g" % value, "start"))
    return _svg(left + 460, 40 + _ROW * len(largest), shapes)


__all__ = ["confusion_matrix", "importances"]
