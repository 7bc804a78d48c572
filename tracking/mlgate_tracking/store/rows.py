"""Rows for surrogate keys, such as a search has found."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

from mlgate_tracking.store.transaction import Row, Transaction

_CHUNK = 10_000


def among_keys(tx: Transaction, column: str, keys: Sequence[int]) -> Iterator[tuple[str, dict[str, Any]]]:
    """Conditions with their parameters that together choose the rows whose integer `column` is one of `keys`.

    Each one's list is short enough for one statement; there is none when there are no keys.
    """
    return (tx.dialect.among(column, keys[start : start + _CHUNK]) for start in range(0, len(keys), _CHUNK))


def rows_by_key(tx: Transaction, select: str, column: str, keys: Sequence[int], position: int = 0) -> list[Row]:
    """The rows of `select` whose `column`, at `position` in the row, is one of the keys, in the order of the keys.

    A row that was deleted since its key was found is left out.
    """
    found: dict[int, Row] = {}
    for among, params in among_keys(tx, column, keys):
        found |= {row[position]: row for row in tx.rows(f"{select} WHERE {among}", params)}
    return [found[key] for key in keys if key in found]


__all__ = ["among_keys", "rows_by_key"]
