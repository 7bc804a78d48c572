"""Search of runs: one page of row keys, in time that does not grow with the number of runs.

Two ways to a page, weighed by counting (in an index, up to a bound) how many runs each comparison and the scope allow:

- *collect*: take the runs that the rarest comparison allows, check the other comparisons, sort;
- *scan*: walk an index that is in the wanted order already and stop when the page is full. Runs ordered by a metric or
  by end time come in segments (values, then NaN, then missing), each an index of its own.

An order without an index collects whatever the number; over a million runs it sorts them all.
"""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property, lru_cache
from typing import Any
from weakref import WeakKeyDictionary

import sqlalchemy as sa

from mlgate_tracking.entities import ViewType
from mlgate_tracking.store.search import paging
from mlgate_tracking.store.search.compile import (
    MYSQL,
    Condition,
    Expression,
    Keyed,
    Subject,
    Term,
    after,
    among,
    apart,
    attribute,
    column_condition,
    exists,
    joined,
    key_id,
    number_condition,
    ordered,
    term,
    text_condition,
    unindexed,
)
from mlgate_tracking.store.search.grammar import RUNS
from mlgate_tracking.store.search.paging import SortKey
from mlgate_tracking.store.search.parser import MAX_LISTED, parse_experiment_ids, parse_filter, parse_order_by
from mlgate_tracking.store.search.query import Rows, cut, with_tail
from mlgate_tracking.store.search.syntax import Comparison, Field, Filter, Kind, Operator, Ordering
from mlgate_tracking.store.tables import (
    dataset_input_tags,
    dataset_inputs,
    datasets,
    latest_metrics,
    params,
    runs,
    tags,
)

MAX_RESULTS = 50_000
FEW = 20_000
"""How far runs are counted; so many and more are never collected where an index is in the wanted order."""
FEW_ON_SERVERS = 5_000
"""The same where counting in an index may have to visit the rows."""
NEARBY = 4
"""Runs that a walk in order of time passes while one is collected: they lie side by side, the others anywhere."""
MAX_WEIGHED = 10
"""Comparisons whose runs are counted."""
MAX_BRANCHES = 200
"""Experiments whose indexes are merged in one statement."""
MAX_MERGED = 200_000
"""Rows that a merge may read."""
KEPT = 100
"""Searches whose statements are kept."""
COUNTED_FOR = 5.0
"""Seconds for which a search that is asked again does not count again."""
KEPT_EXPERIMENTS = 20
KEPT_LENGTH = 1000
"""Characters of such a search, so that what is kept stays small."""
CONTEXT_TAG = "mlflow.data.context"

SUBJECT = Subject(
    key=runs.c.run_pk,
    attributes={
        "run_id": runs.c.run_id,
        "run_name": runs.c.name,
        "status": runs.c.status,
        "user_id": runs.c.user_id,
        "artifact_uri": runs.c.artifact_uri,
        "start_time": runs.c.start_time,
        "end_time": runs.c.end_time,
    },
    keyed={
        Kind.PARAM: Keyed(params, "run_pk", interned=True, hashed=True),
        Kind.TAG: Keyed(tags, "run_pk", interned=True, hashed=True),
    },
)
# The same tables inside a subquery. An alias costs as much as a small statement, so each is made once.
_CHECKED = latest_metrics.alias("checked")
_FOUND = runs.alias("found")
_FOUND_SUBJECT = Subject(
    key=_FOUND.c.run_pk,
    attributes={name: _FOUND.c[column.name] for name, column in SUBJECT.attributes.items()},
    keyed={},
)
_NEWEST = attribute("start_time", ascending=False)
_TAIL = (_NEWEST, attribute("run_id"))
_IN_TIME = frozenset({"start_time", "end_time"})


