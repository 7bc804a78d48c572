"""What a run of a pipeline leaves, without what differs from run to run: one definition, three engines, one result.

    under = run_under_the_engine(project)                 # Prefect, Airflow, ...
    assert left_by(uri, under.run_id) == left_by_the_local_runner(project, "retrain", under.engine_run_id, home)

The local runner gets the engine's run id, so even the identities of the steps have to be equal.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from mlgate.binding import Overrides
from mlgate.course import Course
from mlgate.pipeline_runner import run_plan
from mlgate.planning import plan_project
from mlgate.records import children, tags_of
from mlgate.settings import load_settings
from mlgate.step import Engine
from mlgate_tracking.client import connect
from mlgate_tracking.governance import encode

_OWN = (
    "mlgate.engine",  # and everything below it
    "mlgate.command",
    "mlflow.user",
    "mlflow.runName",
    "mlflow.parentRunId",
    "mlgate.selected_run_id",
    "mlgate.cached_from",
    "mlgate.promotion_id",
    "mlgate.verdict_id",
)
_DIFFERS = {
    "promotion_id", "verdict_id", "event_id", "intent_id", "run_id", "created_at", "created_by", "user", "at",
    "revision", "seconds", "expires_at", "digests",
}  # fmt: skip


def left_by(tracking_uri: str, run_id: str) -> dict[str, Any]:
    """The tree of runs below a pipeline's run, and verdicts and promotions of the models that it is about."""
    with connect(tracking_uri) as store:
        pipeline = store.get_run(run_id)
        runs, models = [], set[str]()
        for run in [pipeline, *children(store, run_id)]:
            tags = tags_of(run)
            models |= {tags["mlgate.model"]} if tags.get("mlgate.model") else set()
            runs.append(
                {
                    "key": tags["mlgate.step_run_key"],
                    "top": run is pipeline,
                    "status": run.info.status.value,
                    "tags": {key: value for key, value in sorted(tags.items()) if not key.startswith(_OWN)},
                    "params": sorted((param.key, param.value) for param in run.data.params),
                    "metrics": sorted(
                        (metric.key, metric.value)
                        for metric in run.data.metrics
                        if not metric.key.startswith("system/")
                    ),
                }
            )
        verdicts = [
            _same(encode(verdict)) for model in sorted(models) for verdict in store.search_verdicts(model).items
        ]
        promotions = [_same(encode(one)) for model in sorted(models) for one in store.search_promotions(model).items]
    return {"runs": sorted(runs, key=lambda one: one["key"]), "verdicts": verdicts, "promotions": promotions}


def left_by_the_local_runner(project: Path, pipeline: str, engine_run_id: str, home: Path) -> dict[str, Any]:
    """The same of the local runner, in a home of its own."""
    settings = load_settings({"MLGATE_HOME": str(home)})
    planned = plan_project(str(project), pipeline, {}, settings=settings, experiment="toys")
    result = run_plan(
        planned.plan,
        settings=settings,
        course=replace(Course(), jobs=2, overrides=Overrides(env_manager="system")),
        engine=Engine("local", engine_run_id),
        source=planned.source,
        project=planned.project,
    )
    return left_by(settings.tracking_uri, result.run_id)


def _same(data: Any) -> Any:
    if isinstance(data, Mapping):
        return {key: _same(value) for key, value in data.items() if key not in _DIFFERS}
    if isinstance(data, list | tuple):
        return [_same(value) for value in data]
    return data


__all__ = ["left_by", "left_by_the_local_runner"]
