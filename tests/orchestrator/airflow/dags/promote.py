"""Train, judge, promote and roll back, with a project that needs nothing installed."""

import os
from datetime import datetime

from airflow.sdk import DAG

from mlgate.airflow import (
    EvaluateGateOperator,
    ModelVersionSensor,
    PromoteModelOperator,
    RunProjectOperator,
    TrackingServerSensor,
)

POLICY = {"gates": [{"metric": {"name": "accuracy", "min": 0.9}}]}

with DAG("promote", schedule=None, start_date=datetime(2026, 1, 1), catchup=False) as dag:
    store = TrackingServerSensor(task_id="store", timeout=30)
    train = RunProjectOperator(
        task_id="train",
        uri=os.environ["TEST_PROJECT"],
        parameters={"accuracy": os.environ["TEST_ACCURACY"], "note": "{{ run_id }}"},
        env_manager="system",
        experiment_name="airflow",
    )
    promote = PromoteModelOperator(
        task_id="promote",
        model="toy",
        source="runs:/{{ ti.xcom_pull('train')['run_id'] }}/model",
        to="champion,Staging",
        policy=POLICY,
    )
    wait = ModelVersionSensor(task_id="wait", model="toy", to="champion", deferrable=False, poke_interval=1, timeout=30)
    judge = EvaluateGateOperator(task_id="judge", model="toy", version=1, policy=POLICY, to="Production")
    store >> train >> promote >> wait >> judge
