"""The tasks of a pipeline that runs as a DAG: open its run, run each step, select a winner, close its run.

What one task has to know of another it reads from the store: the plan, pinned when the run was opened, and what became
of the steps before. XCom holds ids only.
"""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any, ClassVar

from mlgate.airflow.assets import promotions_of
from mlgate.airflow.compat import AirflowFailException, AirflowSkipException
from mlgate.airflow.links import RunLink, VerdictLink
from mlgate.airflow.operators import (
    MlgateOperator,
    as_task_result,
    emit_promotion,
    engine_of,
    failure_of,
    logged,
    mask_values,
    refuse,
    text_of,
    user_of,
    wait_for_people,
)

if TYPE_CHECKING:
    from airflow.sdk import Context

    from mlgate.binding import States
    from mlgate.pipeline_runner import PlanRun
    from mlgate.plan import Plan, PlannedStep
    from mlgate.step import Engine, StepResult
    from mlgate.tracking import Tracking
    from mlgate_projects.spec import ProjectSpec


@dataclass(frozen=True, slots=True)
class StepOptions:
    """What whoever makes the DAG says about all of its steps."""

    env_manager: str | None = None
    env_options: Mapping[str, Any] = field(default_factory=dict)
    env: Mapping[str, str] = field(default_factory=dict)
    tags: Mapping[str, str] = field(default_factory=dict)
    use_cache: bool = True
    poll: float = 10.0


