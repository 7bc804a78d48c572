"""A whole pipeline in one task."""

import os
from datetime import datetime

from airflow.sdk import DAG

from mlgate.airflow import RunPipelineOperator

with DAG("pipeline", schedule=None, start_date=datetime(2026, 1, 1), catchup=False) as dag:
    RunPipelineOperator(
        task_id="retrain",
        uri=os.environ["TEST_PROJECT"],
        pipeline="retrain",
        env_manager="system",
        experiment_name="toys",
        jobs=2,
    )
