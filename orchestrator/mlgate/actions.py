"""Promote and gate steps of a pipeline: the version that they are about, the policy, and what came of it, as a run.

Rejected is not failed: the step's run is FINISHED and says so, unless the step asks for `on_reject: fail`. The same
step key again (a retry, a resumed run) makes no second version and no second promotion.
"""

from __future__ import annotations

import contextlib
import json
import time
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from mlgate.binding import RunContext
from mlgate.errors import UsageError
from mlgate.evidence import Measurer
from mlgate.plan import Plan, PlannedStep
from mlgate.policy import Policy, load_policy, parse_policy
from mlgate.promotion import Measure, Outcome, PromotionResult, check, promote
from mlgate.records import OUTCOME, OUTPUTS_FILE, result_of
from mlgate.step import StepResult, step_run_key
from mlgate.tracking import Tracking
from mlgate.user import current_user
from mlgate_projects.source import Source
from mlgate_tracking.contract import Store
from mlgate_tracking.entities import ModelVersion, RunStatus, Tag
from mlgate_tracking.errors import ResourceAlreadyExists, ResourceDoesNotExist, TrackingError
from mlgate_tracking.governance import Approval, ApprovalStatus, Verdict, VerdictStatus, encode

_POLICY_KEYS = ("to", "mode", "archive", "expires", "ladder", "health")


def run_action(
    tracking: Tracking,
    plan: Plan,
    step: PlannedStep,
    action: Mapping[str, Any],
    context: RunContext,
    source: Source,
) -> StepResult:
    """Judge, and for a promote step promote, the model version that a step is about.

    Returns: the result of the step's run; `outputs` holds `outcome` (`promoted`, `passed`, `rejected`, `pending`,
        `rolled_back`), `version`, and the ids of verdict and promotion.

    Raises:
        UsageError, InvalidPlan: the step's body makes no sense now that its references are filled in; no run was made.
    """
    policy = policy_of(step, action, source)
    key = step_run_key(context.engine.run_id, plan.digest, step.name)
    tags = {
        "mlflow.source.type": "PROJECT",
        "mlflow.source.name": plan.uri,
        "mlflow.source.git.commit": plan.commit or "",
        "mlgate.step": step.name,
        "mlgate.kind": step.kind,
        "mlgate.pipeline": plan.pipeline or "",
        "mlgate.engine": context.engine.name,
        "mlgate.engine.run_id": context.engine.run_id,
        "mlgate.project.digest": plan.digest,
        **step.tags,
    }
    opened = tracking.store.open_step_run(
        key,
        experiment_id=context.experiment_id,
        user_id=current_user(),
        run_name=step.run_name or step.name,
        start_time=int(time.time() * 1000),
        parent_run_id=context.run_id or None,
        tags=[Tag(name, value) for name, value in tags.items() if value],
    )
    run_id = opened.run.info.run_id
    status, reason, outputs = RunStatus.FINISHED, "", dict[str, Any]()
    try:
        version = version_of(tracking, action, idempotency_key=key)
        # Relative paths of gates are relative to the project, whose files the pipeline was planned from.
        with Measurer(tracking, base=source.directory) as measurer:
            outputs = _judge(tracking.store, step, action, policy, version, measurer.measure, run_id=run_id, key=key)
        outputs["version"] = version.version
        reason = outputs.pop("reason", "")
        if outputs["outcome"] in ("rejected", "rolled_back") and action.get("on_reject") == "fail":
            status = RunStatus.FAILED
    except (TrackingError, UsageError) as error:
        status, reason = RunStatus.FAILED, f"{type(error).__name__}: {error}"
        outputs["outcome"] = "failed"
    closing = {
        OUTCOME: outputs["outcome"],
        "mlgate.model": str(action["model"]),
        "mlgate.model_version": str(outputs.get("version", "")),
        "mlgate.verdict_id": outputs.get("verdict_id", ""),
        "mlgate.promotion_id": outputs.get("promotion_id", ""),
        "mlgate.reason": reason,
        "mlgate.exit_code": "0" if status is RunStatus.FINISHED else "1",
    }
    tracking.log_text(opened.run, OUTPUTS_FILE, json.dumps(outputs, indent=2))
    run = tracking.store.close_step_run(
        run_id,
        opened.attempt,
        status=status,
        end_time=int(time.time() * 1000),
        tags=[Tag(name, value) for name, value in closing.items()],
    )
    result = result_of(run, outputs)
    return replace(result, name=step.name, step_run_key=key, attempt=opened.attempt, reason=reason)


