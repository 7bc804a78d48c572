"""Building and reusing environments, against uv doing the same install and against `mlflow run`.

    python benchmarks/environments.py [--rounds 5] [--quick] [--mlflow REQUIREMENT]

Everything is measured in turn in one run (A B A B ...); medians and ratios are printed. uv's own cache is warm on both
sides and nothing is compiled at install. Targets: a cold build takes at most 1.1 x uv doing the same install; reusing a
ready environment adds at most 20 ms to a step; starting a step's process adds at most 5 ms to a bare one.
"""

from __future__ import annotations

import argparse
import os
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

from mlgate_projects import process
from mlgate_projects.envs import EnvOptions, environment_for, inherited_variables
from mlgate_projects.envs.installer import builder_variables, uv_path
from mlgate_projects.process import ProcessRequest
from mlgate_projects.spec import SystemSpec, VirtualenvSpec

PACKAGES = ("scikit-learn", "pandas")
SEEDS = ("pip", *(("setuptools<81",) if sys.version_info < (3, 12) else ()))


def measured(call: Callable[[], object]) -> float:
    started = time.perf_counter()
    call()
    return time.perf_counter() - started


def alternate(rounds: int, sides: dict[str, Callable[[], float]]) -> dict[str, float]:
    """Median seconds of each side; one warm-up each, then in turn."""
    for side in sides.values():
        side()
    times: dict[str, list[float]] = {name: [] for name in sides}
    for _ in range(rounds):
        for name, side in sides.items():
            times[name].append(side())
    return {name: statistics.median(values) for name, values in times.items()}


def silent(_: str) -> None:
    return None


def no_output(*_: object) -> None:
    return None


class Builds:
    """Cold builds, each in a directory of its own that is removed outside the measured time."""

    def __init__(self, work: Path) -> None:
        self.work = work
        self.env = builder_variables(os.environ)
        self.spec = VirtualenvSpec("python_env.yaml", dependencies=PACKAGES)
        self.count = 0

    def fresh(self) -> Path:
        self.count += 1
        path = self.work / f"build-{self.count}"
        path.mkdir()
        return path

    def uv(self, *arguments: str) -> str:
        done = subprocess.run([uv_path(), *arguments], env=self.env, capture_output=True, text=True, check=False)
        if done.returncode:
            sys.exit(f"uv {arguments[0]}: {done.stderr[-2000:]}")
        return done.stdout

    def install(self) -> float:
        """`uv venv` and `uv pip install`: what a user would type."""
        path = self.fresh()
        base = getattr(sys, "_base_executable", sys.executable)

        def build() -> None:
            self.uv("venv", "--quiet", "--python", base, str(path / "env"))
            self.uv("pip", "install", "--quiet", "--python", str(path / "env/bin/python"), *PACKAGES, *SEEDS)

        seconds = measured(build)
        shutil.rmtree(path)
        return seconds

    def locked_install(self) -> float:
        """The same with a lock: `uv venv`, `uv pip compile --generate-hashes`, `uv pip sync --require-hashes`."""
        path = self.fresh()
        base = getattr(sys, "_base_executable", sys.executable)
        (path / "in.txt").write_text("\n".join([*PACKAGES, *SEEDS]))

        def build() -> None:
            self.uv("venv", "--quiet", "--python", base, str(path / "env"))
            lock = ("--generate-hashes", "--quiet", "-o", str(path / "lock.txt"), str(path / "in.txt"))
            self.uv("pip", "compile", "--python", base, *lock)
            python = str(path / "env/bin/python")
            self.uv("pip", "sync", "--quiet", "--require-hashes", "--python", python, str(path / "lock.txt"))

        seconds = measured(build)
        shutil.rmtree(path)
        return seconds

    def ours(self) -> float:
        path = self.fresh()
        options = EnvOptions(path, path)
        environment_for("virtualenv").key(self.spec, options)  # the interpreter is known, as it is to uv's cache
        seconds = measured(lambda: environment_for("virtualenv").prepare(self.spec, options, silent))
        shutil.rmtree(path)
        return seconds

    def ours_again(self) -> float:
        """A build whose lock is known: what a machine does after its environments were collected."""
        path = self.fresh()
        options = EnvOptions(path, path)
        prepared = environment_for("virtualenv").prepare(self.spec, options, silent)
        shutil.rmtree(prepared.location)
        seconds = measured(lambda: environment_for("virtualenv").prepare(self.spec, options, silent))
        shutil.rmtree(path)
        return seconds


