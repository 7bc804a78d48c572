"""What differs between the databases: placeholders, upserts, row locks, and how their drivers report trouble.

Statements are SQL text with `:name` placeholders, written once for all databases; only dynamic ones (searches) are
SQLAlchemy expressions. Text costs a tenth of an expression per call and keeps SQLAlchemy out of a step's start-up.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext
from enum import Enum
from functools import cache, lru_cache
from operator import itemgetter
from typing import Any

_PLACEHOLDER = re.compile(r"(?<!:):([a-z_][a-z0-9_]*)")

_VALUES = re.compile(r"VALUES \([^)]*\)")

_SQLITE_CONSTRAINT_UNIQUE = 2067
_SQLITE_CONSTRAINT_PRIMARYKEY = 1555
_POSTGRESQL_AWAY = ("08", "57P", "53300")
_POSTGRESQL_REFUSED = re.compile(
    r"FATAL:.*(authentication failed|does not exist|no pg_hba\.conf entry|permission denied|not permitted to log in)"
)
_MYSQL_REFUSED = (1044, 1045, 1049, 1130, 1698)
_MYSQL_AWAY = (0, 1040, 1053, 1927, 2002, 2003, 2006, 2013, 2014, 2055)


class Trouble(Enum):
    """What an exception of a driver means for the transaction that raised it."""

    RETRY = "lost a race: run the transaction again"
    TAKEN = "a unique value is taken, and no race explains it"
    AWAY = "the database is not there: reconnect and run the transaction again"
    BUSY = "locked by somebody else for longer than we wait"
    FULL = "no room to write"
    REFUSED = "no database of ours, or not for this account: nothing that waiting mends"
    VALUE = "a text or number that the column cannot hold"
    OTHER = "a defect, or a request that the database refuses"


class Dialect:
    """SQLite's, which is also the base of the others: they override what differs."""

    name = "sqlite"
    for_update = ""
    for_share = ""
    near = True
    """Whether the database is on this machine, where an answer comes sooner than the next statement is prepared."""

    def text(self, sql: str) -> str:
        return sql

    def reader(self, raw: Any) -> Any:
        """A cursor of the driver's connection for statements that give rows."""
        return raw.cursor()

    def streaming(self, _raw: Any) -> AbstractContextManager[object]:
        """Let the connection send statements before the ones ahead of them are answered; an error comes at the end."""
        return nullcontext()

    def short_waits(self, _raw: Any) -> AbstractContextManager[object]:
        """Within a transaction: let a row lock that is not to be had fail as BUSY within a second."""
        return nullcontext()

    def insert(self, table: str, columns: Sequence[str]) -> str:
        return f"INSERT INTO {table} ({', '.join(columns)}) VALUES ({', '.join(f':{column}' for column in columns)})"

    def insert_returning(self, table: str, columns: Sequence[str], key: str) -> str:
        """An insert whose generated key `Transaction.insert` can read afterwards."""
        return self.insert(table, columns)

    def insert_missing(self, table: str, columns: Sequence[str], conflict: Sequence[str]) -> str:
        """Rows whose key is there already are left as they are."""
        return f"{self.insert(table, columns)} ON CONFLICT ({', '.join(conflict)}) DO NOTHING"

    def upsert(self, table: str, columns: Sequence[str], conflict: Sequence[str]) -> str:
        """Every column outside the key is overwritten."""
        changes = ", ".join(f"{column} = excluded.{column}" for column in columns if column not in conflict)
        return f"{self.insert(table, columns)} ON CONFLICT ({', '.join(conflict)}) DO UPDATE SET {changes}"

    def upsert_greater(self, table: str, columns: Sequence[str], conflict: Sequence[str], rank: Sequence[str]) -> str:
        """Overwrite only with a row whose `rank` columns compare greater."""
        new = ", ".join(f"excluded.{column}" for column in rank)
        old = ", ".join(f"{table}.{column}" for column in rank)
        return f"{self.upsert(table, columns, conflict)} WHERE ({new}) > ({old})"

    def write_rows(self, cursor: Any, sql: str, table: str, rows: Sequence[Mapping[str, Any]]) -> None:
        """Run one of the inserts above for several rows, all of the same columns."""
        # Values by position: the driver looks names up one by one, row by row.
        columns = tuple(rows[0])
        values = map(itemgetter(*columns), rows) if len(columns) > 1 else ((row[columns[0]],) for row in rows)
        cursor.executemany(_question_marks(sql), values)

    def among(self, column: str, values: Sequence[int] | Sequence[str]) -> tuple[str, dict[str, Any]]:
        """The condition that a column holds one of some integers or texts, at least one, and its parameters."""
        if isinstance(values[0], str):
            listed, params = in_list(values, "among")
            return f"{column} IN {listed}", params
        return f"{column} IN ({', '.join(map(str, values))})", {}

    def trouble(self, error: BaseException) -> Trouble:
        import sqlite3

        if not isinstance(error, sqlite3.Error):
            return Trouble.OTHER
        code = getattr(error, "sqlite_errorcode", 0) or 0
        if code in (_SQLITE_CONSTRAINT_UNIQUE, _SQLITE_CONSTRAINT_PRIMARYKEY):
            return Trouble.TAKEN  # writers take turns
        primary = code & 0xFF
        if primary in (sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED):
            return Trouble.BUSY
        if primary in (sqlite3.SQLITE_FULL, sqlite3.SQLITE_IOERR):
            return Trouble.FULL
        unusable = (sqlite3.SQLITE_READONLY, sqlite3.SQLITE_CANTOPEN, sqlite3.SQLITE_NOTADB, sqlite3.SQLITE_CORRUPT)
        return Trouble.REFUSED if primary in unusable else Trouble.OTHER


