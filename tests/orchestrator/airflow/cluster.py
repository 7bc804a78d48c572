"""A whole Airflow for tests: scheduler, DAG processor, triggerer and API server on PostgreSQL, beside `mlgate server`.

Nothing is shared between Airflow and the tests but the two servers: tasks reach the store through the connection
`mlgate_default`, and the tests speak to Airflow through its REST API.
"""

from __future__ import annotations

import base64
import contextlib
import json
import os
import secrets
import subprocess
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx
import psutil

from mlgate_tracking.client import connect
from mlgate_tracking.contract import Store
from mlgate_tracking.entities import Run
from tests.support.cli import mlgate
from tests.support.databases import free_port, postgresql
from tests.support.servers import ServerProcess, mlgate_server

HERE = Path(__file__).parent
USERS = {"admin": "admin", "ada": "admin"}
"""Who may log in (with their own name as password), and their role."""
CONNECTION = "mlgate_default"
COMPONENTS = ("api-server", "scheduler", "dag-processor", "triggerer")
_DONE = ("success", "failed")


@dataclass
class Cluster:
    """A running Airflow. Waiting for something that does not come fails with the logs of everything."""

    home: Path
    uri: str
    store: ServerProcess
    environ: Mapping[str, str]
    processes: dict[str, psutil.Popen] = field(default_factory=dict)
    _tokens: dict[str, str] = field(default_factory=dict)

    # --- Airflow's REST API ---------------------------------------------------------------------------------------

    def call(self, method: str, path: str, body: Any = None, *, user: str = "admin", **params: Any) -> Any:
        """One call of `/api/v2`, as that user."""
        if user not in self._tokens:
            said = httpx.post(f"{self.uri}/auth/token", json={"username": user, "password": user}, timeout=60)
            assert said.status_code == 201, said.text
            self._tokens[user] = said.json()["access_token"]
        said = httpx.request(
            method,
            f"{self.uri}/api/v2/{path}",
            json=body,
            params=params,
            headers={"Authorization": f"Bearer {self._tokens[user]}"},
            timeout=60,
        )
        assert said.is_success, f"{method} {path}: {said.status_code} {said.text}"
        return said.json() if said.content else None

    def trigger(self, dag_id: str, user: str = "admin", **conf: Any) -> str:
        """Start a run of a DAG, which need not be active yet; the run's id."""
        self.parsed(dag_id)
        made = self.call("POST", f"dags/{dag_id}/dagRuns", {"logical_date": None, "conf": conf}, user=user)
        self.unpause(dag_id)
        return str(made["dag_run_id"])

    def parsed(self, dag_id: str) -> None:
        def known() -> bool:
            broken = self.call("GET", "importErrors")["import_errors"]
            assert not broken, broken
            found = self.call("GET", "dags", dag_id_pattern=dag_id, exclude_stale=True)["dags"]
            return any(dag["dag_id"] == dag_id for dag in found)

        self.wait(known, f"DAG {dag_id} to be parsed")

    def unpause(self, dag_id: str) -> None:
        self.parsed(dag_id)
        self.call("PATCH", f"dags/{dag_id}", {"is_paused": False})

    def rest(self, dag_id: str) -> None:
        """Pause a DAG and end what its schedule has started meanwhile."""
        self.call("PATCH", f"dags/{dag_id}", {"is_paused": True})
        for run in self.runs(dag_id):
            if run["state"] not in _DONE:
                self.call("PATCH", f"dags/{dag_id}/dagRuns/{run['dag_run_id']}", {"state": "failed"})

    def runs(self, dag_id: str) -> list[dict[str, Any]]:
        """The DAG's runs, oldest first."""
        found: list[dict[str, Any]] = self.call("GET", f"dags/{dag_id}/dagRuns", order_by="run_after")["dag_runs"]
        return found

    def finish(self, dag_id: str, run_id: str, timeout: float = 120) -> str:
        """Wait until a DAG run has ended; its state."""
        path = f"dags/{dag_id}/dagRuns/{run_id}"
        state = self.wait(
            lambda: (state := self.call("GET", path)["state"]) in _DONE and state, f"the end of {dag_id}", timeout
        )
        return str(state)

    def task(self, dag_id: str, run_id: str, task_id: str, map_index: int = -1) -> dict[str, Any]:
        where = f"dags/{dag_id}/dagRuns/{run_id}/taskInstances/{task_id}" + (f"/{map_index}" if map_index >= 0 else "")
        found: dict[str, Any] = self.call("GET", where)
        return found

    def states(self, dag_id: str, run_id: str) -> dict[str, str | None]:
        found = self.call("GET", f"dags/{dag_id}/dagRuns/{run_id}/taskInstances")["task_instances"]
        return {task["task_id"]: task["state"] for task in found}

    def until(self, dag_id: str, run_id: str, task_id: str, *states: str, attempt: int = 0) -> str:
        """Wait until a task is in one of the states, at its `attempt`th try or later; the state."""

        def reached() -> Any:
            seen = self.task(dag_id, run_id, task_id)
            return seen["try_number"] >= attempt and seen["state"] in states and seen["state"]

        return str(self.wait(reached, f"{dag_id}.{task_id} to be {' or '.join(states)}"))

    def xcom(self, dag_id: str, run_id: str, task_id: str, key: str = "return_value") -> Any:
        where = f"dags/{dag_id}/dagRuns/{run_id}/taskInstances/{task_id}/xcomEntries/{key}"
        return self.call("GET", where, deserialize=False, stringify=False)["value"]

    def log(self, dag_id: str, run_id: str, task_id: str, attempt: int = 1) -> str:
        where = f"dags/{dag_id}/dagRuns/{run_id}/taskInstances/{task_id}/logs/{attempt}"
        found = self.call("GET", where)["content"]
        return "\n".join(str(line.get("event", line)) if isinstance(line, dict) else str(line) for line in found)

    def set_state(self, dag_id: str, run_id: str, task_id: str, state: str) -> None:
        self.call("PATCH", f"dags/{dag_id}/dagRuns/{run_id}/taskInstances/{task_id}", {"new_state": state})

    def clear(self, dag_id: str, run_id: str, task_id: str) -> None:
        body = {"dag_run_id": run_id, "task_ids": [task_id], "dry_run": False, "only_failed": False}
        self.call("POST", f"dags/{dag_id}/clearTaskInstances", body)

    # --- the store ------------------------------------------------------------------------------------------------

    @contextlib.contextmanager
    def tracking(self) -> Iterator[Store]:
        with connect(self.store.uri) as store:
            yield store

    def tracked(self, dag_id: str, run_id: str) -> list[Run]:
        """What a DAG run left in the store."""
        with self.tracking() as store:
            ids = [experiment.experiment_id for experiment in store.search_experiments().items]
            return list(
                store.search_runs(ids, filter_string=f"tags.`mlgate.engine.run_id` = '{dag_id}/{run_id}'").items
            )

    def wait_status(self, dag_id: str, run_id: str, status: str) -> list[Run]:
        """Wait until all runs of a DAG run have that status; the runs."""

        def reached() -> Any:
            found = self.tracked(dag_id, run_id)
            return all(run.info.status.value == status for run in found) and found

        runs: list[Run] = self.wait(reached, f"runs of {dag_id} to be {status}")
        return runs

    def mlgate(self, *args: str | Path) -> Any:
        """`mlgate ARGS --json` against the store; what it printed."""
        done = mlgate(*args, "--json", env={"MLGATE_TRACKING_URI": self.store.uri})
        assert done.returncode == 0, done.stderr
        return json.loads(done.stdout)

    # --- waiting --------------------------------------------------------------------------------------------------

    def wait(self, reached: Callable[[], Any], what: str, timeout: float = 120) -> Any:
        """Ask until the answer is true; the answer."""
        end = time.monotonic() + timeout
        while True:
            seen = reached()
            if seen:
                return seen
            dead = [name for name, process in self.processes.items() if process.poll() is not None]
            assert not dead, f"{dead} ended while waiting for {what}\n{self.logs()}"
            assert time.monotonic() < end, f"waited {timeout:.0f} s for {what}\n{self.logs()}"
            time.sleep(0.2)

    def logs(self) -> str:
        """The ends of all logs: components first, then tasks by age."""
        files = [self.home / f"{name}.log" for name in COMPONENTS]
        tasks = sorted((self.home / "logs").rglob("attempt=*.log"), key=lambda path: path.stat().st_mtime)
        return "\n".join(
            f"--- {path.relative_to(self.home)}\n{path.read_text(errors='replace')[-2500:]}"
            for path in [*files, *tasks[-4:]]
            if path.exists()
        )

    # --- processes ------------------------------------------------------------------------------------------------

    def start(self, python: Path, name: str, *options: str) -> None:
        with (self.home / f"{name}.log").open("ab") as log:
            self.processes[name] = psutil.Popen(
                [str(python), "-m", "airflow", name, *options],
                env=dict(self.environ), cwd=self.home, stdin=subprocess.DEVNULL, stdout=log, stderr=log,
                start_new_session=True,
            )  # fmt: skip

    def stop(self) -> None:
        """End what was started, with all its children, by their ids."""
        family = []
        for process in self.processes.values():
            with contextlib.suppress(psutil.NoSuchProcess):
                family += [*process.children(recursive=True), process]
        for process in self.processes.values():
            with contextlib.suppress(psutil.NoSuchProcess):
                process.terminate()
        _, alive = psutil.wait_procs(family, timeout=5)
        for process in alive:
            with contextlib.suppress(psutil.NoSuchProcess):
                process.kill()
        psutil.wait_procs(alive, timeout=10)


