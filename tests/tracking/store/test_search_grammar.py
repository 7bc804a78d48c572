"""The filter and order-by grammars: what they accept, what it means, and how they refuse the rest."""

from __future__ import annotations

import re
from collections.abc import Callable

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from mlgate_tracking.errors import InvalidParameterValue
from mlgate_tracking.store.search import grammar as grammars
from mlgate_tracking.store.search.grammar import (
    EXPERIMENTS,
    LOGGED_MODELS,
    MODEL_VERSIONS,
    REGISTERED_MODELS,
    RUNS,
    TRACES,
    Grammar,
)
from mlgate_tracking.store.search.parser import (
    MAX_COMPARISONS,
    MAX_PATTERN,
    parse_filter,
    parse_logged_model_order_by,
    parse_order_by,
)
from mlgate_tracking.store.search.syntax import Comparison, Field, Kind, Operator, Ordering
from tests.tracking.store.filters import ALL, comparisons, fields, near_misses

LONG_LIST = ",".join(["'x'"] * 20_000)


def attribute(name: str) -> Field:
    return Field(Kind.ATTRIBUTE, name)


# --- what a filter means ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("metrics.acc > 0.9", Comparison(Field(Kind.METRIC, "acc"), Operator.GT, 0.9)),
        ("metric.acc >= -1e-3", Comparison(Field(Kind.METRIC, "acc"), Operator.GE, -1e-3)),
        ("metrics.`val/loss` < 5", Comparison(Field(Kind.METRIC, "val/loss"), Operator.LT, 5)),
        ('metrics."val loss"<=.5', Comparison(Field(Kind.METRIC, "val loss"), Operator.LE, 0.5)),
        ("`metrics`.`a b` != 3", Comparison(Field(Kind.METRIC, "a b"), Operator.NE, 3)),
        ("`metrics`.a.b = 3", Comparison(Field(Kind.METRIC, "a.b"), Operator.EQ, 3)),
        ("parameters.lr = '0.1'", Comparison(Field(Kind.PARAM, "lr"), Operator.EQ, "0.1")),
        ("tags.mlflow.source.type = 'LOCAL'", Comparison(Field(Kind.TAG, "mlflow.source.type"), Operator.EQ, "LOCAL")),
        ("tags.mlflow.`user name` = 'x'", Comparison(Field(Kind.TAG, "mlflow.user name"), Operator.EQ, "x")),
        ('tag.team like "%a_"', Comparison(Field(Kind.TAG, "team"), Operator.LIKE, "%a_")),
        ("tags.x is null", Comparison(Field(Kind.TAG, "x"), Operator.IS_NULL)),
        ("params.x IS  NOT\nNULL", Comparison(Field(Kind.PARAM, "x"), Operator.IS_NOT_NULL)),
        ("run_id IN ('a', \"b\")", Comparison(attribute("run_id"), Operator.IN, ("a", "b"))),
        ("run.run_id not in ('a')", Comparison(attribute("run_id"), Operator.NOT_IN, ("a",))),
        ("attributes.`Run name` = 'n'", Comparison(attribute("run_name"), Operator.EQ, "n")),
        ("`run name` = 'n'", Comparison(attribute("run_name"), Operator.EQ, "n")),
        ("attr.Created > 12", Comparison(attribute("start_time"), Operator.GT, 12)),
        ("status = 'FINISHED'", Comparison(attribute("status"), Operator.EQ, "FINISHED")),
        ("datasets.context IN ('train')", Comparison(Field(Kind.DATASET, "context"), Operator.IN, ("train",))),
        ("tags.q = 'it''s'", Comparison(Field(Kind.TAG, "q"), Operator.EQ, "it''s")),
        ('tags.q = "it\'s"', Comparison(Field(Kind.TAG, "q"), Operator.EQ, "it's")),
        (r"tags.q = 'a\'", Comparison(Field(Kind.TAG, "q"), Operator.EQ, "a\\")),
    ],
)
def test_a_filter_of_runs_means(text: str, expected: Comparison) -> None:
    assert parse_filter(RUNS, text) == (expected,)


