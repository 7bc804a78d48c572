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

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from enum import StrEnum
from typing import TYPE_CHECKING, Literal

from mlgate.errors import UsageError
from mlgate.judging import (
    Measure,
    approvals_for,
    check,
    facts_of,
    gather,
    judge,
    judge_now,
    milliseconds,
    request_approval,
)
from mlgate.policy import Health, Policy, parse_policy
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
)

if TYPE_CHECKING:
    from mlgate_tracking.contract import Store


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
        left = ((found.due_at or 0) - milliseconds()) / 1000
        sleep(max(0.05, min(every, left)))


def _tend(store: Store, intent: RollbackIntent, user: str, measure: Measure | None) -> Watched:
    if intent.due_at is None:
        return _roll_back(store, intent, user, intent.reason)
    over = milliseconds() >= intent.due_at
    health = _health_of(intent)
    results: tuple[GateResult, ...] = ()
    # A window is judged all the time; a smoke check that nobody lived to see through, once its time is over.
    gates = health.gates or (health.smoke if over else ())
    if gates and intent.from_version is not None:
        try:
            results = judge_now(store, intent.model, intent.from_version, intent.target, gates, measure)
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
    return milliseconds() + round((health.window if health.window is not None else _SMOKE_TIME) * 1000)


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
    smoke = judge_now(store, promotion.model, promotion.version, promotion.target, health.smoke, measure)
    failed = [reason.message for one in smoke if not one.passed for reason in one.reasons if not reason.passed]
    if failed:
        back = store.finish_rollback(promotion.intent_id, user=user, reason=f"smoke check: {'; '.join(failed)}")
        return replace(result, outcome=Outcome.ROLLED_BACK, promotion=back, smoke=smoke)
    if health.window is None:
        store.cancel_rollback(promotion.intent_id, user=user, reason="the smoke check passed")
    return replace(result, smoke=smoke)


# --- approvals --------------------------------------------------------------------------------------------------------


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