@contextlib.contextmanager
def cluster(python: Path, home: Path, bundles: Mapping[str, Path], variables: Mapping[str, str]) -> Iterator[Cluster]:
    """Start an Airflow that runs the DAG files of `bundles`, with `variables` in its processes' environment."""
    with postgresql() as database, mlgate_server(home / "server") as store:
        port = free_port()
        made = Cluster(home, f"http://127.0.0.1:{port}", store, {})
        made.environ = {
            **{name: value for name, value in os.environ.items() if not name.startswith(("AIRFLOW", "MLGATE_"))},
            "MLGATE_HOME": str(home / "worker"),
            f"AIRFLOW_CONN_{CONNECTION.upper()}": json.dumps({"conn_type": "mlgate", "host": store.uri}),
            **_configuration(home, port, database.create(), bundles),
            **variables,
        }
        (home / "passwords.json").write_text(json.dumps({name: name for name in USERS}))
        subprocess.run(
            [str(python), "-m", "airflow", "db", "migrate"],
            env=dict(made.environ), check=True, capture_output=True, timeout=120,
        )  # fmt: skip
        try:
            for name in COMPONENTS:
                made.start(python, name)
            made.wait(lambda: _healthy(made.uri), "all components to be healthy")
            yield made
        finally:
            made.stop()


