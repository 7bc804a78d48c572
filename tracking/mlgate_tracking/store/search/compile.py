"""Comparisons and orderings -> SQL conditions, sort keys and the condition "after this row", for each database.

Text is compared byte by byte everywhere: `=` and LIKE mind case, ILIKE does not. What differs between databases is
gathered here: SQLite's LIKE ignores case, so a case-sensitive LIKE is written as GLOB there; PostgreSQL sorts text by
its locale unless told otherwise; a backslash in a pattern is an ordinary character, but not for PostgreSQL and MySQL.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import sqlalchemy as sa
from sqlalchemy.sql.operators import custom_op

from mlgate_tracking.errors import InvalidParameterValue
from mlgate_tracking.store import tables
from mlgate_tracking.store.search.paging import SortKey
from mlgate_tracking.store.search.syntax import Comparison, Field, Kind, Operator, Ordering, Value
from mlgate_tracking.store.values import text_hash

Expression = sa.ColumnElement[Any]
Condition = sa.ColumnElement[bool]

MANY = 5
"""More conditions than these are kept from a server's planner."""
MAX_BOUND = 200
"""Longer lists of integers stand in the statement itself: one may come a dozen times; SQLite binds 32,766 values."""
MYSQL = frozenset({"mysql", "mariadb"})
_GLOB = str.maketrans({"*": "[*]", "?": "[?]", "[": "[[]", "%": "*", "_": "?"})


@dataclass(frozen=True, slots=True)
class Keyed:
    """A table of keys and values that belong to a row: tags, params, metadata.

    Attributes:
        table: the table.
        owner: name of the column that points at the row.
        interned: keys are numbers of `attribute_keys`; texts in column `name` otherwise.
        hashed: column `value_hash` indexes equality.
    """

    table: sa.Table
    owner: str
    interned: bool = False
    hashed: bool = False

    def of(self, key: str, table: sa.FromClause | None = None) -> Condition:
        """Rows of this key, in `table` (an alias of this one) if given."""
        columns = (self.table if table is None else table).c
        return columns.key_id == key_id(key) if self.interned else columns.name == key

    def value_matches(self, comparison: Comparison, dialect: str) -> Condition:
        condition = text_condition(self.table.c.value, comparison.operator, comparison.value, dialect)
        if self.hashed and comparison.operator in {Operator.EQ, Operator.IN}:
            condition = sa.and_(self.hash_matches(comparison), condition)
        return condition

    def hash_matches(self, comparison: Comparison) -> Condition:
        """What the index on hashes knows of `=` and IN."""
        texts = comparison.value if isinstance(comparison.value, tuple) else (str(comparison.value),)
        return among(self.table.c.value_hash, sorted({text_hash(text) for text in texts}))


@dataclass(frozen=True, slots=True)
class Subject:
    """Where a search finds its fields.

    Attributes:
        key: its integer key.
        attributes: canonical name -> column.
        keyed: kind -> table of keys and values.
    """

    key: sa.ColumnElement[int]
    attributes: Mapping[str, sa.Column[Any]]
    keyed: Mapping[Kind, Keyed]

    def condition(self, comparison: Comparison, dialect: str, *, row: sa.ColumnElement[int] | None = None) -> Condition:
        """Rows for which the comparison holds; an absent key makes everything but IS NULL false.

        Args:
            row: the key by which it is looked up for each row (see `exists`), if not to be had in any other way.
        """
        field = comparison.field
        if field.kind is Kind.ATTRIBUTE:
            return column_condition(self.attributes[field.key], comparison, dialect)
        keyed = self.keyed[field.kind]
        by_row = row is not None
        owner = self.key if row is None else row
        mine = sa.select(sa.literal(1)).where(keyed.table.c[keyed.owner] == owner, keyed.of(field.key))
        if comparison.operator is Operator.IS_NULL:
            return ~exists(mine, dialect, by_row=by_row)
        if comparison.operator is not Operator.IS_NOT_NULL:
            mine = mine.where(keyed.value_matches(comparison, dialect))
        return exists(mine, dialect, by_row=by_row)

    def term(self, ordering: Ordering, dialect: str) -> Term:
        """The sort key of an attribute or a keyed text; rows without a value come last in both directions."""
        if ordering.field.kind is Kind.ATTRIBUTE:
            column = self.attributes[ordering.field.key]
            return term(column, ascending=ordering.ascending, nullable=bool(column.nullable), dialect=dialect)
        keyed = self.keyed[ordering.field.kind]
        alias = keyed.table.alias()
        join = sa.and_(alias.c[keyed.owner] == self.key, keyed.of(ordering.field.key, alias))
        return term(alias.c.value, ascending=ordering.ascending, nullable=True, dialect=dialect, join=(alias, join))


