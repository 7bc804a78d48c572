"""Times as people write them."""

from __future__ import annotations

import pytest

from mlgate.errors import UsageError
from mlgate.units import positive_seconds, seconds

TIMES = [
    ("90", 90),
    ("90s", 90),
    ("30m", 1800),
    ("1.5h", 5400),
    ("2d", 172800),
    (0.5, 0.5),
    ("1h30m", 5400),
    (" 5 s ", 5),
]
NO_TIMES = ["", "-5", "ten minutes", "5 years", "30m1", "nan"]


@pytest.mark.parametrize(("text", "expected"), TIMES)
def test_times_become_seconds(text: str | float, expected: float) -> None:
    assert seconds(text) == positive_seconds(text, "--timeout") == expected


@pytest.mark.parametrize("text", NO_TIMES)
def test_anything_else_is_refused_with_the_key_and_what_would_work(text: str) -> None:
    with pytest.raises(UsageError, match=r"^--timeout: '.*' is not a length of time; write it as 90s, 30m, 24h or 7d$"):
        positive_seconds(text, "--timeout")


@pytest.mark.parametrize("text", ["0", "0s", 0])
def test_no_time_is_a_time_but_not_a_positive_one(text: str | int) -> None:
    assert seconds(text) == 0
    with pytest.raises(UsageError, match=r"^--timeout: .* is no time at all"):
        positive_seconds(text, "--timeout")
