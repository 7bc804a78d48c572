"""Buttons on a task: where its tracked run and its verdict can be looked at."""

from __future__ import annotations

from typing import TYPE_CHECKING

from mlgate.airflow.compat import BaseOperatorLink

if TYPE_CHECKING:
    from airflow.sdk import BaseOperator
    from airflow.sdk.types import TaskInstanceKey

RUN_URL, VERDICT_URL = "mlgate_run_url", "mlgate_verdict_url"
"""XCom keys under which an operator leaves the addresses of what it has made."""


class RunLink(BaseOperatorLink):
    """The tracked run, from the moment it is opened; no link where the store is no server."""

    name = "Tracked run"

    @property
    def xcom_key(self) -> str:
        return RUN_URL

    def get_link(self, operator: BaseOperator, *, ti_key: TaskInstanceKey) -> str:
        return str(getattr(operator, "links", {}).get(RUN_URL, ""))


class VerdictLink(BaseOperatorLink):
    """What the gates have said; no link where the store is no server."""

    name = "Verdict"

    @property
    def xcom_key(self) -> str:
        return VERDICT_URL

    def get_link(self, operator: BaseOperator, *, ti_key: TaskInstanceKey) -> str:
        return str(getattr(operator, "links", {}).get(VERDICT_URL, ""))


def run_url(tracking_uri: str, run_id: str) -> str:
    """Where a server shows a run; empty for a database."""
    if not tracking_uri.startswith(("http://", "https://")):
        return ""
    return f"{tracking_uri.rstrip('/')}/api/2.0/mlflow/runs/get?run_id={run_id}"


def verdict_url(tracking_uri: str, verdict_id: str) -> str:
    """Where a server shows a verdict; empty for a database."""
    if not tracking_uri.startswith(("http://", "https://")):
        return ""
    return f"{tracking_uri.rstrip('/')}/api/3.0/mlgate/verdicts/get?verdict_id={verdict_id}"


__all__ = ["RUN_URL", "VERDICT_URL", "RunLink", "VerdictLink", "run_url", "verdict_url"]
