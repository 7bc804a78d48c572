"""The Python API: what the command line does, as functions."""

from __future__ import annotations

import json
import uuid
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from mlgate.errors import PipelineFailed, StepFailed, StepKilled, UsageError
from mlgate.settings import load_settings
from mlgate.step import Engine, Step, StepResult

if TYPE_CHECKING:
    from mlgate.pipeline_runner import PipelineResult


def run_project(
    uri: str,
    entry_point: str = "main",
    version: str | None = None,
    parameters: Mapping[str, Any] | None = None,
    docker_args: Mapping[str, Any] | None = None,
    experiment_name: str | None = None,
    experiment_id: str | None = None,
    backend: str = "local",
    backend_config: Mapping[str, Any] | str | None = None,
    storage_dir: str | None = None,
    synchronous: bool = True,
    run_id: str | None = None,
    run_name: str | None = None,
    env_manager: str | None = None,
    build_image: bool = False,
    docker_auth: Mapping[str, str] | None = None,
    *,
    timeout: float | None = None,
    tags: Mapping[str, str] | None = None,
    env: Mapping[str, str] | None = None,
    tracking_uri: str | None = None,
    env_options: Mapping[str, Any] | None = None,
) -> StepResult:
    """Run one entry point of a project and wait for its end. Takes what `mlflow.projects.run` takes, and more.

    Args:
        uri: a directory or a git URL, each with `#subdirectory` if need be.
        parameters: values by name; anything but text is turned into text as `str` does.
        run_id: names the step: the same id again is another attempt of the same run.
        synchronous: only True; give the call to a thread, or to Prefect or Airflow, to have it in the background.
        timeout: seconds.
        env: extra variables for the step's process.
        tracking_uri: the store, instead of what the environment names.

    Raises:
        ProjectError, UsageError: nothing was run.
        StepFailed: it ran and failed; `.result` says how. `StepKilled` when it was stopped.
    """
    from mlgate.runner import run_step

    if backend != "local":
        raise UsageError(f"backend: '{backend}' is not known here; use mlgate.airflow or mlgate.prefect for engines")
    if not synchronous:
        raise UsageError("synchronous: False is not offered; run this in a thread, or as a Prefect or Airflow task")
    if experiment_name is not None and experiment_id is not None:
        raise UsageError("experiment_name and experiment_id exclude each other")
    step = Step(
        uri=str(uri),
        engine=Engine("local", run_id or f"local-{uuid.uuid4().hex}"),
        name=entry_point,
        entry_point=entry_point,
        parameters={name: str(value) for name, value in (parameters or {}).items()},
        version=version,
        env_manager=env_manager,
        experiment_name=experiment_name,
        experiment_id=None if experiment_id is None else str(experiment_id),
        run_name=run_name,
        timeout=timeout,
        tags=tags or {},
        env=env or {},
        storage_dir=storage_dir,
        env_options={
            **({"docker_args": dict(docker_args)} if docker_args else {}),
            **({"build_image": True} if build_image else {}),
            **({"docker_auth": dict(docker_auth)} if docker_auth else {}),
            **_config(backend_config),
            **(env_options or {}),
        },
    )
    result = run_step(step, settings=load_settings(tracking_uri=tracking_uri))
    if result.ok:
        return result
    failure = StepKilled if result.status == "KILLED" else StepFailed
    raise failure(f"{uri} -e {entry_point}: {result.status} ({result.reason}); run {result.run_id}", result)


def run_pipeline(
    uri: str,
    pipeline: str,
    parameters: Mapping[str, Any] | None = None,
    *,
    version: str | None = None,
    jobs: int = 4,
    keep_going: bool = False,
    use_cache: bool = True,
    resume: str | None = None,
    from_step: str | None = None,
    only: str | None = None,
    experiment_name: str | None = None,
    experiment_id: str | None = None,
    run_name: str | None = None,
    env_manager: str | None = None,
    storage_dir: str | None = None,
    tags: Mapping[str, str] | None = None,
    env: Mapping[str, str] | None = None,
    env_options: Mapping[str, Any] | None = None,
    tracking_uri: str | None = None,
) -> PipelineResult:
    """Run a pipeline of a project on this machine and wait for its end.

    Args:
        jobs: steps at a time.
        keep_going: after a failure, go on with what does not need the failed step.
        use_cache: whether results of earlier runs may be used again.
        resume: id of a run of the pipeline to go on with, with its parameters.
        from_step: run this step and all that need it; what is before comes from `resume`, or from the last run.
        only: run this step alone, in the same way.
        tags, env: for every step.

    Raises:
        ProjectError, UsageError, InvalidPlan: nothing was run.
        PipelineFailed: it ran and did not finish; `.result` says how.
    """
    from mlgate.binding import Overrides
    from mlgate.pipeline_runner import Course, run_plan
    from mlgate.planning import plan_project

    if experiment_name is not None and experiment_id is not None:
        raise UsageError("experiment_name and experiment_id exclude each other")
    if from_step is not None and only is not None:
        raise UsageError("from_step and only exclude each other")
    settings = load_settings(tracking_uri=tracking_uri)
    planned = plan_project(
        str(uri),
        pipeline,
        parameters or {},
        settings=settings,
        version=version,
        experiment=experiment_name,
        resume=resume,
    )
    course = Course(
        jobs=jobs,
        keep_going=keep_going,
        use_cache=use_cache,
        resume=resume,
        from_step=from_step,
        only=only,
        run_name=run_name,
        experiment_id=experiment_id,
        overrides=Overrides(
            env_manager=env_manager,
            env_options=env_options or {},
            storage_dir=storage_dir,
            tags=tags or {},
            env=env or {},
        ),
    )
    result = run_plan(planned.plan, settings=settings, course=course, source=planned.source, project=planned.project)
    if result.ok:
        return result
    raise PipelineFailed(f"{uri} --pipeline {pipeline}: {result.status} ({result.reason}); run {result.run_id}", result)


def _config(config: Mapping[str, Any] | str | None) -> dict[str, Any]:
    if config is None or isinstance(config, Mapping):
        return dict(config or {})
    file = Path(config)
    try:
        data = json.loads(file.read_text() if file.suffix == ".json" else config)
    except (OSError, ValueError) as error:
        raise UsageError(f"backend_config: '{config}' is neither a JSON file nor JSON: {error}") from error
    if not isinstance(data, dict):
        raise UsageError(f"backend_config: '{config}' is not a JSON object")
    return data


__all__ = ["run_pipeline", "run_project"]
