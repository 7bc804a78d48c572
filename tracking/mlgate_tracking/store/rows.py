"""Rows for keys that a search has found."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from mlgate_tracking.store.transaction import Row, Transaction

_CHUNK = 10_000


def key_lists(keys: Sequence[int]) -> Iterator[str]:
    """Lists of surrogate keys as SQL text, each short enough for one statement."""
    return (", ".join(map(str, keys[start : start + _CHUNK])) for start in range(0, len(keys), _CHUNK))


def rows_by_key(tx: Transaction, select: str, column: str, keys: Sequence[int], position: int = 0) -> list[Row]:
    """The rows of `select` whose `column`, at `position` in the row, is one of the keys, in the order of the keys."""
    found: dict[int, Row] = {}
    for listed in key_lists(keys):
        found |= {row[position]: row for row in tx.rows(f"{select} WHERE {column} IN ({listed})")}
    return [found[key] for key in keys]


__all__ = ["key_lists", "rows_by_key"]
