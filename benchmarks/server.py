"""`mlgate server` against `mlflow server`, and against the floor: an empty request plus the database's own driver.

    python benchmarks/server.py [--database sqlite postgresql] [--best] [--quick] [--mlflow PYTHON | --no-mlflow]

Both servers run with their default options, each on a database and an artifact directory of its own that is filled
first: runs with params, metrics and tags, and one metric of 50,000 points. Then each figure is taken call by call in
turn (MLflow, ours, the floor, MLflow, ...), by one client that asks both the same, so that whatever else the machine
does falls on all three. Medians are printed (with `--best` each one's quickest call, which says more on a busy
machine), with MLflow's over ours (target: at least 10 for each) and ours over the floor (target: at most 3; files at
most 1.5).

The floor of a call is `GET /health` of our server, once for each request, plus the same rows written or read with the
driver alone (a committed transaction for each call that writes); of a file, the same bytes through a loopback socket to
or from another process, which neither looks at them nor keeps them. Throughput has the floor of empty requests.

PostgreSQL is started for this, with its own defaults (it waits for the disk). MLflow runs in an environment of its own:
`--mlflow` names its interpreter, otherwise one is made with uv.
"""

from __future__ import annotations

import argparse
import itertools
import json
import os
import selectors
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
from contextlib import ExitStack, closing, contextmanager, suppress
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, TypeVar

from rich.console import Console
from rich.table import Table

sys.path.insert(0, str(Path(__file__).parents[1]))

T = TypeVar("T")

API = "/api/2.0/mlflow/"
BATCH = 1000
CLIENTS = 16
PAGE = 25_000
"""Points of a history that one answer holds at most."""


@dataclass(frozen=True)
class Sizes:
    """How much of everything. Calls are made `calls` times of ours and of the floor, MLflow is asked less often."""

    runs: int = 200
    points: int = 50_000
    megabytes: int = 64
    calls: int = 1
    """Multiplies the number of calls."""
    seconds: float = 2.0
    """One turn of the throughput."""
    starts: int = 3
    typical: Callable[[list[float]], float] = statistics.median
    """Which of several times counts."""


QUICK = Sizes(60, 5_000, 8, 0, 0.5, 1)


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

    def ask(self, *request: bytes) -> bytes:
        return self.again(lambda: self._exchange(request))

    def _exchange(self, request: tuple[bytes, ...]) -> bytes:
        for part in request:
            self.socket.sendall(part)
        return self.answer()

    def again(self, exchange: Callable[[], T]) -> T:
        """Once more on a new connection when the server has closed this one; a busy MLflow restarts its workers."""
        for pause in (0, 1, 2, 4, 8, 16):
            try:
                return exchange()
            except ConnectionError:
                self.close()
                time.sleep(pause)
                self.connect()
        return exchange()

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

    def drain(self, request: bytes, buffer: bytearray) -> int:
        """Send, and read an answer of known length without keeping it; the length of its body."""
        return self.again(lambda: self._drain(request, buffer))

    def _drain(self, request: bytes, buffer: bytearray) -> int:
        self.socket.sendall(request)
        data = b""
        while (end := data.find(b"\r\n\r\n")) < 0:
            data += self._more()
        length = int(data[:end].lower().split(b"content-length:")[1].split(b"\r\n")[0])
        left = length - (len(data) - end - 4)
        while left > 0:
            count = self.socket.recv_into(buffer, min(left, len(buffer)))
            if not count:
                raise ConnectionError("the server closed the connection")
            left -= count
        return length

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


