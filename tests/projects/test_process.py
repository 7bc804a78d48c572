from __future__ import annotations

import os
import signal
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from mlgate_projects import procfs
from mlgate_projects.process import Outcome, ProcessRequest, Stop, Stream, run

Run = Callable[..., tuple[Outcome, bytes, bytes]]


class Collector:
    def __init__(self) -> None:
        self.pieces: list[tuple[Stream, bytes, float]] = []

    def __call__(self, stream: Stream, piece: bytes) -> None:
        self.pieces.append((stream, piece, time.monotonic()))

    def text(self, stream: Stream = Stream.STDOUT) -> bytes:
        return b"".join(piece for which, piece, _ in self.pieces if which is stream)


def request(*argv: str, cwd: Path = Path("/"), **more: object) -> ProcessRequest:
    env = {"PATH": os.environ["PATH"], "PYTHONDONTWRITEBYTECODE": "1"}
    return ProcessRequest(argv=argv, cwd=cwd, env=env | more.pop("env", {}), **more)  # type: ignore[arg-type, operator]


def bash(script: str, **more: object) -> ProcessRequest:
    return request("bash", "-c", script, **more)


def python(script: str, *arguments: str, **more: object) -> ProcessRequest:
    return request(sys.executable, "-I", "-c", script, *arguments, **more)


def no_output(stream: Stream, piece: bytes) -> None:
    pass


def carriers(token: str) -> list[int]:
    return [found.pid for found in procfs.processes() if not found.ended and procfs.carries(found.pid, token)]


@pytest.fixture
def cancel() -> threading.Event:
    return threading.Event()


def test_run_returns_exit_code_output_and_times() -> None:
    collected = Collector()
    outcome = run(bash("echo out; echo err >&2; exit 3"), collected)
    assert (outcome.exit_code, outcome.signal, outcome.stopped, outcome.ok) == (3, None, None, False)
    assert (collected.text(), collected.text(Stream.STDERR)) == (b"out\n", b"err\n")
    assert outcome.started <= outcome.ended


def test_run_reports_a_death_by_signal_as_a_shell_would() -> None:
    outcome = run(bash("kill -SEGV $$"), no_output)
    assert (outcome.exit_code, outcome.signal) == (128 + signal.SIGSEGV, signal.SIGSEGV)


@pytest.mark.parametrize(("argv", "code"), [("/no/such/command", 127), ("/etc/passwd", 126)])
def test_run_reports_a_command_that_cannot_start(argv: str, code: int) -> None:
    collected = Collector()
    outcome = run(request(argv), collected)
    assert outcome.exit_code == code
    assert argv.encode() in collected.text(Stream.STDERR)


def test_run_names_a_missing_working_directory(tmp_path: Path) -> None:
    collected = Collector()
    assert run(request("true", cwd=tmp_path / "gone"), collected).exit_code == 127
    assert b"working directory" in collected.text(Stream.STDERR)


