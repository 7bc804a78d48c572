"""Train, then promote; and a DAG that follows each promotion."""

import os
from datetime import datetime, timedelta

from airflow.sdk import DAG, task

from mlgate.airflow import PromoteModelOperator, RunProjectOperator, model_asset

with DAG(
    "steps",
    schedule=None,
    start_date=datetime(2026, 1, 1),
    catchup=False,
    params={"accuracy": 0.95, "fails": 0},
    default_args={"retries": 1, "retry_delay": timedelta(seconds=1)},
):
    train = RunProjectOperator(
        task_id="train",
        uri=os.environ["TEST_PROJECT"],
        parameters={"accuracy": "{{ params.accuracy }}", "fails": "{{ params.fails }}"},
        env_manager="system",
        experiment_name="steps",
    )
    promote = PromoteModelOperator(
        task_id="promote",
        model="toy",
        source="runs:/{{ ti.xcom_pull('train')['run_id'] }}/model",
        to="champion,Staging",
        policy={"gates": [{"metric": {"name": "accuracy", "min": 0.9}}]},
    )
    train >> promote

with DAG("follows", schedule=[model_asset("toy", "champion")], start_date=datetime(2026, 1, 1), catchup=False):

    @task
    def seen(triggering_asset_events=None):
        """What the promotion's event says."""
        return [event.extra for events in triggering_asset_events.values() for event in events]

    seen()
