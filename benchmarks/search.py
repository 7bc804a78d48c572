"""Searches of runs at 10,000, 100,000 and 1,000,000 runs, and MLflow's own store beside ours on the same data.

    python benchmarks/search.py [--sizes 10000 100000 1000000] [--rounds 5] [--mlflow-up-to 10000] [--quick]
    python benchmarks/search.py --database postgresql

Each size is a database of its own, in SQLite or in a PostgreSQL or MariaDB that is started for this: one experiment
holds eight tenths of the runs, two metrics, two params and three tags each. A search asks for one page of 100 whole
runs. The sizes are measured in turn within a round; medians in milliseconds and the ratio of the largest to the
smallest are printed. Target: the same order of time at every size.

MLflow's store is filled with the same rows (in its own schema) up to `--mlflow-up-to` runs, in an environment of its
own, and asked the same searches in turn with ours; the last column is its time over ours at the largest common size.
With a database server, ours is measured alone.
"""

from __future__ import annotations

import argparse
import json
import random
import sqlite3
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, closing, contextmanager
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Table
from sqlalchemy import make_url

sys.path.insert(0, str(Path(__file__).parents[1]))

from mlgate_tracking.store.sql import SqlStore
from mlgate_tracking.store.values import text_hash

PAGE = 100
KEYS = ("accuracy", "loss", "rate", "depth", "team", "kind", "rare", "mlflow.runName")

SEARCHES: dict[str, dict[str, Any]] = {
    "newest first": {},
    "newest first, the next page": {"page": 2},
    "a tag that 20 runs have": {"filter_string": "tags.rare = 'yes'"},
    "a tag that 1 in 100 has": {"filter_string": "tags.team = 'team3'"},
    "a tag that half have": {"filter_string": "tags.kind = 'a'"},
    "a param that 1 in 1,000 has": {"filter_string": "params.rate = '0.77'"},
    "a metric that 1 in 100 reaches": {"filter_string": "metrics.accuracy > 0.99"},
    "a metric and a tag and a param": {
        "filter_string": "metrics.accuracy > 0.9 AND tags.kind = 'a' AND params.depth = '3'"
    },
    "nothing matches": {"filter_string": "metrics.accuracy > 2"},
    "best metric first": {"order_by": ["metrics.accuracy DESC"]},
    "best metric first, with a tag": {"order_by": ["metrics.accuracy DESC"], "filter_string": "tags.team = 'team3'"},
    "by end time": {"order_by": ["attributes.end_time DESC"]},
    "one run by name": {"filter_string": "attributes.run_name = 'run-500'"},
}


# --- the data ---------------------------------------------------------------------------------------------------------