def policy_of(step: PlannedStep, action: Mapping[str, Any], source: Source) -> Policy:
    """The policy that a step's body describes: its file, if it names one, with what the body says on top."""
    data: dict[str, Any] = {}
    if action.get("policy"):
        data = dict(load_policy(source.directory / str(action["policy"])).data)
    data |= {name: action[name] for name in _POLICY_KEYS if name in action}
    data["gates"] = [*(data.get("gates") or []), *(action.get("gates") or [])]
    return parse_policy(data, file="MLproject", path=("steps", step.name, step.kind), name=data.get("name", step.name))


def version_of(tracking: Tracking, action: Mapping[str, Any], *, idempotency_key: str) -> ModelVersion:
    """The version that a step is about: the one it names, or a new one registered from its source."""
    store, name = tracking.store, str(action["model"])
    if "version" in action:
        text = str(action["version"])
        if not text.isdecimal():
            raise UsageError(f"version: '{text}' is not the number of a version of {name}")
        return store.get_model_version(name, int(text))
    source, run_id, model_id = locate_model(tracking, str(action["source"]))
    try:
        store.get_registered_model(name)
    except ResourceDoesNotExist:
        with contextlib.suppress(ResourceAlreadyExists):  # another step or engine may be faster
            store.create_registered_model(name)
    return store.create_model_version(
        name, source, run_id=run_id, model_id=model_id, idempotency_key=f"{idempotency_key}:version"
    )


def locate_model(tracking: Tracking, uri: str) -> tuple[str, str | None, str | None]:
    """Where a model's files are, the run that made it, and its id as a logged model (3.x clients keep models apart).

    Raises:
        ResourceDoesNotExist: there is no model at the URI.
    """
    from mlgate.fetch import locate

    store = tracking.store
    root, path = locate(store, uri)
    run_id = uri.removeprefix("runs:/").partition("/")[0] if uri.startswith("runs:/") else None
    kept_apart = None
    if run_id is not None and not path:
        for output in store.get_run(run_id).outputs:
            with contextlib.suppress(ResourceDoesNotExist):  # deleted since
                if store.get_logged_model(output.model_id).artifact_uri == root:
                    kept_apart = output.model_id
    if tracking.repository(root).stat(f"{path}/MLmodel" if path else "MLmodel") is None:
        raise ResourceDoesNotExist(f"{uri}: no model there (no file MLmodel)")
    return f"{root}/{path}" if path else root, run_id, kept_apart


def _judge(
    store: Store,
    step: PlannedStep,
    action: Mapping[str, Any],
    policy: Policy,
    version: ModelVersion,
    measure: Measure,
    *,
    run_id: str,
    key: str,
) -> dict[str, Any]:
    user = current_user()
    if step.kind == "gate":
        verdict = check(store, version.name, version.version, policy, user=user, run_id=run_id, measure=measure)
        outcome = {VerdictStatus.PASSED: "passed", VerdictStatus.PENDING: "pending"}.get(verdict.status, "rejected")
        return {"outcome": outcome, "verdict_id": verdict.verdict_id, "reason": _why_not(verdict)}
    result = promote(
        store,
        version.name,
        version.version,
        policy=policy,
        idempotency_key=f"{key}:promotion",
        user=user,
        comment=str(action.get("comment", "")),
        run_id=run_id,
        measure=measure,
    )
    return _promotion_outputs(result)


def _promotion_outputs(result: PromotionResult) -> dict[str, Any]:
    outputs: dict[str, Any] = {"outcome": result.outcome.value}
    if result.verdict is not None:
        outputs["verdict_id"] = result.verdict.verdict_id
        outputs["reason"] = _why_not(result.verdict)
    if result.promotion is not None:
        outputs["promotion_id"] = result.promotion.promotion_id
        outputs["target"] = encode(result.promotion.target)
        outputs["previous_version"] = result.promotion.previous_version
    if result.outcome is Outcome.PENDING:
        outputs["reason"] = _waiting_for(result.approvals)
    if result.outcome is Outcome.ROLLED_BACK:
        failed = [reason.message for gate in result.smoke for reason in gate.reasons if not reason.passed]
        outputs["reason"] = "moved back: " + "; ".join(failed)
    return outputs


def _why_not(verdict: Verdict) -> str:
    return "; ".join(reason.message for reason in verdict.failures)


def _waiting_for(approvals: tuple[Approval, ...]) -> str:
    roles = sorted({approval.role for approval in approvals if approval.status is ApprovalStatus.PENDING})
    return f"waiting for approval by {', '.join(roles) or 'somebody'}; then resume the run"


__all__ = ["locate_model", "policy_of", "run_action", "version_of"]
