"""What a step costs in an engine: against the engine's own plain task that runs the same shell command.

    python benchmarks/engines.py [--engine airflow|prefect|all] [--steps 8] [--rounds 3] [--quick]

**Prefect**: one process on a real server runs, in turns, a flow of plain tasks (`subprocess.run`), a flow of
`run_project` tasks, and a pipeline by `project_flow`: the same command as often, one after another. What is printed is
the median time from the beginning of a step to that of the next.

**Airflow**: a standalone Airflow (LocalExecutor) runs a DAG in which `BashOperator` and `RunProjectOperator` take
turns, and `RunPipelineOperator` runs pipelines of one step and of `--steps`. What is printed is the time that Airflow
has recorded for a task; and, before that, what the DAG processor takes to load a file, against an empty DAG.

Each for a command that does nothing and one that takes a second. Ours tracks the run with its parameters, logs, usage
and output, and (in Prefect) leaves artifacts.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import math
import os
import signal
import socket
import statistics
import subprocess
import sys
import tempfile
import time
import urllib.request
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from run_project import uv_environment

ROOT = str(Path(__file__).resolve().parents[1])
COMMANDS = {"nothing": "true", "one second": "sleep 1"}

Row = dict[str, Any]
"""One line of the result: `command`, `plain` and others (seconds that one more step takes, by side)."""


def write_project(directory: Path, steps: int) -> Path:
    """A project with an entry point for each command, and for each a pipeline of one step and one of `steps`."""
    directory.mkdir(parents=True)
    entry_points, pipelines = [], []
    for number, command in enumerate(COMMANDS.values()):
        entry_points.append(f"  c{number}: {{command: '{command}'}}\n")
        for count in (1, steps):
            chain = "".join(
                f"      s{index}: {{entry_point: c{number}{f', needs: [s{index - 1}]' if index else ''}}}\n"
                for index in range(count)
            )
            pipelines.append(f"  c{number}-{count}:\n    defaults: {{environment: system}}\n    steps:\n{chain}")
    (directory / "MLproject").write_text(
        f"name: bench\nentry_points:\n{''.join(entry_points)}pipelines:\n{''.join(pipelines)}"
    )
    return directory


# --- Prefect ----------------------------------------------------------------------------------------------------------

PREFECT = """
import json, statistics, subprocess, sys, time
from prefect import flow, task
from mlgate.prefect import project_flow, run_project
from mlgate.records import children
from mlgate.settings import load_settings
from mlgate.tracking import open_tracking

project, steps, rounds = sys.argv[1], int(sys.argv[2]), int(sys.argv[3])
commands = json.loads(sys.argv[4])

# Each step is timed by itself: how a flow run begins and ends takes whole seconds, whatever runs in it.
def each(work, count):
    times = []
    for index in range(count):
        begun = time.perf_counter()
        work(index)
        times.append(time.perf_counter() - begun)
    return times

@task
def shell(command):
    subprocess.run(["bash", "-c", command], check=True)

@flow
def plain(command, number, count):
    return each(lambda _: shell(command), count)

@flow
def tasks(command, number, count):
    return each(
        lambda index: run_project(project, f"c{number}", env_manager="system", tags={"n": str(index)}), count
    )

flows = {(number, count): project_flow(project, f"c{number}-{count}")
         for number in range(len(commands)) for count in (1, steps)}

def pipeline(command, number, count):
    run_id = flows[number, count](use_cache=False)["run_id"]
    with open_tracking(load_settings()) as tracking:
        starts = sorted(run.info.start_time for run in children(tracking.store, run_id))
    return [(after - before) / 1000 for before, after in zip(starts, starts[1:])]

sides = {"plain": plain, "run_project": tasks, "project_flow": pipeline}
for side in sides.values():
    side("true", 0, 1)  # imports, schema, connections
