"""Buttons on a task: where its tracked run can be looked at."""

from __future__ import annotations

from typing import TYPE_CHECKING

from mlgate.airflow.compat import BaseOperatorLink

if TYPE_CHECKING:
    from airflow.sdk import BaseOperator
    from airflow.sdk.types import TaskInstanceKey

RUN_URL = "mlgate_run_url"
"""XCom key under which an operator leaves the address of its run."""


class RunLink(BaseOperatorLink):
    """The tracked run; no link where the store is no server."""

    name = "Tracked run"

    def get_link(self, operator: BaseOperator, *, ti_key: TaskInstanceKey) -> str:
        from airflow.sdk import BaseXCom

        del operator
        return str(BaseXCom.get_value(key=RUN_URL, ti_key=ti_key) or "")


def run_url(tracking_uri: str, run_id: str) -> str:
    """Where a server shows a run; empty for a database."""
    if not tracking_uri.startswith(("http://", "https://")):
        return ""
    return f"{tracking_uri.rstrip('/')}/api/2.0/mlflow/runs/get?run_id={run_id}"


__all__ = ["RUN_URL", "RunLink", "run_url"]
