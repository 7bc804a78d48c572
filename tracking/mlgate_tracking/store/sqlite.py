"""SQLite: one writer at a time, whose commit carries everybody who waited for it; any number of readers beside it.

Group commit: writers who come while another one writes line up (`lineup`). The whole line then goes into one
transaction, a savepoint each, and one commit makes all of it durable. A lone writer needs no savepoint.

Durability: WAL mode with `synchronous=FULL`. A commit has reached the disk before the caller is answered; it survives
`kill -9` of any process, a crash of the operating system and a power cut (as far as the disk keeps its word); group
commit shares the price of waiting for it. `?synchronous=normal` in the URI leaves out that wait: what a crash of the
process loses is still nothing, a power cut may then take the commits of the last moments, never the file's integrity.
"""

from __future__ import annotations

import contextlib
import sqlite3
import threading
from collections import deque
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar
from urllib.parse import parse_qs, unquote, urlsplit

from mlgate_tracking.errors import BadRequest, InvalidParameterValue
from mlgate_tracking.store.database import Database, Work
from mlgate_tracking.store.dialects import Dialect, Trouble, driver_error
from mlgate_tracking.store.lineup import Lineup, Request
from mlgate_tracking.store.transaction import Transaction

if TYPE_CHECKING:
    import sqlalchemy as sa

T = TypeVar("T")

LARGEST_GROUP = 256
LOCK_TIMEOUT = 60.0
"""Seconds to wait for another process that is writing."""
READERS_KEPT = 8
"""Idle reading connections; each has memory of its own."""
_PAGE_CACHE_KIB = 16 * 1024


def database_path(uri: str) -> Path:
    """The file of a `sqlite:` URI: three slashes for a relative path, four for an absolute one."""
    rest = urlsplit(uri)
    path = unquote(rest.path)
    if rest.netloc or not path.startswith("/") or path in ("/", "/:memory:"):
        raise InvalidParameterValue(
            f"store URI {uri!r}: name a database file, as in sqlite:///relative.db or sqlite:////absolute.db"
        )
    return Path(path[1:])


class _Connection:
    """A raw connection, and on demand SQLAlchemy's wrapping of the same one."""

    def __init__(self, database: SQLiteDatabase) -> None:
        self._database = database
        self._core: sa.Connection | None = None
        self.raw = database.connect()

    def core(self) -> sa.Connection:
        if self._core is None:
            self._core = self._database.wrap(self.raw)
        return self._core

    def transaction(self) -> Transaction:
        return Transaction(self.raw, self._database.dialect, self.core)

    def close(self) -> None:
        if self._core is not None:
            self._core.close()
        self.raw.close()


class _Commit(Request):
    """One caller's work on its way through a group."""

    def __init__(self, work: Work[Any]) -> None:
        super().__init__()
        self.work = work
        self.transaction: Transaction | None = None