def search_runs(
    connection: sa.Connection,
    experiment_ids: Sequence[str],
    *,
    filter_string: str | None = None,
    order_by: Sequence[str] = (),
    view_type: ViewType = ViewType.ACTIVE_ONLY,
    max_results: int = 1000,
    page_token: str | None = None,
) -> Rows:
    """One page of `run_pk`s; ids that are no integer name no experiment.

    Raises:
        InvalidParameterValue: scope, filter, order, page size or token is bad.
    """
    paging.check_max_results(max_results, MAX_RESULTS)
    experiments = parse_experiment_ids(experiment_ids)
    given = (connection.dialect.name, experiments, filter_string or "", tuple(order_by), view_type, max_results)
    short = len(experiments) <= KEPT_EXPERIMENTS and len(str(given)) <= KEPT_LENGTH
    search = _kept_search(*given) if short else _Search(*given)
    last = paging.decode(page_token, search.name)
    if not experiments:
        return Rows((), None)
    return cut(search.page(connection, last), max_results, search.name)


def _with_tail(orderings: tuple[Ordering, ...]) -> tuple[Ordering, ...]:
    """Add the tie-breakers; nothing after `run_id`, which is unique, changes the order."""
    given = [ordering.field for ordering in orderings]
    run_id = _TAIL[1].field
    return orderings[: given.index(run_id) + 1] if run_id in given else with_tail(orderings, _TAIL)


@dataclass(frozen=True, slots=True, eq=False)
class _Segment:
    """A stretch of the order that one index serves.

    Attributes:
        rank: constant sort key before the rest; None when the order has no rank.
        conditions: what makes a run belong here.
        table: the table whose index is walked.
        first: the first sort value; None when the whole segment lacks it.
    """

    rank: int | None
    conditions: tuple[Condition, ...]
    table: sa.FromClause
    first: sa.ColumnElement[Any] | None


