"""PostgreSQL and MySQL/MariaDB: a pool of connections, a transaction each; the server groups commits by itself."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from typing import Any, TypeVar

import sqlalchemy as sa
from sqlalchemy.engine import URL, make_url
from sqlalchemy.exc import ArgumentError, DisconnectionError, NoSuchModuleError
from sqlalchemy.exc import TimeoutError as PoolTimeoutError

from mlgate_tracking.errors import BadRequest, InvalidParameterValue, TemporarilyUnavailable
from mlgate_tracking.store.database import Database, Work, without_password
from mlgate_tracking.store.dialects import Trouble, dialect_named, driver_error
from mlgate_tracking.store.transaction import Transaction

T = TypeVar("T")

IDLE = 1.0
"""Seconds in the pool after which a connection is pinged before use."""
POOL_SIZE = 8
POOL_OVERFLOW = 12
"""Together few enough for four server processes on PostgreSQL's usual hundred connections."""
POOL_TIMEOUT = 30.0
"""Seconds to wait for a connection while all are in use."""
CONNECT_TIMEOUT = 10
"""Seconds for one attempt to connect."""

_HERE = (None, "localhost", "127.0.0.1", "::1")
_DRIVERS = {
    "postgresql": ("postgresql+psycopg", "psycopg", "postgres"),
    "postgres": ("postgresql+psycopg", "psycopg", "postgres"),
    "mysql": ("mysql+pymysql", "pymysql", "mysql"),
    "mariadb": ("mysql+pymysql", "pymysql", "mysql"),
}


class PooledDatabase(Database):
    def __init__(self, uri: str) -> None:
        url = driver_url(uri)
        self.dialect = dialect_named(url.drivername.partition("+")[0])
        self.dialect.near = url.host in _HERE
        try:
            self.engine = sa.create_engine(url, **_engine_options(self.dialect.name))
        except (ImportError, NoSuchModuleError) as error:
            _, module, extra = _DRIVERS[self.dialect.name]
            raise BadRequest(f"store URI {url} needs the driver {module}: install mlgate[{extra}]") from error
        self._reading = _without_transactions(self.engine)
        self._suspect_before = 0.0
        sa.event.listen(self.engine, "checkin", self._note_return)
        sa.event.listen(self.engine, "checkout", self._ping_after_a_pause)

    def _read(self, work: Work[T]) -> T:
        with self._connect(self._reading) as connection, self._connected(connection):
            transaction = self._transaction(connection)
            result = work(transaction)
        transaction.committed()
        return result

    def _write(self, work: Work[T], streamed: bool) -> T:
        with self._connect(self.engine) as connection, self._connected(connection):
            transaction = self._transaction(connection)
            with self.dialect.streaming(connection.connection.dbapi_connection) if streamed else nullcontext():
                result = work(transaction)
            connection.commit()
        transaction.committed()
        return result

    def _connect(self, engine: sa.Engine) -> sa.Connection:
        try:
            return engine.connect()
        except PoolTimeoutError as error:
            raise TemporarilyUnavailable(
                f"all {POOL_SIZE + POOL_OVERFLOW} connections to the database are in use, try again"
            ) from error

    def _transaction(self, connection: sa.Connection) -> Transaction:
        connection.begin()
        return Transaction(connection.connection.dbapi_connection, self.dialect, lambda: connection)

    @contextmanager
    def _connected(self, connection: sa.Connection) -> Iterator[None]:
        """When a connection turns out to be dead, give it up and ping every other one before its next use."""
        try:
            yield
        except Exception as error:
            if self.dialect.trouble(driver_error(error)) is Trouble.AWAY:
                connection.invalidate()
                self._suspect_before = time.monotonic()
            raise

    # SQLAlchemy's `pool_pre_ping`, but only for connections that lay idle: a ping costs as much as half a write. Should
    # a busy connection die all the same, its transaction fails and is run again on a new one.

    def _note_return(self, _raw: Any, record: Any) -> None:
        record.info["idle since"] = time.monotonic()

    def _ping_after_a_pause(self, raw: Any, record: Any, _proxy: Any) -> None:
        idle_since = record.info.get("idle since")
        if idle_since is None or idle_since > max(time.monotonic() - IDLE, self._suspect_before):
            return
        try:
            alive = self.engine.dialect.do_ping(raw)
        except self.engine.dialect.loaded_dbapi.Error:
            alive = False
        if not alive:
            raise DisconnectionError

    def close(self) -> None:
        self.engine.dispose()


def _without_transactions(engine: sa.Engine) -> sa.Engine:
    """The same pool for reading, where a transaction costs more than it is good for.

    Each statement of a READ COMMITTED transaction sees what is committed when it starts, just as it does without one.
    On PostgreSQL that spares two exchanges; and psycopg forgets its prepared statements at every ROLLBACK, with which a
    transaction that only read ends, so that the server would parse and plan each statement anew.
    """
    return engine.execution_options(isolation_level="AUTOCOMMIT") if engine.dialect.name == "postgresql" else engine


def driver_url(uri: str) -> URL:
    """The URI with our driver in its scheme, whichever it named."""
    try:
        url = make_url(uri)
    except ArgumentError as error:
        raise InvalidParameterValue(f"store URI {without_password(uri)!r}: {error}") from error
    kind = url.drivername.partition("+")[0]
    if kind not in _DRIVERS:
        raise InvalidParameterValue(f"store URI {url}: unknown scheme {kind!r}; use sqlite, postgresql or mysql")
    url = url.set(drivername=_DRIVERS[kind][0])
    if not url.database:
        raise InvalidParameterValue(f"store URI {url}: name the database, as in {kind}://host/mlgate")
    return url


def _engine_options(dialect: str) -> dict[str, Any]:
    arguments: dict[str, Any] = {"connect_timeout": CONNECT_TIMEOUT}
    if dialect == "mysql":
        # Experiment 0 is a real row, not a request for the next number; values that do not fit are errors.
        arguments["init_command"] = (
            "SET SESSION sql_mode = 'STRICT_ALL_TABLES,NO_AUTO_VALUE_ON_ZERO,NO_ENGINE_SUBSTITUTION'"
        )
        arguments["charset"] = "utf8mb4"
    return {
        "pool_size": POOL_SIZE,
        "max_overflow": POOL_OVERFLOW,
        "pool_timeout": POOL_TIMEOUT,
        "pool_recycle": 1800,
        # Each statement sees what has been committed: after a wait for a row lock that is the newest state.
        "isolation_level": "READ COMMITTED",
        "connect_args": arguments,
    }


__all__ = ["PooledDatabase", "driver_url"]
