"""Bring an older schema to this version's, by alembic, which only this module imports."""

from __future__ import annotations

from typing import TYPE_CHECKING

from mlgate_tracking.errors import BadRequest
from mlgate_tracking.store.database import Database, connect_database
from mlgate_tracking.store.schema import REVISION, current_revision, schema_lock
from mlgate_tracking.store.sqlite import database_path
from mlgate_tracking.store.transaction import Transaction

if TYPE_CHECKING:
    from alembic.config import Config


def revision_of(uri: str) -> str | None:
    """The schema's revision in a database; None when it has no tables of ours."""
    if _is_missing_file(uri):
        return None
    database = connect_database(uri)
    try:
        return database.read(current_revision)
    finally:
        database.close()


def upgrade_database(uri: str) -> tuple[str, str]:
    """Apply the migrations that a database lacks; (revision before, revision now).

    All of them or none, but on MySQL, which commits each change of a table by itself: repeat the upgrade there.

    Raises:
        BadRequest: the database has no tables of ours, or newer ones.
    """
    if _is_missing_file(uri):
        raise BadRequest(f"there is no database file {database_path(uri)}")
    database = connect_database(uri)
    try:
        before = database.read(current_revision)
        if before is None:
            raise BadRequest("the database has no tables of mlgate to upgrade: they are made on first use")
        if before > REVISION:
            raise BadRequest(f"the database has schema {before}, newer than {REVISION} of this mlgate")
        run_migrations(database, REVISION)
        return before, REVISION
    finally:
        database.close()


def _is_missing_file(uri: str) -> bool:
    """Opening a SQLite database would make its file."""
    return uri.startswith("sqlite") and not database_path(uri).exists()


def run_migrations(database: Database, revision: str) -> None:
    """Apply the migrations up to a revision in one transaction."""
    from alembic import command

    def work(tx: Transaction) -> None:
        with schema_lock(tx):
            if not tx.core.in_transaction():  # ours; alembic must not end it
                tx.core.begin()
            command.upgrade(_config(tx), revision)

    database.write(work)


def _config(tx: Transaction) -> Config:
    from alembic.config import Config

    config = Config()
    config.set_main_option("script_location", "mlgate_tracking.store:migrations")
    config.attributes["connection"] = tx.core
    return config


__all__ = ["revision_of", "run_migrations", "upgrade_database"]
