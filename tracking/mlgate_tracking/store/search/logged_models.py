"""Search of logged models."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import sqlalchemy as sa

from mlgate_tracking.errors import InvalidParameterValue
from mlgate_tracking.store.search import paging
from mlgate_tracking.store.search.compile import (
    Condition,
    Expression,
    Keyed,
    Subject,
    Term,
    among,
    attribute,
    key_id,
    number_condition,
    term,
)
from mlgate_tracking.store.search.grammar import LOGGED_MODELS
from mlgate_tracking.store.search.parser import (
    check_datasets,
    parse_experiment_ids,
    parse_filter,
    parse_logged_model_order_by,
)
from mlgate_tracking.store.search.query import Rows, fetch_page, with_tail
from mlgate_tracking.store.search.syntax import Comparison, Kind, Operator, Ordering
from mlgate_tracking.store.tables import (
    logged_model_metrics,
    logged_model_params,
    logged_model_tags,
    logged_models,
)

MAX_RESULTS = 1_000

SUBJECT = Subject(
    key=logged_models.c.logged_model_pk,
    attributes={
        name: logged_models.c[name]
        for name in (
            "name",
            "model_id",
            "experiment_id",
            "model_type",
            "source_run_id",
            "status",
            "creation_timestamp",
            "last_updated_timestamp",
        )
    },
    keyed={
        Kind.PARAM: Keyed(logged_model_params, "logged_model_pk", interned=True),
        Kind.TAG: Keyed(logged_model_tags, "logged_model_pk", interned=True),
    },
)
_TAIL = (attribute("creation_timestamp", ascending=False), attribute("model_id"))


def search_logged_models(
    connection: sa.Connection,
    experiment_ids: Sequence[str],
    *,
    filter_string: str | None = None,
    datasets: Sequence[Mapping[str, str]] = (),
    order_by: Sequence[Mapping[str, object]] = (),
    max_results: int = 50,
    page_token: str | None = None,
) -> Rows:
    """One page of `logged_model_pk`s.

    Raises:
        InvalidParameterValue: no experiment, or a filter, dataset, order, page size or token that is bad.
    """
    paging.check_max_results(max_results, MAX_RESULTS)
    if not experiment_ids:
        msg = "experiment_ids: name at least one experiment to search for logged models"
        raise InvalidParameterValue(msg)
    experiments = parse_experiment_ids(experiment_ids)
    check_datasets(datasets)
    comparisons = parse_filter(LOGGED_MODELS, filter_string)
    given = parse_logged_model_order_by(order_by)
    orderings = with_tail(given, _TAIL)
    dialect = connection.dialect.name
    on_dataset = [_on_dataset(dataset) for dataset in datasets]
    conditions: list[Condition] = [
        logged_models.c.deleted_time.is_(None),
        among(logged_models.c.experiment_id, experiments),
    ]
    conditions += [_condition(each, on_dataset, dialect) for each in comparisons]
    if on_dataset and not any(each.field.kind is Kind.METRIC for each in comparisons):
        conditions.append(sa.exists(_points().where(sa.or_(*on_dataset))))
    return fetch_page(
        connection,
        SUBJECT.key,
        logged_models,
        conditions,
        [_term(ordering, dialect) for ordering in orderings],
        search=paging.digest(
            "logged models",
            experiments,
            filter_string or "",
            [sorted(dataset.items()) for dataset in datasets],
            [(str(each), each.dataset_name, each.dataset_digest) for each in orderings],
        ),
        max_results=max_results,
        page_token=page_token,
    )


def _points() -> sa.Select[Any]:
    """Metric points of the model at hand."""
    owner = logged_model_metrics.c.logged_model_pk == logged_models.c.logged_model_pk
    return sa.select(sa.literal(1)).select_from(logged_model_metrics).where(owner).correlate(logged_models)


def _on_dataset(dataset: Mapping[str, str]) -> Condition:
    name, digest = dataset.get("dataset_name"), dataset.get("dataset_digest")
    if not name:
        msg = f"datasets: every entry needs a dataset_name, got {dict(dataset)!r}"
        raise InvalidParameterValue(msg)
    named = logged_model_metrics.c.dataset_name == name
    return sa.and_(named, logged_model_metrics.c.dataset_digest == digest) if digest else named


def _condition(comparison: Comparison, on_dataset: list[Condition], dialect: str) -> Condition:
    if comparison.field.kind is not Kind.METRIC:
        return SUBJECT.condition(comparison, dialect)
    assert isinstance(comparison.value, int | float)
    columns = logged_model_metrics.c
    holds = number_condition(columns.value, comparison.operator, comparison.value)
    holds = (
        sa.or_(columns.is_nan == 1, holds)
        if comparison.operator is Operator.NE
        else sa.and_(columns.is_nan == 0, holds)
    )
    points = _points().where(columns.key_id == key_id(comparison.field.key), holds)
    return sa.exists(points.where(sa.or_(*on_dataset)) if on_dataset else points)


def _term(ordering: Ordering, dialect: str) -> Term:
    if ordering.field.kind is not Kind.METRIC:
        return SUBJECT.term(ordering, dialect)
    points = logged_model_metrics.alias()
    value: Expression = sa.case((points.c.is_nan == 0, points.c.value), else_=None)
    latest = sa.select(value).where(
        points.c.logged_model_pk == logged_models.c.logged_model_pk,
        points.c.key_id == key_id(ordering.field.key),
    )
    if ordering.dataset_name:
        latest = latest.where(points.c.dataset_name == ordering.dataset_name)
    if ordering.dataset_digest:
        latest = latest.where(points.c.dataset_digest == ordering.dataset_digest)
    latest = latest.order_by(points.c.timestamp.desc(), points.c.step.desc(), points.c.run_id).limit(1)
    found: Expression = latest.correlate(logged_models).scalar_subquery()
    return term(found, ascending=ordering.ascending, nullable=True)


__all__ = ["MAX_RESULTS", "SUBJECT", "search_logged_models"]
