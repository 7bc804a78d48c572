"""Verdicts, approvals, promotions, rollbacks, protection, audit log and events."""

from __future__ import annotations

from typing import Annotated, Any

import msgspec

from mlgate_tracking.errors import InvalidParameterValue
from mlgate_tracking.governance import (
    Approval,
    ApprovalStatus,
    IntentStatus,
    PromotionRequest,
    RequiredApproval,
    Target,
    Verdict,
    decode,
    encode,
)
from mlgate_tracking.server.decode import Natural, Request, Text, Version
from mlgate_tracking.server.endpoints import PAGED, Call, endpoint
from mlgate_tracking.wire import Json

Most = Annotated[int, msgspec.Meta(ge=1, le=1000)]


class Aim(Request, frozen=True):
    """A target in a query: an alias, a stage or both."""

    model: Text
    alias: str = ""
    stage: str = ""

    @property
    def target(self) -> Target | None:
        return Target(self.alias or None, self.stage or None) if self.alias or self.stage else None


class RecordVerdict(Request, frozen=True):
    verdict: dict[str, Any]
    approvals: tuple[dict[str, Any], ...] = ()


class VerdictId(Request, frozen=True):
    verdict_id: Text


class SearchVerdicts(Request, frozen=True):
    model: Text
    version: Version | None = None
    max_results: Most = 100
    page_token: str = ""


class ApprovalId(Request, frozen=True):
    approval_id: Text


class SearchApprovals(Request, frozen=True):
    model: str = ""
    version: Version | None = None
    status: str = ""
    max_results: Most = 100
    page_token: str = ""


class DecideApproval(Request, frozen=True):
    approval_id: Text
    approved: bool
    user: str = ""
    comment: str = ""


class ChangeRole(Request, frozen=True):
    role: Text
    member: Text
    user: str = ""


class RoleName(Request, frozen=True):
    role: str = ""


class Promote(Request, frozen=True):
    promotion: dict[str, Any]


class PromotionId(Request, frozen=True):
    promotion_id: Text


class PromotionKey(Request, frozen=True):
    idempotency_key: Text


class SearchPromotions(Aim, frozen=True):
    max_results: Most = 100
    page_token: str = ""


class IntendRollback(Aim, frozen=True):
    to_version: Version | None = None
    reason: str = ""
    user: str = ""
    intent_id: str = ""


class SettleRollback(Request, frozen=True):
    intent_id: Text
    user: str = ""
    reason: str = ""


class RollbackId(Request, frozen=True):
    intent_id: Text


class SearchRollbacks(Request, frozen=True):
    status: str = ""
    model: str = ""
    max_results: Most = 100
    page_token: str = ""


class Protect(Request, frozen=True):
    model: Text
    protected: bool = True
    policy_digest: str = ""
    approvals: tuple[dict[str, Any], ...] = ()
    user: str = ""


class ModelName(Request, frozen=True):
    model: Text


class ReadLog(Request, frozen=True):
    after: Natural = 0
    max_results: Most = 1000


class ReadEvents(Request, frozen=True):
    after: Natural = 0
    model: str = ""
    max_results: Most = 100


def get_holder(call: Call, request: Aim) -> Json:
    """Who holds an alias or a stage of a model, and since which change."""
    return {"holder": encode(call.store.holder(request.model, request.target or Target()))}


def record_verdict(call: Call, request: RecordVerdict) -> Json:
    """Store what the gates said, and ask for the approvals that are still needed."""
    approvals = [decode(Approval, one) for one in request.approvals]
    return {"verdict": encode(call.store.record_verdict(decode(Verdict, request.verdict), approvals))}


def get_verdict(call: Call, request: VerdictId) -> Json:
    """One verdict with its reasons and the digests of what was judged."""
    return {"verdict": encode(call.store.get_verdict(request.verdict_id))}


def search_verdicts(call: Call, request: SearchVerdicts) -> Json:
    """Verdicts on a model, newest first."""
    page = call.store.search_verdicts(
        request.model,
        version=request.version,
        max_results=request.max_results,
        page_token=request.page_token or None,
    )
    return _page("verdicts", page.items, page.token)


