"""Flows from MLprojects: every step of a pipeline is a Prefect task.

The plan, its order, conditions, caching and promotion are the same code as under the local runner; Prefect starts the
steps, retries them and shows them.
"""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import Future
from typing import Any

from prefect import flow, task
from prefect.cache_policies import NO_CACHE
from prefect.flows import Flow
from prefect.logging import get_run_logger

from mlgate.errors import PipelineFailed
from mlgate.pipeline_runner import Course, PipelineHooks, run_plan, summary
from mlgate.plan import PlannedStep
from mlgate.planning import plan_project
from mlgate.prefect import reporting
from mlgate.prefect.blocks import TrackingServer
from mlgate.prefect.tasks import as_json, engine_of_this_run, settings_of, worth_a_retry
from mlgate.step import StepResult
from mlgate_projects.process import Stream


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
        server: name of a `TrackingServer` block; the worker's `MLGATE_*` variables count without one.
        flow_options: what `prefect.flow` takes (`retries`, `timeout_seconds`, `on_failure`, …).

    The flow takes `parameters` (values by name), `jobs` (steps at a time), `keep_going` and `use_cache`; it returns
    `{"run_id", "status", "steps": {name: {"status", "outcome", "run_ids"}}}`.
    """
    title = name or f"{uri.rstrip('/').rpartition('/')[2].removesuffix('.git')}-{pipeline or entry_point}"

    @flow(name=title, **flow_options)
    def run(
        parameters: dict[str, Any] | None = None, jobs: int = 4, keep_going: bool = False, use_cache: bool = True
    ) -> dict[str, Any]:
        settings = settings_of(TrackingServer.load(server) if server else None)
        planned = plan_project(
            uri,
            pipeline,
            parameters or {},
            settings=settings,
            version=version,
            entry_point=entry_point,
            experiment=experiment_name,
        )
        result = run_plan(
            planned.plan,
            settings=settings,
            course=_course(jobs, keep_going, use_cache, env_manager),
            hooks=PipelineHooks(output=_output, say=_say, submit=submit_as_task, settled=_settled),
            engine=engine_of_this_run(),
            source=planned.source,
            project=planned.project,
        )
        if not result.ok:
            raise PipelineFailed(f"{result.plan.title}: {result.status}: {result.reason}; run {result.run_id}", result)
        return summary(result)

    return run


def _course(jobs: int, keep_going: bool, use_cache: bool, env_manager: str | None) -> Course:
    from mlgate.binding import Overrides

    return Course(jobs=jobs, keep_going=keep_going, use_cache=use_cache, overrides=Overrides(env_manager=env_manager))


def submit_as_task(step: PlannedStep, map_index: int, work: Callable[[], StepResult]) -> Future[StepResult]:
    """Start one instance of a step as a task run; the future's result is that of the last attempt."""
    name = f"{step.name}[{map_index}]" if map_index >= 0 else step.name
    last: list[StepResult] = []

    @task(
        name=step.name,
        task_run_name=name,
        cache_policy=NO_CACHE,
        tags={"mlgate", step.kind},
        retries=step.retries.count,
        retry_delay_seconds=[step.retries.wait_before(retry) for retry in range(step.retries.count)] or None,
        retry_condition_fn=worth_a_retry,
    )
    def run_step() -> dict[str, Any]:
        result = work()
        last.append(result)
        return as_json(result)

    future: Future[StepResult] = Future()

    def done(_future: Any) -> None:
        if last:
            future.set_result(last[-1])
        else:
            future.set_exception(RuntimeError(f"task {name} never ran; look at its state in Prefect"))

    run_step.submit().add_done_callback(done)
    return future


def _output(_step: PlannedStep, _map_index: int, stream: Stream, data: bytes) -> None:
    reporting.log_output(stream, data)


def _say(step: PlannedStep | None, _map_index: int, line: str) -> None:
    get_run_logger().info("%s%s", f"{step.name}: " if step else "", line)


def _settled(step: PlannedStep, state: Any) -> None:
    get_run_logger().info("%s: %s%s", step.name, state.outcome, f" ({state.reason})" if state.reason else "")


__all__ = ["project_flow", "submit_as_task"]
