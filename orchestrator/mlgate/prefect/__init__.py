"""mlgate in Prefect (3.7 and later): tasks, a block for the tracking server, and flows made from MLprojects."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from mlgate.prefect.blocks import TrackingServer
    from mlgate.prefect.flows import project_flow
    from mlgate.prefect.tasks import evaluate_gate, promote_model, rollback_model, run_project

_HOMES = {
    "TrackingServer": "blocks",
    "evaluate_gate": "tasks",
    "project_flow": "flows",
    "promote_model": "tasks",
    "rollback_model": "tasks",
    "run_project": "tasks",
}


def __getattr__(name: str) -> Any:
    if name in _HOMES:
        import importlib

        return getattr(importlib.import_module(f"mlgate.prefect.{_HOMES[name]}"), name)
    raise AttributeError(f"module 'mlgate.prefect' has no attribute '{name}'")


__all__ = ["TrackingServer", "evaluate_gate", "project_flow", "promote_model", "rollback_model", "run_project"]
