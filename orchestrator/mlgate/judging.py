"""Judging a model version by a policy: evidence is gathered, each gate says its word, the store keeps the verdict.

Judging changes nothing but the record of it; `mlgate.promotion` acts on it.
"""

from __future__ import annotations

import contextlib
import time
import uuid
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from mlgate.errors import UsageError
from mlgate.gates.evidence import Evidence, ModelFacts, Need, Side
from mlgate.gates.people import ApprovalGate
from mlgate.gates.reasons import stated
from mlgate.policy import Policy, PolicyGate, parse_policy
from mlgate_tracking.governance import (
    Approval,
    ApprovalStatus,
    GateResult,
    Target,
    Verdict,
    VerdictStatus,
    digest_of,
    status_of,
)

if TYPE_CHECKING:
    from mlgate_tracking.contract import Store

Measured = Mapping[tuple[Side, Need[Any]], Any]
Measure = Callable[[Sequence[tuple[Side, Need[Any]]], ModelFacts, ModelFacts | None], Measured]
"""Measures needs of a candidate and its champion; `mlgate.evidence.Measurer.measure` is the real one."""


def check(
    store: Store,
    model: str,
    version: int,
    policy: Policy,
    *,
    target: Target | None = None,
    user: str = "",
    run_id: str | None = None,
    measure: Measure | None = None,
    record: bool = True,
) -> Verdict:
    """Judge a version by a policy against whoever holds the target now.

    Args:
        target: instead of the policy's own.
        run_id: tracked run of the gate step, kept on the verdict.
        measure: how needs are measured; by default with the settings of the environment.
        record: store the verdict, and with it the questions of its approval gates once nothing else rejects.

    Raises:
        UsageError: neither the policy nor the caller names a target.
        ResourceDoesNotExist: no such model or version.
    """
    aim = _target_of(policy, target)
    holder = store.holder(model, aim)
    approvals = _approvals(store, model, version, aim, policy)
    with _measuring(store, measure) as measurer:
        evidence = gather(store, policy, model, version, holder.version, aim, approvals, measurer)
        digests = _digests(store, policy, evidence, measurer)
    results = [_ladder_result(store, model, version, policy, aim)] if policy.ladder and aim.stage else []
    results += judge(policy, evidence)
    status, now = status_of(results), evidence.now
    expiries = [approval.expires_at for approval in evidence.approvals if approval.expires_at is not None]
    if policy.expires is not None:
        expiries.append(now + round(policy.expires * 1000))
    verdict = Verdict(
        verdict_id=uuid.uuid4().hex,
        model=model,
        version=version,
        target=aim,
        status=status,
        results=tuple(results),
        champion=holder,
        mode=policy.mode,
        policy=policy.name,
        digests=digests,
        created_at=now,
        created_by=user,
        expires_at=min(expiries) if expiries and status is not VerdictStatus.PENDING else None,
        run_id=run_id,
    )
    if not record:
        return verdict
    asked = _questions(policy, verdict, evidence, user) if status is VerdictStatus.PENDING else []
    return store.record_verdict(verdict, asked)


def gather(
    store: Store,
    policy: Policy,
    model: str,
    version: int,
    champion: int | None,
    target: Target,
    approvals: Sequence[Approval],
    measure: Measure,
) -> Evidence:
    """Everything that the gates of a policy are told about a version and the one it is compared with."""
    ours = facts_of(store, model, version)
    theirs = facts_of(store, model, champion) if champion is not None else None
    return Evidence(
        candidate=ours,
        champion=theirs,
        target=target,
        measured=_measured(policy.gates, measure, ours, theirs),
        approvals=tuple(approvals),
        now=milliseconds(),
    )


def judge(policy: Policy, evidence: Evidence) -> list[GateResult]:
    """What each gate of a policy says to the evidence."""
    return [_judged(gate, evidence, enforced=policy.enforced(gate)) for gate in policy.gates]


def approvals_for(store: Store, verdict: Verdict) -> tuple[Approval, ...]:
    """The approvals that count for a verdict (open ones and given ones), newest first."""
    return _live(store, verdict.model, verdict.version, verdict.target, verdict.digests.get("policy", ""))


