"""Durations as people write them."""

from __future__ import annotations

import pytest

from mlgate.duration import parse_duration
from mlgate.errors import UsageError


@pytest.mark.parametrize(
    ("text", "seconds"),
    [("90", 90), ("90s", 90), ("30m", 1800), ("1.5h", 5400), ("2d", 172800), (" 5 s ", 5), (0.5, 0.5), ("1h30m", 5400)],
)
def test_durations_become_seconds(text: str | float, seconds: float) -> None:
    assert parse_duration(text, "timeout") == seconds


@pytest.mark.parametrize("text", ["", "0", "-5", "ten minutes", "5 years", "30m1", "nan"])
def test_anything_else_is_refused_with_the_key_and_what_would_work(text: str) -> None:
    with pytest.raises(UsageError, match=r"steps\.train\.timeout: .* is not a duration; write 90, 90s"):
        parse_duration(text, "steps.train.timeout")
