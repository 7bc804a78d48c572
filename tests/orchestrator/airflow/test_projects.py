"""DAGs and groups of tasks made from a project's pipeline: what is parsed, what runs, and what that leaves."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from mlgate_projects.testing import project_dir
from tests.orchestrator.airflow.conftest import Airflow
from tests.support.cli import all_runs, connected, mlgate, run_json
from tests.support.toys import TOY, shape

pytestmark = [pytest.mark.airflow, pytest.mark.slow]

COURSES = {
    "MLproject": """\
        name: courses
        entry_points:
          say: {parameters: {word: string}, command: "echo {word}"}
          fails: {command: "exit 65"}
          odd: {parameters: {number: int}, command: "python odd.py {number}"}
        pipelines:
          skips:
            parameters: {deploy: {type: bool, default: false}}
            steps:
              first: {entry_point: say, parameters: {word: one}}
              maybe: {entry_point: say, needs: [first], when: params.deploy == true, parameters: {word: two}}
              behind: {entry_point: say, needs: [maybe], parameters: {word: three}}
              sweep:
                entry_point: odd
                parameters: {number: "${{ matrix.number }}"}
                matrix: {number: [1, 2, 3]}
                select: {metric: size, mode: max, failed: ignore}
              after: {entry_point: say, parameters: {word: "${{ steps.sweep.params.number }}"}}
            finally:
              report: {entry_point: say, parameters: {word: "${{ run.status }}"}}
          breaks:
            steps:
              bad: {entry_point: fails}
              never: {entry_point: say, needs: [bad], parameters: {word: never}}
            finally:
              report: {entry_point: say, parameters: {word: "${{ run.status }} ${{ steps.never.status }}"}}
        """,
    "odd.py": """\
        import sys
        import mlgate_tracking as tracking
        tracking.log_metric("size", int(sys.argv[1]))
        sys.exit(65 if sys.argv[1] == "2" else 0)
        """,
}


def pipeline_run(engine: str) -> str:
    """The id of the only pipeline's run under an engine."""
    [found] = [run for run in all_runs() if run.tag("mlgate.engine") == engine and run.tag("mlgate.kind") == "pipeline"]
    return found.info.run_id


def status_of(run_id: str) -> str:
    with connected() as store:
        return store.get_run(run_id).info.status.value


def local_shape(project: Path, pipeline: str, home: Path) -> tuple[str, list[tuple[str, ...]]]:
    """The same pipeline under the local runner, in a store of its own."""
    os.environ["MLGATE_HOME"] = str(home)  # the fixture puts it back
    result = run_json(project, "--pipeline", pipeline, "--env-manager", "system", "--experiment-name", "toys")
    return result["status"], shape(result["run_id"])


def test_a_dag_of_a_project_is_made_from_yaml_alone(airflow: Airflow, tmp_path: Path) -> None:
    project = project_dir(tmp_path / "toy", TOY)
    seen = airflow.run("imports_project.py", project)
    assert len(seen["loaded"]) <= 50, seen["loaded"]
    tops = {name.split(".")[0] for name in seen["loaded"]}
    assert tops & {"docker", "boto3", "git", "pandas", "prefect", "sqlalchemy", "uvicorn", "alembic"} == set()
    assert seen["file"] == "imports_project.py"
    before, after = seen["about"]
    assert before.startswith(f"Pipeline `retrain` of `{project}`")
    assert before != after
    assert "a DAG file must not fetch it" in seen["problems"][0]
    assert "mlgate deploy airflow https://host/team/iris.git --pipeline retrain" in seen["problems"][0]
    assert "nothing" in seen["problems"][1]
    assert seen["edges"] == {
        "open": ["close", "flaky", "prepare"],
        "prepare": ["close", "train"],
        "flaky": ["close", "promote"],
        "train": ["close", "train_select"],
        "train_select": ["close", "promote"],
        "promote": ["close"],
        "close": [],
    }


