"""`mlgate server` against `mlflow server`, and against the floor: an empty request plus the database's own driver.

    python benchmarks/server.py [--database sqlite|postgresql] [--rounds 3] [--mlflow PYTHON] [--quick]

Both servers run with their default options, each on a database and an artifact directory of its own that is filled
once: runs with params, metrics and tags, and one metric of 50,000 points. Then they are started in turn (A B A B ...),
asked the same by the same client, and stopped. Medians over the rounds are printed, with MLflow's over ours (target:
at least 10 for each) and ours over the floor (target: at most 3; files at most 1.5).

The floor of a call is the latency of `GET /health` of our server, once for each request, plus the same rows written or
read with the driver alone (a committed transaction for each call that writes); of a file, the same bytes over a
loopback socket. Throughput has the floor of an empty request with as many clients.

MLflow runs in an environment of its own: `--mlflow` names its interpreter, otherwise one is made with uv.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import signal
import socket
import sqlite3
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Table

sys.path.insert(0, str(Path(__file__).parents[1]))

API = "/api/2.0/mlflow/"
BATCH = 1000
CLIENTS = 16


@dataclass(frozen=True)
class Sizes:
    """How much of everything."""

    runs: int = 200
    points: int = 50_000
    calls: int = 60
    batches: int = 8
    ingests: int = 15
    searches: int = 12
    histories: int = 2
    transfers: int = 2
    megabytes: int = 64
    seconds: float = 4.0


QUICK = Sizes(30, 5_000, 15, 2, 3, 3, 1, 1, 8, 1.0)


# --- a client that costs little ---------------------------------------------------------------------------------------


class Client:
    """HTTP over one kept connection; requests and answers are bytes, so that the client's share stays small."""

    def __init__(self, port: int) -> None:
        self.port = port
        self.connect()

    def connect(self) -> None:
        self.socket = socket.create_connection(("127.0.0.1", self.port), timeout=300)
        self.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self.rest = b""

    def close(self) -> None:
        self.socket.close()

    def ask(self, request: bytes) -> bytes:
        """Send and read; once more on a new connection when the server has closed this one."""
        try:
            self.socket.sendall(request)
            return self.answer()
        except ConnectionError:
            self.close()
            self.connect()
            self.socket.sendall(request)
            return self.answer()

    def answer(self) -> bytes:
        data = self.rest
        while (end := data.find(b"\r\n\r\n")) < 0:
            data += self._more()
        head, body = data[:end].lower(), data[end + 4 :]
        status = head[9:12]
        if b"transfer-encoding: chunked" in head:
            body = self._chunked(body)
        else:
            length = int(head.split(b"content-length:")[1].split(b"\r\n")[0])
            parts, size = [body], len(body)
            while size < length:
                parts.append(self._more())
                size += len(parts[-1])
            whole = b"".join(parts)
            body, self.rest = whole[:length], whole[length:]
        if status != b"200":
            raise RuntimeError(f"{status.decode()}: {body[:300]!r}")
        return body

    def _chunked(self, data: bytes) -> bytes:
        parts = []
        while True:
            while b"\r\n" not in data:
                data += self._more()
            size_text, _, data = data.partition(b"\r\n")
            size = int(size_text, 16)
            while len(data) < size + 2:
                data += self._more()
            parts.append(data[:size])
            data = data[size + 2 :]
            if size == 0:
                self.rest = data
                return b"".join(parts)

    def _more(self) -> bytes:
        data = self.socket.recv(1 << 20)
        if not data:
            raise ConnectionError("the server closed the connection")
        return data


def post(path: str, **fields: Any) -> bytes:
    body = json.dumps(fields).encode()
    head = f"POST {API}{path} HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Type: application/json\r\n"
    return f"{head}Content-Length: {len(body)}\r\n\r\n".encode() + body


def get(path: str) -> bytes:
    return f"GET {path} HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n".encode()


def metrics(count: int, step: int, key: str = "k") -> list[dict[str, Any]]:
    return [{"key": f"{key}{n}", "value": n * 0.5, "timestamp": 1, "step": step} for n in range(count)]


