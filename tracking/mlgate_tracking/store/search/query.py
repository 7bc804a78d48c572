"""One page of a search that sorts what matches: everything but runs, whose numbers need more (see `runs`)."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import sqlalchemy as sa

from mlgate_tracking.store.search import paging
from mlgate_tracking.store.search.compile import Condition, Expression, Term, after, apart, joined, ordered
from mlgate_tracking.store.search.syntax import Ordering


@dataclass(frozen=True, slots=True)
class Rows:
    """Row keys of one page in order, and the token of the next."""

    keys: tuple[int, ...]
    token: str | None


def fetch_page(
    connection: sa.Connection,
    key: Expression,
    source: sa.FromClause,
    conditions: Iterable[Condition],
    terms: Sequence[Term],
    *,
    search: str,
    max_results: int,
    page_token: str | None,
) -> Rows:
    """Select one page of row keys.

    Args:
        connection: the database, in a transaction.
        key: column of the row keys.
        source: where to select from; the terms' joins are added.
        conditions: what rows have to satisfy.
        terms: the order, ending in a unique one.
        search: name of the search (`paging.digest`) that tokens must belong to.
        max_results: rows of a page.
        page_token: where the last page ended.
    """
    last = paging.decode(page_token, search)
    statement = ordered(sa.select(key).select_from(joined(source, terms)), terms)
    statement = statement.where(*apart(conditions, connection.dialect.name))
    if last is not None:
        statement = statement.where(after(terms, last))
    return cut(list(connection.execute(statement.limit(max_results + 1))), max_results, search)


def cut(found: Sequence[sa.Row[Any]], max_results: int, search: str) -> Rows:
    """The page in `found` (key, then sort key), which holds one row too many when there is another page."""
    keys = tuple(row[0] for row in found[:max_results])
    more = len(found) > max_results
    return Rows(keys, paging.encode(found[max_results - 1][1:], search) if more else None)


def with_tail(orderings: tuple[Ordering, ...], tail: Sequence[Ordering]) -> tuple[Ordering, ...]:
    """Add the tie-breakers that are not ordered by already; the last one is unique."""
    given = {ordering.field for ordering in orderings}
    return (*orderings, *(each for each in tail if each.field not in given))


__all__ = ["Rows", "cut", "fetch_page", "with_tail"]
