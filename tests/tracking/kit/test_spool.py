"""The spool: everything that was handed over arrives, in calls that the server takes, and nothing is sent for ever."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from mlgate_tracking.kit.buffer import Buffer
from mlgate_tracking.kit.spool import CHUNK, Segment, replay
from mlgate_tracking.kit.transport import Refused, Unreachable

RUN = "a" * 32


class Server:
    """Takes what a tracking server takes; `refuse(request)` says what it does not."""

    def __init__(self, refuse: Callable[[dict[str, Any]], Exception | None] = lambda _: None) -> None:
        self.refuse = refuse
        self.calls: list[dict[str, Any]] = []
        self.metrics: list[tuple[str, str, float, int, int]] = []
        self.params: dict[tuple[str, str], str] = {}
        self.tags: dict[tuple[str, str], str] = {}
        self.files: dict[str, bytes] = {}
        self.ended: list[tuple[str, str, int]] = []

    def log_batch(self, run_id: str, body: bytes) -> None:
        request = json.loads(body)
        assert request["run_id"] == run_id
        self.calls.append(request)
        refusal = self.refuse(request)
        if refusal is not None:
            raise refusal
        for each in request.get("metrics", ()):
            self.metrics.append((run_id, each["key"], each["value"], each["timestamp"], each["step"]))
        for each in request.get("params", ()):
            self.params.setdefault((run_id, each["key"]), each["value"])
        for each in request.get("tags", ()):
            self.tags[run_id, each["key"]] = each["value"]

    def upload(self, run_id: str, path: str, file: str) -> None:
        self.files[path] = Path(file).read_bytes()

    def end_run(self, run_id: str, status: str, end_time: int) -> None:
        self.ended.append((run_id, status, end_time))


class Away(Server):
    """A server that does not answer."""

    def __init__(self) -> None:
        super().__init__(lambda _: Unreachable("away"))

    def upload(self, run_id: str, path: str, file: str) -> None:
        raise Unreachable("away")

    def end_run(self, run_id: str, status: str, end_time: int) -> None:
        raise Unreachable("away")


def written(directory: Path, *entries: tuple[Any, ...]) -> Path:
    """A spool directory that a process filled and left behind."""
    buffer = Buffer(str(directory), Away())
    for kind, *rest in entries:
        getattr(buffer, kind)(RUN, *rest)
    buffer._stopped.set()
    return directory


def test_what_was_left_is_sent_and_removed(tmp_path: Path) -> None:
    server = Server()
    written(tmp_path, ("metric", "loss", 0.5, 1000, 1), ("param", "depth", "3"), ("tag", "who", "me"))
    assert replay(tmp_path, server) == 3
    assert server.metrics == [(RUN, "loss", 0.5, 1000, 1)]
    assert (server.params, server.tags) == ({(RUN, "depth"): "3"}, {(RUN, "who"): "me"})
    assert list(tmp_path.iterdir()) == []
    assert replay(tmp_path, server) == 0


def test_records_travel_in_as_few_calls_as_the_limits_allow(tmp_path: Path) -> None:
    server = Server()
    metrics = [("metric", "loss", float(step), 1000, step) for step in range(2500)]
    params = [("param", f"p{number}", "x") for number in range(250)]
    replay(written(tmp_path, *metrics, *params), server)
    assert len(server.metrics) == 2500
    assert len(server.params) == 250
    for call in server.calls:
        sizes = [len(call.get(name, ())) for name in ("metrics", "params", "tags")]
        assert sizes[0] <= 1000
        assert max(sizes[1:]) <= 100
        assert sum(sizes) <= 1000
    assert len(server.calls) <= 6


def test_one_call_never_names_a_param_or_a_tag_twice(tmp_path: Path) -> None:
    server = Server()
    replay(written(tmp_path, ("param", "a", "1"), ("param", "a", "2"), ("tag", "t", "1"), ("tag", "t", "2")), server)
    assert [len(call["params"]) for call in server.calls] == [1]
    assert (server.params[RUN, "a"], server.tags[RUN, "t"]) == ("1", "2")


@pytest.mark.parametrize(
    ("value", "sent"), [(float("nan"), "NaN"), (float("inf"), "Infinity"), (float("-inf"), "-Infinity"), (1e300, 1e300)]
)
def test_numbers_that_json_lacks_travel_as_text(tmp_path: Path, value: float, sent: object) -> None:
    server = Server()
    replay(written(tmp_path, ("metric", "m", value, 1, 0)), server)
    assert server.metrics[0][2] == sent


def test_a_refused_record_is_dropped_alone(tmp_path: Path) -> None:
    def refuse(request: dict[str, Any]) -> Exception | None:
        bad = any(each["key"] == "depth" for each in request.get("params", ()))
        return Refused("changing params", "INVALID_PARAMETER_VALUE", 400) if bad else None

    server = Server(refuse)
    entries = [("metric", "loss", 0.1, 1, 0), ("param", "depth", "4"), ("param", "alpha", "1"), ("tag", "t", "1")]
    assert replay(written(tmp_path, *entries), server) == 3
    assert list(server.params) == [(RUN, "alpha")]
    assert len(server.metrics) == len(server.tags) == 1


@pytest.mark.parametrize("code", ["ABORTED", "RESOURCE_DOES_NOT_EXIST"])
def test_a_run_that_is_gone_costs_one_call(tmp_path: Path, code: str) -> None:
    server = Server(lambda _: Refused("no", code, 409))
    assert replay(written(tmp_path, *[("metric", "m", 1.0, 1, step) for step in range(500)]), server) == 0
    assert len(server.calls) == 1
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("error", [Unreachable("away"), Refused("token ran out", "UNAUTHENTICATED", 401), OSError("?")])
def test_a_server_that_is_away_leaves_everything_in_place(tmp_path: Path, error: Exception) -> None:
    written(tmp_path, ("metric", "m", 1.0, 1, 0))
    with pytest.raises(type(error)):
        replay(tmp_path, Server(lambda _: error))
    server = Server()
    assert replay(tmp_path, server) == 1
    assert len(server.metrics) == 1


def test_what_was_acknowledged_is_not_sent_again(tmp_path: Path) -> None:
    written(tmp_path, *[("metric", "m", 1.0, 1, step) for step in range(20_000)])
    limit = 5

    def refuse(_: dict[str, Any]) -> Exception | None:
        return Unreachable("away") if len(server.calls) > limit else None

    server = Server(refuse)
    with pytest.raises(Unreachable):
        replay(tmp_path, server)
    before = len(server.metrics)
    assert before >= CHUNK // 100
    limit = 10_000
    replay(tmp_path, server)
    assert sorted({point[4] for point in server.metrics}) == list(range(20_000))
    assert len(server.metrics) < 20_000 + before + 5000


def test_an_end_follows_what_came_before_it(tmp_path: Path) -> None:
    server = Server()
    replay(written(tmp_path, ("metric", "m", 1.0, 1, 0), ("end", "FINISHED", 99)), server)
    assert len(server.metrics) == 1
    assert server.ended == [(RUN, "FINISHED", 99)]


def test_files_are_uploaded_and_then_removed(tmp_path: Path) -> None:
    waiting = tmp_path / "1.artifact"
    waiting.write_bytes(b"content")
    server = Server()
    replay(written(tmp_path, ("artifact", "plots/a.png", str(waiting))), server)
    assert server.files == {"plots/a.png": b"content"}
    assert list(tmp_path.iterdir()) == []


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None, max_examples=60)
@given(
    records=st.lists(st.tuples(st.sampled_from("mpt"), st.sampled_from("abc/é\n\"' ")), max_size=30),
    cut=st.integers(0, 4000),
    garbage=st.binary(max_size=20),
)
def test_a_file_that_was_cut_off_anywhere_gives_its_whole_lines(
    tmp_path: Path, records: list[tuple[str, str]], cut: int, garbage: bytes
) -> None:
    for left in tmp_path.iterdir():
        left.unlink()
    kinds = {"m": ("metric", 1.0, 1), "p": ("param", "v"), "t": ("tag", "v")}
    entries = [
        (kinds[kind][0], f"{key}{number}", *kinds[kind][1:], *([number] if kind == "m" else []))
        for number, (kind, key) in enumerate(records)
    ]
    written(tmp_path, *entries)
    for file in tmp_path.glob("*.spool"):
        content = file.read_bytes()[:cut]
        file.write_bytes(content + garbage)
        whole = content.count(b"\n")
        server = Server()
        replay(tmp_path, server)
        arrived = len(server.metrics) + len(server.params) + len(server.tags)
        assert whole <= arrived <= whole + 1


def test_a_reader_never_takes_half_a_line(tmp_path: Path) -> None:
    server = Server()
    file = tmp_path / "1-a.spool"
    line = b'm %s {"key": "loss", "value": 1.0, "timestamp": 1, "step": 1}\n' % RUN.encode()
    file.write_bytes(line[:40])
    segment = Segment(str(file))
    assert segment.drain(server) == 0
    file.write_bytes(line)
    assert segment.drain(server) == 1


def test_a_long_value_is_one_record_whatever_the_chunk(tmp_path: Path) -> None:
    server = Server()
    written(tmp_path, ("tag", "long", "x" * (CHUNK * 2)), ("metric", "m", 1.0, 1, 0))
    assert replay(tmp_path, server) == 2
    assert len(server.tags[RUN, "long"]) == CHUNK * 2


def test_the_buffer_sends_in_the_background_and_leaves_no_file(tmp_path: Path) -> None:
    server = Server()
    buffer = Buffer(str(tmp_path), server)
    for step in range(3000):
        buffer.metric(RUN, "loss", 0.1, 1, step)
    assert buffer.flush(10)
    assert len({point[4] for point in server.metrics}) == 3000
    assert buffer.close(10)
    assert list(tmp_path.iterdir()) == []


def test_a_buffer_without_a_disk_keeps_records_in_memory(tmp_path: Path) -> None:
    server = Server()
    (tmp_path / "file").write_text("not a directory")
    buffer = Buffer(str(tmp_path / "file" / "spool"), server)
    for step in range(1500):
        buffer.metric(RUN, "loss", 0.1, 1, step)
    assert buffer.close(10)
    assert [point[4] for point in server.metrics] == list(range(1500))


def test_full_segments_are_removed_while_the_process_goes_on(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("mlgate_tracking.kit.buffer.SEGMENT", 10_000)
    server = Server()
    buffer = Buffer(str(tmp_path), server)
    for step in range(2000):
        buffer.metric(RUN, "loss", 0.1, 1, step)
    assert len(list(tmp_path.glob("*.spool"))) > 5
    assert buffer.flush(10)
    assert len(list(tmp_path.glob("*.spool"))) == 1
    assert sorted(point[4] for point in server.metrics) == list(range(2000))
    buffer.close(1)
