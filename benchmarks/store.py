"""The store's writes and reads beside the floor: the same rows by SQLite's own driver, with the same durability.

    python benchmarks/store.py [--quick]

Both sides write to files in the same temporary directory, in alternating rounds; the table shows medians and their
ratio. The floor knows the surrogate keys already, checks nothing and keeps no latest value.
"""

from __future__ import annotations

import argparse
import sqlite3
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable
from pathlib import Path

from mlgate_tracking.entities import Metric, Param, RunStatus, Tag
from mlgate_tracking.store.sql import SqlStore

SCHEMA = """
CREATE TABLE metrics (run INTEGER, name INTEGER, timestamp INTEGER, step INTEGER, value REAL,
    PRIMARY KEY (run, name, timestamp, step, value)) WITHOUT ROWID;
CREATE TABLE attributes (run INTEGER, name INTEGER, value TEXT, PRIMARY KEY (run, name)) WITHOUT ROWID;
CREATE TABLE runs (run INTEGER PRIMARY KEY, run_id TEXT, name TEXT, status TEXT);
"""


class Floor:
    """The driver, and nothing else."""

    def __init__(self, path: Path) -> None:
        self.connection = sqlite3.connect(path, isolation_level=None, check_same_thread=False)
        self.connection.execute("PRAGMA journal_mode = WAL")
        self.connection.execute("PRAGMA synchronous = FULL")
        self.connection.executescript(SCHEMA)
        self.lock = threading.Lock()
        self.run = 0

    def write(self, points: list[tuple[int, ...]], attributes: int = 0, *, finish: bool = False) -> None:
        with self.lock:
            self.run += 1
            self.connection.execute("BEGIN IMMEDIATE")
            if attributes:
                self.connection.execute("INSERT INTO runs VALUES (?, ?, ?, ?)", (self.run, "0" * 32, "run", "RUNNING"))
                rows = [(self.run, number, str(number)) for number in range(attributes)]
                self.connection.executemany("INSERT INTO attributes VALUES (?, ?, ?)", rows)
            self.connection.executemany("INSERT OR IGNORE INTO metrics VALUES (?, ?, ?, ?, ?)", points)
            if finish:
                self.connection.execute("UPDATE runs SET status = 'FINISHED' WHERE run = ?", (self.run - 2,))
            self.connection.execute("COMMIT")

    def history(self, run: int) -> list[tuple[int, ...]]:
        sql = "SELECT timestamp, step, value FROM metrics WHERE run = ? AND name = 0 ORDER BY timestamp, step, value"
        return self.connection.execute(sql, (run,)).fetchall()


def in_threads(count: int, work: Callable[[int], None]) -> None:
    threads = [threading.Thread(target=work, args=(number,)) for number in range(count)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()


class Case:
    """One line of the table: seconds for each side, and how many things were done in them."""

    def __init__(self, name: str, count: int, ours: Callable[[], None], floor: Callable[[], None]) -> None:
        self.name, self.count, self.sides = name, count, (ours, floor)

    def measure(self, rounds: int) -> tuple[float, float]:
        times: tuple[list[float], list[float]] = ([], [])
        for _ in range(rounds):
            for side, taken in zip(self.sides, times, strict=True):
                started = time.perf_counter()
                side()
                taken.append((time.perf_counter() - started) / self.count)
        return statistics.median(times[0]), statistics.median(times[1])


def cases(store: SqlStore, floor: Floor, scale: int) -> list[Case]:
    run_id = store.create_run("0").info.run_id
    clock = iter(range(10**9))
    history = 5000 * scale
    for start in range(0, history, 1000):
        points = [Metric("history", float(step), step, step) for step in range(start, start + 1000)]
        store.log_batch(run_id, metrics=points)
    floor.write([(10**6, 0, step, step, float(step)) for step in range(history)])

    def ours_one(number: int = 0) -> None:
        step = next(clock)
        store.log_batch(run_id, metrics=[Metric(f"loss{number}", 0.5, step, step)])

    def floor_one(number: int = 0) -> None:
        step = next(clock)
        floor.write([(1, number, step, step, 0.5)])

    def many(one: Callable[[int], None], count: int) -> Callable[[int], None]:
        return lambda number: [one(number) for _ in range(count)] and None

    def ours_batch() -> None:
        start = next(clock) * 1000
        points = [Metric(f"m{index % 10}", 0.5, start + index, index) for index in range(1000)]
        store.log_batch(run_id, metrics=points)

    def floor_batch() -> None:
        start = next(clock) * 1000
        floor.write([(1, 100 + index % 10, start + index, index, 0.5) for index in range(1000)])

    def ours_run() -> None:
        made = store.create_run("0", tags=[Tag(f"t{index}", "v") for index in range(5)]).info.run_id
        params = [Param(f"p{index}", str(index)) for index in range(20)]
        store.log_batch(made, params=params, metrics=[Metric(f"m{index}", 0.5, 1) for index in range(20)])
        store.update_run(made, status=RunStatus.FINISHED, end_time=2)

    def floor_run() -> None:  # three requests, so three commits here as well
        floor.write([], attributes=5)
        floor.write([(floor.run + 10**7, index, 1, 0, 0.5) for index in range(20)], attributes=20)
        floor.write([], finish=True)

    once, often, runs = 200 * scale, 40 * scale, 20 * scale
    return [
        Case("log one metric, one caller", once, lambda: many(ours_one, once)(0), lambda: many(floor_one, once)(0)),
        Case(
            "log one metric, 16 callers",
            16 * often,
            lambda: in_threads(16, many(ours_one, often)),
            lambda: in_threads(16, many(floor_one, often)),
        ),
        Case("log 1,000 metrics at once", 1, ours_batch, floor_batch),
        Case(
            "run with 20 params, 20 metrics, 5 tags",
            runs,
            lambda: [ours_run() for _ in range(runs)] and None,
            lambda: [floor_run() for _ in range(runs)] and None,
        ),
        Case(
            f"history of {history:,} points",
            1,
            lambda: store.metric_history(run_id, "history") and None,
            lambda: floor.history(10**6) and None,
        ),
    ]


def opening(directory: Path, rounds: int) -> tuple[float, float]:
    """Seconds of a process that opens a store, and of one that does nothing."""
    codes = (
        f"from mlgate_tracking.store.sql import SqlStore; SqlStore('sqlite:///{directory}/opened.db').close()",
        "import sqlite3",
    )
    times: tuple[list[float], list[float]] = ([], [])
    for _ in range(rounds + 1):
        for code, taken in zip(codes, times, strict=True):
            started = time.perf_counter()
            subprocess.run([sys.executable, "-c", code], check=True)
            taken.append(time.perf_counter() - started)
    return statistics.median(times[0][1:]), statistics.median(times[1][1:])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--quick", action="store_true", help="few rounds, little data")
    quick = parser.parse_args().quick
    rounds, scale = (3, 1) if quick else (7, 10)
    print(f"{'':42}{'mlgate':>12}{'driver':>12}{'ratio':>8}")
    with tempfile.TemporaryDirectory() as folder:
        directory = Path(folder)
        with SqlStore(f"sqlite:///{directory}/store.db") as store:
            floor = Floor(directory / "floor.db")
            lines = [(case.name, *case.measure(rounds)) for case in cases(store, floor, scale)]
            floor.connection.close()
        lines.append(("a process that opens a store", *opening(directory, rounds)))
    for name, ours, least in lines:
        print(f"{name:42}{ours * 1e6:>10,.0f}µs{least * 1e6:>10,.0f}µs{ours / least:>8.1f}")


if __name__ == "__main__":
    main()
