"""Flows from MLprojects: every step of a pipeline is a Prefect task, every instance of a matrix a mapped task run.

The plan, its order, conditions, caching and promotion are the same code as under the local runner; Prefect starts the
steps, retries them and shows them.
"""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Callable, Mapping
from concurrent.futures import Future
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from prefect import flow, task
from prefect.cache_policies import NO_CACHE
from prefect.flows import Flow
from prefect.runtime import flow_run
from prefect.states import Completed
from prefect.task_runners import ThreadPoolTaskRunner

from mlgate.binding import Overrides, StepState
from mlgate.course import Course, PipelineHooks, PipelineResult, Work, summary
from mlgate.errors import PipelineFailed, UsageError
from mlgate.pipeline_runner import run_plan
from mlgate.plan import PlannedStep
from mlgate.planning import Planned, plan_project
from mlgate.prefect import reporting
from mlgate.prefect.approvals import wait_for
from mlgate.prefect.blocks import settings_of
from mlgate.prefect.compat import cancel_of_this_run, in_thread
from mlgate.prefect.identity import began_before, engine_of_this_run
from mlgate.prefect.settings import MlgateSettings
from mlgate.prefect.tasks import as_json, environment_tag, model_tag, worth_a_retry
from mlgate.records import search_everywhere
from mlgate.resolve import resolve_environment
from mlgate.settings import Settings
from mlgate.step import Step, StepResult
from mlgate.tracking import open_tracking
from mlgate_projects.process import Stream

if TYPE_CHECKING:
    from mlgate_tracking.contract import Store


def project_flow(
    uri: str,
    pipeline: str | None = None,
    *,
    entry_point: str = "main",
    version: str | None = None,
    name: str | None = None,
    experiment_name: str | None = None,
    env_manager: str | None = None,
    server: str | None = None,
    **flow_options: Any,
) -> Flow[..., dict[str, Any]]:
    """A flow that runs a pipeline of a project, or one entry point of it.

    Args:
        uri: a directory or a git URL, each with `#subdirectory` if need be; looked at when the flow runs, not before.
        name: of the flow; made from project and pipeline when None.
        server: name of a `TrackingServer` block; Prefect's settings and the worker's `MLGATE_*` count without one.
        flow_options: what `prefect.flow` takes (`retries`, `timeout_seconds`, `on_failure`, …).

    The flow takes `parameters` (values by name), `jobs` (steps at a time), `keep_going` and `use_cache`; it returns
    `{"run_id", "status", "steps": {name: {"status", "outcome", "run_ids"}}}`. Where a promotion waits for an approval
    the flow run is suspended until somebody has answered.
    """

    def run(
        parameters: dict[str, Any] | None = None, jobs: int = 4, keep_going: bool = False, use_cache: bool = True
    ) -> dict[str, Any]:
        return run_project_flow(
            uri, pipeline, parameters, entry_point=entry_point, version=version, experiment_name=experiment_name,
            env_manager=env_manager, server=server, jobs=jobs, keep_going=keep_going, use_cache=use_cache,
        )  # fmt: skip

    return flow(run, name=name or _title(uri, pipeline or entry_point), **flow_options)


def aproject_flow(
    uri: str, pipeline: str | None = None, *, name: str | None = None, entry_point: str = "main", **options: Any
) -> Flow[..., Any]:
    """`project_flow` as an async flow; takes the same."""
    ours = ("version", "experiment_name", "env_manager", "server")
    own = {option: options.pop(option) for option in ours if option in options}

    async def run(
        parameters: dict[str, Any] | None = None, jobs: int = 4, keep_going: bool = False, use_cache: bool = True
    ) -> dict[str, Any]:
        return await in_thread(run_project_flow)(
            uri, pipeline, parameters, entry_point=entry_point, jobs=jobs, keep_going=keep_going, use_cache=use_cache,
            **own,
        )  # fmt: skip

    return flow(run, name=name or _title(uri, pipeline or entry_point), **options)


def _title(uri: str, what: str) -> str:
    return f"{uri.rstrip('/').rpartition('/')[2].replace('.git', '')}-{what}".replace("#", "-")


