"""Hypothesis strategies of filters and orders: well-formed ones of a grammar, and near misses."""

from __future__ import annotations

from hypothesis import strategies as st

from mlgate_tracking.store.search.grammar import (
    EXPERIMENTS,
    LOGGED_MODELS,
    MODEL_VERSIONS,
    REGISTERED_MODELS,
    RUNS,
    TRACES,
    Grammar,
    Rule,
)
from mlgate_tracking.store.search.syntax import Comparison, Field, Kind, Operator

ALL = [RUNS, EXPERIMENTS, REGISTERED_MODELS, MODEL_VERSIONS, LOGGED_MODELS, TRACES]

_texts = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0"), max_size=12)
_values = _texts.filter(lambda text: not {"'", '"'} <= set(text))
_keys = _texts.filter(lambda text: text != "" and not {"'", '"', "`"} <= set(text))
_patterns = st.sampled_from(["a.*", "^x$", "[0-9]+"])
_floats = st.floats(allow_nan=False, allow_infinity=False)
_numbers = st.one_of(_floats, st.integers(-(2**63), 2**63 - 1))


@st.composite
def comparisons(draw: st.DrawFn, grammar: Grammar) -> Comparison:
    field = draw(fields(grammar, ordered=False))
    rule = grammar.rule(field)
    assert rule is not None
    operator = draw(st.sampled_from(rule.operators))
    return Comparison(field, operator, draw(_value(rule, operator)))


def _value(rule: Rule, operator: Operator) -> st.SearchStrategy[object]:
    if operator in {Operator.IS_NULL, Operator.IS_NOT_NULL}:
        return st.none()
    text = st.sampled_from(sorted(set(rule.choices.values()))) if rule.choices else _values
    if operator in {Operator.IN, Operator.NOT_IN}:
        return st.lists(text, min_size=1, max_size=4).map(tuple)
    if operator is Operator.RLIKE:
        return _patterns
    return _numbers if rule.numeric else text


def fields(grammar: Grammar, *, ordered: bool) -> st.SearchStrategy[Field]:
    names = grammar.orderable if ordered else grammar.rules
    kinds = grammar.ordered_kinds if ordered else grammar.keyed
    choices = [st.builds(Field, st.just(Kind.ATTRIBUTE), st.sampled_from(sorted(names)))]
    for kind in sorted(kinds):
        keys = st.sampled_from(sorted(grammar.dataset_keys)) if kind is Kind.DATASET else _keys
        choices.append(st.builds(Field, st.just(kind), keys))
    return st.one_of(choices)


_PIECES = (
    "metrics . tags a ` ' \" = != < LIKE IN ( ) , NOT IS NULL AND 1 - 1e5 ; RLIKE é ٣ "
    "name status run_id run dataset.name"
)
_WORDS = st.sampled_from([*_PIECES.split(" "), " ", "\0", "\ud800"])
near_misses = st.one_of(
    st.text(max_size=30), st.lists(_WORDS, max_size=12).map("".join), st.lists(_WORDS, max_size=12).map(" ".join)
)


__all__ = ["ALL", "comparisons", "fields", "near_misses"]