@dataclass(frozen=True, slots=True)
class Term:
    """One sort key as columns: (expression, ascending), a rank before the value when values may be missing."""

    columns: tuple[tuple[Expression, bool], ...]
    join: tuple[sa.FromClause, Condition] | None = None


def term(
    value: Expression,
    *,
    ascending: bool,
    nullable: bool = False,
    dialect: str = "",
    join: tuple[sa.FromClause, Condition] | None = None,
) -> Term:
    """A sort key over `value`; with `nullable`, missing values come last whatever the direction."""
    sorted_by = collated(value, dialect)
    if not nullable:
        return Term(((sorted_by, ascending),), join)
    return Term(((sa.case((value.is_(None), 1), else_=0), True), (sorted_by, ascending)), join)


def collated(value: Expression, dialect: str) -> Expression:
    """`value` sorted by code points where the database would sort by locale."""
    return sa.collate(value, "C") if dialect == "postgresql" and isinstance(value.type, sa.String) else value


def exists(found: sa.Select[Any], dialect: str, *, by_row: bool) -> Condition:
    """Whether there is such a row.

    Args:
        by_row: it is to be looked up for each row of the statement around it. PostgreSQL would otherwise rather begin
            with all such rows, or gather them first, even if they are a million and it needs a hundred.
    """
    # With an offset, it leaves a subquery where it is.
    return sa.exists(found.offset(sa.literal_column("0")) if by_row and dialect == "postgresql" else found)


def apart(conditions: Iterable[Condition], dialect: str, many: int = MANY) -> list[Condition]:
    """The conditions, as a single opaque one when they are more than `many`.

    A server's planner turns every subquery into a join and weighs the orders of those joins: seconds for twenty, hours
    for a hundred. It does not look into a CASE, and takes for granted that half of the rows pass.
    """
    listed = list(conditions)
    if dialect == "sqlite" or len(listed) <= many:
        return listed
    return [sa.case((sa.and_(*listed), sa.true()), else_=sa.false())]


def key_id(name: str) -> sa.ScalarSelect[int]:
    """The number of an interned key; NULL, which equals nothing, when no row ever used it."""
    return sa.select(tables.attribute_keys.c.key_id).where(tables.attribute_keys.c.name == name).scalar_subquery()


def among(column: sa.ColumnElement[Any], values: Sequence[object]) -> Condition:
    """`column IN values`, as an equality when there is one value (it can then use an index's order)."""
    if len(values) == 1:
        return column == values[0]
    if len(values) > MAX_BOUND and isinstance(values[0], int):
        return column.in_(sa.bindparam(None, values, expanding=True, literal_execute=True))
    return column.in_(values)


def unindexed(column: sa.ColumnElement[Any], dialect: str) -> sa.ColumnElement[Any]:
    """`column` as an expression that keeps SQLite from walking an index on it; it plans without statistics."""
    if dialect != "sqlite":
        return column
    return sa.UnaryExpression(column, operator=custom_op("+"), type_=column.type)


def column_condition(column: sa.ColumnElement[Any], comparison: Comparison, dialect: str) -> Condition:
    if isinstance(comparison.value, int | float):
        return number_condition(column, comparison.operator, comparison.value)
    if isinstance(column.type, sa.String):
        return text_condition(column, comparison.operator, comparison.value, dialect)
    return _id_condition(column, comparison, dialect)


def number_condition(column: Expression, operator: Operator, value: float) -> Condition:
    # The literal's own type: a fraction compared with an integer column must not be rounded to an integer first.
    literal: Expression = sa.literal(value, sa.Double() if isinstance(value, float) else sa.BigInteger())
    compare = {
        Operator.EQ: column == literal,
        Operator.NE: column != literal,
        Operator.LT: column < literal,
        Operator.LE: column <= literal,
        Operator.GT: column > literal,
        Operator.GE: column >= literal,
    }
    return compare[operator]


