"""Promotion as every engine does it: judge a version, ask for approval, promote it, move the champion back.

    policy = load_policy("policy.yaml")
    result = promote(store, "iris", 4, policy=policy, user="alice")
    if result.outcome is Outcome.PENDING:
        ...  # somebody has to approve; call promote again afterwards

Rejected is not failed: a version that does not pass comes back as a result with its verdict. What raises is what the
caller has to know about: somebody else was faster (`Conflict`), a store that is away, arguments that cannot be meant.
Every record turns into JSON by `mlgate_tracking.governance.encode`.
"""

from __future__ import annotations

import contextlib
import time
import uuid
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from enum import StrEnum
from typing import TYPE_CHECKING, Any, Literal

from mlgate.errors import UsageError
from mlgate.gates.evidence import Evidence, ModelFacts, Need, Side
from mlgate.gates.people import ApprovalGate
from mlgate.gates.reasons import stated
from mlgate.policy import Health, Policy, PolicyGate, parse_policy
from mlgate_tracking.entities import STAGES
from mlgate_tracking.errors import Conflict, InvalidParameterValue, ResourceDoesNotExist
from mlgate_tracking.governance import (
    ANY,
    Approval,
    ApprovalStatus,
    GateResult,
    IntentStatus,
    Promotion,
    PromotionRequest,
    RollbackIntent,
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


class Outcome(StrEnum):
    PROMOTED = "promoted"
    REJECTED = "rejected"
    PENDING = "pending"
    """Everything passed but an approval that nobody has given yet."""
    ROLLED_BACK = "rolled_back"
    """Promoted, and moved back because the smoke check right after it failed."""


@dataclass(frozen=True, slots=True)
class PromotionResult:
    """What became of a promotion; turns into JSON by `encode`.

    Attributes:
        verdict: what the gates said; None when there was no policy.
        promotion: the change; None when nothing was changed.
        approvals: those that the promotion waits for, or that allowed it.
        smoke: what the checks right after the promotion said.
    """

    outcome: Outcome
    verdict: Verdict | None = None
    promotion: Promotion | None = None
    approvals: tuple[Approval, ...] = ()
    smoke: tuple[GateResult, ...] = ()

    @property
    def promoted(self) -> bool:
        return self.outcome is Outcome.PROMOTED


def parse_target(text: str, ladder: Sequence[str] = ()) -> Target:
    """What `--to` means: a stage of MLflow's or of the ladder (in any case), else an alias; `champion,Production` both.

    Raises:
        UsageError: nothing is named, or two aliases or two stages.
    """
    stages = {stage.lower(): stage for stage in (*STAGES, *ladder)}
    alias: str | None = None
    stage: str | None = None
    for part in filter(None, (part.strip() for part in text.split(","))):
        if part.lower() in stages:
            if stage:
                raise UsageError(f"--to {text}: names two stages, {stage} and {part}")
            stage = stages[part.lower()]
        elif alias:
            raise UsageError(f"--to {text}: names two aliases, {alias} and {part}")
        else:
            alias = part.removeprefix("@")
    if not alias and not stage:
        raise UsageError(f"--to '{text}': names neither an alias nor a stage; write champion or Production")
    return Target(alias, stage)


# --- judging ----------------------------------------------------------------------------------------------------------


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
        now=_now(),
    )


def judge(policy: Policy, evidence: Evidence) -> list[GateResult]:
    """What each gate of a policy says to the evidence."""
    return [_judged(gate, evidence, enforced=policy.enforced(gate)) for gate in policy.gates]


def approvals_for(store: Store, verdict: Verdict) -> tuple[Approval, ...]:
    """The approvals that count for a verdict (open ones and given ones), newest first."""
    found = store.search_approvals(model=verdict.model, version=verdict.version, max_results=1000).items
    policy = verdict.digests.get("policy", "")
    live = (ApprovalStatus.PENDING, ApprovalStatus.APPROVED, ApprovalStatus.REJECTED)
    return tuple(
        one for one in found if one.policy_digest == policy and one.target == verdict.target and one.status in live
    )


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


# --- promoting --------------------------------------------------------------------------------------------------------


