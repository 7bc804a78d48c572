"""mlgate in a whole Airflow that runs DAGs: what is triggered, answered, killed and retried through its REST API."""

from __future__ import annotations

import contextlib
import json
import shutil
import signal
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import psutil
import pytest

from mlgate_projects.testing import project_dir
from mlgate_tracking.entities import Tag
from mlgate_tracking.errors import TrackingError
from mlgate_tracking.governance import Promotion
from mlgate_tracking.rest import RestStore
from tests.orchestrator.airflow.cluster import Cluster, cluster
from tests.orchestrator.airflow.conftest import HERE, Airflow
from tests.support.docker_engine import base_image
from tests.support.environments import ROOT
from tests.support.toys import TOY as PIPELINE_PROJECT

pytestmark = [pytest.mark.airflow, pytest.mark.database, pytest.mark.slow, pytest.mark.timeout(900)]

TOY = {
    "MLproject": """\
        name: toy
        entry_points:
          main:
            parameters: {accuracy: float, fails: int}
            command: python train.py {accuracy} {fails}
          stubborn:
            parameters: {note: string}
            command: python stubborn.py {note}
        """,
    "train.py": """\
        import os, sys
        import mlgate_tracking as tracking

        if int(os.environ["MLGATE_ATTEMPT"]) <= int(sys.argv[2]):
            sys.exit("not yet")
        tracking.log_metric("accuracy", float(sys.argv[1]))
        tracking.log_text("flavors: {}\\n", "model/MLmodel")
        print("trained")
        """,
    # Ignores the polite way to end, and so does a child in a session of its own. The second attempt has no such wish.
    "stubborn.py": """\
        import json, os, signal, subprocess, sys, time

        if int(os.environ["MLGATE_ATTEMPT"]) > 1:
            print("no longer stubborn")
            sys.exit(0)
        signal.signal(signal.SIGTERM, signal.SIG_IGN)
        child = subprocess.Popen(["sleep", "600"], start_new_session=True)
        said = {"pids": [os.getpid(), child.pid], "token": os.environ["MLFLOW_TRACKING_TOKEN"],
                "uri": os.environ["MLFLOW_TRACKING_URI"], "run_id": os.environ["MLFLOW_RUN_ID"]}
        with open(sys.argv[1] + ".partial", "w") as file:
            json.dump(said, file)
        os.rename(sys.argv[1] + ".partial", sys.argv[1])
        time.sleep(600)
        """,
}

PIPELINE_MODEL = "pipeline_toy"

DOCKER = {
    "MLproject": """\
        name: container
        docker_env: {image: "IMAGE"}
        entry_points:
          stubborn:
            parameters: {note: string}
            command: "trap '' TERM; echo {note}; sleep 600"
        """,
}


@pytest.fixture(scope="module")
def live(airflow: Airflow, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cluster]:
    """One Airflow for all tests of this file; it ends with them, because it is never idle."""
    home = tmp_path_factory.mktemp("cluster")
    iris = home / "iris"
    shutil.copytree(ROOT / "examples" / "iris", iris, ignore=shutil.ignore_patterns("processed", "__pycache__"))
    image = {name: text.replace("IMAGE", _image()) for name, text in DOCKER.items()}
    variables = {
        "TEST_PROJECT": str(project_dir(home / "toy", TOY)),
        "TEST_PIPELINE_PROJECT": str(project_dir(home / "pipeline", _pipeline())),
        "TEST_DOCKER_PROJECT": str(project_dir(home / "container", image)),
        "IRIS_PROJECT": str(iris),
    }
    with cluster(airflow.python, home, {"live": HERE / "live_dags", "dags": ROOT / "dags"}, variables) as running:
        yield running


def _pipeline() -> dict[str, str]:
    """The project of the conformance tests, with a model of its own."""
    return {name: text.replace("model: toy", f"model: {PIPELINE_MODEL}") for name, text in PIPELINE_PROJECT.items()}


def _image() -> str:
    """The image's name also where no engine answers: there only the test that needs it is left out."""
    try:
        return base_image()
    except pytest.skip.Exception:
        return "none"


# --- DAGs that run to their end --------------------------------------------------------------------------------------


