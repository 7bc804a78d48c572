"""The step kit against MLflow's client: import, log_metric, and what a step pays for being watched.

    python benchmarks/client.py [--rounds 5] [--quick] [--mlflow PYTHON]

Both clients run in one environment (`--mlflow`: an interpreter that has mlflow; made in a temporary directory when not
given) against one server each: ours against `mlgate server`, MLflow's against `mlflow server`, both on SQLite. Sides
are measured in turn; medians and ratios are printed. Targets: `import mlgate_tracking` at most 40 ms over a bare
interpreter, sitecustomize at most 2 ms, `log_metric` microseconds on the caller's thread.
"""

from __future__ import annotations

import argparse
import contextlib
import os
import socket
import statistics
import subprocess
import sys
import tempfile
import time
import urllib.request
from collections.abc import Callable, Iterator
from pathlib import Path

from mlgate_tracking import kit

LOG = """
import sys, time
{module}
count = int(sys.argv[1])
api.set_experiment("bench")
with api.start_run():
    api.log_metric("warm", 0)
    started = time.perf_counter()
    for step in range(count):
        api.log_metric("loss", 1 / (step + 1), step=step{options})
    called = time.perf_counter() - started
    {flush}
    arrived = time.perf_counter() - started
print(called / count, arrived / count)
"""
OURS = LOG.format(module="import mlgate_tracking as api", options="", flush="api.flush()")
MLFLOW = LOG.format(module="import mlflow as api", options="", flush="pass")
MLFLOW_ASYNC = LOG.format(
    module="import mlflow as api", options=", synchronous=False", flush="api.flush_async_logging()"
)


def alternate(rounds: int, sides: dict[str, Callable[[], list[float]]]) -> dict[str, list[float]]:
    """Medians of what each side measures; one warm-up each, then in turn."""
    for side in sides.values():
        side()
    seen: dict[str, list[list[float]]] = {name: [] for name in sides}
    for _ in range(rounds):
        for name, side in sides.items():
            seen[name].append(side())
    return {name: [statistics.median(column) for column in zip(*rows, strict=True)] for name, rows in seen.items()}


def started(python: str, statement: str, env: dict[str, str]) -> list[float]:
    begin = time.perf_counter()
    subprocess.run([python, "-c", statement], env=env, check=True, capture_output=True)
    return [time.perf_counter() - begin]


def logged(python: str, script: str, count: int, env: dict[str, str]) -> list[float]:
    done = subprocess.run([python, "-c", script, str(count)], env=env, check=True, capture_output=True, text=True)
    return [float(value) for value in done.stdout.splitlines()[-1].split()]


@contextlib.contextmanager
def server(argv: list[str], env: dict[str, str]) -> Iterator[str]:
    """A server process on a free port; its address, once it answers."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    command = [*argv, "--host", "127.0.0.1", "--port", str(port)]
    with subprocess.Popen(command, env=env, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL) as process:
        try:
            for _ in range(600):
                with contextlib.suppress(OSError):
                    urllib.request.urlopen(f"http://127.0.0.1:{port}/health", timeout=1).close()
                    break
                time.sleep(0.1)
            yield f"http://127.0.0.1:{port}"
        finally:
            process.terminate()


def mlflow_environment(directory: Path) -> str:
    uv = str(Path(sys.executable).with_name("uv"))
    python = str(directory / "bin" / "python")
    subprocess.run([uv, "venv", "--quiet", "--python", sys.executable, str(directory)], check=True)
    subprocess.run([uv, "pip", "install", "--quiet", "--compile-bytecode", "--python", python, "mlflow"], check=True)
    return python


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--quick", action="store_true", help="two rounds, fewer calls")
    parser.add_argument("--mlflow", help="an interpreter that has mlflow")
    options = parser.parse_args()
    rounds = 2 if options.quick else options.rounds
    count, slow = (5_000, 50) if options.quick else (50_000, 300)
    with tempfile.TemporaryDirectory() as folder:
        directory = Path(folder)
        python = options.mlflow or mlflow_environment(directory / "env")
        staged = str(kit.stage(directory / "kit"))
        unset = ("PYTHONDONTWRITEBYTECODE", "MLFLOW_", "MLGATE_", "PYTHONPATH")
        env = {name: value for name, value in os.environ.items() if not name.startswith(unset)}
        ours = {**env, "PYTHONPATH": staged, "MLGATE_SPOOL": str(directory / "spool")}
        step = {**ours, "MLGATE_RUN_ID": "0" * 32}
        imports = alternate(
            rounds * 3,
            {
                "a bare interpreter": lambda: started(python, "pass", env),
                "... as a step (sitecustomize)": lambda: started(python, "pass", step),
                "import mlgate_tracking": lambda: started(python, "import mlgate_tracking", ours),
                "... and its first name": lambda: started(python, "import mlgate_tracking as t; t.log_metric", ours),
                "import mlflow": lambda: started(python, "import mlflow", env),
            },
        )
        bare = imports["a bare interpreter"][0]
        print(f"{'start':34}{'ms':>10}{'over bare':>12}")
        for name, (seconds,) in imports.items():
            print(f"{name:34}{seconds * 1e3:10.1f}{(seconds - bare) * 1e3:12.1f}")
        mlgate = [sys.executable, "-m", "mlgate", "server", "--backend-store-uri", f"sqlite:///{directory / 'a.db'}"]
        mlflow = [python, "-m", "mlflow", "server", "--backend-store-uri", f"sqlite:///{directory / 'b.db'}"]
        mlflow += ["--artifacts-destination", str(directory / "b"), "--workers", "1"]
        with server(mlgate, env) as our_uri, server(mlflow, env) as their_uri:
            ours["MLFLOW_TRACKING_URI"] = our_uri
            theirs = {**env, "MLFLOW_TRACKING_URI": their_uri}
            calls = alternate(
                rounds,
                {
                    "mlgate_tracking.log_metric": lambda: logged(python, OURS, count, ours),
                    "mlflow.log_metric": lambda: logged(python, MLFLOW, slow, theirs),
                    "mlflow.log_metric, asynchronous": lambda: logged(python, MLFLOW_ASYNC, slow, theirs),
                },
            )
        print(f"\n{'one metric':34}{'call, us':>10}{'stored, us':>12}{'call is':>12}")
        first = calls["mlgate_tracking.log_metric"][0]
        for name, (called, stored) in calls.items():
            print(f"{name:34}{called * 1e6:10.1f}{stored * 1e6:12.1f}{called / first:11.0f}x")


if __name__ == "__main__":
    main()
