"""`mlgate server` as a process: options, workers, TLS, crashes, endings."""

from __future__ import annotations

import http.client
import json
import os
import resource
import signal
import socket
import ssl
import subprocess
import sys
import threading
import time
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from pathlib import Path
from typing import Any

import psutil
import pytest

from mlgate_tracking.client import connect
from mlgate_tracking.contract import Store
from mlgate_tracking.store.sql import SqlStore
from tests.support.databases import postgresql
from tests.support.promoter import attempt
from tests.support.servers import ServerProcess, mlgate_server


class Caller:
    """One client with one connection."""

    def __init__(self, port: int) -> None:
        self.connection = http.client.HTTPConnection("127.0.0.1", port, timeout=30)

    def __enter__(self) -> Caller:
        return self

    def __exit__(self, *_exc: object) -> None:
        self.connection.close()

    def post(self, path: str, **fields: Any) -> tuple[int, dict[str, Any]]:
        body = json.dumps(fields)
        self.connection.request("POST", f"/api/2.0/mlflow/{path}", body, {"Content-Type": "application/json"})
        answer = self.connection.getresponse()
        return answer.status, json.loads(answer.read())

    def run(self) -> str:
        status, answer = self.post("runs/create", experiment_id="0")
        assert status == 200, answer
        return str(answer["run"]["info"]["run_id"])


def write_until(port: int, key: str, run_id: str, acknowledged: list[tuple[str, int]], stop: threading.Event) -> None:
    """Log points until told to stop or the server is gone; note each that was acknowledged."""
    step = 0
    with Caller(port) as caller:
        while not stop.is_set():
            try:
                status, _ = caller.post(
                    "runs/log-metric", run_id=run_id, key=key, value=float(step), timestamp=1, step=step
                )
            except (OSError, http.client.HTTPException):
                return
            if status == 200:
                acknowledged.append((key, step))
            step += 1


def writers(server: ServerProcess, run_id: str, count: int, prefix: str = "w") -> tuple[list, list, threading.Event]:
    acknowledged: list[tuple[str, int]] = []
    stop = threading.Event()
    threads = [
        threading.Thread(target=write_until, args=(server.port, f"{prefix}{number}", run_id, acknowledged, stop))
        for number in range(count)
    ]
    for thread in threads:
        thread.start()
    return threads, acknowledged, stop


def missing_after(place: Path | str, run_id: str, acknowledged: list[tuple[str, int]]) -> set[tuple[str, int]]:
    """Acknowledged points that the store does not have; its URI, or the home of a server on SQLite."""
    uri = place if isinstance(place, str) else f"sqlite:///{place / 'mlgate.db'}"
    with SqlStore(uri) as store:
        stored = {
            (key, point.step)
            for key in {key for key, _ in acknowledged}
            for point in store.metric_history(run_id, key).items
        }
    return set(acknowledged) - stored


@pytest.mark.slow
def test_no_acknowledged_write_is_lost_when_the_server_is_killed(tmp_path):
    with mlgate_server(tmp_path) as server:
        with Caller(server.port) as caller:
            run_id = caller.run()
        threads, acknowledged, _ = writers(server, run_id, 16)
        time.sleep(1.5)
        server.kill()
        for thread in threads:
            thread.join(30)
    assert len(acknowledged) > 50
    assert missing_after(tmp_path, run_id, acknowledged) == set()
    with mlgate_server(tmp_path) as again, Caller(again.port) as caller:
        assert caller.post("runs/log-metric", run_id=run_id, key="after", value=1, timestamp=1)[0] == 200


@pytest.mark.slow
def test_two_servers_share_one_database(tmp_path):
    with mlgate_server(tmp_path) as one, mlgate_server(tmp_path) as other:
        with Caller(one.port) as caller:
            run_id = caller.run()
        started = [writers(server, run_id, 4, prefix) for server, prefix in ((one, "a"), (other, "b"))]
        time.sleep(1.5)
        for _, _, stop in started:
            stop.set()
        for threads, _, _ in started:
            for thread in threads:
                thread.join(60)
        with Caller(other.port) as caller:
            names = {caller.post("experiments/create", name="same")[0] for _ in range(2)}
    for _, acknowledged, _ in started:
        assert len(acknowledged) > 10
        assert missing_after(tmp_path, run_id, acknowledged) == set()
    assert names == {200, 400}


