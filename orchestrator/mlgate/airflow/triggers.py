"""Waiting for the registry without a worker: triggers that the triggerer runs."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from typing import Any

from airflow.triggers.base import BaseTrigger, TriggerEvent

from mlgate.airflow.hook import MlgateHook


class ModelVersionTrigger(BaseTrigger):
    """Fires when a target of a model is held by a version, or by another one than `other_than`.

    The event's payload: `{"version": int}`.
    """

    def __init__(
        self, model: str, to: str, other_than: int | None = None, mlgate_conn_id: str | None = None, poll: float = 10.0
    ) -> None:
        super().__init__()
        self.model = model
        self.to = to
        self.other_than = other_than
        self.mlgate_conn_id = mlgate_conn_id
        self.poll = poll

    def serialize(self) -> tuple[str, dict[str, Any]]:
        """How the trigger travels to the triggerer."""
        return (
            "mlgate.airflow.triggers.ModelVersionTrigger",
            {
                "model": self.model,
                "to": self.to,
                "other_than": self.other_than,
                "mlgate_conn_id": self.mlgate_conn_id,
                "poll": self.poll,
            },
        )

    async def run(self) -> AsyncIterator[TriggerEvent]:
        while True:
            version = await asyncio.to_thread(holder, self.mlgate_conn_id, self.model, self.to)
            if version is not None and version != self.other_than:
                yield TriggerEvent({"version": version})
                return
            await asyncio.sleep(self.poll)


def holder(mlgate_conn_id: str | None, model: str, to: str) -> int | None:
    """The version that holds an alias or a stage; None when nobody does, or there is no such model yet."""
    from mlgate.promotion import parse_target
    from mlgate_tracking.errors import InvalidParameterValue, ResourceDoesNotExist

    target = parse_target(to)
    with MlgateHook(mlgate_conn_id).tracking() as tracking:
        try:
            if target.alias:
                return tracking.store.get_model_version_by_alias(model, target.alias).version
            found = tracking.store.get_latest_versions(model, [target.stage or "Production"])
        except (InvalidParameterValue, ResourceDoesNotExist):
            return None
    return max((version.version for version in found), default=None)


__all__ = ["ModelVersionTrigger", "holder"]
