"""The tutorial's pipeline, prepare -> tune -> train with the best -> evaluate, from a git URL with one command."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import pytest

from tests.support.cli import get_run, run_json
from tests.support.git import git, make_repository

pytestmark = [pytest.mark.venv, pytest.mark.slow, pytest.mark.usefixtures("shared_environments")]

EXAMPLE = Path(__file__).parents[2] / "examples" / "iris"


def outcomes(result: dict[str, Any]) -> dict[str, bool]:
    """Step -> whether it really ran (and was not answered from the cache)."""
    return {name: state["results"][0]["ended"] >= result["started"] for name, state in result["steps"].items()}


def test_the_pipeline_runs_from_git_is_cached_and_runs_only_what_changed(tmp_path: Path) -> None:
    work = make_repository(tmp_path / "work", [{"README": "iris"}])
    ignored = shutil.ignore_patterns("__pycache__", "processed")
    shutil.copytree(EXAMPLE, work / "projects" / "iris", ignore=ignored)
    git(work, "add", "-A")
    git(work, "commit", "-qm", "iris")
    url = f"{work.as_uri()}/.git#projects/iris"
    argv = ("--pipeline", "retrain", "-P", "n_trials=2")

    first = run_json(url, *argv)
    assert first["status"] == "FINISHED", first
    assert outcomes(first) == {"prepare": True, "tune": True, "train": True, "evaluate": True}
    assert first["steps"]["evaluate"]["results"][0]["metrics"]["accuracy"] > 0.8
    best = first["steps"]["tune"]["results"][0]["params"]
    assert first["steps"]["train"]["results"][0]["params"]["max_depth"] == best["best_max_depth"]
    # Each script has put its run where it says, and it is nested in the pipeline's run all the same.
    for step, experiment_of in (("tune", "iris_hyperparameter_tuning"), ("train", "iris_classification")):
        run = get_run(first["steps"][step]["results"][0]["run_id"])
        assert run.info.experiment_id != first["experiment_id"], experiment_of
        assert {tag.key: tag.value for tag in run.data.tags}["mlflow.parentRunId"] == first["run_id"]

    again = run_json(url, *argv)
    assert outcomes(again) == {"prepare": False, "tune": False, "train": False, "evaluate": False}

    script = work / "projects" / "iris" / "train.py"
    script.write_text(script.read_text() + "# a change\n")
    git(work, "commit", "-qam", "change")
    changed = run_json(url, *argv)
    assert outcomes(changed) == {"prepare": False, "tune": False, "train": True, "evaluate": True}