def get_approval(call: Call, request: ApprovalId) -> Json:
    """One approval and what was answered."""
    return {"approval": encode(call.store.get_approval(request.approval_id))}


def search_approvals(call: Call, request: SearchApprovals) -> Json:
    """Approvals, newest first."""
    page = call.store.search_approvals(
        model=request.model or None,
        version=request.version,
        status=_member(ApprovalStatus, request.status),
        max_results=request.max_results,
        page_token=request.page_token or None,
    )
    return _page("approvals", page.items, page.token)


def decide_approval(call: Call, request: DecideApproval) -> Json:
    """Approve or reject, as somebody who has the role."""
    made = call.store.decide_approval(request.approval_id, request.user, request.approved, request.comment)
    return {"approval": encode(made)}


def grant_role(call: Call, request: ChangeRole) -> Json:
    """Let somebody answer for a role."""
    call.store.grant_role(request.role, request.member, user=request.user)
    call.server.callers.forget()
    return {}


def revoke_role(call: Call, request: ChangeRole) -> Json:
    """Take a role away from somebody."""
    call.store.revoke_role(request.role, request.member, user=request.user)
    call.server.callers.forget()
    return {}


def role_members(call: Call, request: RoleName) -> Json:
    """Who has which role."""
    return {"members": encode(call.store.role_members(request.role or None))}


def promote(call: Call, request: Promote) -> Json:
    """Give an alias, a stage or both to a version, if everything that the request expects still holds."""
    done = call.store.promote(decode(PromotionRequest, request.promotion))
    call.server.webhooks.wake()
    return {"promotion": encode(done)}


def get_promotion(call: Call, request: PromotionId) -> Json:
    """One promotion."""
    return {"promotion": encode(call.store.get_promotion(request.promotion_id))}


def find_promotion(call: Call, request: PromotionKey) -> Json:
    """The promotion that an idempotency key stands for, if there is one."""
    found = call.store.find_promotion(request.idempotency_key)
    return {"promotion": encode(found)} if found is not None else {}


def search_promotions(call: Call, request: SearchPromotions) -> Json:
    """Every change of a model's aliases and stages, newest first."""
    page = call.store.search_promotions(
        request.model,
        target=request.target,
        max_results=request.max_results,
        page_token=request.page_token or None,
    )
    return _page("promotions", page.items, page.token)


def intend_rollback(call: Call, request: IntendRollback) -> Json:
    """Store the intent to move a champion back."""
    intent = call.store.intend_rollback(
        request.model,
        target=request.target,
        to_version=request.to_version,
        reason=request.reason,
        user=request.user,
        intent_id=request.intent_id or None,
    )
    return {"rollback": encode(intent)}


def finish_rollback(call: Call, request: SettleRollback) -> Json:
    """Move the champion back as an intent says."""
    done = call.store.finish_rollback(request.intent_id, user=request.user, reason=request.reason)
    call.server.webhooks.wake()
    return {"promotion": encode(done)}


def cancel_rollback(call: Call, request: SettleRollback) -> Json:
    """Drop a pending intent."""
    intent = call.store.cancel_rollback(request.intent_id, user=request.user, reason=request.reason)
    return {"rollback": encode(intent)}


def get_rollback(call: Call, request: RollbackId) -> Json:
    """One rollback intent."""
    return {"rollback": encode(call.store.get_rollback(request.intent_id))}


def search_rollbacks(call: Call, request: SearchRollbacks) -> Json:
    """Rollback intents, oldest first."""
    page = call.store.search_rollbacks(
        status=_member(IntentStatus, request.status),
        model=request.model or None,
        max_results=request.max_results,
        page_token=request.page_token or None,
    )
    return _page("rollbacks", page.items, page.token)


def protect_model(call: Call, request: Protect) -> Json:
    """Let a model's aliases and stages change through gates only, or open it again."""
    made = call.store.protect_model(
        request.model,
        request.protected,
        policy_digest=request.policy_digest or None,
        approvals=[decode(RequiredApproval, one) for one in request.approvals],
        user=request.user,
    )
    return {"protection": encode(made)}


