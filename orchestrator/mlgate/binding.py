"""From a plan and what has happened so far to the next step, ready to run: references filled in, conditions decided.

Pure functions over data, the same for every engine.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from mlgate.conditions import parse_condition
from mlgate.errors import UsageError
from mlgate.plan import Plan, PlannedStep
from mlgate.references import Reference, as_text, fill_in
from mlgate.step import Engine, Step, StepResult

FINISHED, FAILED, KILLED, SKIPPED = "FINISHED", "FAILED", "KILLED", "SKIPPED"


@dataclass(frozen=True, slots=True)
class StepState:
    """What became of a step of a plan.

    Attributes:
        status: FINISHED, FAILED, KILLED, or SKIPPED (its condition did not hold, or a step it needs was skipped).
        results: by map index; one result for a step that runs once; empty when nothing ran.
        chosen: what references to the step mean: its only result, or the winner of its matrix.
        outcome: `ran`, `cached`, `reused`, `skipped`, `rejected`, `failed`.
    """

    name: str
    status: str
    results: tuple[StepResult, ...] = ()
    chosen: StepResult | None = None
    outcome: str = "ran"
    reason: str = ""

    @property
    def ok(self) -> bool:
        return self.status == FINISHED


@dataclass(frozen=True, slots=True)
class RunContext:
    """The run of the whole plan: what `run.*` means, and who runs it."""

    engine: Engine
    run_id: str = ""
    experiment_id: str = ""
    name: str = ""
    status: str = ""


States = Mapping[str, StepState]


@dataclass(frozen=True, slots=True)
class Overrides:
    """What whoever starts a plan says about all of its steps."""

    env_manager: str | None = None
    env_options: Mapping[str, Any] = field(default_factory=dict)
    storage_dir: str | None = None
    autolog: bool | None = None
    system_metrics: bool = True
    tags: Mapping[str, str] = field(default_factory=dict)
    env: Mapping[str, str] = field(default_factory=dict)


class Unresolvable(UsageError):
    """A reference means nothing, because its step has not brought about what it names."""


def bind(
    plan: Plan,
    step: PlannedStep,
    map_index: int,
    states: States,
    context: RunContext,
    overrides: Overrides | None = None,
) -> Step:
    """The step (or one instance of its matrix) as something that `run_step` runs.

    Raises:
        Unresolvable: a reference names a metric, output, … that the step it is about does not have.
    """
    overrides = overrides or Overrides()
    setting = step.settings[map_index] if map_index >= 0 else {}

    def filled(value: Any) -> Any:
        return fill_in(value, lambda reference: _value(reference, step, plan, setting, states, context))

    tags = {"mlgate.pipeline": plan.pipeline or "", **overrides.tags}
    if setting:
        tags["mlgate.matrix"] = as_text(dict(setting))
    name = f"{step.name}[{map_index}]" if map_index >= 0 else step.name
    experiment = filled(step.experiment)
    return Step(
        uri=plan.uri,
        version=plan.version,
        commit=plan.commit,
        digest=plan.digest or None,
        engine=context.engine,
        name=step.name,
        map_index=map_index,
        entry_point=step.entry_point,
        parameters={key: as_text(filled(value)) for key, value in step.parameters.items()},
        env_manager=step.manager or overrides.env_manager,
        environment=step.environment,
        env_options={**overrides.env_options, **filled(step.env_options)},
        experiment_name=experiment,
        experiment_id=None if experiment else context.experiment_id or None,
        run_name=filled(step.run_name) or (name if plan.pipeline else None),
        parent_run_id=context.run_id or None,
        timeout=step.timeout,
        tags={**tags, **{key: as_text(value) for key, value in filled(step.tags).items()}},
        env={**overrides.env, **{key: as_text(value) for key, value in filled(step.env).items()}},
        secrets=step.secrets,
        storage_dir=overrides.storage_dir,
        autolog=step.autolog if step.autolog is not None else overrides.autolog,
        system_metrics=overrides.system_metrics,
    )


def bind_action(plan: Plan, step: PlannedStep, states: States, context: RunContext) -> dict[str, Any]:
    """The body of a promote or gate step with its references filled in. Raises `Unresolvable`."""
    filled = fill_in(step.action, lambda reference: _value(reference, step, plan, {}, states, context))
    return dict(filled)


def skip_reason(plan: Plan, step: PlannedStep, states: States, context: RunContext) -> str:
    """Why the step is skipped; empty when it is to run.

    Raises:
        Unresolvable: its condition needs something that is not there.
    """
    if not step.final:
        skipped = [name for name in step.needs if states[name].status == SKIPPED]
        if skipped:
            return f"needs {', '.join(skipped)}, which was skipped"
    if step.when is None:
        return ""
    try:
        holds = parse_condition(step.when).evaluate(
            lambda reference: _value(reference, step, plan, {}, states, context)
        )
    except ValueError as error:
        raise Unresolvable(f"step {step.name}: when: {error}") from None
    return "" if holds else f"when: {step.when}"


def choose(step: PlannedStep, results: tuple[StepResult, ...]) -> tuple[StepResult | None, str]:
    """What references to the step mean, and why there is nothing when there is not (an error).

    A matrix without `select` chooses nothing: references to it mean all its results.
    """
    if not step.settings:
        return results[0] if results else None, ""
    if step.select is None:
        return None, ""
    select = step.select
    scored = [result for result in results if result.ok and select.metric in result.metrics]
    comparable = [result for result in scored if result.metrics[select.metric] == result.metrics[select.metric]]
    if not comparable:
        logged = sorted({name for result in results for name in result.metrics if not name.startswith("system/")})
        known = ", ".join(logged) or "none"
        return None, f"step {step.name}: no instance logged the metric '{select.metric}' to select by; logged: {known}"
    best = max if select.mode == "max" else min
    return best(comparable, key=lambda result: result.metrics[select.metric]), ""


def spoiling(step: PlannedStep, results: tuple[StepResult, ...]) -> list[StepResult]:
    """The results that make the whole step fail; a matrix may ignore settings that fail, as long as one does not."""
    bad = [result for result in results if not result.ok]
    ignoring = step.select is not None and step.select.failed == "ignore" and len(bad) < len(results)
    return [] if ignoring else bad


def state_after(step: PlannedStep, results: tuple[StepResult, ...]) -> StepState:
    """The state of a step all of whose instances have ended; a matrix selects its winner here."""
    bad = spoiling(step, results)
    if bad:
        status = KILLED if any(result.status == KILLED for result in bad) else FAILED
        return StepState(step.name, status, results, outcome="failed", reason=bad[0].reason)
    chosen, problem = choose(step, results)
    if problem:
        return StepState(step.name, FAILED, results, outcome="failed", reason=problem)
    outcome = str(chosen.outputs.get("outcome", "")) if chosen is not None and step.kind != "run" else "ran"
    if chosen is not None and outcome in ("rejected", "pending", "rolled_back"):
        # Rejected is not failed: the step has done its work, and what needs its promotion is skipped.
        return StepState(step.name, SKIPPED, results, chosen, outcome=outcome, reason=chosen.reason)
    return StepState(step.name, FINISHED, results, chosen, outcome=outcome)


def _value(
    reference: Reference,
    step: PlannedStep,
    plan: Plan,
    setting: Mapping[str, Any],
    states: States,
    context: RunContext,
) -> Any:
    match reference.path:
        case ("params", name):
            return plan.parameters[name]
        case ("matrix", name):
            return setting[name]
        case ("run", name):
            return _run_value(name, plan, context)
        case ("steps", name, *rest):
            state = states.get(name)
            if rest == ["status"]:
                return state.status if state else ""
            many = bool(plan.step(name).settings) and plan.step(name).select is None
            if state is not None and state.results and many:
                return [_result_value(result, rest, name) for result in state.results]
            if state is None or state.chosen is None:
                if step.final:
                    return ""  # a step that runs whatever happened cannot count on what did not happen
                raise Unresolvable(f"step {step.name}: ${{{{ {reference} }}}}: step {name} has no result")
            return _result_value(state.chosen, rest, name)
    raise Unresolvable(f"step {step.name}: ${{{{ {reference} }}}} means nothing here")


def _run_value(name: str, plan: Plan, context: RunContext) -> str:
    values = {
        "id": context.run_id,
        "engine_id": context.engine.run_id,
        "name": context.name,
        "pipeline": plan.pipeline,
        "commit": plan.commit,
        "version": plan.version,
        "digest": plan.digest,
        "experiment_id": context.experiment_id,
        "status": context.status,
    }
    return values[name] or ""


def _result_value(result: StepResult, path: list[str], name: str) -> Any:
    match path:
        case ["run_id"]:
            return result.run_id
        case ["artifacts"]:
            return f"runs:/{result.run_id}"
        case ["model_version"]:
            if result.model_version is None:
                raise Unresolvable(f"step {name} has made no version of a registered model")
            return result.model_version
        case [kind, key]:
            values: Mapping[str, Any] = getattr(result, kind)
            if key not in values:
                known = ", ".join(each for each in values if not each.startswith("system/")) or "none"
                raise Unresolvable(f"steps.{name}.{kind}.{key}: the step has no such {kind[:-1]}; it has {known}")
            return values[key]
    raise AssertionError(path)  # parse_reference lets no other path through


__all__ = [
    "FAILED",
    "FINISHED",
    "KILLED",
    "SKIPPED",
    "Overrides",
    "RunContext",
    "StepState",
    "Unresolvable",
    "bind",
    "bind_action",
    "choose",
    "skip_reason",
    "spoiling",
    "state_after",
]
