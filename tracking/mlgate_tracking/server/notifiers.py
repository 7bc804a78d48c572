"""Webhooks for people: `slack+https://...` posts a line of text as Slack and its like take it, `mailto:` sends mail."""

from __future__ import annotations

import json
import re
import smtplib
import ssl
from email.message import EmailMessage
from email.utils import make_msgid
from urllib.parse import parse_qs, unquote, urlsplit

from mlgate_tracking.errors import InvalidParameterValue
from mlgate_tracking.server.events import Event

SLACK = "slack+"
MAIL = "mailto"
TIMEOUT = 30.0
_ADDRESS = re.compile(r"[^@\s,<>:;\"]+@[A-Za-z0-9.-]+")


def sentence(event: Event) -> str:
    """What happened, in one line."""
    data = event.data
    name, version = data.get("model") or data.get("name", ""), data.get("version")
    target = data.get("target") or {}
    place = " and ".join(str(value) for value in (target.get("alias"), target.get("stage")) if value)
    user = f" by {data['user']}" if data.get("user") else ""
    comment = f": {data['comment']}" if data.get("comment") else ""
    if event.action == "promoted":
        before = data.get("previous_version")
        instead = f" (instead of version {before})" if before else ""
        return f"{name} version {version} was promoted to {place}{instead}{user}{comment}"
    if event.action == "rolled_back":
        back = f"to version {version}" if version else "to nobody"
        return f"{name} {place} was rolled back {back} from version {data.get('previous_version')}{user}{comment}"
    detail = ", ".join(f"{key} {value}" for key, value in data.items() if key != "name" and value)
    return f"{name}: {event.entity.replace('_', ' ')} {event.action}" + (f" ({detail})" if detail else "")


def slack_body(event: Event) -> bytes:
    return json.dumps({"text": sentence(event)}).encode()


def mail_recipients(url: str) -> list[str]:
    """The addresses of `mailto:one@example.org,two@example.org`.

    Raises:
        InvalidParameterValue: not one address, or something that is none.
    """
    found = [unquote(part) for part in urlsplit(url).path.split(",") if part]
    for address in found:
        if _ADDRESS.fullmatch(address) is None:
            raise InvalidParameterValue(f"webhook URL {url!r}: {address!r} is not a mail address")
    if not found:
        raise InvalidParameterValue(f"webhook URL {url!r}: name a recipient, as in mailto:team@example.org")
    return found


def send_mail(smtp_url: str, recipients: list[str], event: Event, event_id: str) -> None:
    """Send one mail through `smtp://[user:password@]host[:port]?from=address` (`smtps://` for TLS from the start).

    Raises:
        OSError, smtplib.SMTPException: the mail server is away or refuses.
    """
    parts = urlsplit(smtp_url)
    sender = parse_qs(parts.query).get("from", ["mlgate@localhost"])[0]
    message = EmailMessage()
    message["Subject"] = sentence(event)[:200].replace("\n", " ")
    message["From"] = sender
    message["To"] = ", ".join(recipients)
    message["Message-ID"] = make_msgid(event_id, "mlgate")
    message["X-Mlgate-Event-Id"] = event_id
    message.set_content(sentence(event) + "\n\n" + json.dumps(event.data, indent=2, default=str) + "\n")
    host = parts.hostname or "localhost"
    server: smtplib.SMTP
    if parts.scheme == "smtps":
        server = smtplib.SMTP_SSL(host, parts.port or 465, timeout=TIMEOUT, context=ssl.create_default_context())
    else:
        server = smtplib.SMTP(host, parts.port or 25, timeout=TIMEOUT)
    with server:
        server.ehlo_or_helo_if_needed()
        if parts.scheme == "smtp" and server.has_extn("starttls"):
            server.starttls(context=ssl.create_default_context())
        if parts.username:
            server.login(unquote(parts.username), unquote(parts.password or ""))
        server.send_message(message)


__all__ = ["MAIL", "SLACK", "mail_recipients", "send_mail", "sentence", "slack_body"]
