"""Matrices: grids, lists, search spaces and random samples."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mlgate.matrix import MatrixError, expand

SPACE = {"depth": {"low": 2, "high": 12}, "rate": {"low": "1e-4", "high": 0.1, "log": True}, "kind": ["a", "b"]}


def settings(matrix: Any) -> list[dict[str, Any]]:
    return list(expand(matrix, {"space.json": SPACE, "grid.json": {"n": {"low": 1, "high": 5, "step": 2}}}.__getitem__))


def test_a_grid_is_every_combination_in_order() -> None:
    assert settings({"a": [1, 2], "b": ["x", "y"]}) == [
        {"a": 1, "b": "x"},
        {"a": 1, "b": "y"},
        {"a": 2, "b": "x"},
        {"a": 2, "b": "y"},
    ]
    assert settings({"grid": {"a": [1]}}) == [{"a": 1}]
    assert settings({"random": [1, 2]}) == [{"random": 1}, {"random": 2}]


def test_a_list_is_taken_as_it_is() -> None:
    listed = [{"a": 1}, {"a": 2, "b": True}]
    assert settings(listed) == listed
    assert settings({"list": listed}) == listed


def test_a_random_sample_is_reproducible_distinct_and_within_bounds() -> None:
    drawn = settings({"random": SPACE, "samples": 20, "seed": 7})
    assert drawn == settings({"search_space": "space.json", "samples": 20, "seed": 7})
    assert drawn != settings({"random": SPACE, "samples": 20, "seed": 8})
    assert len({str(setting) for setting in drawn}) == 20
    for setting in drawn:
        assert isinstance(setting["depth"], int)
        assert 2 <= setting["depth"] <= 12
        assert 1e-4 <= setting["rate"] <= 0.1
        assert setting["kind"] in ("a", "b")


def test_a_small_space_gives_no_more_than_it_has() -> None:
    assert sorted(setting["a"] for setting in settings({"random": {"a": [1, 2, 3]}, "samples": 50})) == [1, 2, 3]


def test_a_search_space_without_samples_is_a_grid() -> None:
    assert settings({"search_space": "grid.json"}) == [{"n": 1}, {"n": 3}, {"n": 5}]


@pytest.mark.parametrize(
    ("matrix", "path", "why"),
    [
        (3, (), "must be names with lists"),
        ({}, (), "is empty"),
        ([], (), "is empty"),
        ({"a": []}, ("a",), "at least one value"),
        ({"a": 3}, ("a",), "must be a list"),
        ({"a": [[1]]}, ("a", 0), "not a single value"),
        ([{"a": None}], (0, "a"), "not a single value"),
        ([3], (0,), "must be a mapping"),
        ({"random": SPACE, "search_space": "x"}, ("search_space",), "exclude each other"),
        ({"random": SPACE, "sample": 3}, ("sample",), "unknown key; known are random, samples, seed"),
        ({"random": SPACE, "samples": 0}, ("samples",), "not a number of samples"),
        ({"random": SPACE, "seed": "x"}, ("seed",), "not a seed"),
        ({"random": {"a": {"low": 5, "high": 1}}}, ("random", "a"), "low must not be above high"),
        ({"random": {"a": {"low": 0, "high": 1, "log": True}}}, ("random", "a"), "above zero"),
        ({"random": {"a": {"min": 0}}}, ("random", "a"), "bounds as in"),
        ({"random": {"a": {"low": "x", "high": 1}}}, ("random", "a", "low"), "not a number"),
        ({"search_space": "space.json"}, ("search_space", "rate"), "add samples to the matrix"),
        ({"a": list(range(100)), "b": list(range(100))}, (), "10,000 settings, at most 1,000"),
        ({"random": SPACE, "samples": 100_000}, (), "at most 1,000"),
    ],
)
def test_mistakes_name_the_key(matrix: Any, path: tuple[object, ...], why: str) -> None:
    with pytest.raises(MatrixError, match=why) as caught:
        settings(matrix)
    assert caught.value.path == path


@given(
    st.recursive(
        st.none() | st.integers() | st.text(max_size=3),
        lambda inner: (
            st.lists(inner, max_size=3)
            | st.dictionaries(
                st.sampled_from(["random", "grid", "list", "samples", "a", "low", "high"]), inner, max_size=3
            )
        ),
    )
)
def test_anything_is_a_matrix_or_refused(matrix: Any) -> None:
    try:
        assert all(settings(matrix))
    except MatrixError:
        return