@pytest.mark.venv
def test_the_scheduled_retraining_runs_as_a_user_would_start_it(live: Cluster) -> None:
    run = live.trigger("scheduled_retraining")
    assert live.finish("scheduled_retraining", run, timeout=400) == "success", live.logs()
    assert set(live.states("scheduled_retraining", run).values()) == {"success"}
    tracked = {found.tag("mlgate.engine.task_id"): found for found in live.tracked("scheduled_retraining", run)}
    assert {name: found.info.status.value for name, found in tracked.items()} == {
        "check_data": "FINISHED",
        "train": "FINISHED",
    }
    assert tracked["train"].param("max_depth") == "5"
    with live.tracking() as store:
        [version] = store.get_latest_versions("iris_classifier", ["Staging"])
    assert version.run_id == tracked["train"].info.run_id
    assert "accuracy" in live.log("scheduled_retraining", run, "train")
    live.rest("scheduled_retraining")


def test_a_retried_step_is_one_run_and_a_cleared_promotion_happens_once(live: Cluster) -> None:
    run = live.trigger("steps", fails=1)
    assert live.finish("steps", run) == "success", live.logs()
    [tracked] = live.tracked("steps", run)
    assert (tracked.tag("mlgate.attempt"), tracked.info.status.value) == ("2", "FINISHED")
    first = live.xcom("steps", run, "promote")
    before = _events(live, "toy")
    assert [name for name, _ in before] == ["mlgate:toy@champion", "mlgate:toy@Staging"]
    assert {extra["promotion_id"] for _, extra in before} == {first["promotion"]["promotion_id"]}

    live.clear("steps", run, "promote")
    live.until("steps", run, "promote", "success", attempt=2)
    again = live.xcom("steps", run, "promote")["promotion"]
    assert again == {**first["promotion"], "replayed": True}
    assert _events(live, "toy") == before
    assert len(_promotions(live, "toy")) == 1


def test_a_dag_follows_a_promotion_and_not_a_rejection(live: Cluster) -> None:
    live.unpause("follows")
    done = len(live.runs("follows"))
    run = live.trigger("steps", accuracy=0.5)
    assert live.finish("steps", run) == "success", live.logs()
    assert live.states("steps", run) == {"train": "success", "promote": "skipped"}

    run = live.trigger("steps", accuracy=0.97)
    assert live.finish("steps", run) == "success", live.logs()
    promotion = live.xcom("steps", run, "promote")["promotion"]
    live.wait(lambda: len(live.runs("follows")) > done, "the DAG that follows")
    [*_, follower] = live.runs("follows")
    assert follower["run_type"] == "asset_triggered"
    assert live.finish("follows", follower["dag_run_id"]) == "success", live.logs()
    extras = live.xcom("follows", follower["dag_run_id"], "seen")
    assert (promotion["version"], promotion["promotion_id"]) in {
        (extra["version"], extra["promotion_id"]) for extra in extras
    }
    assert len(live.runs("follows")) == done + 1


def test_a_dag_of_a_project_runs_its_steps_as_tasks(live: Cluster) -> None:
    run = live.trigger("project")
    assert live.finish("project", run) == "success", live.logs()
    tracked = live.tracked("project", run)
    [parent] = [found for found in tracked if not found.tag("mlflow.parentRunId")]
    steps = [found for found in tracked if found.tag("mlflow.parentRunId") == parent.info.run_id]
    assert (parent.info.status.value, len(steps)) == ("FINISHED", 7)
    assert {found.tag("mlgate.attempt") for found in steps if found.tag("mlgate.step") == "flaky"} == {"2"}
    [promotion] = _promotions(live, PIPELINE_MODEL)
    assert promotion.run_id in {found.info.run_id for found in steps}
    links = live.call("GET", f"dags/project/dagRuns/{run}/taskInstances/prepare/links")["extra_links"]
    assert parent.info.run_id != links["Tracked run"]
    assert links["Tracked run"].startswith(live.store.uri)


# --- people, and the registry ----------------------------------------------------------------------------------------