def _configuration(home: Path, port: int, database: str, bundles: Mapping[str, Path]) -> dict[str, str]:
    """Airflow's settings: its own, but for loopback ports, few processes, and intervals that do not make tests wait."""
    local = "airflow.dag_processing.bundles.local.LocalDagBundle"
    settings = {
        "core": {
            "executor": "LocalExecutor",
            "parallelism": 6,
            "load_examples": False,
            "simple_auth_manager_users": ",".join(f"{name}:{role}" for name, role in USERS.items()),
            "simple_auth_manager_passwords_file": home / "passwords.json",
            "execution_api_server_url": f"http://127.0.0.1:{port}/execution/",
            "min_serialized_dag_update_interval": 0,
            "fernet_key": base64.urlsafe_b64encode(secrets.token_bytes(32)).decode(),
        },
        "database": {
            "sql_alchemy_conn": database.replace("postgresql:", "postgresql+psycopg2:"),
            "sql_alchemy_pool_size": 3,
        },
        "dag_processor": {
            "dag_bundle_config_list": json.dumps(
                [{"name": name, "classpath": local, "kwargs": {"path": str(path)}} for name, path in bundles.items()]
            ),
            "parsing_processes": 1,
            "min_file_process_interval": 30,
            "refresh_interval": 30,
        },
        "scheduler": {
            "scheduler_idle_sleep_time": 0.3,
            "scheduler_heartbeat_sec": 1,
            "job_heartbeat_sec": 1,
            "task_instance_heartbeat_timeout": 15,
            "task_instance_heartbeat_timeout_detection_interval": 2,
        },
        "workers": {"min_heartbeat_interval": 1},
        "triggerer": {"job_heartbeat_sec": 1},
        "api": {"port": port, "host": "127.0.0.1", "base_url": f"http://127.0.0.1:{port}", "workers": 1,
                "secret_key": secrets.token_hex(16)},
        "api_auth": {"jwt_secret": secrets.token_hex(32)},
        "logging": {"worker_log_server_port": free_port(), "trigger_log_server_port": free_port()},
        "mlgate": {"conn_id": CONNECTION},
    }  # fmt: skip
    return {
        "AIRFLOW_HOME": str(home),
        **{
            f"AIRFLOW__{section.upper()}__{key.upper()}": str(value)
            for section, options in settings.items()
            for key, value in options.items()
        },
    }


def _healthy(uri: str) -> bool:
    try:
        said = httpx.get(f"{uri}/api/v2/monitor/health", timeout=10)
    except httpx.TransportError:
        return False
    return said.is_success and all(part["status"] == "healthy" for part in said.json().values())


__all__ = ["CONNECTION", "USERS", "Cluster", "cluster"]
