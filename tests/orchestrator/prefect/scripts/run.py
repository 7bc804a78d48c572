"""Runs a pipeline as a flow on a temporary Prefect server, and single tasks; prints what Prefect knows of it."""

import json
import sys

from prefect import flow
from prefect.client.orchestration import get_client
from prefect.testing.utilities import prefect_test_harness

from mlgate.prefect import evaluate_gate, project_flow, promote_model, rollback_model, run_project

project = sys.argv[1]
POLICY = {"gates": [{"champion": {"metric": "accuracy", "min_change": 0.0}}]}


@flow
def by_hand(depth: int) -> dict[str, object]:
    trained = run_project(project, "train", {"depth": depth, "rows": 1}, env_manager="system")
    promoted = promote_model("toy", source=f"runs:/{trained['run_id']}/model", to="champion", policy=POLICY)
    judged = evaluate_gate("toy", 1, POLICY, to="champion")
    return {"trained": trained, "promoted": promoted, "judged": judged}


@flow
def back() -> dict[str, object]:
    return rollback_model("toy", to="champion", reason="a test")


@flow
def broken() -> None:
    run_project(project, "fails", env_manager="system")


with prefect_test_harness(server_startup_timeout=180):
    pipeline = project_flow(project, "retrain", env_manager="system", experiment_name="toys")
    seen = {"pipeline": pipeline(jobs=2), "better": by_hand(5), "worse": by_hand(1), "back": back()}
    state = broken(return_state=True)
    seen["broken"] = [state.name, state.message]
    with get_client(sync_client=True) as client:
        runs = client.read_task_runs()
        seen["tasks"] = sorted((run.name, run.state_name, run.run_count) for run in runs)
        seen["artifacts"] = sorted({artifact.key for artifact in client.read_artifacts() if artifact.key})
print(json.dumps(seen, default=str))
