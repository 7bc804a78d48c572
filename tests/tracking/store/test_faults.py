"""What is acknowledged stays: processes killed, databases restarted, disks that are full."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest
from sqlalchemy.engine import make_url

from mlgate_tracking.entities import Metric, Param
from mlgate_tracking.errors import BadRequest, TemporarilyUnavailable
from mlgate_tracking.store import database, pooled
from mlgate_tracking.store.sql import SqlStore
from mlgate_tracking.store.transaction import Transaction
from mlgate_tracking.testing.stores import at_once, fresh
from tests.support import databases

WRITER = """
import os, sys, threading
from mlgate_tracking.entities import Metric, Param
from mlgate_tracking.store.sql import SqlStore
from mlgate_tracking.store.transaction import Transaction
uri, run_id = sys.argv[1:]
store = SqlStore(uri)
def write(number):
    for step in range(10**9):
        points = [Metric(f"m{number}", step, step, step)]
        store.log_batch(run_id, metrics=points, params=[Param(f"p{number}-{step}", "")])
        os.write(1, f"{number} {step}\\n".encode())
for number in range(4):
    threading.Thread(target=write, args=(number,)).start()
"""


def killed_after(uri: str, run_id: str, lines: int) -> list[tuple[str, int]]:
    """Writes that a process had acknowledged when it was killed."""
    with subprocess.Popen([sys.executable, "-c", WRITER, uri, run_id], stdout=subprocess.PIPE, text=True) as writer:
        assert writer.stdout is not None
        acknowledged = [writer.stdout.readline() for _ in range(lines)]
        os.kill(writer.pid, signal.SIGKILL)
        acknowledged += writer.stdout.readlines()
    assert writer.returncode == -signal.SIGKILL
    return [(number, int(step)) for number, step in (line.split() for line in acknowledged if line.endswith("\n"))]


def everything_is_there(store: SqlStore, run_id: str, acknowledged: list[tuple[str, int]]) -> None:
    params = {param.key for param in store.get_run(run_id).data.params}
    for number in {number for number, _ in acknowledged}:
        stored = {point.step for point in store.metric_history(run_id, f"m{number}").items}
        written = {step for other, step in acknowledged if other == number}
        assert written <= stored
        assert len(stored - written) <= 1, "more than the one write whose answer was on its way"
        assert {f"p{number}-{step}" for step in stored} <= params, "half a transaction"


def test_a_killed_process_loses_nothing_that_it_acknowledged(tmp_path: Path) -> None:
    uri = f"sqlite:///{tmp_path}/store.db"
    with SqlStore(uri) as store:
        run_id = store.create_run("0").info.run_id
    acknowledged: list[tuple[str, int]] = []
    for lines in (1, 200):
        with SqlStore(uri) as store:
            run_id = store.create_run("0").info.run_id
        acknowledged = killed_after(uri, run_id, lines)
        with SqlStore(uri) as store:
            everything_is_there(store, run_id, acknowledged)
            store.log_batch(run_id, metrics=[Metric("after", 1.0, 1)])
    assert len(acknowledged) >= 200


@pytest.mark.database
def test_a_killed_process_loses_nothing_on_a_server(server: databases.PostgreSQL | databases.MariaDB) -> None:
    uri = server.create()
    with SqlStore(uri) as store:
        run_id = store.create_run("0").info.run_id
        everything_is_there(store, run_id, killed_after(uri, run_id, 100))


def test_a_full_disk_is_a_clear_error_and_loses_nothing(tmp_path: Path) -> None:
    code = """
import resource, signal, sys
from mlgate_tracking.entities import Param
from mlgate_tracking.errors import InternalError
from mlgate_tracking.store.sql import SqlStore
from mlgate_tracking.store.transaction import Transaction
with SqlStore(sys.argv[1]) as store:
    run_id = store.create_run("0").info.run_id
    signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    unlimited = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (3_000_000, unlimited[1]))
    written = 0
    try:
        while True:
            store.log_batch(run_id, params=[Param(f"p{written}-{i}", "x" * 5000) for i in range(10)])
            written += 1
    except InternalError as error:
        print(error)
    resource.setrlimit(resource.RLIMIT_FSIZE, unlimited)
    assert len(store.get_run(run_id).data.params) == written * 10 > 0
    store.log_batch(run_id, params=[Param("after", "1")])
    assert store.get_run(run_id).param("after") == "1"
