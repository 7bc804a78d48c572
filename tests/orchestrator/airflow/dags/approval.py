"""Ask people before a promotion, by a role and by a policy."""

from datetime import datetime

from airflow.sdk import DAG

from mlgate.airflow import PromoteModelOperator, RequestApprovalOperator

POLICY = {"gates": [{"metric": {"name": "accuracy", "min": 0.9}}, {"approval": {"role": "ml_engineer"}}]}

with DAG("approval", schedule=None, start_date=datetime(2026, 1, 1), catchup=False) as dag:
    ask = RequestApprovalOperator(
        task_id="ask", model="toy", version=1, role="ml_engineer", to="Staging", expires=600, poll=0.5
    )
    promote = PromoteModelOperator(task_id="promote", model="toy", version=1, to="champion", policy=POLICY, poll=0.5)
    ask >> promote