def request_approval(
    store: Store,
    model: str,
    version: int,
    role: str,
    *,
    target: Target,
    policy: Policy | None = None,
    expires: float | None = None,
    four_eyes: bool = True,
    count: int = 1,
    user: str = "",
    run_id: str | None = None,
) -> Approval:
    """Ask the members of a role about a version, unless they have been asked already.

    Args:
        policy: the policy under which the answer shall count; by default one that holds this approval and nothing else.
        expires: seconds from now.

    Returns: the approval, pending or answered already.
    """
    gate = {"role": role, "four_eyes": four_eyes, "count": count, **({"expires": expires} if expires else {})}
    asking = parse_policy({"name": policy.name if policy else "approval", "gates": [{"approval": gate}]})
    if policy is not None:
        asking = replace(asking, data=policy.data)  # the digest of the policy that the answer is for
    verdict = check(store, model, version, asking, target=target, user=user, run_id=run_id, measure=_nothing_measured)
    return next(one for one in approvals_for(store, verdict) if one.role == role)


def judge_now(
    store: Store, model: str, version: int, target: Target, gates: Sequence[PolicyGate], measure: Measure | None
) -> tuple[GateResult, ...]:
    """What single gates say to a version as it is now, with nobody to compare it with."""
    facts = facts_of(store, model, version)
    with _measuring(store, measure) as measurer:
        measured = _measured(gates, measurer, facts, None)
    evidence = Evidence(facts, None, target, measured, now=milliseconds())
    return tuple(_judged(gate, evidence, enforced=True) for gate in gates)


# --- evidence ---------------------------------------------------------------------------------------------------------


def facts_of(store: Store, model: str, version: int) -> ModelFacts:
    """What the store knows about a version: its run's latest metrics, params and tags, and who started it."""
    found = store.get_model_version(model, version)
    metrics: dict[str, float] = {}
    params: dict[str, str] = {}
    tags: dict[str, str] = {}
    starter = found.user_id or ""
    if found.model_id:
        logged = store.get_logged_model(found.model_id, allow_deleted=True)
        metrics |= {metric.key: metric.value for metric in logged.metrics}
        params |= {param.key: param.value for param in logged.params}
    if found.run_id:
        run = store.get_run(found.run_id)
        metrics |= {metric.key: metric.value for metric in run.data.metrics}
        params |= {param.key: param.value for param in run.data.params}
        tags |= {tag.key: tag.value for tag in run.data.tags}
        starter = run.info.user_id or run.tag("mlflow.user") or starter
    return ModelFacts(model, version, found.run_id or None, found.source, starter, metrics, params, tags)


def _measured(
    gates: Sequence[PolicyGate], measure: Measure, candidate: ModelFacts, champion: ModelFacts | None
) -> Measured:
    """Every need once, whoever asks; needs of a champion that is not there are left out."""
    needs = dict.fromkeys(
        (side, need)
        for gate in gates
        for side, need in gate.gate.needs()
        if side is Side.CANDIDATE or champion is not None
    )
    return measure(tuple(needs), candidate, champion) if needs else {}


def _nothing_measured(*_asked: object) -> Measured:
    return {}


@contextlib.contextmanager
def _measuring(store: Store, measure: Measure | None) -> Iterator[Measure]:
    """How needs are measured: as told, or by the settings of the environment, from the current directory."""
    if measure is not None:
        yield measure
        return
    # Imported on use: judging metrics needs neither environments nor artifacts.
    from mlgate.evidence import Measurer
    from mlgate.settings import load_settings
    from mlgate.tracking import Tracking

    with Measurer(Tracking(load_settings(), store)) as measurer:
        yield measurer.measure


def _judged(gate: PolicyGate, evidence: Evidence, *, enforced: bool) -> GateResult:
    return replace(gate.gate.judge(evidence), enforced=enforced, settings=gate.settings)