def run_data(number: int) -> dict[str, Any]:
    """20 params, 20 metrics."""
    return {
        "params": [{"key": f"p{n}", "value": str((number * 7 + n) % 50)} for n in range(20)],
        "metrics": [
            {"key": f"m{n}", "value": (number * 13 + n) % 101 / 100, "timestamp": 1, "step": 0} for n in range(20)
        ],
    }


def ingest(client: Client, number: int) -> str:
    tags = [{"key": f"t{n}", "value": str((number + n) % 5)} for n in range(5)]
    made = json.loads(client.ask(post("runs/create", experiment_id="0", start_time=number, tags=tags)))
    run_id = str(made["run"]["info"]["run_id"])
    client.ask(post("runs/log-batch", run_id=run_id, **run_data(number)))
    client.ask(post("runs/update", run_id=run_id, status="FINISHED", end_time=number + 1))
    return run_id


# --- servers ----------------------------------------------------------------------------------------------------------


@dataclass
class Peer:
    """One server on data of its own."""

    name: str
    argv: Callable[[int], list[str]]
    directory: Path
    env: dict[str, str] = field(default_factory=dict)
    run_id: str = ""
    steps: Iterator[int] = field(default_factory=lambda: iter(range(10**9)))

    @contextmanager
    def running(self) -> Iterator[tuple[int, float, int]]:
        """Port, seconds until the first answer, process id."""
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            port = probe.getsockname()[1]
        log = (self.directory / "log").open("ab")
        begin = time.perf_counter()
        process = subprocess.Popen(
            self.argv(port), cwd=self.directory, stdout=log, stderr=log, start_new_session=True,
            env={**os.environ, **self.env},
        )  # fmt: skip
        try:
            while True:
                with suppress(OSError, RuntimeError):
                    client = Client(port)
                    client.ask(get("/health"))
                    client.close()
                    break
                if process.poll() is not None or time.perf_counter() - begin > 400:
                    sys.exit(f"{self.name} did not start; see {self.directory / 'log'}")
                time.sleep(0.01)
            yield port, time.perf_counter() - begin, process.pid
        finally:
            with suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGTERM)
            try:
                process.wait(40)
            except subprocess.TimeoutExpired:
                os.killpg(process.pid, signal.SIGKILL)
                process.wait()
            log.close()

    def fill(self, sizes: Sizes) -> None:
        with self.running() as (port, _, _):
            client = Client(port)
            for number in range(sizes.runs):
                ingest(client, number)
            made = json.loads(client.ask(post("runs/create", experiment_id="0", start_time=1)))
            self.run_id = made["run"]["info"]["run_id"]
            for first in range(0, sizes.points, BATCH):
                points = [
                    {"key": "loss", "value": n * 0.1, "timestamp": n, "step": n} for n in range(first, first + BATCH)
                ]
                client.ask(post("runs/log-batch", run_id=self.run_id, metrics=points))
            client.close()


def memory(pid: int) -> float:
    """Resident megabytes of a process and all its children."""
    import psutil

    root = psutil.Process(pid)
    return sum(process.memory_info().rss for process in [root, *root.children(recursive=True)]) / 1e6


# --- what is measured -------------------------------------------------------------------------------------------------


def median_ms(call: Callable[[], object], count: int) -> float:
    call()
    times = []
    for _ in range(count):
        begin = time.perf_counter()
        call()
        times.append(time.perf_counter() - begin)
    return statistics.median(times) * 1000


def per_second(port: int, request: Callable[[int, int], bytes], seconds: float) -> float:
    """Requests a second that `CLIENTS` clients get answered together."""
    stop = time.perf_counter() + seconds
    counts = [0] * CLIENTS

    def ask(number: int) -> None:
        client = Client(port)
        while time.perf_counter() < stop:
            client.ask(request(number, counts[number]))
            counts[number] += 1
        client.close()

    threads = [threading.Thread(target=ask, args=(number,)) for number in range(CLIENTS)]
    begin = time.perf_counter()
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return sum(counts) / (time.perf_counter() - begin)


