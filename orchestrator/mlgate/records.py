"""Runs of a pipeline that are no processes, and what can be read back from its runs: for resuming and for the cache.

Every step of a plan has a tracked run, also one that was skipped, answered from the cache or only selected among
others; tag `mlgate.outcome` says which.
"""

from __future__ import annotations

import json
import time
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from typing import Any

from mlgate.binding import FINISHED, SKIPPED, RunContext, StepState, choose, state_after
from mlgate.plan import Plan, PlannedStep
from mlgate.step import StepResult, step_run_key
from mlgate.tags import own_tags
from mlgate.tracking import Tracking
from mlgate.user import current_user
from mlgate_tracking.contract import Store
from mlgate_tracking.entities import Metric, Param, Run, RunStatus, Tag
from mlgate_tracking.errors import TrackingError

OUTCOME = "mlgate.outcome"
CACHED_FROM = "mlgate.cached_from"
CACHE_KEY = "mlgate.cache.key"
CACHE_HIT = "mlgate.cache.hit"
OUTPUTS_FILE = "mlgate/outputs.json"
PLAN_FILE = "mlgate/plan.json"

_PAGE = 1000


def record(
    tracking: Tracking,
    plan: Plan,
    step: PlannedStep,
    context: RunContext,
    *,
    outcome: str,
    status: RunStatus = RunStatus.FINISHED,
    map_index: int = -1,
    reason: str = "",
    tags: Mapping[str, str] | None = None,
    params: Mapping[str, str] | None = None,
    metrics: Mapping[str, float] | None = None,
) -> StepResult:
    """Write the run of a step that needed no process: opened and closed at once, with everything in it."""
    now = int(time.time() * 1000)
    name = f"{step.name}[{map_index}]" if map_index >= 0 else step.name
    values = {
        "mlflow.source.type": "PROJECT",
        "mlflow.source.name": plan.uri,
        "mlflow.project.entryPoint": step.entry_point if step.kind == "run" else "",
        "mlflow.source.git.commit": plan.commit or "",
        "mlgate.step": step.name,
        "mlgate.pipeline": plan.pipeline or "",
        "mlgate.engine": context.engine.name,
        "mlgate.engine.run_id": context.engine.run_id,
        "mlgate.map_index": str(map_index) if map_index >= 0 else "",
        "mlgate.project.digest": plan.digest,
        OUTCOME: outcome,
        **(tags or {}),
    }
    opened = tracking.store.open_step_run(
        step_run_key(context.engine.run_id, plan.digest, step.name, map_index),
        experiment_id=context.experiment_id,
        user_id=current_user(),
        run_name=name,
        start_time=now,
        parent_run_id=context.run_id or None,
        params=[Param(key, value) for key, value in (params or {}).items()],
        tags=[Tag(key, value) for key, value in values.items() if value],
    )
    run = tracking.store.close_step_run(
        opened.run.info.run_id,
        opened.attempt,
        status=status,
        end_time=now,
        metrics=[Metric(key, value, now) for key, value in (metrics or {}).items()],
        tags=[Tag("mlgate.reason", reason)] if reason else [],
    )
    return replace(result_of(run), name=step.name, step_run_key=opened.step_run_key, attempt=opened.attempt)


def result_of(run: Run, outputs: Mapping[str, Any] | None = None) -> StepResult:
    """The result that a step's run stands for."""
    tags = tags_of(run)
    return StepResult(
        run_id=run.info.run_id,
        experiment_id=run.info.experiment_id,
        step_run_key=tags.get("mlgate.step_run_key", ""),
        attempt=int(tags.get("mlgate.attempt", "1")),
        status=run.info.status.value,
        exit_code=int(tags.get("mlgate.exit_code", "0")),
        artifact_uri=run.info.artifact_uri,
        name=tags.get("mlgate.step", ""),
        started=run.info.start_time / 1000,
        ended=(run.info.end_time or 0) / 1000,
        commit=tags.get("mlflow.source.git.commit"),
        metrics={metric.key: metric.value for metric in run.data.metrics},
        params={param.key: param.value for param in run.data.params},
        outputs=outputs or {},
        reason=tags.get("mlgate.reason", ""),
        tags=own_tags(run.data.tags),
        model_version=int(tags["mlgate.model_version"]) if tags.get("mlgate.model_version", "").isdecimal() else None,
    )


def read_result(tracking: Tracking, run: Run) -> StepResult:
    """The result of a run with its named outputs; that of the original for a run that was answered from the cache."""
    tags = tags_of(run)
    original = tags.get(CACHED_FROM)
    if original:
        return read_result(tracking, tracking.store.get_run(original))
    return result_of(run, read_json(tracking, run, OUTPUTS_FILE) or {})


def read_json(tracking: Tracking, run: Run, path: str) -> Any:
    """A small JSON artifact of a run; None when it is not there."""
    try:
        return json.loads(b"".join(tracking.repository(run.info.artifact_uri).download(path)))
    except (TrackingError, OSError, ValueError):
        return None