def text_condition(column: Expression, operator: Operator, value: Value, dialect: str) -> Condition:
    if isinstance(value, tuple):
        return among(column, value) if operator is Operator.IN else column.not_in(value)
    text = str(value)
    if operator is Operator.EQ:
        return column == text
    if operator is Operator.NE:
        return column != text
    if operator is Operator.LIKE:
        if dialect == "sqlite":
            return column.op("GLOB", is_comparison=True, return_type=sa.Boolean())(text.translate(_GLOB))
        return column.like(_pattern(text), escape=_ESCAPE)
    if operator is Operator.ILIKE:
        if dialect == "sqlite":
            return column.like(text)  # SQLite's own LIKE ignores case and knows no escapes
        if dialect in MYSQL:
            return sa.func.lower(column).like(sa.func.lower(_pattern(text)), escape=_ESCAPE)
        return column.ilike(_pattern(text), escape=_ESCAPE)
    return column.regexp_match(text)


_ESCAPE = "\x01"
"""PostgreSQL and MySQL want some escape character; this one is doubled where a pattern holds it."""


def _pattern(text: str) -> str:
    return text.replace(_ESCAPE, _ESCAPE + _ESCAPE)


def _id_condition(column: Expression, comparison: Comparison, dialect: str) -> Condition:
    """Compare an integer id with the quoted text that the wire calls it; other text equals no id."""
    texts = comparison.value if isinstance(comparison.value, tuple) else (str(comparison.value),)
    ids = [
        int(text) for text in texts if text.isascii() and text.isdigit() and len(text) <= 18 and str(int(text)) == text
    ]
    if comparison.operator in {Operator.EQ, Operator.IN}:
        return among(column, ids) if ids else sa.false()
    if comparison.operator in {Operator.NE, Operator.NOT_IN}:
        return column.not_in(ids) if ids else sa.true()
    text_column: Expression = sa.cast(column, sa.String(20))
    return text_condition(text_column, comparison.operator, comparison.value, dialect)


def after(terms: Sequence[Term], last: SortKey) -> Condition:
    """Rows that come after the one with sort key `last`.

    Raises:
        InvalidParameterValue: `last` is no sort key of these terms (a forged token).
    """
    columns = [column for each in terms for column in each.columns]
    if len(columns) != len(last) or not all(
        _fits(column, value) for (column, _), value in zip(columns, last, strict=True)
    ):
        msg = "page_token: it is not one of this search; start from the first page without a token"
        raise InvalidParameterValue(msg)
    alternatives: list[Condition] = []
    equal: list[Condition] = []
    for (column, ascending), value in zip(columns, last, strict=True):
        if value is None:
            continue  # a missing value: the rank before it already tells these rows apart
        literal = sa.literal(value, column.type)
        alternatives.append(sa.and_(*equal, column > literal if ascending else column < literal))
        equal.append(column == literal)
    first, ascending = columns[0]
    bound: Condition = sa.true()
    if last[0] is not None:  # says the same once more in a form that an index can start from
        literal = sa.literal(last[0], first.type)
        bound = first >= literal if ascending else first <= literal
    return sa.and_(bound, sa.or_(*alternatives))


def _fits(column: Expression, value: object) -> bool:
    if value is None:
        return True
    if isinstance(column.type, sa.String):
        return isinstance(value, str)
    return isinstance(value, int | float) and (not isinstance(value, float) or isinstance(column.type, sa.Double))


def ordered(statement: sa.Select[Any], terms: Sequence[Term]) -> sa.Select[Any]:
    """Add the sort keys to a statement's columns (after the first) and its ORDER BY."""
    columns = [column for each in terms for column in each.columns]
    return statement.add_columns(*(column.label(f"k{at}") for at, (column, _) in enumerate(columns))).order_by(
        *(column.asc() if ascending else column.desc() for column, ascending in columns)
    )


def joined(source: sa.FromClause, terms: Sequence[Term]) -> sa.FromClause:
    """`source` with the outer joins that the terms need."""
    for each in terms:
        if each.join is not None:
            source = source.outerjoin(*each.join)
    return source


def attribute(name: str, *, ascending: bool = True) -> Ordering:
    return Ordering(Field(Kind.ATTRIBUTE, name), ascending)


__all__ = [
    "MYSQL",
    "Condition",
    "Expression",
    "Keyed",
    "Subject",
    "Term",
    "after",
    "among",
    "apart",
    "attribute",
    "column_condition",
    "exists",
    "joined",
    "key_id",
    "number_condition",
    "ordered",
    "term",
    "text_condition",
    "unindexed",
]
