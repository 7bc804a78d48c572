from __future__ import annotations

import re

from hypothesis import given
from hypothesis import strategies as st

from mlgate_projects.masking import Masker, mask

few_letters = st.text(alphabet="ab\n", max_size=30)


def test_every_occurrence_is_masked() -> None:
    assert mask("token=abc123 and abc123", ["abc123"]) == "token=*** and ***"


def test_no_secrets_change_nothing() -> None:
    assert mask("text", []) == mask("text", [""]) == "text"


def test_the_form_in_a_url_and_single_lines_of_a_key_are_masked() -> None:
    assert mask("https://u:p%40ss%2Fword@h/", ["p@ss/word"]) == "https://u:***@h/"
    assert mask("got BBBBBBBBBBBB", ["-----\nBBBBBBBBBBBB\n-----"]) == "got ***"


def test_the_longer_of_two_secrets_wins() -> None:
    assert mask("abcdef", ["abc", "abcdef"]) == "***"


@given(few_letters, st.lists(st.text(alphabet="ab\n", min_size=1, max_size=4), max_size=3), st.data())
def test_pieces_are_masked_as_the_whole_text_would_be(text: str, secrets: list[str], data: st.DataObject) -> None:
    cuts = sorted(data.draw(st.lists(st.integers(0, len(text)), max_size=5)))
    masker = Masker(secrets)
    pieces = [text[i:j].encode() for i, j in zip([0, *cuts], [*cuts, len(text)], strict=True)]
    shown = b"".join([*(masker.feed(piece) for piece in pieces), masker.finish()])
    assert shown.decode() == mask(text, secrets)


@given(few_letters, st.lists(st.text(alphabet="ab", min_size=1, max_size=4), min_size=1, max_size=3))
def test_nothing_secret_is_shown(text: str, secrets: list[str]) -> None:
    pattern = "|".join(re.escape(secret) for secret in sorted(set(secrets), key=len, reverse=True))
    # What remains between masks holds no whole secret.
    assert not any(re.search(pattern, rest) for rest in mask(text, secrets).split("***"))
