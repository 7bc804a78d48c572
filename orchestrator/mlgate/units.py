"""Times and sizes as people write them: `90s`, `30m`, `24h`, `7d`, `20ms`; `512KB`, `200MB`, `1GiB`."""

from __future__ import annotations

import re
from typing import NewType

from mlgate.errors import UsageError

Seconds = NewType("Seconds", float)
Bytes = NewType("Bytes", int)

_TIMES = {"ms": 0.001, "s": 1.0, "m": 60.0, "h": 3600.0, "d": 86400.0, "w": 604800.0}
_SIZES = {
    "": 1, "b": 1, "kb": 10**3, "mb": 10**6, "gb": 10**9, "tb": 10**12,
    "kib": 2**10, "mib": 2**20, "gib": 2**30, "tib": 2**40,
}  # fmt: skip
_NUMBER = re.compile(r"\d+(?:\.\d+)?")
_PART = re.compile(r"\s*(\d+(?:\.\d+)?)\s*(ms|s|m|h|d|w)")


def seconds(value: object) -> Seconds:
    """Seconds from a number (seconds, also as text) or text such as `1h30m`. `ValueError` says what would work."""
    if isinstance(value, int | float) and not isinstance(value, bool) and value >= 0:
        return Seconds(float(value))
    if isinstance(value, str):
        text, total, position = value.strip().lower(), 0.0, 0
        if _NUMBER.fullmatch(text):
            return Seconds(float(text))
        while match := _PART.match(text, position):
            total += float(match[1]) * _TIMES[match[2]]
            position = match.end()
        if text and position == len(text):
            return Seconds(total)
    raise ValueError(f"{value!r} is not a length of time; write it as 90s, 30m, 24h or 7d")


def positive_seconds(value: object, key: str) -> Seconds:
    """Seconds above zero. `UsageError` names `key`, an option for example, for anything else."""
    try:
        found = seconds(value)
    except ValueError as error:
        raise UsageError(f"{key}: {error}") from None
    if found <= 0:
        raise UsageError(f"{key}: {value!r} is no time at all; write it as 90s, 30m, 24h or 7d")
    return found


def size(value: object) -> Bytes:
    """Bytes from a number or text such as `200MB` (powers of ten) or `1GiB` (powers of two)."""
    if isinstance(value, int) and not isinstance(value, bool) and value >= 0:
        return Bytes(value)
    if isinstance(value, str):
        match = re.fullmatch(r"\s*(\d+(?:\.\d+)?)\s*([a-zA-Z]*)\s*", value)
        if match and match[2].lower() in _SIZES:
            return Bytes(round(float(match[1]) * _SIZES[match[2].lower()]))
    raise ValueError(f"{value!r} is not a size; write it as 512KB, 200MB or 1GiB")


def format_seconds(value: float) -> str:
    """Short text: `340 ms`, `12.5 s`, `3 h`."""
    if value < 1:
        return f"{value * 1000:.3g} ms"
    for unit, factor in (("d", 86400.0), ("h", 3600.0), ("min", 60.0)):
        if value >= factor and value % factor == 0:
            return f"{value / factor:g} {unit}"
    return f"{value:.4g} s"


def format_size(value: int) -> str:
    """Short text: `512 B`, `1.5 MB`."""
    number, unit = float(value), "B"
    for larger in ("KB", "MB", "GB", "TB"):
        if number < 1000:
            break
        number, unit = number / 1000, larger
    return f"{number:.4g} {unit}"


__all__ = ["Bytes", "Seconds", "format_seconds", "format_size", "positive_seconds", "seconds", "size"]
