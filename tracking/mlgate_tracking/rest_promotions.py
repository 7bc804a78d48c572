"""`Promotions` over mlgate's own REST API: a part of `RestStore`."""

from __future__ import annotations

import uuid
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any, TypeVar
from urllib.parse import quote

from mlgate_tracking.entities import Page, Webhook, WebhookEvent
from mlgate_tracking.governance import (
    Approval,
    ApprovalStatus,
    AuditEntry,
    Event,
    Holder,
    IntentStatus,
    Promotion,
    PromotionRequest,
    Protection,
    RequiredApproval,
    RoleMember,
    RollbackIntent,
    Target,
    Verdict,
    decode,
    encode,
)
from mlgate_tracking.promotions import Promotions
from mlgate_tracking.rest_calls import MLGATE, RestCalls
from mlgate_tracking.wire import Json

T = TypeVar("T")


class RestPromotions(RestCalls, Promotions):
    """Every write may be repeated: promotions and rollbacks carry an id that the server knows again."""

    def holder(self, model: str, target: Target) -> Holder:
        return decode(Holder, self._get(MLGATE + "promotions/holder", model=model, **_target(target))["holder"])

    # --- verdicts and approvals -----------------------------------------------------------------------------------

    def record_verdict(self, verdict: Verdict, approvals: Sequence[Approval] = ()) -> Verdict:
        body = {"verdict": encode(verdict), "approvals": encode(list(approvals))}
        return decode(Verdict, self._write("POST", MLGATE + "verdicts/record", body)["verdict"])

    def get_verdict(self, verdict_id: str) -> Verdict:
        return decode(Verdict, self._get(MLGATE + "verdicts/get", verdict_id=verdict_id)["verdict"])

    def search_verdicts(
        self, model: str, *, version: int | None = None, max_results: int = 100, page_token: str | None = None
    ) -> Page[Verdict]:
        query = {"model": model, "version": version, "max_results": max_results, "page_token": page_token}
        return _page(Verdict, "verdicts", self._get(MLGATE + "verdicts/search", **query))

    def get_approval(self, approval_id: str) -> Approval:
        return decode(Approval, self._get(MLGATE + "approvals/get", approval_id=approval_id)["approval"])

    def search_approvals(
        self,
        *,
        model: str | None = None,
        version: int | None = None,
        status: ApprovalStatus | None = None,
        max_results: int = 100,
        page_token: str | None = None,
    ) -> Page[Approval]:
        answer = self._get(
            MLGATE + "approvals/search",
            model=model,
            version=version,
            status=status and status.value,
            max_results=max_results,
            page_token=page_token,
        )
        return _page(Approval, "approvals", answer)

    def decide_approval(self, approval_id: str, user: str, approved: bool, comment: str = "") -> Approval:
        body = {"approval_id": approval_id, "user": user, "approved": approved, "comment": comment}
        return decode(Approval, self._write("POST", MLGATE + "approvals/decide", body)["approval"])

    def grant_role(self, role: str, member: str, *, user: str = "") -> None:
        self._write("POST", MLGATE + "roles/grant", {"role": role, "member": member, "user": user})

    def revoke_role(self, role: str, member: str, *, user: str = "") -> None:
        self._write("POST", MLGATE + "roles/revoke", {"role": role, "member": member, "user": user})

    def role_members(self, role: str | None = None) -> tuple[RoleMember, ...]:
        return _all(RoleMember, self._get(MLGATE + "roles/members", role=role).get("members"))

    # --- promotions ---------------------------------------------------------------------------------------------

    def promote(self, request: PromotionRequest) -> Promotion:
        if request.idempotency_key is None:
            # A request that is sent again after a lost answer must not look like somebody else's.
            request = replace(request, idempotency_key=f"request-{uuid.uuid4().hex}")
        body = {"promotion": encode(request)}
        return decode(Promotion, self._write("POST", MLGATE + "promotions/promote", body)["promotion"])

    def get_promotion(self, promotion_id: str) -> Promotion:
        return decode(Promotion, self._get(MLGATE + "promotions/get", promotion_id=promotion_id)["promotion"])

    def find_promotion(self, idempotency_key: str) -> Promotion | None:
        found = self._get(MLGATE + "promotions/find", idempotency_key=idempotency_key).get("promotion")
        return None if found is None else decode(Promotion, found)

    def search_promotions(
        self,
        model: str,
        *,
        target: Target | None = None,
        max_results: int = 100,
        page_token: str | None = None,
    ) -> Page[Promotion]:
        query = {"model": model, "max_results": max_results, "page_token": page_token, **_target(target)}
        return _page(Promotion, "promotions", self._get(MLGATE + "promotions/search", **query))

    def intend_rollback(
        self,
        model: str,
        *,
        target: Target | None = None,
        to_version: int | None = None,
        reason: str = "",
        user: str = "",
        intent_id: str | None = None,
    ) -> RollbackIntent:
        body: dict[str, Any] = {"model": model, "reason": reason, "user": user, **_target(target)}
        body |= {"intent_id": intent_id or uuid.uuid4().hex, "to_version": to_version}
        return decode(RollbackIntent, self._write("POST", MLGATE + "rollbacks/intend", body)["rollback"])

    def finish_rollback(self, intent_id: str, *, user: str = "", reason: str = "") -> Promotion:
        body = {"intent_id": intent_id, "user": user, "reason": reason}
        return decode(Promotion, self._write("POST", MLGATE + "rollbacks/finish", body)["promotion"])

    def cancel_rollback(self, intent_id: str, *, user: str = "", reason: str = "") -> RollbackIntent:
        body = {"intent_id": intent_id, "user": user, "reason": reason}
        return decode(RollbackIntent, self._write("POST", MLGATE + "rollbacks/cancel", body)["rollback"])

    def get_rollback(self, intent_id: str) -> RollbackIntent:
        return decode(RollbackIntent, self._get(MLGATE + "rollbacks/get", intent_id=intent_id)["rollback"])

    def search_rollbacks(
        self,
        *,
        status: IntentStatus | None = None,
        model: str | None = None,
        max_results: int = 100,
        page_token: str | None = None,
    ) -> Page[RollbackIntent]:
        answer = self._get(
            MLGATE + "rollbacks/search",
            status=status and status.value,
            model=model,
            max_results=max_results,
            page_token=page_token,
        )
        return _page(RollbackIntent, "rollbacks", answer)

    # --- protection, audit, events --------------------------------------------------------------------------------

    def protect_model(
        self,
        model: str,
        protected: bool = True,
        *,
        policy_digest: str | None = None,
        approvals: Sequence[RequiredApproval] = (),
        user: str = "",
    ) -> Protection:
        body = {"model": model, "protected": protected, "policy_digest": policy_digest or "", "user": user}
        body["approvals"] = encode(list(approvals))
        return decode(Protection, self._write("POST", MLGATE + "protection/set", body)["protection"])

    def get_protection(self, model: str) -> Protection:
        return decode(Protection, self._get(MLGATE + "protection/get", model=model)["protection"])

    def audit_log(self, *, after: int = 0, max_results: int = 1000) -> tuple[AuditEntry, ...]:
        return _all(AuditEntry, self._get(MLGATE + "audit", after=after, max_results=max_results).get("entries"))

    def events(self, *, after: int = 0, model: str | None = None, max_results: int = 100) -> tuple[Event, ...]:
        answer = self._get(MLGATE + "events", after=after, model=model, max_results=max_results)
        return _all(Event, answer.get("events"))

    # --- webhooks: `ServerStore` has the rest of them ---------------------------------------------------------------

    def create_webhook(
        self,
        name: str,
        url: str,
        events: Sequence[WebhookEvent],
        *,
        description: str | None = None,
        secret: str | None = None,
        status: str = "ACTIVE",
    ) -> Webhook:
        """Tell `url` of events; the server checks whether it may go there. Not repeated after a lost answer."""
        body: Json = {
            "name": name,
            "url": url,
            "events": [{"entity": event.entity, "action": event.action} for event in events],
            "status": status,
        }
        body |= {key: value for key, value in (("description", description), ("secret", secret)) if value}
        return _webhook(self._write("POST", MLGATE + "webhooks", body, repeatable=False)["webhook"])

    def list_webhooks(self, *, max_results: int = 100, page_token: str | None = None) -> Page[Webhook]:
        answer = self._get(MLGATE + "webhooks", max_results=max_results, page_token=page_token)
        found = tuple(_webhook(one) for one in answer.get("webhooks", ()))
        return Page(found, answer.get("next_page_token") or None)

    def delete_webhook(self, webhook_id: str) -> None:
        self._write("DELETE", f"{MLGATE}webhooks/{quote(webhook_id, safe='')}", {}, repeatable=False)


def _webhook(data: Json) -> Webhook:
    events = [{name: value.lower() for name, value in event.items()} for event in data["events"]]
    return decode(Webhook, {**data, "events": events})


def _target(target: Target | None) -> dict[str, str]:
    if target is None:
        return {}
    return {name: value for name, value in (("alias", target.alias), ("stage", target.stage)) if value}


def _all(kind: type[T], items: Sequence[Any] | None) -> tuple[T, ...]:
    return tuple(decode(kind, item) for item in items or ())


def _page(kind: type[T], name: str, answer: Mapping[str, Any]) -> Page[T]:
    return Page(_all(kind, answer.get(name)), answer.get("next_page_token") or None)


__all__ = ["RestPromotions"]
