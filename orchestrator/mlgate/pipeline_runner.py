"""`run_plan`: a plan from its first step to its last on this machine, several steps at a time.

Each step runs by `run_step`, in a thread of its own; what may start when is decided by `schedule.Schedule`. The
pipeline is a run in the store, and every step is a run below it.
"""

from __future__ import annotations

import contextlib
import contextvars
import functools
import threading
import time
import uuid
from collections.abc import Iterable, Mapping
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from dataclasses import replace
from pathlib import Path
from typing import Any

from mlgate.binding import (
    FAILED,
    FINISHED,
    KILLED,
    SKIPPED,
    RunContext,
    States,
    StepState,
    bind,
    bind_action,
    skip_reason,
    spoiling,
    state_after,
)
from mlgate.course import Course, PipelineHooks, PipelineResult, Work, summary
from mlgate.errors import OrchestratorError
from mlgate.plan import Plan, PlannedStep
from mlgate.records import (
    CACHE_HIT,
    CACHE_KEY,
    CACHED_FROM,
    OUTCOME,
    PLAN_FILE,
    Recorded,
    ended,
    read_result,
    record,
    recorded,
)
from mlgate.resolve import ResolvedStep, resolve_environment, resolve_step
from mlgate.resuming import base_run, steps_to_run
from mlgate.runner import TIMED_OUT, Hooks, run_step
from mlgate.schedule import NOT_RUN, Schedule
from mlgate.settings import Settings
from mlgate.step import Engine, Step, StepResult, step_run_key
from mlgate.step_cache import INPUTS_FILE, Inputs, find_cached, inputs_of
from mlgate.tracking import Tracking, open_tracking
from mlgate.user import current_user
from mlgate_projects.errors import ProjectError
from mlgate_projects.ledger import Entry, open_entry
from mlgate_projects.parameters import loggable
from mlgate_projects.parse import load_project
from mlgate_projects.process import Cancel
from mlgate_projects.source import Source, resolve_source
from mlgate_projects.spec import ProjectSpec
from mlgate_tracking.entities import Param, RunStatus, StepRun, Tag
from mlgate_tracking.errors import TrackingError

_TICK = 0.2
"""Seconds between looks at whether somebody wants the end."""

_ENDING = 10.0
"""Seconds that the work of others gets to end in, once somebody wants the end."""

_NO_RUN = StepResult("", "", "", attempt=0, status=FAILED, exit_code=1, artifact_uri="")


