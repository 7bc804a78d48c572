"""From what a user types to a plan and its source; and what can be expected of the plan before it runs."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from mlgate.binding import FINISHED, Overrides, RunContext, StepState, bind
from mlgate.drawing import Forecast
from mlgate.errors import OrchestratorError, UsageError
from mlgate.plan import Plan, PlannedStep, make_plan
from mlgate.references import Reference, references_in
from mlgate.resolve import ResolvedStep, resolve_environment, resolve_step
from mlgate.settings import Settings
from mlgate.step import Engine
from mlgate_projects.errors import ProjectError
from mlgate_projects.parse import load_project
from mlgate_projects.source import Source, resolve_source
from mlgate_projects.spec import ProjectSpec


@dataclass(frozen=True, slots=True)
class Planned:
    plan: Plan
    source: Source
    project: ProjectSpec


def plan_project(
    uri: str,
    pipeline: str | None,
    parameters: Mapping[str, Any],
    *,
    settings: Settings,
    version: str | None = None,
    entry_point: str = "main",
    experiment: str | None = None,
    resume: str | None = None,
    progress: Callable[[str], None] = lambda _: None,
    working_directory: Path | None = None,
) -> Planned:
    """Fetch a project and plan it; the git ref is resolved to a commit here, once for all steps.

    Args:
        resume: id of a run of the pipeline that is to go on: its parameters and, for git sources, its commit are taken.

    Raises:
        ProjectError, InvalidPlan, UsageError: with every mistake.
    """
    commit: str | None = None
    if resume is not None:
        if parameters:
            raise UsageError(f"--resume {resume}: a run goes on with the parameters it has; leave -P away")
        earlier = plan_of(resume, settings)
        parameters, commit = earlier.parameters, earlier.commit
    source = resolve_source(uri, version, commit=commit, cache_root=settings.git, progress=progress)
    project = load_project(source.directory)
    plan = make_plan(
        project,
        pipeline,
        parameters,
        uri=source.uri,  # without credentials: a plan is stored and sent around
        version=version,
        commit=source.commit,
        digest=source.digest,
        entry_point=entry_point,
        experiment=experiment,
        working_directory=working_directory,
    )
    return Planned(plan, source, project)


def plan_of(run_id: str, settings: Settings) -> Plan:
    """The plan that a run of a pipeline follows. Raises `UsageError` when the run is none."""
    from mlgate.records import PLAN_FILE, read_json
    from mlgate.tracking import open_tracking

    with open_tracking(settings) as tracking:
        data = read_json(tracking, tracking.store.get_run(run_id), PLAN_FILE)
    if data is None:
        raise UsageError(f"run {run_id} is no run of a pipeline; see mlgate runs list")
    return Plan.from_json(json.dumps(data))


def forecasts(planned: Planned, settings: Settings, overrides: Overrides | None = None) -> dict[str, Forecast]:
    """What to expect of each step: its environment, ready or to be built, and whether its result is in the cache.

    Changes nothing; a store that does not exist yet is not made.
    """
    from mlgate.step_cache import find_cached
    from mlgate.tracking import open_tracking

    overrides = overrides or Overrides()
    plan = planned.plan
    exists = settings.remote or not settings.tracking_uri.startswith("sqlite:///")
    exists = exists or Path(settings.tracking_uri.removeprefix("sqlite:///")).exists()
    keys: dict[str, str] = {}
    found: dict[str, Forecast] = {}
    for step in plan.steps:
        if step.kind != "run":
            found[step.name] = Forecast()
            continue
        try:
            environment = _environment_line(step, planned, settings, overrides)
            cached = ""
            if step.cache is not None:
                inputs = _inputs(step, planned, settings, overrides, keys)
                keys[step.name] = ",".join(one for one in inputs)
                if any(need not in keys for need in step.needs):
                    cached = "unknown before the steps it needs have run"
                elif not exists:
                    cached = "miss"
                else:
                    with open_tracking(settings) as tracking:
                        hits = sum(find_cached(tracking, key, step.cache) is not None for key in inputs)
                    cached = "hit" if hits == len(inputs) else f"{hits} of {len(inputs)} hit" if hits else "miss"
                    if hits < len(inputs):
                        del keys[step.name]
            found[step.name] = Forecast(environment, cached)
        except (OrchestratorError, ProjectError) as error:
            found[step.name] = Forecast(f"not known: {error}")
    return found


def _environment_line(step: PlannedStep, planned: Planned, settings: Settings, overrides: Overrides) -> str:
    bound = _bound(step, -1 if not step.settings else 0, planned, overrides)
    environment, spec, options = resolve_environment(bound, settings, planned.project)
    key = environment.key(spec, options)
    return f"{key.description} ({key.kind}, {'ready' if key.hit else 'to be built'})"


def _inputs(
    step: PlannedStep, planned: Planned, settings: Settings, overrides: Overrides, keys: Mapping[str, str]
) -> list[str]:
    """Cache keys of the instances of a step, as they would be if the steps before it were all cached."""
    return [inputs.key for inputs in step_inputs(step, planned, settings, overrides, keys)]


def step_inputs(
    step: PlannedStep, planned: Planned, settings: Settings, overrides: Overrides, keys: Mapping[str, str]
) -> list[Any]:
    """`step_cache.Inputs` of each instance of a step."""
    from mlgate.step_cache import inputs_of

    states = {need: StepState(need, FINISHED) for need in step.needs}
    made = []
    for map_index in step.instances:
        resolved = _resolved(step, map_index, planned, settings, overrides)
        digest = resolved.environment.key(resolved.spec, resolved.options).digest
        made.append(inputs_of(planned.plan, step, map_index, resolved, digest, keys, states))
    return made


def _resolved(
    step: PlannedStep, map_index: int, planned: Planned, settings: Settings, overrides: Overrides
) -> ResolvedStep:
    bound = _bound(step, map_index, planned, overrides)
    return resolve_step(bound, settings, progress=lambda _: None, source=planned.source, project=planned.project)


def _bound(step: PlannedStep, map_index: int, planned: Planned, overrides: Overrides) -> Any:
    """The step with something harmless in the place of what only other steps can tell."""
    from dataclasses import replace

    from mlgate.references import LATER, fill_in

    def lookup(reference: Reference) -> Any:
        if reference.path[0] not in ("steps", "run"):
            return LATER
        return {"artifacts": "runs:/later", "metrics": 0, "model_version": 0}.get((*reference.path, "", "")[2], "0")

    parts = {
        name: getattr(step, name) for name in ("parameters", "env", "tags", "experiment", "run_name", "env_options")
    }
    known = {name: fill_in(value, lookup) if any(references_in(value)) else value for name, value in parts.items()}
    return bind(planned.plan, replace(step, **known), map_index, {}, RunContext(Engine("local", "")), overrides)


__all__ = ["Planned", "forecasts", "plan_of", "plan_project", "step_inputs"]
