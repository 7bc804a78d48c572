"""Events on their way to webhooks: receivers that are down, slow, broken, or somewhere they must not be."""

from __future__ import annotations

import base64
import hashlib
import hmac
import socket
import socketserver
import threading
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from mlgate_tracking.entities import WebhookEvent
from mlgate_tracking.errors import InvalidParameterValue
from mlgate_tracking.governance import Promotion, PromotionRequest, Target
from mlgate_tracking.server import webhooks
from mlgate_tracking.server.delivery import MOST_ATTEMPTS, OutboxDelivery, flush, pause_after
from mlgate_tracking.server.events import Event
from mlgate_tracking.server.notifiers import mail_recipients, sentence
from mlgate_tracking.server.settings import ServerSettings
from mlgate_tracking.server.webhooks import check_target, deliver
from mlgate_tracking.store import outbox
from mlgate_tracking.store.sql import SqlStore
from tests.support.receiver import Receiver, receiving, wait_until

HERE = ServerSettings(webhook_schemes=("http", "https"), webhook_private_addresses=True)
OPEN = replace(HERE, webhook_private_addresses=False)
PROMOTED = WebhookEvent("model_version", "promoted")
ROLLED_BACK = WebhookEvent("model_version", "rolled_back")


@pytest.fixture
def store(tmp_path: Path) -> Iterator[SqlStore]:
    with SqlStore(f"sqlite:///{tmp_path}/store.db") as opened:
        for name in ("iris", "wine"):
            opened.create_registered_model(name)
            for _ in range(4):
                opened.create_model_version(name, "s3://bucket/model")
        yield opened


@pytest.fixture
def receiver() -> Iterator[Receiver]:
    with receiving(Receiver()) as started:
        yield started


@pytest.fixture
def worker(store: SqlStore) -> Iterator[OutboxDelivery]:
    delivery = OutboxDelivery(store, HERE, first_pause=0.05, poll=0.05)
    yield delivery
    delivery.close()


def promote(store: SqlStore, version: int, model: str = "iris") -> Promotion:
    return store.promote(PromotionRequest(model, version, Target(alias="champion"), user="alice"))


def subscribe(store: SqlStore, url: str, *events: WebhookEvent, secret: str | None = None, name: str = "hook") -> None:
    store.create_webhook(name, url, events or (PROMOTED,), secret=secret)


def delivered(store: SqlStore) -> bool:
    return store.next_delivery_at() is None


def test_promotion_arrives_signed_with_its_event_id(
    store: SqlStore, receiver: Receiver, worker: OutboxDelivery
) -> None:
    subscribe(store, receiver.url, secret="hush")
    made = promote(store, 1)
    worker.wake()
    (got,) = receiver.wait_for(1)
    assert got.delivery_id == made.event_id
    assert (got.data["entity"], got.data["action"]) == ("model_version", "promoted")
    assert got.data["data"]["promotion_id"] == made.promotion_id
    signed = f"{got.delivery_id}.{got.headers['X-MLflow-Timestamp']}.".encode() + got.body
    expected = "v1," + base64.b64encode(hmac.digest(b"hush", signed, hashlib.sha256)).decode()
    assert got.headers["X-MLflow-Signature"] == expected
    wait_until(lambda: delivered(store))


def test_receiver_that_is_down_is_told_once_it_is_back(store: SqlStore, worker: OutboxDelivery) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        port = taken.getsockname()[1]
        subscribe(store, f"http://127.0.0.1:{port}/hook")
        made = [promote(store, version).event_id for version in (1, 2)]
        worker.wake()
        wait_until(lambda: (store.next_delivery_at() or 0) > 0)
    with receiving(Receiver(), port=port) as back:
        assert [one.delivery_id for one in back.wait_for(2)] == made


def test_errors_are_retried_with_the_same_id_and_keep_the_order(
    store: SqlStore, receiver: Receiver, worker: OutboxDelivery
) -> None:
    subscribe(store, receiver.url, PROMOTED, ROLLED_BACK)
    receiver.answers = [500, 503, 429]
    promote(store, 1)
    first = promote(store, 2)
    store.finish_rollback(store.intend_rollback("iris").intent_id)
    worker.wake()
    got = receiver.wait_for(6)
    events = [event.event_id for event in store.events(model="iris")]
    assert [one.delivery_id for one in got] == [events[0]] * 4 + events[1:]
    assert got[4].delivery_id == first.event_id
    assert [one.data["action"] for one in got[3:]] == ["promoted", "promoted", "rolled_back"]


