"""Judge past promotions again under another policy: which of them would have gone otherwise?"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from mlgate.gates.people import ApprovalGate
from mlgate.policy import Policy
from mlgate.promotion import Measure, gather, judge
from mlgate_tracking.errors import ResourceDoesNotExist
from mlgate_tracking.governance import (
    Approval,
    ApprovalStatus,
    GateResult,
    Promotion,
    PromotionKind,
    VerdictStatus,
    status_of,
)

if TYPE_CHECKING:
    from mlgate_tracking.contract import Store


@dataclass(frozen=True, slots=True)
class Replayed:
    """One past promotion and what the policy says to it.

    Attributes:
        changed: it happened and would not have, or would have had to wait.
        failures: the comparisons that speak against it.
    """

    promotion: Promotion
    status: VerdictStatus
    changed: bool
    failures: tuple[str, ...]
    results: tuple[GateResult, ...] = ()


def replay(store: Store, model: str, policy: Policy, *, last: int = 20, measure: Measure) -> tuple[Replayed, ...]:
    """The last promotions of a model (of the policy's target, if it names one), newest first, judged again.

    Each version is compared with the one that it replaced. Approvals that were given then count, whatever policy asked
    for them; promotions whose versions have been deleted are left out.
    """
    found: list[Replayed] = []
    token: str | None = None
    while len(found) < last:
        page = store.search_promotions(model, target=policy.target, page_token=token)
        for promotion in page.items:
            if promotion.kind is not PromotionKind.ROLLBACK and promotion.version is not None and len(found) < last:
                judged = _again(store, promotion, policy, measure)
                if judged is not None:
                    found.append(judged)
        token = page.token
        if token is None:
            break
    return tuple(found)


def _again(store: Store, promotion: Promotion, policy: Policy, measure: Measure) -> Replayed | None:
    assert promotion.version is not None
    approvals = _given(store, promotion, policy)
    try:
        evidence = gather(
            store,
            policy,
            promotion.model,
            promotion.version,
            promotion.previous_version,
            promotion.target,
            approvals,
            measure,
        )
    except ResourceDoesNotExist:
        return None
    results = tuple(judge(policy, evidence))
    status = status_of(results)
    failures = tuple(
        reason.message
        for result in results
        if result.enforced and not result.passed
        for reason in result.reasons
        if not reason.passed
    )
    return Replayed(promotion, status, status is not VerdictStatus.PASSED, failures, results)


def _given(store: Store, promotion: Promotion, policy: Policy) -> Sequence[Approval]:
    """The approvals of the version as they were before the promotion made them void."""
    if not any(isinstance(gate.gate, ApprovalGate) for gate in policy.gates):
        return ()
    found = store.search_approvals(model=promotion.model, version=promotion.version, max_results=1000).items
    return tuple(
        replace(one, status=ApprovalStatus.APPROVED, expires_at=None)
        for one in found
        if sum(said.approved for said in one.decisions) >= one.count and all(said.approved for said in one.decisions)
    )


__all__ = ["Replayed", "replay"]