def delete(path: str) -> bytes:
    return f"DELETE {path} HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n".encode()


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
    port: int = 0
    process: int = 0
    seconds: float = 0.0
    """From the start to the first answer."""
    run_id: str = ""
    """The run with the long history."""
    steps: Iterator[int] = field(default_factory=itertools.count)
    runs: Iterator[int] = field(default_factory=lambda: itertools.count(1000))

    @contextmanager
    def running(self) -> Iterator[Peer]:
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            self.port = probe.getsockname()[1]
        self.directory.mkdir(exist_ok=True)
        with (self.directory / "log").open("ab") as log:
            begin = time.perf_counter()
            process = subprocess.Popen(
                self.argv(self.port), cwd=self.directory, stdin=subprocess.DEVNULL, stdout=log, stderr=log,
                start_new_session=True, env={**os.environ, **self.env},
            )  # fmt: skip
            try:
                while not self._answers():
                    if process.poll() is not None or time.perf_counter() - begin > 400:
                        sys.exit(f"{self.name} did not start: {(self.directory / 'log').read_text()[-2000:]}")
                    time.sleep(0.01)
                self.seconds, self.process = time.perf_counter() - begin, process.pid
                yield self
            finally:
                _end(process)

    def _answers(self) -> bool:
        with suppress(OSError, RuntimeError):
            client = Client(self.port)
            client.ask(get("/health"))
            client.close()
            return True
        return False

    def fill(self, sizes: Sizes) -> None:
        client = Client(self.port)
        for number in range(sizes.runs):
            ingest(client, number)
        made = json.loads(client.ask(post("runs/create", experiment_id="0", start_time=1)))
        self.run_id = made["run"]["info"]["run_id"]
        for first in range(0, sizes.points, BATCH):
            points = [{"key": "loss", "value": n * 0.1, "timestamp": n, "step": n} for n in range(first, first + BATCH)]
            client.ask(post("runs/log-batch", run_id=self.run_id, metrics=points))
        client.close()

    def megabytes(self) -> float:
        """Resident memory of the server and all its children."""
        import psutil

        root = psutil.Process(self.process)
        return sum(process.memory_info().rss for process in [root, *root.children(recursive=True)]) / 1e6


def _end(process: subprocess.Popen[bytes]) -> None:
    """End a server and whatever it has started, whichever session that lives in."""
    import psutil

    family: list[psutil.Process] = []
    with suppress(psutil.Error):
        family = psutil.Process(process.pid).children(recursive=True)
    with suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGTERM)
    with suppress(subprocess.TimeoutExpired):
        process.wait(20)
    for member in family:
        with suppress(psutil.Error):
            member.kill()  # psutil knows a process by its start, too, so this is never somebody else's
    with suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGKILL)
    process.wait()


# --- the floor --------------------------------------------------------------------------------------------------------


