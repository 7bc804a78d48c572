"""The store contract over real PostgreSQL and MariaDB servers."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from mlgate_tracking.store.search import runs as run_search
from mlgate_tracking.store.sql import SqlStore
from mlgate_tracking.testing.logged_models import LoggedModelConformance
from mlgate_tracking.testing.promotions import DeliveryConformance, PromotionConformance
from mlgate_tracking.testing.registry import RegistryConformance
from mlgate_tracking.testing.search import SearchConformance
from mlgate_tracking.testing.served import TraceConformance, WebhookConformance
from mlgate_tracking.testing.stores import FenceConformance, TrackingConformance
from mlgate_tracking.testing.users import UserConformance
from tests.support import databases

pytestmark = pytest.mark.database


@pytest.fixture(scope="module")
def store(server: databases.PostgreSQL | databases.MariaDB) -> Iterator[SqlStore]:
    with SqlStore(server.create()) as opened:
        yield opened


class TestServerTracking(TrackingConformance):
    pass


class TestServerFences(FenceConformance):
    pass


@pytest.fixture(scope="module")
def far(postgresql: databases.PostgreSQL) -> Iterator[SqlStore]:
    """As if PostgreSQL were on another machine: statements go without waiting for answers."""
    with SqlStore(postgresql.create()) as opened:
        assert opened.database.dialect.near
        opened.database.dialect.near = False
        yield opened


class TestFarTracking(TrackingConformance):
    @pytest.fixture
    def store(self, far: SqlStore) -> SqlStore:
        return far


class TestFarFences(FenceConformance):
    @pytest.fixture
    def store(self, far: SqlStore) -> SqlStore:
        return far


class TestServerSearch(SearchConformance):
    @pytest.fixture(params=["collect", "scan"])
    def store(self, store: SqlStore, request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> SqlStore:
        """The store, made to collect whatever a comparison allows, or to walk an index wherever there is one."""
        monkeypatch.setattr(run_search, "scan_is_shorter", lambda *_rows: request.param == "scan")
        return store


class TestServerRegistry(RegistryConformance):
    pass


class TestServerLoggedModels(LoggedModelConformance):
    pass


class TestServerTraces(TraceConformance):
    pass


class TestServerWebhooks(WebhookConformance):
    pass


class TestServerPromotion(PromotionConformance):
    pass


class TestServerUsers(UserConformance):
    pass


class TestServerDelivery(DeliveryConformance):
    @pytest.fixture(scope="class")
    @classmethod
    def store(cls, server: databases.PostgreSQL | databases.MariaDB) -> Iterator[SqlStore]:
        """One that no other test has subscribed webhooks to."""
        with SqlStore(server.create()) as opened:
            yield opened
