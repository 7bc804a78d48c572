"""Webhooks: who wants to hear of which registry events."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import NamedTuple

from mlgate_tracking.entities import (
    PROMOTION_EVENTS,
    WEBHOOK_EVENTS,
    WEBHOOK_STATUSES,
    Page,
    Webhook,
    WebhookEvent,
)
from mlgate_tracking.errors import InvalidParameterValue, ResourceDoesNotExist
from mlgate_tracking.store import validate
from mlgate_tracking.store.governance import GovernancePart
from mlgate_tracking.store.rows import among_keys
from mlgate_tracking.store.transaction import Transaction
from mlgate_tracking.store.values import now

MAX_RESULTS = 1_000
_NAME = re.compile(r"[A-Za-z0-9](?:[A-Za-z0-9._-]{0,61}[A-Za-z0-9])?")


class _Row(NamedTuple):
    """A row of `webhooks` as `_WEBHOOKS` selects it."""

    webhook_pk: int
    webhook_id: str
    name: str
    description: str | None
    url: str
    status: str
    creation_timestamp: int
    last_updated_timestamp: int


_WEBHOOKS = f"SELECT {', '.join(_Row._fields)} FROM webhooks WHERE deleted_time IS NULL"


class WebhookStore(GovernancePart):
    """Subscriptions belong to the server's owner: steps may not change them, and of known users admins only."""

    def create_webhook(
        self,
        name: str,
        url: str,
        events: Sequence[WebhookEvent],
        *,
        description: str | None = None,
        secret: str | None = None,
        status: str = "ACTIVE",
    ) -> Webhook:
        self.require_admin("see or change webhooks")
        import uuid  # brings `platform`, which is slow to import

        webhook_id = str(uuid.uuid4())
        created = now()
        wanted = _events(events)
        values = {
            "webhook_id": webhook_id,
            **_columns(name=name, url=url, description=description, secret=secret, status=status),
            "creation_timestamp": created,
            "last_updated_timestamp": created,
            "deleted_time": None,
        }

        def work(tx: Transaction) -> Webhook:
            _insert_events(tx, tx.insert_keyed("webhooks", values, "webhook_pk"), wanted)
            return _hydrate(tx, [_webhook(tx, webhook_id)])[0]

        return self.write(work)

    def get_webhook(self, webhook_id: str) -> Webhook:
        return self.read(lambda tx: _hydrate(tx, [_webhook(tx, webhook_id)])[0])

    def get_webhook_secret(self, webhook_id: str) -> str | None:
        self.require_admin("see or change webhooks")

        def work(tx: Transaction) -> str | None:
            pk = _webhook(tx, webhook_id).webhook_pk
            row = tx.row("SELECT secret FROM webhooks WHERE webhook_pk = :pk", {"pk": pk})
            return row[0] if row is not None else None

        return self.read(work)

    def list_webhooks(self, *, max_results: int = 100, page_token: str | None = None) -> Page[Webhook]:
        from mlgate_tracking.store.search import paging

        paging.check_max_results(max_results, MAX_RESULTS)
        last = paging.decode(page_token, "webhooks")
        if last is not None and not (len(last) == 1 and isinstance(last[0], int)):
            raise InvalidParameterValue("page_token: it is not one of this server; start without a token")
        before = "" if last is None else " AND webhook_pk < :last"

        def work(tx: Transaction) -> Page[Webhook]:
            rows = tx.rows(
                f"{_WEBHOOKS}{before} ORDER BY webhook_pk DESC LIMIT {max_results + 1}",
                {} if last is None else {"last": last[0]},
            )
            found = [_Row(*row) for row in rows[:max_results]]
            token = paging.encode([found[-1].webhook_pk], "webhooks") if len(rows) > max_results else None
            return Page(tuple(_hydrate(tx, found)), token)

        return self.read(work)

    def webhooks_for(self, event: WebhookEvent) -> tuple[Webhook, ...]:
        def work(tx: Transaction) -> tuple[Webhook, ...]:
            rows = tx.rows(
                f"{_WEBHOOKS} AND status = 'ACTIVE' AND webhook_pk IN "
                "(SELECT webhook_pk FROM webhook_events WHERE entity = :entity AND action = :action) "
                "ORDER BY webhook_pk",
                {"entity": event.entity, "action": event.action},
            )
            return tuple(_hydrate(tx, [_Row(*row) for row in rows]))

        return self.read(work)

    def update_webhook(
        self,
        webhook_id: str,
        *,
        name: str | None = None,
        url: str | None = None,
        events: Sequence[WebhookEvent] | None = None,
        description: str | None = None,
        secret: str | None = None,
        status: str | None = None,
    ) -> Webhook:
        self.require_admin("see or change webhooks")
        given = {"name": name, "url": url, "description": description, "secret": secret, "status": status}
        values = _columns(**{field: value for field, value in given.items() if value is not None})
        wanted = _events(events) if events is not None else None
        updated = now()
        changes = ", ".join(f"{column} = :{column}" for column in (*values, "last_updated_timestamp"))

        def work(tx: Transaction) -> Webhook:
            pk = _webhook(tx, webhook_id).webhook_pk
            tx.change(
                f"UPDATE webhooks SET {changes} WHERE webhook_pk = :pk",
                {**values, "last_updated_timestamp": updated, "pk": pk},
            )
            if wanted is not None:
                tx.change("DELETE FROM webhook_events WHERE webhook_pk = :pk", {"pk": pk})
                _insert_events(tx, pk, wanted)
            return _hydrate(tx, [_webhook(tx, webhook_id)])[0]

        return self.write(work)

    def delete_webhook(self, webhook_id: str) -> None:
        self.require_admin("see or change webhooks")
        deleted = now()

        def work(tx: Transaction) -> None:
            pk = _webhook(tx, webhook_id).webhook_pk
            tx.change(
                "UPDATE webhooks SET deleted_time = :deleted, secret = NULL WHERE webhook_pk = :pk",
                {"deleted": deleted, "pk": pk},
            )

        self.write(work)


