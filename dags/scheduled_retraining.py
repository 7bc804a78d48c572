"""Retrain every day: wait for the store, check the data, train, and promote to Staging if the gates let it through.

Copy this file into your DAGs folder and change the settings. Needs a connection of type `mlgate`, or the variables
MLGATE_TRACKING_URI and MLGATE_ARTIFACTS on the workers.
"""

from __future__ import annotations

import os
from datetime import datetime, timedelta

from airflow.sdk import DAG

from mlgate.airflow import PromoteModelOperator, RunProjectOperator, TrackingServerSensor

PROJECT = os.environ.get("IRIS_PROJECT", "https://host/team/iris.git")
MODEL = "iris_classifier"

with DAG(
    "scheduled_retraining",
    schedule="@daily",
    start_date=datetime(2026, 1, 1),
    catchup=False,
    max_active_runs=1,
    default_args={"retries": 2, "retry_delay": timedelta(minutes=5)},
    tags=["mlgate"],
    doc_md=__doc__,
):
    store = TrackingServerSensor(task_id="store", poke_interval=10, timeout=600)
    data = RunProjectOperator(task_id="check_data", uri=PROJECT, entry_point="data_preparation")
    train = RunProjectOperator(
        task_id="train",
        uri=PROJECT,
        parameters={"n_estimators": 100, "max_depth": 5},
        execution_timeout=timedelta(hours=1),
    )
    promote = PromoteModelOperator(
        task_id="promote",
        model=MODEL,
        source="runs:/{{ ti.xcom_pull('train')['run_id'] }}/iris_model",
        to="Staging",
        policy={"gates": [{"metric": {"name": "accuracy", "min": 0.9}}]},
    )
    store >> data >> train >> promote
