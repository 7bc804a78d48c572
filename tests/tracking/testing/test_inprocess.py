from __future__ import annotations

import asyncio
from collections.abc import Iterator
from typing import Any

import pytest

from mlgate_tracking.errors import ServerUnreachable
from mlgate_tracking.testing.inprocess import AsgiSend
from mlgate_tracking.transport import Request

happened: list[str] = []


async def app(scope: Any, receive: Any, send: Any) -> None:
    """`/echo` answers with the body, `/parts` streams, `/wait` waits for the caller to go, others misbehave."""
    if scope["type"] == "lifespan":
        for event in ("startup", "shutdown"):
            assert (await receive())["type"] == f"lifespan.{event}"
            happened.append(event)
            await send({"type": f"lifespan.{event}.complete"})
        return
    if scope["path"] == "/raise":
        raise ValueError("scripted")
    if scope["path"] == "/nothing":
        return
    body = b""
    more = True
    while more:
        message = await receive()
        if message["type"] == "http.disconnect":
            happened.append("caller went")
            return
        body += message.get("body", b"")
        more = message.get("more_body", False)
    await send({"type": "http.response.start", "status": 200, "headers": [(b"x-query", scope["query_string"])]})
    if scope["path"] == "/parts":
        for number in range(100):
            await send({"type": "http.response.body", "body": b"%02d" % number, "more_body": True})
        await send({"type": "http.response.body"})
    elif scope["path"] == "/wait":
        await send({"type": "http.response.body", "body": b"first", "more_body": True})
        assert (await receive())["type"] == "http.disconnect"
        happened.append("caller went")
    else:
        await send({"type": "http.response.body", "body": body})


@pytest.fixture
def send() -> Iterator[AsgiSend]:
    happened.clear()
    with AsgiSend(app) as opened:
        yield opened


def test_the_app_lives_as_long_as_the_block() -> None:
    happened.clear()
    with AsgiSend(app):
        assert happened == ["startup"]
    assert happened == ["startup", "shutdown"]


def test_bodies_and_queries_arrive(send: AsgiSend) -> None:
    whole = send(Request("POST", "/echo", query=(("a", "b c"),), body=b"body"))
    assert (whole.status, whole.read(), whole.headers["x-query"]) == (200, b"body", "a=b+c")
    assert send(Request("PUT", "/echo", body=iter([b"in ", b"pieces"]))).read() == b"in pieces"


def test_a_streamed_answer_comes_in_pieces(send: AsgiSend) -> None:
    pieces = list(send(Request("GET", "/parts", stream=True)))
    assert len(pieces) == 100
    assert b"".join(pieces) == b"".join(b"%02d" % number for number in range(100))


def test_an_answer_that_nobody_reads_hangs_up(send: AsgiSend) -> None:
    response = send(Request("GET", "/wait", stream=True))
    assert next(response) == b"first"
    response.close()
    assert happened == ["startup", "caller went"]


def test_a_body_that_breaks_off_hangs_up(send: AsgiSend) -> None:
    def broken() -> Iterator[bytes]:
        yield b"half"
        raise ConnectionError("the sender went away")

    with pytest.raises(ConnectionError, match="went away"):
        send(Request("PUT", "/echo", body=broken()))
    assert happened == ["startup", "caller went"]


def test_an_app_that_raises_or_says_nothing_fails_the_test(send: AsgiSend) -> None:
    with pytest.raises(ValueError, match="scripted"):
        send(Request("GET", "/raise"))
    with pytest.raises(ServerUnreachable, match="without an answer"):
        send(Request("GET", "/nothing"))


def test_an_app_without_a_lifespan_is_fine() -> None:
    async def plain(scope: Any, _receive: Any, send: Any) -> None:
        assert scope["type"] == "http"
        await asyncio.sleep(0)
        await send({"type": "http.response.start", "status": 204, "headers": []})
        await send({"type": "http.response.body"})

    with AsgiSend(plain) as send:
        assert send(Request("GET", "/")).status == 204