def promote(
    store: Store,
    model: str,
    version: int,
    *,
    target: Target | None = None,
    policy: Policy | None = None,
    verdict: Verdict | None = None,
    expect: int | Literal["any"] | None = ANY,
    idempotency_key: str | None = None,
    user: str = "",
    comment: str = "",
    run_id: str | None = None,
    measure: Measure | None = None,
) -> PromotionResult:
    """Promote a version if its gates let it through.

    Args:
        target: instead of the policy's or verdict's own.
        policy: gates to judge now; with `verdict`, only what happens around the promotion is taken from it (archive,
            health).
        verdict: one that has been made before, instead of judging anew.
        expect: version that must hold the target now (None: nobody).
        idempotency_key: the same key again gives the first answer; engines pass their step's key, so that a retry
            promotes once.

    Raises:
        Conflict: the champion has moved, so that the verdict is void or `expect` no longer holds.
        PermissionDenied: the model is protected and no verdict allows it.
    """
    if verdict is None and policy is not None:
        known = store.find_promotion(idempotency_key) if idempotency_key else None
        if known is not None and (known.model, known.version) == (model, version):
            # A retry: judged anew, the version would have to beat itself.
            first = store.get_verdict(known.verdict_id) if known.verdict_id else None
            result = PromotionResult(Outcome.PROMOTED, first, replace(known, replayed=True))
            return _afterwards(store, result, policy.health, user, measure)
        verdict = check(store, model, version, policy, target=target, user=user, run_id=run_id, measure=measure)
    approvals = approvals_for(store, verdict) if verdict is not None and _asks(verdict) else ()
    if verdict is not None:
        if verdict.status is VerdictStatus.REJECTED:
            return PromotionResult(Outcome.REJECTED, verdict)
        if verdict.status is VerdictStatus.PENDING:
            waiting = _still_waiting(verdict, approvals)
            if waiting is not None:
                return PromotionResult(waiting, verdict, approvals=approvals)
    aim = target or (verdict.target if verdict else None) or (policy.target if policy else None)
    if aim is None:
        raise UsageError("promote: name a target, as in target=Target(alias='champion') or to: in the policy")
    health = policy.health if policy else None
    request = PromotionRequest(
        model=model,
        version=version,
        target=aim,
        expect=expect,
        verdict_id=verdict.verdict_id if verdict else None,
        idempotency_key=idempotency_key,
        user=user,
        comment=comment,
        archive_existing=policy.archive if policy else True,
        run_id=run_id,
        health_due_at=_health_deadline(health),
        health_checks={**health.data, "every": health.every} if health else {},
    )
    result = PromotionResult(Outcome.PROMOTED, verdict, store.promote(request), approvals)
    return _afterwards(store, result, health, user, measure)


def rollback(
    store: Store,
    model: str,
    *,
    target: Target | None = None,
    to_version: int | None = None,
    reason: str = "",
    user: str = "",
    intent_id: str | None = None,
) -> Promotion:
    """Move the champion back to the one before it, or to `to_version`; the intent is stored first.

    Raises:
        BadRequest: nobody held the target before.
        Conflict: the champion moved between the intent and its doing.
    """
    intent = store.intend_rollback(
        model, target=target, to_version=to_version, reason=reason, user=user, intent_id=intent_id
    )
    return store.finish_rollback(intent.intent_id, user=user, reason=reason)


# --- health -----------------------------------------------------------------------------------------------------------


Done = Literal["waiting", "confirmed", "rolled_back", "superseded"]

_SETTLED: dict[IntentStatus, Done] = {
    IntentStatus.CANCELLED: "confirmed",
    IntentStatus.DONE: "rolled_back",
    IntentStatus.SUPERSEDED: "superseded",
}


@dataclass(frozen=True, slots=True)
class Watched:
    """What a look at one rollback intent came to."""

    intent: RollbackIntent
    done: Done
    results: tuple[GateResult, ...] = ()


def tend(
    store: Store, *, user: str = "", model: str | None = None, measure: Measure | None = None
) -> tuple[Watched, ...]:
    """Look once at every pending rollback intent and do what is to be done; safe to call from many workers.

    An intent without a health window is finished (whoever stored it did not live to do it). In a window the health
    gates are judged: a no rolls back at once; a yes at or after its end confirms; when they cannot be judged, the end
    of the window decides by the policy's `unconfirmed`.
    """
    seen: list[Watched] = []
    token: str | None = None
    while True:
        page = store.search_rollbacks(status=IntentStatus.PENDING, model=model, page_token=token)
        seen += [_tend(store, intent, user, measure) for intent in page.items]
        token = page.token
        if token is None:
            return tuple(seen)


def watch(
    store: Store,
    intent_id: str,
    *,
    user: str = "",
    measure: Measure | None = None,
    sleep: Callable[[float], None] = time.sleep,
) -> Watched:
    """Watch over one health window until it is confirmed, rolled back or superseded."""
    while True:
        found = store.get_rollback(intent_id)
        if found.status is not IntentStatus.PENDING:
            return Watched(found, _SETTLED[found.status])
        seen = _tend(store, found, user, measure)
        if seen.done != "waiting":
            return seen
        every = float(found.checks.get("every", 60.0))
        left = ((found.due_at or 0) - _now()) / 1000
        sleep(max(0.05, min(every, left)))


