"""Requests: strict about types, forgiving where MLflow is, errors that name the parameter."""

from __future__ import annotations

import json
from contextlib import suppress
from typing import Annotated
from urllib.parse import urlencode

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from mlgate_tracking.errors import InvalidParameterValue
from mlgate_tracking.server.decode import Int64, Request, RequestDecoder, Text


class Point(Request, frozen=True):
    key: Text
    value: float = 0.0


class Sample(Request, frozen=True):
    name: Text
    step: Int64 = 0
    value: float = 0.0
    flag: bool = False
    size: Annotated[int, msgspec.Meta(ge=1, le=10)] = 5
    note: str = ""
    many: tuple[str, ...] = ()
    points: tuple[Point, ...] = ()


decoder = RequestDecoder(Sample)


def body(**fields) -> Sample:
    return decoder.from_body(json.dumps({"name": "n", **fields}).encode())


def refused(raw: bytes) -> str:
    with pytest.raises(InvalidParameterValue) as caught:
        decoder.from_body(raw)
    return caught.value.message


def test_64_bit_numbers_come_as_numbers_or_as_text():
    assert body(step=-(2**63)).step == -(2**63)
    assert body(step=str(2**63 - 1)).step == 2**63 - 1


@pytest.mark.parametrize(("sent", "read"), [("Infinity", float("inf")), ("-Infinity", float("-inf")), (3, 3.0)])
def test_doubles_come_as_numbers_or_as_their_names(sent, read):
    assert body(value=sent).value == read
    assert str(body(value="NaN").value) == "nan"


def test_null_counts_as_absent():
    assert body(step=None, note=None, many=None, points=[{"key": "k", "value": None}]) == body(points=[{"key": "k"}])


def test_unknown_fields_are_ignored():
    assert body(surprise={"deep": [1]}) == body()


def test_a_body_that_is_a_string_of_json_is_decoded_twice():
    assert decoder.from_body(json.dumps('{"name": "n"}').encode()) == body()


@pytest.mark.parametrize("raw", [b"", b"{}", b'{"name": ""}', b'{"name": null}', b'{"Name": "n"}'])
def test_missing_and_empty_required_text_is_named(raw):
    assert refused(raw) == "Missing value for required parameter 'name'."


def test_a_missing_key_in_a_list_says_where():
    assert refused(b'{"name": "n", "points": [{"key": "k"}, {}]}') == (
        "Missing value for required parameter 'points[1].key'."
    )


@pytest.mark.parametrize(
    ("field", "value", "problem"),
    [
        ("name", 5, "Invalid value 5 for parameter 'name' supplied: Expected `str`, got `int`"),
        ("step", True, "Invalid value true for parameter 'step' supplied: Expected `int`, got `bool`"),
        ("step", 1.5, "Invalid value 1.5 for parameter 'step' supplied: Expected `int`, got `float`"),
        ("size", 0, "Invalid value 0 for parameter 'size' supplied: Expected `int` >= 1"),
        ("value", "abc", "Invalid value \"abc\" for parameter 'value' supplied: Expected `float`, got `str`"),
        ("many", "abc", "Invalid value \"abc\" for parameter 'many' supplied: Expected `array`, got `str`"),
    ],
)
def test_a_wrong_type_names_parameter_and_value(field, value, problem):
    assert refused(json.dumps({"name": "n", field: value}).encode()) == problem


@pytest.mark.parametrize("raw", [b"{", b"[1]", b"5", b'{"name": "n", "value": NaN}', b"\xff\xfe", b"[" * 100_000])
def test_what_is_not_a_json_object_is_refused(raw):
    assert "request body" in refused(raw)


def test_queries_repeat_lists_and_take_booleans_as_python_prints_them():
    query = urlencode([("name", "a b"), ("many", "x"), ("many", "y"), ("flag", "True"), ("step", "-3")])
    assert decoder.from_query(query.encode()) == Sample(name="a b", many=("x", "y"), flag=True, step=-3)


def test_a_query_with_another_boolean_is_refused():
    with pytest.raises(InvalidParameterValue, match=r"Invalid value \"yes\" for parameter 'flag'"):
        decoder.from_query(b"name=n&flag=yes")


def test_parameters_of_the_path_win():
    assert decoder.from_body(b'{"name": "body"}', {"name": "path"}).name == "path"


@pytest.mark.parametrize(
    ("given", "where"),
    [
        ({"note": "a\0b"}, "note"),
        ({"points": [{"key": "k"}, {"key": "\0"}]}, "points[1].key"),
        ({"unknown": {"deep": ["\0"]}}, "unknown.deep[0]"),
        (json.dumps({"name": "n", "note": "\0"}), "note"),
    ],
)
def test_a_nul_is_refused_wherever_it_stands(given, where):
    raw = json.dumps(given if isinstance(given, str) else {"name": "n", **given})
    assert f"for parameter '{where}' supplied: it holds a NUL character" in refused(raw.encode())


def test_a_nul_in_a_name_is_refused():
    assert "it holds a NUL character" in refused(b'{"name": "n", "a\\u0000b": 1}')


def test_a_nul_in_a_string_of_json_is_refused_however_it_is_written():
    assert "it holds a NUL character" in refused(b'"{\\"name\\": \\"n\\u005cu0000\\"}"')


def test_a_backslash_before_u0000_is_text():
    assert body(note="\\u0000").note == "\\u0000"


@pytest.mark.parametrize(("query", "path"), [(b"name=a%00b", {}), (b"note=x", {"name": "a\0b"})])
def test_a_nul_in_query_or_path_is_refused(query, path):
    with pytest.raises(InvalidParameterValue, match="for parameter 'name' supplied: it holds a NUL"):
        decoder.from_query(query, path)
    with pytest.raises(InvalidParameterValue, match="for parameter 'name' supplied: it holds a NUL"):
        decoder.from_body(b"{}", {"name": "a\0b"})


json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(),
    lambda children: st.lists(children, max_size=3) | st.dictionaries(st.text(), children, max_size=3),
    max_leaves=8,
)
fields = st.sampled_from(Sample.__struct_fields__)


@given(st.dictionaries(fields, json_values) | json_values)
def test_any_json_is_read_or_refused(value):
    try:
        assert isinstance(decoder.from_body(json.dumps(value).encode()), Sample)
    except InvalidParameterValue as error:
        message = error.message
    else:
        return
    assert "parameter '" in message or "request body" in message


@given(st.binary(max_size=200))
def test_any_bytes_are_read_or_refused(raw):
    for read in (decoder.from_body, decoder.from_query):
        with suppress(InvalidParameterValue):
            read(raw)
