"""Registered models as Airflow assets: a DAG can be scheduled by a promotion."""

from __future__ import annotations

from mlgate.airflow.compat import Asset, AssetAlias


def model_asset(model: str, target: str = "champion") -> Asset:
    """The asset that stands for whoever holds `target` (an alias or a stage) of a registered model.

    `DAG(schedule=[model_asset("iris")])` runs after each promotion that happened; the event's extra holds version, run
    and promotion id.
    """
    return Asset(uri=f"mlgate://models/{model}/{target}", name=f"mlgate:{model}@{target}")


def promotions_of(model: str) -> AssetAlias:
    """What a promoting task declares as its outlet; the asset itself gets an event only when something was promoted."""
    return AssetAlias(name=f"mlgate-promotions:{model}")


def announced(model: str, target: str, promotion_id: str) -> bool:
    """Whether Airflow has the event of a promotion: it records events when a task succeeds, so a task that died after
    its promotion still owes one, and a task that is cleared after its success does not.
    """
    from airflow.sdk.execution_time.context import InletEventsAccessors

    asset = model_asset(model, target)
    recent = InletEventsAccessors([asset])[asset].ascending(False).limit(100)
    return any(event.extra.get("promotion_id") == promotion_id for event in recent)


__all__ = ["announced", "model_asset", "promotions_of"]
