"""The server of one step: it costs nothing until somebody comes, and goes when the step does."""

from __future__ import annotations

import http.client
import json
import subprocess
import sys
import threading
import time
import urllib.error
import urllib.request

import pytest

from mlgate_tracking.entities import Fence, RunStatus, Tag
from mlgate_tracking.server.embedded import EmbeddedServer
from mlgate_tracking.server.settings import ServerSettings
from mlgate_tracking.store.sql import SqlStore


@pytest.fixture
def embedded(tmp_path):
    uri = f"sqlite:///{tmp_path / 'mlgate.db'}"
    settings = ServerSettings(artifacts_destination=str(tmp_path / "artifacts"))
    with SqlStore(uri) as store, EmbeddedServer(lambda: SqlStore(uri), settings) as server:
        server.store = store
        yield server


def call(server, path, token=None, **fields):
    request = urllib.request.Request(
        server.uri + path,
        data=json.dumps(fields).encode() if fields else None,
        headers={"Content-Type": "application/json", **({"Authorization": f"Bearer {token}"} if token else {})},
    )
    with urllib.request.urlopen(request, timeout=20) as answer:
        return json.loads(answer.read())


def open_step(server) -> tuple[str, str]:
    opened = server.store.open_step_run("key", experiment_id="0")
    run_id = opened.run.info.run_id
    return run_id, server.mint_token(Fence(run_id, opened.attempt))


def test_a_step_logs_through_it_with_its_token(embedded):
    run_id, token = open_step(embedded)
    call(embedded, "/api/2.0/mlflow/runs/set-tag", token, run_id=run_id, key="k", value="v")
    assert Tag("k", "v") in embedded.store.get_run(run_id).data.tags


def test_nobody_comes_in_without_a_token(embedded):
    with pytest.raises(urllib.error.HTTPError) as refused:
        call(embedded, "/api/2.0/mlflow/experiments/get?experiment_id=0")
    assert refused.value.code == 401
    refused.value.close()


def test_nothing_is_imported_or_opened_before_the_first_connection():
    code = """
import sys
from mlgate_tracking.server.embedded import EmbeddedServer
from mlgate_tracking.server.settings import ServerSettings
def never():
    raise AssertionError("the store was opened")
with EmbeddedServer(never, ServerSettings()) as server:
    assert server.uri.startswith("http://127.0.0.1:")
    assert not server.started
print(sorted({"starlette", "uvicorn", "sqlalchemy", "asyncio", "msgspec"} & set(sys.modules)))
"""
    outcome = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=30, check=True)
    assert outcome.stdout.strip() == "[]"


def test_connections_are_accepted_as_soon_as_the_uri_is_known(embedded):
    connection = http.client.HTTPConnection("127.0.0.1", embedded.port, timeout=20)
    connection.request("GET", "/health")
    assert connection.getresponse().read() == b"OK"
    connection.close()


def test_leaving_lets_requests_in_flight_finish(tmp_path, monkeypatch):
    uri = f"sqlite:///{tmp_path / 'mlgate.db'}"
    begun = threading.Event()
    get_run = SqlStore.get_run

    def slow(self, run_id):
        begun.set()
        time.sleep(0.3)
        return get_run(self, run_id)

    monkeypatch.setattr(SqlStore, "get_run", slow)
    answers = []
    with SqlStore(uri) as store:
        run_id = store.open_step_run("key", experiment_id="0").run.info.run_id
        with EmbeddedServer(lambda: SqlStore(uri), ServerSettings(artifacts_destination=str(tmp_path))) as server:
            token = server.mint_token(Fence(run_id, 1))
            path = f"/api/2.0/mlflow/runs/get?run_id={run_id}"
            asking = threading.Thread(target=lambda: answers.append(call(server, path, token)))
            asking.start()
            assert begun.wait(20)
        asking.join(20)
    assert answers[0]["run"]["info"]["status"] == RunStatus.RUNNING


def test_an_idle_connection_does_not_hold_the_end_up(embedded):
    connection = http.client.HTTPConnection("127.0.0.1", embedded.port, timeout=20)
    connection.request("GET", "/health")
    connection.getresponse().read()
    before = time.monotonic()
    embedded.close()
    assert time.monotonic() - before < 4
    connection.close()


def test_closing_twice_is_fine(embedded):
    embedded.close()
    embedded.close()


def test_what_goes_wrong_while_opening_the_store_is_kept(tmp_path, monkeypatch):
    monkeypatch.setattr(threading, "excepthook", lambda _args: None)

    def broken():
        raise OSError("no such disk")

    with EmbeddedServer(broken, ServerSettings(artifacts_destination=str(tmp_path))) as server:
        connection = http.client.HTTPConnection("127.0.0.1", server.port, timeout=20)
        connection.connect()
        server._thread.join(20)
        connection.close()
        assert isinstance(server.failure, OSError)


def test_answers_are_not_held_back_by_nagle(embedded):
    """A listener that does not name its protocol leaves Nagle's algorithm on: 40 ms more for every answer."""
    import socket

    assert embedded._socket.proto == socket.IPPROTO_TCP