def _columns(**fields: str | None) -> dict[str, str | None]:
    """The given fields, checked."""
    if "name" in fields and _NAME.fullmatch(fields["name"] or "") is None:
        raise InvalidParameterValue(
            f"webhook name {fields['name']!r}: use 1 to 63 letters, digits, '.', '_' and '-', "
            "a letter or digit at both ends"
        )
    if "status" in fields and fields["status"] not in WEBHOOK_STATUSES:
        raise InvalidParameterValue(f"webhook status {fields['status']!r}: use one of {', '.join(WEBHOOK_STATUSES)}")
    if "url" in fields and not (fields["url"] or "").strip():
        raise InvalidParameterValue("webhook url is empty: give one")
    for field, limit in (("url", 500), ("secret", 1_000), ("description", 100_000)):
        validate.text(fields.get(field) or "", limit, f"webhook {field}")
    return dict(fields)


def _events(events: Sequence[WebhookEvent]) -> list[WebhookEvent]:
    """The events, each once."""
    if not events:
        raise InvalidParameterValue("a webhook needs at least one event, as in model_version.created")
    for event in events:
        if (event.entity, event.action) not in WEBHOOK_EVENTS | PROMOTION_EVENTS:
            known = ", ".join(sorted(f"{entity}.{action}" for entity, action in WEBHOOK_EVENTS | PROMOTION_EVENTS))
            raise InvalidParameterValue(
                f"webhook event {event.entity}.{event.action} does not exist: use one of {known}"
            )
    return list(dict.fromkeys(events))


def _insert_events(tx: Transaction, pk: int, events: Sequence[WebhookEvent]) -> None:
    rows = [{"webhook_pk": pk, "entity": event.entity, "action": event.action} for event in events]
    tx.insert_many("webhook_events", rows)


def _webhook(tx: Transaction, webhook_id: str) -> _Row:
    row = tx.row(f"{_WEBHOOKS} AND webhook_id = :webhook_id", {"webhook_id": webhook_id})
    if row is None:
        raise ResourceDoesNotExist(f"there is no webhook with id {webhook_id!r}")
    return _Row(*row)


def _hydrate(tx: Transaction, rows: Sequence[_Row]) -> list[Webhook]:
    events: dict[int, list[WebhookEvent]] = {}
    for among, params in among_keys(tx, "webhook_pk", [row.webhook_pk for row in rows]):
        for pk, entity, action in tx.rows(
            f"SELECT webhook_pk, entity, action FROM webhook_events WHERE {among} ORDER BY entity, action", params
        ):
            events.setdefault(pk, []).append(WebhookEvent(entity, action))
    return [
        Webhook(
            webhook_id=row.webhook_id,
            name=row.name,
            url=row.url,
            events=tuple(events.get(row.webhook_pk, ())),
            status=row.status,
            creation_timestamp=row.creation_timestamp,
            last_updated_timestamp=row.last_updated_timestamp,
            description=row.description,
        )
        for row in rows
    ]


__all__ = ["WebhookStore"]
