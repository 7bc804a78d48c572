"""A project's pipeline as a DAG, and as a group of tasks in one."""

import json
import os
from datetime import datetime

from airflow.sdk import DAG, task

from mlgate.airflow import ProjectDag, ProjectTaskGroup

SETTINGS = {
    "source": os.environ["TEST_PROJECT"],
    "pipeline": os.environ.get("TEST_PIPELINE", "retrain"),
    "env_manager": "system",
    "experiment_name": "toys",
    "parameters": json.loads(os.environ.get("TEST_PARAMETERS", "{}")),
}

ProjectDag("project", start_date=datetime(2026, 1, 1), schedule=None, prewarm=True, poll=0.5, **SETTINGS)

with DAG("grouped", start_date=datetime(2026, 1, 1), schedule=None) as grouped:

    @task
    def before() -> str:
        return "before"

    @task
    def after() -> str:
        return "after"

    before() >> ProjectTaskGroup("toy", **SETTINGS) >> after()
