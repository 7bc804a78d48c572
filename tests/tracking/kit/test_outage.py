"""The server goes, the disk fills up, the process is killed: nothing is lost or doubled, and the script never knows."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator
from pathlib import Path

import pytest

from mlgate_tracking import spooled
from mlgate_tracking.artifacts.local import LocalRepository
from tests.tracking.kit.conftest import RunScript, Step

NOBODY = "http://127.0.0.1:9"
"""The discard port, where no server listens."""


def replay(step: Step) -> int:
    """What the runner does before it closes the run."""
    root = step.artifacts / step.experiment_id / step.run_id / "artifacts"
    return spooled.replay(step.spool, step.store, lambda _: LocalRepository(root))


LOGGING = """
import mlgate_tracking as tracking
with tracking.start_run():
    tracking.log_param("depth", 3)
    for i in range(2000):
        tracking.log_metric("loss", 1 / (i + 1), step=i)
    tracking.log_text("hello", "a.txt")
    tracking.set_tag("state", "done")
print("through")
"""


def test_a_server_that_is_gone_for_good_changes_nothing_and_the_runner_has_it_all(
    run_script: RunScript, step: Step
) -> None:
    started = time.monotonic()
    child = run_script(LOGGING, env={**step.env, "MLFLOW_TRACKING_URI": NOBODY})
    assert (child.exit_code, child.stdout, child.stderr) == (0, "through\n", "")
    assert time.monotonic() - started < 30
    assert step.metrics == {}
    assert replay(step) == 2003
    assert len(step.history("loss")) == 2000
    assert (step.params, step.tags["state"], step.file("a.txt")) == ({"depth": "3"}, "done", b"hello")
    assert [file.name for file in step.spool.iterdir()] == ["kit.log"]
    assert replay(step) == 0


def test_what_was_handed_over_before_a_kill_is_there(run_script: RunScript, step: Step) -> None:
    child = run_script(
        """
        import os, signal
        import mlgate_tracking as tracking
        tracking.start_run()
        for i in range(5000):
            tracking.log_metric("loss", i, step=i)
        os.kill(os.getpid(), signal.SIGKILL)
        """,
        env=step.env,
    )
    assert child.exit_code == -signal.SIGKILL
    replay(step)
    assert step.history("loss") == [(number, float(number)) for number in range(5000)]


def test_a_full_disk_is_not_the_scripts_problem(run_script: RunScript, step: Step) -> None:
    limit = "import resource; resource.setrlimit(resource.RLIMIT_FSIZE, (20_000, 20_000))\n"
    child = run_script(limit + LOGGING, env=step.env)
    assert (child.exit_code, child.stdout, child.stderr) == (0, "through\n", "")
    replay(step)
    assert sorted(number for number, _ in step.history("loss")) == list(range(2000))
    assert step.tags["state"] == "done"


def test_a_spool_that_cannot_be_made_is_not_the_scripts_problem(
    run_script: RunScript, step: Step, tmp_path: Path
) -> None:
    (tmp_path / "file").write_text("")
    child = run_script(LOGGING, env={**step.env, "MLGATE_SPOOL": str(tmp_path / "file" / "below")})
    assert (child.exit_code, child.stdout, child.stderr) == (0, "through\n", "")
    assert len(step.history("loss")) == 2000


def test_a_token_that_is_refused_leaves_everything_to_the_runner(run_script: RunScript, step: Step) -> None:
    child = run_script(LOGGING, env={**step.env, "MLFLOW_TRACKING_TOKEN": "forged"})
    assert (child.exit_code, child.stdout, child.stderr) == (0, "through\n", "")
    assert replay(step) >= 2002
    assert len(step.history("loss")) == 2000


def test_a_script_outside_a_step_leaves_its_spool_to_the_next_one(
    run_script: RunScript, step: Step, tmp_path: Path
) -> None:
    spool = tmp_path / "own-spool"
    outside = {"MLGATE_SPOOL": str(spool), "MLGATE_FLUSH_TIMEOUT": "0.2"}
    outside |= {name: step.env[name] for name in ("MLFLOW_TRACKING_URI", "MLFLOW_TRACKING_TOKEN")}
    source = f"""
        import mlgate_tracking as tracking
        for i in range(10):
            tracking.log_metric("late", i, step=i, run_id="{step.run_id}")
        """
    run_script(source, env={**outside, "MLFLOW_TRACKING_URI": NOBODY})
    assert len(list(spool.glob("*.spool"))) == 1
    run_script(source.replace("late", "early"), env=outside)
    assert list(spool.glob("*.spool")) == []
    assert len(step.history("late")) == len(step.history("early")) == 10


# --- a server that comes back ---------------------------------------------------------------------------------------


class Server:
    """`mlgate server` in a process of its own, which can be stopped and started again on the same port."""

    def __init__(self, directory: Path) -> None:
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            self.port = free.getsockname()[1]
        self.uri = f"http://127.0.0.1:{self.port}"
        self._directory = directory
        self._process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        store = f"sqlite:///{self._directory / 'server.db'}"
        command = [sys.executable, "-m", "mlgate", "server", "--port", str(self.port), "--backend-store-uri", store]
        env = dict(os.environ)
        with (self._directory / "server.log").open("ab") as output:
            self._process = subprocess.Popen(command, env=env, stdout=output, stderr=output)
        for _ in range(200):
            try:
                urllib.request.urlopen(f"{self.uri}/health", timeout=1).close()
                return
            except OSError:
                time.sleep(0.1)
        raise TimeoutError((self._directory / "server.log").read_text())

    def stop(self) -> None:
        if self._process is not None:
            self._process.kill()
            self._process.wait()

    def call(self, method: str, path: str, body: dict[str, object] | None = None) -> dict[str, object]:
        request = urllib.request.Request(
            f"{self.uri}/api/2.0/mlflow/{path}", method=method, headers={"Content-Type": "application/json"},
            data=None if body is None else json.dumps(body).encode(),
        )  # fmt: skip
        with urllib.request.urlopen(request, timeout=10) as answer:
            return json.load(answer)  # type: ignore[no-any-return]

    def points(self, run_id: str, key: str) -> list[int]:
        found: list[int] = []
        token = ""
        while True:
            path = f"metrics/get-history?run_id={run_id}&metric_key={key}&max_results=25000"
            answer = self.call("GET", path + (f"&page_token={token}" if token else ""))
            found += [int(point["step"]) for point in answer.get("metrics", [])]  # type: ignore[attr-defined]
            token = str(answer.get("next_page_token", ""))
            if not token:
                return found


@pytest.fixture
def server(tmp_path: Path) -> Iterator[Server]:
    found = Server(tmp_path)
    found.start()
    yield found
    found.stop()


@pytest.mark.slow
def test_an_outage_of_half_a_minute_loses_nothing_and_doubles_nothing(
    staged: Path, server: Server, tmp_path: Path
) -> None:
    """100,000 metrics while the server is killed after a third and comes back 30 s later."""
    created = server.call("POST", "runs/create", {"experiment_id": "0", "start_time": 1})
    run_id = created["run"]["info"]["run_id"]  # type: ignore[index]
    script = tmp_path / "script.py"
    script.write_text(
        f"""
