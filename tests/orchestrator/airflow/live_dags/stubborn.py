"""Steps that do not want to end: a process with a family, and a container."""

import os
from datetime import datetime, timedelta

from airflow.sdk import DAG

from mlgate.airflow import RunProjectOperator

for name, project in (("stubborn", os.environ["TEST_PROJECT"]), ("container", os.environ["TEST_DOCKER_PROJECT"])):
    with DAG(
        name,
        schedule=None,
        start_date=datetime(2026, 1, 1),
        catchup=False,
        params={"note": ""},
        default_args={"retries": 1, "retry_delay": timedelta(seconds=1)},
    ):
        RunProjectOperator(
            task_id="run",
            uri=project,
            entry_point="stubborn",
            parameters={"note": "{{ params.note }}"},
            env_manager="system" if name == "stubborn" else None,
            experiment_name="stubborn",
        )