def run_project_flow(
    uri: str,
    pipeline: str | None = None,
    parameters: Mapping[str, Any] | None = None,
    *,
    entry_point: str = "main",
    version: str | None = None,
    experiment_name: str | None = None,
    env_manager: str | None = None,
    server: str | None = None,
    jobs: int = 4,
    keep_going: bool = False,
    use_cache: bool = True,
) -> dict[str, Any]:
    """What a project's flow does; call it in a flow of your own to have more around it."""
    settings = settings_of(server)
    overrides = Overrides(env_manager=env_manager or MlgateSettings().env_manager)
    course = Course(jobs=jobs, keep_going=keep_going, use_cache=use_cache, overrides=overrides)
    resume = earlier_run(settings) if began_before() else None
    while True:
        planned = plan_project(
            uri, pipeline, {} if resume else parameters or {}, settings=settings, version=version,
            entry_point=entry_point, experiment=experiment_name, resume=resume,
        )  # fmt: skip
        with FlowOfPlan(planned, settings, replace(course, resume=resume)) as running:
            result = running.run()
        waiting = _waiting(result, settings)
        if not waiting:
            break
        for approval_id in waiting:
            wait_for(settings, approval_id)
        resume = result.run_id
    if not result.ok:
        raise PipelineFailed(f"{result.plan.title}: {result.status}: {result.reason}; run {result.run_id}", result)
    return summary(result)


def earlier_run(settings: Settings) -> str | None:
    """The pipeline's run that this flow run began before it was suspended, retried or restarted after a crash."""
    wanted = f"tags.`mlgate.engine.run_id` = '{flow_run.id}' and tags.`mlgate.kind` = 'pipeline'"
    with open_tracking(settings) as tracking:
        for run in search_everywhere(tracking.store, wanted, limit=1):
            return run.info.run_id
    return None


def _waiting(result: PipelineResult, settings: Settings) -> list[str]:
    """Ids of the approvals that promotions of this run wait for."""
    from mlgate.promotion import approvals_for

    verdicts = [
        str(state.chosen.outputs["verdict_id"])
        for state in result.steps.values()
        if state.outcome == "pending" and state.chosen is not None
    ]
    if not verdicts:
        return []
    with open_tracking(settings) as tracking:
        found = [approvals_for(tracking.store, tracking.store.get_verdict(verdict)) for verdict in verdicts]
    return [one.approval_id for approvals in found for one in approvals if one.status.value == "pending"]


