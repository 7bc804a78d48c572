"""Train with several settings at once and promote the best: a task for each setting, mapped at run time."""

from __future__ import annotations

import os
from datetime import datetime

from airflow.sdk import DAG, task

from mlgate.airflow import PromoteModelOperator, RunProjectOperator

PROJECT = os.environ.get("IRIS_PROJECT", "https://host/team/iris.git")
MODEL = "iris_classifier"


with DAG("sweep", schedule=None, start_date=datetime(2026, 1, 1), catchup=False, tags=["mlgate"], doc_md=__doc__):

    @task
    def settings() -> list[dict[str, int]]:
        """What to try; anything that Airflow can map over."""
        return [{"max_depth": depth} for depth in (2, 4, 8)]

    @task
    def best(results: list[dict[str, object]]) -> str:
        """The run with the highest accuracy."""
        winner = max(results, key=lambda result: result["metrics"]["accuracy"])
        return f"runs:/{winner['run_id']}/iris_model"

    train = RunProjectOperator.partial(task_id="train", uri=PROJECT).expand(parameters=settings())
    PromoteModelOperator(
        task_id="promote",
        model=MODEL,
        source=best(train.output),
        to="champion",
        policy={"gates": [{"champion": {"metric": "accuracy", "min_change": 0.0}}]},
    )
