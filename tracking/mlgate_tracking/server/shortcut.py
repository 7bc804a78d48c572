"""Files past the HTTP server: bytes go between socket and file in a thread, and the event loop only waits.

uvicorn copies every byte of a body several times on its event loop. On a plain connection this middleware therefore
offers two extensions to the application inside it, built on nothing but the connection's descriptor:

- `http.response.zerocopysend` (of the ASGI specification): a part of an open file, sent by the kernel itself;
- `mlgate.request.body`: a function that hands the body of this request on in large chunks, valid during the call.

Neither is there under TLS, under another server than uvicorn, or in an in-process test; bodies then go the usual way.
A thread is busy only while bytes flow: for a peer that is slow, the event loop waits.
"""

from __future__ import annotations

import asyncio
import os
import select
from collections.abc import Awaitable, Callable
from concurrent.futures import Executor
from typing import TYPE_CHECKING, Any, TypeVar

from starlette.requests import ClientDisconnect
from starlette.types import ASGIApp, Message, Receive, Scope, Send

if TYPE_CHECKING:
    from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol, RequestResponseCycle

SEND = "http.response.zerocopysend"
RECEIVE = "mlgate.request.body"
CHUNK = 1 << 20
PATIENCE = 10
"""Milliseconds that a thread waits for a peer before the event loop does."""
TURN = 64 * CHUNK
"""Bytes after which a thread asks whether it is still wanted."""
LEAST = 256 * 1024
"""Bytes still to come for which a body is worth the way around the parser."""

T = TypeVar("T")
ReadBody = Callable[[int, Callable[[bytes | memoryview], None]], Awaitable[None]]


class Shortcut:
    """Adds the extensions to what uvicorn hands in; its `threads` are those that move the bytes."""

    def __init__(self, app: ASGIApp, threads: Executor) -> None:
        self._app = app
        self._threads = threads

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        cycle = _plain_cycle(scope, send)
        if cycle is None:
            await self._app(scope, receive, send)
            return

        async def send_or_copy(message: Message) -> None:
            if message["type"] == SEND:
                await self._send_file(cycle, message)
                message = {"type": "http.response.body", "more_body": message.get("more_body", False)}
            await send(message)

        async def read_body(length: int, write: Callable[[bytes | memoryview], None]) -> None:
            await self._read_body(cycle, receive, length, write)

        scope["extensions"] = {**scope.get("extensions", {}), SEND: {}, RECEIVE: read_body}
        await self._app(scope, receive, send_or_copy)

    async def _send_file(self, cycle: RequestResponseCycle, message: Message) -> None:
        transport, offset, left = cycle.transport, message["offset"], message["count"]
        while transport.get_write_buffer_size() and not cycle.disconnected:
            await asyncio.sleep(0.001)  # the head of the answer, or the end of the one before it, is still on its way
        if cycle.disconnected:
            return
        with _Descriptor(transport) as descriptor:
            try:
                while left:
                    sent = await self._in_thread(_send_some, descriptor.number, message["file"], offset, left)
                    offset, left = offset + sent, left - sent
                    if left:
                        await descriptor.ready(writing=True)
            except OSError:  # the peer has gone, or the file was cut short: nothing more can be said on this connection
                cycle.disconnected = True
                transport.abort()
                return
        cycle.expected_content_length -= message["count"]

    async def _read_body(
        self, cycle: RequestResponseCycle, receive: Receive, length: int, write: Callable[[bytes | memoryview], None]
    ) -> None:
        """Hand on a body of known length. What `write` raises is raised once the whole body has come."""
        message = await receive()  # says "100 Continue" if it has to
        if message["type"] == "http.disconnect":
            raise ClientDisconnect
        first = message.get("body", b"")
        if length - len(first) - len(cycle.body) < LEAST:
            await self._in_thread(write, first)
            while message.get("more_body", False):
                message = await receive()
                if message["type"] == "http.disconnect":
                    raise ClientDisconnect
                await self._in_thread(write, message.get("body", b""))
            return
        cycle.flow.pause_reading()
        begin, cycle.body = first + bytes(cycle.body), bytearray()
        pump = _Pump(length, write)
        await self._in_thread(pump.take, begin)
        with _Descriptor(cycle.transport) as descriptor:
            try:
                while await self._in_thread(pump.run, descriptor.number):
                    await descriptor.ready(writing=False)
            except ConnectionError:
                cycle.disconnected = True
                cycle.transport.abort()
                raise ClientDisconnect from None
        # The parser has not seen the rest of the body and would wait for it: the next request gets a new one.
        protocol: HttpToolsProtocol = cycle.on_response.__self__  # type: ignore[attr-defined]
        if protocol.parser is not None:
            protocol.parser = type(protocol.parser)(protocol)
            protocol.on_message_complete()
        if pump.error is not None:
            raise pump.error

    async def _in_thread(self, work: Callable[..., T], *arguments: Any) -> T:
        return await in_thread(self._threads, work, *arguments)