def test_comparisons_are_joined_by_and_in_any_case() -> None:
    parsed = parse_filter(RUNS, "metrics.a > 1 and tags.b = 'x' AND status = 'RUNNING'")
    assert [str(each.field) for each in parsed] == ["metrics.`a`", "tags.`b`", "status"]


@pytest.mark.parametrize("grammar", ALL, ids=lambda grammar: grammar.subject)
@pytest.mark.parametrize("nothing", [None, ""])
def test_no_filter_matches_everything(grammar: Grammar, nothing: str | None) -> None:
    assert parse_filter(grammar, nothing) == ()


def test_words_of_the_other_subjects() -> None:
    assert parse_filter(EXPERIMENTS, "experiment_id IN ('1')")[0].value == ("1",)
    assert parse_filter(MODEL_VERSIONS, "version_number >= '3'")[0].value == 3
    assert parse_filter(LOGGED_MODELS, "status = 'READY'")[0].value == "LOGGED_MODEL_READY"
    assert parse_filter(LOGGED_MODELS, "creation_time > 5")[0].field == attribute("creation_timestamp")
    assert parse_filter(TRACES, "trace.name = 'predict'")[0].field == Field(Kind.TAG, "mlflow.traceName")
    assert parse_filter(TRACES, "run_id = 'r'")[0].field == Field(Kind.METADATA, "mlflow.sourceRun")
    assert parse_filter(TRACES, "tag.x RLIKE '^a+$'")[0].operator is Operator.RLIKE


# --- refusals ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("grammar", "text", "says"),
    [
        (RUNS, " ", "character 2: found the end, expected one of metric.KEY"),
        (RUNS, "metrics.a > 1 OR metrics.b > 2", r"character 15: found 'OR', expected AND"),
        (RUNS, "metrics.a > 1 metrics.b > 2", r"character 15: found 'metrics.b', expected AND"),
        (RUNS, "(metrics.a > 1)", r"character 1: found '\('"),
        (RUNS, "NOT metrics.a > 1", "found 'NOT'"),
        (RUNS, "metrics.a == 1", r"character 11: found '==', expected one of .* \(write = for equality\)"),
        (RUNS, "metrics.a <> 1", r"\(write !=\)"),
        (RUNS, "metrics.a BETWEEN 1 AND 2", r"write x >= a AND x <= b"),
        (RUNS, "metrics.a > '1'", "expected a number without quotes for metrics.`a`"),
        (RUNS, "metrics.a > 1e999", "a finite 64-bit number"),
        (RUNS, "start_time > 99999999999999999999", None),
        (RUNS, "metrics.a LIKE 'x'", "found 'LIKE', expected one of =, !=, <"),
        (RUNS, "params.a = 1", "expected a text in quotes for params.`a`"),
        (RUNS, "params.a = x", "expected a text in quotes"),
        (RUNS, "params.a > '1'", "found '>', expected one of =, !=, LIKE, ILIKE, IS NULL, IS NOT NULL"),
        (RUNS, "params.a IN ('x')", "found 'IN', expected one of"),
        (RUNS, "status IN ('RUNNING')", "found 'IN'"),
        (RUNS, "run_id IN ()", "expected a text in quotes"),
        (RUNS, "run_id IN ('a' 'b')", r"expected ',' or '\)'"),
        (RUNS, "run_id IN 'a'", r"as in \('a', 'b'\)"),
        (RUNS, "run_id IN (1)", "expected a text in quotes"),
        (RUNS, "params.a = 'x", r"expected a closing ' \(there are no escapes\)"),
        (RUNS, "params.a-b = 'x'", "put a key with '-' in backticks"),
        (RUNS, "metrics.a > 1;", "only one clause"),
        (RUNS, "metrics. > 1", "a key right after 'metrics.'"),
        (RUNS, "metrics.`` > 1", "a key right after"),
        (RUNS, "foo.a = 'x'", "found 'foo.a', expected one of"),
        (RUNS, "foo = 'x'", "expected one of"),
        (RUNS, "dataset.source = 'x'", r"expected dataset.\{context, digest, name\}"),
        (RUNS, "tags.a RLIKE 'x'", "found 'RLIKE'"),
        (RUNS, "tags.a IS 'x'", "expected NULL or NOT NULL after IS"),
        (RUNS, "tags.a NOT 'x'", "expected IN after NOT"),
        (RUNS, "tags.a = 'x\0'", "a NUL character"),
        (RUNS, "tags.a = '\ud800'", "half of a surrogate pair"),
        (RUNS, f"tags.a LIKE '{'x' * (MAX_PATTERN + 1)}'", "a pattern of at most"),
        (RUNS, " AND ".join(["metrics.a > 1"] * (MAX_COMPARISONS + 1)), "more than 50 comparisons"),
        (RUNS, f"run_id IN ({LONG_LIST}) AND run_id IN ({LONG_LIST})", "40000 values in its lists; at most 30000"),
        (EXPERIMENTS, "attr.name = 'x'", "found 'attr.name'"),
        (EXPERIMENTS, "lifecycle_stage = 'deleted'", "expected one of"),
        (REGISTERED_MODELS, "last_updated_timestamp > 1", r"expected one of tag.KEY, tags.KEY, name \(search of reg"),
        (MODEL_VERSIONS, "attributes.name = 'x'", "found 'attributes.name'"),
        (MODEL_VERSIONS, "current_stage = 'Production'", "expected one of"),
        (MODEL_VERSIONS, "version_number > 'x'", "a finite 64-bit number"),
        (MODEL_VERSIONS, "version_number > '1_0'", "a finite 64-bit number"),
        (LOGGED_MODELS, "status = 'DONE'", "expected one of 'PENDING', 'READY'"),
        (LOGGED_MODELS, "tag.a = 'x'", "found 'tag.a'"),
        (TRACES, "span.name = 'x'", "spans are kept in the trace's artifact"),
        (TRACES, "tag.x RLIKE '('", r"a regular expression \("),
    ],
)
def test_a_bad_filter_says_where_and_what_would_work(grammar: Grammar, text: str, says: str | None) -> None:
    if says is None:
        parse_filter(grammar, text)  # beyond 64 bits it is a float, as everywhere in SQL
        return
    with pytest.raises(InvalidParameterValue, match=says) as refused:
        parse_filter(grammar, text)
    assert "\n" not in refused.value.message


