"""What a step costs in an engine: against the engine's own plain task that runs the same shell command.

    python benchmarks/engines.py --engine prefect [--steps 8] [--rounds 3] [--quick]

One process on a real server of the engine runs, in turns, a flow of plain tasks (`subprocess.run`), a flow of
`run_project` tasks, and a pipeline by `project_flow`: the same command as often, one after another. What is printed is
the time that one more step takes (flows of `--steps` steps less flows of one), for a command that does nothing and one
that takes a second. Ours tracks the run with its parameters, logs, usage and output, and leaves artifacts.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import socket
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
import json, subprocess, sys, time
from prefect import flow, task
from mlgate.prefect import project_flow, run_project

project, steps, rounds = sys.argv[1], int(sys.argv[2]), int(sys.argv[3])
commands = json.loads(sys.argv[4])

@task
def shell(command):
    subprocess.run(["bash", "-c", command], check=True)

@flow
def plain(command, number, count):
    for _ in range(count):
        shell(command)

@flow
def tasks(command, number, count):
    for index in range(count):
        run_project(project, f"c{number}", env_manager="system", tags={"n": str(index)})

flows = {(number, count): project_flow(project, f"c{number}-{count}")
         for number in range(len(commands)) for count in (1, steps)}

def pipeline(command, number, count):
    flows[number, count]()

sides = {"plain": plain, "run_project": tasks, "project_flow": pipeline}
for side in sides.values():
    side("true", 0, 1)  # imports, schema, connections
rows = []
for number, (name, command) in enumerate(commands.items()):
    least = {}
    for _ in range(rounds):
        for side, run in sides.items():
            for count in (1, steps):
                begun = time.perf_counter()
                run(command, number, count)
                took = time.perf_counter() - begun
                least[side, count] = min(took, least.get((side, count), took))
    per_step = {side: (least[side, steps] - least[side, 1]) / (steps - 1) for side in sides}
    rows.append({"command": name, **per_step})
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


# --- shared -----------------------------------------------------------------------------------------------------------


def clean_environment(work: Path) -> dict[str, str]:
    foreign = ("MLGATE_", "MLFLOW_", "PYTHON", "PREFECT", "AIRFLOW")
    env = {name: value for name, value in os.environ.items() if not name.startswith(foreign)}
    return env | {"MLGATE_HOME": str(work / "home")}


@contextlib.contextmanager
def server(argv: list[str], env: dict[str, str], health: str = "/api/health") -> Iterator[str]:
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
        process.terminate()
        process.wait(60)


def measured(argv: list[str], env: dict[str, str]) -> list[Row]:
    """Run a script that prints its rows as JSON on the last line."""
    done = subprocess.run(argv, env=env, capture_output=True, text=True, check=False)
    if done.returncode:
        sys.exit(done.stdout[-3000:] + done.stderr[-3000:])
    rows: list[Row] = json.loads(done.stdout.strip().splitlines()[-1])
    return rows


ENGINES: dict[str, Callable[[Path, int, int], list[Row]]] = {"prefect": prefect}


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
        print(f"{name:>10}{'command':>14}{'':>4}{'side':<14}{'one more step':>14}{'over plain':>12}")
        for row in rows:
            for side, seconds in row.items():
                if side == "command":
                    continue
                over = f"{(seconds / row['plain'] - 1) * 100:>10.1f} %" if side != "plain" else ""
                print(f"{'':>10}{row['command']:>14}{'':>4}{side:<14}{seconds * 1000:>11.1f} ms{over:>12}")
    print(json.dumps(results))


if __name__ == "__main__":
    main()