def mlflow_build(work: Path, requirement: str) -> float:
    """One `mlflow run --env-manager virtualenv` of a project with the same packages, its own start taken off."""
    builds = Builds(work)
    home = work / "mlflow"
    builds.uv("venv", "--quiet", "--python", sys.executable, str(home))
    packages = (requirement, "virtualenv", "uv")
    builds.uv("pip", "install", "--quiet", "--compile-bytecode", "--python", str(home / "bin/python"), *packages)
    project = work / "project"
    project.mkdir()
    (project / "MLproject").write_text(
        "name: x\npython_env: python_env.yaml\nentry_points: {main: {command: 'true'}}\n"
    )
    version = ".".join(map(str, sys.version_info[:3]))
    lines = "".join(f"  - {package}\n" for package in PACKAGES)
    (project / "python_env.yaml").write_text(f"python: '{version}'\nbuild_dependencies: [pip]\ndependencies:\n{lines}")
    env = {**os.environ, "MLFLOW_ENV_ROOT": str(work / "mlflow-envs"), "MLFLOW_TRACKING_URI": f"sqlite:///{work}/m.db"}
    env["PATH"] = f"{home}/bin:{env['PATH']}"

    def run(manager: str) -> float:
        argv = [str(home / "bin/mlflow"), "run", str(project), "--env-manager", manager]
        started = time.perf_counter()
        done = subprocess.run(argv, env=env, cwd=project, capture_output=True, text=True, check=False)
        if done.returncode:
            raise RuntimeError(done.stderr.strip().splitlines()[-1])
        return time.perf_counter() - started

    run("local")
    return run("virtualenv") - run("local")


def steps(work: Path) -> dict[str, Callable[[], float]]:
    """A command that does nothing: bare, through the process door, in the system's and in a ready environment."""
    spec = VirtualenvSpec("python_env.yaml", dependencies=PACKAGES)
    options = EnvOptions(work / "warm", work)
    request = ProcessRequest(("true",), work, inherited_variables("virtualenv", os.environ))

    class Never:
        def is_set(self) -> bool:
            return False

    def bare() -> None:
        subprocess.run(["bash", "-c", "true"], env=dict(request.env), capture_output=True, check=True)

    def door() -> None:
        process.run(replace(request, argv=("bash", "-c", "true")), no_output)

    def step(kind: str, wanted: SystemSpec | VirtualenvSpec) -> Callable[[], None]:
        def run() -> None:
            environment = environment_for(kind)
            prepared = environment.prepare(wanted, options, silent)
            environment.run(prepared, "true", request, no_output, Never(), no_output)

        return run

    sides = {
        "bare process": bare,
        "process door": door,
        "system": step("system", SystemSpec()),
        "virtualenv": step("virtualenv", spec),
    }
    return {name: (lambda call=call: measured(call)) for name, call in sides.items()}  # type: ignore[misc]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--quick", action="store_true", help="two rounds, and without MLflow")
    parser.add_argument("--mlflow", default="mlflow>=3", help="the MLflow to install and compare with")
    options = parser.parse_args()
    rounds = 2 if options.quick else options.rounds
    os.environ.pop("PYTHONDONTWRITEBYTECODE", None)  # with it, ours compiles at install, because steps could not

    with tempfile.TemporaryDirectory(prefix="mlgate-bench-") as name:
        work = Path(name)
        builds = Builds(work)
        cold = alternate(
            rounds,
            {
                "uv install": builds.install,
                "uv with a lock": builds.locked_install,
                "ours, cold": builds.ours,
                "ours, lock known": builds.ours_again,
            },
        )
        warm = alternate(rounds * 10, steps(work))
        print(f"building {' + '.join(PACKAGES)}, uv's cache warm, median of {rounds}")
        for label, seconds in cold.items():
            print(f"  {label:<18} {seconds:7.2f} s   {seconds / cold['uv install']:5.2f} x uv install")
        if not options.quick:
            try:
                seconds = mlflow_build(work, options.mlflow)
                print(
                    f"  {'mlflow virtualenv':<18} {seconds:7.2f} s   {seconds / cold['ours, cold']:5.1f} x ours, cold"
                )
            except RuntimeError as error:
                print(f"  mlflow run could not build it: {error}")
        print(f"\na step that does nothing, everything ready, median of {rounds * 10}")
        over = {"process door": "bare process", "system": "bare process", "virtualenv": "system"}
        for label, seconds in warm.items():
            more = f"   {(seconds - warm[over[label]]) * 1000:+5.1f} ms over {over[label]}" if label in over else ""
            print(f"  {label:<18} {seconds * 1000:7.1f} ms{more}")


if __name__ == "__main__":
    main()