class PostgreSQL(Dialect):
    name = "postgresql"
    for_update = " FOR UPDATE"
    for_share = " FOR SHARE"

    def text(self, sql: str) -> str:
        return _percent_placeholders(sql)

    def reader(self, raw: Any) -> Any:
        return raw.cursor(binary=True)  # numbers as such, which need not be read from text

    def streaming(self, raw: Any) -> AbstractContextManager[object]:
        import psycopg

        # An old client library of PostgreSQL's own does not know it.
        return raw.pipeline() if not self.near and psycopg.Pipeline.is_supported() else nullcontext()

    @contextmanager
    def short_waits(self, raw: Any) -> Iterator[None]:
        raw.cursor().execute("SET LOCAL lock_timeout = '250ms'")
        yield

    def insert_returning(self, table: str, columns: Sequence[str], key: str) -> str:
        return f"{self.insert(table, columns)} RETURNING {key}"

    def write_rows(self, cursor: Any, sql: str, table: str, rows: Sequence[Mapping[str, Any]]) -> None:
        # A column travels as one array: a thousand rows are one statement instead of a thousand.
        columns = tuple(rows[0])
        cursor.execute(_from_arrays(sql, table, columns), [[row[column] for row in rows] for column in columns])

    def among(self, column: str, values: Sequence[int] | Sequence[str]) -> tuple[str, dict[str, Any]]:
        # One text however many the values are, so that its plan is kept.
        if len(values) == 1:
            return f"{column} = :among", {"among": values[0]}
        kind = "text" if isinstance(values[0], str) else "bigint"
        return f"{column} = ANY(:among::{kind}[])", {"among": list(values)}

    def trouble(self, error: BaseException) -> Trouble:
        import psycopg

        if not isinstance(error, psycopg.Error):
            return Trouble.OTHER
        if isinstance(error, psycopg.DataError):
            return Trouble.VALUE
        state = error.sqlstate or ""
        if state == "26000" or (state == "0A000" and "cached plan" in str(error)):
            return Trouble.AWAY  # what was prepared went with a change of the schema: on a new connection it is not
        if state in ("40001", "40P01", "23505"):
            return Trouble.RETRY
        if state.startswith(_POSTGRESQL_AWAY):
            return Trouble.AWAY
        if not state and isinstance(error, psycopg.OperationalError):
            # No connection: the server is not there, or it is, and gave a reason that comes without a code.
            return Trouble.REFUSED if _POSTGRESQL_REFUSED.search(str(error)) else Trouble.AWAY
        if state.startswith("53"):
            return Trouble.FULL
        return Trouble.BUSY if state == "55P03" else Trouble.OTHER


