"""Deployments on a real Prefect server: a worker on a process pool runs projects from a git URL, tracked by a server.

The worker shares no disk with the tracking server, and knows the project by its URL only.
"""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import signal
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import psutil
import pytest

from mlgate_tracking.client import connect
from mlgate_tracking.contract import Store
from mlgate_tracking.entities import Run
from tests.orchestrator.prefect.conftest import Prefect, wait_until
from tests.support.cli import mlgate
from tests.support.environments import ROOT
from tests.support.git import git, git_http_server, make_repository
from tests.support.servers import ServerProcess

pytestmark = [pytest.mark.prefect, pytest.mark.slow]

MODEL = "iris_classifier"
PROJECT = {
    "MLproject": """\
        name: iris
        entry_points:
          main: {parameters: {max_depth: {type: int, default: 5}}, command: "python train.py {max_depth}"}
          evaluate: {parameters: {model_uri: string}, command: "echo scored with {model_uri}"}
          sleep: {command: "sleep 300 & sleep 300"}
          first: {command: "true"}
          once: {command: "sh -c 'test $MLGATE_ATTEMPT -gt 1 || sleep 300'"}
        pipelines:
          retrain:
            steps:
              train: {entry_point: main, matrix: {max_depth: [2, 4]}, select: {metric: accuracy, mode: max},
                      parameters: {max_depth: "${{ matrix.max_depth }}"}}
              promote:
                promote:
                  model: iris_classifier
                  source: "${{ steps.train.artifacts }}/iris_model"
                  to: {alias: champion}
                  gates: [{metric: {name: accuracy, min: 0.9}}]
          approved:
            steps:
              train: {entry_point: main}
              promote:
                promote:
                  model: approved
                  source: "${{ steps.train.artifacts }}/iris_model"
                  to: {alias: champion}
                  gates: [{approval: {role: ml_engineer}}]
              tell: {entry_point: first, needs: [promote]}
          slow: {steps: {first: {entry_point: first}, sleep: {entry_point: sleep, needs: [first]}}}
          interrupted:
            steps:
              first: {entry_point: first}
              once: {entry_point: once, needs: [first]}
        """,
    "train.py": """\
        import sys
        import mlgate_tracking as tracking
        for step in range(5):
            tracking.log_metric("accuracy", 0.9 + int(sys.argv[1]) / 100 * step / 4, step=step)
        tracking.log_text("flavors: {}\\n", "iris_model/MLmodel")
        """,
}


