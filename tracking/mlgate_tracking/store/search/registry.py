"""Search of registered models and of model versions.

Prompts live in the same tables, marked by a tag. Both searches hide them unless the filter asks for them, and a model
that lacks the tag is no prompt: `!= 'true'` and `= 'false'` match it, against the usual meaning of an absent key.
"""

from __future__ import annotations

from collections.abc import Sequence

import sqlalchemy as sa

from mlgate_tracking.entities import PROMPT_TAG
from mlgate_tracking.store.search import paging
from mlgate_tracking.store.search.compile import Condition, Keyed, Subject, attribute
from mlgate_tracking.store.search.grammar import MODEL_VERSIONS, REGISTERED_MODELS
from mlgate_tracking.store.search.parser import parse_filter, parse_order_by
from mlgate_tracking.store.search.query import Rows, fetch_page, with_tail
from mlgate_tracking.store.search.syntax import Comparison, Field, Filter, Kind, Operator
from mlgate_tracking.store.tables import (
    model_version_tags,
    model_versions,
    registered_model_tags,
    registered_models,
)

MAX_MODELS = 1_000
MAX_VERSIONS = 200_000
_IS_PROMPT = Comparison(Field(Kind.TAG, PROMPT_TAG), Operator.EQ, "true")

MODELS = Subject(
    key=registered_models.c.registered_model_pk,
    attributes={
        "name": registered_models.c.name,
        "last_updated_timestamp": registered_models.c.last_updated_timestamp,
    },
    keyed={Kind.TAG: Keyed(registered_model_tags, "registered_model_pk")},
)
VERSIONS = Subject(
    key=model_versions.c.model_version_pk,
    attributes={
        "name": registered_models.c.name,
        "version_number": model_versions.c.version,
        "run_id": model_versions.c.run_id,
        "source_path": model_versions.c.source,
        "creation_timestamp": model_versions.c.creation_timestamp,
        "last_updated_timestamp": model_versions.c.last_updated_timestamp,
    },
    keyed={Kind.TAG: Keyed(model_version_tags, "model_version_pk")},
)
_NAME = attribute("name")
_VERSION_TIE = (_NAME, attribute("version_number", ascending=False))
_NEWEST_VERSIONS = (attribute("last_updated_timestamp", ascending=False), *_VERSION_TIE)


def search_registered_models(
    connection: sa.Connection,
    *,
    filter_string: str | None = None,
    order_by: Sequence[str] = (),
    max_results: int = 100,
    page_token: str | None = None,
) -> Rows:
    """One page of `registered_model_pk`s.

    Raises:
        InvalidParameterValue: filter, order, page size or token is bad.
    """
    paging.check_max_results(max_results, MAX_MODELS)
    comparisons = parse_filter(REGISTERED_MODELS, filter_string)
    orderings = with_tail(parse_order_by(REGISTERED_MODELS, order_by), (_NAME,))
    dialect = connection.dialect.name
    return fetch_page(
        connection,
        MODELS.key,
        registered_models,
        _conditions(MODELS, comparisons, dialect),
        [MODELS.term(ordering, dialect) for ordering in orderings],
        search=paging.digest("registered models", filter_string or "", [str(each) for each in orderings]),
        max_results=max_results,
        page_token=page_token,
    )


def search_model_versions(
    connection: sa.Connection,
    *,
    filter_string: str | None = None,
    order_by: Sequence[str] = (),
    max_results: int = MAX_VERSIONS,
    page_token: str | None = None,
) -> Rows:
    """One page of `model_version_pk`s; deleted versions never appear.

    Raises:
        InvalidParameterValue: filter, order, page size or token is bad.
    """
    paging.check_max_results(max_results, MAX_VERSIONS)
    comparisons = parse_filter(MODEL_VERSIONS, filter_string)
    given = parse_order_by(MODEL_VERSIONS, order_by)
    orderings = with_tail(given, _VERSION_TIE) if given else _NEWEST_VERSIONS
    dialect = connection.dialect.name
    owner = registered_models.c.registered_model_pk == model_versions.c.registered_model_pk
    return fetch_page(
        connection,
        VERSIONS.key,
        model_versions.join(registered_models, owner),
        [model_versions.c.deleted_time.is_(None), *_conditions(VERSIONS, comparisons, dialect)],
        [VERSIONS.term(ordering, dialect) for ordering in orderings],
        search=paging.digest("model versions", filter_string or "", [str(each) for each in orderings]),
        max_results=max_results,
        page_token=page_token,
    )


def _conditions(subject: Subject, comparisons: Filter, dialect: str) -> list[Condition]:
    is_prompt = subject.condition(_IS_PROMPT, dialect)
    conditions = []
    asked = False
    for comparison in comparisons:
        if comparison.field == _IS_PROMPT.field and comparison.operator in {Operator.EQ, Operator.NE}:
            asked = True
            wanted = (comparison.value == "true") == (comparison.operator is Operator.EQ)
            conditions.append(is_prompt if wanted else ~is_prompt)
        else:
            conditions.append(subject.condition(comparison, dialect))
    return conditions if asked else [*conditions, ~is_prompt]


__all__ = [
    "MAX_MODELS",
    "MAX_VERSIONS",
    "MODELS",
    "VERSIONS",
    "search_model_versions",
    "search_registered_models",
]
