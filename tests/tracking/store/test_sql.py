"""The store contract over a real SQLite file."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from mlgate_tracking.store.sql import SqlStore
from mlgate_tracking.testing.stores import FenceConformance, TrackingConformance


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> Iterator[SqlStore]:
    with SqlStore(f"sqlite:///{tmp_path_factory.mktemp('store')}/store.db") as opened:
        yield opened


class TestSQLiteTracking(TrackingConformance):
    pass


class TestSQLiteFences(FenceConformance):
    pass


def test_no_part_of_the_store_hides_another_ones_names() -> None:
    parts = [part for part in SqlStore.__mro__ if part.__module__.startswith("mlgate_tracking.store.")]
    seen: dict[str, type] = {}
    for part in parts[1:]:
        for name in vars(part):
            if not name.startswith("__"):
                assert name not in seen or name in vars(SqlStore), f"{part.__name__} and {seen[name].__name__}: {name}"
                seen[name] = part