def _ladder_result(store: Store, model: str, version: int, policy: Policy, target: Target) -> GateResult:
    """A version climbs one rung at a time; the first is open to all."""
    stage = store.get_model_version(model, version).current_stage
    assert target.stage is not None
    if target.stage not in policy.ladder:
        message = f"stage {target.stage} is not on the ladder {' -> '.join(policy.ladder)}"
        return GateResult("ladder", False, (stated("stage", False, message),))
    rung = policy.ladder.index(target.stage)
    here = policy.ladder.index(stage) if stage in policy.ladder else -1
    passed = here >= rung - 1
    message = f"version {version} is at {stage}; {target.stage} is next"
    if not passed:
        message = f"version {version} is at {stage}; {target.stage} comes after {policy.ladder[rung - 1]}"
    return GateResult("ladder", passed, (stated("stage", passed, message),))


def _digests(store: Store, policy: Policy, evidence: Evidence, measure: Measure) -> dict[str, str]:
    """Digests of everything that was looked at; what nobody knows is left out."""
    candidate, champion = evidence.candidate, evidence.champion
    found = {
        "policy": policy.digest,
        "commit": candidate.tags.get("mlflow.source.git.commit", ""),
        "environment": candidate.tags.get("mlgate.env.lock") or candidate.tags.get("mlgate.env.digest", ""),
        "data": _data_digest(store, candidate),
        "model": digest_of([candidate.source, candidate.run_id]),
        "champion": digest_of([champion.source, champion.run_id]) if champion else "",
    }
    # A measurer that has opened files knows better.
    measured = getattr(getattr(measure, "__self__", None), "digests", {})
    return {name: value for name, value in {**found, **measured}.items() if value}


def _data_digest(store: Store, candidate: ModelFacts) -> str:
    if candidate.run_id is None:
        return ""
    inputs = store.get_run(candidate.run_id).inputs.dataset_inputs
    return digest_of(sorted([one.dataset.name, one.dataset.digest] for one in inputs)) if inputs else ""


# --- approvals --------------------------------------------------------------------------------------------------------


def _approvals(store: Store, model: str, version: int, target: Target, policy: Policy) -> tuple[Approval, ...]:
    if not any(isinstance(gate.gate, ApprovalGate) for gate in policy.gates):
        return ()
    return _live(store, model, version, target, policy.digest)


def _live(store: Store, model: str, version: int, target: Target, policy_digest: str) -> tuple[Approval, ...]:
    """Approvals that can still speak for a version: open ones and answered ones, newest first."""
    found = store.search_approvals(model=model, version=version, max_results=1000).items
    live = (ApprovalStatus.PENDING, ApprovalStatus.APPROVED, ApprovalStatus.REJECTED)
    return tuple(
        one for one in found if one.target == target and one.policy_digest == policy_digest and one.status in live
    )


def _questions(policy: Policy, verdict: Verdict, evidence: Evidence, user: str) -> list[Approval]:
    """What has to be asked for a verdict that waits: one approval for each gate that has none open."""
    open_roles = {one.role for one in evidence.approvals if one.status is not ApprovalStatus.REJECTED}
    return [
        Approval(
            approval_id=uuid.uuid4().hex,
            verdict_id=verdict.verdict_id,
            model=verdict.model,
            version=verdict.version,
            role=gate.gate.role,
            target=verdict.target,
            count=gate.gate.count,
            four_eyes=gate.gate.four_eyes,
            starter=evidence.candidate.starter or user,
            requested_by=user,
            requested_at=verdict.created_at,
            expires_at=None if gate.gate.expires is None else verdict.created_at + round(gate.gate.expires * 1000),
            policy_digest=policy.digest,
        )
        for gate in policy.gates
        if isinstance(gate.gate, ApprovalGate) and policy.enforced(gate) and gate.gate.role not in open_roles
    ]


def _target_of(policy: Policy, target: Target | None) -> Target:
    aim = target or policy.target
    if aim is None:
        raise UsageError(f"policy {policy.name}: names no target; add to: {{alias: champion}} or pass --to champion")
    return aim


def milliseconds() -> int:
    return time.time_ns() // 1_000_000


__all__ = [
    "Measure",
    "approvals_for",
    "check",
    "facts_of",
    "gather",
    "judge",
    "judge_now",
    "milliseconds",
    "request_approval",
]
