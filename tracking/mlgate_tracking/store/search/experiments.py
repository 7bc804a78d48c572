"""Search of experiments."""

from __future__ import annotations

from collections.abc import Sequence

import sqlalchemy as sa

from mlgate_tracking.entities import ViewType
from mlgate_tracking.store.search import paging
from mlgate_tracking.store.search.compile import Condition, Keyed, Subject, attribute
from mlgate_tracking.store.search.grammar import EXPERIMENTS
from mlgate_tracking.store.search.parser import parse_filter, parse_order_by
from mlgate_tracking.store.search.query import Rows, fetch_page, with_tail
from mlgate_tracking.store.search.syntax import Kind
from mlgate_tracking.store.tables import experiment_tags, experiments

MAX_RESULTS = 50_000

SUBJECT = Subject(
    key=experiments.c.experiment_id,
    attributes={
        "experiment_id": experiments.c.experiment_id,
        "name": experiments.c.name,
        "creation_time": experiments.c.creation_time,
        "last_update_time": experiments.c.last_update_time,
    },
    keyed={Kind.TAG: Keyed(experiment_tags, "experiment_id")},
)
_NEWEST = (attribute("creation_time", ascending=False), attribute("experiment_id"))
_TIE = (attribute("experiment_id", ascending=False),)


def search_experiments(
    connection: sa.Connection,
    *,
    filter_string: str | None = None,
    order_by: Sequence[str] = (),
    view_type: ViewType = ViewType.ACTIVE_ONLY,
    max_results: int = 1000,
    page_token: str | None = None,
) -> Rows:
    """One page of experiment ids.

    Raises:
        InvalidParameterValue: filter, order, page size or token is bad.
    """
    paging.check_max_results(max_results, MAX_RESULTS)
    comparisons = parse_filter(EXPERIMENTS, filter_string)
    orderings = with_tail(parse_order_by(EXPERIMENTS, order_by), _TIE) if order_by else _NEWEST
    dialect = connection.dialect.name
    return fetch_page(
        connection,
        SUBJECT.key,
        experiments,
        [*(SUBJECT.condition(each, dialect) for each in comparisons), *in_stage(experiments.c.deleted_time, view_type)],
        [SUBJECT.term(ordering, dialect) for ordering in orderings],
        search=paging.digest("experiments", filter_string or "", [str(each) for each in orderings], str(view_type)),
        max_results=max_results,
        page_token=page_token,
    )


def in_stage(deleted_time: sa.ColumnElement[int], view_type: ViewType) -> list[Condition]:
    """Rows in the life-cycle stage that a view shows."""
    if view_type is ViewType.ACTIVE_ONLY:
        return [deleted_time.is_(None)]
    return [deleted_time.is_not(None)] if view_type is ViewType.DELETED_ONLY else []


__all__ = ["MAX_RESULTS", "SUBJECT", "in_stage", "search_experiments"]