def history(client: Client, run_id: str) -> int:
    count, token = 0, ""
    while True:
        query = f"run_id={run_id}&metric_key=loss&max_results=25000&page_token={token}"
        page = json.loads(client.ask(get(f"{API}metrics/get-history?{query}")))
        count += len(page["metrics"])
        token = page.get("next_page_token", "")
        if not token:
            return count


FOUR_CLAUSES = "metrics.m1 > 0.1 and params.p1 != '3' and tags.t1 = '2' and attributes.status = 'FINISHED'"


def measure(peer: Peer, sizes: Sizes) -> dict[str, float]:
    with peer.running() as (port, start, pid):
        client = Client(port)
        run_id = peer.run_id
        steps = peer.steps

        def log_metric() -> bytes:
            return client.ask(
                post("runs/log-metric", run_id=run_id, key="one", value=1.5, timestamp=1, step=next(steps))
            )

        def search(**fields: Any) -> bytes:
            return client.ask(post("runs/search", experiment_ids=["0"], **fields))

        content = os.urandom(1 << 20) * sizes.megabytes
        path = f"/api/2.0/mlflow-artifacts/artifacts/0/{run_id}/artifacts/big.bin"
        upload = f"PUT {path} HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Length: {len(content)}\r\n\r\n".encode()

        def send_file() -> None:
            client.socket.sendall(upload)
            client.socket.sendall(content)
            client.answer()

        numbers = iter(range(1000, 10**9))
        salt = next(steps)
        result = {
            "log-metric, one client (ms)": median_ms(log_metric, sizes.calls),
            f"log-batch of {BATCH:,} metrics (ms)": median_ms(
                lambda: client.ask(post("runs/log-batch", run_id=run_id, metrics=metrics(BATCH, next(steps)))),
                sizes.batches,
            ),
            "a run: 20 params, 20 metrics, 5 tags (ms)": median_ms(
                lambda: ingest(client, next(numbers)), sizes.ingests
            ),
            "newest 100 runs (ms)": median_ms(lambda: search(max_results=100), sizes.searches),
            "4 clauses, by a metric (ms)": median_ms(
                lambda: search(filter=FOUR_CLAUSES, order_by=["metrics.m2 DESC"], max_results=100), sizes.searches
            ),
            "best run (ms)": median_ms(lambda: search(order_by=["metrics.m1 DESC"], max_results=1), sizes.searches),
            f"history of {sizes.points:,} points (ms)": median_ms(lambda: history(client, run_id), sizes.histories),
            f"{sizes.megabytes} MB up (ms)": median_ms(send_file, sizes.transfers),
            f"{sizes.megabytes} MB down (ms)": median_ms(lambda: client.ask(get(path)), sizes.transfers),
            f"log-metric, {CLIENTS} clients (1/s)": per_second(
                port,
                lambda number, count: post(
                    "runs/log-metric", run_id=run_id, key=f"w{salt}-{number}", value=1.5, timestamp=1, step=count
                ),
                sizes.seconds,
            ),
            "start (ms)": start * 1000,
            "resident memory (MB)": memory(pid),
        }
        client.close()
        return result


# --- the floor --------------------------------------------------------------------------------------------------------


class Driver:
    """The same rows with the driver alone, in tables of its own."""

    def __init__(self, connection: Any, mark: str) -> None:
        self.connection = connection
        self.mark = mark
        self.step = 0
        cursor = connection.cursor()
        cursor.execute("CREATE TABLE floor_m (r INT, k VARCHAR(50), t BIGINT, s BIGINT, v DOUBLE PRECISION)")
        cursor.execute("CREATE INDEX floor_m_key ON floor_m (r, k, s)")
        cursor.execute("CREATE TABLE floor_p (r INT, k VARCHAR(50), v VARCHAR(500))")
        cursor.execute("CREATE INDEX floor_p_key ON floor_p (r)")
        connection.commit()

    def write(self, metric_rows: int, other_rows: int = 0, run: int = 0) -> None:
        cursor = self.connection.cursor()
        self.step += 1
        row = ", ".join([self.mark] * 5)
        if metric_rows:
            values = [(run, f"k{n}", 1, self.step, n * 0.5) for n in range(metric_rows)]
            cursor.executemany(f"INSERT INTO floor_m VALUES ({row})", values)
        if other_rows:
            values_of_others = [(run, f"p{n}", str(n)) for n in range(other_rows)]
            cursor.executemany(f"INSERT INTO floor_p VALUES ({', '.join([self.mark] * 3)})", values_of_others)
        self.connection.commit()

    def read(self, sql: str) -> int:
        cursor = self.connection.cursor()
        cursor.execute(sql)
        found = cursor.fetchall()
        self.connection.commit()
        return len(found)


