"""Whole steps, run by `run-project`: scripts that import nothing of ours, or MLflow, and end up in the step's run."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
import yaml

from mlgate_tracking.client import connect
from mlgate_tracking.contract import Store
from mlgate_tracking.entities import Run
from tests.support.conda_channel import channel
from tests.support.docker_engine import base_image
from tests.support.environments import environment
from tests.tracking.kit.conftest import MLFLOW3, MLFLOW28

FOREST = """
from sklearn.datasets import load_iris
from sklearn.ensemble import RandomForestClassifier
RandomForestClassifier(n_estimators=5).fit(*load_iris(return_X_y=True))
print("done")
"""
DOCKERFILE = """\
FROM {image}
RUN python -m pip install --no-cache-dir --disable-pip-version-check scikit-learn
"""


def run_project(
    tmp_path: Path, script: str, *options: str, path: Path | None = None, **files: str
) -> tuple[Store, str]:
    """Run a one-script project in a home of its own; (its store, what it printed). Fails when the step does."""
    project = tmp_path / "project"
    project.mkdir(exist_ok=True)
    (project / "MLproject").write_text(files.pop("mlproject", "entry_points:\n  main:\n    command: python train.py\n"))
    (project / "train.py").write_text(script)
    for name, content in files.items():
        (project / f"{name}.yaml").write_text(content)
    env = dict(os.environ)
    if path is not None:
        env["PATH"] = f"{path}{os.pathsep}{env['PATH']}"
    command = [sys.executable, "-m", "mlgate", "run", str(project), *options]
    done = subprocess.run(command, env=env, capture_output=True, text=True, timeout=280, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    return connect(f"sqlite:///{Path(env['MLGATE_HOME']) / 'mlgate.db'}"), done.stdout


def only_run(store: Store, experiment_id: str = "0") -> Run:
    (run,) = store.search_runs([experiment_id]).items
    return run


def artifact_directory(run: Run) -> Path:
    return Path(os.environ["MLGATE_HOME"]) / "artifacts" / run.info.experiment_id / run.info.run_id / "artifacts"


def artifacts(run: Run) -> set[str]:
    root = artifact_directory(run)
    return {str(path.relative_to(root)) for path in root.rglob("*") if path.is_file()}


def assert_fit_is_tracked(run: Run, kind: str) -> None:
    """The run of `FOREST` in that kind of environment has its parameters, training score, and model with signature."""
    assert run.tag("mlgate.env.kind") == kind
    assert run.info.status == "FINISHED"
    assert run.param("n_estimators") == "5"
    assert (run.metric("training_score") or 0) > 0.9
    assert {"model/MLmodel", "model/model.pkl"} <= artifacts(run)
    described = yaml.safe_load((artifact_directory(run) / "model/MLmodel").read_text())
    assert {"python_function", "sklearn"} <= set(described["flavors"])
    assert [column["type"] for column in json.loads(described["signature"]["inputs"])] == ["tensor"]
    assert json.loads(described["signature"]["outputs"])


@pytest.mark.frameworks
def test_a_script_with_nothing_but_a_fit_is_tracked(tmp_path: Path) -> None:
    python = environment("mlflow3-frameworks", MLFLOW3)
    store, output = run_project(tmp_path, FOREST, "--env-manager", "local", path=python.parent)
    with store:
        run = only_run(store)
        assert "done" in output
        assert run.info.status == "FINISHED"
        assert run.param("n_estimators") == "5"
        assert (run.metric("training_score") or 0) > 0.9
        assert {"model/MLmodel", "training_confusion_matrix.svg", "mlgate/stdout.log"} <= artifacts(run)
        assert run.tag("estimator_name") == "RandomForestClassifier"


@pytest.mark.frameworks
def test_autolog_false_in_the_entry_point_turns_it_off(tmp_path: Path) -> None:
    python = environment("mlflow3-frameworks", MLFLOW3)
    mlproject = "entry_points:\n  main:\n    autolog: false\n    command: python train.py\n"
    store, _ = run_project(tmp_path, FOREST, "--env-manager", "local", path=python.parent, mlproject=mlproject)
    with store:
        assert only_run(store).param("n_estimators") is None


@pytest.mark.venv
def test_the_same_in_a_virtual_environment_of_the_project(tmp_path: Path) -> None:
    python_env = "python: '3.11'\ndependencies:\n- scikit-learn\n"
    mlproject = "python_env: python_env.yaml\nentry_points:\n  main:\n    command: python train.py\n"
    store, _ = run_project(tmp_path, FOREST, mlproject=mlproject, python_env=python_env)
    with store:
        assert_fit_is_tracked(only_run(store), "virtualenv")


@pytest.mark.conda
def test_the_same_in_a_conda_environment_of_the_project(tmp_path: Path) -> None:
    version = f"{sys.version_info[0]}.{sys.version_info[1]}"
    conda = f"channels: ['{channel()}']\ndependencies: [python={version}, pip, {{pip: [scikit-learn]}}]\n"
    mlproject = "conda_env: conda.yaml\nentry_points:\n  main:\n    command: python train.py\n"
    store, _ = run_project(tmp_path, FOREST, mlproject=mlproject, conda=conda)
    with store:
        assert_fit_is_tracked(only_run(store), "conda")


@pytest.mark.docker
@pytest.mark.frameworks
def test_the_same_in_a_container_of_the_project(tmp_path: Path) -> None:
    (tmp_path / "project").mkdir()
    (tmp_path / "project" / "Dockerfile").write_text(DOCKERFILE.format(image=base_image()))
    mlproject = (
        "docker_env: {image: mlgate-test/forest, dockerfile: Dockerfile}\n"
        "entry_points:\n  main:\n    command: python train.py\n"
    )
    store, output = run_project(tmp_path, FOREST, mlproject=mlproject)
    with store:
        assert "done" in output
        assert_fit_is_tracked(only_run(store), "docker")


@pytest.mark.mlflow
@pytest.mark.parametrize("version", ["2.8", "3"])
def test_a_script_that_sets_its_experiment_takes_the_run_along(tmp_path: Path, version: str) -> None:
    name, requirements = ("mlflow28", MLFLOW28) if version == "2.8" else ("mlflow3", MLFLOW3)
    python = environment(f"{name}-frameworks", requirements, python="3.10" if version == "2.8" else "3.11")
    script = """