def test_child_gets_exactly_the_variables_it_is_given(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LEAK", "yes")
    collected = Collector()
    run(request("env", env={"GIVEN": "a b\nc"}), collected)
    names = {line.split(b"=")[0] for line in collected.text().splitlines() if b"=" in line}
    assert b"GIVEN=a b\nc" in collected.text()
    assert names == {b"GIVEN", b"PATH", b"PYTHONDONTWRITEBYTECODE", procfs.MARK.encode()}


def test_arguments_arrive_unchanged() -> None:
    values = ["$(touch x)", 'a "b" c', "line\nbreak", "'", "", "é", "x" * 100_000]
    collected = Collector()
    run(python("import sys, json; print(json.dumps(sys.argv[1:]))", *values), collected)
    import json

    assert json.loads(collected.text()) == values


def test_output_comes_in_whole_lines() -> None:
    collected = Collector()
    run(python("import sys\nfor i in range(20000): sys.stdout.write('line %d\\n' % i)"), collected)
    assert all(piece.endswith(b"\n") for _, piece, _ in collected.pieces)
    assert collected.text() == b"".join(b"line %d\n" % i for i in range(20000))


def test_text_without_a_line_end_is_passed_on_after_a_while() -> None:
    collected = Collector()
    outcome = run(bash("printf 'Password: '; sleep 0.8; echo"), collected)
    assert collected.pieces[0][1] == b"Password: "
    assert collected.pieces[-1][2] - collected.pieces[0][2] > 0.3
    assert outcome.ok


def test_a_lot_of_output_arrives_whole() -> None:
    size = {"stdout": 0, "stderr": 0}
    largest = 0

    def count(stream: Stream, piece: bytes) -> None:
        nonlocal largest
        size[stream] += len(piece)
        largest = max(largest, len(piece))

    script = "import os\nfor i in range(512): os.write(1, b'x' * 99999 + b'\\n'); os.write(2, b'y' * 100000)"
    assert run(python(script), count).ok
    assert size == {"stdout": 51_200_000, "stderr": 51_200_000}
    assert largest < 4 << 20


def test_secrets_are_masked_in_both_streams() -> None:
    collected = Collector()
    script = """
import sys, time
sys.stdout.write("key=s3cr"); sys.stdout.flush(); time.sleep(0.4); print("et!"); print("s3cret", file=sys.stderr)
"""
    run(python(script, secrets=("s3cret",)), collected)
    assert collected.text() == b"key=***!\n"
    assert collected.text(Stream.STDERR) == b"***\n"


def test_time_out_stops_the_step() -> None:
    outcome = run(bash("sleep 60", timeout=0.2), no_output)
    assert (outcome.stopped, outcome.ok) == (Stop.TIMEOUT, False)
    assert outcome.signal == signal.SIGTERM
    assert outcome.ended - outcome.started < 5


def test_cancel_lets_the_step_say_goodbye(cancel: threading.Event) -> None:
    collected = Collector()
    script = "trap 'echo goodbye; exit 7' TERM; echo ready; while :; do sleep 0.05; done"

    def on_output(stream: Stream, piece: bytes) -> None:
        collected(stream, piece)
        cancel.set()

    outcome = run(bash(script), on_output, cancel)
    assert (outcome.stopped, outcome.exit_code) == (Stop.CANCELLED, 7)
    assert collected.text() == b"ready\ngoodbye\n"


STUBBORN = """
import os, signal, subprocess, sys, time
signal.signal(signal.SIGTERM, signal.SIG_IGN)
child = "import signal, time; signal.signal(signal.SIGTERM, signal.SIG_IGN); print('up', flush=True); time.sleep(60)"
subprocess.Popen([sys.executable, "-c", child])
subprocess.Popen([sys.executable, "-c", child], start_new_session=True)
if os.fork() == 0:                                  # a daemon: double fork, a session of its own
    os.setsid()
    if os.fork() == 0:
        print("up", flush=True)
        time.sleep(60)
    os._exit(0)
print("up", flush=True)
time.sleep(60)
"""


def test_a_step_that_ignores_term_is_gone_with_all_its_grandchildren(cancel: threading.Event) -> None:
    collected = Collector()
    asked = 0.0

    def on_output(stream: Stream, piece: bytes) -> None:
        nonlocal asked
        collected(stream, piece)
        if collected.text().count(b"up") == 4 and not asked:
            asked = time.time()
            cancel.set()

    outcome = run(python(STUBBORN, token="stubborn-step"), on_output, cancel)
    assert outcome.signal == signal.SIGKILL
    assert outcome.ended - asked < 5
    assert carriers("stubborn-step") == []


def test_a_grandchild_that_keeps_stdout_open_does_not_hold_the_run_up() -> None:
    collected = Collector()
    outcome = run(bash("sleep 60 & echo done", token="left-behind"), collected)
    assert outcome.ok
    assert collected.text() == b"done\n"
    assert outcome.ended - outcome.started < 5
    assert carriers("left-behind") == []


def test_a_daemon_left_behind_by_a_finished_step_is_ended() -> None:
    outcome = run(bash("setsid sleep 60 >/dev/null 2>&1 & exit 0", token="daemon"), no_output)
    assert outcome.ok
    assert carriers("daemon") == []


def test_an_error_in_a_callback_stops_the_step_first() -> None:
    def on_output(stream: Stream, piece: bytes) -> None:
        raise RuntimeError("log is full")

    with pytest.raises(RuntimeError, match="log is full"):
        run(bash("echo x; sleep 60", token="callback"), on_output)
    assert carriers("callback") == []


def test_ctrl_c_stops_the_step_first() -> None:
    def on_output(stream: Stream, piece: bytes) -> None:
        os.kill(os.getpid(), signal.SIGINT)

    with pytest.raises(KeyboardInterrupt):
        run(bash("echo x; sleep 60", token="ctrl-c"), on_output)
    assert carriers("ctrl-c") == []


def test_on_start_tells_who_the_process_is(cancel: threading.Event) -> None:
    told: dict[str, object] = {}
    collected = Collector()
    run(bash("echo $$", token="t"), collected, cancel, told.update)
    assert told["pid"] == told["session"] == int(collected.text())
    assert told["token"] == "t"
    assert isinstance(told["start_ticks"], int)
    assert told["start_ticks"] > 0


def test_memory_and_cpu_time_of_the_whole_tree_are_measured() -> None:
    burn = "import time; x = b'x' * 150_000_000; t = time.process_time()\nwhile time.process_time() - t < 0.4: pass"
    outcome = run(request("bash", "-c", f"'{sys.executable}' -I -c \"{burn}\"; true"), no_output)
    assert outcome.peak_memory is not None
    assert outcome.cpu_time is not None
    assert 150_000_000 < outcome.peak_memory < 400_000_000
    assert 0.4 <= outcome.cpu_time < 3


def test_memory_is_the_steps_own_not_that_of_the_process_that_started_it() -> None:
    ballast = bytearray(300_000_000)
    ballast[::4096] = b"x" * len(ballast[::4096])
    outcome = run(bash("sleep 0.3"), no_output)
    assert outcome.peak_memory is not None
    assert outcome.peak_memory < 50_000_000


def test_steps_run_side_by_side_in_threads() -> None:
    outcomes: list[Outcome] = []
    threads = [
        threading.Thread(target=lambda i=i: outcomes.append(run(bash(f"sleep 0.1; exit {i}"), no_output)))
        for i in range(8)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(30)
    assert sorted(outcome.exit_code for outcome in outcomes) == list(range(8))


@pytest.fixture(autouse=True)
def _no_descriptor_left_open() -> Iterator[None]:
    before = len(os.listdir("/proc/self/fd"))
    yield
    assert len(os.listdir("/proc/self/fd")) == before
