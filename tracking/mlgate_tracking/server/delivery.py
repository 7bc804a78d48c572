"""Delivers what the outbox holds: to each webhook in the order of each model's events, again until it has arrived.

Any number of servers may deliver from one database: a delivery is claimed for a while, and whoever dies in between
loses the claim, not the delivery. A receiver may therefore see an event twice, always with the same id.
"""

from __future__ import annotations

import logging
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime

from mlgate_tracking.contract import ServerStore
from mlgate_tracking.errors import TrackingError
from mlgate_tracking.governance import Delivery
from mlgate_tracking.server.events import Event
from mlgate_tracking.server.settings import ServerSettings
from mlgate_tracking.server.webhooks import Outcome, deliver

log = logging.getLogger(__name__)

MOST_ATTEMPTS = 20
"""Tries before a delivery is given up; with the pauses in between, most of a day."""
LONGEST_PAUSE = 3600.0
AT_ONCE = 8
"""Receivers that are talked to at the same time; a slow one holds up nobody but itself."""


def pause_after(attempts: int, first: float = 1.0) -> float:
    """Seconds to wait after so many failed attempts: doubled each time, up to an hour."""
    return float(min(first * 2 ** (attempts - 1), LONGEST_PAUSE))


def send(delivery: Delivery, settings: ServerSettings) -> Outcome:
    """Try a delivery once."""
    entity, _, action = delivery.event.type.partition(".")
    event = Event(entity, action, dict(delivery.event.data))
    created = datetime.fromtimestamp(delivery.event.created_at / 1000, UTC)
    return deliver(delivery.url, delivery.secret, event, settings, delivery_id=delivery.event.event_id, created=created)


def settle(store: ServerStore, delivery: Delivery, outcome: Outcome, *, first_pause: float = 1.0) -> None:
    """Write down what became of a try."""
    if outcome.success:
        store.settle_delivery(delivery)
        return
    problem = outcome.error or f"answer {outcome.status}"
    if outcome.worth_a_retry and delivery.attempts < MOST_ATTEMPTS:
        again = time.time() + pause_after(delivery.attempts, first_pause)
        store.settle_delivery(delivery, retry_at=round(again * 1000), problem=problem)
        return
    log.warning("webhook %s: %s was not delivered: %s", delivery.name, delivery.event.type, problem)
    store.settle_delivery(delivery, problem=problem)


def flush(store: ServerStore, settings: ServerSettings) -> int:
    """Try everything that is due now, once each; returns how many tries were made. For callers without a server."""
    tried = 0
    while claimed := store.claim_deliveries():
        for delivery in claimed:
            settle(store, delivery, send(delivery, settings))
        tried += len(claimed)
    return tried


class OutboxDelivery:
    """Delivers in threads of its own; nothing is started before there is something to deliver.

    Args:
        first_pause: seconds before the first retry.
        poll: seconds between looks at the outbox for what other processes have put there.
    """

    def __init__(
        self, store: ServerStore, settings: ServerSettings, *, first_pause: float = 1.0, poll: float = 5.0
    ) -> None:
        self._store = store
        self._settings = settings
        self._first_pause = first_pause
        self._poll = poll
        self._lock = threading.Lock()
        self._thread: threading.Thread | None = None
        self._something = threading.Event()
        self._closing = threading.Event()

    def __call__(self, event: Event) -> None:
        """Put one of MLflow's events into the outbox and see to its delivery; does not wait for it."""
        if self._store.publish_event(event.entity, event.action, str(event.data.get("name", "")), event.data):
            self.wake()

    def wake(self) -> None:
        """Look at the outbox now, and from now on."""
        self._something.set()
        with self._lock:
            if self._thread is None and not self._closing.is_set():
                self._thread = threading.Thread(target=self._run, name="mlgate-outbox", daemon=True)
                self._thread.start()

    def close(self, timeout: float = 5.0) -> None:
        """Stop after the tries that are under way, for at most `timeout` seconds; what waits stays in the outbox."""
        self._closing.set()
        self._something.set()
        if self._thread is not None:
            self._thread.join(timeout)

    def _run(self) -> None:
        with ThreadPoolExecutor(AT_ONCE, thread_name_prefix="mlgate-webhook") as pool:
            while not self._closing.is_set():
                self._something.clear()
                wait = self._poll
                try:
                    for delivery in self._store.claim_deliveries(most=AT_ONCE):
                        pool.submit(self._try, delivery)
                    due = self._store.next_delivery_at()
                    if due is not None:
                        wait = min(wait, max(0.01, due / 1000 - time.time()))
                except TrackingError as error:
                    log.warning("the outbox cannot be read, trying again: %s", error)
                self._something.wait(wait)

    def _try(self, delivery: Delivery) -> None:
        try:
            settle(self._store, delivery, send(delivery, self._settings), first_pause=self._first_pause)
        except Exception:
            # The claim runs out by itself, so nothing is lost.
            log.exception("delivering %s to webhook %s failed", delivery.event.type, delivery.name)
        self._something.set()


__all__ = ["AT_ONCE", "LONGEST_PAUSE", "MOST_ATTEMPTS", "OutboxDelivery", "flush", "pause_after", "send", "settle"]
