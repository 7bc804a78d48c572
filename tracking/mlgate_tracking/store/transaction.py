"""One transaction on one connection: what every statement of the store goes through."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager
from functools import cache
from typing import TYPE_CHECKING, Any

from mlgate_tracking.store.dialects import Dialect

if TYPE_CHECKING:
    import sqlalchemy as sa

Row = tuple[Any, ...]


class Transaction:
    """Runs SQL text (placeholders `:name`) with the driver itself; `core` takes SQLAlchemy expressions instead.

    Not thread-safe; it lives as long as the work it was handed to. Values go in as parameters, never into the text;
    integers of our own making may stand in it.
    """

    __slots__ = ("_after_commit", "_core", "_raw", "dialect")

    def __init__(self, raw: Any, dialect: Dialect, core: Callable[[], sa.Connection]) -> None:
        self._raw = raw
        self.dialect = dialect
        self._core = core
        self._after_commit: list[Callable[[], None]] = []

    @property
    def core(self) -> sa.Connection:
        """The same connection, in the same transaction, for SQLAlchemy expressions. Do not commit it."""
        return self._core()

    def rows(self, sql: str, params: Mapping[str, Any] | None = None) -> list[Row]:
        cursor = self.dialect.reader(self._raw)
        cursor.execute(self.dialect.text(sql), params or {})
        found: list[Row] = list(cursor.fetchall())
        cursor.close()
        return found

    def rows_of(self, statements: Sequence[str], params: Mapping[str, Any] | None = None) -> list[list[Row]]:
        """The rows of several statements that need nothing of each other, in one round trip where there are such.

        All of them get the same parameters.
        """
        cursors = [self.dialect.reader(self._raw) for _ in statements]
        with self.dialect.streaming(self._raw):
            for cursor, sql in zip(cursors, statements, strict=True):
                cursor.execute(self.dialect.text(sql), params or {})
            found: list[list[Row]] = [list(cursor.fetchall()) for cursor in cursors]
        for cursor in cursors:
            cursor.close()
        return found

    def row(self, sql: str, params: Mapping[str, Any] | None = None) -> Row | None:
        cursor = self.dialect.reader(self._raw)
        cursor.execute(self.dialect.text(sql), params or {})
        found: Row | None = cursor.fetchone()
        cursor.close()
        return found

    def change(self, sql: str, params: Mapping[str, Any] | None = None) -> int:
        """How many rows the statement matched."""
        cursor = self._raw.cursor()
        cursor.execute(self.dialect.text(sql), params or {})
        count: int = cursor.rowcount
        cursor.close()
        return count

    # --- inserts, which the databases spell differently -------------------------------------------------------------

    def insert(self, table: str, values: Mapping[str, Any]) -> None:
        self.change(_insert(self.dialect, table, tuple(values)), values)

    def insert_keyed(self, table: str, values: Mapping[str, Any], key: str) -> int:
        """Insert a row and return the surrogate key that the database gave it."""
        cursor = self._raw.cursor()
        cursor.execute(self.dialect.text(_insert_returning(self.dialect, table, tuple(values), key)), values)
        made: int = cursor.fetchone()[0] if cursor.description else cursor.lastrowid
        cursor.close()
        return made

    def insert_many(self, table: str, rows: Sequence[Mapping[str, Any]]) -> None:
        """Insert rows; these and those of the methods below all have the same columns."""
        if rows:
            self._write_rows(_insert(self.dialect, table, tuple(rows[0])), table, rows)

    def insert_missing(self, table: str, rows: Sequence[Mapping[str, Any]], conflict: Sequence[str]) -> None:
        """Insert the rows whose key columns (`conflict`) are new; leave the others as they are."""
        if rows:
            self._write_rows(_insert_missing(self.dialect, table, tuple(rows[0]), tuple(conflict)), table, rows)

    def upsert(self, table: str, rows: Sequence[Mapping[str, Any]], conflict: Sequence[str]) -> None:
        """Insert rows of different keys, or overwrite those with the same key columns."""
        if rows:
            self._write_rows(_upsert(self.dialect, table, tuple(rows[0]), tuple(conflict)), table, rows)

    def upsert_greater(
        self, table: str, rows: Sequence[Mapping[str, Any]], conflict: Sequence[str], rank: Sequence[str]
    ) -> None:
        """Insert rows of different keys, or overwrite those with the same key whose `rank` columns compare smaller."""
        if rows:
            sql = _upsert_greater(self.dialect, table, tuple(rows[0]), tuple(conflict), tuple(rank))
            self._write_rows(sql, table, rows)

    def _write_rows(self, sql: str, table: str, rows: Sequence[Mapping[str, Any]]) -> None:
        cursor = self._raw.cursor()
        if len(rows) == 1:  # drivers prepare for many at a price
            cursor.execute(self.dialect.text(sql), rows[0])
        else:
            self.dialect.write_rows(cursor, sql, table, rows)
        cursor.close()

    def short_waits(self) -> AbstractContextManager[object]:
        """Fail soon, as `Trouble.BUSY`, when a row that is to be locked or changed is held by somebody else."""
        return self.dialect.short_waits(self._raw)

    # --- after the commit -------------------------------------------------------------------------------------------

    def after_commit(self, callback: Callable[[], None]) -> None:
        """Call back once the data is durable, or the reading done; never, when this work is rolled back."""
        self._after_commit.append(callback)

    def committed(self) -> None:
        for callback in self._after_commit:
            callback()


@cache
def _insert(dialect: Dialect, table: str, columns: tuple[str, ...]) -> str:
    return dialect.insert(table, columns)


@cache
def _insert_returning(dialect: Dialect, table: str, columns: tuple[str, ...], key: str) -> str:
    return dialect.insert_returning(table, columns, key)


@cache
def _insert_missing(dialect: Dialect, table: str, columns: tuple[str, ...], conflict: tuple[str, ...]) -> str:
    return dialect.insert_missing(table, columns, conflict)


@cache
def _upsert(dialect: Dialect, table: str, columns: tuple[str, ...], conflict: tuple[str, ...]) -> str:
    return dialect.upsert(table, columns, conflict)


@cache
def _upsert_greater(
    dialect: Dialect, table: str, columns: tuple[str, ...], conflict: tuple[str, ...], rank: tuple[str, ...]
) -> str:
    return dialect.upsert_greater(table, columns, conflict, rank)


__all__ = ["Row", "Transaction"]