def test_the_answer_of_a_colleague_on_airflows_pages_lets_a_promotion_through(live: Cluster) -> None:
    run = _asked(live)
    # Who has started the run may not approve it: the question stays open.
    _answer(live, run, "admin")
    _parked(live, run, 2)
    assert "the answer of admin does not count" in live.log("people", run, "ask")
    assert not _question(live, run)["response_received"]
    _answer(live, run, "ada", comment="well done")
    assert live.finish("people", run) == "success", live.logs()
    [approval] = live.xcom("people", run, "ask")["approvals"]
    with live.tracking() as store:
        stored = store.get_approval(approval["approval_id"])
        version = store.get_model_version_by_alias("asked", "champion")
    assert [(said.user, said.approved, said.comment) for said in stored.decisions] == [("ada", True, "well done")]
    assert version.version == live.xcom("people", run, "ask")["version"]


def test_an_answer_on_the_command_line_is_the_same_record(live: Cluster) -> None:
    run = _asked(live)
    [waiting] = live.mlgate("approvals", "list", "--model", "asked")
    assert waiting["approval_id"] in _question(live, run)["body"]
    live.mlgate("approvals", "approve", waiting["approval_id"], "--user", "ada")
    assert live.finish("people", run) == "success", live.logs()
    assert _question(live, run)["response_received"]
    with live.tracking() as store:
        assert store.get_model_version_by_alias("asked", "champion").version == waiting["version"]


def test_a_no_skips_the_promotion(live: Cluster) -> None:
    run = _asked(live)
    _answer(live, run, "ada", option="Reject")
    assert live.finish("people", run) == "success", live.logs()
    assert live.states("people", run) == {"train": "success", "ask": "skipped", "promote": "skipped"}


def test_a_promotion_on_the_command_line_starts_a_dag_that_watches_the_registry(live: Cluster) -> None:
    asset = "mlgate:watched@champion:registry"
    live.parsed("watches")
    [known] = live.wait(lambda: live.call("GET", "assets", name_pattern=asset)["assets"], "the asset")
    state = f"assets/{known['id']}/state-store"
    live.wait(lambda: live.call("GET", state)["asset_state_store"], "the watcher to have looked")
    with live.tracking() as store:
        store.create_registered_model("watched")
        run = store.create_run("0", start_time=1)
        store.create_model_version("watched", f"{run.info.artifact_uri}/model", run_id=run.info.run_id)
    promoted = live.mlgate("promote", "watched", "1", "--to", "champion")
    [follower] = live.wait(lambda: live.runs("watches"), "the DAG that watches")
    assert live.finish("watches", follower["dag_run_id"]) == "success", live.logs()
    [extra] = live.xcom("watches", follower["dag_run_id"], "seen")
    assert extra["payload"]["promotion_id"] == promoted["promotion"]["promotion_id"]


# --- tasks that are ended from outside -------------------------------------------------------------------------------


def test_a_task_that_is_failed_by_hand_leaves_no_process_behind(live: Cluster, tmp_path: Path) -> None:
    run, said = _stubborn(live, tmp_path)
    live.set_state("stubborn", run, "run", "failed")
    live.wait(lambda: not _alive(said["pids"]), "the step's processes to be gone")
    [tracked] = live.wait_status("stubborn", run, "KILLED")
    assert tracked.info.run_id == said["run_id"]
    live.wait(lambda: "Task killed!" in live.log("stubborn", run, "run"), "Airflow to have seen the end")
    # Airflow kills a task for good that takes longer than five seconds to end, and says so.
    assert "escalating" not in (live.home / "scheduler.log").read_text()


def test_a_task_that_is_cleared_while_it_runs_starts_again_as_the_next_attempt(live: Cluster, tmp_path: Path) -> None:
    run, said = _stubborn(live, tmp_path)
    live.clear("stubborn", run, "run")
    assert live.finish("stubborn", run) == "success", live.logs()
    assert not _alive(said["pids"])
    [tracked] = live.tracked("stubborn", run)
    assert (tracked.info.run_id, tracked.info.status.value) == (said["run_id"], "FINISHED")
    assert tracked.tag("mlgate.attempt") == "2"