rows = []
for number, (name, command) in enumerate(commands.items()):
    took = {side: [] for side in sides}
    for _ in range(rounds):
        for side, run in sides.items():
            took[side] += run(command, number, steps)
    rows.append({"command": name, **{side: statistics.median(times) for side, times in took.items()}})
print(json.dumps(rows))
"""


def prefect(work: Path, steps: int, rounds: int) -> list[Row]:
    """A step as a Prefect task, on a Prefect server of its own with its SQLite."""
    python = uv_environment(work / "prefect", ROOT, "prefect>=3.7,<4") / "python"
    env = clean_environment(work)
    env |= {"PREFECT_HOME": str(work / "prefect-home"), "PREFECT_SERVER_ANALYTICS_ENABLED": "false"}
    with server([str(python), "-m", "prefect", "server", "start", "--host", "127.0.0.1", "--port"], env) as api:
        env |= {"PREFECT_API_URL": f"{api}/api", "PREFECT_LOGGING_LEVEL": "WARNING"}
        project = write_project(work / "project", steps)
        return measured([str(python), "-c", PREFECT, str(project), str(steps), str(rounds), json.dumps(COMMANDS)], env)


# --- Airflow ----------------------------------------------------------------------------------------------------------

DAGS = """
import json, os
from datetime import datetime
from airflow.providers.standard.operators.bash import BashOperator
from airflow.sdk import DAG
from mlgate.airflow import RunPipelineOperator, RunProjectOperator

project, steps = os.environ["BENCH_PROJECT"], int(os.environ["BENCH_STEPS"])
commands = json.loads(os.environ["BENCH_COMMANDS"])
with DAG("bench", schedule=None, start_date=datetime(2026, 1, 1), catchup=False):
    last = None
    for number, command in enumerate(commands):
        for index in range(steps):  # the sides take turns
            for task in (
                BashOperator(task_id=f"plain-{number}-{index}", bash_command=command),
                RunProjectOperator(
                    task_id=f"RunProjectOperator-{number}-{index}",
                    uri=project, entry_point=f"c{number}", env_manager="system",
                ),
            ):
                if last is not None:
                    last >> task
                last = task
        for count in (1, steps):
            task = RunPipelineOperator(
                task_id=f"pipeline-{number}-{count}", uri=project, pipeline=f"c{number}-{count}", jobs=1
            )
            last >> task
            last = task
"""

PARSED = {
    "empty": "from airflow.sdk import DAG\nwith DAG('empty'):\n    pass\n",
    "BashOperator": "from airflow.sdk import DAG\nfrom airflow.providers.standard.operators.bash import BashOperator\n"
    "with DAG('bash'):\n    BashOperator(task_id='t', bash_command='true')\n",
    "RunProjectOperator": "from airflow.sdk import DAG\nfrom mlgate.airflow import RunProjectOperator\n"
    "with DAG('ours'):\n    RunProjectOperator(task_id='t', uri='PROJECT')\n",
    "ProjectDag": "from datetime import datetime\nfrom mlgate.airflow import ProjectDag\n"
    "ProjectDag('pipeline', source='PROJECT', pipeline='c0-1', start_date=datetime(2026, 1, 1))\n",
}

PARSE = """
import json, os, statistics, sys, time
from airflow.dag_processing.dagbag import DagBag
import airflow.sdk

DagBag  # loaded before the fork, as the DAG processor has it
rounds, files = int(sys.argv[1]), sys.argv[2:]

def parse(file):
    reader, writer = os.pipe()
    if os.fork() == 0:
        begun = time.perf_counter()
        bag = DagBag(dag_folder=file)
        took = time.perf_counter() - begun
        assert not bag.import_errors and bag.dags, bag.import_errors
        os.write(writer, repr(took).encode())
        os._exit(0)
    os.wait()
    os.close(writer)
    with os.fdopen(reader) as said:
        return float(said.read())

times = {file: [] for file in files}
for _ in range(rounds):
    for file in files:
        times[file].append(parse(file))