class _Search:
    """One search, whatever connection it is asked on; safe to use from several threads.

    Attributes:
        name: what its page tokens belong to.
    """

    def __init__(
        self,
        dialect: str,
        experiments: tuple[int, ...],
        filter_string: str,
        order_by: tuple[str, ...],
        view_type: ViewType,
        max_results: int,
    ) -> None:
        self._dialect = dialect
        self._experiments = experiments
        self._comparisons: Filter = parse_filter(RUNS, filter_string)
        self._orderings = _with_tail(parse_order_by(RUNS, order_by))
        orders = [str(each) for each in self._orderings]
        self.name = paging.digest("runs", experiments, filter_string, orders, str(view_type))
        self._view_type = view_type
        self._limit = max_results + 1
        self._few = FEW if dialect == "sqlite" else FEW_ON_SERVERS
        self._first_pages: dict[_Driver | _Segment | None, sa.Select[Any] | sa.CompoundSelect[Any]] = {}
        """Statements of first pages, once built, by what they collect from or walk."""
        self._numbers: WeakKeyDictionary[sa.Engine, tuple[float, Sequence[Any]]] = WeakKeyDictionary()

    def page(self, connection: sa.Connection, last: SortKey | None) -> list[sa.Row[Any]]:
        """At most one row more than the page holds: `run_pk`, then the sort key."""
        segments = self._segments if self._mergeable() else []
        if not self._drivers and segments:
            return self._scan(connection, segments, last)  # nothing to weigh
        driver, collected, scanned = self._weigh(connection)
        first = self._orderings[0].field
        if first.kind is Kind.ATTRIBUTE and first.key in _IN_TIME:
            scanned /= NEARBY
        if segments and scan_is_shorter(collected, scanned, self._few):
            return self._scan(connection, segments, last)
        return self._collect(connection, driver, last)

    def _mergeable(self) -> bool:
        """Whether one statement can walk the index of every experiment: each walk repeats the filter's values."""
        walks = len(self._experiments)
        listed = sum(len(each.value) for each in self._comparisons if isinstance(each.value, tuple))
        return walks <= MAX_BRANCHES and walks * self._limit <= MAX_MERGED and walks * listed <= MAX_LISTED

    def _weigh(self, connection: sa.Connection) -> tuple[_Driver | None, int, float]:
        """How many rows each way would touch.

        Returns:
            the comparison to collect from (None for the whole scope), how many runs that collects (counted up to
            `_few`), and how many a scan may expect to pass until a page is full, were the comparisons independent.
        """
        all_runs, in_scope, *numbers = self._counted(connection)
        total = in_scope if in_scope < self._few else max(all_runs or 0, self._few)
        passed = float(self._limit)
        for number in numbers:
            passed *= total / max(number, 1)
        fewest = min(range(len(self._drivers)), key=numbers.__getitem__, default=None)
        if fewest is None or numbers[fewest] >= in_scope:
            return None, in_scope, passed
        return self._drivers[fewest], numbers[fewest], passed

    def _counted(self, connection: sa.Connection) -> Sequence[Any]:
        """The row of `_counts`, seconds old at most: it decides how runs are found, never which."""
        at = time.monotonic()
        known = self._numbers.get(connection.engine)
        if known is None or at - known[0] > COUNTED_FOR:
            known = self._numbers[connection.engine] = (at, connection.execute(self._counts).one())
        return known[1]

    @cached_property
    def _counts(self) -> sa.Select[Any]:
        scope = sa.select(sa.literal(1)).select_from(runs).where(among(runs.c.experiment_id, self._experiments))
        counts = [scope, *(driver.candidates for driver in self._drivers)]
        bounded = [
            sa.select(sa.func.count()).select_from(each.limit(_known(self._few)).subquery()).scalar_subquery()
            for each in counts
        ]
        ever = sa.select(sa.func.max(runs.c.run_pk)).scalar_subquery()
        return sa.select(ever, *bounded)

    # --- collect ------------------------------------------------------------------------------------------------

    def _collect(self, connection: sa.Connection, driver: _Driver | None, last: SortKey | None) -> list[sa.Row[Any]]:
        statement = self._first_pages.get(driver) if last is None else None
        if statement is None:
            statement = self._collecting(driver, last)
            if last is None:
                self._first_pages[driver] = statement
        return list(connection.execute(statement))

    def _collecting(self, driver: _Driver | None, last: SortKey | None) -> sa.Select[Any]:
        terms = [self._term(ordering) for ordering in self._orderings]
        statement = ordered(sa.select(runs.c.run_pk).select_from(joined(runs, terms)), terms)
        scope: Expression = runs.c.experiment_id
        if driver is not None:
            # The row keys come from the driver; SQLite must not walk an index of runs and test each.
            scope = unindexed(scope, self._dialect)
            statement = statement.where(runs.c.run_pk.in_(self._collected(driver)))
        statement = statement.where(among(scope, self._experiments), *self._lifecycle())
        done = driver.comparison if driver is not None else None
        checks = (condition(each, self._dialect) for each in self._comparisons if each is not done)
        statement = statement.where(*apart(checks, self._dialect))
        if last is not None:
            statement = statement.where(after(terms, last))
        return statement.limit(_known(self._limit))

    def _collected(self, driver: _Driver) -> sa.Select[tuple[int]]:
        """The driver's keys, so written that PostgreSQL too collects them before it looks at runs."""
        if self._dialect != "postgresql":
            return driver.keys
        return sa.select(driver.keys.cte("collected").prefix_with("MATERIALIZED").c[0])

    def _term(self, ordering: Ordering) -> Term:
        if ordering.field.kind is not Kind.METRIC:
            return SUBJECT.term(ordering, self._dialect)
        mine = latest_metrics.alias()
        rank = sa.case((mine.c.run_pk.is_(None), 2), else_=mine.c.is_nan)
        join = sa.and_(mine.c.run_pk == runs.c.run_pk, mine.c.key_id == key_id(ordering.field.key))
        return Term(((rank, True), (mine.c.value, ordering.ascending)), (mine, join))

    @cached_property
    def _drivers(self) -> list[_Driver]:
        drivers = [driver for each in self._comparisons if (driver := _driver(each, self._experiments, self._dialect))]
        if self._view_type is ViewType.DELETED_ONLY:
            mine = _FOUND
            deleted = sa.select(mine.c.run_pk).where(
                among(mine.c.experiment_id, self._experiments), mine.c.deleted_time.is_not(None)
            )
            drivers.append(_Driver(None, deleted, deleted))
        return drivers[:MAX_WEIGHED]

    def _lifecycle(self) -> Iterator[Condition]:
        if self._view_type is ViewType.ACTIVE_ONLY:
            yield runs.c.deleted_time.is_(None)
        elif self._view_type is ViewType.DELETED_ONLY:
            yield runs.c.deleted_time.is_not(None)

    # --- scan ---------------------------------------------------------------------------------------------------

    @cached_property
    def _segments(self) -> list[_Segment]:
        """The stretches of the wanted order, each with its index; none when no index is in this order."""
        first = self._orderings[0]
        if first.field == _NEWEST.field:
            return [_Segment(None, (), runs, runs.c.start_time)]
        if first.field == Field(Kind.ATTRIBUTE, "run_name") and self._dialect != "postgresql":
            return [_Segment(None, (), runs, runs.c.name)]
        if first.field == Field(Kind.ATTRIBUTE, "end_time"):
            return [
                _Segment(0, (runs.c.end_time.is_not(None),), runs, runs.c.end_time),
                _Segment(1, (runs.c.end_time.is_(None),), runs, None),
            ]
        if first.field.kind is not Kind.METRIC:
            return []
        key = key_id(first.field.key)
        mine = latest_metrics
        segments = [_Segment(0, (mine.c.key_id == key, mine.c.is_nan == 0), mine, mine.c.value)]
        on_it = [each for each in self._comparisons if each.field == first.field]
        if all(each.operator is Operator.NE for each in on_it):
            segments.append(_Segment(1, (mine.c.key_id == key, mine.c.is_nan == 1), mine, mine.c.value))
        if not on_it:  # a run without the metric matches no comparison with it
            other = _CHECKED
            absent = ~sa.exists(sa.select(sa.literal(1)).where(other.c.run_pk == runs.c.run_pk, other.c.key_id == key))
            segments.append(_Segment(2, (absent,), runs, None))
        return segments

    def _scan(self, connection: sa.Connection, segments: list[_Segment], last: SortKey | None) -> list[sa.Row[Any]]:
        found: list[sa.Row[Any]] = []
        for segment in segments:
            position = last
            if last is not None and segment.rank is not None:
                if not isinstance(last[0], int) or last[0] > segment.rank:
                    continue
                position = last if last[0] == segment.rank else None
            found += self._walked(connection, segment, position, self._limit - len(found))
            if len(found) >= self._limit:
                break
        return found

    def _walked(
        self, connection: sa.Connection, segment: _Segment, position: SortKey | None, limit: int
    ) -> sa.CursorResult[Any]:
        statement = self._walk(segment, position, limit)
        first, ascending = segment.first, self._orderings[0].ascending
        in_index = self._dialect not in MYSQL or self._orderings[0] == _NEWEST
        if first is not None and not in_index and isinstance(statement, sa.Select) and len(self._experiments) == 1:
            # These sort everything when an index has the first sort key only; so see first where the page ends.
            in_order = first.asc() if ascending else first.desc()
            page_end = statement.with_only_columns(first).order_by(None).order_by(in_order).limit(1).offset(limit - 1)
            last = connection.execute(page_end).scalar()
            if last is not None:
                statement = statement.where(first <= last if ascending else first >= last)
        return connection.execute(statement)

    def _walk(self, segment: _Segment, position: SortKey | None, limit: int) -> sa.Select[Any] | sa.CompoundSelect[Any]:
        if position is not None or limit != self._limit:
            return self._segment(segment, position, limit)
        statement = self._first_pages.get(segment)
        if statement is None:
            statement = self._first_pages[segment] = self._segment(segment, None, limit)
        return statement

    def _segment(
        self, segment: _Segment, position: SortKey | None, limit: int
    ) -> sa.Select[Any] | sa.CompoundSelect[Any]:
        upto = _known(limit) if limit == self._limit else limit
        branches = [self._branch(segment, experiment, position).limit(upto) for experiment in self._experiments]
        if len(branches) == 1:
            return branches[0]
        merged = sa.union_all(*(sa.select(branch.subquery()) for branch in branches)).subquery()
        directions = [ascending for each in self._segment_terms(segment) for _, ascending in each.columns]
        columns = [merged.c[f"k{at}"] for at in range(len(directions))]
        by = [column.asc() if up else column.desc() for column, up in zip(columns, directions, strict=True)]
        return sa.select(merged).order_by(*by).limit(upto)

    def _segment_terms(self, segment: _Segment) -> list[Term]:
        """The sort keys inside a segment, in the same number and order as those of `_collect`."""
        first, *rest = self._orderings
        terms = [self._term(ordering) for ordering in rest]
        if segment.rank is None:
            return [term(_not_none(segment.first), ascending=first.ascending), *terms]
        rank: Expression = sa.literal_column(str(segment.rank), sa.Integer)
        value: Expression = sa.null() if segment.first is None else segment.first
        return [Term(((rank, True), (value, first.ascending))), *terms]

    def _branch(self, segment: _Segment, experiment: int, position: SortKey | None) -> sa.Select[Any]:
        terms = self._segment_terms(segment)
        source: sa.FromClause = runs
        if segment.table is not runs:
            source = segment.table.join(runs, runs.c.run_pk == segment.table.c.run_pk)
        statement = sa.select(runs.c.run_pk).select_from(joined(source, terms))
        columns = [column for each in terms for column in each.columns]
        statement = statement.add_columns(*(column.label(f"k{at}") for at, (column, _) in enumerate(columns)))
        sorted_by = columns if segment.rank is None else columns[2 if segment.first is None else 1 :]
        statement = statement.order_by(*(column.asc() if up else column.desc() for column, up in sorted_by))
        statement = statement.where(
            segment.table.c.experiment_id == experiment, *segment.conditions, *self._lifecycle()
        )
        checks = apart(self._checks(segment), self._dialect, many=0)
        statement = statement.where(*self._narrowing(segment), *checks)
        if position is not None:
            skipped = len(columns) - len(sorted_by)
            statement = statement.where(after([Term(tuple(sorted_by))], position[skipped:]))
        return statement

    def _narrowing(self, segment: _Segment) -> Iterator[Condition]:
        """The comparisons with what is walked: they shorten the walk."""
        for comparison in self._comparisons:
            if self._narrows(comparison, segment):
                if segment.table is latest_metrics:
                    yield _metric_condition(latest_metrics, comparison)
                else:
                    yield condition(comparison, self._dialect, walked=segment.first)

    def _checks(self, segment: _Segment) -> Iterator[Condition]:
        """The other comparisons, looked at for each run on the way."""
        for comparison in self._comparisons:
            if not self._narrows(comparison, segment):
                # By the key of what is walked: whatever else belongs to the run is only read for those that pass.
                yield condition(comparison, self._dialect, row=segment.table.c.run_pk)

    def _narrows(self, comparison: Comparison, segment: _Segment) -> bool:
        return segment.first is not None and comparison.field == self._orderings[0].field


