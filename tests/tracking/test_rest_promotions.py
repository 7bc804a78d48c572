"""Promotion through the REST client against the in-process server."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from mlgate_tracking.client import RestStore
from mlgate_tracking.server.app import create_app
from mlgate_tracking.server.settings import ServerSettings
from mlgate_tracking.store.sql import SqlStore
from mlgate_tracking.testing.inprocess import AsgiSend
from mlgate_tracking.testing.promotions import PromotionConformance


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RestStore]:
    folder: Path = tmp_path_factory.mktemp("server")
    with (
        SqlStore(f"sqlite:///{folder}/store.db") as database,
        AsgiSend(create_app(database, ServerSettings(artifacts_destination=str(folder / "artifacts")))) as send,
        RestStore("http://in-process", send=send) as opened,
    ):
        yield opened


class TestRestPromotion(PromotionConformance):
    pass