def run_plan(
    plan: Plan,
    *,
    settings: Settings,
    course: Course | None = None,
    hooks: PipelineHooks | None = None,
    engine: Engine | None = None,
    source: Source | None = None,
    project: ProjectSpec | None = None,
    working_directory: Path | None = None,
) -> PipelineResult:
    """Run a plan to its end.

    Args:
        source, project: the plan's source and what its files say, when somebody has looked already.
        engine: who runs it; a local run of its own when None.

    Raises:
        UsageError: the run to resume is none, or steps that are not to run have left no results.
        ProjectError: the source cannot be had any more.
        TrackingError: the store is away or refuses.
    """
    course, hooks = course or Course(), hooks or PipelineHooks()
    source = source or resolve_source(plan.uri, plan.version, commit=plan.commit, cache_root=settings.git)
    project = project or load_project(source.directory)
    with open_tracking(settings) as tracking, contextlib.ExitStack() as stack:
        base = base_run(tracking, plan, course, source)
        partial = course.from_step is not None or course.only is not None
        if base is not None and not partial:
            if engine is None or engine.run_id != base.engine_run_id:
                engine = Engine("local", base.engine_run_id)
            plan = replace(plan, digest=base.plan.digest)
        engine = engine or Engine("local", f"local-{uuid.uuid4().hex}")
        earlier = recorded(tracking, plan, base.run_id) if base else Recorded({}, {})
        only = steps_to_run(plan, course, earlier.states)
        # What stands under `finally` belongs to the end of each run, so it runs again.
        done = {
            name: state
            for name, state in earlier.states.items()
            if (only is None or name not in only) and not plan.step(name).final
        }
        opened = open_pipeline(tracking, plan, engine, course, source)
        context = RunContext(
            engine, opened.run.info.run_id, opened.run.info.experiment_id, name=opened.run.info.run_name
        )
        hooks.opened(context.run_id)
        stack.enter_context(_in_ledger(settings, opened))
        run = PlanRun(
            plan, settings, course, hooks, tracking, source, project, context, working_directory or Path.cwd()
        )
        run.keys |= {name: key for name, key in earlier.keys.items() if name in done}
        schedule = Schedule(plan, done, only=only, keep_going=course.keep_going)
        if partial:
            run.link_reused(done)
        started = time.time()
        try:
            run.follow(schedule)
        except BaseException as error:
            run.broken.set()
            with contextlib.suppress(TrackingError):
                close_pipeline(tracking, opened, KILLED, f"{type(error).__name__}: {error}")
            raise
        for state in schedule.states.values():
            if state.status == NOT_RUN:
                hooks.settled(plan.step(state.name), state)
        status, reason = _verdict(schedule, run.cancelled.is_set())
        close_pipeline(tracking, opened, status, reason)
        if run.interrupted.is_set():
            raise KeyboardInterrupt
        states = {step.name: schedule.states[step.name] for step in plan.steps if step.name in schedule.states}
        return PipelineResult(context.run_id, context.experiment_id, status, plan, states, started, time.time(), reason)