import mlflow
mlflow.set_experiment("elsewhere")
with mlflow.start_run():
    mlflow.log_metric("m", 1.5)
    with mlflow.start_run(nested=True):
        mlflow.log_metric("inner", 2)
with mlflow.start_run():
    mlflow.log_metric("after", 3)
"""
    store, _ = run_project(tmp_path, script, "--env-manager", "local", path=python.parent)
    with store:
        assert store.search_runs(["0"]).items == ()
        experiment = store.get_experiment_by_name("elsewhere")
        assert experiment is not None
        found = store.search_runs([experiment.experiment_id]).items
        (step,) = [run for run in found if run.tag("mlgate.step")]
        assert (step.metric("m"), step.info.status) == (1.5, "FINISHED")
        (inner,) = [run for run in found if run.tag("mlflow.parentRunId")]
        assert inner.tag("mlflow.parentRunId") == step.info.run_id
        assert {run.metric("after") for run in found} == {None, 3.0}
        assert len(found) == 3


def test_a_step_that_is_killed_keeps_what_it_handed_over(tmp_path: Path) -> None:
    script = """
import os, signal
import mlgate_tracking as tracking
tracking.start_run()
for step in range(3000):
    tracking.log_metric("loss", step, step=step)
os.kill(os.getpid(), signal.SIGKILL)
"""
    with pytest.raises(AssertionError, match="killed by SIGKILL"):
        run_project(tmp_path, script, "--env-manager", "local", path=Path(sys.executable).parent)
    with connect(f"sqlite:///{Path(os.environ['MLGATE_HOME']) / 'mlgate.db'}") as store:
        run = only_run(store)
        assert run.info.status == "KILLED"
        assert len(store.metric_history(run.info.run_id, "loss").items) == 3000


def test_what_a_step_logs_after_its_runner_was_killed_is_there_once_it_is_reaped(tmp_path: Path) -> None:
    project = tmp_path / "project"
    project.mkdir()
    (project / "MLproject").write_text("entry_points:\n  main:\n    command: python train.py\n")
    (project / "train.py").write_text(
        "import os, signal, time\n"
        "import mlgate_tracking as tracking\n"
        "tracking.start_run()\n"
        "tracking.log_metric('before', 1)\n"
        "os.kill(int(open('runner').read()), signal.SIGKILL)\n"
        "time.sleep(0.5)\n"
        "for step in range(500):\n"
        "    tracking.log_metric('after', step, step=step)\n"
        "open('logged', 'w').close()\n"
        "time.sleep(60)\n"
    )
    env = {**os.environ, "PATH": f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"}
    command = f"echo $$ > {project}/runner; exec {sys.executable} -m mlgate run {project} --env-manager local"
    killed = subprocess.run(["sh", "-c", command], env=env, stdout=subprocess.DEVNULL, timeout=120, check=False)
    assert killed.returncode == -signal.SIGKILL
    deadline = time.monotonic() + 30
    while not (project / "logged").exists():
        assert time.monotonic() < deadline
        time.sleep(0.05)
    subprocess.run([sys.executable, "-m", "mlgate", "reap"], env=env, timeout=120, check=True)
    with connect(f"sqlite:///{Path(os.environ['MLGATE_HOME']) / 'mlgate.db'}") as store:
        run = only_run(store)
        assert (run.info.status, run.metric("before")) == ("KILLED", 1)
        assert len(store.metric_history(run.info.run_id, "after").items) == 500