@pytest.fixture(scope="module")
def project_url(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    work = tmp_path_factory.mktemp("git")
    repository = make_repository(work / "source", [PROJECT])
    (work / "http").mkdir()
    git(work, "clone", "-q", "--bare", str(repository), str(work / "http" / "iris.git"))
    with git_http_server(work / "http") as (url, _):
        yield f"{url}/iris.git"


@pytest.fixture(scope="module")
def deployed(prefect: Prefect, worker: Path, project_url: str, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The example flows, copied and deployed as the how-to says, and one deployment for each pipeline of the project.

    Returns: the worker's mlgate home.
    """
    prefect.cli("work-pool", "create", "default-docker-pool", "--type", "docker")
    flows = tmp_path_factory.mktemp("copied") / "flows"
    shutil.copytree(ROOT / "flows", flows)
    env = {"IRIS_PROJECT": project_url}
    prefect.cli("deploy", "--all", cwd=flows, env=env)
    for name in ("nightly", "with-approval", "on-promotion"):
        found = next(one for one in prefect.post("deployments/filter") if one["name"] == name)
        prefect.ask("PATCH", f"deployments/{found['id']}", {"job_variables": {"env": env}})
    minutely = next(one for one in prefect.post("deployments/filter") if one["name"] == "every-minute")
    prefect.post(f"deployments/{minutely['id']}/pause_deployment")
    written = flows / "of-project.yaml"
    done = mlgate("deploy", "prefect", project_url, "-o", written, env={"MLGATE_HOME": str(flows / "home")})
    assert done.returncode == 0, done.stderr
    prefect.cli("deploy", "--all", "--prefect-file", written.name, cwd=flows)
    return worker


@pytest.fixture
def store(tracking: ServerProcess) -> Iterator[Store]:
    with connect(tracking.uri) as opened:
        yield opened


def runs_of(store: Store, flow_run_id: str) -> dict[str, list[Run]]:
    """Tracked runs of a flow run by step; the pipeline's own under `pipeline`."""
    found: dict[str, list[Run]] = {}
    experiments = [one.experiment_id for one in store.search_experiments().items]
    wanted = f"tags.`mlgate.engine.run_id` = '{flow_run_id}'"
    for run in store.search_runs(experiments, filter_string=wanted).items:
        found.setdefault(run.tag("mlgate.step") or "pipeline", []).append(run)
    return found


def rows(home: Path, *, step: bool = True) -> list[dict[str, Any]]:
    """What the worker's ledger says of steps (or pipelines) that run."""
    found = [json.loads(file.read_text()) for file in (home / "ledger").glob("*.json")]
    return [row for row in found if bool(row["process"].get("pid")) == step]


def steps_alive(home: Path) -> list[psutil.Process]:
    """Processes of steps that the worker's ledger knows, with their children."""
    found: list[psutil.Process] = []
    for row in rows(home):
        with contextlib.suppress(psutil.NoSuchProcess):
            process = psutil.Process(row["process"]["pid"])
            found += [process, *process.children(recursive=True)]
    return [process for process in found if process.status() != psutil.STATUS_ZOMBIE]


def test_scheduled_retraining_from_a_git_url_is_tracked_gated_promoted_and_shown(
    prefect: Prefect, deployed: Path, store: Store, tracking: ServerProcess
) -> None:
    nightly = prefect.deployment("scheduled-retraining/nightly")
    assert [schedule["schedule"]["cron"] for schedule in nightly["schedules"]] == ["0 3 * * *"]
    flow_run = prefect.run("scheduled-retraining/nightly")
    prefect.wait(flow_run, "Completed")

    runs = runs_of(store, flow_run)
    assert {step: len(found) for step, found in runs.items()} == {"pipeline": 1, "train": 3, "promote": 1}
    assert {run.info.status.value for found in runs.values() for run in found} == {"FINISHED"}
    assert runs["pipeline"][0].tag("mlflow.source.name").startswith("http://127.0.0.1")
    version = store.get_model_version_by_alias(MODEL, "champion")
    [promotion] = store.search_promotions(MODEL).items
    assert (version.version, promotion.version, promotion.run_id) == (1, 1, runs["promote"][0].info.run_id)

    states = {run["name"]: run["state_name"] for run in prefect.task_runs(flow_run)}
    assert states == {"train[0]": "Completed", "train[1]": "Completed", "promote": "Promoted"}
    tags = {run["name"]: set(run["tags"]) for run in prefect.task_runs(flow_run)}
    assert tags["train[1]"] >= {"mlgate", "mlgate-environment-system"}
    assert f"mlgate-model-{MODEL}" in tags["promote"]

    shown = {(one["key"], one["type"]): one for one in prefect.artifacts(flow_run)}
    gates = shown["mlgate-gates-iris-classifier", "table"]
    assert "accuracy" in gates["data"]
    assert "passed" in shown["mlgate-verdict-iris-classifier", "markdown"]["data"]
    assert runs["pipeline"][0].info.run_id in shown["mlgate-link-retrain", "markdown"]["data"]
    assert shown["mlgate-curves-train-1", "image"]["data"].startswith("data:image/svg+xml;base64,")
    assert "0.94" in shown["mlgate-run-train-1", "markdown"]["data"]

    # The server is shared with other tests, which promote other models.
    def announced(name: str, resource: str) -> list[Any]:
        return [one for one in prefect.events(name) if one["resource"]["prefect.resource.id"] == resource]

    [event] = wait_until(lambda: announced("mlgate.model.promoted", f"mlgate.model.{MODEL}"), what="the event")
    assert event["payload"]["promotion_id"] == promotion.promotion_id
    assert event["resource"]["mlgate.version"] == "1"
    champion = f"mlgate://models/{MODEL}/champion"
    materialized = "prefect.asset.materialization.succeeded"
    [asset] = wait_until(lambda: announced(materialized, champion), what="the asset's event")
    assert asset["payload"]["version"] == 1

    def scored() -> list[Any]:
        wanted = {"deployment_id": {"any_": [prefect.deployment("score-on-promotion/on-promotion")["id"]]}}
        return list(prefect.post("flow_runs/filter", flow_runs=wanted))

    [scoring] = wait_until(scored, what="the flow run that the promotion starts")
    prefect.wait(scoring["id"], "Completed")
    [run] = next(iter(runs_of(store, scoring["id"]).values()))
    assert run.param("model_uri") == f"models:/{MODEL}@champion"


def test_a_suspended_approval_outlives_the_server_and_is_resumed_by_the_command(
    prefect: Prefect, deployed: Path, store: Store, tracking: ServerProcess
) -> None:
    flow_run = prefect.run("mlgate-project/iris-approved")
    prefect.wait(flow_run, "Suspended")
    [approval] = store.search_approvals(model="approved").items
    assert approval.status.value == "pending"
    before = runs_of(store, flow_run)

    prefect.end("server", signal.SIGKILL)
    prefect.start()
    assert prefect.state(flow_run)["name"] == "Suspended"

    store.grant_role("ml_engineer", "alice")
    said = mlgate(
        "approvals", "approve", approval.approval_id, "--user", "alice", "--tracking-uri", tracking.uri,
        env={"PREFECT_API_URL": prefect.api},
    )  # fmt: skip
    assert f"resumed flow run {flow_run}" in said.stdout, said.stdout + said.stderr
    prefect.wait(flow_run, "Completed")
    after = runs_of(store, flow_run)
    assert after["train"][0].tag("mlgate.attempt") == before["train"][0].tag("mlgate.attempt") == "1"
    assert after["promote"][0].tag("mlgate.outcome") == "promoted"
    assert [run.info.status.value for run in after["tell"]] == ["FINISHED"]
    assert after["tell"][0].tag("mlgate.outcome") == "ran"
    assert store.get_model_version_by_alias("approved", "champion").version == 1
    assert len(store.search_promotions("approved").items) == 1


def test_an_approval_is_answered_by_the_form_that_resumes_the_flow_run(
    prefect: Prefect, deployed: Path, store: Store
) -> None:
    flow_run = prefect.run("promotion-with-approval/with-approval", {"max_depth": 5})
    prefect.wait(flow_run, "Suspended")
    [approval] = store.search_approvals(model=MODEL, status=None).items
    store.grant_role("ml_engineer", "bob")

    prefect.post(f"flow_runs/{flow_run}/resume", run_input={"approved": True, "user": "mallory"})
    wait_until(lambda: "which 'mallory' does not have" in prefect.logs(flow_run), what="the store's refusal")
    prefect.wait(flow_run, "Suspended")
    assert store.get_approval(approval.approval_id).decisions == ()

    prefect.post(f"flow_runs/{flow_run}/resume", run_input={"approved": True, "user": "bob", "comment": "good"})
    prefect.wait(flow_run, "Completed")
    [decision] = store.get_approval(approval.approval_id).decisions
    assert (decision.user, decision.approved, decision.comment) == ("bob", True, "good")
    assert store.get_model_version_by_alias(MODEL, "champion").version == approval.version
    trained = [run for step, runs in runs_of(store, flow_run).items() if step.startswith("main-") for run in runs]
    assert [run.tag("mlgate.attempt") for run in trained] == ["1"]


def test_a_cancelled_flow_run_ends_its_steps_and_closes_their_runs(
    prefect: Prefect, deployed: Path, store: Store
) -> None:
    flow_run = prefect.run("mlgate-project/iris-slow")
    wait_until(lambda: len(steps_alive(deployed)) >= 3, what="the step's processes")
    processes = steps_alive(deployed)
    prefect.post(f"flow_runs/{flow_run}/set_state", state={"type": "CANCELLING"})
    prefect.wait(flow_run, "Cancelled")
    assert not [process for process in processes if process.is_running() and process.status() != psutil.STATUS_ZOMBIE]
    runs = runs_of(store, flow_run)
    assert {step: [run.info.status.value for run in found] for step, found in runs.items()} == {
        "pipeline": ["KILLED"],
        "first": ["FINISHED"],
        "sleep": ["KILLED"],
    }


def test_after_a_flow_process_was_killed_reaping_cleans_up_and_a_retry_goes_on(
    prefect: Prefect, deployed: Path, store: Store, tracking: ServerProcess
) -> None:
    flow_run = prefect.run("mlgate-project/iris-interrupted")
    processes = wait_until(lambda: steps_alive(deployed), what="the step's process")
    os.kill(rows(deployed)[0]["runner_pid"], signal.SIGKILL)
    prefect.wait(flow_run, "Crashed")
    assert any(process.is_running() for process in processes)

    env = {"MLGATE_HOME": str(deployed)}
    reaped = mlgate("reap", "--tracking-uri", tracking.uri, env=env)
    assert reaped.returncode == 0, reaped.stderr
    wait_until(lambda: not steps_alive(deployed), 20)
    assert runs_of(store, flow_run)["once"][0].info.status.value == "KILLED"

    # The worker reports the crash once more when the rest of the infrastructure has ended; not into the retry, please.
    with contextlib.suppress(AssertionError):
        wait_until(lambda: prefect.states(flow_run).count("Crashed") > 1, 20)
    prefect.cli("flow-run", "retry", flow_run)
    prefect.wait(flow_run, "Completed", through="Crashed")
    runs = runs_of(store, flow_run)
    assert [run.info.status.value for found in runs.values() for run in found] == ["FINISHED"] * 3
    assert runs["first"][0].tag("mlgate.attempt") == "1"  # had finished
    assert runs["once"][0].tag("mlgate.attempt") == "2"


def test_the_same_submission_twice_runs_once(prefect: Prefect, deployed: Path, store: Store) -> None:
    first = prefect.run("scheduled-retraining/nightly", idempotency_key="tonight")
    assert prefect.run("scheduled-retraining/nightly", idempotency_key="tonight") == first
    other = prefect.run("scheduled-retraining/nightly")
    prefect.wait(first, "Completed", "Cancelled")
    prefect.wait(other, "Completed", "Cancelled")
    # One at a time: whoever came second was cancelled, and promoted nothing.
    states = sorted(prefect.state(one)["name"] for one in (first, other))
    assert states == ["Cancelled", "Completed"]
    promoters = {promotion.run_id for promotion in store.search_promotions(MODEL).items}
    done = first if prefect.state(first)["name"] == "Completed" else other
    assert {run.info.run_id for run in runs_of(store, done)["promote"]} <= promoters
    assert runs_of(store, first if done == other else other) == {}


def test_resuming_what_was_decided_elsewhere(prefect: Prefect, deployed: Path, store: Store) -> None:
    flow_run = prefect.run("mlgate-project/iris-approved")
    prefect.wait(flow_run, "Suspended")
    approval = store.search_approvals(model="approved").items[0]
    store.grant_role("ml_engineer", "alice")
    store.decide_approval(approval.approval_id, "alice", False, "not today")
    prefect.wait(prefect.run("resume-approved/every-minute"), "Completed")
    prefect.wait(flow_run, "Completed")
    assert runs_of(store, flow_run)["promote"][0].tag("mlgate.outcome") == "rejected"
