"""What the REST client makes of servers that lose answers, are overloaded, break off, or are restarted."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from mlgate_tracking.client import RestStore
from mlgate_tracking.entities import Metric, Param, Run, Tag
from mlgate_tracking.errors import (
    BadRequest,
    InvalidParameterValue,
    ResourceAlreadyExists,
    ResourceDoesNotExist,
    ServerUnreachable,
    TemporarilyUnavailable,
)
from mlgate_tracking.server.app import create_app
from mlgate_tracking.server.settings import ServerSettings
from mlgate_tracking.store.sql import SqlStore
from mlgate_tracking.testing.inprocess import AsgiSend
from mlgate_tracking.testing.stores import fresh
from mlgate_tracking.transport import Credentials, Request, Response, RetryPolicy, Send
from tests.tracking.scripted_server import ScriptedServer, after, answer, error, hang_up, raw

AT_ONCE = RetryPolicy(retries=3, backoff=0.0)


class Faulty:
    """Asks the app, but treats the first `times` writes as `fault` says."""

    def __init__(self, send: Send) -> None:
        self._send = send
        self.fault: Callable[[Send, Request], Response] | None = None
        self.left = 0
        self.seen: list[Request] = []

    def fail(self, fault: Callable[[Send, Request], Response], times: int = 1) -> None:
        self.fault, self.left, self.seen = fault, times, []

    def __call__(self, request: Request) -> Response:
        self.seen.append(request)
        if self.fault is not None and self.left and request.method != "GET":
            self.left -= 1
            return self.fault(self._send, request)
        return self._send(request)


def answer_lost(send: Send, request: Request) -> Response:
    """The server did it, and nobody heard."""
    send(request).read()
    raise ServerUnreachable("scripted: the answer was lost", maybe_done=True)


def done_but_500(send: Send, request: Request) -> Response:
    send(request).read()
    return Response(500, {}, b'{"error_code": "INTERNAL_ERROR", "message": "scripted"}')


def not_even_sent(_send: Send, _request: Request) -> Response:
    raise ServerUnreachable("scripted: refused", maybe_done=False)


def overloaded(_send: Send, _request: Request) -> Response:
    return Response(429, {"retry-after": "0"}, b"")


FAULTS = [answer_lost, done_but_500, not_even_sent, overloaded]


@pytest.fixture(scope="module")
def app(tmp_path_factory: pytest.TempPathFactory) -> Iterator[AsgiSend]:
    folder = tmp_path_factory.mktemp("server")
    settings = ServerSettings(artifacts_destination=str(folder / "artifacts"))
    with SqlStore(f"sqlite:///{folder}/store.db") as database, AsgiSend(create_app(database, settings)) as send:
        yield send


@pytest.fixture
def faulty(app: AsgiSend) -> Faulty:
    return Faulty(app)


@pytest.fixture
def store(faulty: Faulty) -> RestStore:
    return RestStore("http://in-process", send=faulty, retry=AT_ONCE)


@pytest.fixture
def run(store: RestStore) -> Run:
    return store.create_run(store.create_experiment(fresh("experiment")))


# --- nothing happens twice -------------------------------------------------------------------------------------------


@pytest.mark.parametrize("fault", FAULTS)
def test_a_repeated_create_makes_one_thing(store: RestStore, faulty: Faulty, fault: Callable[..., Response]) -> None:
    faulty.fail(fault, times=2)
    experiment_id = store.create_experiment(name := fresh("experiment"), tags=[Tag("a", "b")])
    assert store.get_experiment(experiment_id).name == name

    faulty.fail(fault, times=2)
    run = store.create_run(experiment_id)
    assert [found.info.run_id for found in store.search_runs([experiment_id]).items] == [run.info.run_id]

    faulty.fail(fault, times=2)
    model = store.create_logged_model(experiment_id, name="iris")
    assert [found.model_id for found in store.search_logged_models([experiment_id]).items] == [model.model_id]

    faulty.fail(fault, times=2)
    registered = store.create_registered_model(fresh("model"), description="d", tags=[Tag("a", "b")])
    faulty.fail(fault, times=2)
    assert store.create_model_version(registered.name, "s3://bucket/model").version == 1
    assert store.create_model_version(registered.name, "s3://bucket/model").version == 2


@pytest.mark.parametrize("fault", FAULTS)
def test_a_repeated_write_ends_where_one_would(
    store: RestStore, faulty: Faulty, run: Run, fault: Callable[..., Response]
) -> None:
    run_id, experiment_id = run.info.run_id, run.info.experiment_id
    name = store.create_registered_model(fresh("model")).name
    store.create_model_version(name, "s3://bucket/model")
    logged = store.create_logged_model(experiment_id, tags=[Tag("t", "1")])
    store.log_batch(run_id, tags=[Tag("t", "1")])
    store.set_experiment_tag(experiment_id, Tag("t", "1"))
    writes: list[Callable[[], object]] = [
        lambda: store.log_batch(run_id, metrics=[Metric("m", 1.0, 5, 0)], params=[Param("p", "1")]),
        lambda: store.delete_tag(run_id, "t"),
        lambda: store.delete_experiment_tag(experiment_id, "t"),
        lambda: store.delete_logged_model_tag(logged.model_id, "t"),
        lambda: store.log_logged_model_params(logged.model_id, [Param("p", "1")]),
        lambda: store.rename_experiment(experiment_id, f"{name} renamed"),
        lambda: store.delete_model_version(name, 1),
        lambda: store.rename_registered_model(name, f"{name}-renamed"),
        lambda: store.delete_registered_model(f"{name}-renamed"),
        lambda: store.delete_run(run_id),
        lambda: store.restore_run(run_id),
        lambda: store.delete_experiment(experiment_id),
        lambda: store.restore_experiment(experiment_id),
    ]
    for write in writes:
        faulty.fail(fault)
        write()
    assert len(store.metric_history(run_id, "m").items) == 1
    assert store.get_experiment(experiment_id).name == f"{name} renamed"


def test_what_somebody_else_holds_is_no_success(store: RestStore, faulty: Faulty) -> None:
    experiment = fresh("experiment")
    store.create_experiment(experiment, "s3://theirs")
    model = store.create_registered_model(fresh("model"), description="theirs")
    logged = store.create_logged_model("0", params=[Param("p", "theirs")])
    faulty.fail(answer_lost)
    with pytest.raises(ResourceAlreadyExists, match=experiment):
        store.create_experiment(experiment, "s3://mine")
    faulty.fail(answer_lost)
    with pytest.raises(ResourceAlreadyExists, match=model.name):
        store.create_registered_model(model.name, description="mine")
    faulty.fail(answer_lost)
    with pytest.raises(BadRequest, match=logged.model_id):
        store.log_logged_model_params(logged.model_id, [Param("p", "mine")])


def test_what_was_never_there_is_no_success_without_a_lost_try(store: RestStore, run: Run) -> None:
    with pytest.raises(ResourceDoesNotExist):
        store.delete_tag(run.info.run_id, "nothing")
    with pytest.raises(ResourceDoesNotExist):
        store.delete_registered_model("nobody")


def test_what_appends_is_sent_again_only_when_it_surely_did_not_arrive(
    store: RestStore, faulty: Faulty, run: Run
) -> None:
    model = f'{{"artifact_path": "m", "flavors": {{}}, "utc_time_created": "x", "run_id": "{run.info.run_id}"}}'
    for fault in (overloaded, not_even_sent):
        faulty.fail(fault)
        store.log_model_history(run.info.run_id, model)
        assert len(faulty.seen) == 2
    faulty.fail(answer_lost)
    with pytest.raises(ServerUnreachable):
        store.log_model_history(run.info.run_id, model)
    assert len(faulty.seen) == 1


def test_every_create_carries_a_key_of_its_own(store: RestStore, faulty: Faulty, run: Run) -> None:
    faulty.fail(overloaded)
    store.create_run(run.info.experiment_id)
    store.create_run(run.info.experiment_id)
    keys = [request.headers["Idempotency-Key"] for request in faulty.seen]
    assert keys[0] == keys[1] != keys[2]


# --- over the wire ---------------------------------------------------------------------------------------------------


@pytest.fixture
def server() -> Iterator[ScriptedServer]:
    with ScriptedServer() as running:
        yield running


@pytest.fixture
def remote(server: ScriptedServer) -> Iterator[RestStore]:
    with RestStore(server.uri, credentials=Credentials(), timeout=0.3, retry=AT_ONCE) as opened:
        yield opened


def test_reads_outlive_overload_slowness_and_answers_that_break_off(server: ScriptedServer, remote: RestStore) -> None:
    info: dict[str, object] = {"run_id": "r", "experiment_id": "0", "status": "RUNNING"}
    server.play(
        answer(503, Retry_After="0"),
        after(0.6, answer()),
        raw(b'HTTP/1.1 200 OK\r\nContent-Length: 500\r\n\r\n{"run": {'),
        answer(200, {"run": {"info": info}}),
    )
    assert remote.get_run("r").info.run_id == "r"
    assert len(server.seen) == 4


def test_a_server_that_stays_away_is_named(server: ScriptedServer, remote: RestStore) -> None:
    server.otherwise = hang_up
    with pytest.raises(ServerUnreachable, match=f"{server.uri}: the server hung up"):
        remote.get_run("r")
    server.otherwise = error(503, "TEMPORARILY_UNAVAILABLE", "the database is restarting")
    with pytest.raises(TemporarilyUnavailable, match="the database is restarting"):
        remote.get_run("r")


def test_a_page_instead_of_json_is_no_tracking_server(server: ScriptedServer, remote: RestStore) -> None:
    server.play(answer(200, b"<html>please log in</html>"))
    with pytest.raises(InvalidParameterValue, match="did not answer with JSON; is it a tracking server"):
        remote.get_run("r")


@pytest.mark.slow
def test_a_server_killed_and_restarted_under_writers_loses_and_doubles_nothing(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as probe:
        port = int(probe.getsockname()[1])
    uri = f"http://127.0.0.1:{port}"

    def start() -> subprocess.Popen[bytes]:
        argv = [sys.executable, "-m", "mlgate", "server", "--port", str(port)]
        argv += ["--backend-store-uri", f"sqlite:///{tmp_path}/store.db", "--artifacts-destination", str(tmp_path)]
        quiet = subprocess.DEVNULL
        return subprocess.Popen(argv, stdout=quiet, stderr=quiet, env={**os.environ, "MLGATE_HOME": str(tmp_path)})

    patient = RetryPolicy(retries=60, backoff=0.05, longest=0.2)
    acknowledged: list[str] = []
    failures: list[BaseException] = []
    stop = threading.Event()

    def write() -> None:
        try:
            with RestStore(uri, credentials=Credentials(), retry=patient) as store:
                while not stop.is_set():
                    run = store.create_run("0", run_name="written")
                    store.log_batch(run.info.run_id, metrics=[Metric("m", 1.0, 1)])
                    acknowledged.append(run.info.run_id)
        except BaseException as caught:
            failures.append(caught)

    server = start()
    writers = [threading.Thread(target=write) for _ in range(4)]
    try:
        for writer in writers:
            writer.start()
        for _ in range(2):
            enough = len(acknowledged) + 40
            deadline = time.monotonic() + 60
            while len(acknowledged) < enough and not failures and time.monotonic() < deadline:
                time.sleep(0.02)
            server.send_signal(signal.SIGKILL)
            server.wait()
            server = start()
        stop.set()
        for writer in writers:
            writer.join(60)
        assert failures == []
        with RestStore(uri, credentials=Credentials(), retry=patient) as store:
            found = {run.info.run_id: run.metric("m") for run in store.search_runs(["0"], max_results=50_000).items}
    finally:
        stop.set()
        server.kill()
        server.wait()
    assert len(acknowledged) >= 80
    assert found == dict.fromkeys(acknowledged, 1.0), "no acknowledged run is lost, and no ghost was made"