# --- orders -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("grammar", "text", "expected"),
    [
        (RUNS, "metrics.acc DESC", Ordering(Field(Kind.METRIC, "acc"), False)),
        (RUNS, "metrics.`a b` asc", Ordering(Field(Kind.METRIC, "a b"))),
        (RUNS, "Created", Ordering(attribute("start_time"))),
        (RUNS, "attributes.end_time desc", Ordering(attribute("end_time"), False)),
        (RUNS, "tags.x", Ordering(Field(Kind.TAG, "x"))),
        (EXPERIMENTS, "last_update_time", Ordering(attribute("last_update_time"))),
        (REGISTERED_MODELS, "timestamp DESC", Ordering(attribute("last_updated_timestamp"), False)),
        (MODEL_VERSIONS, "attribute.version_number", Ordering(attribute("version_number"))),
        (TRACES, "timestamp", Ordering(attribute("timestamp_ms"))),
    ],
)
def test_an_order_means(grammar: Grammar, text: str, expected: Ordering) -> None:
    assert parse_order_by(grammar, [text]) == (expected,)


@pytest.mark.parametrize(
    ("grammar", "clauses", "says"),
    [
        (RUNS, ["metrics.a UP"], "found 'UP', expected ASC, DESC or the end"),
        (RUNS, ["metrics.a, metrics.b"], "found ','"),
        (RUNS, ["metrics.a", "metric.a DESC"], "metrics.`a` comes twice"),
        (RUNS, ["start_time", "created"], "start_time comes twice"),
        (RUNS, [""], "found the end"),
        (RUNS, ["dataset.name"], "order of runs"),
        (EXPERIMENTS, ["tags.x"], "order of experiments"),
        (REGISTERED_MODELS, ["creation_timestamp"], "order of registered models"),
        (REGISTERED_MODELS, ["attribute.name"], "order of registered models"),
        (MODEL_VERSIONS, ["source_path"], "order of model versions"),
        (TRACES, ["client_request_id"], "order of traces"),
    ],
)
def test_a_bad_order_says_what_would_work(grammar: Grammar, clauses: list[str], says: str) -> None:
    with pytest.raises(InvalidParameterValue, match=says):
        parse_order_by(grammar, clauses)