def scan_is_shorter(collected: int, scanned: float, few: int) -> bool:
    """Whether to walk an index, given how many rows each way would touch; they were counted up to `few`."""
    return collected >= few or scanned < collected


_kept_search = lru_cache(KEPT)(_Search)
"""A search that was asked before keeps its statements: building them costs more than running them."""


# --- conditions ---------------------------------------------------------------------------------------------------


def condition(
    comparison: Comparison,
    dialect: str,
    *,
    walked: sa.ColumnElement[Any] | None = None,
    row: sa.ColumnElement[int] | None = None,
) -> Condition:
    """Runs for which the comparison holds; only the column that is `walked` may lead to an index.

    Args:
        row: see `Subject.condition`.
    """
    kind = comparison.field.kind
    run_pk, by_row = (runs.c.run_pk, False) if row is None else (row, True)
    if kind is Kind.METRIC:
        mine: sa.Select[Any] = sa.select(sa.literal(1)).where(
            _CHECKED.c.run_pk == run_pk,
            _CHECKED.c.key_id == key_id(comparison.field.key),
            _metric_condition(_CHECKED, comparison),
        )
        return exists(mine, dialect, by_row=by_row)
    if kind is Kind.DATASET:
        mine = _dataset_inputs(comparison, dialect).where(dataset_inputs.c.run_pk == run_pk)
        return exists(mine, dialect, by_row=by_row)
    if kind is Kind.ATTRIBUTE:
        column = SUBJECT.attributes[comparison.field.key]
        return column_condition(column if column is walked else unindexed(column, dialect), comparison, dialect)
    return SUBJECT.condition(comparison, dialect, row=row)


