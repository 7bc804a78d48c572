"""mlgate in flows of a user's own: pipelines, single tasks, sync and async, retries, approvals, blocks and settings."""

from __future__ import annotations

import os
import signal
import subprocess
import time
from pathlib import Path

import psutil
import pytest

from mlgate.settings import load_settings
from mlgate_projects.testing import project_dir
from tests.orchestrator.prefect.conftest import HERE, Prefect, wait_until
from tests.support.cli import all_runs, connected
from tests.support.conformance import left_by, left_by_the_local_runner
from tests.support.environments import ROOT
from tests.support.toys import TOY

pytestmark = [pytest.mark.prefect, pytest.mark.slow]

SYSTEM = {"PREFECT_INTEGRATIONS_MLGATE_ENV_MANAGER": "system"}


def test_flows_of_a_users_own(prefect: Prefect, tmp_path: Path) -> None:
    project = project_dir(tmp_path / "toy", TOY)
    home = os.environ["MLGATE_HOME"]
    seen = prefect.script("tasks.py", project, env={**SYSTEM, "MLGATE_HOME": home})

    # A pipeline, by the sync flow and by the async one.
    assert seen["block"] == [True, "secret"]
    for run in (seen["pipeline"], seen["again"]):
        assert run["status"] == "FINISHED"
        assert run["steps"]["promote"]["outcome"] == "promoted"
    tasks = {tuple(task) for task in seen["tasks"]}
    assert {("train[0]", "Completed", 1), ("train[2]", "Completed", 1), ("flaky", "Completed", 2)} <= tasks
    assert ("promote", "Promoted", 1) in tasks

    # Single tasks.
    assert seen["better"]["promoted"]["outcome"] == "promoted"
    assert seen["worse"]["promoted"]["outcome"] == "rejected"
    assert seen["back"]["kind"] == "rollback"
    # Exit code 65 says that the input is wrong: three retries were allowed, none was made.
    assert seen["broken"][0] == "Failed"
    assert ("fails", "Failed", 1) in tasks
    keys = {"mlgate-run-fails", "mlgate-run-train", "mlgate-verdict-toy", "mlgate-gates-toy", "mlgate-run-train-0"}
    assert keys <= set(seen["artifacts"])

    # A flow that failed after its promotions and was retried: the same runs, the same promotions, the same rollback.
    first, second = seen["retried"]["attempts"]
    assert first == second
    assert len(set(seen["retried"]["run_ids"])) == 2
    ours = [run for run in all_runs() if run.info.run_id in seen["retried"]["run_ids"]]
    assert [run.tag("mlgate.attempt") for run in ours] == ["1", "1"]
    with connected() as store:
        assert [one.kind.value for one in store.search_promotions("again").items] == [
            "rollback",
            "promotion",
            "promotion",
        ]
        # Approved in the store while the async flow run was paused; nobody resumed it by hand.
        assert seen["async"]["asked"]["status"] == "approved"
        assert store.get_model_version_by_alias("asked", "champion").version == seen["async"]["asked"]["version"]


def test_a_pipeline_leaves_the_same_under_prefect_as_under_the_local_runner(prefect: Prefect, tmp_path: Path) -> None:
    project = project_dir(tmp_path / "toy", TOY)
    seen = prefect.script("pipeline.py", project, "retrain", env={**SYSTEM, "MLGATE_HOME": os.environ["MLGATE_HOME"]})
    assert seen["state"] == "Completed"
    [pipeline] = [run for run in all_runs() if run.tag("mlgate.kind") == "pipeline"]
    under_prefect = left_by(load_settings().tracking_uri, pipeline.info.run_id)
    assert pipeline.tag("mlgate.engine") == "prefect"
    assert len(under_prefect["runs"]) == 8
    assert len(under_prefect["promotions"]) == len(under_prefect["verdicts"]) == 1
    local = left_by_the_local_runner(project, "retrain", seen["flow_run_id"], tmp_path / "local")
    assert under_prefect == local


SLOW = {
    "MLproject": """\
        name: slow
        entry_points: {main: {command: "sleep 300 & sleep 300"}}
        pipelines:
          p: {steps: {one: {entry_point: main}, two: {entry_point: main}}}
        """,
}


@pytest.mark.parametrize("how", ["pipeline", "submit", "direct", "asynchronous"])
def test_a_terminated_flow_ends_its_steps_at_once(prefect: Prefect, tmp_path: Path, how: str) -> None:
    project = project_dir(tmp_path / "slow", SLOW)
    process = subprocess.Popen(
        [str(prefect.python), str(HERE / "scripts" / "pipeline.py"), str(project), "p", how],
        env=prefect.environ({**SYSTEM, "MLGATE_HOME": os.environ["MLGATE_HOME"]}),
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    expected = 1 if how == "direct" else 2

    def steps() -> list[psutil.Process]:
        found = [one for one in psutil.Process(process.pid).children(recursive=True) if one.name() == "sleep"]
        return found if len(found) == 2 * expected else []

    running = wait_until(steps, what="the steps")
    asked = time.monotonic()
    process.send_signal(signal.SIGTERM)
    _gone, alive = psutil.wait_procs(running, timeout=30)
    took = time.monotonic() - asked
    assert not alive
    process.wait(60)
    assert took < 15, "Airflow and Kubernetes allow five seconds, on an idle machine"
    runs = all_runs()
    assert {run.info.status.value for run in runs} == {"KILLED"}
    assert len(runs) == (3 if how in ("pipeline", "asynchronous") else expected)


def test_a_limit_for_a_kind_of_environment_holds_for_steps_and_tasks(prefect: Prefect, tmp_path: Path) -> None:
    project = project_dir(
        tmp_path / "p",
        {
            "MLproject": """\
                name: p
                entry_points: {main: {command: "sleep 1"}}
                pipelines: {p: {steps: {one: {entry_point: main}, two: {entry_point: main}}}}
                """
        },
    )
    prefect.cli("concurrency-limit", "create", "mlgate-environment-system", "1")
    try:
        seen = prefect.script("pipeline.py", project, "p", env={**SYSTEM, "MLGATE_HOME": os.environ["MLGATE_HOME"]})
    finally:
        prefect.cli("concurrency-limit", "delete", "mlgate-environment-system")
    assert seen["state"] == "Completed"
    first, second = sorted(
        (run.info.start_time, run.info.end_time or 0) for run in all_runs() if run.tag("mlgate.step") in ("one", "two")
    )
    assert first[1] <= second[0]


def test_every_example_flow_loads_without_network_and_without_airflow(prefect: Prefect) -> None:
    seen = prefect.script("load.py", ROOT / "flows")
    assert seen["flows"] == {
        "promotion_with_approval": ["promotion-with-approval"],
        "resume_approved": ["resume-approved"],
        "scheduled_retraining": ["scheduled-retraining"],
        "score_on_promotion": ["score-on-promotion"],
        "sweep": ["sweep"],
    }
    assert seen["airflow"] is False


def test_importing_mlgate_never_imports_prefect(prefect: Prefect) -> None:
    code = (
        "import sys, pkgutil, importlib, mlgate\n"
        "for found in pkgutil.walk_packages(mlgate.__path__, 'mlgate.'):\n"
        "    if not found.name.startswith(('mlgate.airflow', 'mlgate.prefect', 'mlgate.__main__')):\n"
        "        importlib.import_module(found.name)\n"
        "print([name for name in sys.modules if name.split('.')[0] in ('prefect', 'airflow')])"
    )
    done = subprocess.run([str(prefect.python), "-c", code], capture_output=True, text=True, check=False)
    assert done.stdout.strip() == "[]", done.stdout + done.stderr
