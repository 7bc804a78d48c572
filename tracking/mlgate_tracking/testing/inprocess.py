"""An ASGI application as a client's `send`: requests go straight into the app, without a socket.

The app runs on an event loop of its own in a thread, so that streamed uploads and downloads really overlap with the
caller, as they do over HTTP.
"""

from __future__ import annotations

import asyncio
import contextlib
import queue
import threading
from collections.abc import Awaitable, Callable, Iterator, MutableMapping
from typing import Any, Self
from urllib.parse import unquote, urlencode

from mlgate_tracking.errors import ServerUnreachable
from mlgate_tracking.transport import Request, Response

Message = MutableMapping[str, Any]
App = Callable[
    [Message, Callable[[], Awaitable[Message]], Callable[[Message], Awaitable[None]]],
    Awaitable[None],
]

_WAIT = 60.0
"""Seconds after which an app that does not answer fails the test."""


class AsgiSend:
    """Asks an app. A context manager: entering starts the app (its lifespan), leaving stops it."""

    def __init__(self, app: App, *, client: tuple[str, int] = ("127.0.0.1", 50000)) -> None:
        self._app = app
        self._client = client
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, name="in-process app", daemon=True)
        self._to_app: asyncio.Queue[Message] = asyncio.Queue()
        self._from_app: queue.SimpleQueue[Message] = queue.SimpleQueue()

    def __enter__(self) -> Self:
        self._thread.start()
        self._lifespan = asyncio.run_coroutine_threadsafe(self._live(), self._loop)
        self._tell("lifespan.startup")
        return self

    def __exit__(self, *_exc: object) -> None:
        self._tell("lifespan.shutdown")
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join(_WAIT)
        self._loop.close()

    def _tell(self, event: str) -> None:
        if self._lifespan.done():  # an app without a lifespan ends its task at once
            return
        self._loop.call_soon_threadsafe(self._to_app.put_nowait, {"type": event})
        answer = self._from_app.get(timeout=_WAIT)
        if answer["type"] == f"{event}.failed":
            raise RuntimeError(f"the app failed at {event}: {answer.get('message')}")

    async def _live(self) -> None:
        async def send(message: Message) -> None:
            self._from_app.put(message)

        with contextlib.suppress(Exception):  # an app that knows no lifespan may say so by raising
            await self._app({"type": "lifespan", "asgi": {"version": "3.0"}}, self._to_app.get, send)
        self._from_app.put({"type": "lifespan.over"})

    def __call__(self, request: Request) -> Response:
        answers: queue.Queue[Message] = queue.Queue(maxsize=4)
        chunks: asyncio.Queue[Message] = asyncio.Queue()
        gone = threading.Event()
        task = asyncio.run_coroutine_threadsafe(self._answer(request, chunks, answers, gone), self._loop)

        def hang_up() -> None:
            gone.set()
            self._put(chunks, {"type": "http.disconnect"})
            while not task.done():
                with contextlib.suppress(queue.Empty):
                    answers.get(timeout=0.02)

        try:
            for chunk in (request.body,) if isinstance(request.body, bytes) else request.body or ():
                self._put(chunks, {"type": "http.request", "body": chunk, "more_body": True})
            self._put(chunks, {"type": "http.request", "body": b"", "more_body": False})
            start = self._next(answers)
        except BaseException:
            hang_up()
            raise
        headers = {name.decode("latin-1").lower(): value.decode("latin-1") for name, value in start["headers"]}
        response = Response(
            int(start["status"]), headers, self._body(answers), lambda whole: None if whole else hang_up()
        )
        if not request.stream or response.status >= 300:
            response.read()
        return response

    async def _answer(
        self,
        request: Request,
        chunks: asyncio.Queue[Message],
        answers: queue.Queue[Message],
        gone: threading.Event,
    ) -> None:
        async def send(message: Message) -> None:
            while not gone.is_set():
                try:
                    answers.put_nowait(message)
                    return
                except queue.Full:  # the reader is slow: hold the app up, as a socket would
                    await asyncio.sleep(0.001)

        headers = {"host": "127.0.0.1", **{name.lower(): value for name, value in request.headers.items()}}
        if request.body is not None and not isinstance(request.body, bytes):
            headers.setdefault("transfer-encoding", "chunked")
        else:
            headers["content-length"] = str(len(request.body or b""))
        scope: Message = {
            "type": "http",
            "asgi": {"version": "3.0", "spec_version": "2.3"},
            "http_version": "1.1",
            "method": request.method,
            "scheme": "http",
            "path": unquote(request.path),
            "raw_path": request.path.encode(),
            "query_string": urlencode(request.query).encode(),
            "root_path": "",
            "headers": [(name.encode("latin-1"), value.encode("latin-1")) for name, value in headers.items()],
            "client": self._client,
            "server": ("127.0.0.1", 80),
        }
        try:
            await self._app(scope, chunks.get, send)
        except BaseException as error:
            await send({"type": "failed", "error": error})
        else:
            await send({"type": "over"})

    def _put(self, chunks: asyncio.Queue[Message], message: Message) -> None:
        self._loop.call_soon_threadsafe(chunks.put_nowait, message)

    def _next(self, answers: queue.Queue[Message]) -> Message:
        message = answers.get(timeout=_WAIT)
        if message["type"] == "failed":
            raise message["error"]
        if message["type"] == "over":
            raise ServerUnreachable("the in-process app ended without an answer", maybe_done=True)
        return message

    def _body(self, answers: queue.Queue[Message]) -> Iterator[bytes]:
        more = True
        while more:
            message = self._next(answers)
            if message["type"] != "http.response.body":
                continue
            if message.get("body"):
                yield message["body"]
            more = message.get("more_body", False)


__all__ = ["App", "AsgiSend"]
