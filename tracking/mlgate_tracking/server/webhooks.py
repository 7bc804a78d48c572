"""Delivery of webhooks: signed, asynchronous, and only to where the server's owner lets it go.

The address is looked up once, checked, and connected to as it was checked, so that a name cannot point elsewhere in
between. Redirects are not followed.
"""

from __future__ import annotations

import base64
import hashlib
import hmac
import http.client
import ipaddress
import json
import logging
import queue
import socket
import ssl
import threading
import time
import uuid
from dataclasses import dataclass
from datetime import UTC, datetime
from urllib.parse import SplitResult, urlsplit

from mlgate_tracking.contract import ServerStore
from mlgate_tracking.entities import WebhookEvent
from mlgate_tracking.errors import InvalidParameterValue, TrackingError
from mlgate_tracking.server.events import Event
from mlgate_tracking.server.settings import ServerSettings

log = logging.getLogger(__name__)

TIMEOUT = 30.0
RETRIES = 3
BODY_SHOWN = 4096
"""Bytes of an answer that `test` shows."""
_PORTS = {"http": 80, "https": 443}


@dataclass(frozen=True, slots=True)
class Outcome:
    """What became of one delivery: an answer, or why there was none."""

    status: int | None = None
    body: str = ""
    error: str | None = None

    @property
    def success(self) -> bool:
        return self.status is not None and self.status < 400

    @property
    def worth_a_retry(self) -> bool:
        return self.status is None or self.status == 429 or self.status >= 500


def check_target(url: str, settings: ServerSettings) -> tuple[SplitResult, str]:
    """The parts of a webhook's URL and the address to connect to.

    Raises:
        InvalidParameterValue: a scheme or an address that webhooks may not go to, or a host that is unknown.
    """
    try:
        parts = urlsplit(url)
        port = parts.port
    except ValueError as error:
        raise InvalidParameterValue(f"webhook URL {url!r}: {error}") from None
    if parts.scheme not in settings.webhook_schemes:
        allowed = ", ".join(f"{scheme}://" for scheme in settings.webhook_schemes)
        raise InvalidParameterValue(f"webhook URL {url!r}: scheme {parts.scheme!r} is not allowed; use {allowed}")
    if not parts.hostname or parts.username is not None:
        raise InvalidParameterValue(f"webhook URL {url!r}: name a host, and no user")
    try:
        found = socket.getaddrinfo(parts.hostname, port or _PORTS.get(parts.scheme, 443), type=socket.SOCK_STREAM)
    except (OSError, UnicodeError) as error:
        raise InvalidParameterValue(f"webhook URL {url!r}: host {parts.hostname!r} is unknown ({error})") from None
    addresses = [str(entry[4][0]) for entry in found]
    if not settings.webhook_private_addresses:
        for address in addresses:
            if not _is_public(address):
                raise InvalidParameterValue(
                    f"webhook URL {url!r}: {address} is not a public address; "
                    "allow such targets with --webhook-allow-private-addresses"
                )
    return parts, addresses[0]


def _is_public(address: str) -> bool:
    parsed = ipaddress.ip_address(address.partition("%")[0])
    mapped = getattr(parsed, "ipv4_mapped", None)
    if mapped is not None:
        parsed = mapped
    return parsed.is_global and not parsed.is_multicast


def deliver(url: str, secret: str | None, event: Event, settings: ServerSettings) -> Outcome:
    """Send one event once."""
    body = json.dumps(
        {
            "entity": event.entity,
            "action": event.action,
            "timestamp": datetime.now(UTC).isoformat(),
            "data": event.data,
        }
    ).encode()
    delivery_id, timestamp = str(uuid.uuid4()), str(int(time.time()))
    headers = {
        "Content-Type": "application/json",
        "X-MLflow-Delivery-Id": delivery_id,
        "X-MLflow-Timestamp": timestamp,
    }
    if secret:
        headers["X-MLflow-Signature"] = sign(secret, delivery_id, timestamp, body)
    try:
        return _post(url, body, headers, settings)
    except (OSError, http.client.HTTPException, TrackingError) as error:
        return Outcome(error=str(error) or type(error).__name__)


def sign(secret: str, delivery_id: str, timestamp: str, body: bytes) -> str:
    """The value of `X-MLflow-Signature`."""
    digest = hmac.digest(secret.encode(), f"{delivery_id}.{timestamp}.".encode() + body, hashlib.sha256)
    return "v1," + base64.b64encode(digest).decode()


def _post(url: str, body: bytes, headers: dict[str, str], settings: ServerSettings) -> Outcome:
    parts, address = check_target(url, settings)
    assert parts.hostname is not None
    port = parts.port or _PORTS.get(parts.scheme, 443)
    connection = http.client.HTTPConnection(parts.hostname, port, timeout=TIMEOUT)
    connection.sock = socket.create_connection((address, port), timeout=TIMEOUT)
    try:
        if parts.scheme == "https":
            context = ssl.create_default_context()
            connection.sock = context.wrap_socket(connection.sock, server_hostname=parts.hostname)
        target = (parts.path or "/") + (f"?{parts.query}" if parts.query else "")
        connection.request("POST", target, body, {"Host": parts.netloc, **headers})
        answer = connection.getresponse()
        return Outcome(answer.status, answer.read(BODY_SHOWN).decode("utf-8", "replace"))
    finally:
        connection.close()


class WebhookDelivery:
    """Delivers events in a thread of its own, in order, each to every webhook that wants it.

    Args:
        pause: seconds before the first retry; doubled for each further one.
    """

    def __init__(self, store: ServerStore, settings: ServerSettings, pause: float = 1.0) -> None:
        self._store = store
        self._settings = settings
        self._pause = pause
        self._events: queue.SimpleQueue[Event | None] = queue.SimpleQueue()
        self._lock = threading.Lock()
        self._thread: threading.Thread | None = None
        self._closing = threading.Event()

    def __call__(self, event: Event) -> None:
        """Queue an event; returns at once."""
        self._events.put(event)
        with self._lock:
            if self._thread is None:
                self._thread = threading.Thread(target=self._run, name="mlgate-webhooks", daemon=True)
                self._thread.start()

    def close(self, timeout: float = 5.0) -> None:
        """Deliver what is queued, without further retries, for at most `timeout` seconds."""
        self._closing.set()
        if self._thread is not None:
            self._events.put(None)
            self._thread.join(timeout)

    def _run(self) -> None:
        while (event := self._events.get()) is not None:
            try:
                for webhook in self._store.webhooks_for(WebhookEvent(event.entity, event.action)):
                    secret = self._store.get_webhook_secret(webhook.webhook_id)
                    self._deliver(webhook.name, webhook.url, secret, event)
            except Exception:
                log.exception("delivering %s.%s failed", event.entity, event.action)

    def _deliver(self, name: str, url: str, secret: str | None, event: Event) -> None:
        for attempt in range(RETRIES + 1):
            outcome = deliver(url, secret, event, self._settings)
            if outcome.success:
                return
            if not outcome.worth_a_retry or attempt == RETRIES or self._closing.wait(self._pause * 2**attempt):
                break
        log.warning(
            "webhook %s: %s.%s was not delivered: %s",
            name,
            event.entity,
            event.action,
            outcome.error or f"answer {outcome.status}",
        )


__all__ = ["RETRIES", "TIMEOUT", "Outcome", "WebhookDelivery", "check_target", "deliver", "sign"]
