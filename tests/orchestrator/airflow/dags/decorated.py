"""Run what a function returns."""

import os
from datetime import datetime

from airflow.sdk import DAG, task

with DAG("decorated", schedule=None, start_date=datetime(2026, 1, 1), catchup=False) as dag:

    @task.mlproject(uri=os.environ["TEST_PROJECT"], env_manager="system", experiment_name="airflow", secrets=["PASS"])
    def train(accuracy: float, run_id=None):
        return {"parameters": {"accuracy": accuracy, "note": run_id}, "env": {"PASS": "hunter2hunter2"}}

    @task.mlproject(uri=os.environ["TEST_PROJECT"], env_manager="system", experiment_name="airflow")
    def tell(result: dict):
        return {"accuracy": result["metrics"]["accuracy"], "note": "second"}

    tell(train(0.5))