def test_a_receiver_that_refuses_for_good_is_given_up_and_audited(
    store: SqlStore, receiver: Receiver, worker: OutboxDelivery, caplog: pytest.LogCaptureFixture
) -> None:
    subscribe(store, receiver.url)
    receiver.answers = [410]
    promote(store, 1)
    worker.wake()
    wait_until(lambda: delivered(store))
    assert len(receiver.received) == 1
    assert store.audit_log()[-1].action == "webhook.given_up"
    assert "answer 410" in caplog.text


def test_a_slow_receiver_holds_up_nobody_else(store: SqlStore, receiver: Receiver, worker: OutboxDelivery) -> None:
    with receiving(Receiver(delay=1.5)) as slow:
        subscribe(store, slow.url, name="slow")
        subscribe(store, receiver.url, name="quick")
        promote(store, 1)
        promote(store, 2)
        worker.wake()
        receiver.wait_for(2)
        assert slow.received == []
        slow.wait_for(2)


def test_two_servers_on_one_database_deliver_once(store: SqlStore, receiver: Receiver) -> None:
    subscribe(store, receiver.url)
    workers = [OutboxDelivery(store, HERE, poll=0.02) for _ in range(3)]
    for worker in workers:
        worker.wake()
    made = [promote(store, version, model).event_id for model in ("iris", "wine") for version in (1, 2, 3)]
    wait_until(lambda: delivered(store))
    for worker in workers:
        worker.close()
    assert sorted(one.delivery_id for one in receiver.received) == sorted(made)


def test_a_worker_that_dies_loses_its_claim_and_not_the_delivery(
    store: SqlStore, receiver: Receiver, worker: OutboxDelivery, monkeypatch: pytest.MonkeyPatch
) -> None:
    subscribe(store, receiver.url)
    monkeypatch.setattr(outbox, "CLAIM", 300)
    made = promote(store, 1)
    (claimed,) = store.claim_deliveries()
    assert store.claim_deliveries() == ()
    worker.wake()
    assert receiver.wait_for(1)[0].delivery_id == claimed.event.event_id == made.event_id


def test_webhooks_hear_what_they_asked_for_and_nothing_before(store: SqlStore, receiver: Receiver) -> None:
    promote(store, 1)
    subscribe(store, receiver.url, ROLLED_BACK)
    promote(store, 2)
    assert flush(store, HERE) == 0
    store.finish_rollback(store.intend_rollback("iris").intent_id)
    assert flush(store, HERE) == 1
    assert receiver.received[0].data["action"] == "rolled_back"


def test_promotion_also_tells_those_who_listen_to_mlflows_alias_event(store: SqlStore, receiver: Receiver) -> None:
    subscribe(store, receiver.url, WebhookEvent("model_version_alias", "created"))
    promote(store, 3)
    flush(store, HERE)
    assert receiver.received[0].data["data"] == {"name": "iris", "alias": "champion", "version": "3"}


def test_mlflows_events_go_through_the_same_outbox(store: SqlStore, receiver: Receiver, worker: OutboxDelivery) -> None:
    subscribe(store, receiver.url, WebhookEvent("registered_model", "created"))
    worker(Event("registered_model", "created", {"name": "new", "tags": {}}))
    worker(Event("model_version", "created", {"name": "new"}))
    assert receiver.wait_for(1)[0].data["data"] == {"name": "new", "tags": {}}
    wait_until(lambda: delivered(store))
    assert len(receiver.received) == 1


# --- where webhooks may go --------------------------------------------------------------------------------------------


@pytest.mark.parametrize("host", ["127.0.0.1", "localhost", "10.1.2.3", "192.168.0.1", "169.254.169.254", "[::1]"])
def test_private_addresses_are_refused_by_number_and_by_name(host: str) -> None:
    with pytest.raises(InvalidParameterValue, match="is not a public address"):
        check_target(f"http://{host}/hook", OPEN)
    check_target(f"http://{host}/hook", HERE)


@pytest.mark.parametrize("url", ["ftp://example.org/x", "file:///etc/passwd", "http://user@127.0.0.1/", "http://"])
def test_other_schemes_and_credentials_are_refused(url: str) -> None:
    with pytest.raises(InvalidParameterValue):
        check_target(url, HERE)


def test_a_refused_address_is_not_retried(store: SqlStore, receiver: Receiver) -> None:
    subscribe(store, receiver.url)
    promote(store, 1)
    assert flush(store, OPEN) == 1
    assert delivered(store)
    assert receiver.received == []


