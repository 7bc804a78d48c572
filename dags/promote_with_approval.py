"""Train a challenger, let the gates compare it with the champion, ask an ML engineer, and promote it if all agree.

The question stands on Airflow's page *Required Actions* and in `mlgate approvals list`; whoever answers first, on
either side, has answered. `mlgate approvals grant ml_engineer NAME` says who may. Nobody approves a run that they have
started. `score_on_promotion` follows.
"""

from __future__ import annotations

import os
from datetime import datetime, timedelta

from airflow.sdk import DAG

from mlgate.airflow import PromoteModelOperator, RequestApprovalOperator, RunProjectOperator

PROJECT = os.environ.get("IRIS_PROJECT", "https://host/team/iris.git")
MODEL = "iris_classifier"
POLICY = {
    "name": "champion",
    "gates": [
        {"metric": {"name": "accuracy", "min": 0.9}},
        {"champion": {"metric": "accuracy", "min_change": 0.0}},
        {"approval": {"role": "ml_engineer", "expires": "24h"}},
    ],
}

with DAG(
    "promote_with_approval",
    schedule="@weekly",
    start_date=datetime(2026, 1, 1),
    catchup=False,
    max_active_runs=1,
    tags=["mlgate"],
    doc_md=__doc__,
):
    train = RunProjectOperator(
        task_id="train",
        uri=PROJECT,
        parameters={"n_estimators": 200, "max_depth": 10},
        retries=2,
        retry_delay=timedelta(minutes=5),
    )
    ask = RequestApprovalOperator(
        task_id="ask",
        model=MODEL,
        source="runs:/{{ ti.xcom_pull('train')['run_id'] }}/iris_model",
        to="champion",
        policy=POLICY,
    )
    promote = PromoteModelOperator(
        task_id="promote",
        model=MODEL,
        version="{{ ti.xcom_pull('ask')['version'] }}",
        to="champion",
        policy=POLICY,
    )
    train >> ask >> promote
