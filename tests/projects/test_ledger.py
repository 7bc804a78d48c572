from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from pathlib import Path

import pytest

from mlgate_projects import ledger, procfs

RUNNER = """
import sys, time
from pathlib import Path
from mlgate_projects import ledger
from mlgate_projects.process import ProcessRequest, run
entry = ledger.open_entry(Path(sys.argv[1]), run_id="run-1", key="step-1", attempt=1, info={"uri": "sqlite:///x"})
script = "(setsid sleep 61 &) ; (trap '' TERM; sleep 62) & echo up; wait"
request = ProcessRequest(("bash", "-c", script), Path("/"), {"PATH": "/usr/bin:/bin"}, token=entry.token)
run(request, lambda stream, text: print(entry.token, flush=True), None, entry.started)
entry.close()
"""


def carriers(token: str) -> list[int]:
    return [found.pid for found in procfs.processes() if not found.ended and procfs.carries(found.pid, token)]


@pytest.fixture
def killed_runner(tmp_path: Path) -> str:
    """A runner that was killed with SIGKILL while its step goes on; the token of the step."""
    runner = subprocess.Popen([sys.executable, "-c", RUNNER, str(tmp_path)], stdout=subprocess.PIPE, text=True)
    assert runner.stdout is not None
    token = runner.stdout.readline().strip()
    runner.kill()
    runner.wait()
    runner.stdout.close()
    return token


def test_a_row_is_there_before_the_step_starts_and_gone_after_it(tmp_path: Path) -> None:
    with ledger.open_entry(tmp_path, run_id="r", key="k", attempt=2, info={"a": "b"}) as entry:
        (row,) = ledger.rows(tmp_path)
        assert (row.run_id, row.key, row.attempt, row.info, row.process) == ("r", "k", 2, {"a": "b"}, {})
        entry.started({"pid": 5, "session": 5, "start_ticks": 9})
        assert ledger.rows(tmp_path)[0].process == {"pid": 5, "session": 5, "start_ticks": 9}
    assert list(tmp_path.iterdir()) == []


def test_a_live_runner_is_left_alone(tmp_path: Path) -> None:
    with ledger.open_entry(tmp_path, run_id="r"):
        assert ledger.reap(tmp_path) == []
        assert len(ledger.rows(tmp_path)) == 1


def test_what_a_killed_runner_left_is_ended_and_its_run_named(tmp_path: Path, killed_runner: str) -> None:
    assert len(carriers(killed_runner)) >= 2
    (reaped,) = ledger.reap(tmp_path, grace=0.2)
    assert (reaped.run_id, reaped.row.info) == ("run-1", {"uri": "sqlite:///x"})
    assert reaped.killed >= 3
    assert carriers(killed_runner) == []
    assert list(tmp_path.iterdir()) == []


def test_the_next_attempt_reaps_its_own_leftovers_only(tmp_path: Path, killed_runner: str) -> None:
    assert ledger.reap(tmp_path, key="another step") == []
    assert carriers(killed_runner)
    assert [one.run_id for one in ledger.reap(tmp_path, key="step-1", grace=0.1)] == ["run-1"]


def test_a_row_stays_when_its_run_could_not_be_closed(tmp_path: Path, killed_runner: str) -> None:
    def close(reaped: ledger.Reaped) -> None:
        raise ConnectionError("store is away")

    with pytest.raises(ConnectionError):
        ledger.reap(tmp_path, close=close, grace=0.1)
    assert [one.run_id for one in ledger.reap(tmp_path)] == ["run-1"]


def test_a_pid_that_belongs_to_another_process_by_now_is_not_touched(tmp_path: Path) -> None:
    bystander = subprocess.Popen(["sleep", "60"], start_new_session=True)
    try:
        entry = ledger.open_entry(tmp_path, run_id="r")
        entry.started({"pid": bystander.pid, "session": bystander.pid, "start_ticks": 1})
        path = tmp_path / f"{entry.token}.json"
        row = json.loads(path.read_text())
        path.write_text(json.dumps(row | {"runner_ticks": row["runner_ticks"] + 1}))  # its own pid was reused, too
        os.close(entry._lock)
        assert [one.killed for one in ledger.reap(tmp_path)] == [0]
        assert bystander.poll() is None
    finally:
        bystander.kill()
        bystander.wait()


def test_a_row_of_another_machine_is_taken_only_when_its_lock_is_free(tmp_path: Path) -> None:
    entry = ledger.open_entry(tmp_path, run_id="elsewhere")
    path = tmp_path / f"{entry.token}.json"
    row = json.loads(path.read_text())
    path.write_text(json.dumps(row | {"place": "other-host/boot/ns", "process": {"session": os.getsid(0)}}))
    assert ledger.reap(tmp_path) == []
    os.close(entry._lock)
    assert [(one.run_id, one.killed) for one in ledger.reap(tmp_path)] == [("elsewhere", 0)]


def test_a_broken_row_does_not_stop_the_others(tmp_path: Path, killed_runner: str) -> None:
    (tmp_path / "broken.json").write_text('{"token":')
    assert len(ledger.reap(tmp_path, grace=0.1)) == 1


def test_containers_are_removed_by_their_token(tmp_path: Path) -> None:
    script = (
        "import sys; from pathlib import Path; from mlgate_projects import ledger\n"
        "print(ledger.open_entry(Path(sys.argv[1]), run_id='r', kind='docker').token)"
    )
    token = subprocess.run([sys.executable, "-c", script, str(tmp_path)], capture_output=True, text=True, check=True)
    asked: list[str] = []

    def remove(mark: str) -> int:
        asked.append(mark)
        return 1

    assert [one.killed for one in ledger.reap(tmp_path, remove_containers=remove)] == [1]
    assert asked == [token.stdout.strip()]


def test_ending_a_killed_runners_step_takes_less_than_five_seconds(tmp_path: Path, killed_runner: str) -> None:
    started = time.monotonic()
    ledger.reap(tmp_path)
    assert time.monotonic() - started < 5
    assert carriers(killed_runner) == []
