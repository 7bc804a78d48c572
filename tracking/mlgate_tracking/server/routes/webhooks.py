"""Webhooks: who is told of changes in the registry."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Annotated

import msgspec

from mlgate_tracking import wire
from mlgate_tracking.entities import PROMOTION_EVENTS, WEBHOOK_EVENTS, Page, Webhook, WebhookEvent
from mlgate_tracking.errors import InvalidParameterValue, PermissionDenied
from mlgate_tracking.server import events
from mlgate_tracking.server.decode import Request, Text
from mlgate_tracking.server.endpoints import PAGED, Call, endpoint
from mlgate_tracking.server.webhooks import check_target, deliver
from mlgate_tracking.wire import Json

_NAME = re.compile(r"[A-Za-z0-9](?:[A-Za-z0-9._-]{0,61}[A-Za-z0-9])?")
_KNOWN = WEBHOOK_EVENTS | PROMOTION_EVENTS
_STATUSES = {"ACTIVE": "ACTIVE", "DISABLED": "DISABLED", 1: "ACTIVE", 2: "DISABLED"}


class EventIn(Request, frozen=True):
    entity: Text
    action: Text

    def checked(self) -> WebhookEvent:
        event = WebhookEvent(self.entity.lower(), self.action.lower())
        if (event.entity, event.action) not in _KNOWN:
            known = ", ".join(f"{entity.upper()} {action.upper()}" for entity, action in sorted(_KNOWN))
            raise InvalidParameterValue(
                f"Invalid value '{self.entity} {self.action}' for parameter 'events' supplied: use some of {known}"
            )
        return event


class CreateWebhook(Request, frozen=True):
    name: Text
    url: Text
    events: tuple[EventIn, ...]
    description: str | None = None
    secret: str | None = None
    status: str | int = "ACTIVE"


class WebhookId(Request, frozen=True):
    webhook_id: Text


class ListWebhooks(Request, frozen=True):
    max_results: Annotated[int, msgspec.Meta(ge=1, le=1000)] = 100
    page_token: str = ""


class UpdateWebhook(WebhookId, frozen=True):
    name: str | None = None
    url: str | None = None
    events: tuple[EventIn, ...] = ()
    description: str | None = None
    secret: str | None = None
    status: str | int | None = None


class TestWebhook(WebhookId, frozen=True):
    event: EventIn | None = None


def create(call: Call, request: CreateWebhook) -> Json:
    """Create a webhook."""
    _only_administrators(call)
    check_target(request.url, call.server.settings)
    webhook = call.store.create_webhook(
        _checked_name(request.name),
        request.url,
        _checked_events(request.events),
        description=request.description,
        secret=request.secret or None,
        status=_status(request.status),
    )
    return {"webhook": webhook_to_wire(webhook)}


def list_all(call: Call, request: ListWebhooks) -> Json:
    """List webhooks, newest first."""
    _only_administrators(call)
    page = call.store.list_webhooks(max_results=request.max_results, page_token=request.page_token or None)
    # MLflow's clients fail on events that they do not know, so they see the webhooks that listen to theirs only.
    shown = Page(tuple(one for one in page.items if _mlflow_events(one)), page.token)
    return wire.page_to_wire("webhooks", shown, webhook_to_wire)


def list_all_of_ours(call: Call, request: ListWebhooks) -> Json:
    """List webhooks with every event they listen to, promotions too."""
    _only_administrators(call)
    page = call.store.list_webhooks(max_results=request.max_results, page_token=request.page_token or None)
    return wire.page_to_wire("webhooks", page, _with_all_events)


def create_ours(call: Call, request: CreateWebhook) -> Json:
    """Create a webhook; its answer shows promotion events too."""
    made = create(call, request)["webhook"]
    return {"webhook": _with_all_events(call.store.get_webhook(made["webhook_id"]))}


def get(call: Call, request: WebhookId) -> Json:
    """Get a webhook; its secret is never shown."""
    _only_administrators(call)
    return {"webhook": webhook_to_wire(call.store.get_webhook(request.webhook_id))}


def update(call: Call, request: UpdateWebhook) -> Json:
    """Change what is given of a webhook."""
    _only_administrators(call)
    if request.url is not None:
        check_target(request.url, call.server.settings)
    webhook = call.store.update_webhook(
        request.webhook_id,
        name=None if request.name is None else _checked_name(request.name),
        url=request.url,
        events=_checked_events(request.events) if request.events else None,
        description=request.description,
        secret=request.secret,
        status=None if request.status is None else _status(request.status),
    )
    return {"webhook": webhook_to_wire(webhook)}


def delete(call: Call, request: WebhookId) -> Json:
    """Delete a webhook."""
    _only_administrators(call)
    call.store.delete_webhook(request.webhook_id)
    return {}


def test(call: Call, request: TestWebhook) -> Json:
    """Send an example of an event to a webhook, and tell what came back."""
    _only_administrators(call)
    webhook = call.store.get_webhook(request.webhook_id)
    event = request.event.checked() if request.event else webhook.events[0]
    secret = call.store.get_webhook_secret(webhook.webhook_id)
    example = events.Event(event.entity, event.action, events.example(event.entity, event.action))
    outcome = deliver(webhook.url, secret, example, call.server.settings)
    result: Json = {"success": outcome.success}
    if outcome.status is not None:
        result |= {"response_status": outcome.status, "response_body": outcome.body}
    if outcome.error is not None:
        result["error_message"] = outcome.error
    return {"result": result}


def _only_administrators(call: Call) -> None:
    # A step has no business with the server's own outgoing calls.
    if call.fence is not None:
        raise PermissionDenied(f"the token of run {call.fence.run_id} may not see or change webhooks")
    if call.identity is not None and not call.identity.is_admin:
        raise PermissionDenied(f"user {call.identity.user!r} may not see or change webhooks: that takes the role admin")


def _checked_name(name: str) -> str:
    if not _NAME.fullmatch(name):
        raise InvalidParameterValue(
            f"Invalid value {name!r} for parameter 'name' supplied: use 1 to 63 letters, digits, dots, dashes and "
            "underscores, beginning and ending with a letter or digit"
        )
    return name


def _checked_events(wanted: Sequence[EventIn]) -> tuple[WebhookEvent, ...]:
    if not wanted:
        raise InvalidParameterValue("Missing value for required parameter 'events'.")
    return tuple(dict.fromkeys(event.checked() for event in wanted))


def _status(value: str | int) -> str:
    status = _STATUSES.get(value)
    if status is None:
        raise InvalidParameterValue(f"Invalid value {value!r} for parameter 'status' supplied: use ACTIVE or DISABLED")
    return status


def webhook_to_wire(webhook: Webhook) -> Json:
    body: Json = {
        "webhook_id": webhook.webhook_id,
        "name": webhook.name,
        "url": webhook.url,
        "events": [_event_to_wire(event) for event in _mlflow_events(webhook)],
        "status": webhook.status,
        "creation_timestamp": webhook.creation_timestamp,
        "last_updated_timestamp": webhook.last_updated_timestamp,
    }
    return body if webhook.description is None else {**body, "description": webhook.description}


def _with_all_events(webhook: Webhook) -> Json:
    return {**webhook_to_wire(webhook), "events": [_event_to_wire(event) for event in webhook.events]}


def _event_to_wire(event: WebhookEvent) -> Json:
    return {"entity": event.entity.upper(), "action": event.action.upper()}


def _mlflow_events(webhook: Webhook) -> list[WebhookEvent]:
    return [event for event in webhook.events if (event.entity, event.action) not in PROMOTION_EVENTS]


_OURS = "3.0/mlgate/webhooks"
_BASE = "2.0/mlflow/webhooks"
_ONE = _BASE + "/{webhook_id}"
_WEBHOOK = {"webhook": "Webhook"}

ENDPOINTS = (
    endpoint("POST", _BASE, CreateWebhook, create, **_WEBHOOK),
    endpoint("GET", _BASE, ListWebhooks, list_all, webhooks="Webhook[]", **PAGED),
    endpoint("GET", _ONE, WebhookId, get, **_WEBHOOK),
    endpoint("PATCH", _ONE, UpdateWebhook, update, **_WEBHOOK),
    endpoint("DELETE", _ONE, WebhookId, delete),
    endpoint("POST", _ONE + "/test", TestWebhook, test, result="object"),
    endpoint("POST", _OURS, CreateWebhook, create_ours, **_WEBHOOK),
    endpoint("GET", _OURS, ListWebhooks, list_all_of_ours, webhooks="Webhook[]", **PAGED),
    endpoint("DELETE", _OURS + "/{webhook_id}", WebhookId, delete),
    endpoint("POST", _OURS + "/{webhook_id}/test", TestWebhook, test, result="object"),
)

__all__ = ["ENDPOINTS", "webhook_to_wire"]
