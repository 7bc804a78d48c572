"""Score a table every night with whoever is the champion by then.

The parameters come from a function: `@task.mlproject` runs the project's entry point with what it returns.
"""

from __future__ import annotations

import os
from datetime import datetime, timedelta

from airflow.sdk import DAG, task

from mlgate.airflow import ModelVersionSensor

PROJECT = os.environ.get("IRIS_PROJECT", "https://host/team/iris.git")
MODEL = "iris_classifier"

with DAG(
    "batch_scoring",
    schedule="0 2 * * *",
    start_date=datetime(2026, 1, 1),
    catchup=False,
    default_args={"retries": 2, "retry_delay": timedelta(minutes=5)},
    tags=["mlgate"],
    doc_md=__doc__,
):
    champion = ModelVersionSensor(task_id="champion", model=MODEL, to="champion", timeout=3600)

    @task.mlproject(uri=PROJECT, entry_point="evaluate")
    def score(version: int) -> dict[str, str]:
        """A version, not the alias: a promotion in between does not change the model half-way."""
        return {"model_uri": f"models:/{MODEL}/{version}"}

    score(champion.output)
