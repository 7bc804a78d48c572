from __future__ import annotations

from urllib.parse import quote, unquote

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mlgate_tracking.artifacts.paths import join_path, safe_path
from mlgate_tracking.errors import InvalidParameterValue
from mlgate_tracking.testing.artifacts import ODD_NAMES, UNSAFE_PATHS

SEGMENTS = st.text(st.sampled_from("ab ./%25eE2fF5cC\\#~é\n"), max_size=24)


@pytest.mark.parametrize("path", ODD_NAMES)
def test_odd_but_honest_names_pass_unchanged(path: str) -> None:
    assert safe_path(path) == path


@pytest.mark.parametrize("path", UNSAFE_PATHS)
def test_paths_that_mean_elsewhere_are_refused(path: str) -> None:
    with pytest.raises(InvalidParameterValue, match="Invalid path"):
        safe_path(path)


@pytest.mark.parametrize(
    ("path", "normal"), [("", ""), (".", ""), ("a//b", "a/b"), ("./a/./b/", "a/b"), ("a/...", "a/...")]
)
def test_paths_come_out_in_normal_form(path: str, normal: str) -> None:
    assert safe_path(path) == normal


def test_control_characters_are_escaped() -> None:
    assert safe_path("a\r\nSet-Cookie: x\x7f") == "a%0D%0ASet-Cookie: x%7F"


def test_endless_encoding_is_refused_at_once() -> None:
    with pytest.raises(InvalidParameterValue, match="too often"):
        safe_path("%" + "25" * 20_000 + "41")


def test_long_paths_are_shown_shortened() -> None:
    with pytest.raises(InvalidParameterValue) as caught:
        safe_path("../" + "a" * 100_000)
    assert len(caught.value.message) < 400


@given(SEGMENTS, st.integers(0, 3))
def test_no_number_of_decodings_leads_out(path: str, encodings: int) -> None:
    for _ in range(encodings):
        path = quote(path)
    try:
        safe = safe_path(path)
    except InvalidParameterValue:
        return
    for _ in range(12):
        assert not safe.startswith("/")
        assert "\\" not in safe
        assert ".." not in safe.split("/")
        safe = unquote(safe)


@given(SEGMENTS)
def test_a_safe_path_is_safe_again(path: str) -> None:
    try:
        safe = safe_path(path)
    except InvalidParameterValue:
        return
    assert safe_path(safe) == safe


def test_join_leaves_empty_parts_out() -> None:
    assert join_path("", "a", "", "b") == "a/b"
