"""`mlgate deploy airflow`: the files that it writes, and when it does not."""

from __future__ import annotations

import ast
import json
from pathlib import Path

from mlgate_projects.testing import project_dir
from tests.support.cli import mlgate
from tests.support.git import git, make_repository
from tests.support.toys import TOY


def test_a_pipeline_becomes_a_dag_file_and_a_plan(tmp_path: Path) -> None:
    project = project_dir(tmp_path / "toy", TOY)
    done = mlgate("deploy", "airflow", project, "--schedule", "@daily", "--conn-id", "store", "-o", tmp_path / "dags")
    assert done.returncode == 0, done.stderr
    text = (tmp_path / "dags" / "toy_retrain.py").read_text()
    [call] = [node.value for node in ast.parse(text).body if isinstance(node, ast.Expr)]
    assert isinstance(call, ast.Call)
    arguments = {one.arg: ast.unparse(one.value) for one in call.keywords}
    assert arguments.pop("start_date").startswith("datetime(")
    assert arguments == {"source": "'toy_retrain.plan.json'", "schedule": "'@daily'", "mlgate_conn_id": "'store'"}
    plan = json.loads((tmp_path / "dags" / "toy_retrain.plan.json").read_text())
    assert [step["name"] for step in plan["steps"]] == ["prepare", "flaky", "train", "promote"]


def test_nothing_is_overwritten_unless_asked(tmp_path: Path) -> None:
    project = project_dir(tmp_path / "toy", TOY)
    there = tmp_path / "toy_retrain.py"
    there.write_text("mine")
    done = mlgate("deploy", "airflow", project, "-o", tmp_path)
    assert (done.returncode, there.read_text()) == (2, "mine")
    assert "add --force" in done.stderr
    assert not (tmp_path / "toy_retrain.plan.json").exists()
    assert mlgate("deploy", "airflow", project, "-o", tmp_path, "--force").returncode == 0
    assert "ProjectDag" in there.read_text()


def test_an_entry_point_of_a_git_project_is_pinned_to_its_commit(tmp_path: Path) -> None:
    project = make_repository(tmp_path / "toy", [TOY])
    commit = git(project, "rev-parse", "HEAD")
    values = ("-P", "depth=3", "-P", "rows=7")
    done = mlgate("deploy", "airflow", project, "-v", commit, "-e", "train", *values, "-o", tmp_path)
    assert done.returncode == 0, done.stderr
    text = (tmp_path / "toy_train.py").read_text()
    assert f'commit="{commit}"' in text
    assert "parameters={'depth': '3', 'rows': '7'}" in text
    ast.parse(text)


def test_mistakes_of_a_pipeline_show_before_anything_is_written(tmp_path: Path) -> None:
    project = project_dir(tmp_path / "toy", TOY)
    done = mlgate("deploy", "airflow", project, "--pipeline", "nothing", "-o", tmp_path / "dags")
    assert done.returncode == 2
    assert "no pipeline 'nothing'; known: retrain" in done.stderr
    assert not (tmp_path / "dags").exists()
