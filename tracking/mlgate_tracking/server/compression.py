"""Long text goes out packed to those who take it so; everything else goes out as it is.

What is dense already (models, archives, images) only costs time to pack, and could then not be sent by the kernel; a
part of a file has to be the bytes that were asked for.
"""

from __future__ import annotations

import os
import zlib
from concurrent.futures import Executor

from starlette.datastructures import Headers, MutableHeaders
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from mlgate_tracking.server.settings import MEBIBYTE
from mlgate_tracking.server.shortcut import SEND, in_thread

LEAST = 4096
"""Bytes from which an answer is worth it."""
LEVEL = 1
BLOCK = MEBIBYTE

_TEXT = frozenset(
    {
        "application/javascript",
        "application/json",
        "application/toml",
        "application/x-ndjson",
        "application/xml",
        "application/yaml",
    }
)


class Compressed:
    """Packs the text that `app` answers with; `threads` do the work."""

    def __init__(self, app: ASGIApp, threads: Executor) -> None:
        self._app = app
        self._threads = threads

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "http" and _accepts_gzip(Headers(scope=scope).get("accept-encoding", "")):
            send = _Packer(send, self._threads)
        await self._app(scope, receive, send)


class _Packer:
    """Stands in for the `send` of one answer."""

    def __init__(self, send: Send, threads: Executor) -> None:
        self._send = send
        self._threads = threads
        self._compressor: zlib._Compress | None = None

    async def __call__(self, message: Message) -> None:
        if message["type"] == "http.response.start":
            await self._begin(message)
        elif self._compressor is None:
            await self._send(message)
        elif message["type"] == SEND:
            await self._pack_file(message)
        else:
            await self._pack(message.get("body", b""), more=message.get("more_body", False))

    async def _begin(self, message: Message) -> None:
        headers = MutableHeaders(raw=list(message["headers"]))
        if message["status"] != 206 and _is_long_text(headers):
            self._compressor = zlib.compressobj(LEVEL, wbits=31)
            headers["Content-Encoding"] = "gzip"
            headers.add_vary_header("Accept-Encoding")
            del headers["Content-Length"]
            del headers["Accept-Ranges"]
        await self._send({**message, "headers": headers.raw})

    async def _pack_file(self, message: Message) -> None:
        offset, left = message["offset"], message["count"]
        while left:
            chunk = await in_thread(self._threads, os.pread, message["file"], min(left, BLOCK), offset)
            if not chunk:
                raise OSError("the file is shorter than it was")
            offset, left = offset + len(chunk), left - len(chunk)
            await self._pack(chunk, more=left > 0)

    async def _pack(self, chunk: bytes, *, more: bool) -> None:
        packed = await in_thread(self._threads, self._packed, chunk, more)
        await self._send({"type": "http.response.body", "body": packed, "more_body": more})

    def _packed(self, chunk: bytes, more: bool) -> bytes:
        assert self._compressor is not None
        return self._compressor.compress(chunk) + (b"" if more else self._compressor.flush())


def _is_long_text(headers: Headers) -> bool:
    media_type = headers.get("content-type", "").partition(";")[0].strip().lower()
    is_text = media_type.startswith("text/") or media_type in _TEXT or media_type.endswith(("+json", "+xml"))
    return is_text and int(headers.get("content-length", "0")) >= LEAST


def _accepts_gzip(header: str) -> bool:
    """Whether an `Accept-Encoding` names gzip, and not as one that is refused (`gzip;q=0`)."""
    for part in header.lower().split(","):
        name, _, weight = part.replace(" ", "").partition(";q=")
        if name == "gzip":
            return weight.strip("0.") != "" or not weight
    return False


__all__ = ["LEAST", "Compressed"]
