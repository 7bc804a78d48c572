"""Users over a real SQLite file."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from mlgate_tracking.store.sql import SqlStore
from mlgate_tracking.testing.users import UserConformance


@pytest.fixture(scope="class")
def store(tmp_path_factory: pytest.TempPathFactory) -> Iterator[SqlStore]:
    with SqlStore(f"sqlite:///{tmp_path_factory.mktemp('store')}/store.db") as opened:
        yield opened


class TestSQLiteUsers(UserConformance):
    pass