def get_protection(call: Call, request: ModelName) -> Json:
    """Whether a model is protected."""
    return {"protection": encode(call.store.get_protection(request.model))}


def audit_log(call: Call, request: ReadLog) -> Json:
    """A stretch of the audit log."""
    return {"entries": encode(call.store.audit_log(after=request.after, max_results=request.max_results))}


def events(call: Call, request: ReadEvents) -> Json:
    """A stretch of the events: one for each promotion and rollback."""
    found = call.store.events(after=request.after, model=request.model or None, max_results=request.max_results)
    return {"events": encode(found)}


def _page(name: str, items: tuple[Any, ...], token: str | None) -> Json:
    body: Json = {name: encode(items)}
    return {**body, "next_page_token": token} if token else body


def _member(kind: type[Any], value: str) -> Any:
    if not value:
        return None
    try:
        return kind(value)
    except ValueError:
        known = ", ".join(member.value for member in kind)
        raise InvalidParameterValue(
            f"Invalid value {value!r} for parameter 'status' supplied: use one of {known}"
        ) from None


_BASE = "3.0/mlgate/"

ENDPOINTS = (
    endpoint("GET", _BASE + "promotions/holder", Aim, get_holder, holder="Holder"),
    endpoint("POST", _BASE + "verdicts/record", RecordVerdict, record_verdict, verdict="Verdict"),
    endpoint("GET", _BASE + "verdicts/get", VerdictId, get_verdict, verdict="Verdict"),
    endpoint("GET", _BASE + "verdicts/search", SearchVerdicts, search_verdicts, verdicts="[Verdict]", **PAGED),
    endpoint("GET", _BASE + "approvals/get", ApprovalId, get_approval, approval="Approval"),
    endpoint("GET", _BASE + "approvals/search", SearchApprovals, search_approvals, approvals="[Approval]", **PAGED),
    endpoint("POST", _BASE + "approvals/decide", DecideApproval, decide_approval, approval="Approval"),
    endpoint("POST", _BASE + "roles/grant", ChangeRole, grant_role),
    endpoint("POST", _BASE + "roles/revoke", ChangeRole, revoke_role),
    endpoint("GET", _BASE + "roles/members", RoleName, role_members, members="[RoleMember]"),
    endpoint("POST", _BASE + "promotions/promote", Promote, promote, promotion="Promotion"),
    endpoint("GET", _BASE + "promotions/get", PromotionId, get_promotion, promotion="Promotion"),
    endpoint(
        "GET", _BASE + "promotions/search", SearchPromotions, search_promotions, promotions="[Promotion]", **PAGED
    ),
    endpoint("GET", _BASE + "promotions/find", PromotionKey, find_promotion, promotion="Promotion"),
    endpoint("GET", _BASE + "rollbacks/get", RollbackId, get_rollback, rollback="RollbackIntent"),
    endpoint("POST", _BASE + "rollbacks/intend", IntendRollback, intend_rollback, rollback="RollbackIntent"),
    endpoint("POST", _BASE + "rollbacks/finish", SettleRollback, finish_rollback, promotion="Promotion"),
    endpoint("POST", _BASE + "rollbacks/cancel", SettleRollback, cancel_rollback, rollback="RollbackIntent"),
    endpoint(
        "GET", _BASE + "rollbacks/search", SearchRollbacks, search_rollbacks, rollbacks="[RollbackIntent]", **PAGED
    ),
    endpoint("POST", _BASE + "protection/set", Protect, protect_model, protection="Protection"),
    endpoint("GET", _BASE + "protection/get", ModelName, get_protection, protection="Protection"),
    endpoint("GET", _BASE + "audit", ReadLog, audit_log, entries="[AuditEntry]"),
    endpoint("GET", _BASE + "events", ReadEvents, events, events="[Event]"),
)

__all__ = ["ENDPOINTS"]