def generated(count: int) -> Iterator[dict[str, Any]]:
    """Runs as plain data, the same at every call."""
    dice = random.Random(1)
    for number in range(1, count + 1):
        tags = {
            "team": f"team{dice.randrange(100)}",
            "kind": "ab"[number % 2],
            "mlflow.runName": f"run-{number}",
        }
        if number % (count // 20) == 7:
            tags["rare"] = "yes"
        metrics = {"accuracy": dice.random()}
        if number % 3:
            metrics["loss"] = dice.random()
        yield {
            "run_id": f"{dice.getrandbits(128):032x}",
            "experiment_id": 1 if number % 10 < 8 else 2 + number % 9,
            "name": f"run-{number}",
            "start_time": 1_000_000 + number * 10,
            "end_time": 1_000_005 + number * 10 if number % 5 else None,
            "metrics": metrics,
            "params": {"rate": f"0.{number % 1000}", "depth": str(number % 7)},
            "tags": tags,
        }


def chunks(count: int, size: int = 20_000) -> Iterator[list[dict[str, Any]]]:
    chunk: list[dict[str, Any]] = []
    for run in generated(count):
        chunk.append(run)
        if len(chunk) == size:
            yield chunk
            chunk = []
    yield chunk


def fill(uri: str, count: int) -> None:
    """A database of ours with `count` runs."""
    with SqlStore(uri) as store:
        for number in range(1, 11):
            store.create_experiment(f"experiment {number}")
    keys = {name: number for number, name in enumerate(KEYS, 1)}
    with loader(uri) as load:
        load("attribute_keys", ["key_id", "name"], [(number, name) for name, number in keys.items()])
        first = 1
        for chunk in chunks(count):
            numbered = list(enumerate(chunk, first))
            first += len(chunk)
            names = ["run_pk", "run_id", "experiment_id", "name", "start_time", "end_time"]
            constant = {"user_id": "me", "status": "FINISHED", "artifact_uri": "mlflow-artifacts:/1/x", "attempt": 0}
            load(
                "runs",
                [*names, *constant],
                [(pk, *(run[name] for name in names[1:]), *constant.values()) for pk, run in numbered],
            )
            load(
                "latest_metrics",
                ["run_pk", "key_id", "experiment_id", "value", "is_nan", "timestamp", "step"],
                [
                    (pk, keys[key], run["experiment_id"], value, 0, 0, 0)
                    for pk, run in numbered
                    for key, value in run["metrics"].items()
                ],
            )
            for table in ("params", "tags"):
                load(
                    table,
                    ["run_pk", "key_id", "experiment_id", "value", "value_hash"],
                    [
                        (pk, keys[key], run["experiment_id"], value, text_hash(value))
                        for pk, run in numbered
                        for key, value in run[table].items()
                    ],
                )


Load = Callable[[str, list[str], list[tuple[Any, ...]]], None]


@contextmanager
def loader(uri: str) -> Iterator[Load]:
    """A function that adds rows to a table: its name, columns, rows."""
    if uri.startswith("sqlite:///"):
        with closing(sqlite3.connect(uri.removeprefix("sqlite:///"))) as database:
            database.execute("PRAGMA synchronous = OFF")

            def insert(table: str, columns: list[str], rows: list[tuple[Any, ...]]) -> None:
                marks = ", ".join("?" * len(columns))
                database.executemany(f"INSERT INTO {table} ({', '.join(columns)}) VALUES ({marks})", rows)
                database.commit()

            yield insert
        return
    if uri.startswith("mysql"):
        yield from _mariadb(uri)
        return
    import psycopg

    with closing(psycopg.connect(uri, autocommit=True)) as connection:

        def copy(table: str, columns: list[str], rows: list[tuple[Any, ...]]) -> None:
            with connection.cursor().copy(f"COPY {table} ({', '.join(columns)}) FROM STDIN") as writing:
                for row in rows:
                    writing.write_row(row)

        yield copy
        connection.execute("VACUUM ANALYZE")  # as the server does by itself within minutes


def _mariadb(uri: str) -> Iterator[Load]:
    import pymysql

    with closing(pymysql.connect(**make_url(uri).translate_connect_args(username="user"))) as connection:

        def insert(table: str, columns: list[str], rows: list[tuple[Any, ...]]) -> None:
            marks = ", ".join(["%s"] * len(columns))
            connection.cursor().executemany(f"INSERT INTO {table} ({', '.join(columns)}) VALUES ({marks})", rows)
            connection.commit()

        yield insert
        connection.cursor().execute("ANALYZE TABLE runs, latest_metrics, params, tags")


@contextmanager
def databases(kind: str, directory: Path) -> Iterator[Callable[[int], str]]:
    """A maker of database URIs, one for each size."""
    if kind == "sqlite":
        yield lambda size: f"sqlite:///{directory}/{size}.db"
        return
    from tests.support.databases import mariadb, postgresql

    with postgresql(durable=True) if kind == "postgresql" else mariadb() as engine:
        yield lambda _size: engine.create()


# --- MLflow's side ----------------------------------------------------------------------------------------------------

THEIRS = """
import json, sqlite3, sys, time
from mlflow.entities import ViewType
from mlflow.store.tracking.sqlalchemy_store import SqlAlchemyStore

path, page = sys.argv[1], int(sys.argv[2])
store = SqlAlchemyStore("sqlite:///" + path, "/tmp/unused")
for number in range(1, 11):
    store.create_experiment("experiment %d" % number)
database = sqlite3.connect(path)
database.execute("PRAGMA synchronous = OFF")
for line in sys.stdin:
    if line == "\\n":
        break
    chunk = json.loads(line)
    database.executemany(
        "INSERT INTO runs (run_uuid, name, user_id, status, start_time, end_time, lifecycle_stage, artifact_uri, "
        "experiment_id, source_type, source_name, entry_point_name, source_version) "
        "VALUES (?, ?, 'me', 'FINISHED', ?, ?, 'active', 'mlflow-artifacts:/1/x/artifacts', ?, 'UNKNOWN', '', '', '')",
        [(r["run_id"], r["name"], r["start_time"], r["end_time"], r["experiment_id"]) for r in chunk])
    database.executemany(
        "INSERT INTO latest_metrics (key, value, timestamp, step, is_nan, run_uuid) VALUES (?, ?, 0, 0, 0, ?)",
        [(k, v, r["run_id"]) for r in chunk for k, v in r["metrics"].items()])
    for table in ("params", "tags"):
        database.executemany(
            "INSERT INTO %s (key, value, run_uuid) VALUES (?, ?, ?)" % table,
            [(k, v, r["run_id"]) for r in chunk for k, v in r[table].items()])
    database.commit()
database.close()
print("ready", flush=True)
for line in sys.stdin:
    asked = json.loads(line)
    pages = asked.pop("page", 1)
    token = None
    for _ in range(pages):
        started = time.perf_counter()
        found = store.search_runs(["1"], asked.get("filter_string"), ViewType.ACTIVE_ONLY, page,
                                  asked.get("order_by"), token)
        elapsed = time.perf_counter() - started
        token = found.token
    print(json.dumps([elapsed, len(found)]), flush=True)
"""


class Theirs:
    """MLflow's store over `count` runs, in a process of its own."""

    def __init__(self, python: Path, directory: Path, count: int) -> None:
        directory.mkdir()
        self._process = subprocess.Popen(
            [python, "-W", "ignore", "-c", THEIRS, directory / "mlflow.db", str(PAGE)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            text=True,
            cwd=directory,
        )
        assert self._process.stdin is not None
        for chunk in chunks(count):
            self._process.stdin.write(json.dumps(chunk) + "\n")
        self._process.stdin.write("\n")
        self._process.stdin.flush()
        if self._answer() != "ready\n":
            sys.exit("MLflow's store could not be filled")

    def _answer(self) -> str:
        assert self._process.stdout is not None
        return self._process.stdout.readline()

    def time(self, search: dict[str, Any]) -> tuple[float, int]:
        assert self._process.stdin is not None
        self._process.stdin.write(json.dumps(search) + "\n")
        self._process.stdin.flush()
        elapsed, found = json.loads(self._answer())
        return elapsed, found

    def close(self) -> None:
        assert self._process.stdin is not None
        self._process.stdin.close()
        self._process.wait(30)


def mlflow_environment(directory: Path, requirement: str) -> Path:
    uv = str(Path(sys.executable).with_name("uv"))
    subprocess.run([uv, "venv", "--quiet", "--python", sys.executable, str(directory)], check=True)
    python = directory / "bin" / "python"
    subprocess.run([uv, "pip", "install", "--quiet", "--compile-bytecode", "-p", str(python), requirement], check=True)
    return python


# --- measuring --------------------------------------------------------------------------------------------------------


def ours(store: SqlStore, search: dict[str, Any]) -> tuple[float, int]:
    options = {key: value for key, value in search.items() if key != "page"}
    token = None
    elapsed, found = 0.0, 0
    for _ in range(search.get("page", 1)):
        started = time.perf_counter()
        page = store.search_runs(["1"], max_results=PAGE, page_token=token, **options)
        elapsed, found, token = time.perf_counter() - started, len(page.items), page.token
    return elapsed, found


def measure(stores: dict[int, SqlStore], theirs: dict[int, Theirs], rounds: int) -> dict[str, dict[Any, float]]:
    """Median milliseconds by search and by size; MLflow's under (size, "mlflow")."""
    table: dict[str, dict[Any, float]] = {}
    for name, search in SEARCHES.items():
        times: dict[Any, list[float]] = {}
        for turn in range(rounds + 1):  # the first warms up
            for size, store in stores.items():
                elapsed, found = ours(store, search)
                if turn:
                    times.setdefault(size, []).append(elapsed)
                if size in theirs:
                    their_time, their_found = theirs[size].time(search)
                    assert their_found == found, f"{name}: MLflow finds {their_found} runs, mlgate {found}"
                    if turn:
                        times.setdefault((size, "mlflow"), []).append(their_time)
        table[name] = {key: statistics.median(values) * 1000 for key, values in times.items()}
    return table


def show(table: dict[str, dict[Any, float]], sizes: list[int], shared: list[int]) -> None:
    shown = Table(title=f"one page of {PAGE} whole runs, milliseconds (medians)")
    shown.add_column("search")
    for size in sizes:
        shown.add_column(f"{size:,} runs", justify="right")
    shown.add_column(f"{sizes[-1]:,} / {sizes[0]:,}", justify="right")
    for size in shared:
        shown.add_column(f"MLflow, {size:,}", justify="right")
    if shared:
        shown.add_column("MLflow / mlgate", justify="right")
    for name, row in table.items():
        cells = [name, *(f"{row[size]:.1f}" for size in sizes), f"{row[sizes[-1]] / row[sizes[0]]:.1f}"]
        cells += [f"{row[size, 'mlflow']:.0f}" for size in shared]
        if shared:
            cells.append(f"{row[shared[-1], 'mlflow'] / row[shared[-1]]:.0f} x")
        shown.add_row(*cells)
    Console(width=180).print(shown)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--sizes", type=int, nargs="+", default=[10_000, 100_000, 1_000_000])
    parser.add_argument("--database", choices=("sqlite", "postgresql", "mariadb"), default="sqlite")
    parser.add_argument("--rounds", type=int, default=12, help="the first ten of PostgreSQL's plan anew")
    parser.add_argument("--mlflow", default="mlflow>=3", help="the MLflow to install and compare with")
    parser.add_argument(
        "--mlflow-up-to", type=int, default=10_000, help="0: without MLflow; at more a search takes minutes"
    )
    parser.add_argument("--quick", action="store_true", help="1,000 and 10,000 runs, three rounds")
    options = parser.parse_args()
    sizes = [1_000, 10_000] if options.quick else sorted(options.sizes)
    rounds = 3 if options.quick else options.rounds
    with tempfile.TemporaryDirectory(prefix="mlgate-bench-") as name, ExitStack() as stack:
        work = Path(name)
        uri_of = stack.enter_context(databases(options.database, work))
        shared = [size for size in sizes if size <= options.mlflow_up_to and options.database == "sqlite"]
        python = mlflow_environment(work / "mlflow", options.mlflow) if shared else None
        theirs: dict[int, Theirs] = {}
        for size in shared:
            assert python is not None
            theirs[size] = Theirs(python, work / f"theirs-{size}", size)
            stack.callback(theirs[size].close)
        stores: dict[int, SqlStore] = {}
        for size in sizes:
            uri = uri_of(size)
            fill(uri, size)
            stores[size] = stack.enter_context(SqlStore(uri))
        show(measure(stores, theirs, rounds), sizes, shared)


if __name__ == "__main__":
    main()
