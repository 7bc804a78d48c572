"""Tasks: run a project's entry point, judge, promote and roll back models. What they return is small JSON.

Each is there twice: `run_project` for sync flows, `arun_project` for async ones. `run_project` is retried (when asked
to, with `with_options(retries=…)`) only where another attempt can help: a step that was killed, or whose exit code
says that its input is wrong (64 to 78), is not.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict
from typing import Any

from prefect import task
from prefect.cache_policies import NO_CACHE, CachePolicy
from prefect.runtime import flow_run
from prefect.states import Completed

from mlgate.errors import OrchestratorError, StepFailed, StepKilled
from mlgate.prefect import reporting
from mlgate.prefect.blocks import TrackingServer, settings_of
from mlgate.prefect.compat import cancel_of_this_run, in_thread, slot_for
from mlgate.prefect.identity import began_before, engine_of_this_run, identity, user
from mlgate.step import Step, StepResult
from mlgate.tracking import Tracking, open_tracking

_TIMED_OUT = 124


class ModelRejected(OrchestratorError):
    """Gates or people said no, and `on_reject="fail"` asked for a failure."""


class StepKeyPolicy(CachePolicy):
    """A task's result is known by the step that it stands for: a flow run that is retried does not run it again."""

    def compute_key(
        self, task_ctx: Any, inputs: dict[str, Any], flow_parameters: dict[str, Any], **_kwargs: Any
    ) -> str | None:
        del flow_parameters
        return f"mlgate/{flow_run.id or task_ctx.task_run.id}/{_identity_of_run(inputs)}"


STEP_KEY = StepKeyPolicy()


def worth_a_retry(_task: Any, _run: Any, state: Any) -> bool:
    """Whether another attempt can help."""
    error = state.result(raise_on_failure=False)
    if isinstance(error, StepFailed):
        out_of_time = error.result.status == "KILLED" and error.result.exit_code == _TIMED_OUT
        return error.retryable or out_of_time
    return bool(getattr(error, "status", None) in (503, 429))


def _run_project(
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
    server: TrackingServer | str | None = None,
) -> Any:
    """Run one entry point of a project as a tracked step, in the environment that it declares.

    The tracked run belongs to the flow run and to what was asked for: a retry reopens it as the next attempt, and a
    flow run that is resumed or retried takes over what had finished. Steps of one kind of environment share the slots
    of the concurrency limit for tag `mlgate-environment-KIND` (`docker`, `conda`, `virtualenv`), where there is one.

    Args:
        timeout: seconds; the step's processes are ended then, and the task fails.

    Returns: the step's result: `run_id`, `status`, `metrics`, `params`, `outputs`, …

    Raises:
        StepFailed, StepKilled: it ran and did not finish.
    """
    from mlgate.prefect.settings import MlgateSettings
    from mlgate.resolve import resolve_environment
    from mlgate.runner import Hooks, run_step
    from mlgate_projects.parse import load_project
    from mlgate_projects.source import resolve_source

    settings, log = settings_of(server), reporting.Log()
    step = Step(
        uri=uri,
        engine=engine_of_this_run(),
        name=_identity_of_run({"uri": uri, "entry_point": entry_point, "parameters": parameters, "version": version,
                               "commit": commit, "env": env, "tags": tags, "run_name": run_name}),
        entry_point=entry_point,
        parameters={name: _text(value) for name, value in (parameters or {}).items()},
        version=version,
        commit=commit,
        env_manager=env_manager or MlgateSettings().env_manager,
        experiment_name=experiment_name,
        run_name=run_name or entry_point,
        tags=tags or {},
        env=env or {},
        env_options=env_options or {},
        timeout=timeout,
    )  # fmt: skip
    progress = reporting.BuildProgress(entry_point, log)
    hooks = Hooks(
        progress=progress.line,
        warn=log.caution,
        output=log.output,
        opened=lambda _run: progress.done(),
        cancel=cancel_of_this_run(),
    )
    with open_tracking(settings) as tracking:
        known = finished_before(tracking, step)
        if known is not None:
            return Completed(name="Cached", message=f"run {known.run_id} had finished", data=as_json(known))
        source = resolve_source(uri, version, commit=commit, cache_root=settings.git, progress=log.line)
        project = load_project(source.directory)
        kind = resolve_environment(step, settings, project)[0].kind
        with slot_for(environment_tag(kind)):
            result = run_step(step, settings=settings, hooks=hooks, tracking=tracking, source=source, project=project)
        with reporting.as_warning(log, "the run"):
            reporting.show_run(entry_point, result, settings, tracking.store)
    return as_json(result)


