"""Going on from an earlier run of a pipeline: which one, and which steps are left to run."""

from __future__ import annotations

import json
from dataclasses import dataclass

from mlgate.binding import States
from mlgate.course import Course
from mlgate.errors import UsageError
from mlgate.plan import Plan
from mlgate.records import PLAN_FILE, read_json, search_everywhere, tags_of
from mlgate.tracking import Tracking
from mlgate_projects.source import Source


@dataclass(frozen=True, slots=True)
class Base:
    """An earlier run of the same pipeline."""

    run_id: str
    engine_run_id: str
    plan: Plan


def base_run(tracking: Tracking, plan: Plan, course: Course, source: Source) -> Base | None:
    """The run to go on from; None for a run from the beginning."""
    run_id = course.resume
    for name in (course.from_step, course.only):
        if name is not None:
            plan.step(name)
    if run_id is None:
        if course.from_step is None and course.only is None:
            return None
        run_id = _last_run(tracking, plan, source)
    run = tracking.store.get_run(run_id)
    tags = tags_of(run)
    data = read_json(tracking, run, PLAN_FILE)
    if data is None or tags.get("mlgate.pipeline") != plan.pipeline:
        raise UsageError(f"--resume {run_id}: that is no run of pipeline {plan.pipeline}; see mlgate runs list")
    return Base(run_id, tags.get("mlgate.engine.run_id", ""), Plan.from_json(json.dumps(data)))


def _last_run(tracking: Tracking, plan: Plan, source: Source) -> str:
    wanted = f"tags.`mlgate.pipeline` = '{plan.pipeline}' and tags.`mlgate.kind` = 'pipeline'"
    for run in search_everywhere(tracking.store, wanted):
        if tags_of(run).get("mlflow.source.name") == source.name:
            return run.info.run_id
    raise UsageError(f"pipeline {plan.pipeline} has not run yet, so no step can be left out; run all of it first")


def steps_to_run(plan: Plan, course: Course, done: States) -> frozenset[str] | None:
    """The steps that a partial run runs, None for all. Raises `UsageError` when what they need is not there."""
    if course.only is not None:
        wanted = frozenset({plan.step(course.only).name})
    elif course.from_step is not None:
        wanted = frozenset({plan.step(course.from_step).name}) | plan.downstream(course.from_step)
        wanted |= {step.name for step in plan.steps if step.final}
    else:
        return None
    needed = {name for step in wanted for name in plan.step(step).needs if not plan.step(step).final}
    missing = sorted(name for name in needed - wanted if name not in done)
    if missing:
        option = f"--only {course.only}" if course.only else f"--from {course.from_step}"
        raise UsageError(f"{option}: no finished run of {', '.join(missing)} to go on from; run them first")
    return wanted


__all__ = ["Base", "base_run", "steps_to_run"]
