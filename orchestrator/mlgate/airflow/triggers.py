"""Waiting for the registry without a worker: triggers that the triggerer runs."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from typing import TYPE_CHECKING, Any
from uuid import UUID

from airflow.triggers.base import BaseTrigger, TriggerEvent

from mlgate.airflow.asking import close_detail, standing
from mlgate.airflow.compat import ask_airflow
from mlgate.airflow.hook import MlgateHook

if TYPE_CHECKING:
    from mlgate.settings import Settings


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
            settings = await ask_airflow(MlgateHook(self.mlgate_conn_id).settings)
            version = await asyncio.to_thread(self.look, settings)
            if version is not None and version != self.other_than:
                yield TriggerEvent({"version": version})
                return
            await asyncio.sleep(self.poll)

    def look(self, settings: Settings) -> int | None:
        """The holder; None while there is none, or the store does not answer."""
        from mlgate_tracking.errors import TemporarilyUnavailable

        try:
            return holder(settings, self.model, self.to)
        except TemporarilyUnavailable as error:
            self.log.warning("the store does not answer, asking again in %g s: %s", self.poll, error)
            return None


class ApprovalTrigger(BaseTrigger):
    """Fires when approvals in the store are settled, or when somebody answers the task in Airflow.

    The event's payload is Airflow's own for an answer (`chosen_options`, `params_input`, `responded_by_user`, …), or
    `{"settled": status}`; both with `approval_ids`.
    """

    def __init__(
        self, instance_id: str, approval_ids: list[str], mlgate_conn_id: str | None = None, poll: float = 10.0
    ) -> None:
        super().__init__()
        self.instance_id = instance_id
        self.approval_ids = approval_ids
        self.mlgate_conn_id = mlgate_conn_id
        self.poll = poll
        self._answers = True

    def serialize(self) -> tuple[str, dict[str, Any]]:
        """How the trigger travels to the triggerer."""
        return (
            "mlgate.airflow.triggers.ApprovalTrigger",
            {
                "instance_id": self.instance_id,
                "approval_ids": self.approval_ids,
                "mlgate_conn_id": self.mlgate_conn_id,
                "poll": self.poll,
            },
        )

    async def run(self) -> AsyncIterator[TriggerEvent]:
        while True:
            event = await ask_airflow(self._answer) if self._answers else None
            if event is None:
                settings = await ask_airflow(MlgateHook(self.mlgate_conn_id).settings)
                event = await asyncio.to_thread(self.look, settings)
                if event is not None:
                    await ask_airflow(close_detail, UUID(self.instance_id), event["settled"] == "approved")
            if event is not None:
                yield TriggerEvent(event)
                return
            await asyncio.sleep(self.poll)

    def look(self, settings: Settings) -> dict[str, Any] | None:
        """What the store has to say; None as long as nothing is settled, or the store does not answer."""
        from mlgate.tracking import open_tracking
        from mlgate_tracking.errors import TemporarilyUnavailable

        try:
            with open_tracking(settings) as tracking:
                status, _ = standing(tracking.store, self.approval_ids)
        except TemporarilyUnavailable as error:
            self.log.warning("the store does not answer, asking again in %g s: %s", self.poll, error)
            return None
        if status == "pending":
            return None
        return {"settled": status, "approval_ids": self.approval_ids}

    def _answer(self) -> dict[str, Any] | None:
        """An answer that Airflow has by now. From 3.3 on it wakes the task itself, unless that came too early.

        `airflow dags test` runs triggers without access to answers; the store's count all the same.
        """
        from airflow.sdk.execution_time.hitl import get_hitl_detail_content_detail

        try:
            detail = get_hitl_detail_content_detail(ti_id=UUID(self.instance_id))
        except Exception as error:
            self.log.warning("Airflow does not tell its answers here: %s", error)
            self._answers = False
            return None
        if detail is None:
            self._answers = False
            return None
        if not detail.response_received or not detail.chosen_options:
            return None
        user = detail.responded_by_user
        return {
            "chosen_options": list(detail.chosen_options),
            "params_input": detail.params_input or {},
            "responded_by_user": {"id": user.id, "name": user.name} if user is not None else None,
            "approval_ids": self.approval_ids,
        }


def holder(settings: Settings, model: str, to: str) -> int | None:
    """The version that holds an alias or a stage; None when nobody does, or there is no such model yet."""
    from mlgate.promotion import parse_target
    from mlgate.tracking import open_tracking
    from mlgate_tracking.errors import InvalidParameterValue, ResourceDoesNotExist

    target = parse_target(to)
    with open_tracking(settings) as tracking:
        try:
            if target.alias:
                return tracking.store.get_model_version_by_alias(model, target.alias).version
            found = tracking.store.get_latest_versions(model, [target.stage or "Production"])
        except (InvalidParameterValue, ResourceDoesNotExist):
            return None
    return max((version.version for version in found), default=None)


__all__ = ["ApprovalTrigger", "ModelVersionTrigger", "holder"]
