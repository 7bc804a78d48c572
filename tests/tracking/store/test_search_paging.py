"""Page tokens: what goes in comes out, and no other text passes."""

from __future__ import annotations

import base64
import contextlib
import json
from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mlgate_tracking.errors import InvalidParameterValue
from mlgate_tracking.store.search import paging
from mlgate_tracking.store.search.grammar import Grammar
from mlgate_tracking.store.sql import SqlStore
from mlgate_tracking.testing.search import zoo_of
from tests.tracking.store.filters import ALL, comparisons, fields

_values = st.one_of(
    st.none(),
    st.integers(-(2**63), 2**63 - 1),
    st.floats(allow_nan=False, allow_infinity=False),
    st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0")),
)


@settings(deadline=None)
@given(st.lists(_values, min_size=1))
def test_a_sort_key_comes_back(key: list[Any]) -> None:
    assert paging.decode(paging.encode(key, "search"), "search") == tuple(key)


@settings(deadline=None)
@given(st.one_of(st.text(), st.binary().map(lambda data: base64.urlsafe_b64encode(data).decode())))
def test_no_other_text_is_a_token(text: str) -> None:
    if text:
        with pytest.raises(InvalidParameterValue, match="page_token"):
            paging.decode(text, "search")
    else:
        assert paging.decode(text, "search") is None


@pytest.mark.parametrize("content", [None, 1, {}, [], ["search"], ["search", True], ["search", [1]], ["search", 2**70]])
def test_a_token_of_another_shape_is_refused(content: object) -> None:
    token = base64.urlsafe_b64encode(json.dumps(content).encode()).decode()
    with pytest.raises(InvalidParameterValue, match="page_token"):
        paging.decode(token, "search")


def test_deep_nesting_is_refused() -> None:
    token = base64.urlsafe_b64encode(b"[" * 100_000).decode()
    with pytest.raises(InvalidParameterValue, match="page_token"):
        paging.decode(token, "search")


def test_searches_have_different_names() -> None:
    names = {paging.digest("runs", [1], "a"), paging.digest("runs", [1, 2], "a"), paging.digest("models", [1], "a")}
    assert len(names) == 3


@pytest.mark.parametrize("value", [0, -1, 11, True, "5", 1.5, None])
def test_a_page_size_out_of_range_is_refused(value: Any) -> None:
    assert paging.check_max_results(10, 10) == 10
    with pytest.raises(InvalidParameterValue, match="max_results"):
        paging.check_max_results(value, 10)


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> Any:
    with SqlStore(f"sqlite:///{tmp_path_factory.mktemp('store')}/store.db") as opened:
        yield opened


def searches(store: SqlStore) -> dict[str, Callable[..., Any]]:
    experiments = list(zoo_of(store).experiment_ids)
    return {
        "runs": lambda **search: store.search_runs(experiments, **search),
        "experiments": store.search_experiments,
        "registered models": store.search_registered_models,
        "model versions": store.search_model_versions,
        "logged models": lambda **search: store.search_logged_models(experiments, **search),
        "traces": lambda **search: store.search_traces(experiments, **search),
    }


@pytest.mark.parametrize("grammar", ALL, ids=lambda grammar: grammar.subject)
@settings(max_examples=30, deadline=None)
@given(data=st.data())
def test_every_well_formed_filter_and_order_runs(store: SqlStore, grammar: Grammar, data: st.DataObject) -> None:
    filter_string = " AND ".join(str(each) for each in data.draw(st.lists(comparisons(grammar), max_size=4)))
    ordered = data.draw(st.lists(fields(grammar, ordered=True), unique=True, max_size=3))
    order_by: list[Any] = [f"{field} DESC" for field in ordered]
    if grammar.subject == "logged models":
        order_by = [{"field_name": str(field).replace("`", ""), "ascending": False} for field in ordered]
        order_by = [each for each in order_by if not {"'", '"'} & set(each["field_name"])]
    elif grammar.subject == "registered models":
        order_by = [f"{field.key} DESC" for field in ordered]
    search = searches(store)[grammar.subject]
    page = search(filter_string=filter_string, order_by=order_by, max_results=1)
    if page.token is not None:
        assert search(filter_string=filter_string, order_by=order_by, max_results=1, page_token=page.token).items


@settings(max_examples=30, deadline=None)
@given(st.lists(_values, min_size=1, max_size=5))
def test_a_forged_sort_key_is_refused_or_harmless(store: SqlStore, key: list[Any]) -> None:
    experiments = list(zoo_of(store).experiment_ids)
    token = store.search_runs(experiments, order_by=["metrics.m"], max_results=1).token
    assert token is not None
    name = json.loads(base64.urlsafe_b64decode(token))[0]
    with contextlib.suppress(InvalidParameterValue):
        store.search_runs(experiments, order_by=["metrics.m"], page_token=paging.encode(key, name))
