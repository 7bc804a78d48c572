"""People answer in Airflow or on the command line, and the store has one record; a triggerer watches the store."""

from __future__ import annotations

import contextlib
import json
import os
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from mlgate.airflow.asking import APPROVE, REJECT, standing, take_answer
from mlgate.promotion import request_approval
from mlgate_projects.testing import project_dir
from mlgate_tracking.entities import Metric
from mlgate_tracking.governance import Target
from tests.orchestrator.airflow.conftest import Airflow
from tests.support.cli import all_runs, connected, mlgate

CHAMPION = Target("champion")

ASKS = {
    "MLproject": """\
        name: asks
        entry_points:
          train: {parameters: {depth: int}, command: python train.py}
        pipelines:
          asks:
            parameters: {depth: {type: int, default: 3}}
            steps:
              train: {entry_point: train, parameters: {depth: "${{ params.depth }}"}}
              promote:
                promote:
                  model: toy
                  source: "${{ steps.train.artifacts }}/model"
                  to: {alias: champion}
                  gates: [{approval: {role: ml_engineer}}]
        """,
    "train.py": """\
        import mlgate_tracking as tracking
        tracking.log_text("flavors: {}\\n", "model/MLmodel")
        """,
}


def register(versions: int = 1, user: str = "dana") -> None:
    """A model `toy` whose versions come from a run that `user` has started."""
    with connected() as store:
        store.create_registered_model("toy")
        for _ in range(versions):
            run = store.create_run("0", user_id=user, start_time=1)
            store.log_batch(run.info.run_id, metrics=[Metric("accuracy", 0.95, 1)])
            store.create_model_version("toy", f"{run.info.artifact_uri}/model", run_id=run.info.run_id)
        store.grant_role("ml_engineer", "ada")
        store.grant_role("ml_engineer", "dana")
        store.grant_role("ml_engineer", "eve")


@contextlib.contextmanager
def approving() -> Iterator[list[str]]:
    """Somebody who approves whatever waits, on the command line; gives the targets that were asked for."""
    answered: list[str] = []
    over = threading.Event()

    def approve_what_waits() -> None:
        while not over.wait(0.5):
            with connected() as store:
                models = store.search_registered_models().items
                waiting = store.search_approvals(model="toy").items if models else ()
            for approval in waiting:
                if approval.status.value == "pending":
                    done = mlgate("approvals", "approve", approval.approval_id, "--user", "ada")
                    assert done.returncode == 0, done.stderr
                    answered.append(str(approval.target))

    person = threading.Thread(target=approve_what_waits)
    person.start()
    try:
        yield answered
    finally:
        over.set()
        person.join()


def answer(name: str, option: str = APPROVE, comment: str = "") -> dict[str, object]:
    """What Airflow hands to a task when somebody has answered."""
    user = {"id": f"id-{name}", "name": name}
    return {"chosen_options": [option], "responded_by_user": user, "params_input": {"comment": comment}}


def test_an_answer_in_airflow_is_the_record_in_the_store() -> None:
    register()
    with connected() as store:
        asked = request_approval(store, "toy", 1, "ml_engineer", target=CHAMPION)
        take_answer(store, [asked.approval_id], answer("ada", comment="looks good"), print)
        status, [approval] = standing(store, [asked.approval_id])
    assert status == "approved"
    assert [(one.user, one.approved, one.comment) for one in approval.decisions] == [("ada", True, "looks good")]


@pytest.mark.parametrize("name", ["mallory", "dana"])
def test_who_has_not_the_role_or_started_the_run_is_refused_and_the_question_stays_open(name: str) -> None:
    register(user="dana")
    said: list[str] = []
    with connected() as store:
        asked = request_approval(store, "toy", 1, "ml_engineer", target=CHAMPION)
        take_answer(store, [asked.approval_id], answer(name), said.append)
        assert standing(store, [asked.approval_id])[0] == "pending"
        take_answer(store, [asked.approval_id], answer("ada"), said.append)
        assert standing(store, [asked.approval_id])[0] == "approved"
    assert len(said) == 1
    assert f"the answer of {name} does not count" in said[0]


def test_one_no_settles_it_and_an_answer_of_nobody_changes_nothing() -> None:
    register()
    with connected() as store:
        asked = request_approval(store, "toy", 1, "ml_engineer", target=CHAMPION, count=2)
        take_answer(store, [asked.approval_id], {"chosen_options": [APPROVE], "responded_by_user": None}, print)
        assert standing(store, [asked.approval_id])[0] == "pending"
        take_answer(store, [asked.approval_id], answer("ada"), print)
        assert standing(store, [asked.approval_id])[0] == "pending"
        take_answer(store, [asked.approval_id], answer("eve", REJECT), print)
        assert standing(store, [asked.approval_id])[0] == "rejected"


@pytest.mark.airflow
@pytest.mark.slow
def test_a_task_waits_for_an_answer_that_comes_from_the_command_line(airflow: Airflow) -> None:
    register()
    with approving() as answered:
        seen = airflow.run("run.py", "approval", env={"MLGATE_HOME": os.environ["MLGATE_HOME"]})
    assert seen["tasks"] == {"ask": "success", "promote": "success"}, seen["log"]
    assert answered == ["stage 'Staging'", "alias 'champion'"]
    with connected() as store:
        assert store.get_model_version_by_alias("toy", "champion").version == 1


@pytest.mark.airflow
@pytest.mark.slow
def test_a_promote_step_of_a_project_waits_for_people_and_then_promotes(airflow: Airflow, tmp_path: Path) -> None:
    with connected() as store:
        store.grant_role("ml_engineer", "ada")
    project = project_dir(tmp_path / "asks", ASKS)
    env = {"TEST_PROJECT": str(project), "TEST_PIPELINE": "asks", "TEST_ACCURACY": "1"}
    env |= {"TEST_PARAMETERS": json.dumps({"depth": 5}), "MLGATE_HOME": os.environ["MLGATE_HOME"]}
    with approving() as answered:
        seen = airflow.run("run.py", "project", env=env)
    assert set(seen["tasks"].values()) == {"success"}, seen["log"]
    assert answered == ["alias 'champion'"]
    assert [extra["version"] for _, extra in seen["events"]] == [1]
    assert {run.param("depth") for run in all_runs() if run.tag("mlgate.step") != "promote"} == {"5"}
    [run] = [run for run in all_runs() if run.tag("mlgate.kind") == "promote"]
    assert (run.info.status.value, run.tag("mlgate.outcome")) == ("FINISHED", "promoted")


@pytest.mark.airflow
@pytest.mark.slow
def test_a_watcher_misses_no_change_and_tells_none_twice_though_its_triggerer_is_killed(
    airflow: Airflow, tmp_path: Path
) -> None:
    register(versions=3)
    log = tmp_path / "triggerer.log"
    seen = airflow.run("watch.py", env={"MLGATE_HOME": os.environ["MLGATE_HOME"], "TRIGGERER_LOG": str(log)})
    assert seen == {"first": [2], "second": [2, 3, 1, 2], "later": [2, 3, 1, 2]}, log.read_text()[-3000:]
