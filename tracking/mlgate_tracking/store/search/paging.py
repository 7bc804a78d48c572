"""Page tokens: where the last page ended, as opaque text that only the same search accepts.

A token holds the sort key of the last row of a page, not an offset, so rows that arrive or go between two pages neither
repeat nor hide others. It also holds a digest of the search; another search answers it with an error.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import json
import math
from collections.abc import Sequence

from mlgate_tracking.errors import InvalidParameterValue

SortKey = tuple[str | int | float | None, ...]


def digest(*parts: object) -> str:
    """A short name of a search: what it searches, its filter, order and scope, but not the page size."""
    text = json.dumps(parts, default=str, ensure_ascii=True, separators=(",", ":"))
    return hashlib.sha256(text.encode()).hexdigest()[:16]


def encode(key: Sequence[str | int | float | None], search: str) -> str:
    """The token after a row with this sort key."""
    text = json.dumps([search, *key], ensure_ascii=True, separators=(",", ":"))
    return base64.urlsafe_b64encode(text.encode()).decode()


def decode(token: str | None, search: str) -> SortKey | None:
    """The sort key in `token`; None for no token.

    Raises:
        InvalidParameterValue: not a token, or a token of another search.
    """
    if not token:
        return None
    try:
        content = json.loads(base64.b64decode(token.encode(), altchars=b"-_", validate=True))
    except (ValueError, binascii.Error, RecursionError):
        content = None
    if not isinstance(content, list) or len(content) < 2 or not all(_scalar(part) for part in content):
        msg = f"page_token: {token[:40]!r} is not one of this server; start from the first page without a token"
        raise InvalidParameterValue(msg)
    if content[0] != search:
        msg = "page_token: it belongs to another search; keep filter, order and scope while paging"
        raise InvalidParameterValue(msg)
    return tuple(content[1:])


def check_max_results(value: int, most: int) -> int:
    """`value` if it is a page size from 1 to `most`.

    Raises:
        InvalidParameterValue: it is not.
    """
    if isinstance(value, bool) or not isinstance(value, int) or not 1 <= value <= most:
        msg = f"max_results: {value!r} is out of range; use 1 to {most}"
        raise InvalidParameterValue(msg)
    return value


def _scalar(part: object) -> bool:
    if isinstance(part, bool):
        return False
    if isinstance(part, int):
        return -(2**63) <= part < 2**63
    if isinstance(part, float):
        return math.isfinite(part)
    if isinstance(part, str):
        return "\0" not in part and not any("\ud800" <= character <= "\udfff" for character in part)
    return part is None


__all__ = ["SortKey", "check_max_results", "decode", "digest", "encode"]
