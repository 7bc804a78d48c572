"""Registered models as Airflow assets: a DAG can be scheduled by a promotion."""

from __future__ import annotations

from collections.abc import Sequence

from mlgate.airflow.compat import Asset, AssetAlias


def model_asset(model: str, target: str = "champion") -> Asset:
    """The asset that stands for whoever holds `target` (an alias or a stage) of a registered model.

    `DAG(schedule=[model_asset("iris")])` runs after each promotion that happened; the event's extra holds version, run
    and promotion id.
    """
    return Asset(uri=f"mlgate://models/{model}/{target}", name=f"mlgate:{model}@{target}")


def watched_model_asset(
    model: str,
    target: str = "champion",
    *,
    kinds: Sequence[str] = ("promotion", "rollback", "unguarded"),
    mlgate_conn_id: str | None = None,
    poll: float = 10.0,
) -> Asset:
    """An asset that gets an event whenever the holder of `target` changes, whoever changes it and wherever.

    `model_asset` hears of promotions by tasks of this Airflow, at once; this one of everything in the store, through a
    watcher in the triggerer. The two are different assets, so that no promotion starts a DAG twice.
    """
    from airflow.sdk import AssetWatcher

    from mlgate.airflow.watching import RegistryEventTrigger

    name = f"mlgate:{model}@{target}:registry"
    trigger = RegistryEventTrigger(model, target, asset=name, kinds=kinds, mlgate_conn_id=mlgate_conn_id, poll=poll)
    return Asset(
        uri=f"mlgate://registry/{model}/{target}", name=name, watchers=[AssetWatcher(name=name, trigger=trigger)]
    )


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


__all__ = ["announced", "model_asset", "promotions_of", "watched_model_asset"]
