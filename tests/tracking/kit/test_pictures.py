"""Pictures without a drawing library: well-formed, whatever the names, and bounded."""

from __future__ import annotations

from xml.etree import ElementTree

from hypothesis import given
from hypothesis import strategies as st

from mlgate_tracking.kit.autologging.pictures import MOST, confusion_matrix, importances


@given(st.lists(st.text(max_size=60), min_size=1, max_size=5, unique=True), st.integers(0, 10**6))
def test_names_of_any_kind_give_well_formed_pictures(names: list[str], value: int) -> None:
    matrix = confusion_matrix(names, [[value] * len(names)] * len(names))
    assert matrix is not None
    assert ElementTree.fromstring(matrix).tag == "{http://www.w3.org/2000/svg}svg"
    bars = importances(dict.fromkeys(names, value + 1.0))
    assert bars is not None
    ElementTree.fromstring(bars)


def test_a_matrix_shows_each_count() -> None:
    picture = confusion_matrix(["cat", "dog"], [[5, 1], [0, 7]])
    assert picture is not None
    texts = [element.text for element in ElementTree.fromstring(picture).iter("{http://www.w3.org/2000/svg}text")]
    assert texts[:2] == ["predicted", "true"]
    assert texts[-4:] == ["5", "1", "0", "7"]


def test_the_most_important_features_come_first() -> None:
    picture = importances({f"f{number}": float(number) for number in range(100)})
    assert picture is not None
    texts = [element.text for element in ElementTree.fromstring(picture).iter("{http://www.w3.org/2000/svg}text")]
    assert texts[1:3] == ["f99", "99"]
    assert len(texts) == 1 + 2 * MOST


def test_what_nobody_could_read_is_not_drawn() -> None:
    assert confusion_matrix(list(range(MOST + 1)), [[0] * (MOST + 1)] * (MOST + 1)) is None
    assert importances({}) is None
    assert importances({"a": 0.0}) is None
