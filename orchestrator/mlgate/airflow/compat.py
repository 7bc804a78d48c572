"""What differs between Airflow versions, in one place. Everything public comes from `airflow.sdk`."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeVar

from airflow.sdk.bases.hook import BaseHook
from airflow.sdk.bases.operator import BaseOperator
from airflow.sdk.bases.operatorlink import BaseOperatorLink
from airflow.sdk.bases.sensor import BaseSensorOperator
from airflow.sdk.definitions.asset import Asset, AssetAlias

try:
    from airflow.sdk.exceptions import AirflowException, AirflowFailException, AirflowSkipException
except ImportError:  # before Airflow 3.2 they live in the core
    from airflow.exceptions import AirflowException, AirflowFailException, AirflowSkipException

T = TypeVar("T")


def configuration() -> Any:
    """Airflow's configuration, read where it is asked for: most DAG files need none."""
    try:
        from airflow.sdk import conf
    except ImportError:  # before Airflow 3.2
        from airflow.configuration import conf
    return conf


def mask(value: str) -> None:
    """Keep a value out of everything that Airflow logs."""
    try:
        from airflow.sdk.log import mask_secret
    except ImportError:
        from airflow.sdk.execution_time.secrets_masker import mask_secret
    if value:
        mask_secret(value)


async def ask_airflow(function: Callable[..., T], *arguments: Any) -> T:
    """Call something that asks Airflow (a connection, a variable, an answer) from a trigger.

    Before Airflow 3.2 the triggerer's line to Airflow breaks when another thread than this one uses it.
    """
    from asgiref.sync import sync_to_async

    found: T = await sync_to_async(function)(*arguments)
    return found


def backoff(factor: float) -> dict[str, Any]:
    """Arguments for retries that wait longer each time; before Airflow 3.2 they can only wait twice as long."""
    from airflow.sdk.bases.operator import BASEOPERATOR_ARGS_EXPECTED_TYPES as TYPES

    if factor <= 1:
        return {}
    wanted = TYPES.get("retry_exponential_backoff", bool)
    number = float in (wanted if isinstance(wanted, tuple) else (wanted,))
    return {"retry_exponential_backoff": factor if number else True}


def __getattr__(name: str) -> Any:
    """Names that only some DAG files and the triggerer need, looked up on use."""
    if name == "SharedStreamProducer":
        try:
            from airflow.triggers.shared_stream import SharedStreamProducer
        except ImportError:  # before Airflow 3.3 triggers cannot know when an event is stored
            return object
        return SharedStreamProducer
    raise AttributeError(f"module 'mlgate.airflow.compat' has no attribute '{name}'")


__all__ = [
    "AirflowException",
    "AirflowFailException",
    "AirflowSkipException",
    "Asset",
    "AssetAlias",
    "BaseHook",
    "BaseOperator",
    "BaseOperatorLink",
    "BaseSensorOperator",
    "ask_airflow",
    "backoff",
    "configuration",
    "mask",
]
