"""What a filter and an order-by clause mean, as frozen dataclasses; `str()` gives text that parses back to the same."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum


class Kind(StrEnum):
    """What an identifier points at."""

    ATTRIBUTE = "attribute"
    METRIC = "metric"
    PARAM = "param"
    TAG = "tag"
    DATASET = "dataset"
    METADATA = "metadata"
    """Request metadata of a trace."""


class Operator(StrEnum):
    EQ = "="
    NE = "!="
    LT = "<"
    LE = "<="
    GT = ">"
    GE = ">="
    LIKE = "LIKE"
    ILIKE = "ILIKE"
    RLIKE = "RLIKE"
    IN = "IN"
    NOT_IN = "NOT IN"
    IS_NULL = "IS NULL"
    IS_NOT_NULL = "IS NOT NULL"


Value = str | int | float | tuple[str, ...] | None


@dataclass(frozen=True, slots=True)
class Field:
    """An identifier; the key of an attribute is its canonical name."""

    kind: Kind
    key: str

    def __str__(self) -> str:
        if self.kind is Kind.ATTRIBUTE:
            return self.key
        plural = self.kind if self.kind is Kind.METADATA else f"{self.kind}s"
        return f"{plural}.{_quote(self.key, prefer='`')}"


@dataclass(frozen=True, slots=True)
class Comparison:
    """`value` is a number for numeric fields, a tuple for IN and NOT IN, None for IS [NOT] NULL, text otherwise."""

    field: Field
    operator: Operator
    value: Value = None

    def __str__(self) -> str:
        if self.value is None:
            return f"{self.field} {self.operator}"
        if isinstance(self.value, tuple):
            return f"{self.field} {self.operator} ({', '.join(map(_quote, self.value))})"
        value = _quote(self.value) if isinstance(self.value, str) else repr(self.value)
        return f"{self.field} {self.operator} {value}"


Filter = tuple[Comparison, ...]
"""Comparisons joined by AND; empty matches everything."""


@dataclass(frozen=True, slots=True)
class Ordering:
    """One sort key. A metric of a logged model can be restricted to the points on one dataset."""

    field: Field
    ascending: bool = True
    dataset_name: str | None = None
    dataset_digest: str | None = None

    def __str__(self) -> str:
        return f"{self.field} {'ASC' if self.ascending else 'DESC'}"


def _quote(text: str, prefer: str = "'") -> str:
    """Put `text` in quotes; the grammar has no escapes, so a text with every kind of quote cannot be written."""
    for quote in (prefer, "'", '"'):
        if quote not in text:
            return f"{quote}{text}{quote}"
    msg = f"{text!r} holds every kind of quote, so no filter can name it"
    raise ValueError(msg)


__all__ = ["Comparison", "Field", "Filter", "Kind", "Operator", "Ordering", "Value"]