def _evaluate_gate(
    model: str,
    version: int,
    policy: str | Mapping[str, Any],
    *,
    to: str | None = None,
    server: TrackingServer | str | None = None,
) -> dict[str, Any]:
    """Judge a model version by a policy (a file or a mapping) and return the verdict; rejected is not failed."""
    from mlgate.policy import read_policy
    from mlgate.promotion import check, parse_target
    from mlgate_tracking.governance import encode

    read = read_policy(policy)
    with open_tracking(settings_of(server)) as tracking:
        target = parse_target(to, read.ladder) if to else None
        verdict = check(tracking.store, model, int(version), read, target=target, user=user())
    with reporting.as_warning(reporting.Log(), "the verdict"):
        reporting.show_verdict(verdict)
    data: dict[str, Any] = encode(verdict)
    return data


def _promote_model(
    model: str,
    version: int | None = None,
    *,
    source: str | None = None,
    to: str | None = None,
    policy: str | Mapping[str, Any] | None = None,
    expect: int | None = None,
    comment: str = "",
    on_reject: str = "return",
    server: TrackingServer | str | None = None,
) -> dict[str, Any]:
    """Promote a version (or register `source`, such as `runs:/RUN_ID/model`, and promote that) if its gates allow it.

    A retry promotes once. One promotion of a model runs at a time where Prefect has a concurrency limit for the tag
    `mlgate-model-NAME`. A promotion that happened emits the event `mlgate.model.promoted` and materializes the asset
    `mlgate://models/NAME/TARGET`.

    Returns: `outcome` (`promoted`, `rejected`, `pending`, `rolled_back`), the verdict and the promotion.

    Raises:
        ModelRejected: with `on_reject="fail"`.
    """
    from mlgate.actions import version_of
    from mlgate.policy import read_policy
    from mlgate.promotion import Outcome, parse_target, promote
    from mlgate_tracking.governance import ANY, encode

    read = read_policy(policy) if policy is not None else None
    about: dict[str, Any] = {"version": version} if version is not None else {"source": source}
    key = _key("promote", {"model": model, "to": to, **about})
    with open_tracking(settings_of(server)) as tracking, slot_for(model_tag(model)):
        found = version_of(tracking, {"model": model, **about}, idempotency_key=key)
        result = promote(
            tracking.store,
            model,
            found.version,
            target=parse_target(to, read.ladder if read else ()) if to else None,
            policy=read,
            expect=ANY if expect is None else expect,
            idempotency_key=key,
            user=user(),
            comment=comment,
        )
    if result.promotion is not None and result.outcome is Outcome.PROMOTED:
        reporting.announce(result.promotion, again=result.promotion.replayed)
    if result.verdict is not None:
        with reporting.as_warning(reporting.Log(), "the verdict"):
            reporting.show_verdict(result.verdict)
    if result.outcome is Outcome.REJECTED and on_reject == "fail":
        raise ModelRejected(f"{model} {found.version} was rejected by its gates; nothing was promoted")
    data: dict[str, Any] = encode(result)
    return data


def _rollback_model(
    model: str,
    *,
    to: str | None = None,
    to_version: int | None = None,
    reason: str = "",
    server: TrackingServer | str | None = None,
) -> dict[str, Any]:
    """Move a target back to the version before, or to `to_version`, once. Returns the promotion record."""
    from mlgate.promotion import parse_target, rollback
    from mlgate_tracking.governance import encode

    key = _key("rollback", {"model": model, "to": to, "to_version": to_version})
    with open_tracking(settings_of(server)) as tracking:
        target = parse_target(to) if to else None
        promotion = rollback(
            tracking.store, model, target=target, to_version=to_version, reason=reason, user=user(),
            intent_id=_intent_id(key),
        )  # fmt: skip
    reporting.announce(promotion, "mlgate.model.rolled_back", again=promotion.replayed)
    data: dict[str, Any] = encode(promotion)
    return data