@pytest.mark.database
def test_a_database_that_restarts_loses_nothing(tmp_path):
    """Clients see at most a wait: what was acknowledged is there, and writes go on."""
    with postgresql() as engine:
        uri = engine.create()
        options = ("--backend-store-uri", uri, "--artifacts-destination", str(tmp_path / "files"), "--workers", "2")
        with mlgate_server(tmp_path, *options) as server:
            with Caller(server.port) as caller:
                run_id = caller.run()
            threads, acknowledged, stop = writers(server, run_id, 8)
            time.sleep(1.0)
            engine.stop()  # as abruptly as it goes
            time.sleep(0.5)
            before = len(acknowledged)
            engine.start()
            wait_until(lambda: len(acknowledged) > before + 50, 60)
            stop.set()
            for thread in threads:
                thread.join(60)
        assert missing_after(uri, run_id, acknowledged) == set()


@pytest.mark.database
def test_two_servers_share_one_postgresql(tmp_path):
    """While both take writes, promoters race on both: nothing is lost, and each round has one winner."""
    with postgresql() as engine:
        uri = engine.create()
        options = ("--backend-store-uri", uri, "--artifacts-destination", str(tmp_path / "files"))
        with mlgate_server(tmp_path / "one", *options) as one, mlgate_server(tmp_path / "other", *options) as other:
            with Caller(one.port) as caller:
                run_id = caller.run()
            started = [writers(server, run_id, 2, prefix) for server, prefix in ((one, "a"), (other, "b"))]
            with connect(one.uri) as here, connect(other.uri) as there:
                here.create_registered_model("iris")
                for _ in range(8):
                    there.create_model_version("iris", "s3://bucket/model")
                champions = race([here, there], versions=8, rounds=5)
            wait_until(lambda: all(len(acknowledged) > 10 for _, acknowledged, _ in started), 60)
            for _, _, stop in started:
                stop.set()
            for threads, _, _ in started:
                for thread in threads:
                    thread.join(60)
        for _, acknowledged, _ in started:
            assert missing_after(uri, run_id, acknowledged) == set()
        with SqlStore(uri) as store:
            assert [made.version for made in store.search_promotions("iris").items] == champions[::-1]
            assert store.get_model_version_by_alias("iris", "champion").version == champions[-1]


def race(stores: list[Store], *, versions: int, rounds: int) -> list[int]:
    """Let all versions compete for champion, in turn over one store and the other; who won each round."""
    champions: list[int] = []
    with ThreadPoolExecutor(versions) as promoters:
        for number in range(rounds):
            expected = champions[-1] if champions else None
            told = list(
                promoters.map(
                    lambda version, key, expected: attempt(
                        stores[version % 2], "iris", version, expected, f"{key}-{version}"
                    ),
                    range(1, versions + 1), [number] * versions, [expected] * versions,
                )
            )  # fmt: skip
            (winner,) = [one for one in told if "won" in one]
            assert {one["lost_to"] for one in told if "lost_to" in one} == {winner["won"]}
            assert not [one for one in told if "error" in one]
            champions.append(winner["version"])
    return champions


@pytest.mark.slow
def test_workers_share_the_port_and_the_secret_and_are_replaced(tmp_path):
    with mlgate_server(tmp_path, "--workers", "2") as server:
        wait_until(lambda: len(alive(server)) == 2)
        workers = alive(server)
        with Caller(server.port) as caller:
            step = post_json(server, "/api/3.0/mlgate/step-runs/open", step_run_key="k", experiment_id="0")["step_run"]
            assert caller.post("runs/search", experiment_ids=["0"])[0] == 200
        run_id = step["run"]["info"]["run_id"]
        for _ in range(12):  # fresh connections land on either worker
            post_json(server, "/api/2.0/mlflow/runs/set-tag", step["token"], run_id=run_id, key="k", value="v")
        time.sleep(1.5)  # by then both have shared their numbers
        workers[0].send_signal(signal.SIGKILL)
        wait_until(lambda: len(alive(server)) == 2 and workers[0].pid not in {one.pid for one in alive(server)})
        for _ in range(6):
            assert get_json(server, f"/api/2.0/mlflow/runs/get?run_id={run_id}")["run"]["info"]["run_id"] == run_id
        # Whichever worker is scraped tells of all of them, also of the one that was killed.
        wait_until(lambda: counted_requests(server, "2.0/mlflow/runs/set-tag") == 12)
        assert server.stop() == 0
    assert not any(worker.is_running() for worker in workers[1:])