def _metric_condition(table: sa.FromClause, comparison: Comparison) -> Condition:
    assert isinstance(comparison.value, int | float)
    holds = number_condition(table.c.value, comparison.operator, comparison.value)
    if comparison.operator is Operator.NE:
        return sa.or_(table.c.is_nan == 1, holds)
    return sa.and_(table.c.is_nan == 0, holds)


def _dataset_inputs(comparison: Comparison, dialect: str) -> sa.Select[tuple[int]]:
    chosen = sa.select(dataset_inputs.c.run_pk)
    if comparison.field.key == "context":
        marked = dataset_input_tags
        return chosen.join(
            marked,
            sa.and_(
                marked.c.run_pk == dataset_inputs.c.run_pk,
                marked.c.dataset_pk == dataset_inputs.c.dataset_pk,
                marked.c.name == CONTEXT_TAG,
            ),
        ).where(text_condition(marked.c.value, comparison.operator, comparison.value, dialect))
    column = datasets.c.name if comparison.field.key == "name" else datasets.c.digest
    return chosen.join(datasets, datasets.c.dataset_pk == dataset_inputs.c.dataset_pk).where(
        text_condition(column, comparison.operator, comparison.value, dialect)
    )


# --- drivers ------------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True, eq=False)
class _Driver:
    """A way to the runs that match one comparison through an index.

    Attributes:
        comparison: the one that `keys` settles; None for the life-cycle stage.
        keys: statement of the matching runs' keys.
        candidates: what an index alone tells of them, for counting.
    """

    comparison: Comparison | None
    keys: sa.Select[tuple[int]]
    candidates: sa.Select[tuple[int]]


