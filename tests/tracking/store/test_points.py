"""Small writes of metrics that come together."""

from __future__ import annotations

import sqlite3
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from mlgate_tracking.entities import Fence, Metric
from mlgate_tracking.errors import InternalError, PermissionDenied, ResourceDoesNotExist, StaleAttempt
from mlgate_tracking.store.database import Work
from mlgate_tracking.store.points import PointWriter
from mlgate_tracking.store.run_rows import find_run
from mlgate_tracking.store.sql import SqlStore
from mlgate_tracking.store.transaction import Transaction
from tests.support.databases import MariaDB, PostgreSQL


class Crowd:
    """Callers of a store whose first write waits for another process, so that all later ones are one group."""

    def __init__(self, store: SqlStore, path: Path) -> None:
        self.store = store
        self.outcomes: dict[str, object] = {}
        self._writer = sqlite3.connect(path, isolation_level=None)
        self._threads: list[threading.Thread] = []

    def call(self, name: str, work: Callable[[], object]) -> None:
        def outcome() -> None:
            try:
                self.outcomes[name] = work()
            except Exception as error:
                self.outcomes[name] = error

        if not self._threads:
            self._writer.execute("BEGIN IMMEDIATE")
        lineup = self.store.point_writer._lineup
        expected = len(self._threads)
        self._threads.append(threading.Thread(target=outcome))
        self._threads[-1].start()
        while lineup._leader is None or len(lineup._waiting) < expected:
            pass

    def finish(self) -> dict[str, object]:
        self._writer.execute("ROLLBACK")
        self._writer.close()
        for thread in self._threads:
            thread.join(20)
            assert not thread.is_alive()
        return self.outcomes


@pytest.fixture
def crowd(store: SqlStore, tmp_path: Path) -> Crowd:
    return Crowd(store, tmp_path / "store.db")


@pytest.fixture
def transactions(store: SqlStore, monkeypatch) -> list[str]:
    """One entry for each write transaction of the database."""
    found: list[str] = []
    write = store.database.write

    def counted(work: Work[object], *, streamed: bool = False) -> object:
        found.append("write")
        return write(work, streamed=streamed)

    monkeypatch.setattr(store.database, "write", counted)
    return found


def point(value: float, step: int = 0, key: str = "loss") -> Metric:
    return Metric(key, value, 1, step)


def steps(store: SqlStore, run_id: str) -> list[int]:
    return [found.step for found in store.metric_history(run_id, "loss").items]


def test_points_of_several_clients_are_one_transaction(store: SqlStore, crowd: Crowd, transactions: list[str]) -> None:
    runs = [store.create_run("0").info.run_id for _ in range(3)]
    transactions.clear()
    crowd.call("first", lambda: store.log_batch(runs[0], metrics=[point(0.5)]))
    for number in range(1, 7):
        run_id = runs[number % 3]
        crowd.call(f"{number}", lambda n=number, r=run_id: store.log_batch(r, metrics=[point(n, n), point(-n, -n)]))
    assert set(crowd.finish().values()) == {None}
    assert len(transactions) == 2
    assert [steps(store, run_id) for run_id in runs] == [[-6, -3, 0, 3, 6], [-4, -1, 1, 4], [-5, -2, 2, 5]]
    assert [store.get_run(run_id).metric("loss") for run_id in runs] == [6.0, 4.0, 5.0]


def test_the_same_point_twice_in_a_group_is_one(store: SqlStore, crowd: Crowd) -> None:
    run_id = store.create_run("0").info.run_id
    for name in "abc":
        crowd.call(name, lambda: store.log_batch(run_id, metrics=[point(1.0)]))
    assert set(crowd.finish().values()) == {None}
    assert steps(store, run_id) == [0]


def test_each_hears_of_its_own_mistakes_only(store: SqlStore, crowd: Crowd) -> None:
    run_id = store.create_run("0").info.run_id
    deleted = store.create_run("0").info.run_id
    store.delete_run(deleted)
    step = store.open_step_run("step", experiment_id="0")
    own = step.run.info.run_id
    stale = store.fenced(Fence(own, step.attempt))
    current = store.fenced(Fence(own, store.open_step_run("step", experiment_id="0").attempt))
    crowd.call("first", lambda: store.log_batch(run_id, metrics=[point(1.0, 1)]))
    crowd.call("unknown", lambda: store.log_batch("f" * 32, metrics=[point(1.0)]))
    crowd.call("deleted", lambda: store.log_batch(deleted, metrics=[point(1.0)]))
    crowd.call("stale", lambda: stale.log_batch(own, metrics=[point(1.0, 1)]))
    crowd.call("stranger", lambda: current.log_batch(run_id, metrics=[point(1.0, 7)]))
    crowd.call("current", lambda: current.log_batch(own, metrics=[point(2.0, 2)]))
    crowd.call("last", lambda: store.log_batch(run_id, metrics=[point(3.0, 3)]))
    outcomes = crowd.finish()
    assert {name: outcomes[name] for name in ("first", "current", "last")} == dict.fromkeys(
        ("first", "current", "last")
    )
    assert isinstance(outcomes["unknown"], ResourceDoesNotExist)
    assert "must be in the 'active' state" in str(outcomes["deleted"])
    assert isinstance(outcomes["stale"], StaleAttempt)
    assert isinstance(outcomes["stranger"], PermissionDenied)
    assert steps(store, run_id) == [1, 3]
    assert steps(store, own) == [2]
    assert steps(store, deleted) == []


