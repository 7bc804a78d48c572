"""Text of a filter or an order-by clause -> tokens with their positions."""

from __future__ import annotations

import re
from dataclasses import dataclass
from enum import StrEnum

from mlgate_tracking.errors import InvalidParameterValue

MAX_LENGTH = 1_000_000
"""Characters in one clause: room for an IN list of tens of thousands of ids."""


class Lexeme(StrEnum):
    WORD = "a name"
    """A keyword or an identifier, dots included: `tags.mlflow.user`; ends in a dot when a quoted key follows."""
    SUFFIX = "a key"
    """What follows a quoted entity word, dot included: the `.rmse` of "`metrics`.rmse"."""
    QUOTED = "a quoted text"
    NUMBER = "a number"
    OPERATOR = "an operator"
    OPEN = "'('"
    CLOSE = "')'"
    COMMA = "','"
    END = "the end"


@dataclass(frozen=True, slots=True)
class Token:
    """`text` is the content without quotes; `quote` is the quote character, or empty; `position` counts from 1."""

    lexeme: Lexeme
    text: str
    position: int
    quote: str = ""
    touching: bool = False
    """No space before it."""

    @property
    def shown(self) -> str:
        if self.lexeme is Lexeme.END:
            return "the end"
        text = self.text if len(self.text) <= 40 else f"{self.text[:37]}..."
        return f"{self.quote}{text}{self.quote}" if self.quote else repr(text)


_RULES = (
    (Lexeme.NUMBER, re.compile(r"-?(?:[0-9]+(?:\.[0-9]*)?|\.[0-9]+)(?:[eE][+-]?[0-9]+)?(?![\w.])")),
    (Lexeme.WORD, re.compile(r"[^\W\d]\w*(?:\.\w+)*\.?")),
    (Lexeme.OPERATOR, re.compile(r"<=|>=|!=|<>|==|=|<|>")),
    (Lexeme.OPEN, re.compile(r"\(")),
    (Lexeme.CLOSE, re.compile(r"\)")),
    (Lexeme.COMMA, re.compile(r",")),
)
# A doubled quote does not end a text, and it stays doubled: there are no escapes.
_QUOTED = {
    "'": re.compile(r"'(?:[^']|'')*'(?!')"),
    '"': re.compile(r'"(?:[^"]|"")*"(?!")'),
    "`": re.compile(r"`[^`]*`"),
}
_SUFFIX = re.compile(r"\.(?:\w+(?:\.\w+)*)?")
_SPACE = re.compile(r"\s*")
_HINTS = {
    ";": "only one clause is allowed",
    "-": "put a key with '-' in backticks, as in tags.`my-key`",
    "/": "put a key with '/' in backticks, as in metrics.`val/loss`",
    ":": "put a key with ':' in backticks, as in tags.`team:name`",
}


def tokenize(text: str, what: str) -> list[Token]:
    """Split `text` into tokens, an END token last.

    Args:
        text: the clause.
        what: the parameter it came in, for messages: `filter`, `order_by`.

    Raises:
        InvalidParameterValue: a character that fits nowhere, an open quote, a text that no database can hold.
    """
    if len(text) > MAX_LENGTH:
        msg = f"{what}: {len(text)} characters; at most {MAX_LENGTH} are allowed"
        raise InvalidParameterValue(msg)
    _check_characters(text, what)
    tokens: list[Token] = []
    at = 0
    while True:
        start = _SPACE.match(text, at).end()  # type: ignore[union-attr]  # \s* matches everywhere
        touching = start == at and bool(tokens)
        if start == len(text):
            tokens.append(Token(Lexeme.END, "", start + 1))
            return tokens
        token, at = _next(text, start, what, touching=touching, after=tokens[-1] if tokens else None)
        tokens.append(token)


def _next(text: str, start: int, what: str, *, touching: bool, after: Token | None) -> tuple[Token, int]:
    character = text[start]
    if character in "'\"`":
        match = _QUOTED[character].match(text, start)
        if match is None:
            raise error(
                what, start + 1, repr(text[start : start + 20]), f"a closing {character} (there are no escapes)"
            )
        return Token(Lexeme.QUOTED, match.group()[1:-1], start + 1, character, touching), match.end()
    if character == "." and touching and after is not None and after.lexeme is Lexeme.QUOTED:
        match = _SUFFIX.match(text, start)
        assert match is not None
        return Token(Lexeme.SUFFIX, match.group(), start + 1, touching=True), match.end()
    for lexeme, rule in _RULES:
        match = rule.match(text, start)
        if match is not None:
            return Token(lexeme, match.group(), start + 1, touching=touching), match.end()
    hint = _HINTS.get(character, "a name, a quoted text, a number or an operator")
    raise error(what, start + 1, repr(text[start : start + 20]), hint)


def _check_characters(text: str, what: str) -> None:
    zero = text.find("\0")
    if zero >= 0:
        raise error(what, zero + 1, "a NUL character", "text that a database can hold")
    try:
        text.encode()
    except UnicodeEncodeError as broken:
        raise error(what, broken.start + 1, "half of a surrogate pair", "valid Unicode text") from None


def error(what: str, position: int, found: str, expected: str) -> InvalidParameterValue:
    """The one shape of syntax errors: which parameter, where, what stands there, what may stand there."""
    return InvalidParameterValue(f"{what}, character {position}: found {found}, expected {expected}")


__all__ = ["MAX_LENGTH", "Lexeme", "Token", "error", "tokenize"]
