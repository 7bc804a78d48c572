"""`mlgate db`: what it says about a database, and what it does to one."""

from __future__ import annotations

import json
import sqlite3
from pathlib import Path

from mlgate_tracking.store.schema import REVISION, VERSION_TABLE
from mlgate_tracking.store.sql import SqlStore
from tests.support.cli import mlgate


def test_check_tells_an_empty_a_current_and_an_old_database_apart(tmp_path: Path) -> None:
    uri = f"sqlite:///{tmp_path}/store.db"
    done = mlgate("db", "check", uri)
    assert (done.returncode, done.stdout) == (1, "no tables of mlgate: they are made on first use\n")
    assert not (tmp_path / "store.db").exists()
    SqlStore(uri).close()
    done = mlgate("db", "check", uri, "--json")
    assert done.returncode == 0
    assert json.loads(done.stdout) == {"found": REVISION, "wanted": REVISION, "current": True}
    with sqlite3.connect(tmp_path / "store.db") as raw:
        raw.execute(f"UPDATE {VERSION_TABLE} SET version_num = '0000'")
    raw.close()
    done = mlgate("db", "check", uri)
    assert (done.returncode, done.stdout) == (
        1,
        f"schema 0000, this mlgate wants {REVISION}: run mlgate db upgrade\n",
    )


def test_upgrade_uses_the_embedded_store_unless_told_otherwise(tmp_path: Path) -> None:
    home = tmp_path / "home"
    SqlStore(f"sqlite:///{home}/mlgate.db").close()
    done = mlgate("db", "upgrade", env={"MLGATE_HOME": str(home)})
    assert (done.returncode, done.stdout) == (0, f"schema {REVISION}, nothing to do\n")


def test_a_server_has_no_schema_to_look_after() -> None:
    done = mlgate("db", "upgrade", "http://127.0.0.1:1")
    assert done.returncode == 2
    assert done.stderr == ("error: http://127.0.0.1:1 is a server: name its database, as in postgresql://host/mlgate\n")
