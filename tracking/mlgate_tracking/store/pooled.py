"""PostgreSQL and MySQL/MariaDB: a pool of connections, a transaction each; the server groups commits by itself."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, TypeVar

import sqlalchemy as sa
from sqlalchemy.engine import make_url
from sqlalchemy.exc import ArgumentError, DisconnectionError, NoSuchModuleError

from mlgate_tracking.errors import BadRequest, InvalidParameterValue
from mlgate_tracking.store.database import Database, Work
from mlgate_tracking.store.dialects import Trouble, dialect_named, driver_error
from mlgate_tracking.store.transaction import Transaction

T = TypeVar("T")

IDLE = 1.0
"""Seconds in the pool after which a connection is pinged before use."""
POOL_SIZE = 16
POOL_OVERFLOW = 32
CONNECT_TIMEOUT = 10
"""Seconds for one attempt to connect."""

_DRIVERS = {
    "postgresql": ("postgresql+psycopg", "psycopg", "postgres"),
    "postgres": ("postgresql+psycopg", "psycopg", "postgres"),
    "mysql": ("mysql+pymysql", "pymysql", "mysql"),
    "mariadb": ("mysql+pymysql", "pymysql", "mysql"),
}


class PooledDatabase(Database):
    def __init__(self, uri: str) -> None:
        try:
            url = make_url(uri)
        except ArgumentError as error:
            raise InvalidParameterValue(f"store URI {uri!r}: {error}") from error
        driver, module, extra = _DRIVERS[url.drivername.partition("+")[0]]
        url = url.set(drivername=driver)
        if not url.database:
            raise InvalidParameterValue(f"store URI {url}: name the database, as in {driver}://host/mlgate")
        self.dialect = dialect_named(driver.partition("+")[0])
        try:
            self.engine = sa.create_engine(url, **_engine_options(self.dialect.name))
        except (ImportError, NoSuchModuleError) as error:
            raise BadRequest(f"store URI {url} needs the driver {module}: install mlgate[{extra}]") from error
        _ping_after_a_pause(self.engine)

    def _read(self, work: Work[T]) -> T:
        with self.engine.connect() as connection, self._connected(connection):
            transaction = self._transaction(connection)
            result = work(transaction)
        transaction.committed()
        return result

    def _write(self, work: Work[T]) -> T:
        with self.engine.connect() as connection, self._connected(connection):
            transaction = self._transaction(connection)
            result = work(transaction)
            connection.commit()
        transaction.committed()
        return result

    def _transaction(self, connection: sa.Connection) -> Transaction:
        connection.begin()
        return Transaction(connection.connection.dbapi_connection, self.dialect, lambda: connection)

    @contextmanager
    def _connected(self, connection: sa.Connection) -> Iterator[None]:
        """Drop the pool's connections together with the one that turned out to be dead."""
        try:
            yield
        except Exception as error:
            if self.dialect.trouble(driver_error(error)) is Trouble.AWAY:
                connection.invalidate()
                self.engine.dispose()
            raise

    def close(self) -> None:
        self.engine.dispose()


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
        "pool_recycle": 1800,
        # Each statement sees what has been committed: after a wait for a row lock that is the newest state.
        "isolation_level": "READ COMMITTED",
        "connect_args": arguments,
    }


def _ping_after_a_pause(engine: sa.Engine) -> None:
    """SQLAlchemy's `pool_pre_ping`, but only for connections that lay idle: a ping costs as much as half a write.

    Should a busy connection die all the same, its transaction fails and is run again on a new one.
    """

    @sa.event.listens_for(engine, "checkin")
    def note(_raw: Any, record: Any) -> None:
        record.info["idle since"] = time.monotonic()

    @sa.event.listens_for(engine, "checkout")
    def ping(raw: Any, record: Any, _proxy: Any) -> None:
        if time.monotonic() - record.info.get("idle since", time.monotonic()) < IDLE:
            return
        try:
            alive = engine.dialect.do_ping(raw)
        except engine.dialect.loaded_dbapi.Error:
            alive = False
        if not alive:
            raise DisconnectionError


__all__ = ["PooledDatabase"]