print(json.dumps([statistics.median(times[file]) for file in files]))
"""


def airflow(work: Path, steps: int, rounds: int) -> list[Row]:
    """A step as a task of LocalExecutor, in a standalone Airflow; the time that the task holds its slot."""
    python = uv_environment(work / "airflow", ROOT, "apache-airflow>=3.1,<4") / "python"
    project = write_project(work / "project", steps)
    dags = work / "dags"
    dags.mkdir()
    (dags / "bench.py").write_text(DAGS)
    env = clean_environment(work) | {
        "AIRFLOW_HOME": str(work / "airflow-home"),
        "AIRFLOW__CORE__DAGS_FOLDER": str(dags),
        "AIRFLOW__CORE__LOAD_EXAMPLES": "False",
        "AIRFLOW__CORE__SIMPLE_AUTH_MANAGER_ALL_ADMINS": "True",
        "AIRFLOW__API__WORKERS": "1",
        "AIRFLOW__LOGGING__LOGGING_LEVEL": "WARNING",
        "BENCH_PROJECT": str(project),
        "BENCH_STEPS": str(steps),
        "BENCH_COMMANDS": json.dumps(list(COMMANDS.values())),
        "PATH": f"{python.parent}:{os.environ['PATH']}",
    }
    report_parsing(python, work, project, env, rounds * 7)
    with server([str(python.parent / "mlgate"), "server", "--no-access-log", "--port"], env, "/health") as store:
        env |= {"MLGATE_TRACKING_URI": store}
        start = [str(python), "-c", STANDALONE]
        with server(start, env, "/api/v2/monitor/health", stop=signal.SIGINT) as api:
            least: dict[str, float] = {}
            for _ in range(rounds + 1):  # the first one pays for what is done once
                warm = bool(least)
                for task, seconds in durations(api).items():
                    least[task] = min(seconds, least[task]) if warm else math.inf
    rows = []
    for number, name in enumerate(COMMANDS):
        row: Row = {"command": name}
        for side in ("plain", "RunProjectOperator"):
            row[side] = statistics.median(least[f"{side}-{number}-{index}"] for index in range(steps))
        row["in a pipeline"] = (least[f"pipeline-{number}-{steps}"] - least[f"pipeline-{number}-1"]) / (steps - 1)
        rows.append(row)
    return rows


STANDALONE = """
import os, sys
os.environ["AIRFLOW__API__PORT"] = sys.argv[1]
os.environ["AIRFLOW__CORE__EXECUTION_API_SERVER_URL"] = f"http://127.0.0.1:{sys.argv[1]}/execution/"
os.execv(sys.executable, [sys.executable, "-m", "airflow", "standalone"])
"""


def report_parsing(python: Path, work: Path, project: Path, env: dict[str, str], rounds: int) -> None:
    """Print what the DAG processor takes for a file: an empty DAG, a plain operator, and ours."""
    files = []
    for name, text in PARSED.items():
        files.append(work / "parsed" / f"{name}.py")
        files[-1].parent.mkdir(exist_ok=True)
        files[-1].write_text(text.replace("PROJECT", str(project)))
    migrate = [str(python), "-m", "airflow", "db", "migrate"]
    subprocess.run(migrate, env=env, check=True, capture_output=True)
    took = measured([str(python), "-c", PARSE, str(rounds), *map(str, files)], env)
    print(f"{'airflow':>10}{'DAG file':>14}{'':>4}{'':<14}{'to parse':>14}{'over empty':>12}")
    for name, seconds in zip(PARSED, took, strict=True):
        print(f"{'':>28}{name:<18}{seconds * 1000:>7.1f} ms{(seconds - took[0]) * 1000:>9.1f} ms")


def durations(api: str) -> dict[str, float]:
    """Run the DAG once; seconds by task, as Airflow has recorded them."""
    call = Api(api)
    while not call("GET", "dags?exclude_stale=true")["dags"]:
        time.sleep(0.5)
    call("PATCH", "dags/bench", {"is_paused": False})
    run = "dags/bench/dagRuns/" + call("POST", "dags/bench/dagRuns", {"logical_date": None})["dag_run_id"]
    while (state := call("GET", run)["state"]) not in ("success", "failed"):
        time.sleep(1)
    if state == "failed":
        sys.exit("the DAG run failed")
    tasks = call("GET", f"{run}/taskInstances?limit=1000")["task_instances"]
    return {task["task_id"]: task["duration"] for task in tasks}


class Api:
    """Airflow's REST API, for whoever asks: everybody is an admin here."""

    def __init__(self, url: str) -> None:
        self.url = url
        with urllib.request.urlopen(f"{url}/auth/token", timeout=60) as said:
            self._token = json.load(said)["access_token"]

    def __call__(self, method: str, path: str, body: Any = None) -> Any:
        request = urllib.request.Request(
            f"{self.url}/api/v2/{path.replace('+', '%2B')}",
            None if body is None else json.dumps(body).encode(),
            {"Authorization": f"Bearer {self._token}", "Content-Type": "application/json"},
            method=method,
        )
        with urllib.request.urlopen(request, timeout=60) as said:
            return json.load(said)