class FlowOfPlan:
    """One run of a plan in a flow: the hooks through which the pipeline's runner talks to Prefect."""

    def __init__(self, planned: Planned, settings: Settings, course: Course) -> None:
        self.planned = planned
        self.settings = settings
        self.course = course
        self.log = reporting.Log()
        self.shown = reporting.Background(self.log)
        self.runner = ThreadPoolTaskRunner(max_workers=course.jobs)
        self.outcomes: dict[tuple[str, int], str] = {}
        self.builds: dict[tuple[str, int], reporting.BuildProgress] = {}
        self.stack = contextlib.ExitStack()
        self.lock = threading.Lock()
        self._store: Store | None = None

    def __enter__(self) -> FlowOfPlan:
        self.stack.callback(self.shown.close)
        self.stack.enter_context(self.runner)
        return self

    def __exit__(self, *exc: object) -> None:
        self.stack.close()

    def run(self) -> PipelineResult:
        hooks = PipelineHooks(
            started=self.started,
            ended=self.ended,
            settled=self.settled,
            output=self.output,
            say=self.say,
            opened=self.opened,
            submit=self.submit,
            cancel=cancel_of_this_run(),
        )
        return run_plan(
            self.planned.plan,
            settings=self.settings,
            course=self.course,
            hooks=hooks,
            engine=engine_of_this_run(),
            source=self.planned.source,
            project=self.planned.project,
        )

    # --- starting -----------------------------------------------------------------------------------------------

    def submit(self, step: PlannedStep, works: Mapping[int, Work]) -> dict[int, Future[StepResult]]:
        """One task for a step, mapped over its instances; a future's result is that of the last attempt."""
        last: dict[int, StepResult] = {}

        def run_step(map_index: int) -> Any:
            last.pop(map_index, None)
            result = last[map_index] = works[map_index]()
            data = as_json(result)
            outcome = self.outcomes.get((step.name, map_index), "ran")
            named = outcome.replace("_", " ").capitalize()
            return data if outcome == "ran" else Completed(name=named, message=result.reason or None, data=data)

        made = task(
            run_step,
            name=step.name,
            task_run_name=f"{step.name}[{{map_index}}]" if step.settings else step.name,
            # The step's key is asked for in the store, whose cache and record of this run decide before Prefect does.
            cache_policy=NO_CACHE,
            persist_result=False,
            tags=self.tags(step),
            retries=step.retries.count,
            retry_delay_seconds=[step.retries.wait_before(retry) for retry in range(step.retries.count)] or None,
            retry_condition_fn=worth_a_retry,
        )
        found: dict[int, Future[StepResult]] = {}
        for map_index, started in zip(works, self.runner.map(made, {"map_index": list(works)}), strict=True):
            found[map_index] = Future()
            started.add_done_callback(self._hand_on(step, map_index, last, found[map_index]))
        return found

    def _hand_on(
        self, step: PlannedStep, map_index: int, last: dict[int, StepResult], future: Future[StepResult]
    ) -> Callable[[Any], None]:
        def done(_ended: Any) -> None:
            if map_index in last:
                future.set_result(last[map_index])
            else:
                future.set_exception(RuntimeError(f"task {step.name} never ran; look at its state in Prefect"))

        return done

    def tags(self, step: PlannedStep) -> set[str]:
        """For Prefect's concurrency limits by tag: the kind of environment, or the model that is promoted."""
        if step.kind != "run":
            return {"mlgate", step.kind, model_tag(str(step.action.get("model", "")))}
        bare = Step(
            uri=self.planned.plan.uri,
            engine=engine_of_this_run(),
            entry_point=step.entry_point,
            env_manager=step.manager or self.course.overrides.env_manager,
            environment=step.environment,
            env_options={**self.course.overrides.env_options, **step.env_options},
        )
        try:
            kind = resolve_environment(bare, self.settings, self.planned.project)[0].kind
        except UsageError:
            kind = "unknown"  # the step itself says what is wrong
        return {"mlgate", step.kind, environment_tag(kind)}

    # --- what the runner tells ----------------------------------------------------------------------------------

    def opened(self, run_id: str) -> None:
        name = self.planned.plan.pipeline or self.planned.plan.steps[0].name
        self.shown.show("the link to the run", lambda: reporting.show_link(name, run_id, self.settings))

    def started(self, step: PlannedStep, map_index: int) -> None:
        with self.lock:
            self.builds[step.name, map_index] = reporting.BuildProgress(_name(step, map_index), self.log)

    def ended(self, step: PlannedStep, map_index: int, result: StepResult, how: str) -> None:
        self._built(step, map_index)
        outcome = str(result.outputs.get("outcome", "")) if step.kind != "run" else ""
        self.outcomes[step.name, map_index] = "cached" if how == "cached" else outcome or "ran"
        if step.kind != "run":
            self.shown.show("the promotion", lambda: self._show_action(result))
        elif result.run_id:
            name = _name(step, map_index)
            self.shown.show("the run", lambda: reporting.show_run(name, result, self.settings, self._open_store()))

    def settled(self, step: PlannedStep, state: StepState) -> None:
        self.log.line(f"{step.name}: {state.outcome}{f' ({state.reason})' if state.reason else ''}")
        if state.outcome == "reused" and step.kind == "promote" and state.chosen is not None:
            chosen = state.chosen
            # Whoever promoted may not have lived to say so.
            self.shown.show("the promotion", lambda: self._show_action(chosen, again=True))

    def output(self, step: PlannedStep, map_index: int, stream: Stream, data: bytes) -> None:
        self._built(step, map_index)
        self.log.output(stream, data)

    def say(self, step: PlannedStep | None, map_index: int, line: str) -> None:
        build = self.builds.get((step.name, map_index)) if step is not None else None
        if build is not None:
            build.line(line)
        else:
            self.log.line(f"{step.name}: {line}" if step else line)

    def _built(self, step: PlannedStep, map_index: int) -> None:
        with self.lock:
            build = self.builds.pop((step.name, map_index), None)
        if build is not None:
            build.done()

    def _show_action(self, result: StepResult, *, again: bool = False) -> None:
        store = self._open_store()
        promotion_id, verdict_id = result.outputs.get("promotion_id"), result.outputs.get("verdict_id")
        if promotion_id and result.outputs.get("outcome") == "promoted":
            # An attempt that was cut short after its promotion may have announced it.
            reporting.announce(store.get_promotion(promotion_id), again=again or result.attempt > 1)
        if verdict_id and not again:
            reporting.show_verdict(store.get_verdict(verdict_id))

    def _open_store(self) -> Store:
        """A connection of the thread that shows things, opened when there is something to show."""
        if self._store is None:
            self._store = self.stack.enter_context(open_tracking(self.settings)).store
        return self._store


def _name(step: PlannedStep, map_index: int) -> str:
    return f"{step.name}[{map_index}]" if map_index >= 0 else step.name


__all__ = ["FlowOfPlan", "aproject_flow", "project_flow", "run_project_flow"]