def _driver(comparison: Comparison, experiments: Sequence[int], dialect: str) -> _Driver | None:
    kind, operator = comparison.field.kind, comparison.operator
    if operator is Operator.IS_NULL:
        return None
    if kind is Kind.METRIC:
        found = sa.select(latest_metrics.c.run_pk).where(
            among(latest_metrics.c.experiment_id, experiments),
            latest_metrics.c.key_id == key_id(comparison.field.key),
            _metric_condition(latest_metrics, comparison),
        )
        return _Driver(comparison, found, found)
    if kind in SUBJECT.keyed:
        return _keyed_driver(comparison, experiments, dialect)
    if kind is Kind.DATASET:
        if operator in {Operator.NE, Operator.NOT_IN} or comparison.field.key == "context":
            return None
        found = _dataset_inputs(comparison, dialect).where(among(datasets.c.experiment_id, experiments))
        return _Driver(comparison, found, found)
    indexed = {
        "run_id": {Operator.EQ, Operator.IN},
        "run_name": {Operator.EQ},
        "start_time": {Operator.EQ, Operator.LT, Operator.LE, Operator.GT, Operator.GE},
        "end_time": {Operator.EQ, Operator.LT, Operator.LE, Operator.GT, Operator.GE},
    }
    if operator not in indexed.get(comparison.field.key, ()):
        return None
    found = sa.select(_FOUND.c.run_pk).where(
        among(_FOUND.c.experiment_id, experiments), _FOUND_SUBJECT.condition(comparison, dialect)
    )
    return _Driver(comparison, found, found)


def _keyed_driver(comparison: Comparison, experiments: Sequence[int], dialect: str) -> _Driver:
    keyed = SUBJECT.keyed[comparison.field.kind]
    of_key = sa.select(keyed.table.c.run_pk).where(
        among(keyed.table.c.experiment_id, experiments), keyed.of(comparison.field.key)
    )
    if comparison.operator is Operator.IS_NOT_NULL:
        return _Driver(comparison, of_key, of_key)
    candidates = of_key
    if comparison.operator is Operator.EQ:
        candidates = of_key.where(keyed.hash_matches(comparison))
    return _Driver(comparison, of_key.where(keyed.value_matches(comparison, dialect)), candidates)


def _known(limit: int) -> sa.ColumnElement[int]:
    """A limit that stands in the text: a plan that is kept for any limit would not be the one for a short page."""
    return sa.literal_column(str(limit), sa.Integer)


def _not_none(expression: sa.ColumnElement[Any] | None) -> sa.ColumnElement[Any]:
    assert expression is not None
    return expression


__all__ = ["MAX_RESULTS", "SUBJECT", "condition", "search_runs"]
