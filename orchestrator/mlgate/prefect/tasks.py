"""Tasks: run a project's entry point, judge, promote and roll back models. What they return is small JSON.

`run_project` is retried (when asked to, with `with_options(retries=…)`) only where another attempt can help: a step
that was killed, or whose exit code says that its input is wrong (64 to 78), is not.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict
from typing import TYPE_CHECKING, Any

from prefect import task
from prefect.cache_policies import NO_CACHE
from prefect.concurrency.sync import concurrency
from prefect.runtime import flow_run, task_run

from mlgate.errors import OrchestratorError, StepFailed, StepKilled
from mlgate.prefect import reporting
from mlgate.prefect.blocks import TrackingServer

if TYPE_CHECKING:
    from mlgate.settings import Settings
    from mlgate.step import Engine, StepResult


class ModelRejected(OrchestratorError):
    """A promotion's gates said no, and `on_reject="fail"` asked for a failure."""


def worth_a_retry(_task: Any, _run: Any, state: Any) -> bool:
    """Whether another attempt can help."""
    error = state.result(raise_on_failure=False)
    if isinstance(error, StepFailed):
        return error.retryable and not isinstance(error, StepKilled)
    return bool(getattr(error, "status", None) in (503, 429))


@task(name="run-project", task_run_name="{entry_point}", cache_policy=NO_CACHE, retry_condition_fn=worth_a_retry)
def run_project(
    uri: str,
    entry_point: str = "main",
    parameters: Mapping[str, Any] | None = None,
    *,
    version: str | None = None,
    commit: str | None = None,
    env_manager: str | None = None,
    experiment_name: str | None = None,
    run_name: str | None = None,
    tags: Mapping[str, str] | None = None,
    env: Mapping[str, str] | None = None,
    env_options: Mapping[str, Any] | None = None,
    timeout: float | None = None,
    server: TrackingServer | None = None,
) -> dict[str, Any]:
    """Run one entry point of a project as a tracked step, in the environment that it declares.

    The tracked run belongs to the flow run and the task run: a retry reopens it as the next attempt.

    Returns: the step's result: `run_id`, `status`, `metrics`, `params`, `outputs`, …

    Raises:
        StepFailed, StepKilled: it ran and did not finish.
    """
    from mlgate.runner import Hooks, run_step
    from mlgate.step import Step

    settings = settings_of(server)
    step = Step(
        uri=uri,
        engine=engine_of_this_run(),
        # Every call in a flow run is a step of its own; a retry of the call has the same task run id.
        name=f"{entry_point}-{task_run.id}" if task_run.id else entry_point,
        entry_point=entry_point,
        parameters={name: _text(value) for name, value in (parameters or {}).items()},
        version=version,
        commit=commit,
        env_manager=env_manager,
        experiment_name=experiment_name,
        run_name=run_name or entry_point,
        tags=tags or {},
        env=env or {},
        env_options=env_options or {},
        timeout=timeout,
    )
    hooks = Hooks(progress=reporting.progress, warn=reporting.warning, output=reporting.log_output)
    result = run_step(step, settings=settings, hooks=hooks)
    reporting.show_run(entry_point, result, settings)
    return as_json(result)


@task(name="evaluate-gate", task_run_name="judge {model} {version}", cache_policy=NO_CACHE)
def evaluate_gate(
    model: str,
    version: int,
    policy: str | Mapping[str, Any],
    *,
    to: str | None = None,
    server: TrackingServer | None = None,
) -> dict[str, Any]:
    """Judge a model version by a policy (a file or a mapping) and return the verdict; rejected is not failed."""
    from mlgate.promotion import check, parse_target
    from mlgate.tracking import open_tracking
    from mlgate_tracking.governance import encode

    read = _policy(policy)
    with open_tracking(settings_of(server)) as tracking:
        target = parse_target(to, read.ladder) if to else None
        verdict = check(tracking.store, model, int(version), read, target=target, user=_user())
    reporting.show_verdict(verdict)
    data: dict[str, Any] = encode(verdict)
    return data


