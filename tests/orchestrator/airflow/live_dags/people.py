"""People are asked before a promotion; a DAG that follows whatever moves the champion, wherever that was done."""

import os
from datetime import datetime

from airflow.sdk import DAG, task

from mlgate.airflow import PromoteModelOperator, RequestApprovalOperator, RunProjectOperator, watched_model_asset

POLICY = {
    "gates": [
        {"metric": {"name": "accuracy", "min": 0.9}},
        {"approval": {"role": "ml_engineer", "four_eyes": True, "expires": "1h"}},
    ]
}

with DAG("people", schedule=None, start_date=datetime(2026, 1, 1), catchup=False):
    train = RunProjectOperator(
        task_id="train",
        uri=os.environ["TEST_PROJECT"],
        parameters={"accuracy": "0.95", "fails": "0"},
        env_manager="system",
        experiment_name="people",
    )
    source = "runs:/{{ ti.xcom_pull('train')['run_id'] }}/model"
    ask = RequestApprovalOperator(task_id="ask", model="asked", source=source, to="champion", policy=POLICY, poll=1)
    promote = PromoteModelOperator(
        task_id="promote",
        model="asked",
        version="{{ ti.xcom_pull('ask')['version'] }}",
        to="champion",
        policy=POLICY,
        poll=1,
    )
    train >> ask >> promote

# A watcher of a paused DAG does not watch.
with DAG(
    "watches",
    schedule=[watched_model_asset("watched", poll=1)],
    start_date=datetime(2026, 1, 1),
    catchup=False,
    is_paused_upon_creation=False,
):

    @task
    def seen(triggering_asset_events=None):
        """What the registry's event says."""
        return [event.extra for events in triggering_asset_events.values() for event in events]

    seen()
