"""The outbox: events written in the transaction of the change that they tell of, and who still has to be told.

An event is fanned out to the webhooks that have asked for it when it is written. A worker claims the oldest delivery of
each webhook and model for a while, sends it, and settles it; a worker that dies loses its claim, never the delivery.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from mlgate_tracking.governance import Delivery, Event, canonical
from mlgate_tracking.store import audit
from mlgate_tracking.store.part import StorePart
from mlgate_tracking.store.transaction import Transaction
from mlgate_tracking.store.values import new_id, now
from mlgate_tracking.users import Actor

CLAIM = 60_000
"""Milliseconds for which a claimed delivery is left to its worker."""


def publish(
    tx: Transaction, entity: str, action: str, model: str, data: Mapping[str, Any], *, event_id: str, at: int
) -> None:
    """Write an event and one delivery for each active webhook that has asked for it."""
    entry = tx.insert_keyed(
        "outbox",
        {
            "event_id": event_id,
            "entity": entity,
            "action": action,
            "model": model,
            "data": canonical(data),
            "created_at": at,
        },
        "entry",
    )
    tx.change(
        "INSERT INTO deliveries (webhook_pk, entry, model, attempts, next_at, problem)"
        f" SELECT webhooks.webhook_pk, {entry}, :model, 0, :at, '' FROM webhooks"
        " JOIN webhook_events ON webhook_events.webhook_pk = webhooks.webhook_pk"
        " WHERE webhook_events.entity = :entity AND webhook_events.action = :action"
        " AND webhooks.status = 'ACTIVE' AND webhooks.deleted_time IS NULL",
        {"model": model, "at": at, "entity": entity, "action": action},
    )


class OutboxStore(StorePart):
    def events(self, *, after: int = 0, model: str | None = None, max_results: int = 100) -> tuple[Event, ...]:
        def work(tx: Transaction) -> tuple[Event, ...]:
            only = " AND model = :model" if model is not None else ""
            rows = tx.rows(
                "SELECT entry, event_id, entity, action, model, data, created_at FROM outbox"
                f" WHERE entry > :after{only} ORDER BY entry LIMIT :most",
                {"after": after, "model": model, "most": max_results},
            )
            return tuple(_event(row) for row in rows)

        return self.read(work)

    def publish_event(self, entity: str, action: str, model: str, data: Mapping[str, Any]) -> bool:
        event_id, at = new_id(), now()
        asked = self.read(
            lambda tx: tx.row(
                "SELECT 1 FROM webhook_events JOIN webhooks ON webhooks.webhook_pk = webhook_events.webhook_pk"
                " WHERE entity = :entity AND action = :action AND status = 'ACTIVE' AND deleted_time IS NULL LIMIT 1",
                {"entity": entity, "action": action},
            )
        )
        if asked is not None:
            self.database.write(lambda tx: publish(tx, entity, action, model, data, event_id=event_id, at=at))
        return asked is not None

    def claim_deliveries(self, *, most: int = 20) -> tuple[Delivery, ...]:
        at = now()

        def work(tx: Transaction) -> tuple[Delivery, ...]:
            rows = tx.rows(
                "SELECT d.webhook_pk, w.webhook_id, w.name, w.url, w.secret, d.attempts,"
                " o.entry, o.event_id, o.entity, o.action, o.model, o.data, o.created_at"
                " FROM deliveries d JOIN webhooks w ON w.webhook_pk = d.webhook_pk JOIN outbox o ON o.entry = d.entry"
                " WHERE d.next_at <= :at AND w.status = 'ACTIVE' AND w.deleted_time IS NULL AND NOT EXISTS (SELECT 1"
                " FROM deliveries e WHERE e.webhook_pk = d.webhook_pk AND e.model = d.model AND e.entry < d.entry)"
                " ORDER BY d.entry LIMIT :most",
                {"at": at, "most": most},
            )
            claimed = []
            for row in rows:
                # Two workers may have read the same row: the one whose update still finds it due has it.
                taken = tx.change(
                    "UPDATE deliveries SET next_at = :until, attempts = attempts + 1"
                    " WHERE webhook_pk = :webhook AND entry = :entry AND next_at <= :at",
                    {"until": at + CLAIM, "webhook": row[0], "entry": row[6], "at": at},
                )
                if taken:
                    pk, webhook_id, name, url, secret, attempts = row[:6]
                    claimed.append(Delivery(pk, webhook_id, name, url, secret, _event(row[6:]), attempts + 1))
            return tuple(claimed)

        return self.database.write(work)

    def settle_delivery(self, delivery: Delivery, *, retry_at: int | None = None, problem: str = "") -> None:
        at = now()
        key = {"webhook": delivery.webhook_pk, "entry": delivery.event.sequence}
        where = " WHERE webhook_pk = :webhook AND entry = :entry"

        def work(tx: Transaction) -> None:
            if retry_at is None:
                tx.change(f"DELETE FROM deliveries{where}", key)
                if problem:
                    data = {"webhook": delivery.name, "event_id": delivery.event.event_id, "problem": problem}
                    audit.append(tx, at, Actor(""), "webhook.given_up", delivery.event.model, data)
            else:
                tx.change(
                    f"UPDATE deliveries SET next_at = :at, problem = :problem{where}",
                    {**key, "at": retry_at, "problem": problem},
                )

        self.database.write(work)

    def next_delivery_at(self) -> int | None:
        row = self.read(
            lambda tx: tx.row(
                "SELECT MIN(next_at) FROM deliveries d JOIN webhooks w ON w.webhook_pk = d.webhook_pk"
                " WHERE w.status = 'ACTIVE' AND w.deleted_time IS NULL"
            )
        )
        return None if row is None or row[0] is None else int(row[0])


def _event(row: tuple[Any, ...]) -> Event:
    entry, event_id, entity, action, model, data, created_at = row
    return Event(entry, event_id, f"{entity}.{action}", model, json.loads(data), created_at)


__all__ = ["CLAIM", "OutboxStore", "publish"]
