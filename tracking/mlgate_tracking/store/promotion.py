"""Promotion in the database: one transaction, a compare-and-swap under the model's row lock, and its way back.

Everything that changes who holds an alias or a stage goes through here, MLflow's own calls too (`record_unguarded`), so
the promotions of a model are the whole history of its champions.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

from mlgate_tracking.entities import Page
from mlgate_tracking.errors import (
    InvalidParameterValue,
    PermissionDenied,
    ResourceDoesNotExist,
)
from mlgate_tracking.governance import (
    ANY,
    GateMode,
    Holder,
    Promotion,
    PromotionKind,
    PromotionRequest,
    Protection,
    RequiredApproval,
    RollbackIntent,
    Target,
    Verdict,
    encode,
)
from mlgate_tracking.store import audit, validate
from mlgate_tracking.store.approvals import missing_approvals, verdict_of
from mlgate_tracking.store.governance import (
    GovernancePart,
    after_key,
    check_target,
    holder_of,
    locked_model,
    model_key,
    next_page,
)
from mlgate_tracking.store.guard import protection_of
from mlgate_tracking.store.promotion_rows import (
    COLUMNS,
    FROM,
    announce,
    last_change,
    lost,
    move,
    promotion_of,
    promotion_with_key,
    require_version,
    slot_of,
    store_intent,
    store_promotion,
)
from mlgate_tracking.store.transaction import Transaction
from mlgate_tracking.store.users import check_role
from mlgate_tracking.store.values import new_id, now
from mlgate_tracking.users import Actor

PROMOTED = "promoted"
"""Action of entity `model_version` in the outbox."""


class PromotionStore(GovernancePart):
    def holder(self, model: str, target: Target) -> Holder:
        check_target(target)
        return self.read(lambda tx: holder_of(tx, model_key(tx, model), target))

    # --- promotions ---------------------------------------------------------------------------------------------

    def promote(self, request: PromotionRequest) -> Promotion:
        self.require_unfenced("promote a model")
        check_target(request.target)
        validate.text(request.idempotency_key or "", validate.MAX_IDEMPOTENCY_KEY, "idempotency key")
        validate.text(request.run_id or "", validate.MAX_RUN_ID, "run_id")
        ids, at, actor = (new_id(), new_id(), new_id()), now(), self.acting(request.user)
        request = replace(request, user=actor.user)
        return self.database.write(lambda tx: _promote(tx, request, actor, ids, at))

    def get_promotion(self, promotion_id: str) -> Promotion:
        def work(tx: Transaction) -> Promotion:
            row = tx.row(f"SELECT {COLUMNS}{FROM} WHERE p.promotion_id = :id", {"id": promotion_id})
            if row is None:
                raise ResourceDoesNotExist(f"no promotion with id {promotion_id!r}")
            return promotion_of(row)

        return self.read(work)

    def find_promotion(self, idempotency_key: str) -> Promotion | None:
        return self.read(lambda tx: promotion_with_key(tx, idempotency_key))

    def search_promotions(
        self,
        model: str,
        *,
        target: Target | None = None,
        max_results: int = 100,
        page_token: str | None = None,
    ) -> Page[Promotion]:
        before = after_key(page_token)

        def work(tx: Transaction) -> Page[Promotion]:
            params: dict[str, Any] = {"model": model_key(tx, model), "most": max_results + 1, "before": before}
            where = " WHERE p.registered_model_pk = :model"
            if before is not None:
                where += " AND p.revision < :before"
            if target is not None:
                column, params["slot"] = slot_of(target)
                where += f" AND p.{column} = :slot"
            rows = tx.rows(f"SELECT {COLUMNS}{FROM}{where} ORDER BY p.revision DESC LIMIT :most", params)
            return next_page([promotion_of(row) for row in rows], max_results, lambda one: one.revision)

        return self.read(work)

    # --- protection ---------------------------------------------------------------------------------------------

    def protect_model(
        self,
        model: str,
        protected: bool = True,
        *,
        policy_digest: str | None = None,
        approvals: Sequence[RequiredApproval] = (),
        user: str = "",
    ) -> Protection:
        self.require_admin("protect a model, or end its protection")
        validate.text(policy_digest or "", validate.MAX_DIGEST, "policy_digest")
        at, actor = now(), self.acting(user)
        for one in approvals:
            check_role(one.role)
            if one.count < 1:
                raise InvalidParameterValue(f"approval by {one.role!r}: count {one.count} is less than 1")
        if len({one.role for one in approvals}) < len(approvals):
            raise InvalidParameterValue("each role may be named once among the approvals that a model needs")

        def work(tx: Transaction) -> Protection:
            pk = locked_model(tx, model)
            for table in ("protected_models", "required_approvals"):
                tx.change(f"DELETE FROM {table} WHERE registered_model_pk = :pk", {"pk": pk})
            if protected:
                tx.insert("protected_models", {"registered_model_pk": pk, "policy_digest": policy_digest})
                rows = [
                    {
                        "registered_model_pk": pk,
                        "role_name": one.role,
                        "needed": one.count,
                        "four_eyes": int(one.four_eyes),
                    }
                    for one in approvals
                ]
                tx.insert_many("required_approvals", rows)
            made = protection_of(tx, pk, model)
            audit.append(tx, at, actor, "model.protected" if protected else "model.unprotected", model, encode(made))
            return made

        return self.database.write(work)

    def get_protection(self, model: str) -> Protection:
        return self.read(lambda tx: protection_of(tx, model_key(tx, model), model))


# --- one promotion ----------------------------------------------------------------------------------------------------


def _promote(tx: Transaction, request: PromotionRequest, actor: Actor, ids: tuple[str, str, str], at: int) -> Promotion:
    pk = locked_model(tx, request.model)
    if request.idempotency_key is not None:
        known = promotion_with_key(tx, request.idempotency_key)
        if known is not None:
            return _replay(known, request)
    require_version(tx, pk, request.model, request.version)
    holder = holder_of(tx, pk, request.target)
    if request.expect not in (ANY, holder.version):
        raise lost(tx, pk, request.model, request.target, holder, request.expect)
    already = _already_done(tx, pk, request, holder)
    if already is not None:
        return already
    verdict = _require_verdict(tx, pk, request, holder, at)
    archived = move(tx, pk, request.version, request.target, request.archive_existing, at)
    intent_id = ids[2] if request.health_due_at is not None else None
    promotion = Promotion(
        promotion_id=ids[0],
        revision=0,
        kind=PromotionKind.PROMOTION,
        model=request.model,
        version=request.version,
        previous_version=holder.version,
        target=request.target,
        archived=archived,
        verdict_id=verdict.verdict_id if verdict else None,
        user=request.user,
        comment=request.comment,
        created_at=at,
        event_id=ids[1],
        run_id=request.run_id,
        intent_id=intent_id,
    )
    promotion = store_promotion(tx, pk, promotion, request.idempotency_key)
    if intent_id is not None:
        store_intent(
            tx,
            pk,
            RollbackIntent(
                intent_id=intent_id,
                model=request.model,
                target=request.target,
                from_version=request.version,
                to_version=holder.version,
                revision=promotion.revision,
                reason="not confirmed within its health window",
                user=request.user,
                created_at=at,
                due_at=request.health_due_at,
                checks=request.health_checks,
                promotion_id=promotion.promotion_id,
            ),
        )
    announce(tx, promotion, PROMOTED)
    audit.append(tx, at, actor, "promotion.done", request.model, encode(promotion))
    return promotion


def _replay(known: Promotion, request: PromotionRequest) -> Promotion:
    if (known.model, known.version, known.target) != (request.model, request.version, request.target):
        raise InvalidParameterValue(
            f"idempotency key {request.idempotency_key!r} belongs to the promotion of {known.model} version "
            f"{known.version} to {known.target}; use another one",
            promotion=encode(known),
        )
    return replace(known, replayed=True)


def _already_done(tx: Transaction, pk: int, request: PromotionRequest, holder: Holder) -> Promotion | None:
    """The promotion that put this very version there, when there is nothing left to do."""
    if holder.version != request.version:
        return None
    if request.target.alias and request.target.stage:
        row = tx.row(
            "SELECT current_stage FROM model_versions WHERE registered_model_pk = :pk AND version = :version",
            {"pk": pk, "version": request.version},
        )
        if row is None or row[0] != request.target.stage:
            return None
    last = last_change(tx, pk, request.target)
    return replace(last, replayed=True) if last is not None and last.version == request.version else None


def _require_verdict(tx: Transaction, pk: int, request: PromotionRequest, holder: Holder, at: int) -> Verdict | None:
    """The verdict that allows the promotion; None when none is named and none is needed."""
    protection = protection_of(tx, pk, request.model)
    if request.verdict_id is None:
        if protection.protected:
            raise PermissionDenied(
                f"model {request.model!r} is protected: name a verdict that has passed (mlgate promote --policy ...)"
            )
        return None
    verdict = verdict_of(tx, request.verdict_id)
    name = f"verdict {verdict.verdict_id} on {verdict.model} version {verdict.version}"
    if (verdict.model, verdict.version) != (request.model, request.version):
        raise InvalidParameterValue(f"{name} says nothing about {request.model} version {request.version}")
    if verdict.target != request.target:
        raise InvalidParameterValue(f"{name} was made for {verdict.target}, not for {request.target}")
    if protection.protected and verdict.mode is not GateMode.ENFORCE:
        raise PermissionDenied(f"{name} is a dry run; model {request.model!r} is protected and needs an enforced one")
    if protection.policy_digest not in (None, verdict.digests.get("policy")):
        raise PermissionDenied(f"{name} was made under another policy than the one that protects {request.model!r}")
    if verdict.champion != holder:
        was = f"version {verdict.champion.version}" if verdict.champion.version is not None else "nobody"
        raise lost(
            tx, pk, request.model, request.target, holder, verdict.champion.version,
            f"{name} is void: it was made against {was}; ",
        )  # fmt: skip
    if verdict.expires_at is not None and verdict.expires_at <= at:
        raise PermissionDenied(f"{name} has expired; check the version again")
    refused = [
        reason.message
        for result in verdict.results
        if result.enforced and not result.passed and result.gate != "approval"
        for reason in result.reasons
        if not reason.passed
    ]
    if refused or any(
        result.enforced and not result.passed and result.gate != "approval" for result in verdict.results
    ):
        raise PermissionDenied(f"{name} rejects it: {'; '.join(refused)}", reasons=refused)
    missing = missing_approvals(tx, pk, verdict, holder, at, protection.approvals)
    if missing:
        raise PermissionDenied(f"{name} waits for approval: {'; '.join(missing)}", approvals=missing)
    return verdict


__all__ = ["PROMOTED", "PromotionStore"]