class MySQL(Dialect):
    """MySQL 8 and MariaDB 10.6 or newer."""

    name = "mysql"
    for_update = " FOR UPDATE"
    for_share = " LOCK IN SHARE MODE"

    def text(self, sql: str) -> str:
        return _percent_placeholders(sql)

    @contextmanager
    def short_waits(self, raw: Any) -> Iterator[None]:
        cursor = raw.cursor()
        cursor.execute("SET SESSION innodb_lock_wait_timeout = 1")
        try:
            yield
        finally:
            cursor.execute("SET SESSION innodb_lock_wait_timeout = DEFAULT")

    def write_rows(self, cursor: Any, sql: str, table: str, rows: Sequence[Mapping[str, Any]]) -> None:
        cursor.executemany(self.text(sql), rows)  # the driver makes one statement of them

    def among(self, column: str, values: Sequence[int] | Sequence[str]) -> tuple[str, dict[str, Any]]:
        return f"{column} IN :among", {"among": tuple(values)}  # the driver writes the list

    def insert_missing(self, table: str, columns: Sequence[str], conflict: Sequence[str]) -> str:
        # Not INSERT IGNORE: that also swallows values that are too long.
        return f"{self.insert(table, columns)} ON DUPLICATE KEY UPDATE {conflict[0]} = {table}.{conflict[0]}"

    def upsert(self, table: str, columns: Sequence[str], conflict: Sequence[str]) -> str:
        changes = ", ".join(f"{column} = VALUES({column})" for column in columns if column not in conflict)
        return f"{self.insert(table, columns)} ON DUPLICATE KEY UPDATE {changes}"

    def upsert_greater(self, table: str, columns: Sequence[str], conflict: Sequence[str], rank: Sequence[str]) -> str:
        # Assignments are carried out from left to right and later ones see what earlier ones wrote. Ranking columns
        # therefore come last, the most significant one at the very end: once a less significant one is overwritten,
        # the comparison still holds exactly when a more significant one has to be.
        new = ", ".join(f"VALUES({column})" for column in rank)
        old = ", ".join(f"{table}.{column}" for column in rank)
        others = [column for column in columns if column not in conflict and column not in rank]
        changes = ", ".join(
            f"{column} = IF(({new}) > ({old}), VALUES({column}), {table}.{column})"
            for column in [*others, *reversed(rank)]
        )
        return f"{self.insert(table, columns)} ON DUPLICATE KEY UPDATE {changes}"

    def trouble(self, error: BaseException) -> Trouble:
        import pymysql

        if not isinstance(error, pymysql.MySQLError):
            return Trouble.OTHER
        if isinstance(error, pymysql.DataError):
            return Trouble.VALUE
        code = error.args[0] if error.args else 0
        if code in (1213, 1062):
            return Trouble.RETRY
        if code == 1205:
            return Trouble.BUSY
        if code in (1021, 1114, 28, 3):
            return Trouble.FULL
        if code in _MYSQL_REFUSED:
            return Trouble.REFUSED
        return Trouble.AWAY if code in _MYSQL_AWAY else Trouble.OTHER


@cache
def _question_marks(sql: str) -> str:
    return _PLACEHOLDER.sub("?", sql)


@cache
def _from_arrays(sql: str, table: str, columns: tuple[str, ...]) -> str:
    """An insert of `VALUES (...)` as one that takes an array for each column."""
    from sqlalchemy import Double, Integer

    from mlgate_tracking.store.tables import metadata

    def array(column: str) -> str:
        kind = metadata.tables[table].c[column].type
        # Text as such: a cast to the column's own length would cut what is too long without a word.
        return "bigint[]" if isinstance(kind, Integer) else "float8[]" if isinstance(kind, Double) else "text[]"

    arrays = ", ".join(f"%s::{array(column)}" for column in columns)
    return _VALUES.sub(f"SELECT * FROM unnest({arrays})", sql, count=1)


@lru_cache(1000)
def _percent_placeholders(sql: str) -> str:
    return _PLACEHOLDER.sub(r"%(\1)s", sql.replace("%", "%%"))


def dialect_named(name: str) -> Dialect:
    classes: dict[str, type[Dialect]] = {"sqlite": Dialect, "postgresql": PostgreSQL, "mysql": MySQL, "mariadb": MySQL}
    return classes[name]()


def driver_error(error: BaseException) -> BaseException:
    """The driver's own exception: SQLAlchemy wraps it when the statement was an expression."""
    original = getattr(error, "orig", None)
    return original if isinstance(original, BaseException) else error


def in_list(values: Sequence[Any], prefix: str = "value") -> tuple[str, dict[str, Any]]:
    """`(:value0, :value1)` and its parameters, for `IN`."""
    names = [f"{prefix}{index}" for index in range(len(values))]
    return "(" + ", ".join(f":{name}" for name in names) + ")", dict(zip(names, values, strict=True))


__all__ = ["Dialect", "MySQL", "PostgreSQL", "Trouble", "dialect_named", "driver_error", "in_list"]
