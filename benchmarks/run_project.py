"""`run-project` against `mlflow run`, against a bare interpreter, and what importing mlgate costs.

    python benchmarks/run_project.py [--rounds 7] [--quick]

Both sides are measured in turn in one run (A B A B …), in environments whose modules are compiled, on the same no-op
project; medians and their ratios are printed. Targets: a no-op run takes at most a tenth of MLflow's (stretch: five
bare starts of the interpreter); a warm environment adds at most 20 ms; `import mlgate` at most 30 ms and
`import mlgate_tracking.client` at most 40 ms over a bare interpreter.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

NOOP = {
    "MLproject": "name: noop\nentry_points:\n  main:\n    command: 'true'\n",
    "python_env.yaml": "dependencies: []\nbuild_dependencies: []\n",
}


def timed(argv: list[str], env: dict[str, str], cwd: Path) -> float:
    started = time.perf_counter()
    done = subprocess.run(argv, env=env, cwd=cwd, capture_output=True, check=False)
    elapsed = time.perf_counter() - started
    if done.returncode:
        sys.exit(f"{' '.join(argv)} ended with {done.returncode}:\n{done.stderr.decode()[-2000:]}")
    return elapsed


def alternate(rounds: int, sides: dict[str, Callable[[], float]]) -> dict[str, float]:
    """Median seconds of each side; one warm-up each, then in turn."""
    for side in sides.values():
        side()
    times: dict[str, list[float]] = {name: [] for name in sides}
    for _ in range(rounds):
        for name, side in sides.items():
            times[name].append(side())
    return {name: statistics.median(values) for name, values in times.items()}


def uv_environment(directory: Path, *packages: str) -> Path:
    """An environment with compiled packages; returns its bin directory."""
    uv = str(Path(sys.executable).with_name("uv"))
    subprocess.run([uv, "venv", "--quiet", "--python", sys.executable, str(directory)], check=True)
    python = str(directory / "bin" / "python")
    subprocess.run([uv, "pip", "install", "--quiet", "--compile-bytecode", "--python", python, *packages], check=True)
    return directory / "bin"


def modules_loaded(python: str, statement: str, env: dict[str, str], cwd: Path) -> int:
    code = f"import sys; before = len(sys.modules); {statement}; print(len(sys.modules) - before)"
    return int(subprocess.run([python, "-c", code], env=env, cwd=cwd, capture_output=True, check=True).stdout)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--quick", action="store_true", help="three rounds")
    parser.add_argument("--mlflow", default="mlflow>=3", help="the MLflow to install and compare with")
    options = parser.parse_args()
    rounds = 3 if options.quick else options.rounds

    with tempfile.TemporaryDirectory(prefix="mlgate-bench-") as name:
        work = Path(name)
        project = work / "noop"
        project.mkdir()
        for file, text in NOOP.items():
            (project / file).write_text(text)
        root = Path(__file__).resolve().parents[1]
        ours = uv_environment(work / "ours", str(root))
        theirs = uv_environment(work / "theirs", options.mlflow, "virtualenv", "uv")
        env = {key: value for key, value in os.environ.items() if not key.startswith(("MLGATE_", "MLFLOW_", "PYTHON"))}
        env |= {"MLGATE_HOME": str(work / "home"), "MLFLOW_TRACKING_URI": f"sqlite:///{work / 'mlflow.db'}"}
        ours_env = {key: value for key, value in env.items() if key != "MLFLOW_TRACKING_URI"}
        python = str(ours / "python")

        def run_project(*args: str) -> Callable[[], float]:
            argv = [str(ours / "run-project"), str(project), "--quiet", *args]
            return lambda: timed(argv, {**ours_env, "PATH": f"{ours}:{env['PATH']}"}, work)

        def mlflow_run(manager: str) -> Callable[[], float]:
            argv = [str(theirs / "mlflow"), "run", str(project), "--env-manager", manager]
            return lambda: timed(argv, {**env, "PATH": f"{theirs}:{env['PATH']}"}, work)

        def bare(statement: str) -> Callable[[], float]:
            return lambda: timed([python, "-c", statement], ours_env, work)

        seconds = alternate(
            rounds,
            {
                "bare interpreter": bare("pass"),
                "run-project, system": run_project("--env-manager", "system"),
                "mlflow run, local": mlflow_run("local"),
                "run-project, warm virtualenv": run_project(),
                "mlflow run, warm virtualenv": mlflow_run("virtualenv"),
                "import mlgate": bare("import mlgate"),
                "import mlgate_tracking.client": bare("import mlgate_tracking.client"),
            },
        )
        base = seconds["bare interpreter"]
        modules = {
            module: modules_loaded(python, f"import {module}", ours_env, work)
            for module in ("mlgate", "mlgate_tracking.client")
        }
        report(seconds, base, modules)
        ratio = seconds["run-project, system"] / seconds["mlflow run, local"]
        print(json.dumps({"seconds": seconds, "modules": modules, "ratio_noop": ratio}))


def report(seconds: dict[str, float], base: float, modules: dict[str, int]) -> None:
    print(f"{'what':36}{'median':>10}{'bare starts':>14}")
    for name, value in seconds.items():
        print(f"{name:36}{value * 1000:8.0f} ms{value / base:14.1f}")
    system = seconds["run-project, system"]
    print(f"\nno-op, system: 1/{seconds['mlflow run, local'] / system:.1f} of mlflow run (target 1/10)")
    warm = seconds["run-project, warm virtualenv"]
    print(f"no-op, warm virtualenv: 1/{seconds['mlflow run, warm virtualenv'] / warm:.1f} of mlflow run (target 1/10)")
    print(f"warm virtualenv over system: {(warm - system) * 1000:.0f} ms (target 20 ms)")
    for module, count in modules.items():
        over = (seconds[f"import {module}"] - base) * 1000
        print(f"import {module}: {over:.0f} ms over a bare interpreter, {count} modules")


if __name__ == "__main__":
    main()
