"""References and conditions: what they may say, and what they mean."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mlgate.conditions import parse_condition
from mlgate.references import LATER, Reference, fill_in, parse_reference, references_in

VALUES: dict[str, Any] = {
    "params.n": "5",
    "params.deploy": "True",
    "steps.train.metrics.accuracy": 0.93,
    "steps.train.metrics['val/accuracy']": 0.5,
    "steps.train.outputs.best": {"depth": 3},
    "run.version": "main",
}


def lookup(reference: Reference) -> Any:
    return VALUES.get(str(reference), LATER)


@pytest.mark.parametrize(
    "text", ["params.n", " steps.a-b.run_id ", "steps.a.metrics['val/x y']", 'steps.a.tags["x"]', "run.id", "matrix.m"]
)
def test_references_read_and_print_the_same(text: str) -> None:
    assert str(parse_reference(text)) == text.strip().replace('"', "'").replace("['x']", ".x")


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("params", "is not a known reference"),
        ("params.a.b", "is not a known reference"),
        ("steps.a", "is not a known reference"),
        ("steps.a.metric.x", "is nothing that a step has; known are run_id, artifacts"),
        ("steps.a.metrics", "needs one name"),
        ("steps.a.run_id.x", "goes too deep"),
        ("run.secret", "run.secret is not known; known are run.id"),
        ("params.a + 1", "is not a reference"),
        ("", "is not a reference"),
        ("__import__('os')", "is not a reference"),
    ],
)
def test_what_is_no_reference_says_what_would_be(text: str, why: str) -> None:
    with pytest.raises(ValueError, match=why):
        parse_reference(text)


def test_a_lone_reference_keeps_its_type_and_others_become_text() -> None:
    data = {
        "a": "${{ steps.train.metrics.accuracy }}",
        "b": ["n=${{ params.n }}, ${{ steps.train.outputs.best }}"],
        "c": "${{ steps.later.run_id }} ${{params.n}}",
        "d": 3,
    }
    assert fill_in(data, lookup) == {
        "a": 0.93,
        "b": ['n=5, {"depth": 3}'],
        "c": "${{ steps.later.run_id }} 5",
        "d": 3,
    }


def test_every_reference_is_found_with_the_path_to_it() -> None:
    data = {"a": ["x", "${{ params.n }} ${{ run.id }}"], "b": "${{ nothing }}", "c": "${{ params.n"}
    found = list(references_in(data))
    assert [path for path, _ in found] == [("a", 1), ("a", 1), ("b",), ("c",)]
    assert [str(reference) for _, reference in found[:2]] == ["params.n", "run.id"]
    assert all(isinstance(reference, ValueError) for _, reference in found[2:])


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("steps.train.metrics.accuracy >= 0.9", True),
        ("${{ steps.train.metrics.accuracy }} < 0.9", False),
        ("${{ steps.train.metrics['val/accuracy'] == 0.5 }}", True),
        ("params.n == 5 and not params.n > 7", True),
        ("params.n in [1, '5']", True),
        ("params.n not in [1, 5]", False),
        ("run.version == 'main' or params.n > 100", True),
        ("params.deploy", True),
        ("not params.deploy", False),
        ("params.deploy == true", True),
        ("(params.n > 9 or params.n < 6) and true", True),
        ("false or none", False),
        ("none == null", True),
        ("run.version != 'x'", True),
        ("'ai' in run.version", True),
        ("-1 < 1e-3", True),
    ],
)
def test_conditions(text: str, expected: bool) -> None:
    assert parse_condition(text).evaluate(lookup) is expected


@pytest.mark.parametrize(
    "text", ["", "1 >", "and", "1 2", "(1", "[1", "1 ++ 2", "params", "x == 1", "not", "1 not 2", "'a", "a.b()", "]"]
)
def test_conditions_that_make_no_sense_are_refused(text: str) -> None:
    with pytest.raises(ValueError):  # noqa: PT011  # the messages are of many kinds
        parse_condition(text)


@pytest.mark.parametrize("text", ["'a' < 1", "none < 1", "1 in 2"])
def test_values_that_cannot_be_compared_are_refused_when_evaluated(text: str) -> None:
    with pytest.raises(ValueError, match=r"cannot be compared|needs a list"):
        parse_condition(text).evaluate(lookup)


@given(st.text(max_size=40))
def test_any_text_is_a_condition_or_refused(text: str) -> None:
    try:
        parse_condition(text)
    except ValueError:
        return