class PlanRun:
    """One run of a plan: what its threads share. An engine that runs each step by itself makes one for each of them."""

    def __init__(
        self,
        plan: Plan,
        settings: Settings,
        course: Course,
        hooks: PipelineHooks,
        tracking: Tracking,
        source: Source,
        project: ProjectSpec,
        context: RunContext,
        working_directory: Path,
    ) -> None:
        self.plan = plan
        self.settings = settings
        self.course = course
        self.hooks = hooks
        self.tracking = tracking
        self.source = source
        self.project = project
        self.context = context
        self.working_directory = working_directory
        self.keys: dict[str, str] = {}
        self.broken = threading.Event()
        self.interrupted = threading.Event()
        self.over = _AnyOf(self.broken, hooks.abort)
        """Everything is to end: somebody wants it, or this run itself has come to grief."""
        self.cancelled = _AnyOf(hooks.cancel, hooks.abort, self.interrupted)
        self.ending = _AnyOf(self.cancelled, self.over)
        """All but `finally` steps are to end."""

    def end_of(self, step: PlannedStep) -> Cancel:
        return self.over if step.final else self.ending

    # --- the loop -----------------------------------------------------------------------------------------------

    def follow(self, schedule: Schedule) -> None:
        """Start what may start, collect what ends, until nothing is left."""
        running: dict[Future[StepResult], tuple[PlannedStep, int]] = {}
        collected: dict[str, dict[int, StepResult]] = {}
        with (
            ThreadPoolExecutor(max_workers=self.course.jobs, thread_name_prefix="step") as pool,
            contextlib.ExitStack() as stack,  # left first, so that nothing is waited for that nobody will end
        ):
            if self.course.prewarm and len(self.plan.steps) > 1:
                threading.Thread(target=self.prewarm, daemon=True, name="prewarm").start()
            stack.callback(self.end, running)
            submit = self.hooks.submit or functools.partial(_in_pool, pool)
            while True:
                if self.ending.is_set():
                    self.stop(schedule)
                for step in schedule.ready():
                    instances = self.begin(step, schedule)
                    states = dict(schedule.states)
                    works = {index: functools.partial(self.run_instance, step, index, states) for index in instances}
                    if works:
                        running |= {future: (step, index) for index, future in submit(step, works).items()}
                if not running:
                    if schedule.over:
                        return
                    continue
                for future in self.wait_for(running):
                    step, map_index = running.pop(future)
                    results = collected.setdefault(step.name, {})
                    results[map_index] = future.result()
                    if len(results) == len(step.instances):
                        self.settle(step, tuple(results[index] for index in step.instances), schedule)

    def stop(self, schedule: Schedule) -> None:
        final_too = self.over.is_set()
        if schedule.stop(final_too=final_too) and not final_too and any(step.final for step in self.plan.steps):
            self.hooks.say(None, -1, "cancelled; steps under finally still run, cancel again to end them too")

    def wait_for(self, running: Iterable[Future[StepResult]]) -> Iterable[Future[StepResult]]:
        """Those that have ended, as soon as any has or it is time to look around; the first Ctrl-C cancels."""
        try:
            return wait(running, timeout=_TICK, return_when=FIRST_COMPLETED).done
        except KeyboardInterrupt:
            if self.cancelled.is_set():
                raise
            self.interrupted.set()
            return ()

    def end(self, running: Mapping[Future[StepResult], Any]) -> None:
        """Nothing is to go on any more; what an engine has started still writes to the store, so it is waited for."""
        self.broken.set()
        if self.hooks.submit is not None:
            wait(running, timeout=_ENDING)

    def begin(self, step: PlannedStep, schedule: Schedule) -> tuple[int, ...]:
        """Mark the step as started and give the instances to run; none when it is skipped or cannot run."""
        schedule.start(step.name)
        context = self.context_for(step, schedule)
        try:
            reason = skip_reason(self.plan, step, schedule.states, context)
        except OrchestratorError as error:
            self.settle(step, (self.failure(step, -1, str(error)),), schedule)
            return ()
        if not reason:
            return step.instances
        record(self.tracking, self.plan, step, context, outcome="skipped", reason=reason)
        self.finish(schedule, step, StepState(step.name, SKIPPED, outcome="skipped", reason=reason))
        return ()

    def settle(self, step: PlannedStep, results: tuple[StepResult, ...], schedule: Schedule) -> None:
        """The state of a step all of whose instances have ended; a matrix selects its winner here."""
        self.finish(schedule, step, self.state_of(step, results))

    def finish(self, schedule: Schedule, step: PlannedStep, state: StepState) -> None:
        schedule.finish(state)
        self.hooks.settled(step, state)

    def state_of(self, step: PlannedStep, results: tuple[StepResult, ...]) -> StepState:
        """The state, and a run for what a matrix has selected."""
        state = state_after(step, results)
        if state.status == FAILED and not spoiling(step, results):
            self.failure(step, -1, state.reason)
        elif state.ok and step.settings and state.chosen is not None and step.select is not None:
            select, chosen = step.select, state.chosen
            record(
                self.tracking,
                self.plan,
                step,
                self.context,
                outcome="selected",
                tags={
                    "mlgate.selected_run_id": chosen.run_id,
                    "mlgate.selected_by": f"{select.mode} {select.metric}",
                },
                params={name: str(value) for name, value in step.settings[results.index(chosen)].items()},
                metrics={select.metric: chosen.metrics[select.metric]},
            )
        return state

    def ended(self, names: Iterable[str]) -> dict[str, StepState]:
        """What other workers have left of these steps in this run; also takes over their cache keys."""
        found = ended(self.tracking, self.plan, self.context.run_id, names)
        self.keys |= found.keys
        return {name: self._with_versions(state) for name, state in found.states.items()}

    def _with_versions(self, state: StepState) -> StepState:
        if not state.ok or not self.wants_version(state.name):
            return state
        results = tuple(replace(one, model_version=self.version_made_by(one.run_id)) for one in state.results)
        chosen = results[state.results.index(state.chosen)] if state.chosen is not None else None
        return replace(state, results=results, chosen=chosen)

    # --- one instance, in a thread of its own -------------------------------------------------------------------

    def run_instance(self, step: PlannedStep, map_index: int, states: States) -> StepResult:
        """Run one instance to its end, whatever that is; a mistake in it is a failed result, not an exception."""
        context = self.context_for(step, None, states)
        if self.end_of(step).is_set():
            return replace(_NO_RUN, name=step.name, status=KILLED, reason="cancelled before it started")
        try:
            if step.kind != "run":
                self.hooks.started(step, map_index)
                result = self.act(step, states, context)
                self.hooks.ended(step, map_index, result, "ran")
                return result
            bound = bind(self.plan, step, map_index, states, context, self.course.overrides)
            inputs: Inputs | None = None
            if step.cache is not None:
                inputs = self.inputs(step, map_index, bound, states)
                cached = self.from_cache(step, map_index, inputs) if self.course.use_cache else None
                if cached is not None:
                    self.hooks.ended(step, map_index, cached, "cached")
                    return cached
                bound = replace(bound, tags={**bound.tags, CACHE_KEY: inputs.key})
            # Said aloud, because an earlier attempt may have left there that the step was skipped.
            bound = replace(bound, tags={**bound.tags, OUTCOME: "ran"})
            self.hooks.started(step, map_index)
            result = self.attempts(step, map_index, bound)
            if result.ok and inputs is not None:
                self.remember(result, inputs)
            if result.ok and self.wants_version(step.name):
                result = replace(result, model_version=self.version_made_by(result.run_id))
        except (OrchestratorError, ProjectError) as error:
            result = self.failure(step, map_index, str(error))
        except TrackingError as error:
            # A store that refuses or is away cannot be told about the failure either.
            result = replace(_NO_RUN, name=step.name, reason=f"{type(error).__name__}: {error}")
        self.hooks.ended(step, map_index, result, "ran")
        return result

    def attempts(self, step: PlannedStep, map_index: int, bound: Step) -> StepResult:
        """Run, and run again as long as that may help and the step allows it."""
        end = self.end_of(step)
        hooks = Hooks(
            progress=lambda line: self.hooks.say(step, map_index, line),
            warn=lambda line: self.hooks.say(step, map_index, f"warning: {line}"),
            output=lambda stream, data: self.hooks.output(step, map_index, stream, data),
            cancel=end,
        )
        retries = 0 if self.hooks.submit is not None else step.retries.count
        for retry in range(retries + 1):
            result = run_step(
                bound,
                settings=self.settings,
                hooks=hooks,
                working_directory=self.working_directory,
                tracking=self.tracking,
                source=self.source,
                project=self.project,
            )
            again = result.retryable or (result.status == KILLED and result.exit_code == TIMED_OUT)
            if not again or retry == retries or end.is_set():
                break
            delay = step.retries.wait_before(retry)
            left = retries - retry
            self.hooks.say(step, map_index, f"failed ({result.reason}); trying again in {delay:g} s, {left} left")
            if _sleep(delay, end):
                break
        return result

    def act(self, step: PlannedStep, states: States, context: RunContext) -> StepResult:
        """A promote or gate step."""
        from mlgate.actions import run_action

        action = bind_action(self.plan, step, states, context)
        return run_action(self.tracking, self.plan, step, action, context, self.source)

    def failure(self, step: PlannedStep, map_index: int, reason: str) -> StepResult:
        """A step that could not even start has a run too, so that whoever looks at the tree sees why."""
        for line in reason.splitlines():
            self.hooks.say(step, map_index, line)
        return record(
            self.tracking, self.plan, step, self.context, outcome="failed", status=RunStatus.FAILED,
            map_index=map_index, reason=reason, tags={"mlgate.exit_code": "2"},
        )  # fmt: skip

    # --- the cache ----------------------------------------------------------------------------------------------

    def inputs(self, step: PlannedStep, map_index: int, bound: Step, states: States) -> Inputs:
        resolved = self.resolve(bound)
        digest = resolved.environment.key(resolved.spec, resolved.options).digest
        inputs = inputs_of(self.plan, step, map_index, resolved, digest, self.keys, states)
        self.keys[f"{step.name}[{map_index}]" if map_index >= 0 else step.name] = inputs.key
        if map_index >= 0:
            known = [self.keys.get(f"{step.name}[{index}]", "") for index in step.instances]
            self.keys[step.name] = ",".join(known)
        return inputs

    def resolve(self, bound: Step) -> ResolvedStep:
        return resolve_step(
            bound,
            self.settings,
            progress=lambda _line: None,
            working_directory=self.working_directory,
            source=self.source,
            project=self.project,
        )

    def from_cache(self, step: PlannedStep, map_index: int, inputs: Inputs) -> StepResult | None:
        assert step.cache is not None
        original = find_cached(self.tracking, inputs.key, step.cache)
        if original is None:
            return None
        result = read_result(self.tracking, original)
        self.link(step, map_index, result, "cached", inputs.key)
        return result

    def link(self, step: PlannedStep, map_index: int, result: StepResult, outcome: str, key: str = "") -> None:
        """A finished run that stands for another one, whose params and metrics it shows."""
        record(
            self.tracking, self.plan, step, self.context, outcome=outcome, map_index=map_index,
            tags={CACHED_FROM: result.run_id, CACHE_HIT: key}, params=result.params, metrics=result.metrics,
        )  # fmt: skip

    def link_reused(self, states: States) -> None:
        """The steps that a partial run takes over from an earlier one."""
        for step in self.plan.steps:
            state = states.get(step.name)
            if state is not None and state.ok:
                for map_index, result in zip(step.instances, state.results, strict=True):
                    self.link(step, map_index, result, "reused")
                self.hooks.settled(step, state)

    def remember(self, result: StepResult, inputs: Inputs) -> None:
        """Keep what the key was made of, for `mlgate cache explain`."""
        import json

        run = self.tracking.store.get_run(result.run_id)
        self.tracking.log_text(run, INPUTS_FILE, json.dumps(inputs.to_data()))

    # --- the rest -----------------------------------------------------------------------------------------------

    def context_for(self, step: PlannedStep, schedule: Schedule | None, states: States | None = None) -> RunContext:
        if not step.final:
            return self.context
        known = schedule.states if schedule is not None else states or {}
        if self.cancelled.is_set():
            return replace(self.context, status=KILLED)
        bad = [state for state in known.values() if state.status in (FAILED, KILLED)]
        return replace(self.context, status=FAILED if bad else FINISHED)

    def wants_version(self, name: str) -> bool:
        """Whether any step refers to the model version that this one makes."""
        wanted = f"steps.{name}.model_version"
        return any(wanted in str((step.parameters, step.action, step.env, step.when)) for step in self.plan.steps)

    def version_made_by(self, run_id: str) -> int | None:
        found = self.tracking.store.search_model_versions(filter_string=f"run_id = '{run_id}'", max_results=100).items
        return max((version.version for version in found), default=None)

    def prewarm(self) -> None:
        """Make the environments of all steps, those of early ones first; whatever goes wrong, the step will say."""
        made: set[str] = set()
        for step in self.plan.steps:
            if step.kind != "run" or self.ending.is_set():
                continue
            with contextlib.suppress(Exception):
                bare = Step(
                    uri=self.plan.uri,
                    engine=self.context.engine,
                    entry_point=step.entry_point,
                    env_manager=step.manager or self.course.overrides.env_manager,
                    environment=step.environment,
                    env_options={**self.course.overrides.env_options, **step.env_options},
                )
                environment, spec, options = resolve_environment(bare, self.settings, self.project)
                key = environment.key(spec, options)
                if not key.hit and key.digest not in made:
                    made.add(key.digest)
                    options = replace(options, cancel=self.ending)
                    environment.prepare(spec, options, lambda line: self.hooks.say(None, -1, line))


