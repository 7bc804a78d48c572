"""Score a table with the new champion: runs whenever a promotion has happened, however it was made in Airflow."""

from __future__ import annotations

import os
from datetime import datetime

from airflow.sdk import DAG

from mlgate.airflow import RunProjectOperator, model_asset

PROJECT = os.environ.get("IRIS_PROJECT", "https://host/team/iris.git")
MODEL = "iris_classifier"

with DAG(
    "score_on_promotion",
    schedule=[model_asset(MODEL, "champion")],
    start_date=datetime(2026, 1, 1),
    catchup=False,
    tags=["mlgate"],
    doc_md=__doc__,
):
    RunProjectOperator(
        task_id="score",
        uri=PROJECT,
        entry_point="evaluate",
        parameters={"model_uri": f"models:/{MODEL}@champion"},
    )
