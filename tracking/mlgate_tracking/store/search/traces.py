"""Search of traces."""

from __future__ import annotations

from collections.abc import Sequence

import sqlalchemy as sa

from mlgate_tracking.store.search import paging
from mlgate_tracking.store.search.compile import Condition, Keyed, Subject, Term, among, attribute, term
from mlgate_tracking.store.search.compile import column_condition as compare
from mlgate_tracking.store.search.grammar import TRACES
from mlgate_tracking.store.search.parser import parse_experiment_ids, parse_filter, parse_order_by
from mlgate_tracking.store.search.query import Rows, fetch_page, with_tail
from mlgate_tracking.store.search.syntax import Comparison, Field, Kind, Ordering
from mlgate_tracking.store.tables import trace_metadata, trace_tags, traces

MAX_RESULTS = 500

SUBJECT = Subject(
    key=traces.c.trace_pk,
    attributes={
        "trace_id": traces.c.trace_id,
        "experiment_id": traces.c.experiment_id,
        "client_request_id": traces.c.client_request_id,
        "status": traces.c.state,
        "timestamp_ms": traces.c.request_time,
        "execution_time_ms": traces.c.execution_duration,
    },
    keyed={
        Kind.TAG: Keyed(trace_tags, "trace_pk"),
        Kind.METADATA: Keyed(trace_metadata, "trace_pk"),
    },
)
_END_TIME = Field(Kind.ATTRIBUTE, "end_time_ms")
_TAIL = (attribute("timestamp_ms", ascending=False), attribute("trace_id"))


def search_traces(
    connection: sa.Connection,
    experiment_ids: Sequence[str],
    *,
    filter_string: str | None = None,
    order_by: Sequence[str] = (),
    max_results: int = 100,
    page_token: str | None = None,
) -> Rows:
    """One page of `trace_pk`s.

    Raises:
        InvalidParameterValue: scope, filter, order, page size or token is bad.
    """
    paging.check_max_results(max_results, MAX_RESULTS)
    experiments = parse_experiment_ids(experiment_ids)
    comparisons = parse_filter(TRACES, filter_string)
    orderings = with_tail(parse_order_by(TRACES, order_by), _TAIL)
    dialect = connection.dialect.name
    return fetch_page(
        connection,
        SUBJECT.key,
        traces,
        [among(traces.c.experiment_id, experiments), *(_condition(each, dialect) for each in comparisons)],
        [_term(ordering, dialect) for ordering in orderings],
        search=paging.digest("traces", experiments, filter_string or "", [str(each) for each in orderings]),
        max_results=max_results,
        page_token=page_token,
    )


def _condition(comparison: Comparison, dialect: str) -> Condition:
    if comparison.field == _END_TIME:
        return compare(traces.c.request_time + traces.c.execution_duration, comparison, dialect)
    return SUBJECT.condition(comparison, dialect)


def _term(ordering: Ordering, dialect: str) -> Term:
    if ordering.field == _END_TIME:
        end_time = traces.c.request_time + traces.c.execution_duration
        return term(end_time, ascending=ordering.ascending, nullable=True)
    return SUBJECT.term(ordering, dialect)


__all__ = ["MAX_RESULTS", "SUBJECT", "search_traces"]