@pytest.mark.slow
def test_workers_end_with_the_server_that_started_them(tmp_path):
    """A server that is killed leaves nobody behind on its port, and nothing acknowledged is lost."""
    with mlgate_server(tmp_path, "--workers", "2") as server:
        wait_until(lambda: len(alive(server)) == 2)
        workers = alive(server)
        with Caller(server.port) as caller:
            run_id = caller.run()
        threads, acknowledged, stop = writers(server, run_id, 8)
        wait_until(lambda: len(acknowledged) > 10, 60)
        server.kill()
        try:
            wait_until(lambda: not any(map(runs, workers)), 60)
        finally:
            stop.set()
            for worker in filter(runs, workers):
                worker.kill()
            for thread in threads:
                thread.join(30)
    assert missing_after(tmp_path, run_id, acknowledged) == set()
    # Nobody holds the port any more. It is not asked for again: another test may have been given it meanwhile.
    with mlgate_server(tmp_path) as again, Caller(again.port) as caller:
        assert caller.post("runs/log-metric", run_id=run_id, key="after", value=1, timestamp=1)[0] == 200


def counted_requests(server: ServerProcess, route: str) -> int:
    with closing(http.client.HTTPConnection("127.0.0.1", server.port, timeout=30)) as connection:
        connection.request("GET", "/metrics")
        text = connection.getresponse().read().decode()
    counts = [line for line in text.splitlines() if line.startswith("mlgate_http_requests_total") and route in line]
    return sum(int(line.rpartition(" ")[2]) for line in counts)


def alive(server: ServerProcess) -> list[psutil.Process]:
    children = psutil.Process(server.process.pid).children()
    return [child for child in children if child.status() != psutil.STATUS_ZOMBIE]


def runs(process: psutil.Process) -> bool:
    """Whether a process has not ended; one that init has not waited for yet is there without running."""
    try:
        return process.status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False


def wait_until(condition, seconds: float = 30.0) -> None:
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, "it did not happen"
        time.sleep(0.05)


def post_json(server: ServerProcess, path: str, token: str = "", **fields: Any) -> dict[str, Any]:
    headers = {"Content-Type": "application/json", **({"Authorization": f"Bearer {token}"} if token else {})}
    with closing(http.client.HTTPConnection("127.0.0.1", server.port, timeout=30)) as connection:
        connection.request("POST", path, json.dumps(fields), headers)
        answer = connection.getresponse()
        body = json.loads(answer.read())
        assert answer.status == 200, body
        return body


def get_json(server: ServerProcess, path: str) -> dict[str, Any]:
    with closing(http.client.HTTPConnection("127.0.0.1", server.port, timeout=30)) as connection:
        connection.request("GET", path)
        return json.loads(connection.getresponse().read())


def test_a_server_starts_answers_and_ends_when_asked(tmp_path):
    with mlgate_server(tmp_path) as server:
        with Caller(server.port) as caller:
            run_id = caller.run()
        upload = http.client.HTTPConnection("127.0.0.1", server.port, timeout=30)
        upload.putrequest("PUT", f"/api/2.0/mlflow-artifacts/artifacts/0/{run_id}/artifacts/x")
        upload.putheader("Content-Length", "6")
        upload.endheaders(b"abc")
        time.sleep(0.2)
        server.process.terminate()
        time.sleep(0.5)
        upload.send(b"def")  # a request in flight is finished first
        assert upload.getresponse().status == 200
        upload.close()
        assert server.process.wait(40) == 0
    assert (tmp_path / "artifacts" / "0" / run_id / "artifacts" / "x").read_bytes() == b"abcdef"


@pytest.mark.slow
def test_step_tokens_outlive_a_restart(tmp_path):
    with mlgate_server(tmp_path) as server:
        step = post_json(server, "/api/3.0/mlgate/step-runs/open", step_run_key="k", experiment_id="0")["step_run"]
    assert (tmp_path / "server.secret").stat().st_mode & 0o777 == 0o600
    with mlgate_server(tmp_path) as server:
        run_id = step["run"]["info"]["run_id"]
        post_json(server, "/api/2.0/mlflow/runs/set-tag", step["token"], run_id=run_id, key="k", value="v")