def _tend(store: Store, intent: RollbackIntent, user: str, measure: Measure | None) -> Watched:
    if intent.due_at is None:
        return _roll_back(store, intent, user, intent.reason)
    over = _now() >= intent.due_at
    health = _health_of(intent)
    results: tuple[GateResult, ...] = ()
    # A window is judged all the time; a smoke check that nobody lived to see through, once its time is over.
    gates = health.gates or (health.smoke if over else ())
    if gates and intent.from_version is not None:
        try:
            results = _judge_now(store, intent.model, intent.from_version, intent.target, gates, measure)
        except (ResourceDoesNotExist, InvalidParameterValue):
            pass  # the version or its run has gone: nobody can judge it any more
        else:
            failed = [reason.message for result in results if not result.passed for reason in result.reasons]
            if failed:
                return replace(_roll_back(store, intent, user, "; ".join(failed)), results=results)
    if not over:
        return Watched(intent, "waiting", results)
    if results or health.unconfirmed == "keep":
        return Watched(store.cancel_rollback(intent.intent_id, user=user, reason="healthy"), "confirmed", results)
    return _roll_back(store, intent, user, intent.reason)


def _roll_back(store: Store, intent: RollbackIntent, user: str, reason: str) -> Watched:
    try:
        store.finish_rollback(intent.intent_id, user=user, reason=reason)
    except Conflict:
        return Watched(replace(intent, status=IntentStatus.SUPERSEDED), "superseded")
    return Watched(replace(intent, status=IntentStatus.DONE, reason=reason), "rolled_back")


def _health_of(intent: RollbackIntent) -> Health:
    data = {name: value for name, value in intent.checks.items() if name != "every" or value}
    return parse_policy({"health": data}).health or Health() if data else Health()


def _health_deadline(health: Health | None) -> int | None:
    if health is None or (health.window is None and not health.smoke):
        return None
    # Even without a window the intent is stored with the promotion: a worker that dies in the smoke check leaves it.
    return _now() + round((health.window if health.window is not None else _SMOKE_TIME) * 1000)


_SMOKE_TIME = 900.0
"""Seconds in which a smoke check has to come to its end."""


def _afterwards(
    store: Store, result: PromotionResult, health: Health | None, user: str, measure: Measure | None
) -> PromotionResult:
    """Judge the smoke gates of a promotion; a no moves the champion back at once.

    A retry takes up what a dead worker left, and says what became of it if somebody has been there since.
    """
    promotion = result.promotion
    assert promotion is not None
    if promotion.intent_id is None or promotion.version is None:
        return result
    if promotion.replayed:
        intent = store.get_rollback(promotion.intent_id)
        if intent.status is IntentStatus.DONE:
            return replace(result, outcome=Outcome.ROLLED_BACK)
        if intent.status is not IntentStatus.PENDING:
            return result
    if health is None or not health.smoke:
        return result
    smoke = _judge_now(store, promotion.model, promotion.version, promotion.target, health.smoke, measure)
    failed = [reason.message for one in smoke if not one.passed for reason in one.reasons if not reason.passed]
    if failed:
        back = store.finish_rollback(promotion.intent_id, user=user, reason=f"smoke check: {'; '.join(failed)}")
        return replace(result, outcome=Outcome.ROLLED_BACK, promotion=back, smoke=smoke)
    if health.window is None:
        store.cancel_rollback(promotion.intent_id, user=user, reason="the smoke check passed")
    return replace(result, smoke=smoke)


def _judge_now(
    store: Store, model: str, version: int, target: Target, gates: Sequence[PolicyGate], measure: Measure | None
) -> tuple[GateResult, ...]:
    facts = facts_of(store, model, version)
    with _measuring(store, measure) as measurer:
        measured = _measured(gates, measurer, facts, None)
    evidence = Evidence(facts, None, target, measured, now=_now())
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
    found = store.search_approvals(model=model, version=version, max_results=1000).items
    live = (ApprovalStatus.PENDING, ApprovalStatus.APPROVED, ApprovalStatus.REJECTED)
    return tuple(
        one for one in found if one.target == target and one.policy_digest == policy.digest and one.status in live
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


def _asks(verdict: Verdict) -> bool:
    return any(result.gate == "approval" and result.enforced for result in verdict.results)


def _still_waiting(verdict: Verdict, approvals: Sequence[Approval]) -> Outcome | None:
    """What a pending verdict is by now: None when everybody who was asked has approved."""
    roles = {
        str(result.settings.get("role")) for result in verdict.results if result.gate == "approval" and result.enforced
    }
    latest: dict[str, ApprovalStatus] = {}
    for approval in approvals:
        latest.setdefault(approval.role, approval.status)
    if any(latest.get(role) is ApprovalStatus.REJECTED for role in roles):
        return Outcome.REJECTED
    return None if all(latest.get(role) is ApprovalStatus.APPROVED for role in roles) else Outcome.PENDING


def _target_of(policy: Policy, target: Target | None) -> Target:
    aim = target or policy.target
    if aim is None:
        raise UsageError(f"policy {policy.name}: names no target; add to: {{alias: champion}} or pass --to champion")
    return aim


def _now() -> int:
    return time.time_ns() // 1_000_000


__all__ = [
    "Measure",
    "Outcome",
    "PromotionResult",
    "Watched",
    "approvals_for",
    "check",
    "facts_of",
    "gather",
    "judge",
    "parse_target",
    "promote",
    "request_approval",
    "rollback",
    "tend",
    "watch",
]