@pytest.mark.docker
def test_a_container_of_a_failed_task_is_gone(live: Cluster) -> None:
    base_image()
    from mlgate_projects.envs.container import connect

    with contextlib.closing(connect()) as engine:
        run = live.trigger("container", note="started")
        live.until("container", run, "run", "running")
        [tracked] = live.wait(lambda: live.tracked("container", run), "the run")
        ours = {"label": f"mlgate.run_id={tracked.info.run_id}"}
        live.wait(lambda: engine.containers(filters=ours), "the container")
        live.set_state("container", run, "run", "failed")
        live.wait(lambda: not engine.containers(all=True, filters=ours), "the container to be gone")
    [tracked] = live.wait_status("container", run, "KILLED")


def test_after_a_worker_died_the_next_attempt_ends_what_it_left_and_shuts_it_out(live: Cluster, tmp_path: Path) -> None:
    run, said = _stubborn(live, tmp_path)
    step = psutil.Process(said["pids"][0])
    scheduler = live.processes["scheduler"].pid
    family = step.parents()
    workers = family[: [process.pid for process in family].index(scheduler)]
    for process in workers:
        process.send_signal(signal.SIGKILL)
    assert _alive(said["pids"]) == said["pids"]

    live.until("stubborn", run, "run", "success", attempt=2)
    assert not _alive(said["pids"])
    [tracked] = live.tracked("stubborn", run)
    assert (tracked.info.run_id, tracked.tag("mlgate.attempt")) == (said["run_id"], "2")
    late = RestStore(said["uri"], token=said["token"])
    with contextlib.closing(late), pytest.raises(TrackingError):
        late.log_batch(said["run_id"], tags=[Tag("late", "yes")])


# --- shared ----------------------------------------------------------------------------------------------------------


def _stubborn(live: Cluster, tmp_path: Path) -> tuple[str, dict[str, Any]]:
    """A DAG run whose step runs and does not want to end, and what the step said of itself."""
    note = tmp_path / "said.json"
    run = live.trigger("stubborn", note=str(note))
    live.wait(note.exists, "the step to run")
    said = json.loads(note.read_text())
    assert _alive(said["pids"]) == said["pids"]
    return run, said


def _asked(live: Cluster) -> str:
    """A DAG run that `admin` has started and that waits for an answer of `ml_engineer`s, one of whom is `admin`."""
    with live.tracking() as store:
        for member in ("admin", "ada"):
            store.grant_role("ml_engineer", member)
    run = live.trigger("people", user="admin")
    _parked(live, run, 1)
    return run


def _parked(live: Cluster, run: str, times: int) -> None:
    """Wait until the task has deferred itself that often, and the scheduler has heard of it.

    A scheduler that hears of a task's end only when the task is queued again takes it for lost; people are slower.
    """
    key = f"TaskInstanceKey(dag_id='people', task_id='ask', run_id='{run}'"
    heard = f"executor event with state success for task instance {key}"
    log = live.home / "scheduler.log"
    live.wait(lambda: log.read_text().count(heard) >= times, "the question")
    live.until("people", run, "ask", "deferred", "awaiting_input")


def _question(live: Cluster, run: str) -> dict[str, Any]:
    found: dict[str, Any] = live.call("GET", f"dags/people/dagRuns/{run}/taskInstances/ask/-1/hitlDetails")
    return found


def _answer(live: Cluster, run: str, user: str, option: str = "Approve", comment: str = "") -> None:
    said = {"chosen_options": [option], "params_input": {"comment": comment}}
    live.call("PATCH", f"dags/people/dagRuns/{run}/taskInstances/ask/-1/hitlDetails", said, user=user)


def _alive(pids: list[int]) -> list[int]:
    found = []
    for pid in pids:
        with contextlib.suppress(psutil.NoSuchProcess):
            if psutil.Process(pid).status() != psutil.STATUS_ZOMBIE:
                found.append(pid)
    return found


def _events(live: Cluster, model: str) -> list[tuple[str, dict[str, Any]]]:
    """Name of the asset and extra of the events of a model's assets."""
    found = live.call("GET", "assets/events", order_by="timestamp", limit=100)["asset_events"]
    return [(event["name"], event["extra"]) for event in found if event["extra"].get("model") == model]


def _promotions(live: Cluster, model: str) -> list[Promotion]:
    with live.tracking() as store:
        return list(store.search_promotions(model).items)
