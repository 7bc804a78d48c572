"""Sensors: wait for a model version, or for the tracking server."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from mlgate.airflow.compat import BaseSensorOperator
from mlgate.airflow.hook import MlgateHook

if TYPE_CHECKING:
    from airflow.sdk import Context


class ModelVersionSensor(BaseSensorOperator):
    """Wait until a target (an alias or a stage) of a model is held by a version, or by another one than `other_than`.

    Args:
        deferrable: wait in the triggerer instead of holding a worker slot.

    Returns (XCom): the version.
    """

    template_fields: Sequence[str] = ("model", "to", "other_than")
    ui_color = "#e3f0e8"

    def __init__(
        self,
        *,
        model: str,
        to: str = "champion",
        other_than: int | str | None = None,
        deferrable: bool = True,
        mlgate_conn_id: str | None = None,
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        self.model = model
        self.to = to
        self.other_than = other_than
        self.deferrable = deferrable
        self.mlgate_conn_id = mlgate_conn_id

    def execute(self, context: Context) -> Any:
        if not self.deferrable:
            return super().execute(context)
        from datetime import timedelta

        from mlgate.airflow.triggers import ModelVersionTrigger

        trigger = ModelVersionTrigger(
            self.model, self.to, self._other_than, self.mlgate_conn_id, float(self.poke_interval)
        )
        return self.defer(trigger=trigger, method_name="found", timeout=timedelta(seconds=float(self.timeout)))

    def poke(self, context: Context) -> Any:
        from airflow.sdk import PokeReturnValue

        from mlgate.airflow.triggers import holder

        version = holder(MlgateHook(self.mlgate_conn_id).settings(), self.model, self.to)
        return PokeReturnValue(version is not None and version != self._other_than, version)

    def found(self, context: Context, event: dict[str, Any]) -> int:
        """Where a deferred wait goes on."""
        return int(event["version"])

    @property
    def _other_than(self) -> int | None:
        return None if self.other_than in (None, "") else int(self.other_than)  # type: ignore[arg-type]


class TrackingServerSensor(BaseSensorOperator):
    """Wait until the store answers."""

    ui_color = "#e3f0e8"

    def __init__(self, *, mlgate_conn_id: str | None = None, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.mlgate_conn_id = mlgate_conn_id

    def poke(self, context: Context) -> bool:
        well, message = MlgateHook(self.mlgate_conn_id).test_connection()
        self.log.info("%s", message)
        return well


__all__ = ["ModelVersionSensor", "TrackingServerSensor"]
