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


__all__ = ["model_asset", "promotions_of"]