# --- shared -----------------------------------------------------------------------------------------------------------


def clean_environment(work: Path) -> dict[str, str]:
    foreign = ("MLGATE_", "MLFLOW_", "PYTHON", "PREFECT", "AIRFLOW")
    env = {name: value for name, value in os.environ.items() if not name.startswith(foreign)}
    return env | {"MLGATE_HOME": str(work / "home")}


@contextlib.contextmanager
def server(
    argv: list[str], env: dict[str, str], health: str = "/api/health", stop: int = signal.SIGTERM
) -> Iterator[str]:
    """Start a server (a free port is appended to its command), wait until it answers, end it afterwards."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    process = subprocess.Popen([*argv, str(port)], env=env, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    url = f"http://127.0.0.1:{port}"
    try:
        for _ in range(600):
            with contextlib.suppress(OSError), urllib.request.urlopen(url + health, timeout=5):
                break
            if process.poll() is not None:
                sys.exit(f"the server ended with {process.returncode}: {' '.join(argv)}")
            time.sleep(0.2)
        yield url
    finally:
        process.send_signal(stop)
        process.wait(60)


def measured(argv: list[str], env: dict[str, str]) -> list[Row]:
    """Run a script that prints its rows as JSON on the last line."""
    done = subprocess.run(argv, env=env, capture_output=True, text=True, check=False)
    if done.returncode:
        sys.exit(done.stdout[-3000:] + done.stderr[-3000:])
    rows: list[Row] = json.loads(done.stdout.strip().splitlines()[-1])
    return rows


ENGINES: dict[str, Callable[[Path, int, int], list[Row]]] = {"airflow": airflow, "prefect": prefect}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--engine", choices=[*ENGINES, "all"], default="all")
    parser.add_argument("--steps", type=int, default=8)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--quick", action="store_true", help="one round of three steps")
    options = parser.parse_args()
    steps, rounds = (3, 1) if options.quick else (options.steps, options.rounds)
    results = {}
    for name in ENGINES if options.engine == "all" else [options.engine]:
        with tempfile.TemporaryDirectory(prefix="mlgate-bench-") as directory:
            rows = results[name] = ENGINES[name](Path(directory), steps, rounds)
        print(f"{name:>10}{'command':>14}{'':>4}{'side':<14}{'a step':>14}{'over plain':>12}")
        for row in rows:
            for side, seconds in row.items():
                if side == "command":
                    continue
                over = f"{(seconds / row['plain'] - 1) * 100:>10.1f} %" if side != "plain" else ""
                print(f"{'':>10}{row['command']:>14}{'':>4}{side:<14}{seconds * 1000:>11.1f} ms{over:>12}")
    print(json.dumps(results))


if __name__ == "__main__":
    main()