@pytest.mark.slow
def test_tls(tmp_path, certificate):
    options = ("--ssl-certfile", str(certificate), "--ssl-keyfile", str(certificate))
    with mlgate_server(tmp_path / "home", *options) as server:
        assert server.uri.startswith("https://")
        context = ssl.create_default_context(cafile=str(certificate))
        connection = http.client.HTTPSConnection("127.0.0.1", server.port, timeout=30, context=context)
        connection.request("GET", "/health")
        assert connection.getresponse().read() == b"OK"
        content = os.urandom(1_000_000)  # which cannot go around the encryption
        connection.request("PUT", "/api/2.0/mlflow-artifacts/artifacts/0/file", content)
        assert connection.getresponse().read() == b"{}"
        connection.request("GET", "/api/2.0/mlflow-artifacts/artifacts/0/file")
        assert connection.getresponse().read() == content
        connection.close()


@pytest.mark.slow
def test_a_full_disk_is_said_and_leaves_no_half_artifact(tmp_path):
    """The largest file that the process may write stands in for the end of the disk."""
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    with mlgate_server(tmp_path) as server:
        resource.prlimit(server.process.pid, resource.RLIMIT_FSIZE, (1_000_000, before[1]))
        connection = http.client.HTTPConnection("127.0.0.1", server.port, timeout=30)
        connection.request("PUT", "/api/2.0/mlflow-artifacts/artifacts/0/big", bytes(3_000_000))
        answer = connection.getresponse()
        body = json.loads(answer.read())
        connection.close()
        assert answer.status in (500, 503), body
        assert body["message"]
        assert get_json(server, "/api/2.0/mlflow-artifacts/artifacts?path=0") == {}
    assert [path for path in (tmp_path / "artifacts").rglob("*") if path.is_file()] == []


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (["--ssl-certfile", "x.pem"], "TLS needs both"),
        (["--artifacts-only", "--no-serve-artifacts"], "nothing to serve"),
        (["--backend-store-uri", "mongodb://x"], "mongodb"),
        (["--backend-store-uri", "./mlruns"], "`mlgate import mlflow ./mlruns`"),
        (["--backend-store-uri", "postgresql://u:p@127.0.0.1:1/x"], "name a place for artifacts"),
        (["--registry-store-uri", "sqlite:///other.db"], "share one database"),
        (["--token-file", "/no/such/file"], "--token-file"),
    ],
)
def test_options_that_cannot_be_meant_are_one_line_and_exit_code_two(tmp_path, options, said):
    outcome = subprocess.run(
        [sys.executable, "-m", "mlgate", "server", "--port", "0", *options],
        capture_output=True, text=True, timeout=60, check=False, env={**os.environ, "MLGATE_HOME": str(tmp_path)},
    )  # fmt: skip
    assert outcome.returncode == 2
    assert said in outcome.stderr
    assert len(outcome.stderr.splitlines()) == 1
    assert not (tmp_path / "mlgate.db").exists()


def test_a_port_that_is_taken_is_one_line(tmp_path):
    with closing(socket.create_server(("127.0.0.1", 0))) as taken:
        port = taken.getsockname()[1]
        outcome = subprocess.run(
            [sys.executable, "-m", "mlgate", "server", "--port", str(port)],
            capture_output=True, text=True, timeout=60, check=False, env={**os.environ, "MLGATE_HOME": str(tmp_path)},
        )  # fmt: skip
    assert outcome.returncode == 2
    assert outcome.stderr.splitlines() == [f"error: cannot listen on 127.0.0.1:{port}: Address already in use"]


@pytest.mark.slow
def test_the_access_token_comes_from_a_file_or_the_environment(tmp_path):
    token_file = tmp_path / "token"
    token_file.write_text("secret-token\n")
    counted: Counter[int] = Counter()
    for options, env in ((["--token-file", str(token_file)], {}), ([], {"MLGATE_SERVER_TOKEN": "secret-token"})):
        with mlgate_server(tmp_path / "home", *options, env=env) as server:
            for headers in ({}, {"Authorization": "Bearer secret-token"}):
                with closing(http.client.HTTPConnection("127.0.0.1", server.port, timeout=30)) as connection:
                    connection.request("GET", "/api/2.0/mlflow/experiments/get?experiment_id=0", headers=headers)
                    answer = connection.getresponse()
                    answer.read()
                    counted[answer.status] += 1
    assert counted == {401: 2, 200: 2}