def test_redirects_to_private_addresses_are_refused(receiver: Receiver, monkeypatch: pytest.MonkeyPatch) -> None:
    # On loopback nothing is public: let 127.0.0.1 stand for the world outside and 127.0.0.2 for the one inside.
    monkeypatch.setattr(webhooks, "_is_public", lambda address: address == "127.0.0.1")
    with receiving(Receiver(), host="127.0.0.2") as inside:
        receiver.answers = [(307, inside.url)]
        outcome = deliver(receiver.url, None, Event("model_version", "promoted", {}), OPEN)
        assert outcome.refused
        assert "127.0.0.2 is not a public address" in str(outcome.error)
        assert inside.received == []


def test_redirects_that_keep_the_method_are_followed_others_are_not(receiver: Receiver) -> None:
    event = Event("model_version", "promoted", {"model": "iris"})
    with receiving(Receiver()) as moved:
        receiver.answers = [(308, moved.url)]
        assert deliver(receiver.url, None, event, HERE).success
        assert moved.received[0].data["data"] == {"model": "iris"}
        receiver.answers = [(302, moved.url)]
        outcome = deliver(receiver.url, None, event, HERE)
        assert not outcome.success
        assert "answers with a redirect (302)" in str(outcome.error)
        assert len(moved.received) == 1
    receiver.answers = [(307, receiver.url)] * 10
    assert deliver(receiver.url, None, event, HERE).error == "more than 3 redirects"


# --- for people -------------------------------------------------------------------------------------------------------


def test_slack_gets_a_line_of_text(store: SqlStore, receiver: Receiver) -> None:
    subscribe(store, "slack+" + receiver.url)
    promote(store, 1)
    assert flush(store, HERE) == 1
    assert receiver.received[0].data == {"text": "iris version 1 was promoted to champion by alice"}


class _Mailbox(socketserver.ThreadingTCPServer):
    """Just enough of SMTP to receive a mail."""

    allow_reuse_address = True

    def __init__(self) -> None:
        self.mails: list[str] = []
        super().__init__(("127.0.0.1", 0), _Session)


class _Session(socketserver.StreamRequestHandler):
    def handle(self) -> None:
        assert isinstance(self.server, _Mailbox)
        self.wfile.write(b"220 here\r\n")
        while line := self.rfile.readline().decode().strip().upper():
            if line == "DATA":
                self.wfile.write(b"354 go on\r\n")
                lines = []
                while (text := self.rfile.readline().decode().rstrip("\r\n")) != ".":
                    lines.append(text)
                self.server.mails.append("\n".join(lines))
            self.wfile.write(b"221 bye\r\n" if line == "QUIT" else b"250 fine\r\n")
            if line == "QUIT":
                return


def test_mail_goes_to_everybody_named(store: SqlStore) -> None:
    with _Mailbox() as mailbox:
        thread = threading.Thread(target=mailbox.serve_forever, daemon=True)
        thread.start()
        settings = replace(HERE, smtp_url=f"smtp://127.0.0.1:{mailbox.server_address[1]}?from=gate@example.org")
        subscribe(store, "mailto:one@example.org,two@example.org")
        made = promote(store, 1)
        assert flush(store, settings) == 1
        mailbox.shutdown()
        thread.join(5)
    (mail,) = mailbox.mails
    assert "To: one@example.org, two@example.org" in mail
    assert "Subject: iris version 1 was promoted to champion by alice" in mail
    assert f"X-Mlgate-Event-Id: {made.event_id}" in mail
    assert delivered(store)


def test_mail_needs_a_server_and_real_addresses() -> None:
    with pytest.raises(InvalidParameterValue, match="--smtp-url"):
        check_target("mailto:a@example.org", HERE)
    for wrong in ("mailto:", "mailto:nobody", "mailto:a@example.org,%0d%0aBcc:x@y"):
        with pytest.raises(InvalidParameterValue):
            mail_recipients(wrong)


def test_sentences_say_what_happened() -> None:
    target = {"alias": "champion", "stage": "Production"}
    data = {"model": "iris", "version": 2, "previous_version": 1, "target": target, "user": "alice", "comment": "slow"}
    assert sentence(Event("model_version", "promoted", data)) == (
        "iris version 2 was promoted to champion and Production (instead of version 1) by alice: slow"
    )
    assert sentence(Event("model_version", "rolled_back", {**data, "version": 1, "previous_version": 2})) == (
        "iris champion and Production was rolled back to version 1 from version 2 by alice: slow"
    )
    assert sentence(Event("registered_model", "created", {"name": "iris"})) == "iris: registered model created"


def test_pauses_double_up_to_an_hour() -> None:
    assert [pause_after(attempts) for attempts in (1, 2, 3)] == [1.0, 2.0, 4.0]
    assert pause_after(MOST_ATTEMPTS) == 3600.0
