"""Hides secret values in a stream of bytes, also where a value is cut by the border between two pieces."""

from __future__ import annotations

import re
from collections.abc import Iterable
from urllib.parse import quote

MASK = b"***"
_SHORTEST_LINE = 8  # bytes; shorter lines of a secret (`}`, `-----`) are no secrets by themselves


class Masker:
    """Replaces every secret by `***`. One for each stream; the pieces that `feed` returns follow each other.

    A secret is masked as it is, as it looks in a URL, and line by line when it has several.
    """

    def __init__(self, secrets: Iterable[str]) -> None:
        spellings = {spelling.encode() for secret in secrets for spelling in _spellings(secret)}
        self._spellings = sorted(spellings - {b""}, key=len, reverse=True)
        self._pattern = re.compile(b"|".join(map(re.escape, self._spellings))) if self._spellings else None
        self._held = b""

    def feed(self, chunk: bytes) -> bytes:
        """What may be shown by now; a tail that could be the beginning of a secret waits for the next piece."""
        if self._pattern is None:
            return chunk
        text = self._held + chunk
        cut = len(text) - self._beginning_of_a_secret(text)
        for match in self._pattern.finditer(text):
            if match.start() < cut < match.end():
                cut = match.start()
                break
        self._held = text[cut:]
        return self._pattern.sub(MASK, text[:cut])

    def finish(self) -> bytes:
        """The rest, at the end of the stream."""
        rest, self._held = self._held, b""
        return rest if self._pattern is None else self._pattern.sub(MASK, rest)

    def _beginning_of_a_secret(self, text: bytes) -> int:
        """Length of the longest tail of `text` that is a beginning, and not the whole, of a secret."""
        longest = 0
        for secret in self._spellings:
            for length in range(min(len(secret) - 1, len(text)), longest, -1):
                if text.endswith(secret[:length]):
                    longest = length
                    break
        return longest


def mask(text: str, secrets: Iterable[str]) -> str:
    """`text` with every secret replaced by `***`."""
    masker = Masker(secrets)
    return (masker.feed(text.encode(errors="surrogateescape")) + masker.finish()).decode(errors="surrogateescape")


def _spellings(secret: str) -> Iterable[str]:
    yield secret
    yield quote(secret, safe="")
    lines = secret.splitlines()
    if len(lines) > 1:
        yield from (line for line in lines if len(line) >= _SHORTEST_LINE)


__all__ = ["MASK", "Masker", "mask"]
