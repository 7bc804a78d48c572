"""The store contract through the REST client, against the server's app in memory over a real SQLite file."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from mlgate_tracking.client import RestStore
from mlgate_tracking.server.app import create_app
from mlgate_tracking.server.settings import ServerSettings
from mlgate_tracking.store.sql import SqlStore
from mlgate_tracking.testing.inprocess import AsgiSend
from mlgate_tracking.testing.logged_models import LoggedModelConformance
from mlgate_tracking.testing.registry import RegistryConformance
from mlgate_tracking.testing.search import SearchConformance
from mlgate_tracking.testing.stores import FenceConformance, TrackingConformance


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RestStore]:
    folder: Path = tmp_path_factory.mktemp("server")
    settings = ServerSettings(
        artifacts_destination=str(folder / "artifacts"), token_secret=b"a secret of this test's own"
    )
    with (
        SqlStore(f"sqlite:///{folder}/store.db") as database,
        AsgiSend(create_app(database, settings)) as send,
        RestStore("http://in-process", send=send) as opened,
    ):
        yield opened


class TestRestTracking(TrackingConformance):
    pass


class TestRestFences(FenceConformance):
    pass


class TestRestSearch(SearchConformance):
    pass


class TestRestRegistry(RegistryConformance):
    pass


class TestRestLoggedModels(LoggedModelConformance):
    pass
