"""An HTTP server on a loopback port that answers by a script, to show what a client does when things go wrong."""

from __future__ import annotations

import contextlib
import json
import socket
import ssl
import threading
import time
from collections import deque
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import BinaryIO, Self


@dataclass(frozen=True)
class Seen:
    """A request as it arrived."""

    method: str
    target: str
    headers: Mapping[str, str]
    body: bytes = b""
    connection: int = 0

    @property
    def path(self) -> str:
        return self.target.partition("?")[0]

    def json(self) -> object:
        return json.loads(self.body)


Script = Callable[[socket.socket, Seen], bool]
"""Does something on the connection; tells whether to keep it open."""


def answer(status: int = 200, body: bytes | dict[str, object] = b"{}", **headers: str) -> Script:
    def script(connection: socket.socket, _seen: Seen) -> bool:
        raw = json.dumps(body).encode() if isinstance(body, dict) else body
        lines = [f"HTTP/1.1 {status} Scripted", f"Content-Length: {len(raw)}"]
        lines += [f"{name.replace('_', '-')}: {value}" for name, value in headers.items()]
        connection.sendall("\r\n".join([*lines, "", ""]).encode() + raw)
        return headers.get("Connection") != "close"

    return script


def error(status: int, code: str, message: str = "scripted", **details: object) -> Script:
    body: dict[str, object] = {"error_code": code, "message": message}
    return answer(status, {**body, "details": details} if details else body)


def raw(text: bytes, *, keep: bool = False) -> Script:
    def script(connection: socket.socket, _seen: Seen) -> bool:
        connection.sendall(text)
        return keep

    return script


def hang_up(_connection: socket.socket, _seen: Seen) -> bool:
    return False


def after(seconds: float, then: Script) -> Script:
    def script(connection: socket.socket, seen: Seen) -> bool:
        time.sleep(seconds)
        return then(connection, seen)

    return script


@dataclass
class ScriptedServer:
    """Plays `scripts` one by one, then `otherwise`; `seen` holds what was asked."""

    scripts: deque[Script] = field(default_factory=deque)
    otherwise: Script = field(default_factory=answer)
    seen: list[Seen] = field(default_factory=list)
    connections: int = 0
    close_idle: bool = False
    """Close each connection right after its answer, without saying so."""
    answer_early: bool = False
    """Answer before the body has been read."""
    tls: ssl.SSLContext | None = None

    def __enter__(self) -> Self:
        self._listener = socket.create_server(("127.0.0.1", 0))
        self._open: list[socket.socket] = []
        self._threads = [threading.Thread(target=self._accept, daemon=True)]
        self._threads[0].start()
        return self

    def __exit__(self, *_exc: object) -> None:
        self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()
        for connection in self._open:
            with contextlib.suppress(OSError):
                connection.shutdown(socket.SHUT_RDWR)
        for thread in self._threads:
            thread.join(5)

    @property
    def port(self) -> int:
        return int(self._listener.getsockname()[1])

    @property
    def uri(self) -> str:
        return f"{'https' if self.tls else 'http'}://127.0.0.1:{self.port}"

    def play(self, *scripts: Script) -> None:
        self.scripts.extend(scripts)

    def _accept(self) -> None:
        while True:
            try:
                connection, _ = self._listener.accept()
            except OSError:
                return
            self.connections += 1
            self._open.append(connection)
            thread = threading.Thread(target=self._serve, args=(connection, self.connections), daemon=True)
            self._threads.append(thread)
            thread.start()

    def _serve(self, connection: socket.socket, number: int) -> None:
        try:
            with self.tls.wrap_socket(connection, server_side=True) if self.tls else connection as wire:
                stream = wire.makefile("rb")
                with stream:
                    keep = True
                    while keep:
                        seen = self._read(stream, number)
                        if seen is None:
                            return
                        self.seen.append(seen)
                        script = self.scripts.popleft() if self.scripts else self.otherwise
                        keep = script(wire, seen) and not self.close_idle and not self.answer_early
                        if self.answer_early:
                            wire.shutdown(socket.SHUT_WR)
                            time.sleep(0.2)
        except (OSError, UnicodeDecodeError):  # gone, or not speaking HTTP
            pass
        finally:
            connection.close()

    def _read(self, stream: BinaryIO, number: int) -> Seen | None:
        first = stream.readline().decode().split()
        if len(first) < 2:
            return None
        headers: dict[str, str] = {}
        while line := stream.readline().strip().decode():
            name, _, value = line.partition(":")
            headers[name.lower()] = value.strip()
        if self.answer_early:
            body = b""
        elif headers.get("transfer-encoding") == "chunked":
            body = b""
            while size := int(stream.readline(), 16):
                body += stream.read(size)
                stream.readline()
            stream.readline()
        else:
            body = stream.read(int(headers.get("content-length") or 0))
        return Seen(first[0], first[1], headers, body, number)
