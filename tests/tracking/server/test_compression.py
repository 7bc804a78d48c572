"""What goes out packed with `--gzip`, over real connections: long text does, and nothing else."""

from __future__ import annotations

import gzip
import http.client
import json
import os
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest

from mlgate_tracking.server import shortcut
from mlgate_tracking.server.compression import LEAST, _accepts_gzip
from mlgate_tracking.server.embedded import EmbeddedServer
from mlgate_tracking.server.settings import ServerSettings
from mlgate_tracking.store.sql import SqlStore

TEXT = "".join(f"{number},{number * number}\n" for number in range(300_000)).encode()
DENSE = os.urandom(3_000_001)


class Downloads:
    """Files of one server, asked for as a client does that takes gzip."""

    def __init__(self, port: int, folder: Path) -> None:
        self._port = port
        self._folder = folder

    def get(self, path: str, **headers: str) -> tuple[int, http.client.HTTPMessage, bytes]:
        with closing(http.client.HTTPConnection("127.0.0.1", self._port, timeout=30)) as connection:
            given = {"Accept-Encoding": "gzip, deflate", "Authorization": "Bearer secret", **headers}
            connection.request("GET", path, headers=given)
            answer = connection.getresponse()
            return answer.status, answer.headers, answer.read()

    def file(self, name: str, content: bytes, **headers: str) -> tuple[int, http.client.HTTPMessage, bytes]:
        self._folder.mkdir(exist_ok=True)
        (self._folder / name).write_bytes(content)
        return self.get(f"/api/2.0/mlflow-artifacts/artifacts/{name}", **headers)


@pytest.fixture
def downloads(tmp_path: Path) -> Iterator[Downloads]:
    folder = tmp_path / "artifacts"
    settings = ServerSettings(artifacts_destination=str(folder), access_token="secret", gzip=True)
    with EmbeddedServer(lambda: SqlStore(f"sqlite:///{tmp_path / 'store.db'}"), settings) as server:
        yield Downloads(server.port, folder)


@pytest.fixture
def by_the_kernel(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """How many bytes each turn of `sendfile` was to send."""
    turns: list[int] = []
    send = shortcut._send_some
    monkeypatch.setattr(shortcut, "_send_some", lambda *given: turns.append(given[-1]) or send(*given))
    return turns


@pytest.mark.parametrize(
    "name", ["a.csv", "a.txt", "a.json", "a.jsonl", "a.yaml", "a.yml", "a.svg", "a.html", "a.js", "a.md", "a.log"]
)
def test_long_text_is_packed(downloads, name):
    status, headers, body = downloads.file(name, TEXT)
    assert (status, headers["Content-Encoding"], headers["Vary"]) == (200, "gzip", "Accept-Encoding")
    assert len(body) < len(TEXT) / 2
    assert gzip.decompress(body) == TEXT


@pytest.mark.parametrize("name", ["model.pkl", "model.skops", "image.png", "archive.zip", "table.csv.gz", "MLmodel"])
def test_what_is_no_text_goes_out_as_it_is_and_by_the_kernel(downloads, by_the_kernel, name):
    status, headers, body = downloads.file(name, DENSE)
    assert (status, headers["Content-Encoding"], headers["Content-Length"]) == (200, None, str(len(DENSE)))
    assert body == DENSE
    assert by_the_kernel[0] == len(DENSE)


def test_a_part_of_a_text_is_the_bytes_that_were_asked_for(downloads, by_the_kernel):
    status, headers, body = downloads.file("a.csv", TEXT, Range="bytes=1000-1999999")
    assert (status, headers["Content-Encoding"], body) == (206, None, TEXT[1000:2_000_000])
    assert by_the_kernel[0] == len(body)


def test_a_short_text_is_not_worth_it(downloads):
    assert downloads.file("a.csv", TEXT[: LEAST - 1])[1]["Content-Encoding"] is None
    assert downloads.file("a.csv", TEXT[:LEAST])[1]["Content-Encoding"] == "gzip"


def test_who_does_not_take_gzip_gets_the_text_by_the_kernel(downloads, by_the_kernel):
    _, headers, body = downloads.file("a.csv", TEXT, **{"Accept-Encoding": "identity"})
    assert (headers["Content-Encoding"], headers["Content-Length"], body) == (None, str(len(TEXT)), TEXT)
    assert by_the_kernel[0] == len(TEXT)


def test_the_api_document_is_packed_too(downloads):
    _, headers, body = downloads.get("/openapi.json")
    assert headers["Content-Encoding"] == "gzip"
    assert json.loads(gzip.decompress(body))["openapi"].startswith("3.1")


@pytest.mark.parametrize(
    ("header", "accepted"),
    [("", False), ("identity", False), ("gzip", True), ("br, GZIP;q=0.5", True), ("gzip;q=0", False),
     ("gzip; q=0.0, br", False), ("gzip;q=1.0", True), ("x-gzip", False)],
)  # fmt: skip
def test_clients_say_whether_they_take_gzip(header, accepted):
    assert _accepts_gzip(header) is accepted