class Driver:
    """The same rows with the driver alone, in tables of its own."""

    def __init__(self, connection: Any, mark: str, sizes: Sizes) -> None:
        self.connection = connection
        self.mark = mark
        self.step = 0
        cursor = connection.cursor()
        cursor.execute("CREATE TABLE floor_m (r INT, k VARCHAR(50), t BIGINT, s BIGINT, v DOUBLE PRECISION)")
        cursor.execute("CREATE INDEX floor_m_key ON floor_m (r, k, s)")
        cursor.execute("CREATE TABLE floor_p (r INT, k VARCHAR(50), v VARCHAR(500))")
        cursor.execute("CREATE INDEX floor_p_key ON floor_p (r)")
        connection.commit()
        for run in range(1, 101):
            self.write(20, 25, run)
        for _ in range(sizes.points // BATCH):
            self.write(BATCH, run=500)

    def write(self, metric_rows: int, other_rows: int = 0, run: int = 0) -> None:
        cursor = self.connection.cursor()
        self.step += 1
        if metric_rows:
            values = [(run, f"k{n}", 1, self.step, n * 0.5) for n in range(metric_rows)]
            self._insert(cursor, "floor_m", values)
        if other_rows:
            self._insert(cursor, "floor_p", [(run, f"p{n}", str(n)) for n in range(other_rows)])
        self.connection.commit()

    def _insert(self, cursor: Any, table: str, rows: list[tuple[Any, ...]]) -> None:
        statement = f"INSERT INTO {table} VALUES ({', '.join([self.mark] * len(rows[0]))})"
        if len(rows) == 1:
            cursor.execute(statement, rows[0])
        else:
            cursor.executemany(statement, rows)

    def read(self, sql: str) -> int:
        cursor = self.connection.cursor()
        cursor.execute(sql)
        found = cursor.fetchall()
        self.connection.commit()
        return len(found)

    def page(self, runs: int) -> int:
        """Metrics, params and tags of so many runs."""
        where = f"WHERE r BETWEEN 1 AND {runs}"
        return self.read(f"SELECT * FROM floor_m {where}") + self.read(f"SELECT * FROM floor_p {where}")


SINK = """
import os, socket, sys
listener = socket.create_server(("127.0.0.1", 0))
print(listener.getsockname()[1], flush=True)
buffer = bytearray(1 << 20)
while True:
    connection, _ = listener.accept()
    order = connection.recv(1)
    size = int.from_bytes(connection.recv(8, socket.MSG_WAITALL), "big")
    if order in b"uw":
        kept = open(sys.argv[1], "xb", buffering=0)
        while size > 0:
            count = connection.recv_into(buffer)
            if order == b"w":
                kept.write(memoryview(buffer)[:count])
            size -= count or size
        kept.close()
        connection.sendall(b"k")
        os.unlink(sys.argv[1])
    else:
        while size > 0:
            size -= connection.send(memoryview(buffer)[:size])
    connection.close()
"""


class Loopback:
    """The same bytes through a socket, to or from a process that does nothing with them, or only writes them."""

    def __init__(self, port: int, content: bytes) -> None:
        self._port = port
        self._content = content
        self._buffer = bytearray(1 << 20)

    @classmethod
    @contextmanager
    def open(cls, content: bytes, file: Path) -> Iterator[Loopback]:
        process = subprocess.Popen([sys.executable, "-c", SINK, str(file)], stdout=subprocess.PIPE)
        try:
            assert process.stdout is not None
            yield cls(int(process.stdout.readline()), content)
        finally:
            process.kill()
            process.communicate()

    def up(self, order: bytes = b"u") -> None:
        with socket.create_connection(("127.0.0.1", self._port)) as connection:
            connection.sendall(order + len(self._content).to_bytes(8, "big"))
            connection.sendall(self._content)
            connection.recv(1)

    def kept(self) -> None:
        self.up(b"w")

    def down(self) -> None:
        with socket.create_connection(("127.0.0.1", self._port)) as connection:
            connection.sendall(b"d" + len(self._content).to_bytes(8, "big"))
            while connection.recv_into(self._buffer):
                pass


# --- what is measured -------------------------------------------------------------------------------------------------

FOUR_CLAUSES = "metrics.m1 > 0.1 and params.p1 != '3' and tags.t1 = '2' and attributes.status = 'FINISHED'"


class Session:
    """A connection to one server, and what is asked of it."""

    def __init__(self, peer: Peer, content: bytes) -> None:
        self._peer = peer
        self._client = Client(peer.port)
        self._content = content
        self._buffer = bytearray(1 << 20)
        self._directory = f"/api/2.0/mlflow-artifacts/artifacts/0/{peer.run_id}/artifacts/"
        self._files = itertools.count()
        self._path = ""
        """The file that was uploaded last."""

    def close(self) -> None:
        self._client.close()

    def empty(self, times: int = 1) -> None:
        for _ in range(times):
            self._client.ask(get("/health"))

    def log_metric(self) -> None:
        step = next(self._peer.steps)
        self._client.ask(
            post("runs/log-metric", run_id=self._peer.run_id, key="one", value=1.5, timestamp=1, step=step)
        )

    def log_batch(self) -> None:
        points = metrics(BATCH, next(self._peer.steps))
        self._client.ask(post("runs/log-batch", run_id=self._peer.run_id, metrics=points))

    def ingest(self) -> None:
        ingest(self._client, next(self._peer.runs))

    def newest(self) -> None:
        self._search(max_results=100)

    def four_clauses(self) -> int:
        """How many runs were found; parsing them would be the client's time."""
        found = self._search(filter=FOUR_CLAUSES, order_by=["metrics.m2 DESC"], max_results=100)
        return found.count(b'"run_uuid"')

    def best(self) -> None:
        self._search(order_by=["metrics.m1 DESC"], max_results=1)

    def _search(self, **fields: Any) -> bytes:
        return self._client.ask(post("runs/search", experiment_ids=["0"], **fields))

    def history(self) -> None:
        token = ""
        while True:
            query = f"run_id={self._peer.run_id}&metric_key=loss&max_results={PAGE}&page_token={token}"
            page = self._client.ask(get(f"{API}metrics/get-history?{query}"))
            # Parsing the points would be the client's time; the token is all that is needed.
            _, found, rest = page.rpartition(b'"next_page_token"')
            if not found:
                return
            token = rest.split(b'"')[1].decode()

    def remove(self) -> None:
        if self._path:
            self._client.ask(delete(self._path))

    def upload(self) -> None:
        self._path = f"{self._directory}{next(self._files)}.bin"
        head = f"PUT {self._path} HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Length: {len(self._content)}\r\n\r\n"
        self._client.ask(head.encode(), self._content)

    def download(self) -> None:
        assert self._client.drain(get(self._path), self._buffer) == len(self._content)


@dataclass(frozen=True)
class Figure:
    """
    Attributes:
        call: asked of both servers.
        floor: what there is no way below.
        times: calls of ours and of the floor; MLflow gets `theirs`.
        prepare: done before each call, and not timed.
    """

    name: str
    call: Callable[[Session], object]
    floor: Callable[[], object]
    times: int
    theirs: int
    prepare: Callable[[Session], object] = lambda _session: None


def figures(ours: Session, driver: Driver, loopback: Loopback, sizes: Sizes, found: int) -> list[Figure]:
    """
    Args:
        found: how many runs match the four clauses.
    """

    def ingest_floor() -> None:
        ours.empty(3)
        driver.write(0, 6)
        driver.write(20, 20)
        driver.write(0, 1)

    def after_empty(work: Callable[..., object], *arguments: object) -> Callable[[], object]:
        def both() -> None:
            ours.empty()
            work(*arguments)

        return both

    def history_floor() -> None:
        ours.empty(-(-sizes.points // PAGE))
        driver.read("SELECT t, s, v FROM floor_m WHERE r = 500 ORDER BY k, s")

    return [
        Figure("log-metric, one client (ms)", Session.log_metric, after_empty(driver.write, 1), 100, 20),
        Figure(f"log-batch of {BATCH:,} metrics (ms)", Session.log_batch, after_empty(driver.write, BATCH), 20, 3),
        Figure("a run: 20 params, 20 metrics, 5 tags (ms)", Session.ingest, ingest_floor, 40, 10),
        Figure("newest 100 runs (ms)", Session.newest, after_empty(driver.page, 100), 40, 8),
        Figure("4 clauses, by a metric (ms)", Session.four_clauses, after_empty(driver.page, found), 40, 8),
        Figure("best run (ms)", Session.best, after_empty(driver.page, 1), 60, 12),
        Figure(f"history of {sizes.points:,} points (ms)", Session.history, history_floor, 8, 2),
        Figure(f"{sizes.megabytes} MB up (ms)", Session.upload, loopback.up, 10, 5, Session.remove),
        Figure("the same; floor: and written (ms)", Session.upload, loopback.kept, 10, 2, Session.remove),
        Figure(f"{sizes.megabytes} MB down (ms)", Session.download, loopback.down, 10, 5),
    ]


@dataclass(frozen=True)
class Line:
    """One line of the table; figures end in (1/s) when more is better."""

    name: str
    ours: float
    theirs: float | None = None
    floor: float | None = None


def take(figure: Figure, ours: Session, theirs: Session | None, sizes: Sizes) -> Line:
    """Call by call in turn; the first round warms up."""
    times = max(1, figure.times * sizes.calls)
    every = -(-times // max(1, figure.theirs * sizes.calls))
    spent: dict[str, list[float]] = {"theirs": [], "ours": [], "floor": []}
    for number in range(times + 1):
        turns: list[tuple[str, Callable[[], object]]] = [
            ("ours", lambda: figure.call(ours)),
            ("floor", figure.floor),
        ]
        figure.prepare(ours)
        if theirs is not None and number % every in (0, 1 % every):
            figure.prepare(theirs)
            turns.append(("theirs", lambda: figure.call(theirs)))
        for name, call in turns:
            begin = time.perf_counter()
            call()
            if number:
                spent[name].append((time.perf_counter() - begin) * 1000)
    middle = {name: sizes.typical(found) for name, found in spent.items() if found}
    return Line(figure.name, middle["ours"], middle.get("theirs"), middle["floor"])


def per_second(port: int, request: Callable[[int], bytes], seconds: float) -> float:
    """Requests a second that `CLIENTS` connections get answered together; `request` is given a running number."""
    numbers = itertools.count()
    with selectors.DefaultSelector() as selector, ExitStack() as stack:
        for _ in range(CLIENTS):
            client = Client(port)
            stack.callback(client.close)
            selector.register(client.socket, selectors.EVENT_READ, client)
            client.socket.sendall(request(next(numbers)))
        begin, answered = time.perf_counter(), 0
        while (elapsed := time.perf_counter() - begin) < seconds:
            for key, _ in selector.select(5):
                client = key.data
                try:
                    client.answer()
                    answered += 1
                except ConnectionError:  # as above: on a new connection
                    selector.unregister(key.fileobj)
                    client.close()
                    client.connect()
                    selector.register(client.socket, selectors.EVENT_READ, client)
                client.socket.sendall(request(next(numbers)))
        for key in selector.get_map().values():  # one request of each is still on its way, and counts for nobody
            with suppress(ConnectionError):
                key.data.answer()
        return answered / elapsed


def throughput(ours: Peer, theirs: Peer | None, sizes: Sizes, driver_uri: str) -> Line:
    def log(peer: Peer, turn: int) -> float:
        def request(number: int) -> bytes:
            key = f"w{turn}-{number % CLIENTS}"
            return post("runs/log-metric", run_id=peer.run_id, key=key, value=1.5, timestamp=1, step=number)

        return per_second(peer.port, request, sizes.seconds)

    spent: dict[str, list[float]] = {"theirs": [], "ours": [], "floor": []}
    for turn in range(3):
        spent["ours"].append(log(ours, turn))
        empty = per_second(ours.port, lambda _: get("/health"), sizes.seconds / 2)
        spent["floor"].append(1 / (1 / empty + 1 / commits_per_second(driver_uri, sizes.seconds / 2)))
        if theirs is not None:
            spent["theirs"].append(log(theirs, turn))
    middle = {name: statistics.median(found) for name, found in spent.items() if found}
    return Line(f"log-metric, {CLIENTS} clients (1/s)", middle["ours"], middle.get("theirs"), middle["floor"])


def start_up(ours: Peer, theirs: Peer | None, sizes: Sizes) -> Line:
    """Starts on the filled database, before anything else runs."""
    seconds: dict[str, list[float]] = {}
    for peer, times in ((ours, sizes.starts), (theirs, 1)):
        for _ in range(times if peer is not None else 0):
            assert peer is not None
            with peer.running():
                seconds.setdefault(peer.name, []).append(peer.seconds * 1000)
    middle = {name: sizes.typical(found) for name, found in seconds.items()}
    return Line("start (ms)", middle["mlgate"], middle.get("mlflow"))


# --- all of it --------------------------------------------------------------------------------------------------------


@contextmanager
def databases(kind: str, directory: Path) -> Iterator[Callable[[str], str]]:
    """A maker of database URIs."""
    if kind == "sqlite":
        yield lambda name: f"sqlite:///{directory / name}.db"
        return
    from tests.support.databases import postgresql

    with postgresql(durable=True) as engine:
        yield lambda _name: engine.create()


def connect(uri: str) -> tuple[Any, str]:
    """A connection of the driver alone, and its placeholder."""
    if uri.startswith("sqlite:///"):
        connection = sqlite3.connect(uri.removeprefix("sqlite:///"))
        connection.execute("PRAGMA journal_mode = WAL")
        connection.execute("PRAGMA synchronous = FULL")
        return connection, "?"
    import psycopg

    return psycopg.connect(uri), "%s"


def commits_per_second(uri: str, seconds: float) -> float:
    """Rows that the driver alone commits one by one."""
    stop = time.perf_counter() + seconds
    counts: list[int] = []

    def commit(number: int) -> None:
        connection, mark = connect(uri)
        statement = f"INSERT INTO floor_m VALUES ({', '.join([mark] * 5)})"
        count = 0
        with closing(connection):
            while time.perf_counter() < stop:
                connection.cursor().execute(statement, (number, "one", 1, count, 0.5))
                connection.commit()
                count += 1
        counts.append(count)

    threads = [threading.Thread(target=commit, args=(number,)) for number in range(1 if "sqlite" in uri else CLIENTS)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return sum(counts) / seconds


def mlflow_python(given: str | None) -> str:
    if given:
        return given
    from tests.support.environments import environment

    return str(environment("mlflow-server", ["mlflow>=3,<4", "psycopg2-binary"]))


def peers(directory: Path, uri_of: Callable[[str], str], mlflow: str | None) -> tuple[Peer, Peer | None]:
    """Ours, and MLflow's when there is an interpreter for it."""

    def server(name: str, python: str, *more: str, **env: str) -> Peer:
        uri = uri_of(name)
        if name == "mlflow":
            uri = uri.replace("postgresql://", "postgresql+psycopg2://")  # SQLAlchemy's choice is another driver
        command = [python, "-m", name, "server", "--host", "127.0.0.1", "--backend-store-uri", uri]
        command += ["--artifacts-destination", str(directory / f"{name}-files"), *more, "--port"]
        return Peer(name, lambda port: [*command, str(port)], directory / name, env)

    ours = server("mlgate", sys.executable, MLGATE_HOME=str(directory / "home"))
    if mlflow is None:
        return ours, None
    return ours, server("mlflow", mlflow, MLFLOW_DISABLE_TELEMETRY="true", DO_NOT_TRACK="true")


def measure(kind: str, mlflow: str | None, sizes: Sizes, say: Callable[[str], None]) -> list[Line]:
    directory = Path(tempfile.mkdtemp(prefix="server-benchmark-"))
    try:
        with databases(kind, directory) as uri_of:
            ours, theirs = peers(directory, uri_of, mlflow)
            for peer in filter(None, (ours, theirs)):
                say(f"{kind}: filling {peer.name} with {sizes.runs} runs and {sizes.points:,} points")
                with peer.running():
                    peer.fill(sizes)
            say(f"{kind}: starting")
            lines = [start_up(ours, theirs, sizes)]
            content = os.urandom(1 << 20) * sizes.megabytes
            driver_uri = uri_of("floor")
            driver = Driver(*connect(driver_uri), sizes)
            with ExitStack() as stack:
                loopback = stack.enter_context(Loopback.open(content, directory / "kept"))
                sessions = [
                    Session(stack.enter_context(peer.running()), content) for peer in (ours, theirs) if peer is not None
                ]
                for session in sessions:
                    stack.callback(session.close)
                our_session, their_session = sessions[0], (sessions[1] if theirs is not None else None)
                found = {session.four_clauses() for session in sessions}
                assert len(found) == 1, f"the servers do not find the same: {found}"
                for figure in figures(our_session, driver, loopback, sizes, found.pop()):
                    say(f"{kind}: {figure.name}")
                    lines.append(take(figure, our_session, their_session, sizes))
                say(f"{kind}: {CLIENTS} clients")
                lines.append(throughput(ours, theirs, sizes, driver_uri))
                used = theirs.megabytes() if theirs is not None else None
                lines.append(Line("resident memory (MB)", ours.megabytes(), used))
            driver.connection.close()
            return lines
    finally:
        shutil.rmtree(directory, ignore_errors=True)


def table(lines: list[Line], database: str) -> Table:
    shown = Table(title=f"servers on {database}, load {os.getloadavg()[1]:.1f} on {os.cpu_count()} cores")
    for column in ("", "mlflow", "mlgate", "ratio", "floor", "over floor"):
        shown.add_column(column, justify="left" if not column else "right")
    for line in lines:
        rate = line.name.endswith("(1/s)")
        times = [
            None if other is None else (line.ours / other if rate == above else other / line.ours)
            for other, above in ((line.theirs, True), (line.floor, False))
        ]
        shown.add_row(
            line.name,
            *(_number(value) for value in (line.theirs, line.ours)),
            _times(times[0]),
            _number(line.floor),
            _times(times[1]),
        )
    return shown


def _number(value: float | None) -> str:
    return "" if value is None else f"{value:,.{2 if value < 10 else 1 if value < 100 else 0}f}"


def _times(value: float | None) -> str:
    return "" if value is None else f"{value:.{1 if value < 100 else 0}f} x"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    kinds = ("sqlite", "postgresql")
    parser.add_argument("--database", choices=kinds, nargs="+", default=kinds)
    parser.add_argument("--mlflow", help="interpreter of an environment with MLflow (and psycopg2)")
    parser.add_argument("--best", action="store_true", help="the quickest call of each instead of the median")
    parser.add_argument("--quick", action="store_true", help="little data, few calls: does it work?")
    parser.add_argument("--no-mlflow", action="store_true", help="ours and the floor only")
    options = parser.parse_args()
    console = Console(width=110)
    mlflow = None if options.no_mlflow else mlflow_python(options.mlflow)
    sizes = replace(QUICK if options.quick else Sizes(), typical=min if options.best else statistics.median)
    for kind in options.database:
        lines = measure(kind, mlflow, sizes, lambda what: console.print(what, style="dim"))
        console.print(table(lines, kind))


if __name__ == "__main__":
    main()
