"""Flows of a user's own, sync and async, on the Prefect server that the environment names; prints what came of them."""

import asyncio
import json
import sys
import threading

from prefect import flow
from prefect.client.orchestration import get_client
from prefect.runtime import flow_run

from mlgate.prefect import (
    MlgateSettings,
    TrackingServer,
    aproject_flow,
    apromote_model,
    arequest_approval,
    arun_project,
    evaluate_gate,
    project_flow,
    promote_model,
    rollback_model,
    run_project,
)
from mlgate.prefect.blocks import settings_of
from mlgate.tracking import open_tracking

project = sys.argv[1]
POLICY = {"gates": [{"champion": {"metric": "accuracy", "min_change": 0.0}}]}
attempts = []


@flow
def by_hand(depth: int) -> dict[str, object]:
    trained = run_project(project, "train", {"depth": depth, "rows": 1})
    promoted = promote_model("toy", source=f"runs:/{trained['run_id']}/model", to="champion", policy=POLICY)
    judged = evaluate_gate("toy", 1, POLICY, to="champion")
    return {"trained": trained, "promoted": promoted, "judged": judged}


@flow(retries=1)
def retried(depth: int) -> dict[str, object]:
    """Comes to grief after everything is done, and does it all again."""
    both = run_project.map(project, "train", [{"depth": depth, "rows": 1}, {"depth": depth, "rows": 1}]).result()
    trained = sorted(both, key=lambda one: one["run_id"])  # equal calls at once: a retry may tell them apart otherwise
    promoted = promote_model("again", source=f"runs:/{trained[0]['run_id']}/model", to="champion")
    moved = promote_model("again", source=f"runs:/{trained[1]['run_id']}/model", to="champion")
    back = rollback_model("again", to="champion", reason="a test")
    attempts.append([promoted["promotion"]["promotion_id"], moved["promotion"]["version"], back["promotion_id"]])
    if len(attempts) == 1:
        raise RuntimeError("after the promotion")
    return {"run_ids": [one["run_id"] for one in trained], "attempts": attempts}


@flow
def back() -> dict[str, object]:
    return rollback_model("toy", to="champion", reason="a test")


@flow
def broken() -> None:
    run_project.with_options(retries=3, retry_delay_seconds=0)(project, "fails")


@flow
async def asynchronous() -> dict[str, object]:
    both = await asyncio.gather(*(arun_project(project, "train", {"depth": d, "rows": 2}) for d in (6, 7)))
    best = max(both, key=lambda one: one["metrics"]["accuracy"])
    answer = asyncio.create_task(asyncio.to_thread(approve, str(flow_run.id)))
    asked = await arequest_approval("asked", source=f"runs:/{best['run_id']}/model", role="boss", to="champion")
    await answer
    return {"asked": asked, "promoted": await apromote_model("asked", asked["version"], to="champion")}


def approve(flow_run_id: str) -> None:
    """Somebody elsewhere, who knows nothing of Prefect, once the flow run is paused."""
    over = threading.Event()
    with open_tracking(settings_of()) as tracking, get_client(sync_client=True) as client:
        tracking.store.grant_role("boss", "eve")
        while client.read_flow_run(flow_run_id).state.name != "Paused":
            over.wait(0.2)
        [asked] = tracking.store.search_approvals(model="asked").items
        tracking.store.decide_approval(asked.approval_id, "eve", True)


assert MlgateSettings().env_manager == "system"  # PREFECT_INTEGRATIONS_MLGATE_ENV_MANAGER
TrackingServer(uri=settings_of().tracking_uri, token="secret").save("tracking", overwrite=True)
loaded = settings_of("tracking")
pipeline = project_flow(project, "retrain", experiment_name="toys")
seen = {
    "block": [loaded.tracking_uri == settings_of().tracking_uri, loaded.credentials.token],
    "pipeline": pipeline(jobs=2),
    "again": asyncio.run(aproject_flow(project, "retrain", name="async-retrain")()),
    "better": by_hand(5),
    "worse": by_hand(1),
    "back": back(),
    "retried": retried(3),
    "async": asyncio.run(asynchronous()),
}
state = broken(return_state=True)
seen["broken"] = [state.name, state.message]
with get_client(sync_client=True) as client:
    mine = [flow.id for flow in client.read_flows() if flow.name in ("toy-retrain", "by-hand", "broken", "retried")]
    runs = [run for run in client.read_flow_runs() if run.flow_id in mine]
    names = {run.id: run.name for run in runs}
    seen["flow_run"] = str(next(run.id for run in runs if run.id in names and run.parameters.get("jobs") == 2))
    tasks = [run for run in client.read_task_runs() if run.flow_run_id in names]
    seen["tasks"] = sorted((run.name, run.state_name, run.run_count) for run in tasks)
    seen["artifacts"] = sorted({one.key for one in client.read_artifacts() if one.key})
print(json.dumps(seen, default=str))