class SQLiteDatabase(Database):
    dialect = Dialect()

    def __init__(self, uri: str) -> None:
        self.path = database_path(uri)
        options = parse_qs(urlsplit(uri).query)
        self._synchronous = options.get("synchronous", ["full"])[-1].upper()
        if self._synchronous not in ("NORMAL", "FULL"):
            raise InvalidParameterValue(
                f"store URI {uri!r}: synchronous={self._synchronous.lower()!r} is unknown; use normal or full"
            )
        try:
            self.path.parent.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise BadRequest(f"store URI {uri!r}: cannot make {self.path.parent}: {error.strerror}") from error
        self._closed = False
        self._engine: sa.Engine | None = None
        self._readers: deque[_Connection] = deque()
        self._writer: _Connection | None = None
        self._mutex = threading.Lock()
        self._lineup = Lineup(self._commit, LARGEST_GROUP, f"the store {self.path}")

    # --- connections --------------------------------------------------------------------------------------------

    def connect(self) -> sqlite3.Connection:
        raw = sqlite3.connect(
            self.path, timeout=LOCK_TIMEOUT, isolation_level=None, check_same_thread=False, cached_statements=512
        )
        try:
            if raw.execute("PRAGMA journal_mode").fetchone()[0] != "wal":
                raw.execute("PRAGMA journal_mode = WAL")
            raw.execute(f"PRAGMA synchronous = {self._synchronous}")
            raw.execute("PRAGMA foreign_keys = ON")
            raw.execute(f"PRAGMA cache_size = -{_PAGE_CACHE_KIB}")
            raw.execute("PRAGMA temp_store = MEMORY")
        except BaseException:
            raw.close()
            raise
        return raw

    def wrap(self, raw: sqlite3.Connection) -> sa.Connection:
        """SQLAlchemy over a connection of ours, which stays in charge of its transactions."""
        from sqlalchemy import create_engine
        from sqlalchemy.pool import NullPool

        with self._mutex:
            if self._engine is None:
                # The first connection of an engine is probed and rolled back; it gets one that nobody uses.
                handed: list[sqlite3.Connection] = [sqlite3.connect(":memory:", isolation_level=None)]
                self._engine = create_engine("sqlite://", creator=handed.pop, poolclass=NullPool)
                self._hand = handed.append
                self._engine.connect().close()
            self._hand(raw)
            return self._engine.connect()

    # --- reading ------------------------------------------------------------------------------------------------

    def _read(self, work: Work[T]) -> T:
        try:
            connection = self._readers.pop()
        except IndexError:
            self._refuse_when_closed()
            connection = _Connection(self)
        try:
            connection.raw.execute("BEGIN")
            try:
                transaction = connection.transaction()
                result = work(transaction)
                transaction.committed()
                return result
            finally:
                if connection.raw.in_transaction:
                    connection.raw.execute("ROLLBACK")
        finally:
            if self._closed or len(self._readers) >= READERS_KEPT:
                connection.close()
            else:
                self._readers.append(connection)

    # --- writing ------------------------------------------------------------------------------------------------

    def _write(self, work: Work[T], _streamed: bool) -> T:
        request = _Commit(work)
        self._lineup.enter(request)
        result: T = request.result
        return result

    def _commit(self, group: list[_Commit]) -> None:
        try:
            if self._writer is None:
                self._writer = _Connection(self)
            writer = self._writer
            if len(group) > 1 and self._commit_together(writer, group):
                return
        except Exception as error:
            for request in group:
                request.error = error
            return
        for request in group:
            self._commit_alone(writer, request)

    def _commit_alone(self, writer: _Connection, request: _Commit) -> None:
        raw = writer.raw
        request.error = None
        transaction = writer.transaction()
        try:
            raw.execute("BEGIN IMMEDIATE")
            request.result = request.work(transaction)
            _commit(raw, [request])
            transaction.committed()
        except Exception as error:
            request.error = error
            request.settled = True
        finally:
            _roll_back(raw)

    def _commit_together(self, writer: _Connection, group: list[_Commit]) -> bool:
        """One transaction, a savepoint each. False: the whole was rolled back and everybody has to go alone."""
        raw = writer.raw
        raw.execute("BEGIN IMMEDIATE")
        try:
            for request in group:
                raw.execute("SAVEPOINT request")
                request.transaction = writer.transaction()
                try:
                    request.result = request.work(request.transaction)
                except Exception as error:
                    request.error = error
                    if self.dialect.trouble(driver_error(error)) is Trouble.FULL or not raw.in_transaction:
                        raise
                    raw.execute("ROLLBACK TO request")
                raw.execute("RELEASE request")
            _commit(raw, group)
        except Exception:
            return False
        finally:
            _roll_back(raw)
        for request in group:
            if request.error is None and request.transaction is not None:
                request.transaction.committed()
        return True

    # --- life ---------------------------------------------------------------------------------------------------

    def _refuse_when_closed(self) -> None:
        if self._closed:
            raise RuntimeError(f"the store {self.path} is closed")

    def close(self) -> None:
        self._closed = True
        while self._readers:
            self._readers.pop().close()
        self._lineup.close(self._close_writer)

    def _close_writer(self) -> None:
        # The last connection to close brings the WAL home; only one that may write can.
        if self._writer is not None:
            self._writer.close()
            self._writer = None


def _commit(raw: sqlite3.Connection, group: list[_Commit]) -> None:
    """Commit the work of a group, and settle it even when control-C came while the disk was waited for."""
    try:
        raw.execute("COMMIT")
    except Exception:
        raise
    except BaseException:
        for request in group:
            request.settled = not raw.in_transaction
        raise
    for request in group:
        request.settled = True


def _roll_back(raw: sqlite3.Connection) -> None:
    """End a transaction that is still open."""
    if raw.in_transaction:
        with contextlib.suppress(sqlite3.Error):
            raw.execute("ROLLBACK")


__all__ = ["LARGEST_GROUP", "LOCK_TIMEOUT", "SQLiteDatabase", "database_path"]