"""
    done = subprocess.run(
        [sys.executable, "-c", code, f"sqlite:///{tmp_path}/store.db"],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.startswith("the database cannot write, make room on its disk: ")


def test_a_database_locked_for_too_long_is_a_temporary_error(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import sqlite3

    monkeypatch.setattr("mlgate_tracking.store.sqlite.LOCK_TIMEOUT", 0.05)
    uri = f"sqlite:///{tmp_path}/store.db"
    with SqlStore(uri) as store:
        other = sqlite3.connect(tmp_path / "store.db", isolation_level=None)
        other.execute("BEGIN IMMEDIATE")
        with pytest.raises(TemporarilyUnavailable, match="locked by another writer, try again"):
            store.create_run("0")
        outcomes = at_once(*[lambda: store.create_run("0")] * 3)
        assert [type(outcome) for outcome in outcomes] == [TemporarilyUnavailable] * 3
        other.execute("ROLLBACK")
        other.close()
        assert store.create_run("0").info.experiment_id == "0"


def test_a_server_that_is_not_there_is_a_temporary_error(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(database, "PATIENCE", 0.2)
    for kind in ("postgresql", "mysql"):
        with pytest.raises(TemporarilyUnavailable, match="the database is away, try again"):
            SqlStore(f"{kind}://nobody@127.0.0.1:{databases.free_port()}/nothing")


@pytest.mark.database
def test_a_server_that_refuses_us_is_not_waited_for(server: databases.PostgreSQL | databases.MariaDB) -> None:
    url = make_url(server.create())
    for wrong in (url.set(database="other"), url.set(username="somebody", password="x")):
        started = time.monotonic()
        with pytest.raises(BadRequest, match="the database cannot be used: "):
            SqlStore(wrong.render_as_string(hide_password=False))
        assert time.monotonic() - started < database.PATIENCE / 2


@pytest.mark.database
def test_a_server_that_crashes_under_load_and_comes_back_loses_nothing(
    server: databases.PostgreSQL | databases.MariaDB,
) -> None:
    with SqlStore(server.create()) as store:
        run_id = store.create_run("0").info.run_id
        created: list[str] = []
        acknowledged: list[tuple[str, int]] = []
        errors: list[BaseException] = []
        stop = threading.Event()

        def write(number: int) -> None:
            step = 0
            try:
                while not stop.is_set():
                    points = [Metric(f"m{number}", step, step, step)]
                    store.log_batch(run_id, metrics=points, params=[Param(f"p{number}-{step}", "")])
                    acknowledged.append((str(number), step))
                    step += 1
                    if step % 10 == 0:
                        created.append(store.create_run("0", run_name=fresh()).info.run_id)
            except BaseException as error:
                errors.append(error)

        threads = [threading.Thread(target=write, args=(number,)) for number in range(6)]
        for thread in threads:
            thread.start()
        for _ in range(2):
            time.sleep(0.5)
            server.stop()
            time.sleep(0.2)
            server.start()
        seen = len(acknowledged)
        time.sleep(0.5)
        stop.set()
        for thread in threads:
            thread.join(60)
        assert errors == []
        assert len(acknowledged) > seen > 0
        everything_is_there(store, run_id, acknowledged)
        for made in created:
            store.get_run(made)


@pytest.mark.database
def test_a_caller_for_whom_no_connection_comes_free_is_told(
    postgresql: databases.PostgreSQL, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, value in (("POOL_SIZE", 1), ("POOL_OVERFLOW", 0), ("POOL_TIMEOUT", 0.1)):
        monkeypatch.setattr(pooled, name, value)
    with SqlStore(postgresql.create()) as store:

        def hold(_tx: Transaction) -> None:
            with pytest.raises(TemporarilyUnavailable, match="all 1 connections to the database are in use"):
                store.get_run("a" * 32)

        store.read(hold)
        assert store.get_experiment("0").name == "Default"


@pytest.mark.database
def test_two_servers_on_one_database_see_each_others_writes(server: databases.PostgreSQL | databases.MariaDB) -> None:
    uri = server.create()
    with SqlStore(uri) as one, SqlStore(uri) as other:
        run_id = one.create_run("0").info.run_id

        def write(store: SqlStore, number: int) -> None:
            for step in range(20):
                keys = [f"key{step}-{index}" for index in range(3)]  # new to both at the same moment
                store.log_batch(run_id, metrics=[Metric(key, number, 1, number) for key in keys])

        assert (
            at_once(
                *[
                    lambda store=store, number=number: write(store, number)
                    for store in (one, other)
                    for number in (1, 2)
                ]
            )
            == [None] * 4
        )
        run = one.get_run(run_id)
        assert run == other.get_run(run_id)
        assert len(run.data.metrics) == 60
        assert {point.value for point in run.data.metrics} == {2.0}