def floor(peer: Peer, driver: Driver, sizes: Sizes) -> dict[str, float]:
    for run in range(1, 101):
        driver.write(20, 25, run)
    for _ in range(sizes.points // BATCH):
        driver.write(BATCH, run=500)
    with peer.running() as (port, _, _):
        client = Client(port)
        empty = median_ms(lambda: client.ask(get("/health")), sizes.calls * 5)
        throughput = per_second(port, lambda *_: get("/health"), sizes.seconds)
        client.close()

    def one_run() -> None:
        driver.write(0, 6)
        driver.write(20, 20)
        driver.write(0, 1)

    def page(runs: int) -> Callable[[], int]:
        where = f"WHERE r BETWEEN 1 AND {runs}"
        return lambda: driver.read(f"SELECT * FROM floor_m {where}") + driver.read(f"SELECT * FROM floor_p {where}")

    pages = -(-sizes.points // 25_000)
    points = "SELECT t, s, v FROM floor_m WHERE r = 500 ORDER BY k, s"
    bytes_over = loopback(sizes.megabytes)
    return {
        "log-metric, one client (ms)": empty + median_ms(lambda: driver.write(1), sizes.calls),
        f"log-batch of {BATCH:,} metrics (ms)": empty + median_ms(lambda: driver.write(BATCH), sizes.batches),
        "a run: 20 params, 20 metrics, 5 tags (ms)": 3 * empty + median_ms(one_run, sizes.ingests),
        "newest 100 runs (ms)": empty + median_ms(page(100), sizes.searches),
        "4 clauses, by a metric (ms)": empty + median_ms(page(min(100, sizes.runs // 6)), sizes.searches),
        "best run (ms)": empty + median_ms(page(1), sizes.searches),
        f"history of {sizes.points:,} points (ms)": pages * empty
        + median_ms(lambda: driver.read(points), sizes.histories),
        f"{sizes.megabytes} MB up (ms)": bytes_over,
        f"{sizes.megabytes} MB down (ms)": bytes_over,
        f"log-metric, {CLIENTS} clients (1/s)": throughput,
    }


def loopback(megabytes: int) -> float:
    """Milliseconds to move so many bytes through a socket."""
    content = os.urandom(1 << 20)
    with socket.create_server(("127.0.0.1", 0)) as listener:

        def feed() -> None:
            for _ in range(4):
                connection, _ = listener.accept()
                for _ in range(megabytes):
                    connection.sendall(content)
                connection.close()

        thread = threading.Thread(target=feed, daemon=True)
        thread.start()

        def read() -> None:
            with socket.create_connection(listener.getsockname()) as connection:
                while connection.recv(1 << 20):
                    pass

        took = median_ms(read, 3)
        thread.join()
    return took


# --- all of it --------------------------------------------------------------------------------------------------------


@contextmanager
def databases(kind: str, directory: Path) -> Iterator[Callable[[str], str]]:
    """A maker of database URIs."""
    if kind == "sqlite":
        yield lambda name: f"sqlite:///{directory / name / 'store.db'}"
        return
    from tests.support.databases import postgresql

    with postgresql() as engine:
        yield lambda _name: engine.create()


def driver_for(kind: str, uri: str) -> Driver:
    if kind == "sqlite":
        Path(uri.removeprefix("sqlite:///")).parent.mkdir(exist_ok=True)
        connection = sqlite3.connect(uri.removeprefix("sqlite:///"))
        connection.execute("PRAGMA journal_mode = WAL")
        connection.execute("PRAGMA synchronous = FULL")
        return Driver(connection, "?")
    import psycopg

    return Driver(psycopg.connect(uri), "%s")


def mlflow_python(given: str | None, kind: str) -> str:
    if given:
        return given
    from tests.support.environments import environment

    extra = ["psycopg2-binary"] if kind == "postgresql" else []
    return str(environment("mlflow-server", ["mlflow>=3,<4", *extra]))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--database", choices=("sqlite", "postgresql"), default="sqlite")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--mlflow", help="interpreter of an environment with MLflow")
    parser.add_argument("--quick", action="store_true", help="little data, one round: does it work?")
    parser.add_argument("--no-mlflow", action="store_true", help="ours and the floor only")
    options = parser.parse_args()
    sizes, rounds = (QUICK, 1) if options.quick else (Sizes(), options.rounds)
    directory = Path(tempfile.mkdtemp(prefix="server-benchmark-"))
    try:
        with databases(options.database, directory) as uri_of:
            report(directory, uri_of, options, sizes, rounds)
    finally:
        shutil.rmtree(directory, ignore_errors=True)


def report(
    directory: Path, uri_of: Callable[[str], str], options: argparse.Namespace, sizes: Sizes, rounds: int
) -> None:
    (directory / "mlgate").mkdir()
    ours_uri = uri_of("mlgate")
    command = [sys.executable, "-m", "mlgate", "server", "--backend-store-uri", ours_uri]
    command += ["--artifacts-destination", str(directory / "mlgate" / "artifacts"), "--port"]
    ours = Peer(
        "mlgate", lambda port: [*command, str(port)], directory / "mlgate", {"MLGATE_HOME": str(directory / "home")}
    )
    peers = [ours]
    if not options.no_mlflow:
        (directory / "mlflow").mkdir()
        python, theirs_uri = mlflow_python(options.mlflow, options.database), uri_of("mlflow")
        peers.insert(
            0,
            Peer(
                "mlflow",
                lambda port: [
                    python, "-m", "mlflow", "server", "--host", "127.0.0.1", "--port", str(port),
                    "--backend-store-uri", theirs_uri, "--artifacts-destination", str(directory / "mlflow" / "files"),
                ],
                directory / "mlflow",
                {"MLFLOW_DISABLE_TELEMETRY": "true", "DO_NOT_TRACK": "true"},
            ),
        )  # fmt: skip
    console = Console(width=110)
    for peer in peers:
        console.print(f"filling {peer.name}: {sizes.runs} runs, {sizes.points:,} points", style="dim")
        peer.fill(sizes)
    rows: dict[str, list[dict[str, float]]] = {peer.name: [] for peer in peers}
    for number in range(rounds):
        for peer in peers:
            console.print(f"round {number + 1} of {rounds}: {peer.name}", style="dim")
            rows[peer.name].append(measure(peer, sizes))
    lowest = floor(ours, driver_for(options.database, uri_of("floor")), sizes)
    console.print(table(rows, lowest, options.database))


def table(rows: dict[str, list[dict[str, float]]], lowest: dict[str, float], database: str) -> Table:
    shown = Table(title=f"servers on {database}")
    for column in ("", "mlflow", "mlgate", "ratio", "floor", "over floor"):
        shown.add_column(column, justify="left" if not column else "right")
    for what in rows["mlgate"][0]:
        middle = {name: statistics.median(round_[what] for round_ in found) for name, found in rows.items()}
        ours, theirs, least = middle["mlgate"], middle.get("mlflow"), lowest.get(what)
        rate = what.endswith("(1/s)")
        ratio = None if theirs is None else (ours / theirs if rate else theirs / ours)
        above = None if least is None else (least / ours if rate else ours / least)
        shown.add_row(
            what,
            *("" if value is None else f"{value:,.{2 if value < 100 else 0}f}" for value in (theirs, ours)),
            "" if ratio is None else f"{ratio:.1f} x",
            "" if least is None else f"{least:,.2f}",
            "" if above is None else f"{above:.1f} x",
        )
    return shown


if __name__ == "__main__":
    main()