async def in_thread(threads: Executor, work: Callable[..., T], *arguments: Any) -> T:
    """Run `work` in a thread. A caller that is cancelled waits for it: what it works on is closed next."""
    try:
        working = asyncio.get_running_loop().run_in_executor(threads, work, *arguments)
    except RuntimeError:  # the server ends and has no threads any more; what is left to do is to tidy up
        return work(*arguments)
    try:
        return await asyncio.shield(working)
    except asyncio.CancelledError:
        await asyncio.wait([working])
        raise


def _plain_cycle(scope: Scope, send: Send) -> RequestResponseCycle | None:
    """uvicorn's side of this request, on a connection whose bytes are those of HTTP."""
    if scope["type"] != "http" or scope.get("scheme") != "http" or scope["method"] not in ("GET", "PUT", "POST"):
        return None
    from uvicorn.protocols.http.httptools_impl import RequestResponseCycle

    cycle = getattr(send, "__self__", None)
    return cycle if isinstance(cycle, RequestResponseCycle) else None


class _Descriptor:
    """The connection's descriptor under a number of our own, which the event loop lets us wait for."""

    def __init__(self, transport: asyncio.Transport) -> None:
        self.number = os.dup(transport.get_extra_info("socket").fileno())

    def __enter__(self) -> _Descriptor:
        return self

    def __exit__(self, *_exc: object) -> None:
        os.close(self.number)

    async def ready(self, *, writing: bool) -> None:
        loop = asyncio.get_running_loop()
        future = loop.create_future()
        add, remove = (loop.add_writer, loop.remove_writer) if writing else (loop.add_reader, loop.remove_reader)

        def wake() -> None:
            if not future.done():
                future.set_result(None)

        add(self.number, wake)
        try:
            await future
        finally:
            remove(self.number)


def _wait(descriptor: int, event: int) -> bool:
    poll = select.poll()
    poll.register(descriptor, event)
    return bool(poll.poll(PATIENCE))


def _send_some(descriptor: int, file: int, offset: int, left: int) -> int:
    """Send until all is sent, the turn is over or the peer is slow; how many bytes went."""
    begin, left = offset, min(left, TURN)
    while left:
        try:
            sent = os.sendfile(descriptor, file, offset, min(left, 8 * CHUNK))
        except BlockingIOError:
            if not _wait(descriptor, select.POLLOUT):
                break
            continue
        if not sent:
            raise OSError("the file is shorter than it was")
        offset, left = offset + sent, left - sent
    return offset - begin


class _Pump:
    """Moves what is left of a body to `write`; once that has failed, to nowhere, so that the peer hears of it."""

    def __init__(self, length: int, write: Callable[[bytes | memoryview], None]) -> None:
        self._left = length
        self._write = write
        self.error: Exception | None = None

    def take(self, chunk: bytes | memoryview) -> None:
        self._left -= len(chunk)
        if self.error is None:
            try:
                self._write(chunk)
            except Exception as error:
                self.error = error

    def run(self, descriptor: int) -> bool:
        """Read until the body is whole (False), or the turn is over or the peer is slow (True)."""
        least = max(0, self._left - TURN)
        buffer = memoryview(bytearray(min(self._left, CHUNK)))
        while self._left > least:
            try:
                count = os.readv(descriptor, [buffer[: self._left]])
            except BlockingIOError:
                if not _wait(descriptor, select.POLLIN):
                    return True
                continue
            if not count:
                raise ConnectionResetError("the connection ended before the body")
            self.take(buffer[:count])
        return self._left > 0


__all__ = ["LEAST", "RECEIVE", "SEND", "ReadBody", "Shortcut", "in_thread"]