class _AnyOf:
    """Set as soon as one of several is."""

    def __init__(self, *events: Cancel) -> None:
        self.events = events

    def is_set(self) -> bool:
        return any(event.is_set() for event in self.events)


def _sleep(seconds: float, end: Cancel) -> bool:
    """Wait; True as soon as somebody wants the end."""
    deadline = time.monotonic() + seconds
    while not end.is_set() and time.monotonic() < deadline:
        time.sleep(min(_TICK, max(0.0, deadline - time.monotonic())))
    return end.is_set()


def _in_ledger(settings: Settings, opened: StepRun) -> contextlib.AbstractContextManager[Entry]:
    """While this is open, `mlgate reap` knows that the pipeline runs here, and closes its run if we are killed."""
    run_id = opened.run.info.run_id
    workspace = settings.home / "steps" / f"{run_id}.{opened.attempt}"
    return open_entry(
        settings.ledger,
        run_id=run_id,
        key=opened.step_run_key,
        attempt=opened.attempt,
        kind="pipeline",
        info={"tracking_uri": settings.tracking_uri, "workspace": str(workspace)},
    )


def _in_pool(pool: ThreadPoolExecutor, _step: PlannedStep, works: Mapping[int, Work]) -> dict[int, Future[StepResult]]:
    return {index: pool.submit(contextvars.copy_context().run, work) for index, work in works.items()}