import time
import mlgate_tracking as tracking
busy = 0.0
for step in range(100_000):
    if step % 1000 == 0:
        time.sleep(0.3)  # the training itself: 30 s in all
    started = time.perf_counter()
    tracking.log_metric("loss", 1 / (step + 1), step=step, run_id="{run_id}")
    busy += time.perf_counter() - started
print(busy, flush=True)
"""
    )
    env = {"PYTHONPATH": str(staged), "MLFLOW_TRACKING_URI": server.uri, "MLGATE_SPOOL": str(tmp_path / "spool")}
    env |= {"MLGATE_FLUSH_TIMEOUT": "60", "PATH": os.environ["PATH"]}
    with subprocess.Popen([sys.executable, script], env=env, stdout=subprocess.PIPE, text=True) as child:
        time.sleep(10)
        server.stop()
        time.sleep(30)
        server.start()
        output, _ = child.communicate(timeout=120)
    assert child.returncode == 0
    assert sorted(server.points(run_id, "loss")) == list(range(100_000))
    assert float(output) < 3.0  # a tenth of the training
    assert list((tmp_path / "spool").glob("*.spool")) == []


@pytest.mark.slow
def test_a_new_run_waits_for_a_server_that_is_being_restarted(staged: Path, server: Server, tmp_path: Path) -> None:
    script = tmp_path / "script.py"
    script.write_text(
        "import sys\nimport mlgate_tracking as tracking\n"
        "tracking.set_experiment('x'); print('ready', flush=True); sys.stdin.readline()\n"
        "with tracking.start_run() as run: tracking.log_metric('m', 1)\nprint(run.info.run_id)\n"
    )
    env = {"PYTHONPATH": str(staged), "MLFLOW_TRACKING_URI": server.uri, "MLGATE_SPOOL": str(tmp_path / "spool")}
    pipe = subprocess.PIPE
    with subprocess.Popen([sys.executable, script], env=env, stdin=pipe, stdout=pipe, text=True) as child:
        assert child.stdout is not None
        assert child.stdout.readline() == "ready\n"
        server.stop()
        assert child.stdin is not None
        child.stdin.write("\n")
        child.stdin.flush()
        time.sleep(3)
        server.start()
        output, _ = child.communicate(timeout=60)
    assert child.returncode == 0
    assert server.points(output.strip(), "m") == [0]


def test_a_terminated_script_outside_a_step_sends_what_it_has_and_dies_of_the_signal(
    run_script: RunScript, step: Step, tmp_path: Path
) -> None:
    env = {name: step.env[name] for name in ("MLFLOW_TRACKING_URI", "MLFLOW_TRACKING_TOKEN")}
    child = run_script(
        f"""
        import os, signal, time
        import mlgate_tracking as tracking
        for i in range(500):
            tracking.log_metric("loss", i, step=i, run_id="{step.run_id}")
        os.kill(os.getpid(), signal.SIGTERM)
        time.sleep(10)
        """,
        env={**env, "MLGATE_SPOOL": str(tmp_path / "own-spool")},
    )
    assert child.exit_code == -signal.SIGTERM
    assert len(step.history("loss")) == 500


def test_a_lost_answer_leaves_no_second_run(run_script: RunScript, step: Step) -> None:
    child = run_script(
        """
        import mlgate_tracking as tracking
        from mlgate_tracking.kit.transport import Connection, Unreachable
        call, lost = Connection.call, []
        def lossy(self, method, path, *args, **kwargs):
            answer = call(self, method, path, *args, **kwargs)
            if path.endswith("runs/create") and not lost:
                lost.append(answer)
                raise Unreachable("the answer got lost")
            return answer
        Connection.call = lossy
        with tracking.start_run(), tracking.start_run(nested=True) as run:
            print(run.info.run_id == lost[0]["run"]["info"]["run_id"])
        """,
        env=step.env,
    )
    assert (child.exit_code, child.stdout) == (0, "True\n"), child.stderr
    assert len(step.children) == 1
