"""Promotions through the server: events leave by themselves, and MLflow's clients see what they understand."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from mlgate_tracking.client import RestStore
from mlgate_tracking.entities import WebhookEvent
from mlgate_tracking.errors import InvalidParameterValue
from mlgate_tracking.governance import PromotionRequest, Target
from mlgate_tracking.server.app import create_app
from mlgate_tracking.server.settings import ServerSettings
from mlgate_tracking.store.sql import SqlStore
from mlgate_tracking.testing.inprocess import AsgiSend
from mlgate_tracking.transport import Request
from tests.support.receiver import Receiver, receiving

CHAMPION = Target(alias="champion")
PROMOTED = WebhookEvent("model_version", "promoted")


@pytest.fixture
def settings(tmp_path: Path) -> ServerSettings:
    return ServerSettings(
        artifacts_destination=str(tmp_path / "artifacts"),
        webhook_schemes=("http",),
        webhook_private_addresses=True,
        tend_outbox=True,
    )


@pytest.fixture
def database(tmp_path: Path) -> Iterator[SqlStore]:
    with SqlStore(f"sqlite:///{tmp_path}/store.db") as opened:
        opened.create_registered_model("iris")
        for _ in range(3):
            opened.create_model_version("iris", "s3://bucket/model")
        yield opened


def test_promotion_and_rollback_over_rest_reach_the_webhook(database: SqlStore, settings: ServerSettings) -> None:
    with (
        receiving(Receiver()) as receiver,
        AsgiSend(create_app(database, settings)) as send,
        RestStore("http://in-process", send=send) as client,
    ):
        events = (PROMOTED, WebhookEvent("model_version", "rolled_back"))
        made = client.create_webhook("hook", receiver.url, events, secret="hush")
        assert set(made.events) == set(events)
        for version in (1, 2):
            client.promote(PromotionRequest("iris", version, CHAMPION))
        client.finish_rollback(client.intend_rollback("iris").intent_id)
        got = receiver.wait_for(3)
        assert [(one.data["action"], one.data["data"]["version"]) for one in got] == [
            ("promoted", 1),
            ("promoted", 2),
            ("rolled_back", 1),
        ]
        client.delete_webhook(made.webhook_id)
        assert client.list_webhooks().items == ()


def test_what_a_server_left_behind_is_delivered_by_the_next_one(database: SqlStore, settings: ServerSettings) -> None:
    with receiving(Receiver()) as receiver:
        database.create_webhook("hook", receiver.url, [PROMOTED])
        made = database.promote(PromotionRequest("iris", 1, CHAMPION))
        with AsgiSend(create_app(database, settings)):
            assert receiver.wait_for(1)[0].delivery_id == made.event_id


def test_mlflows_clients_see_only_the_events_that_they_know(database: SqlStore, settings: ServerSettings) -> None:
    created = WebhookEvent("model_version", "created")
    database.create_webhook("ours", "http://127.0.0.1:9/", [PROMOTED])
    database.create_webhook("both", "http://127.0.0.1:9/", [PROMOTED, created])
    with AsgiSend(create_app(database, settings)) as send:
        listed = RestStore("http://in-process", send=send).list_webhooks().items
        answer = send(Request("GET", "/api/2.0/mlflow/webhooks")).read().decode()
    assert [one.name for one in listed] == ["both", "ours"]
    assert "PROMOTED" not in answer
    assert '"ours"' not in answer
    assert '"both"' in answer


def test_the_server_refuses_a_webhook_to_where_it_may_not_go(database: SqlStore) -> None:
    with AsgiSend(create_app(database, ServerSettings())) as send:
        client = RestStore("http://in-process", send=send)
        with pytest.raises(InvalidParameterValue, match="scheme 'http' is not allowed"):
            client.create_webhook("hook", "http://example.org/", [PROMOTED])
        with pytest.raises(InvalidParameterValue, match="is not a public address"):
            client.create_webhook("hook", "https://127.0.0.1/", [PROMOTED])