@dataclass(frozen=True, slots=True)
class Recorded:
    """What a pipeline run has finished or skipped, and the cache keys of what it has finished."""

    states: dict[str, StepState]
    keys: dict[str, str]


def recorded(tracking: Tracking, plan: Plan, run_id: str) -> Recorded:
    """The steps of a plan as the pipeline run `run_id` has left them, for use in another run of the plan."""
    found: dict[tuple[str, int], Run] = {}
    for run in children(tracking.store, run_id):
        tags = tags_of(run)
        key = (tags.get("mlgate.step", ""), int(tags.get("mlgate.map_index", "-1")))
        if run.info.status is RunStatus.FINISHED and key not in found:
            found[key] = run
    states: dict[str, StepState] = {}
    keys: dict[str, str] = {}
    for step in plan.steps:
        alone = tags_of(found[step.name, -1]) if (step.name, -1) in found else {}
        if alone.get(OUTCOME) == "skipped":
            if any(name not in states for name in step.needs):
                continue  # what it was skipped for may come out otherwise this time
            states[step.name] = StepState(step.name, SKIPPED, outcome="skipped", reason=alone.get("mlgate.reason", ""))
            continue
        runs = [found[step.name, index] for index in step.instances if (step.name, index) in found]
        if alone.get(OUTCOME) in ("rejected", "pending", "rolled_back") or len(runs) < len(step.instances):
            continue
        results = tuple(read_result(tracking, run) for run in runs)
        chosen, problem = choose(step, results)
        if not problem:
            states[step.name] = StepState(step.name, FINISHED, results, chosen, outcome="reused")
            used = [tags_of(run).get(CACHE_KEY) or tags_of(run).get(CACHE_HIT) or "" for run in runs]
            if all(used):
                keys[step.name] = ",".join(used)
    return Recorded(states, keys)


def ended(tracking: Tracking, plan: Plan, run_id: str, names: Iterable[str]) -> Recorded:
    """The states of these steps in the pipeline run `run_id` itself, however they ended; for other workers of the run.

    A step that has left no run is not among them. A run that is still open belongs to a worker that died.
    """
    found: dict[tuple[str, int], Run] = {}
    for run in children(tracking.store, run_id):
        tags = tags_of(run)
        found.setdefault((tags.get("mlgate.step", ""), int(tags.get("mlgate.map_index", "-1"))), run)
    states: dict[str, StepState] = {}
    keys: dict[str, str] = {}
    for step in (plan.step(name) for name in names):
        alone = tags_of(found[step.name, -1]) if (step.name, -1) in found else {}
        if alone.get(OUTCOME) == "skipped":
            states[step.name] = StepState(step.name, SKIPPED, outcome="skipped", reason=alone.get("mlgate.reason", ""))
            continue
        runs = [found[step.name, index] for index in step.instances if (step.name, index) in found]
        if not runs:
            continue
        states[step.name] = state_after(step, tuple(_ended_result(tracking, run) for run in runs))
        used = [tags_of(run).get(CACHE_KEY) or tags_of(run).get(CACHE_HIT) or "" for run in runs]
        if states[step.name].ok and all(used) and len(used) == len(step.instances):
            keys[step.name] = ",".join(used)
    return Recorded(states, keys)


def _ended_result(tracking: Tracking, run: Run) -> StepResult:
    result = read_result(tracking, run)
    if run.info.status in (RunStatus.FINISHED, RunStatus.FAILED, RunStatus.KILLED):
        return result
    return replace(result, status=RunStatus.KILLED.value, reason="its worker died")


def children(store: Store, run_id: str) -> Iterator[Run]:
    """Runs that are nested directly in a run, newest first, in whatever experiment their scripts have put them."""
    return search_everywhere(store, f"tags.`mlflow.parentRunId` = '{run_id}'")


def search_everywhere(store: Store, filter_string: str, limit: int | None = None) -> Iterator[Run]:
    """Active runs of all experiments that match, newest first."""
    experiments = list(_experiment_ids(store))
    token: str | None = None
    while True:
        page = store.search_runs(
            experiments,
            filter_string=filter_string,
            order_by=["attributes.start_time DESC"],
            max_results=min(limit or _PAGE, _PAGE),
            page_token=token,
        )
        yield from page.items
        token = page.token
        if token is None or limit is not None:
            return


def _experiment_ids(store: Store) -> Iterable[str]:
    token: str | None = None
    while True:
        page = store.search_experiments(max_results=_PAGE, page_token=token)
        yield from (experiment.experiment_id for experiment in page.items)
        token = page.token
        if token is None:
            return


def tags_of(run: Run) -> dict[str, str]:
    """Tags by key."""
    return {tag.key: tag.value for tag in run.data.tags}


__all__ = [
    "CACHED_FROM",
    "CACHE_HIT",
    "CACHE_KEY",
    "OUTCOME",
    "OUTPUTS_FILE",
    "PLAN_FILE",
    "Recorded",
    "children",
    "ended",
    "read_json",
    "read_result",
    "record",
    "recorded",
    "result_of",
    "search_everywhere",
    "tags_of",
]
