"""`when:` conditions: comparisons of references and constants, joined by `and`, `or` and `not`.

    when: steps.train.metrics.accuracy >= 0.9 and params.deploy == true
    when: ${{ steps.check.outputs.drifted }} or run.version in ['main', 'release']

`${{ }}` around references is allowed and changes nothing. Numbers compare as numbers, also when they come as text.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

from mlgate.references import Lookup, Reference, parse_reference

_TOKEN = re.compile(
    r"""\s*(?:
    (?P<number>-?\d+(?:\.\d*)?(?:[eE][+-]?\d+)?(?![\w.]))
  | (?P<text>'[^']*'|"[^"]*")
  | (?P<operator>==|!=|<=|>=|<|>|\(|\)|\[|\]|,)
  | (?P<word>[A-Za-z_][\w-]*(?:\.[\w-]+|\[\s*(?:'[^']*'|"[^"]*")\s*\])*)
    )""",
    re.VERBOSE,
)
_CONSTANTS = {"true": True, "True": True, "false": False, "False": False, "none": None, "null": None, "None": None}
_COMPARISONS = ("==", "!=", "<=", ">=", "<", ">", "in")

Evaluate = Callable[[Lookup], Any]


@dataclass(frozen=True, slots=True)
class Condition:
    """A parsed condition: the references that it needs, and `evaluate(lookup)`, which gives a bool."""

    text: str
    references: tuple[Reference, ...]
    _evaluate: Evaluate

    def evaluate(self, lookup: Lookup) -> bool:
        """Raises `ValueError` for values that cannot be compared."""
        return _truth(self._evaluate(lookup))


def parse_condition(text: str) -> Condition:
    """Raises `ValueError` saying what is wrong and where."""
    parser = _Parser(text)
    evaluate = parser.disjunction()
    if parser.peek() is not None:
        raise ValueError(f"'{parser.peek()}' is one too many in '{text}'; join comparisons by and, or")
    return Condition(text, tuple(parser.references), evaluate)


class _Parser:
    def __init__(self, text: str) -> None:
        self.text = text
        self.symbols = list(_tokens(text))
        self.position = 0
        self.references: list[Reference] = []

    def peek(self) -> str | None:
        return self.symbols[self.position] if self.position < len(self.symbols) else None

    def take(self, *wanted: str) -> str | None:
        symbol = self.peek()
        if symbol is None or (wanted and symbol not in wanted):
            return None
        self.position += 1
        return symbol

    def disjunction(self) -> Evaluate:
        parts = [self.conjunction()]
        while self.take("or"):
            parts.append(self.conjunction())
        return parts[0] if len(parts) == 1 else lambda lookup: any(_truth(part(lookup)) for part in parts)

    def conjunction(self) -> Evaluate:
        parts = [self.negation()]
        while self.take("and"):
            parts.append(self.negation())
        return parts[0] if len(parts) == 1 else lambda lookup: all(_truth(part(lookup)) for part in parts)

    def negation(self) -> Evaluate:
        if self.take("not"):
            inner = self.negation()
            return lambda lookup: not _truth(inner(lookup))
        return self.comparison()

    def comparison(self) -> Evaluate:
        left = self.value()
        negated = self.peek() == "not"
        if negated:
            self.take()
        operator = self.take(*_COMPARISONS)
        if negated and operator != "in":
            raise ValueError(f"'not' must be followed by 'in' there, in '{self.text}'")
        if operator is None:
            return left
        right = self.value()
        if negated:
            return lambda lookup: not _compare(left(lookup), "in", right(lookup))
        return lambda lookup: _compare(left(lookup), operator, right(lookup))

    def value(self) -> Evaluate:
        symbol = self.take()
        if symbol is None:
            raise ValueError(f"'{self.text}' ends where a value should stand")
        if symbol == "(":
            inner = self.disjunction()
            if not self.take(")"):
                raise ValueError(f"')' is missing in '{self.text}'")
            return inner
        if symbol == "[":
            return self.items()
        if symbol[0] in "'\"":
            return lambda _: symbol[1:-1]
        if re.match(r"-?\d", symbol):
            number = float(symbol)
            return lambda _: number
        if symbol in _CONSTANTS:
            return lambda _: _CONSTANTS[symbol]
        if symbol in _COMPARISONS or symbol in ("and", "or", ")", "]", ","):
            raise ValueError(f"'{symbol}' stands where a value should, in '{self.text}'")
        reference = parse_reference(symbol)
        self.references.append(reference)
        return lambda lookup: lookup(reference)

    def items(self) -> Evaluate:
        items: list[Evaluate] = []
        while not self.take("]"):
            items.append(self.value())
            if not self.take(",") and self.peek() != "]":
                raise ValueError(f"']' is missing in '{self.text}'")
        return lambda lookup: [item(lookup) for item in items]


def _tokens(text: str) -> Iterator[str]:
    plain = text.replace("${{", "(").replace("}}", ")")
    position = 0
    while plain[position:].strip():
        match = _TOKEN.match(plain, position)
        if match is None:
            raise ValueError(f"'{plain[position:].strip()[:20]}' is not understood in '{text}'")
        yield match[match.lastgroup or 0]
        position = match.end()


def _truth(value: Any) -> bool:
    if isinstance(value, str):
        return value.strip().lower() not in ("", "false", "no", "off", "0", "none", "null")
    return bool(value)


def _compare(left: Any, operator: str, right: Any) -> bool:
    if operator == "in":
        if isinstance(right, str):
            return str(left) in right
        if not isinstance(right, list | tuple):
            raise ValueError(f"'in' needs a list or text on its right, not {right!r}")
        return any(_compare(left, "==", item) for item in right)
    if left is None or right is None:
        same = left is right
        if operator in ("==", "!="):
            return same == (operator == "==")
        raise ValueError(f"nothing cannot be compared by {operator}")
    left, right = _alike(left, right)
    match operator:
        case "==":
            return bool(left == right)
        case "!=":
            return bool(left != right)
    if type(left) is not type(right):
        raise ValueError(f"{left!r} and {right!r} cannot be compared by {operator}")
    match operator:
        case "<":
            return bool(left < right)
        case "<=":
            return bool(left <= right)
        case ">":
            return bool(left > right)
    return bool(left >= right)


def _alike(left: Any, right: Any) -> tuple[Any, Any]:
    """Both as numbers or both as truth values where they can be; else as they are."""
    numbers = (_number(left), _number(right))
    if numbers[0] is not None and numbers[1] is not None:
        return numbers
    if isinstance(left, bool) or isinstance(right, bool):
        return _truth(left), _truth(right)
    return left, right


def _number(value: Any) -> float | None:
    if isinstance(value, bool):
        return None
    try:
        return float(value)
    except (TypeError, ValueError):
        return None


__all__ = ["Condition", "parse_condition"]
