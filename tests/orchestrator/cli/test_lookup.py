from __future__ import annotations

import pytest

from mlgate.cli.lookup import shown_duration, shown_time, shown_value


@pytest.mark.parametrize(
    ("milliseconds", "text"),
    [
        (16, "16 ms"),
        (1500, "1.5 s"),
        (59_900, "59.9 s"),
        (61_500, "1 min 2 s"),
        (3_600_000, "1 h 0 min"),
        (90_061_000, "1 d 1 h"),
    ],
)
def test_durations_read_well(milliseconds: int, text: str) -> None:
    assert shown_duration(1000, 1000 + milliseconds) == text


def test_what_has_not_ended_says_so() -> None:
    assert shown_duration(1000, None, now=3.5) == "2.5 s ..."
    assert shown_duration(0, None) == ""
    assert shown_time(None) == ""


def test_values_keep_six_digits() -> None:
    assert [shown_value(value) for value in (0.9123456, 1e-9, 1234567.0, float("nan"))] == [
        "0.912346", "1e-09", "1.23457e+06", "nan",
    ]  # fmt: skip