_RUN: dict[str, Any] = {
    "name": "run-project",
    "task_run_name": "{entry_point}",
    "cache_policy": STEP_KEY,
    "result_serializer": "json",
    "retry_condition_fn": worth_a_retry,
}
_JUDGE: dict[str, Any] = {
    "name": "evaluate-gate",
    "task_run_name": "judge {model} {version}",
    "cache_policy": NO_CACHE,
    "retry_condition_fn": worth_a_retry,
}
_PROMOTE: dict[str, Any] = {
    "name": "promote-model",
    "task_run_name": "promote {model}",
    "cache_policy": NO_CACHE,  # the store answers a retry; a result that says `pending` must not last
    "retry_condition_fn": worth_a_retry,
}
_ROLLBACK: dict[str, Any] = {
    "name": "rollback-model",
    "task_run_name": "roll back {model}",
    "cache_policy": NO_CACHE,
    "retry_condition_fn": worth_a_retry,
}

run_project = task(_run_project, **_RUN)
arun_project = task(in_thread(_run_project), **_RUN)
evaluate_gate = task(_evaluate_gate, **_JUDGE)
aevaluate_gate = task(in_thread(_evaluate_gate), **_JUDGE)
promote_model = task(_promote_model, **_PROMOTE)
apromote_model = task(in_thread(_promote_model), **_PROMOTE)
rollback_model = task(_rollback_model, **_ROLLBACK)
arollback_model = task(in_thread(_rollback_model), **_ROLLBACK)


# --- shared with the flows --------------------------------------------------------------------------------------------


def finished_before(tracking: Tracking, step: Step) -> StepResult | None:
    """What an earlier run of the same flow run has finished: a resumed flow run starts from its beginning."""
    from mlgate.records import read_result, search_everywhere

    if not began_before():
        return None
    wanted = f"tags.`mlgate.engine.run_id` = '{step.engine.run_id}' and tags.`mlgate.step` = '{step.name}'"
    for run in search_everywhere(tracking.store, f"{wanted} and attributes.status = 'FINISHED'", limit=1):
        return read_result(tracking, run)
    return None


def as_json(result: StepResult) -> dict[str, Any]:
    """The result as JSON, or the error that says what went wrong."""
    if result.ok:
        data: dict[str, Any] = json.loads(json.dumps(asdict(result)))
        return data
    failure = StepKilled if result.status == "KILLED" else StepFailed
    raise failure(f"{result.name}: {result.status}: {result.reason} (run {result.run_id})", result)


def environment_tag(kind: str) -> str:
    return f"mlgate-environment-{kind}"


def model_tag(model: str) -> str:
    return f"mlgate-model-{model}"


_ASKED = ("uri", "parameters", "version", "commit", "env", "tags", "run_name")


def _identity_of_run(inputs: Mapping[str, Any]) -> str:
    asked = {name: inputs.get(name) for name in _ASKED if inputs.get(name)}
    return identity(str(inputs.get("entry_point") or "main"), asked)


def _key(kind: str, asked: Any) -> str:
    """An idempotency key: the same call of the same flow run, in whatever attempt."""
    return f"prefect/{engine_of_this_run().run_id}/{identity(kind, asked)}"


def _intent_id(key: str) -> str:
    import hashlib

    return hashlib.sha256(key.encode()).hexdigest()[:32]


def _text(value: Any) -> str:
    return value if isinstance(value, str) else json.dumps(value)


__all__ = [
    "ModelRejected",
    "aevaluate_gate",
    "apromote_model",
    "arollback_model",
    "arun_project",
    "as_json",
    "environment_tag",
    "evaluate_gate",
    "model_tag",
    "promote_model",
    "rollback_model",
    "run_project",
    "worth_a_retry",
]
