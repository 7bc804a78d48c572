"""mlgate in Airflow (3.1 and later): operators, sensors, a decorator and whole DAGs from MLprojects.

Importing this package loads nothing; each name is looked up on first use, so that a DAG file pays for what it uses.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from mlgate.airflow.approval import RequestApprovalOperator
    from mlgate.airflow.assets import model_asset, watched_model_asset
    from mlgate.airflow.hook import MlgateHook
    from mlgate.airflow.operators import (
        EvaluateGateOperator,
        PromoteModelOperator,
        RollbackModelOperator,
        RunPipelineOperator,
        RunProjectOperator,
    )
    from mlgate.airflow.projects import ProjectDag, ProjectTaskGroup
    from mlgate.airflow.sensors import ModelVersionSensor, TrackingServerSensor
    from mlgate.airflow.triggers import ModelVersionTrigger
    from mlgate.airflow.watching import RegistryEventTrigger

_HOMES = {
    "EvaluateGateOperator": "operators",
    "MlgateHook": "hook",
    "ModelVersionSensor": "sensors",
    "ModelVersionTrigger": "triggers",
    "ProjectDag": "projects",
    "ProjectTaskGroup": "projects",
    "PromoteModelOperator": "operators",
    "RegistryEventTrigger": "watching",
    "RequestApprovalOperator": "approval",
    "RollbackModelOperator": "operators",
    "RunPipelineOperator": "operators",
    "RunProjectOperator": "operators",
    "TrackingServerSensor": "sensors",
    "model_asset": "assets",
    "watched_model_asset": "assets",
}


def __getattr__(name: str) -> Any:
    if name in _HOMES:
        import importlib

        return getattr(importlib.import_module(f"mlgate.airflow.{_HOMES[name]}"), name)
    raise AttributeError(f"module 'mlgate.airflow' has no attribute '{name}'")


__all__ = [
    "EvaluateGateOperator",
    "MlgateHook",
    "ModelVersionSensor",
    "ModelVersionTrigger",
    "ProjectDag",
    "ProjectTaskGroup",
    "PromoteModelOperator",
    "RegistryEventTrigger",
    "RequestApprovalOperator",
    "RollbackModelOperator",
    "RunPipelineOperator",
    "RunProjectOperator",
    "TrackingServerSensor",
    "model_asset",
    "watched_model_asset",
]
