"""mlgate in a real Airflow: the provider, parsing DAG files, tasks that run, promote and are retried."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from mlgate_projects.testing import project_dir
from tests.orchestrator.airflow.conftest import Airflow
from tests.support.cli import all_runs, connected, run_json
from tests.support.environments import ROOT
from tests.support.toys import TOY as PIPELINE_PROJECT
from tests.support.toys import shape

pytestmark = [pytest.mark.airflow, pytest.mark.slow]

TOY = {
    "MLproject": """\
        name: toy
        entry_points:
          main:
            parameters: {accuracy: float, note: string}
            command: python train.py {accuracy}
        """,
    "train.py": """\
        import sys
        import mlgate_tracking as tracking

        tracking.log_metric("accuracy", float(sys.argv[1]))
        tracking.log_text("flavors: {}\\n", "model/MLmodel")
        print("trained")
        """,
}


def test_airflow_takes_the_provider_for_one(airflow: Airflow) -> None:
    seen = airflow.run("provider.py")
    assert seen == {
        "provider": True,
        "hook": "mlgate.airflow.hook.MlgateHook",
        "links": ["mlgate.airflow.links.RunLink", "mlgate.airflow.links.VerdictLink"],
        "decorator": True,
        "form": [
            "Tracking URI",
            ["extra__mlgate__artifacts_destination", "extra__mlgate__home", "extra__mlgate__tracking_uri"],
        ],
        "configuration": ["mlgate_default", ""],
    }


def test_a_dag_file_that_uses_our_operators_loads_few_modules_and_nothing_heavy(airflow: Airflow) -> None:
    loaded = airflow.run("imports.py")
    assert len(loaded) <= 50
    tops = {name.split(".")[0] for name in loaded}
    assert tops & {"docker", "boto3", "git", "pandas", "prefect", "mlgate_tracking", "uvicorn", "alembic"} == set()
    assert "mlgate.runner" not in loaded


def test_every_example_loads_without_network_and_two_processes_serialize_it_alike(airflow: Airflow) -> None:
    first, second = (airflow.run("load.py", ROOT / "dags") for _ in range(2))
    assert (first["errors"], first["warnings"]) == ({}, [])
    assert set(first["tasks"]) == {
        "batch_scoring",
        "promote_with_approval",
        "scheduled_retraining",
        "score_on_promotion",
        "sweep",
    }
    assert first["forms"] == second["forms"]


def test_a_promotion_emits_the_models_asset_and_a_rejection_does_not(airflow: Airflow, tmp_path: Path) -> None:
    project = project_dir(tmp_path / "toy", TOY)
    env = {"TEST_PROJECT": str(project), "MLGATE_HOME": os.environ["MLGATE_HOME"]}
    good = airflow.run("run.py", "promote", env={**env, "TEST_ACCURACY": "0.95"})
    assert good["state"] == "success", good
    assert set(good["tasks"].values()) == {"success"}
    assert [uri for uri, _ in good["events"]] == ["mlgate://models/toy/champion", "mlgate://models/toy/Staging"]
    assert {extra["version"] for _, extra in good["events"]} == {1}

    [run] = all_runs()
    assert run.metric("accuracy") == 0.95
    assert (run.tag("mlgate.engine"), run.tag("mlgate.engine.dag_id")) == ("airflow", "promote")
    assert run.param("note") == good["run_id"]
    with connected() as store:
        version = store.get_model_version_by_alias("toy", "champion")
    assert (version.version, version.current_stage, version.run_id) == (1, "Staging", run.info.run_id)

    bad = airflow.run("run.py", "promote", env={**env, "TEST_ACCURACY": "0.5"})
    assert (bad["tasks"]["train"], bad["tasks"]["promote"]) == ("success", "skipped")
    assert bad["events"] == []
    with connected() as store:
        assert store.get_model_version_by_alias("toy", "champion").version == 1


def test_a_decorated_function_says_what_to_run(airflow: Airflow, tmp_path: Path) -> None:
    project = project_dir(tmp_path / "toy", TOY)
    env = {"TEST_PROJECT": str(project), "TEST_ACCURACY": "1", "MLGATE_HOME": os.environ["MLGATE_HOME"]}
    seen = airflow.run("run.py", "decorated", env=env)
    assert seen["tasks"] == {"train": "success", "tell": "success"}, seen["log"]
    second, first = all_runs()
    assert (first.metric("accuracy"), first.param("note")) == (0.5, seen["run_id"])
    assert (second.metric("accuracy"), second.param("note")) == (0.5, "second")
    assert first.info.user_id == "dag_test"


def test_a_pipeline_is_the_same_under_airflow_as_under_the_local_runner(airflow: Airflow, tmp_path: Path) -> None:
    project = project_dir(tmp_path / "toy", PIPELINE_PROJECT)
    env = {"TEST_PROJECT": str(project), "TEST_ACCURACY": "1", "MLGATE_HOME": os.environ["MLGATE_HOME"]}
    seen = airflow.run("run.py", "pipeline", env=env)
    assert seen["tasks"] == {"retrain": "success"}, seen["log"]
    [parent] = [
        run for run in all_runs() if run.tag("mlgate.engine") == "airflow" and not run.tag("mlflow.parentRunId")
    ]
    under_airflow = shape(parent.info.run_id)
    os.environ["MLGATE_HOME"] = str(tmp_path / "local-home")  # the fixture puts it back
    local = run_json(project, "--pipeline", "retrain", "--env-manager", "system", "--experiment-name", "toys")
    assert local["status"] == "FINISHED"
    assert shape(local["run_id"]) == under_airflow
    assert len(under_airflow) == 7
