"""Files between socket and disk past the HTTP server, over real connections."""

from __future__ import annotations

import json
import os
import socket
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from mlgate_tracking.artifacts.local import LocalWriter
from mlgate_tracking.errors import TemporarilyUnavailable
from mlgate_tracking.server import shortcut
from mlgate_tracking.server.embedded import EmbeddedServer
from mlgate_tracking.server.settings import ServerSettings
from mlgate_tracking.store.sql import SqlStore

PATH = "/api/2.0/mlflow-artifacts/artifacts/a/big.bin"
CONTENT = os.urandom(3_000_001)


class Connection:
    """HTTP by hand, so that a test decides what is sent when."""

    def __init__(self, port: int) -> None:
        self.socket = socket.create_connection(("127.0.0.1", port), timeout=20)
        self.file = self.socket.makefile("rb")

    def close(self) -> None:
        self.file.close()
        self.socket.close()

    def head(self, method: str, length: int = 0, **headers: str) -> bytes:
        lines = [f"{method} {PATH} HTTP/1.1", "Host: localhost", "Authorization: Bearer secret"]
        lines += [f"{name.replace('_', '-')}: {value}" for name, value in headers.items()]
        return "\r\n".join([*lines, f"Content-Length: {length}", "", ""]).encode()

    def answer(self) -> tuple[int, bytes]:
        status = int(self.file.readline().split()[1])
        length = 0
        while (line := self.file.readline().strip()) != b"":
            name, _, value = line.partition(b":")
            length = int(value) if name.lower() == b"content-length" else length
        return status, self.file.read(length)

    def put(self, content: bytes = CONTENT) -> tuple[int, bytes]:
        self.socket.sendall(self.head("PUT", len(content)) + content)
        return self.answer()

    def get(self, **headers: str) -> tuple[int, bytes]:
        self.socket.sendall(self.head("GET", **headers))
        return self.answer()


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return tmp_path / "artifacts"


@pytest.fixture
def connection(tmp_path: Path, folder: Path) -> Iterator[Connection]:
    settings = ServerSettings(artifacts_destination=str(folder), access_token="secret", access_log=True)
    with EmbeddedServer(lambda: SqlStore(f"sqlite:///{tmp_path / 'store.db'}"), settings) as server:
        connection = Connection(server.port)
        yield connection
        connection.close()


@pytest.fixture
def ways(monkeypatch: pytest.MonkeyPatch) -> set[str]:
    """Which of the two ways around the HTTP server were gone."""
    gone: set[str] = set()
    send, run = shortcut._send_some, shortcut._Pump.run
    monkeypatch.setattr(shortcut, "_send_some", lambda *given: gone.add("out") or send(*given))
    monkeypatch.setattr(shortcut._Pump, "run", lambda *given: gone.add("in") or run(*given))
    return gone


def files(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.rglob("*") if path.is_file())


def test_a_file_goes_in_and_out_and_the_connection_goes_on(connection, ways):
    for content in (CONTENT, b"small", CONTENT[:300_000], b""):
        assert connection.put(content) == (200, b"{}")
        assert connection.get() == (200, content)
    assert ways == {"in", "out"}


def test_a_part_of_a_file_is_sent(connection):
    connection.put()
    assert connection.get(Range="bytes=1000000-3000000") == (206, CONTENT[1_000_000:])


def test_the_access_log_counts_what_went_past(connection, caplog):
    caplog.set_level("INFO", "mlgate_tracking.access")
    connection.put()
    connection.get()
    connection.put(b"")  # once this is answered, the line of the download is written
    assert [json.loads(line)["bytes"] for line in caplog.messages][:2] == [len(b"{}"), len(CONTENT)]


def test_a_request_that_follows_in_the_same_breath_is_answered(connection, ways):
    connection.socket.sendall(connection.head("PUT", len(CONTENT)) + CONTENT + connection.head("GET"))
    assert connection.answer() == (200, b"{}")
    assert connection.answer() == (200, CONTENT)
    assert "in" in ways


def test_a_peer_may_be_slow(connection, folder, ways):
    connection.socket.sendall(connection.head("PUT", len(CONTENT)))
    for start in range(0, len(CONTENT), 700_000):
        connection.socket.sendall(CONTENT[start : start + 700_000])
        time.sleep(3 * shortcut.PATIENCE / 1000)
    assert connection.answer() == (200, b"{}")
    folder.joinpath("a/big.bin").write_bytes(CONTENT * 5)  # more than the buffers between us hold
    connection.socket.sendall(connection.head("GET"))
    time.sleep(20 * shortcut.PATIENCE / 1000)
    assert connection.answer() == (200, CONTENT * 5)
    assert ways == {"in", "out"}


def test_a_client_that_waits_for_leave_gets_it(connection):
    connection.socket.sendall(connection.head("PUT", len(CONTENT), Expect="100-continue"))
    assert connection.answer() == (100, b"")
    connection.socket.sendall(CONTENT)
    assert connection.answer() == (200, b"{}")


def test_an_upload_that_breaks_off_leaves_nothing(connection, folder, ways):
    connection.socket.sendall(connection.head("PUT", len(CONTENT)) + CONTENT[:2_000_000])
    deadline = time.monotonic() + 10
    while "in" not in ways and time.monotonic() < deadline:
        time.sleep(0.01)
    connection.close()
    while files(folder) and time.monotonic() < deadline:
        time.sleep(0.01)
    assert (files(folder), ways) == ([], {"in"})


def test_a_download_that_breaks_off_frees_the_server(connection, folder):
    folder.joinpath("a").mkdir(parents=True)
    folder.joinpath("a/big.bin").write_bytes(CONTENT * 5)
    port = connection.socket.getpeername()[1]
    other = Connection(port)
    other.socket.sendall(other.head("GET"))
    other.socket.recv(1000)
    other.close()
    assert connection.get() == (200, CONTENT * 5)


def test_a_full_disk_is_said_once_the_body_has_come_and_the_connection_goes_on(connection, folder, monkeypatch):
    write = LocalWriter.write

    def full(self: LocalWriter, chunk: bytes | memoryview) -> None:
        if self._size > 1_000_000:
            raise TemporarilyUnavailable("No space left on device; nothing was written")
        write(self, chunk)

    with monkeypatch.context() as patched:
        patched.setattr(LocalWriter, "write", full)
        status, said = connection.put()
    assert (status, files(folder)) == (503, [])
    assert b"No space left" in said
    assert connection.put() == (200, b"{}")


def test_the_end_of_the_server_does_not_wait_for_a_stalled_upload(tmp_path, folder, monkeypatch):
    monkeypatch.setattr("mlgate_tracking.server.embedded.DRAIN_SECONDS", 0.3)
    settings = ServerSettings(artifacts_destination=str(folder), access_token="secret")
    with EmbeddedServer(lambda: SqlStore(f"sqlite:///{tmp_path / 'store.db'}"), settings) as server:
        connection = Connection(server.port)
        connection.socket.sendall(connection.head("PUT", len(CONTENT)) + CONTENT[:2_000_000])
        time.sleep(0.5)
        begin = time.monotonic()
    assert time.monotonic() - begin < 5
    assert files(folder) == []
    connection.close()
