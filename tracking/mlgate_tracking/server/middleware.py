"""What every request passes on its way in: prefix, measuring, browser protections, credentials."""

from __future__ import annotations

import asyncio
import ipaddress
import json
import logging
import time
from collections.abc import Mapping
from urllib.parse import urlsplit

from starlette.datastructures import Headers
from starlette.responses import PlainTextResponse
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from mlgate_tracking.errors import TrackingError, Unauthenticated
from mlgate_tracking.server.access import ANYBODY, OPEN_PATHS, Caller
from mlgate_tracking.server.api import error_body
from mlgate_tracking.server.measure import Measurements
from mlgate_tracking.server.settings import ServerSettings
from mlgate_tracking.server.state import ServerState

access_log = logging.getLogger("mlgate_tracking.access")

_WRITING = frozenset({"POST", "PUT", "PATCH", "DELETE"})
_HOST_FREE = frozenset({"/health", "/version"})


class StaticPrefix:
    """Answers below a prefix (`/mlgate/api/...`), and without it too, as some clients leave it off for artifacts."""

    def __init__(self, app: ASGIApp, prefix: str) -> None:
        self._app = app
        self._prefix = "/" + prefix.strip("/")

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "http":
            path: str = scope["path"]
            if path == self._prefix or path.startswith(self._prefix + "/"):
                scope = {**scope, "path": path[len(self._prefix) :] or "/"}
                scope["root_path"] = scope.get("root_path", "") + self._prefix
        await self._app(scope, receive, send)


class Measured:
    """Counts and times every request, and writes one line of JSON about it to the access log."""

    def __init__(self, app: ASGIApp, measurements: Measurements, *, log: bool) -> None:
        self._app = app
        self._measurements = measurements
        self._log = log

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        status, sent = 500, 0

        async def watched(message: Message) -> None:
            nonlocal status, sent
            if message["type"] == "http.response.start":
                status = message["status"]
            else:
                sent += len(message.get("body", b"")) + message.get("count", 0)
            await send(message)

        self._measurements.in_flight += 1
        begin = time.perf_counter()
        try:
            await self._app(scope, receive, watched)
        finally:
            seconds = time.perf_counter() - begin
            self._measurements.in_flight -= 1
            self._measurements.observe(scope["method"], _route(scope), status, seconds)
            if self._log:
                access_log.info("%s", _line(scope, status, sent, seconds))


def _route(scope: Scope) -> str:
    """A label for the route; never a path that a caller made up, of which there are endlessly many."""
    endpoint = scope.get("endpoint")
    if endpoint is None:
        return "unknown"
    return str(getattr(endpoint, "path", None) or getattr(endpoint, "__name__", "page"))


def _line(scope: Scope, status: int, sent: int, seconds: float) -> str:
    headers = Headers(scope=scope)
    caller: Caller = scope.get("caller", ANYBODY)
    fields = {
        "time": time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime()) + "Z",
        "client": (scope.get("client") or ("", 0))[0],
        "method": scope["method"],
        "path": scope.get("root_path", "") + scope["path"],
        "status": status,
        "bytes": sent,
        "milliseconds": round(seconds * 1000, 3),
        "agent": headers.get("user-agent", ""),
    }
    if caller.fence is not None:
        fields |= {"run_id": caller.fence.run_id, "attempt": caller.fence.attempt}
    if caller.identity is not None:
        fields["user"] = caller.identity.user
    return json.dumps(fields)


class BrowserGuard:
    """Refuses what a page in somebody's browser could be tricked into sending: foreign hosts, foreign origins."""

    def __init__(self, app: ASGIApp, settings: ServerSettings) -> None:
        self._app = app
        self._hosts = frozenset(host.lower() for host in settings.allowed_hosts)
        self._origins = frozenset(origin.lower().rstrip("/") for origin in settings.allowed_origins)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "http":
            refusal = self._refusal(scope["method"], scope["path"], Headers(scope=scope))
            if refusal is not None:
                await PlainTextResponse(refusal, 403)(scope, receive, send)
                return
        await self._app(scope, receive, send)

    def _refusal(self, method: str, path: str, headers: Mapping[str, str]) -> str | None:
        if path not in _HOST_FREE and not self._known_host(headers.get("host", "")):
            return "Invalid Host header: name this host with --allowed-hosts to serve it"
        if method in _WRITING:
            origin = headers.get("origin", "").lower().rstrip("/")
            if origin and not self._known_origin(origin, headers.get("host", "")):
                return "Cross-origin request blocked: name this origin with --allowed-origins to take it"
        return None

    def _known_host(self, host: str) -> bool:
        if "*" in self._hosts or not host:
            return True
        name = _host_name(host)
        return _is_local(name) or name in self._hosts or host.lower() in self._hosts

    def _known_origin(self, origin: str, host: str) -> bool:
        if "*" in self._origins or origin in self._origins:
            return True
        parts = urlsplit(origin)
        return parts.netloc == host.lower() or _is_loopback(_host_name(parts.netloc))


def _host_name(host: str) -> str:
    try:
        return (urlsplit(f"//{host}").hostname or "").lower()
    except ValueError:
        return ""


def _is_loopback(name: str) -> bool:
    try:
        return name == "localhost" or ipaddress.ip_address(name).is_loopback
    except ValueError:
        return False


def _is_local(name: str) -> bool:
    """Loopback and private addresses, as numbers: a rebinding attack needs a name."""
    # The name under which containers reach the machine they run on.
    if name in ("localhost", "host.docker.internal"):
        return True
    try:
        address = ipaddress.ip_address(name)
    except ValueError:
        return False
    return address.is_loopback or address.is_private or address.is_unspecified


class Authentication:
    """Puts the caller into the scope, or answers 401."""

    def __init__(self, app: ASGIApp, state: ServerState) -> None:
        self._app = app
        self._state = state

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http" or scope["path"] in OPEN_PATHS:
            await self._app(scope, receive, send)
            return
        sent = next((value for name, value in scope["headers"] if name == b"authorization"), b"").decode("latin-1")
        callers = self._state.callers
        try:
            caller = callers.known(sent)
            if caller is None:
                caller = await asyncio.get_running_loop().run_in_executor(self._state.threads, callers.find, sent)
        except TrackingError as error:
            headers = [(b"content-type", b"application/json")]
            if isinstance(error, Unauthenticated):
                headers.append((b"www-authenticate", b'Basic realm="mlgate"'))
            await send({"type": "http.response.start", "status": error.status, "headers": headers})
            await send({"type": "http.response.body", "body": error_body(error)})
            return
        scope["caller"] = caller
        await self._app(scope, receive, send)


__all__ = ["Authentication", "BrowserGuard", "Measured", "StaticPrefix", "access_log"]
