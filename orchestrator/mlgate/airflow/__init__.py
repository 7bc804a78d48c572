"""mlgate in Airflow (3.1 and later): operators, sensors, a decorator and whole DAGs from MLprojects.

Importing this package loads nothing; each name is looked up on first use, so that a DAG file pays for what it uses.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from mlgate.airflow.assets import model_asset
    from mlgate.airflow.hook import MlgateHook
    from mlgate.airflow.operators import (
        EvaluateGateOperator,
        PromoteModelOperator,
        RollbackModelOperator,
        RunPipelineOperator,
        RunProjectOperator,
    )
    from mlgate.airflow.sensors import ModelVersionSensor, TrackingServerSensor
    from mlgate.airflow.triggers import ModelVersionTrigger

_HOMES = {
    "EvaluateGateOperator": "operators",
    "MlgateHook": "hook",
    "ModelVersionSensor": "sensors",
    "ModelVersionTrigger": "triggers",
    "PromoteModelOperator": "operators",
    "RollbackModelOperator": "operators",
    "RunPipelineOperator": "operators",
    "RunProjectOperator": "operators",
    "TrackingServerSensor": "sensors",
    "model_asset": "assets",
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
    "PromoteModelOperator",
    "RollbackModelOperator",
    "RunPipelineOperator",
    "RunProjectOperator",
    "TrackingServerSensor",
    "model_asset",
]
