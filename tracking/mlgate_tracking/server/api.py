"""The JSON API as one ASGI application: find the endpoint, decode, run its handler in a thread, encode.

Exact paths are one dictionary look-up; paths with parameters are tried in order. What is not ours goes on to the next
application (files, pages). Clients fall back on older calls when they see a 404 that is not JSON, so unknown routes are
answered in plain text.
"""

from __future__ import annotations

import asyncio
import logging
import re
import zlib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

import msgspec
from starlette.datastructures import Headers
from starlette.responses import PlainTextResponse
from starlette.routing import compile_path
from starlette.types import ASGIApp, Receive, Scope, Send

from mlgate_tracking.errors import InvalidParameterValue, TrackingError
from mlgate_tracking.server.decode import RequestDecoder
from mlgate_tracking.server.endpoints import Endpoint
from mlgate_tracking.server.state import ServerState

log = logging.getLogger(__name__)

FAMILIES = ("/api/", "/ajax-api/")
"""Python clients use the first, browsers the second."""

_CONTENT_TYPE_CHECKED = frozenset({"POST", "PUT"})


@dataclass(frozen=True, slots=True)
class _Bound:
    endpoint: Endpoint
    decoder: RequestDecoder[Any]


@dataclass(frozen=True, slots=True)
class _Pattern:
    regex: re.Pattern[str]
    methods: dict[str, _Bound]


class ClientGone(Exception):
    """The caller closed the connection before its request was whole."""


class JsonApi:
    """Serves `endpoints` under `/api/` and `/ajax-api/`; everything else goes to `otherwise`."""

    def __init__(self, state: ServerState, endpoints: Iterable[Endpoint], otherwise: ASGIApp) -> None:
        self._state = state
        self._otherwise = otherwise
        self._exact: dict[str, dict[str, _Bound]] = {}
        self._patterns: list[_Pattern] = []
        patterns: dict[str, dict[str, _Bound]] = {}
        for endpoint in endpoints:
            bound = _Bound(endpoint, RequestDecoder(endpoint.request))
            table = patterns if "{" in endpoint.path else self._exact
            for path in _paths(endpoint.path):
                table.setdefault(path, {})[endpoint.method] = bound
        for path, methods in patterns.items():
            self._patterns.append(_Pattern(compile_path(path)[0], methods))

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._otherwise(scope, receive, send)
            return
        methods, parameters = self._find(scope["path"])
        if methods is None:
            await self._otherwise(scope, receive, send)
            return
        bound = methods.get(scope["method"])
        if bound is None:
            allow = {"Allow": ", ".join(sorted(methods))}
            await PlainTextResponse("Method Not Allowed", 405, allow)(scope, receive, send)
            return
        scope["endpoint"] = bound.endpoint
        try:
            headers = Headers(scope=scope)
            body = await read_body(receive, headers, self._state.settings.max_body_bytes)
        except ClientGone:
            return
        except TrackingError as error:
            await send_json(send, error.status, error_body(error))
            return
        call = asyncio.get_running_loop().run_in_executor(
            self._state.threads, self._answer, bound, scope, headers, body, parameters
        )
        status, answer = await call
        await send_json(send, status, answer)

    def _find(self, path: str) -> tuple[dict[str, _Bound] | None, Mapping[str, str]]:
        methods = self._exact.get(path)
        if methods is not None:
            return methods, {}
        if path.startswith(FAMILIES):
            for pattern in self._patterns:
                match = pattern.regex.match(path)
                if match:
                    return pattern.methods, match.groupdict()
        return None, {}

    def _answer(
        self, bound: _Bound, scope: Scope, headers: Headers, body: bytes, parameters: Mapping[str, str]
    ) -> tuple[int, bytes]:
        """Everything between the bytes of a request and the bytes of its answer; runs in a thread."""
        method = scope["method"]
        try:
            if method == "GET":
                request = bound.decoder.from_query(scope["query_string"], parameters)
            else:
                if method in _CONTENT_TYPE_CHECKED:
                    _check_content_type(headers.get("content-type"))
                request = bound.decoder.from_body(body, parameters)
            call = self._state.call(scope, headers.get("idempotency-key"))
            return 200, msgspec.json.encode(bound.endpoint.handler(call, request))
        except TrackingError as error:
            return error.status, error_body(error)
        except Exception:
            log.exception("%s %s failed", method, scope["path"])
            return 500, error_body(None)


def _paths(path: str) -> Iterable[str]:
    for family in FAMILIES:
        yield family + path
        if path.startswith("2.0/mlflow/"):
            yield family + path.replace("2.0/", "2.0/preview/", 1)


def _check_content_type(content_type: str | None) -> None:
    if (content_type or "").partition(";")[0].strip().lower() != "application/json":
        raise InvalidParameterValue(
            f"Content-Type is {content_type or 'missing'}; send the request as application/json"
        )


async def read_body(receive: Receive, headers: Headers, limit: int) -> bytes:
    """The whole body, unpacked if it came compressed.

    Raises:
        InvalidParameterValue: longer than `limit` bytes, or a damaged or unknown compression.
        ClientGone: the connection closed first.
    """
    encoding = headers.get("content-encoding", "identity").lower()
    if encoding not in ("identity", "gzip"):
        raise InvalidParameterValue(f"Content-Encoding is {encoding}; send gzip or identity")
    unpack = zlib.decompressobj(wbits=31) if encoding == "gzip" else None
    chunks: list[bytes] = []
    size = 0
    while True:
        message = await receive()
        if message["type"] == "http.disconnect":
            raise ClientGone
        chunk: bytes = message.get("body", b"")
        if unpack:
            try:
                chunk = unpack.decompress(chunk, limit + 1)
            except zlib.error as error:
                raise InvalidParameterValue(f"the body is not valid gzip: {error}") from None
        size += len(chunk)
        if size > limit:
            raise InvalidParameterValue(f"the request body is longer than {limit} bytes; send it in smaller parts")
        chunks.append(chunk)
        if not message.get("more_body", False):
            break
    if unpack and not unpack.eof:
        raise InvalidParameterValue("the body is not valid gzip: it ends early")
    return chunks[0] if len(chunks) == 1 else b"".join(chunks)


def error_body(error: TrackingError | None) -> bytes:
    """MLflow's error shape; None stands for a failure that callers must not see the inside of."""
    if error is None:
        body: dict[str, Any] = {"error_code": "INTERNAL_ERROR", "message": "internal error; the server's log says more"}
    else:
        body = {"error_code": error.error_code, "message": error.message}
        if error.details:
            body["details"] = error.details
    return msgspec.json.encode(body, enc_hook=str)


async def send_json(send: Send, status: int, body: bytes) -> None:
    await send(
        {
            "type": "http.response.start",
            "status": status,
            "headers": [
                (b"content-type", b"application/json"),
                (b"content-length", str(len(body)).encode()),
                (b"x-content-type-options", b"nosniff"),
            ],
        }
    )
    await send({"type": "http.response.body", "body": body})


__all__ = ["FAMILIES", "ClientGone", "JsonApi", "error_body", "read_body", "send_json"]
