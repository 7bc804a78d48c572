"""mlgate in Prefect (3.7 and later): tasks, a block for the tracking server, and flows made from MLprojects."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from mlgate.prefect.approvals import arequest_approval, request_approval, resume_decided
    from mlgate.prefect.blocks import TrackingServer
    from mlgate.prefect.flows import aproject_flow, project_flow, run_project_flow
    from mlgate.prefect.settings import MlgateSettings
    from mlgate.prefect.tasks import (
        aevaluate_gate,
        apromote_model,
        arollback_model,
        arun_project,
        evaluate_gate,
        promote_model,
        rollback_model,
        run_project,
    )

_HOMES = {
    "MlgateSettings": "settings",
    "TrackingServer": "blocks",
    "aevaluate_gate": "tasks",
    "apromote_model": "tasks",
    "aproject_flow": "flows",
    "arequest_approval": "approvals",
    "arollback_model": "tasks",
    "arun_project": "tasks",
    "evaluate_gate": "tasks",
    "project_flow": "flows",
    "promote_model": "tasks",
    "request_approval": "approvals",
    "resume_decided": "approvals",
    "rollback_model": "tasks",
    "run_project": "tasks",
    "run_project_flow": "flows",
}


def __getattr__(name: str) -> Any:
    if name in _HOMES:
        import importlib

        return getattr(importlib.import_module(f"mlgate.prefect.{_HOMES[name]}"), name)
    raise AttributeError(f"module 'mlgate.prefect' has no attribute '{name}'")


__all__ = [
    "MlgateSettings",
    "TrackingServer",
    "aevaluate_gate",
    "aproject_flow",
    "apromote_model",
    "arequest_approval",
    "arollback_model",
    "arun_project",
    "evaluate_gate",
    "project_flow",
    "promote_model",
    "request_approval",
    "resume_decided",
    "rollback_model",
    "run_project",
    "run_project_flow",
]
