"""How values look inside the database: hashes, NaN and infinities, the clock, fresh ids."""

from __future__ import annotations

import math
import os
import time
import zlib

LARGEST_DOUBLE = 1.7976931348623157e308


def text_hash(value: str) -> int:
    """A 32-bit hash that indexes equality of long texts; equal texts have equal hashes, and a query compares both."""
    return zlib.crc32(value.encode("utf-8", "surrogatepass"))


def double_columns(value: float) -> tuple[float, int]:
    """(value, is_nan) as stored: NaN is (0, 1), infinities become the largest doubles."""
    number = float(value)
    if -LARGEST_DOUBLE <= number <= LARGEST_DOUBLE:
        return number, 0
    return (0.0, 1) if math.isnan(number) else (math.copysign(LARGEST_DOUBLE, number), 0)


def double_from(value: float, is_nan: int) -> float:
    return math.nan if is_nan else value


def integer_from(text: str) -> int | None:
    """The integer of at most 18 digits that a text is; None for any other text."""
    return int(text) if text.isascii() and text.isdigit() and len(text) < 19 else None


def now() -> int:
    """Milliseconds since the epoch."""
    return time.time_ns() // 1_000_000


def new_id() -> str:
    """32 random hex digits."""
    return os.urandom(16).hex()


__all__ = ["LARGEST_DOUBLE", "double_columns", "double_from", "integer_from", "new_id", "now", "text_hash"]