@task(name="promote-model", task_run_name="promote {model}", cache_policy=NO_CACHE)
def promote_model(
    model: str,
    version: int | None = None,
    *,
    source: str | None = None,
    to: str | None = None,
    policy: str | Mapping[str, Any] | None = None,
    expect: int | None = None,
    comment: str = "",
    on_reject: str = "return",
    server: TrackingServer | None = None,
) -> dict[str, Any]:
    """Promote a version (or register `source`, such as `runs:/RUN_ID/model`, and promote that) if its gates allow it.

    A retry promotes once. One promotion of a model runs at a time where the Prefect server has a concurrency limit
    named `mlgate-model-NAME`. A promotion that happened emits the event `mlgate.model.promoted`.

    Returns: `outcome` (`promoted`, `rejected`, `pending`, `rolled_back`), the verdict and the promotion.

    Raises:
        ModelRejected: with `on_reject="fail"`.
    """
    from mlgate.actions import version_of
    from mlgate.promotion import Outcome, parse_target, promote
    from mlgate.tracking import open_tracking
    from mlgate_tracking.governance import ANY, encode

    read = _policy(policy) if policy is not None else None
    key = f"prefect/{flow_run.id}/{task_run.id}"
    about = {"version": version} if version is not None else {"source": source}
    with open_tracking(settings_of(server)) as tracking, concurrency(f"mlgate-model-{model}", occupy=1):
        found = version_of(tracking, {"model": model, **about}, idempotency_key=key)
        result = promote(
            tracking.store,
            model,
            found.version,
            target=parse_target(to, read.ladder if read else ()) if to else None,
            policy=read,
            expect=ANY if expect is None else expect,
            idempotency_key=key,
            user=_user(),
            comment=comment,
        )
    if result.verdict is not None:
        reporting.show_verdict(result.verdict)
    if result.promotion is not None and result.outcome is Outcome.PROMOTED:
        reporting.announce(result.promotion)
    if result.outcome is Outcome.REJECTED and on_reject == "fail":
        raise ModelRejected(f"{model} {found.version} was rejected by its gates; nothing was promoted")
    data: dict[str, Any] = encode(result)
    return data


@task(name="rollback-model", task_run_name="roll back {model}", cache_policy=NO_CACHE)
def rollback_model(
    model: str,
    *,
    to: str | None = None,
    to_version: int | None = None,
    reason: str = "",
    server: TrackingServer | None = None,
) -> dict[str, Any]:
    """Move a target back to the version before, or to `to_version`; returns the promotion record."""
    from mlgate.promotion import parse_target, rollback
    from mlgate.tracking import open_tracking
    from mlgate_tracking.governance import encode

    with open_tracking(settings_of(server)) as tracking:
        target = parse_target(to) if to else None
        promotion = rollback(tracking.store, model, target=target, to_version=to_version, reason=reason, user=_user())
    reporting.announce(promotion, "mlgate.model.rolled_back")
    data: dict[str, Any] = encode(promotion)
    return data


# --- shared with the flows --------------------------------------------------------------------------------------------


def settings_of(server: TrackingServer | None) -> Settings:
    """Of a block, or of the worker's environment."""
    from mlgate.settings import load_settings

    return server.settings() if server is not None else load_settings()


def engine_of_this_run() -> Engine:
    """The flow run as the engine's run."""
    from mlgate.step import Engine

    ids = {
        "flow_run_id": str(flow_run.id or ""),
        "flow_run_name": str(flow_run.name or ""),
        "flow_name": str(flow_run.flow_name or ""),
        "task_run_id": str(task_run.id or ""),
    }
    return Engine("prefect", str(flow_run.id or task_run.id), {name: value for name, value in ids.items() if value})


def as_json(result: StepResult) -> dict[str, Any]:
    """The result as JSON, or the error that says what went wrong."""
    if result.ok:
        data: dict[str, Any] = json.loads(json.dumps(asdict(result)))
        return data
    failure = StepKilled if result.status == "KILLED" else StepFailed
    raise failure(f"{result.name}: {result.status}: {result.reason} (run {result.run_id})", result)


def _policy(policy: str | Mapping[str, Any]) -> Any:
    from mlgate.policy import load_policy, parse_policy

    return load_policy(policy) if isinstance(policy, str) else parse_policy(dict(policy))


def _text(value: Any) -> str:
    return value if isinstance(value, str) else json.dumps(value)


def _user() -> str:
    return f"prefect:{flow_run.flow_name or 'task'}"


__all__ = ["ModelRejected", "evaluate_gate", "promote_model", "rollback_model", "run_project", "worth_a_retry"]
