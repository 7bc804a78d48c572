"""A webhook receiver on loopback: answers as it is told and keeps what it was sent."""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any


@dataclass
class Received:
    path: str
    headers: dict[str, str]
    body: bytes

    @property
    def data(self) -> dict[str, Any]:
        found: dict[str, Any] = json.loads(self.body)
        return found

    @property
    def delivery_id(self) -> str:
        return self.headers["X-MLflow-Delivery-Id"]


@dataclass
class Receiver:
    """`answers` are used up one by one, then everything gets 200; an answer is a status, or (status, location)."""

    url: str = ""
    answers: list[Any] = field(default_factory=list)
    delay: float = 0.0
    received: list[Received] = field(default_factory=list)

    def wait_for(self, count: int, seconds: float = 10.0) -> list[Received]:
        """The first `count` requests, once they are there."""
        wait_until(lambda: len(self.received) >= count, seconds)
        return self.received[:count]


def wait_until(condition: Callable[[], bool], seconds: float = 10.0) -> None:
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, "it did not happen in time"
        time.sleep(0.01)


@contextmanager
def receiving(receiver: Receiver, *, host: str = "127.0.0.1", port: int = 0) -> Iterator[Receiver]:
    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers["Content-Length"]))
            time.sleep(receiver.delay)
            answer = receiver.answers.pop(0) if receiver.answers else 200
            status, location = answer if isinstance(answer, tuple) else (answer, None)
            receiver.received.append(Received(self.path, dict(self.headers), body))
            self.send_response(status)
            if location:
                self.send_header("Location", location)
            self.send_header("Content-Length", "0")
            self.end_headers()

        def log_message(self, *_args: Any) -> None:
            pass

    server = ThreadingHTTPServer((host, port), Handler)
    receiver.url = f"http://{host}:{server.server_port}/hook"
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True)
    thread.start()
    try:
        yield receiver
    finally:
        server.shutdown()
        server.server_close()
        thread.join(5)


__all__ = ["Received", "Receiver", "receiving", "wait_until"]
