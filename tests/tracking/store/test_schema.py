"""Creating the schema at once and migrating to it step by step give the same database."""

from __future__ import annotations

import re
import sqlite3
from pathlib import Path

import pytest

from mlgate_tracking.errors import BadRequest
from mlgate_tracking.store import tables
from mlgate_tracking.store.database import Database, connect_database, open_database
from mlgate_tracking.store.migrations import versions
from mlgate_tracking.store.schema import REVISION, VERSION_TABLE
from mlgate_tracking.store.sql import SqlStore
from mlgate_tracking.store.transaction import Transaction
from mlgate_tracking.store.upgrade import revision_of, run_migrations, upgrade_database
from tests.support import databases

HINT = (
    "tables.py and the migrations differ: add a migration (store/migrations/versions/NNNN_what.py) and raise "
    "schema.REVISION to it"
)


def _sqlite(tx: Transaction) -> list[str]:
    rows = tx.rows(
        "SELECT tbl_name, type, name, sql FROM sqlite_master WHERE name NOT LIKE 'sqlite_%' ORDER BY 1, 2, 3"
    )
    return [f"{row[:3]} {_normal(row[3])}" for row in rows if row[0] != VERSION_TABLE]


def _normal(sql: str | None) -> list[str]:
    """A CREATE statement has a line for each column and constraint; the order of constraints means nothing."""
    return sorted(line.strip(" ,\t") for line in (sql or "").splitlines() if line.strip(" ,\t"))


def _postgresql(tx: Transaction) -> list[str]:
    columns = tx.rows(
        "SELECT table_name, column_name, data_type, character_maximum_length, is_nullable, column_default, is_identity "
        "FROM information_schema.columns WHERE table_schema = current_schema()"
    )
    constraints = tx.rows(
        "SELECT conrelid::regclass::text, conname, pg_get_constraintdef(oid) FROM pg_constraint "
        "WHERE connamespace = current_schema()::regnamespace"
    )
    indexes = tx.rows("SELECT tablename, indexname, indexdef FROM pg_indexes WHERE schemaname = current_schema()")
    return sorted(str(row) for row in [*columns, *constraints, *indexes] if row[0] != VERSION_TABLE)


def _mysql(tx: Transaction) -> list[str]:
    tables = [row[0] for row in tx.rows("SHOW TABLES") if row[0] != VERSION_TABLE]
    statements = [tx.rows(f"SHOW CREATE TABLE {table}")[0][1] for table in tables]
    return [
        "\n".join(sorted(line.strip(" ,") for line in re.sub(r"AUTO_INCREMENT=\d+ ", "", statement).splitlines()))
        for statement in sorted(statements)
    ]


def same_schema(created: str, migrated: str) -> None:
    opened = open_database(created)
    empty: Database = connect_database(migrated)
    describe = {"sqlite": _sqlite, "postgresql": _postgresql, "mysql": _mysql}[opened.dialect.name]
    try:
        run_migrations(empty, "head")
        assert empty.read(describe) == opened.read(describe), HINT
    finally:
        opened.close()
        empty.close()
    assert revision_of(migrated) == REVISION
    SqlStore(migrated).close()


def test_migrations_make_the_schema_on_sqlite(tmp_path: Path) -> None:
    same_schema(f"sqlite:///{tmp_path}/created.db", f"sqlite:///{tmp_path}/migrated.db")


@pytest.mark.database
def test_migrations_make_the_schema_on_servers(server: databases.PostgreSQL | databases.MariaDB) -> None:
    same_schema(server.create(), server.create())


def test_the_script_for_sqlite_is_up_to_date() -> None:
    script = Path(tables.__file__).with_name("sqlite_schema.sql").read_text()
    assert script == tables.sqlite_script(), (
        "write it anew: python -m mlgate_tracking.store.tables > tracking/mlgate_tracking/store/sqlite_schema.sql"
    )


def test_the_newest_migration_is_the_schemas_revision() -> None:
    revisions = sorted(path.name[:4] for path in Path(versions.__path__[0]).glob("[0-9]*.py"))
    assert revisions[-1] == REVISION


def test_upgrading_an_upgraded_database_changes_nothing(tmp_path: Path) -> None:
    uri = f"sqlite:///{tmp_path}/store.db"
    SqlStore(uri).close()
    assert upgrade_database(uri) == (REVISION, REVISION)


def test_upgrading_refuses_what_it_cannot_upgrade(tmp_path: Path) -> None:
    with pytest.raises(BadRequest, match="there is no database file"):
        upgrade_database(f"sqlite:///{tmp_path}/empty.db")
    (tmp_path / "empty.db").touch()
    with pytest.raises(BadRequest, match="no tables of mlgate"):
        upgrade_database(f"sqlite:///{tmp_path}/empty.db")
    uri = f"sqlite:///{tmp_path}/newer.db"
    SqlStore(uri).close()
    with sqlite3.connect(tmp_path / "newer.db") as raw:
        raw.execute(f"UPDATE {VERSION_TABLE} SET version_num = '9999'")
    raw.close()
    with pytest.raises(BadRequest, match="newer than"):
        upgrade_database(uri)


def test_making_and_opening_a_sqlite_store_needs_neither_sqlalchemy_nor_alembic(tmp_path: Path) -> None:
    import subprocess
    import sys

    uri = f"sqlite:///{tmp_path}/store.db"
    code = (
        "import sys; from mlgate_tracking.store.sql import SqlStore; from mlgate_tracking.entities import RunStatus\n"
        f"with SqlStore({uri!r}) as store:\n"
        "    experiment = store.ensure_experiment('x')\n"
        "    step = store.open_step_run('key', experiment_id=experiment.experiment_id)\n"
        "    store.log_batch(step.run.info.run_id)\n"
        "    store.close_step_run(step.run.info.run_id, step.attempt, status=RunStatus.FINISHED, end_time=1)\n"
        "print([name for name in ('sqlalchemy', 'alembic') if name in sys.modules])"
    )
    for _ in range(2):
        done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, timeout=60)
        assert done.stdout.strip() == "[]"