class _PlanOperator(MlgateOperator):
    """A task of a plan. `group` tells pipelines of one DAG apart."""

    operator_extra_links: Sequence[Any] = (RunLink(),)

    def __init__(self, *, plan: Plan, options: StepOptions, group: str = "", **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.plan = plan
        self.options = options
        self.group = group
        self._cancel: threading.Event | None = None

    def engine(self, context: Context) -> Engine:
        """The DAG run, or this pipeline's part of it."""
        engine = engine_of(context)
        return replace(engine, run_id=f"{engine.run_id}/{self.group}") if self.group else engine

    def on_kill(self) -> None:
        """The step's whole tree or container is ended in under 5 s, its run KILLED."""
        if self._cancel is not None:
            self._cancel.set()


class OpenPipelineOperator(_PlanOperator):
    """Pin the project's commit, plan with the DAG run's parameters, open the pipeline's run (a setup task).

    Returns (XCom): `run_id`, `experiment_id`, `name`, `attempt` and key of the pipeline's run.
    """

    template_fields: Sequence[str] = ("parameters",)
    template_fields_renderers: ClassVar[dict[str, str]] = {"parameters": "json"}

    def __init__(self, *, parameters: Mapping[str, Any], base: str, experiment_name: str | None, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.parameters = dict(parameters)
        self.base = base
        self.experiment_name = experiment_name

    def execute(self, context: Context) -> dict[str, Any]:
        from pathlib import Path

        from mlgate.binding import Overrides
        from mlgate.pipeline_runner import Course, open_pipeline
        from mlgate.plan import make_plan
        from mlgate.user import acting_as
        from mlgate_projects.parse import load_project
        from mlgate_projects.source import resolve_source

        instance: Any = context["ti"]
        engine = self.engine(context)
        with acting_as(user_of(context)), self.hook.tracking() as tracking:
            settings, old = tracking.settings, self.plan
            before = _earlier_plan(tracking, engine, old) if instance.try_number > 1 else None
            commit = before.commit if before else old.commit
            source = resolve_source(
                old.uri, old.version, commit=commit, cache_root=settings.git, progress=self.log.info
            )
            project = load_project(source.directory)
            plan = make_plan(
                project,
                old.pipeline,
                _not_default(project, old.pipeline, self.parameters),
                uri=source.uri,
                version=old.version,
                commit=source.commit,
                # A task that is cleared belongs to the run that it began in, whatever has changed since.
                digest=before.digest if before else source.digest,
                experiment=self.experiment_name,
                working_directory=Path(self.base),
            )
            _require_same_steps(old, plan)
            course = Course(overrides=Overrides(tags=self.options.tags))
            opened = open_pipeline(tracking, plan, engine, course, source)
            self.leave_links(context, settings.tracking_uri, run_id=opened.run.info.run_id)
        return {
            "run_id": opened.run.info.run_id,
            "experiment_id": opened.run.info.experiment_id,
            "name": opened.run.info.run_name,
            "attempt": opened.attempt,
            "key": opened.step_run_key,
        }


class _StepsOperator(_PlanOperator):
    """A task that works on an open pipeline; `opener` is the task that has opened it."""

    def __init__(self, *, opener: str, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.opener = opener

    def opened(self, context: Context) -> dict[str, Any]:
        instance: Any = context["ti"]
        found = instance.xcom_pull(task_ids=self.opener)
        if not found:
            raise AirflowFailException(f"task {self.opener} has not opened the pipeline's run; clear it and this one")
        return dict(found)

    @contextmanager
    def running(self, context: Context) -> Iterator[PlanRun]:
        """The pipeline's run, as one worker sees it."""
        from pathlib import Path

        from mlgate.binding import Overrides, RunContext
        from mlgate.pipeline_runner import Course, PipelineHooks, PlanRun
        from mlgate.plan import Plan
        from mlgate.records import PLAN_FILE, read_json
        from mlgate.user import acting_as
        from mlgate_projects.parse import load_project
        from mlgate_projects.source import resolve_source

        opened = self.opened(context)
        self._cancel = threading.Event()
        say = logged(self.log.info)
        with acting_as(user_of(context)), self.hook.tracking() as tracking:
            settings = tracking.settings
            data = read_json(tracking, tracking.store.get_run(opened["run_id"]), PLAN_FILE)
            plan = Plan.from_json(json.dumps(data))
            source = resolve_source(plan.uri, plan.version, commit=plan.commit, cache_root=settings.git)
            options = self.options
            yield PlanRun(
                plan,
                settings,
                Course(
                    use_cache=options.use_cache,
                    overrides=Overrides(
                        env_manager=options.env_manager,
                        env_options=options.env_options,
                        tags=options.tags,
                        env=options.env,
                    ),
                ),
                PipelineHooks(
                    output=lambda _step, _index, stream, data: say(stream, data),
                    say=lambda _step, _index, line: self.log.info("%s", line),
                    submit=_by_the_engine,
                    abort=self._cancel,
                ),
                tracking,
                source,
                load_project(source.directory),
                RunContext(self.engine(context), opened["run_id"], opened["experiment_id"], opened["name"] or ""),
                Path.cwd(),
            )


class PrewarmOperator(_StepsOperator):
    """Make the environments of all steps before they need them (a setup task, for workers that share a cache)."""

    def execute(self, context: Context) -> None:
        with self.running(context) as run:
            run.prewarm()


class PipelineStepOperator(_StepsOperator):
    """One step of a pipeline, or one instance of its matrix.

    Returns (XCom): the step's result as JSON: `run_id`, `status`, `metrics`, `params`, `outputs`, …
    """

    template_fields: Sequence[str] = ("step",)
    operator_extra_links = (RunLink(), VerdictLink())

    def __init__(self, *, step: str, index: int = -1, **kwargs: Any) -> None:
        # Nothing is emitted unless something was promoted.
        model = _model_of(kwargs.get("plan"), step)
        if model is not None:
            kwargs["outlets"] = [*kwargs.get("outlets", ()), promotions_of(model)]
        super().__init__(**kwargs)
        self.step = step
        self.index = index

    def execute(self, context: Context) -> dict[str, Any]:
        with self.running(context) as run:
            step = run.plan.step(self.step)
            if step.settings:
                setting = step.settings[self.index]
                context["mlgate_setting"] = ", ".join(f"{name}={value}" for name, value in setting.items())  # type: ignore[typeddict-unknown-key]
            mask_values(step.secrets, {**self.options.env, **{name: str(one) for name, one in step.env.items()}})
            states = _states_before(run, step)
            self._skip_if(run, step, states)
            result = run.run_instance(step, self.index, states)
            self.leave_links(
                context,
                run.settings.tracking_uri,
                run_id=result.run_id,
                verdict_id=str(result.outputs.get("verdict_id", "")),
            )
            return self._judged(context, run, step, result)

    def answered(
        self, context: Context, event: dict[str, Any], approval_ids: list[str] | None = None
    ) -> dict[str, Any]:
        """Where a promotion that waits for people goes on."""
        if self.heard(event, approval_ids) == "expired":
            refuse("skip", f"step {self.step}: nobody has approved in time")
        return self.execute(context)

    def _skip_if(self, run: PlanRun, step: PlannedStep, states: States) -> None:
        from mlgate.binding import skip_reason
        from mlgate.errors import OrchestratorError
        from mlgate.records import record

        context = run.context_for(step, None, states)
        try:
            reason = skip_reason(run.plan, step, states, context)
        except OrchestratorError as error:
            run.failure(step, -1, str(error))
            raise AirflowFailException(str(error)) from None
        if reason:
            if self.index <= 0:  # the step is skipped once, whatever the size of its matrix
                record(run.tracking, run.plan, step, context, outcome="skipped", reason=reason)
            raise AirflowSkipException(reason)

    def _judged(self, context: Context, run: PlanRun, step: PlannedStep, result: StepResult) -> dict[str, Any]:
        if not result.ok:
            raise failure_of(result)
        outcome = str(result.outputs.get("outcome", ""))
        if step.kind == "promote" and outcome == "promoted":
            self._emit(context, run, result)
        if outcome == "pending":
            store = run.tracking.store
            verdict = store.get_verdict(str(result.outputs["verdict_id"]))
            from mlgate.promotion import approvals_for

            wait_for_people(self, context, verdict, approvals_for(store, verdict), poll=self.options.poll)
        if outcome in ("rejected", "rolled_back"):
            refuse("skip", f"step {step.name}: {outcome}: {result.reason}")
        return as_task_result(result)

    def _emit(self, context: Context, run: PlanRun, result: StepResult) -> None:
        outlet = _model_of(self.plan, self.step)
        promotion_id = str(result.outputs.get("promotion_id", ""))
        if not promotion_id:
            return
        promotion = run.tracking.store.get_promotion(promotion_id)
        self.made_versions[promotion.model] = int(result.outputs["version"])
        if outlet is not None:
            emit_promotion(context, outlet, promotion)


class SelectOperator(_StepsOperator):
    """Choose the best setting of a matrix; what needs the step gets the winner's results.

    Returns (XCom): `run_id`, `params` and `metrics` of the winner.
    """

    def __init__(self, *, step: str, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.step = step

    def execute(self, context: Context) -> dict[str, Any]:
        with self.running(context) as run:
            step = run.plan.step(self.step)
            found = run.ended([self.step]).get(self.step)
            if found is None:
                raise AirflowFailException(f"no instance of step {self.step} has run")
            if found.status == "SKIPPED":
                raise AirflowSkipException(found.reason)
            state = run.state_of(step, found.results)
            if not state.ok or state.chosen is None:
                raise AirflowFailException(f"step {self.step}: {state.reason}")
            chosen = state.chosen
            self.leave_links(context, run.settings.tracking_uri, run_id=chosen.run_id)
            return {"run_id": chosen.run_id, "params": dict(chosen.params), "metrics": dict(chosen.metrics)}


class ClosePipelineOperator(_StepsOperator):
    """Close the pipeline's run with the status that its steps give it (a teardown task), and fail with it.

    Returns (XCom): `run_id`, `status`, and for each step its status, outcome and run ids.
    """

    def execute(self, context: Context) -> dict[str, Any]:
        from mlgate.pipeline_runner import close_pipeline

        opened = self.opened(context)
        with self.running(context) as run:
            states = run.ended(step.name for step in run.plan.steps)
            missing = [step.name for step in run.plan.steps if step.name not in states]
            status, reason = _status_of(states, missing)
            found = run.tracking.store.find_step_run(opened["key"])
            assert found is not None  # the opener has made it
            close_pipeline(run.tracking, replace(found, attempt=opened["attempt"]), status, reason)
            self.leave_links(context, run.settings.tracking_uri, run_id=opened["run_id"])
        if status != "FINISHED":
            raise AirflowFailException(f"{run.plan.title}: {status}: {reason} (run {opened['run_id']})")
        steps = {
            name: {"status": state.status, "outcome": state.outcome, "run_ids": [one.run_id for one in state.results]}
            for name, state in states.items()
        }
        return {"run_id": opened["run_id"], "status": status, "steps": steps}


# --- shared -----------------------------------------------------------------------------------------------------------


def _by_the_engine(*_args: Any) -> Any:
    """Marks that retries are the engine's; a task runs its instance itself."""
    raise AssertionError("an engine that runs single steps submits none")


def _earlier_plan(tracking: Tracking, engine: Engine, plan: Plan) -> Plan | None:
    """The plan that this pipeline has begun with in this DAG run."""
    from mlgate.plan import Plan as PlanClass
    from mlgate.records import PLAN_FILE, read_json, search_everywhere

    run_id = engine.run_id.replace("'", "''")
    wanted = f"tags.`mlgate.engine.run_id` = '{run_id}' and tags.`mlgate.kind` = 'pipeline'"
    for run in search_everywhere(tracking.store, wanted, limit=1):
        data = read_json(tracking, run, PLAN_FILE)
        if data is not None and data.get("pipeline") == plan.pipeline:
            return PlanClass.from_json(json.dumps(data))
    return None


def _not_default(project: ProjectSpec, pipeline: str | None, values: Mapping[str, Any]) -> dict[str, str]:
    """The values that say something else than the pipeline does; a path that is its default stays the project's own."""
    from mlgate.pipeline import read_pipeline

    declared = project.pipelines.get(pipeline or "")
    parameters = read_pipeline(declared, project.file or "MLproject")[0].parameters if declared else ()
    defaults = {one.name: str(one.default) for one in parameters if one.default is not None}
    given = {name: text_of(value) for name, value in values.items()}
    return {name: value for name, value in given.items() if value != defaults.get(name)}


def _require_same_steps(old: Plan, new: Plan) -> None:
    """The DAG's tasks were made from `old`; raises when they do not fit `new`."""
    before = {step.name: step.instances for step in old.steps}
    now = {step.name: step.instances for step in new.steps}
    for name in before.keys() | now.keys():
        if before.get(name) != now.get(name):
            had, has = (len(one[name]) if name in one else 0 for one in (before, now))
            raise AirflowFailException(
                f"{new.title}: step {name} has {has} instances now, and the DAG was made for {had};"
                " load the DAG file again, and give parameters that shape a matrix where the DAG is made"
            )


def _states_before(run: PlanRun, step: PlannedStep) -> States:
    """What a step may know: its needs, or for a step under `finally` everything."""
    from mlgate.binding import FINISHED, StepState
    from mlgate.schedule import NOT_RUN

    names = [one.name for one in run.plan.steps if one.name != step.name] if step.final else list(step.needs)
    states: dict[str, Any] = run.ended(names)
    for name in names:
        if name not in states:
            # A step that somebody has marked as done by hand counts as done; it has no results to refer to.
            states[name] = StepState(name, NOT_RUN if step.final else FINISHED, outcome="not run")
    return states


def _status_of(states: States, missing: Sequence[str]) -> tuple[str, str]:
    bad = [state for state in states.values() if state.status in ("FAILED", "KILLED")]
    if any(state.reason == "cancelled" for state in bad):
        return "KILLED", "cancelled"
    if bad:
        return "FAILED", "; ".join(f"{state.name}: {state.reason or state.status}" for state in bad)
    if missing:
        return "KILLED", f"not all steps have run: {', '.join(missing)}"
    return "FINISHED", ""


def _model_of(plan: Plan | None, step: str) -> str | None:
    """The model that a promote step is about, where the plan says so; a reference to another step tells it too late."""
    from mlgate.references import has_references

    if plan is None:
        return None
    planned = plan.step(step)
    if planned.kind != "promote" or has_references(planned.action.get("model")):
        return None
    return str(planned.action["model"])


__all__ = [
    "ClosePipelineOperator",
    "OpenPipelineOperator",
    "PipelineStepOperator",
    "PrewarmOperator",
    "SelectOperator",
    "StepOptions",
]