# --- the run of the whole ---------------------------------------------------------------------------------------------


def open_pipeline(tracking: Tracking, plan: Plan, engine: Engine, course: Course, source: Source) -> StepRun:
    """Create or reopen the run of a whole pipeline, and keep the plan with it."""
    tags = {
        "mlflow.source.type": "PROJECT",
        "mlflow.source.name": source.name,
        "mlflow.source.git.commit": source.commit,
        "mlflow.source.git.repoURL": source.repo_url,
        "mlflow.source.git.branch": source.branch,
        "mlgate.kind": "pipeline",
        "mlgate.pipeline": plan.pipeline,
        "mlgate.engine": engine.name,
        "mlgate.engine.run_id": engine.run_id,
        "mlgate.project.digest": plan.digest,
        "mlgate.project.name": plan.project,
        **{f"mlgate.engine.{name}": value for name, value in engine.ids.items()},
        **course.overrides.tags,
    }
    opened = tracking.store.open_step_run(
        step_run_key(engine.run_id, plan.digest, f"pipeline:{plan.pipeline}"),
        experiment_id=tracking.experiment_id(None if course.experiment_id else plan.experiment, course.experiment_id),
        user_id=current_user(),
        run_name=course.run_name,
        start_time=int(time.time() * 1000),
        params=[Param(name, loggable(value)) for name, value in plan.parameters.items()],
        tags=[Tag(key, value) for key, value in tags.items() if value],
    )
    tracking.log_text(opened.run, PLAN_FILE, plan.to_json())
    return opened


def close_pipeline(tracking: Tracking, opened: StepRun, status: str, reason: str) -> None:
    """End the run of a whole pipeline; raises `StaleAttempt` when a newer attempt has taken over."""
    tracking.store.close_step_run(
        opened.run.info.run_id,
        opened.attempt,
        status=RunStatus(status),
        end_time=int(time.time() * 1000),
        tags=[Tag("mlgate.reason", reason[:5000])],
    )


def _verdict(schedule: Schedule, cancelled: bool) -> tuple[str, str]:
    if cancelled:
        return KILLED, "cancelled"
    bad = schedule.failed
    if not bad:
        return FINISHED, ""
    return FAILED, "; ".join(f"{state.name}: {state.reason or state.status}" for state in bad)


__all__ = [
    "Course",
    "PipelineHooks",
    "PipelineResult",
    "PlanRun",
    "close_pipeline",
    "open_pipeline",
    "run_plan",
    "summary",
]
