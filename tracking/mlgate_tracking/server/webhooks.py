"""One try to tell a webhook of an event: signed, and only to where the server's owner lets it go.

The address is looked up once, checked, and connected to as it was checked, so that a name cannot point elsewhere in
between. Redirects that keep the method (307, 308) are followed, each checked like the first address; others are not.
"""

from __future__ import annotations

import base64
import hashlib
import hmac
import http.client
import ipaddress
import json
import smtplib
import socket
import ssl
import time
import uuid
from dataclasses import dataclass
from datetime import UTC, datetime
from urllib.parse import SplitResult, urljoin, urlsplit

from mlgate_tracking.errors import InvalidParameterValue, TrackingError
from mlgate_tracking.server import notifiers
from mlgate_tracking.server.events import Event
from mlgate_tracking.server.settings import ServerSettings

TIMEOUT = 30.0
REDIRECTS = 3
"""How many a receiver may send us on."""
BODY_SHOWN = 4096
"""Bytes of an answer that `test` shows."""
_PORTS = {"http": 80, "https": 443}


@dataclass(frozen=True, slots=True)
class Outcome:
    """What became of one delivery: an answer, or why there was none."""

    status: int | None = None
    body: str = ""
    error: str | None = None
    refused: bool = False
    """We would not go there."""

    @property
    def success(self) -> bool:
        return self.status is not None and self.status < 400 and self.error is None

    @property
    def worth_a_retry(self) -> bool:
        if self.refused:
            return False
        return self.status is None or self.status in (408, 425, 429) or self.status >= 500


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
    if parts.scheme == notifiers.MAIL:
        notifiers.mail_recipients(url)
        if settings.smtp_url is None:
            raise InvalidParameterValue(f"webhook URL {url!r}: this server sends no mail; give it --smtp-url")
        return parts, ""
    if parts.scheme.removeprefix(notifiers.SLACK) not in settings.webhook_schemes:
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


def deliver(
    url: str,
    secret: str | None,
    event: Event,
    settings: ServerSettings,
    *,
    delivery_id: str | None = None,
    created: datetime | None = None,
) -> Outcome:
    """Send one event once.

    Args:
        delivery_id: the same for every try, so that a receiver can drop what it has seen; a new one when None.
        created: when it happened; now when None.
    """
    delivery_id, timestamp = delivery_id or str(uuid.uuid4()), str(int(time.time()))
    try:
        if urlsplit(url).scheme == notifiers.MAIL:
            return _mail(url, event, settings, delivery_id)
        if url.startswith(notifiers.SLACK):
            body = notifiers.slack_body(event)
        else:
            body = json.dumps(
                {
                    "entity": event.entity,
                    "action": event.action,
                    "timestamp": (created or datetime.now(UTC)).isoformat(),
                    "data": event.data,
                }
            ).encode()
        headers = {
            "Content-Type": "application/json",
            "X-MLflow-Delivery-Id": delivery_id,
            "X-MLflow-Timestamp": timestamp,
        }
        if secret:
            headers["X-MLflow-Signature"] = sign(secret, delivery_id, timestamp, body)
        return _post(url, body, headers, settings)
    except InvalidParameterValue as error:
        return Outcome(error=error.message, refused=True)
    except (OSError, http.client.HTTPException, TrackingError) as error:
        return Outcome(error=str(error) or type(error).__name__)


def _mail(url: str, event: Event, settings: ServerSettings, delivery_id: str) -> Outcome:
    check_target(url, settings)
    assert settings.smtp_url is not None
    try:
        notifiers.send_mail(settings.smtp_url, notifiers.mail_recipients(url), event, delivery_id)
    except smtplib.SMTPException as error:
        return Outcome(error=f"the mail server refused: {error}")
    return Outcome(status=200)


def sign(secret: str, delivery_id: str, timestamp: str, body: bytes) -> str:
    """The value of `X-MLflow-Signature`."""
    digest = hmac.digest(secret.encode(), f"{delivery_id}.{timestamp}.".encode() + body, hashlib.sha256)
    return "v1," + base64.b64encode(digest).decode()


def _post(url: str, body: bytes, headers: dict[str, str], settings: ServerSettings) -> Outcome:
    for _ in range(REDIRECTS + 1):
        outcome, location = _post_once(url, body, headers, settings)
        if outcome.status is None or not 300 <= outcome.status < 400 or not location:
            return outcome
        if outcome.status not in (307, 308):
            problem = f"answers with a redirect ({outcome.status}) to {location}; use that address"
            return Outcome(outcome.status, error=problem)
        url = urljoin(url.removeprefix(notifiers.SLACK), location)
    return Outcome(error=f"more than {REDIRECTS} redirects")


def _post_once(url: str, body: bytes, headers: dict[str, str], settings: ServerSettings) -> tuple[Outcome, str | None]:
    parts, address = check_target(url, settings)
    assert parts.hostname is not None
    port = parts.port or _PORTS[parts.scheme.removeprefix(notifiers.SLACK)]
    connection = http.client.HTTPConnection(parts.hostname, port, timeout=TIMEOUT)
    connection.sock = socket.create_connection((address, port), timeout=TIMEOUT)
    try:
        if not parts.scheme.endswith("http"):
            context = ssl.create_default_context()
            connection.sock = context.wrap_socket(connection.sock, server_hostname=parts.hostname)
        target = (parts.path or "/") + (f"?{parts.query}" if parts.query else "")
        connection.request("POST", target, body, {"Host": parts.netloc, **headers})
        answer = connection.getresponse()
        outcome = Outcome(answer.status, answer.read(BODY_SHOWN).decode("utf-8", "replace"))
        return outcome, answer.getheader("Location")
    finally:
        connection.close()


__all__ = ["REDIRECTS", "TIMEOUT", "Outcome", "check_target", "deliver", "sign"]
