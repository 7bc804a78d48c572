from __future__ import annotations

import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest

from mlgate_tracking.store.sql import SqlStore


@pytest.fixture(scope="session")
def empty_database(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A fresh SQLite store to copy: making the tables takes longer than most tests."""
    path = tmp_path_factory.mktemp("template") / "store.db"
    SqlStore(f"sqlite:///{path}").close()
    return path


@pytest.fixture
def store(tmp_path: Path, empty_database: Path) -> Iterator[SqlStore]:
    shutil.copy(empty_database, tmp_path / "store.db")
    with SqlStore(f"sqlite:///{tmp_path}/store.db") as opened:
        yield opened
