"""The door to a database: opened from a URI, it runs pieces of work in read or write transactions.

    database = open_database("sqlite:////data/mlgate.db")
    experiment_id = database.write(lambda tx: create(tx, "iris"))
    names = database.read(lambda tx: tx.rows("SELECT name FROM experiments"))

A piece of work is a function of a `Transaction`. It may be run more than once (a lost race, a database that restarted)
and together with other people's work, so it touches nothing but the transaction, and takes ids and times from outside.
"""

from __future__ import annotations

import re
import time
from abc import ABC, abstractmethod
from collections.abc import Callable
from typing import TypeVar
from urllib.parse import urlsplit

from mlgate_tracking.errors import BadRequest, Conflict, InternalError, InvalidParameterValue, TemporarilyUnavailable
from mlgate_tracking.store.dialects import Dialect, Trouble, driver_error
from mlgate_tracking.store.transaction import Transaction

T = TypeVar("T")
Work = Callable[[Transaction], T]

RACES = 10
"""How often a transaction that lost a race is run again."""
PATIENCE = 30.0
"""Seconds that a call waits for a database that is away before it fails."""


class Database(ABC):
    """Thread-safe. `read` and `write` translate the driver's errors into the package's."""

    dialect: Dialect

    def read(self, work: Work[T]) -> T:
        """Run work in a read-only transaction that sees one state of the data."""
        return self._persist(lambda: self._read(work))

    def write(self, work: Work[T], *, streamed: bool = False) -> T:
        """Run work in a transaction; its result comes back once the data is durable. All of it or nothing.

        Args:
            streamed: the work does not ask how many rows it changed, so a server need not answer each of its writes
                before it gets the next.
        """
        return self._persist(lambda: self._write(work, streamed))

    @abstractmethod
    def close(self) -> None:
        """Release connections. Safe to call twice."""

    @abstractmethod
    def _read(self, work: Work[T]) -> T: ...

    @abstractmethod
    def _write(self, work: Work[T], streamed: bool) -> T: ...

    def _persist(self, call: Callable[[], T]) -> T:
        """Run a transaction again when it lost a race or the database went away, with growing pauses."""
        started = time.monotonic()
        attempt = 0
        while True:
            try:
                return call()
            except Exception as error:
                trouble = self.dialect.trouble(driver_error(error))
                if trouble is Trouble.OTHER:
                    raise
                attempt += 1
                again = (trouble is Trouble.RETRY and attempt < RACES) or (
                    trouble is Trouble.AWAY and time.monotonic() - started < PATIENCE
                )
                if not again:
                    raise _as_tracking_error(trouble, driver_error(error)) from error
            jitter = 0.5 + time.time_ns() // 1000 % 500 / 1000
            time.sleep(jitter * min(0.002 * 2**attempt, 0.1 if trouble is Trouble.RETRY else 1.0))


def _as_tracking_error(trouble: Trouble, error: BaseException) -> Exception:
    cause = (str(error).strip() or type(error).__name__).splitlines()[0]
    if trouble is Trouble.RETRY:
        return Conflict(f"the write kept losing a race with other writers: {cause}")
    if trouble is Trouble.TAKEN:
        return Conflict(f"the write repeats a value that must be unique: {cause}")
    if trouble is Trouble.VALUE:
        return InvalidParameterValue(f"the database does not take a value: {cause}")
    if trouble is Trouble.REFUSED:
        return BadRequest(f"the database cannot be used: {cause}")
    if trouble is Trouble.FULL:
        return InternalError(f"the database cannot write, make room on its disk: {cause}")
    if trouble is Trouble.BUSY:
        return TemporarilyUnavailable(f"the database is locked by another writer, try again: {cause}")
    return TemporarilyUnavailable(f"the database is away, try again: {cause}")


def open_database(uri: str, first_rows: Work[None] | None = None) -> Database:
    """Open the database of a URI and see that its schema is the one this version works with.

    A database without tables gets them. `sqlite:///relative.db`, `sqlite:////absolute.db`,
    `postgresql://user:password@host/name` and `mysql://user:password@host/name` are understood; a driver in the scheme
    (`postgresql+psycopg2`) is replaced by ours.

    Args:
        first_rows: work that is done in the transaction that creates the tables.

    Raises:
        InvalidParameterValue: the URI is of no kind we know.
        BadRequest: the schema is older or newer than this version's.
        TemporarilyUnavailable: the database cannot be reached.
    """
    database = connect_database(uri)
    from mlgate_tracking.store.schema import prepare

    try:
        prepare(database, first_rows)
    except BaseException:
        database.close()
        raise
    return database


def connect_database(uri: str) -> Database:
    """The database of a URI as it is, its schema not looked at."""
    kind = urlsplit(uri).scheme.partition("+")[0]
    if kind == "sqlite":
        from mlgate_tracking.store.sqlite import SQLiteDatabase

        return SQLiteDatabase(uri)
    if kind in ("postgresql", "postgres", "mysql", "mariadb"):
        from mlgate_tracking.store.pooled import PooledDatabase

        return PooledDatabase(uri)
    raise InvalidParameterValue(
        f"store URI {without_password(uri)!r}: unknown scheme {kind!r}; use sqlite:///file.db, postgresql://... or mysql://..."
    )


def without_password(uri: str) -> str:
    """A URI as it may stand in a message."""
    return re.sub(r"//([^:/@]*):[^@]*@", r"//\1:***@", uri)


__all__ = ["PATIENCE", "RACES", "Database", "Work", "connect_database", "open_database", "without_password"]
