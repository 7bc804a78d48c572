"""One flow for any project: what deployments written by `mlgate deploy prefect` run. A worker needs no other code."""

from __future__ import annotations

from typing import Any

from prefect import flow

from mlgate.prefect.flows import run_project_flow


@flow(name="mlgate-project", persist_result=False)
def project(
    uri: str,
    pipeline: str | None = None,
    parameters: dict[str, Any] | None = None,
    entry_point: str = "main",
    version: str | None = None,
    experiment_name: str | None = None,
    env_manager: str | None = None,
    server: str | None = None,
    jobs: int = 4,
    keep_going: bool = False,
    use_cache: bool = True,
) -> dict[str, Any]:
    """Run a pipeline of an MLproject, or one entry point of it.

    Args:
        uri: a directory or a git URL, each with `#subdirectory` if need be.
        pipeline: name of a pipeline; without it, `entry_point` is run.
        parameters: values by name.
        version: branch, tag or commit of a git URL.
        server: name of a `TrackingServer` block.
        jobs: steps at a time.
        keep_going: after a failure, go on with what does not need the failed step.
        use_cache: whether results of earlier runs may be used again.
    """
    return run_project_flow(
        uri, pipeline, parameters, entry_point=entry_point, version=version, experiment_name=experiment_name,
        env_manager=env_manager, server=server, jobs=jobs, keep_going=keep_going, use_cache=use_cache,
    )  # fmt: skip


__all__ = ["project"]