def test_a_dag_of_a_project_leaves_what_the_local_runner_leaves(airflow: Airflow, tmp_path: Path) -> None:
    project = project_dir(tmp_path / "toy", TOY)
    env = {"TEST_PROJECT": str(project), "TEST_ACCURACY": "1", "MLGATE_HOME": os.environ["MLGATE_HOME"]}
    seen = airflow.run("run.py", "project", env=env)
    assert set(seen["tasks"].values()) == {"success"}, seen["log"]
    assert ["mlgate://models/toy/champion", 1] in [[uri, extra["version"]] for uri, extra in seen["events"]]
    under_airflow = pipeline_run("airflow")
    assert status_of(under_airflow) == "FINISHED"
    tree = shape(under_airflow)
    assert local_shape(project, "retrain", tmp_path / "local-home") == ("FINISHED", tree)
    assert len(tree) == 7


def test_a_group_of_tasks_runs_between_others(airflow: Airflow, tmp_path: Path) -> None:
    project = project_dir(tmp_path / "toy", TOY)
    env = {"TEST_PROJECT": str(project), "TEST_ACCURACY": "1", "MLGATE_HOME": os.environ["MLGATE_HOME"]}
    seen = airflow.run("run.py", "grouped", env=env)
    assert set(seen["tasks"].values()) == {"success"}, seen["log"]
    assert {"before", "after", "toy.open", "toy.train", "toy.close"} <= set(seen["tasks"])
    assert len(shape(pipeline_run("airflow"))) == 7


def test_skips_ignored_failures_and_final_steps_are_those_of_the_local_runner(airflow: Airflow, tmp_path: Path) -> None:
    project = project_dir(tmp_path / "courses", COURSES)
    env = {"TEST_PROJECT": str(project), "TEST_ACCURACY": "1", "MLGATE_HOME": os.environ["MLGATE_HOME"]}
    seen = airflow.run("run.py", "project", env={**env, "TEST_PIPELINE": "skips"})
    assert (seen["state"], seen["tasks"]["maybe"], seen["tasks"]["behind"]) == ("success", "skipped", "skipped"), seen
    left = (status_of(pipeline_run("airflow")), shape(pipeline_run("airflow")))
    assert local_shape(project, "skips", tmp_path / "local-home") == left


def test_a_failure_fails_the_dag_though_the_final_step_succeeds(airflow: Airflow, tmp_path: Path) -> None:
    project = project_dir(tmp_path / "courses", COURSES)
    env = {"TEST_PROJECT": str(project), "TEST_ACCURACY": "1", "MLGATE_HOME": os.environ["MLGATE_HOME"]}
    seen = airflow.run("run.py", "project", env={**env, "TEST_PIPELINE": "breaks"})
    assert seen["state"] == "failed"
    wanted = {"bad": "failed", "never": "upstream_failed", "report": "success", "close": "failed"}
    assert {name: seen["tasks"][name] for name in wanted} == wanted
    left = (status_of(pipeline_run("airflow")), shape(pipeline_run("airflow")))
    assert left[0] == "FAILED"
    assert local_shape(project, "breaks", tmp_path / "local-home") == left


def test_deploy_writes_a_dag_file_that_runs_from_the_plan_beside_it(airflow: Airflow, tmp_path: Path) -> None:
    project = project_dir(tmp_path / "toy", TOY)
    folder = tmp_path / "dags"
    done = mlgate("deploy", "airflow", project, "--pipeline", "retrain", "-o", folder, "--schedule", "@daily")
    assert done.returncode == 0, done.stderr
    assert sorted(file.name for file in folder.iterdir()) == ["toy_retrain.plan.json", "toy_retrain.py"]
    first, second = (airflow.run("load.py", folder) for _ in range(2))
    assert (first["errors"], first["warnings"]) == ({}, [])
    assert "train_select" in first["tasks"]["toy_retrain"]
    assert first["forms"] == second["forms"]
    again = mlgate("deploy", "airflow", project, "--pipeline", "retrain", "-o", folder)
    assert again.returncode == 2
    assert "--force" in again.stderr
