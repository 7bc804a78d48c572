"""The iris project as a newcomer runs it: from a git server, in its own environment, with the real mlflow client."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from mlgate.settings import load_settings
from mlgate_tracking.client import connect
from mlgate_tracking.entities import Run, RunStatus
from tests.support.cli import artifact_text, get_run, run_json
from tests.support.git import git, git_http_server, make_repository

pytestmark = [pytest.mark.venv, pytest.mark.slow, pytest.mark.usefixtures("shared_environments")]

IRIS = Path(__file__).resolve().parents[2] / "examples" / "iris"


@pytest.fixture
def repository(tmp_path: Path, certificate: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[tuple[str, str]]:
    """(URL of the project below a git server, commit of tag v1)."""
    files = {f"models/iris/{path.relative_to(IRIS)}": path.read_bytes() for path in IRIS.rglob("*") if path.is_file()}
    work = make_repository(tmp_path / "work", [files])
    git(work, "tag", "v1")
    (tmp_path / "served").mkdir()
    subprocess.run(["git", "clone", "-q", "--bare", str(work), str(tmp_path / "served" / "team.git")], check=True)
    monkeypatch.setenv("GIT_SSL_CAINFO", str(certificate))
    with git_http_server(tmp_path / "served", certificate=certificate) as (url, _):
        yield f"{url}/team.git#models/iris", git(work, "rev-parse", "v1")


def packages(run: Run) -> dict[str, str]:
    found = json.loads(artifact_text(run, "mlgate/environment.json"))["packages"]
    assert isinstance(found, dict)
    return found


def test_every_entry_point_runs_from_a_git_server_and_its_runs_are_where_the_scripts_put_them(
    repository: tuple[str, str],
) -> None:
    uri, commit = repository
    trained = run_json(uri, "--version", "v1", "-e", "main", "-P", "max_depth=3")
    assert trained["status"] == "FINISHED", trained["reason"]
    run = get_run(trained["run_id"])
    with connect(load_settings().tracking_uri) as store:
        experiment = store.get_experiment(run.info.experiment_id)
        models = store.search_logged_models([experiment.experiment_id]).items
    assert experiment.name == "iris_classification"
    assert run.info.status is RunStatus.FINISHED
    assert (run.tag("mlflow.source.git.commit"), run.tag("mlgate.env.kind")) == (commit, "virtualenv")
    assert (run.param("max_depth"), run.param("n_estimators")) == ("3", "100")
    assert (run.metric("accuracy") or 0) > 0.8
    assert {"scikit-learn", "mlflow-skinny", "pandas"} <= set(packages(run))
    assert "accuracy" in artifact_text(run, "mlgate/stdout.log")
    assert "127.0.0.1" not in artifact_text(run, "mlgate/stdout.log")  # no links to a server that is gone
    assert [(model.name, model.source_run_id) for model in models] == [("iris_model", run.info.run_id)]

    prepared = run_json(uri, "--version", "v1", "-e", "data_preparation")
    assert (prepared["status"], prepared["metrics"]["rows_raw"]) == ("FINISHED", 150.0)

    tuned = run_json(uri, "--version", "v1", "-e", "hyperparameter_tuning", "-P", "n_trials=2")
    assert tuned["status"] == "FINISHED"
    with connect(load_settings().tracking_uri) as store:
        tuning = store.get_experiment_by_name("iris_hyperparameter_tuning")
        assert tuning is not None
        runs = store.search_runs([tuning.experiment_id]).items
    assert {run.tag("mlflow.parentRunId") for run in runs} == {None, tuned["run_id"]}
    assert len(runs) == 3

    judged = run_json(uri, "--version", "v1", "-e", "evaluate", "-P", f"model_uri=runs:/{run.info.run_id}/iris_model")
    assert judged["status"] == "FINISHED", judged["reason"]
    assert judged["metrics"]["accuracy"] > 0.9
