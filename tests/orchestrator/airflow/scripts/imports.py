"""Prints which modules a DAG file that uses our operators loads on top of `airflow.sdk`."""

import json
import sys

from airflow.sdk import DAG, Asset, AssetAlias, BaseHook, BaseOperator, BaseOperatorLink, BaseSensorOperator  # noqa: F401

before = set(sys.modules)

from mlgate.airflow import (
    EvaluateGateOperator,
    PromoteModelOperator,
    RollbackModelOperator,
    RunProjectOperator,
    TrackingServerSensor,
    model_asset,
)

assert all((EvaluateGateOperator, PromoteModelOperator, RollbackModelOperator, RunProjectOperator))
assert all((TrackingServerSensor, model_asset))
print(json.dumps(sorted(set(sys.modules) - before)))
