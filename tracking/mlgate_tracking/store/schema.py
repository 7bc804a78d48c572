"""The schema's version: a fresh database gets the newest, an old one is upgraded on request, a newer one is refused."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from mlgate_tracking.errors import BadRequest, TemporarilyUnavailable
from mlgate_tracking.store.database import Database, Work
from mlgate_tracking.store.transaction import Transaction

REVISION = "0003"
"""What this version of the package works with: the newest migration."""

VERSION_TABLE = "mlgate_schema"
_LOCK = 0x6D6C67617465  # "mlgate", as the number of an advisory lock

_SQLITE_SCRIPT = Path(__file__).with_name("sqlite_schema.sql")

_TABLES = {
    "sqlite": "SELECT name FROM sqlite_master WHERE type = 'table'",
    "postgresql": "SELECT table_name FROM information_schema.tables WHERE table_schema = current_schema()",
    "mysql": "SELECT table_name FROM information_schema.tables WHERE table_schema = database()",
}


def prepare(database: Database, first_rows: Work[None] | None = None) -> None:
    """Create the schema where there is none, then see that its version is ours.

    Args:
        first_rows: work that is done in the transaction that creates the schema.

    Raises:
        BadRequest: the schema is older or newer than this version's, or the tables are somebody else's.
    """
    found = database.read(current_revision)
    if found is None:
        database.write(lambda tx: _create(tx, first_rows))
    else:
        _require_ours(found)


def current_revision(tx: Transaction) -> str | None:
    """The version that a database is at; None when it has no tables of ours."""
    names = {str(row[0]).lower() for row in tx.rows(_TABLES[tx.dialect.name])}
    if VERSION_TABLE in names:
        row = tx.row(f"SELECT version_num FROM {VERSION_TABLE}")
        return str(row[0]) if row is not None else None
    if "alembic_version" in names and "experiments" in names:
        raise BadRequest("this database belongs to MLflow: bring it over with `mlgate import mlflow URI`")
    return None


def _require_ours(found: str) -> None:
    if found > REVISION:
        raise BadRequest(
            f"the database has schema {found}, newer than {REVISION} of this mlgate: "
            "upgrade mlgate to the version that wrote it"
        )
    if found < REVISION:
        raise BadRequest(
            f"the database has schema {found}, older than {REVISION} of this mlgate: run `mlgate db upgrade`"
        )


def _create(tx: Transaction, first_rows: Work[None] | None) -> None:
    with schema_lock(tx):
        found = current_revision(tx)
        if found is not None:  # another process was faster
            _require_ours(found)
            return
        create_tables(tx)
        if first_rows is not None:
            first_rows(tx)
        tx.change(f"CREATE TABLE {VERSION_TABLE} (version_num VARCHAR(32) NOT NULL PRIMARY KEY)")
        tx.insert(VERSION_TABLE, {"version_num": REVISION})


def create_tables(tx: Transaction) -> None:
    if tx.dialect.name == "sqlite":
        for statement in _SQLITE_SCRIPT.read_text("utf-8").split(";\n"):
            tx.change(statement)
        return
    import sqlalchemy as sa

    from mlgate_tracking.store.tables import metadata

    options = table_options(tx.core)
    if options:
        copy = sa.MetaData(naming_convention=metadata.naming_convention)
        for table in metadata.sorted_tables:
            table.to_metadata(copy).kwargs.update(options)
        metadata = copy
    # On MySQL, whose DDL commits by itself, an earlier attempt may have got half way.
    metadata.create_all(tx.core, checkfirst=tx.dialect.name == "mysql")


def table_options(connection: object) -> dict[str, Any]:
    """What each table is created with: on MySQL and MariaDB, texts that compare byte by byte, trailing spaces too."""
    dialect = getattr(connection, "dialect")  # noqa: B009 - alembic hands in its own kind of connection
    if dialect.name not in ("mysql", "mariadb"):
        return {}
    collation = "utf8mb4_nopad_bin" if dialect.is_mariadb else "utf8mb4_0900_bin"
    return {"mysql_engine": "InnoDB", "mysql_charset": "utf8mb4", "mysql_collate": collation}


@contextmanager
def schema_lock(tx: Transaction) -> Iterator[None]:
    """One process at a time changes the schema; SQLite's write transaction already sees to that."""
    if tx.dialect.name == "postgresql":
        tx.rows(f"SELECT pg_advisory_xact_lock({_LOCK})")
    elif tx.dialect.name == "mysql" and tx.rows(f"SELECT GET_LOCK('{_LOCK}', 60)") != [(1,)]:
        raise TemporarilyUnavailable("another process has been changing the schema for a minute: try again")
    try:
        yield
    finally:
        if tx.dialect.name == "mysql":
            tx.rows(f"SELECT RELEASE_LOCK('{_LOCK}')")


__all__ = [
    "REVISION",
    "VERSION_TABLE",
    "create_tables",
    "current_revision",
    "prepare",
    "schema_lock",
    "table_options",
]