def test_what_the_database_refuses_fails_alone(store: SqlStore, crowd: Crowd) -> None:
    run_id = store.create_run("0").info.run_id
    too_large = 2**63  # let through past the check of the arguments
    crowd.call("first", lambda: store.log_batch(run_id, metrics=[point(1.0, 1)]))
    crowd.call("bad", lambda: store.point_writer.write(run_id, None, [point(1.0, too_large)]))
    crowd.call("good", lambda: store.log_batch(run_id, metrics=[point(2.0, 2)]))
    outcomes = crowd.finish()
    assert isinstance(outcomes.pop("bad"), OverflowError)
    assert outcomes == {"first": None, "good": None}
    assert steps(store, run_id) == [1, 2]


def test_what_would_go_wrong_for_each_is_not_tried_again_for_each(store: SqlStore, crowd: Crowd, monkeypatch) -> None:
    run_id = store.create_run("0").info.run_id
    asked: list[int] = []

    def full(_work: object, **_options: object) -> None:
        asked.append(1)
        cause = sqlite3.OperationalError("database or disk is full")
        cause.sqlite_errorcode = sqlite3.SQLITE_FULL
        raise InternalError("the database cannot write, make room on its disk") from cause

    crowd.call("first", lambda: store.log_batch(run_id, metrics=[point(1.0)]))
    for name in ("second", "third"):
        crowd.call(name, lambda: store.log_batch(run_id, metrics=[point(2.0)]))
    monkeypatch.setattr(store.database, "write", full)
    outcomes = crowd.finish()
    assert outcomes.pop("first") is None
    assert all(isinstance(outcome, InternalError) for outcome in outcomes.values())
    assert len({id(outcome) for outcome in outcomes.values()}) == len(outcomes) == 2
    assert len(asked) == 1


def test_a_store_that_closes_serves_who_came_before(store: SqlStore, crowd: Crowd, tmp_path: Path) -> None:
    run_id = store.create_run("0").info.run_id
    for number in range(4):
        crowd.call(f"{number}", lambda n=number: store.log_batch(run_id, metrics=[point(n, n)]))
    closing = threading.Thread(target=store.close)
    closing.start()
    while store.point_writer._lineup._at_end is None:
        pass
    assert set(crowd.finish().values()) == {None}
    closing.join(10)
    with SqlStore(f"sqlite:///{tmp_path}/store.db") as again:
        assert steps(again, run_id) == [0, 1, 2, 3]


@pytest.mark.database
def test_a_row_that_is_held_keeps_nobody_else_waiting(server: PostgreSQL | MariaDB) -> None:
    uri = server.create()
    with SqlStore(uri) as store, SqlStore(uri) as other, ThreadPoolExecutor(20) as threads:
        step = store.open_step_run("step", experiment_id="0")
        held, free = step.run.info.run_id, store.create_run("0").info.run_id
        view = store.fenced(Fence(held, step.attempt))
        locked, let_go = threading.Event(), threading.Event()

        def hold(tx: Transaction) -> None:
            find_run(tx, held, tx.dialect.for_update)
            locked.set()
            assert let_go.wait(30)

        holding = threads.submit(other.write, hold)
        assert locked.wait(10)
        waiting = [threads.submit(view.log_batch, held, metrics=[point(n, n)]) for n in range(3)]
        others = [threads.submit(store.log_batch, free, metrics=[point(n, n)]) for n in range(6)]
        for written in others:
            written.result(20)
        assert not any(written.done() for written in waiting)
        let_go.set()
        for written in [holding, *waiting]:
            written.result(20)
        assert (steps(store, held), steps(store, free)) == ([0, 1, 2], [0, 1, 2, 3, 4, 5])


@pytest.mark.parametrize(
    ("points", "taken"),
    [
        ([point(1.0)], True),
        ([point(1.0, step) for step in range(51)], False),
        ([Metric("loss", 1.0, 1, model_id="m-1")], False),
    ],
)
def test_few_points_without_a_model_line_up(points: list[Metric], taken: bool) -> None:
    assert PointWriter.takes(points) is taken
