"""Searches over a real SQLite file, both ways to a page of runs, and the statements that they send."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from mlgate_tracking.store.search import runs as run_search
from mlgate_tracking.store.sql import SqlStore
from mlgate_tracking.testing.search import SearchConformance


@pytest.fixture(scope="module")
def shared(tmp_path_factory: pytest.TempPathFactory) -> Iterator[SqlStore]:
    with SqlStore(f"sqlite:///{tmp_path_factory.mktemp('store')}/store.db") as opened:
        yield opened


@pytest.fixture(params=["collect", "scan"])
def store(shared: SqlStore, request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> SqlStore:
    """The store, made to collect whatever a comparison allows, or to walk an index wherever there is one."""
    monkeypatch.setattr(run_search, "FEW", 10_000 if request.param == "collect" else 1)
    return shared


class TestSQLiteSearch(SearchConformance):
    pass
