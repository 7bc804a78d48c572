"""A real Prefect server with its SQLite, a worker on a process pool, and a tracking server; one of each, which end with
the tests of this folder, because they are never idle."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeVar

import httpx
import pytest

from tests.support.environments import ROOT, environment
from tests.support.servers import ServerProcess, mlgate_server

PREFECT = "prefect>=3.7,<4"
POOL = "default-process-pool"
HERE = Path(__file__).parent
_T = TypeVar("_T")


def wait_until(look: Callable[[], _T], seconds: float = 90.0, what: str = "") -> _T:
    """The first answer of `look` that is not empty."""
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        found = look()
        if found:
            return found
        time.sleep(0.2)
    raise AssertionError(f"did not come in {seconds:g} s: {what or look}")


@dataclass
class Prefect:
    """A running Prefect server, and the interpreter that has Prefect and mlgate."""

    python: Path
    home: Path
    port: int
    processes: dict[str, subprocess.Popen[bytes]] = field(default_factory=dict)

    @property
    def api(self) -> str:
        return f"http://127.0.0.1:{self.port}/api"

    def environ(self, env: Mapping[str, str] | None = None) -> dict[str, str]:
        foreign = ("PREFECT", "MLGATE_", "MLFLOW_")
        kept = {name: value for name, value in os.environ.items() if not name.startswith(foreign)}
        return {
            **kept,
            "PREFECT_HOME": str(self.home),
            "PREFECT_API_URL": self.api,
            "PREFECT_SERVER_ANALYTICS_ENABLED": "false",
            "PREFECT_CLI_PROMPT": "false",
            "PREFECT_WORKER_QUERY_SECONDS": "1",
            "MLGATE_HOME": os.environ.get("MLGATE_HOME", str(self.home / "mlgate")),
            **(env or {}),
        }

    # --- processes ----------------------------------------------------------------------------------------------

    def spawn(self, name: str, *argv: str, env: Mapping[str, str] | None = None) -> None:
        with open(self.home / f"{name}.log", "ab") as log:
            self.processes[name] = subprocess.Popen(
                [str(self.python), "-m", "prefect", *argv],
                env=self.environ(env),
                stdout=log,
                stderr=log,
                cwd=self.home,
                start_new_session=True,
            )

    def start(self) -> None:
        self.spawn("server", "server", "start", "--host", "127.0.0.1", "--port", str(self.port))

        def healthy() -> bool:
            try:
                return httpx.get(f"{self.api}/health", timeout=5).status_code == 200
            except httpx.HTTPError:
                return False

        wait_until(healthy, 180, "the Prefect server")

    def end(self, name: str, with_signal: int = signal.SIGTERM) -> None:
        process = self.processes.pop(name)
        if with_signal == signal.SIGKILL:
            os.killpg(process.pid, signal.SIGKILL)  # `server start` has the server in a process of its own
        if process.poll() is None:
            process.send_signal(with_signal)
        try:
            process.wait(40)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()

    # --- asking it ----------------------------------------------------------------------------------------------

    def ask(self, method: str, path: str, body: Any = None) -> Any:
        """An answer of the API; a busy SQLite makes it 503, which Prefect's own clients sit out as well."""
        for _ in range(20):
            answer = httpx.request(method, f"{self.api}/{path}", json=body, timeout=60)
            if answer.status_code != 503:
                break
            time.sleep(0.5)
        assert answer.status_code < 300, f"{path}: {answer.status_code} {answer.text}"
        return answer.json() if answer.content else None

    def post(self, path: str, **body: Any) -> Any:
        return self.ask("POST", path, body)

    def get(self, path: str) -> Any:
        return self.ask("GET", path)

    def cli(self, *argv: str, cwd: Path | None = None, env: Mapping[str, str] | None = None) -> str:
        done = subprocess.run(
            [str(self.python), "-m", "prefect", *argv], env=self.environ(env), cwd=cwd or self.home,
            capture_output=True, text=True, timeout=200, check=False,
        )  # fmt: skip
        assert done.returncode == 0, done.stdout[-3000:] + done.stderr[-3000:]
        return done.stdout

    def script(self, name: str, *args: str | Path, env: Mapping[str, str] | None = None) -> Any:
        """Run a script of `scripts/` and read the JSON on its last line."""
        done = subprocess.run(
            [str(self.python), str(HERE / "scripts" / name), *map(str, args)],
            env=self.environ(env), capture_output=True, text=True, timeout=280, check=False,
        )  # fmt: skip
        assert done.returncode == 0, done.stdout[-5000:] + done.stderr[-3000:]
        return json.loads(done.stdout.strip().splitlines()[-1])

    # --- flow runs ----------------------------------------------------------------------------------------------

    def deployment(self, name: str) -> dict[str, Any]:
        found: dict[str, Any] = self.get(f"deployments/name/{name}")
        return found

    def run(self, deployment: str, parameters: Mapping[str, Any] | None = None, **more: Any) -> str:
        """Ask for a run of a deployment; returns the id of the flow run."""
        made = self.post(
            f"deployments/{self.deployment(deployment)['id']}/create_flow_run",
            parameters=dict(parameters or {}),
            **more,
        )
        return str(made["id"])

    def state(self, flow_run_id: str) -> dict[str, Any]:
        """Type, name, message of a flow run's state."""
        state: dict[str, Any] = self.get(f"flow_runs/{flow_run_id}")["state"]
        return state

    def states(self, flow_run_id: str) -> list[str]:
        """Names of all states that a flow run has had."""
        return [state["name"] for state in self.get(f"flow_run_states/?flow_run_id={flow_run_id}")]

    def wait(self, flow_run_id: str, *names: str, seconds: float = 120.0, through: str = "") -> dict[str, Any]:
        """The state of a flow run, as soon as it has one of these names; a run that ended otherwise is a failure.

        Args:
            through: a final state that may come before.
        """

        def reached() -> dict[str, Any]:
            state = self.state(flow_run_id)
            over = state["type"] in ("COMPLETED", "FAILED", "CRASHED", "CANCELLED")
            assert not over or state["name"] in (*names, through), (
                f"{state['name']}: {state['message']}\n{self.logs(flow_run_id)}"
            )
            return state if state["name"] in names else {}

        try:
            return wait_until(reached, seconds)
        except AssertionError as error:
            state = self.state(flow_run_id)
            raise AssertionError(f"{error}; is {state['name']}, not {names}\n{self.logs(flow_run_id)}") from error

    def logs(self, flow_run_id: str) -> str:
        wanted = {"flow_run_id": {"any_": [flow_run_id]}}
        return "\n".join(line["message"] for line in self.post("logs/filter", logs=wanted, limit=200))

    def task_runs(self, flow_run_id: str) -> list[dict[str, Any]]:
        found: list[dict[str, Any]] = self.post("task_runs/filter", flow_runs={"id": {"any_": [flow_run_id]}})
        return found

    def artifacts(self, flow_run_id: str) -> list[dict[str, Any]]:
        found: list[dict[str, Any]] = self.post("artifacts/filter", artifacts={"flow_run_id": {"any_": [flow_run_id]}})
        return found

    def events(self, *names: str) -> list[dict[str, Any]]:
        found: list[dict[str, Any]] = self.post("events/filter", filter={"event": {"name": list(names)}})["events"]
        return found


@pytest.fixture(scope="package")
def prefect(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Prefect]:
    python = environment("prefect", [PREFECT, "--editable", str(ROOT)])
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = int(free.getsockname()[1])
    made = Prefect(python, tmp_path_factory.mktemp("prefect"), port)
    try:
        made.start()
        yield made
    finally:
        for name in list(made.processes):
            made.end(name)


@pytest.fixture(scope="package")
def tracking(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ServerProcess]:
    """A tracking server with a home of its own; workers share no disk with it."""
    with mlgate_server(tmp_path_factory.mktemp("tracking")) as server:
        yield server


@pytest.fixture(scope="package")
def worker(prefect: Prefect, tracking: ServerProcess, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A worker on a process pool; returns its mlgate home. What it needs to know is in its environment."""
    home = tmp_path_factory.mktemp("worker")
    prefect.cli("work-pool", "create", POOL, "--type", "process")
    env = {
        "MLGATE_HOME": str(home),
        "MLGATE_TRACKING_URI": tracking.uri,
        "PREFECT_INTEGRATIONS_MLGATE_ENV_MANAGER": "system",
    }
    prefect.spawn("worker", "worker", "start", "--pool", POOL, "--type", "process", env=env)
    return home
