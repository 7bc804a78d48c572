"""Durations as people write them: `90`, `90s`, `30m`, `1.5h`, `2d`."""

from __future__ import annotations

import re

from mlgate.errors import UsageError

_UNITS = {"": 1.0, "s": 1.0, "m": 60.0, "h": 3600.0, "d": 86400.0}
_DURATION = re.compile(r"\s*([0-9]+(?:\.[0-9]+)?)\s*([smhd]?)\s*")


def parse_duration(text: str | float, key: str) -> float:
    """Seconds. `key` is named in the error for anything that is not a positive duration."""
    match = _DURATION.fullmatch(str(text))
    seconds = float(match[1]) * _UNITS[match[2]] if match else 0.0
    if seconds <= 0:
        raise UsageError(f"{key}: '{text}' is not a duration; write 90, 90s, 30m, 2h or 1d")
    return seconds


__all__ = ["parse_duration"]