def test_order_of_logged_models_comes_as_objects() -> None:
    parsed = parse_logged_model_order_by(
        [
            {"field_name": "metrics.val/loss", "ascending": False, "dataset_name": "d", "dataset_digest": "1"},
            {"field_name": "creation_time"},
        ]
    )
    assert parsed == (
        Ordering(Field(Kind.METRIC, "val/loss"), False, "d", "1"),
        Ordering(attribute("creation_timestamp")),
    )


@pytest.mark.parametrize(
    ("clause", "says"),
    [
        ({}, "needs a field_name"),
        ({"field_name": "params.a"}, "order of logged models"),
        ({"field_name": "metrics.a", "ascending": "yes"}, "true or false"),
        ({"field_name": "name", "dataset_name": "d"}, "only a metric"),
        ({"field_name": "metrics.a", "dataset_digest": "1"}, "needs a dataset_name"),
        ({"field_name": "name DESC"}, "expected the end"),
        ({"field_name": "metrics.a\0"}, "NUL"),
        ({"field_name": "metrics.a", "dataset_name": "x\0"}, "NUL"),
    ],
)
def test_a_bad_order_of_logged_models(clause: dict[str, object], says: str) -> None:
    with pytest.raises(InvalidParameterValue, match=says):
        parse_logged_model_order_by([clause])


# --- properties -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("grammar", ALL, ids=lambda grammar: grammar.subject)
@settings(max_examples=40, deadline=None)
@given(data=st.data())
def test_a_written_filter_parses_back(grammar: Grammar, data: st.DataObject) -> None:
    filter_ = tuple(data.draw(st.lists(comparisons(grammar), min_size=1, max_size=5)))
    assert parse_filter(grammar, " AND ".join(map(str, filter_))) == filter_


@pytest.mark.parametrize("grammar", ALL, ids=lambda grammar: grammar.subject)
@settings(max_examples=40, deadline=None)
@given(data=st.data())
def test_a_written_order_parses_back(grammar: Grammar, data: st.DataObject) -> None:
    ordered = data.draw(st.lists(fields(grammar, ordered=True), unique=True, max_size=4))
    orderings = tuple(Ordering(field, data.draw(st.booleans())) for field in ordered)
    assert parse_order_by(grammar, [str(ordering) for ordering in orderings]) == orderings


@pytest.mark.parametrize("grammar", ALL, ids=lambda grammar: grammar.subject)
@settings(deadline=None)
@given(text=near_misses)
@example(text="-")
@example(text="'a'.b")
@example(text='"metrics".a > 1')
@example(text="metrics.a > " + "9" * 5000)
@example(text="tag.x RLIKE '" + "(" * 900 + ")" * 900 + "'")
def test_no_text_raises_anything_else(grammar: Grammar, text: str) -> None:
    attempts: list[Callable[[], object]] = [
        lambda: parse_filter(grammar, text),
        lambda: parse_order_by(grammar, [text]),
        lambda: parse_logged_model_order_by([{"field_name": text}]),
    ]
    for attempt in attempts:
        try:
            attempt()
        except InvalidParameterValue as error:
            refused = error.message
            assert re.search(r"character \d+|filter|order_by", refused)


def test_every_attribute_of_every_grammar_is_reachable() -> None:
    for grammar in ALL:
        named = set(grammar.attributes.values())
        assert set(grammar.rules) <= named
        assert grammar.orderable <= named
    assert len(grammars.__all__) == len(ALL) + 2
