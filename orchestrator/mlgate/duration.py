"""Durations that the user gave by name: a command-line option, a key of a pipeline."""

from __future__ import annotations

from mlgate.errors import UsageError
from mlgate.units import seconds


def parse_duration(text: str | float, key: str) -> float:
    """Seconds. `key` is named in the error for anything that is not a positive duration."""
    try:
        # An option is always text; a bare number means seconds.
        found = float(text) if str(text).strip().replace(".", "", 1).isdecimal() else float(seconds(text))
    except ValueError:
        found = 0.0
    if found <= 0:
        raise UsageError(f"{key}: '{text}' is not a duration; write 90, 90s, 30m, 2h or 1d")
    return found


__all__ = ["parse_duration"]
