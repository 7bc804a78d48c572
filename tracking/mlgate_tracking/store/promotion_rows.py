"""Promotions and rollback intents as rows, and the change itself: who holds an alias or a stage."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from mlgate_tracking.errors import Conflict, ResourceDoesNotExist
from mlgate_tracking.governance import (
    Holder,
    IntentStatus,
    Promotion,
    PromotionKind,
    RollbackIntent,
    Target,
    canonical,
    encode,
)
from mlgate_tracking.store import outbox
from mlgate_tracking.store.governance import locked_model
from mlgate_tracking.store.transaction import Row, Transaction
from mlgate_tracking.store.values import new_id

COLUMNS = (
    "p.promotion_id, p.revision, p.kind, m.name, p.version, p.previous_version, p.alias, p.stage, p.archived,"
    " p.verdict_id, p.user_id, p.remark, p.created_at, p.event_id, p.run_id, p.intent_id"
)
FROM = " FROM promotions p JOIN registered_models m ON m.registered_model_pk = p.registered_model_pk"
INTENT_COLUMNS = (
    "i.intent_id, m.name, i.alias, i.stage, i.from_version, i.to_version, i.revision, i.status, i.reason, i.user_id,"
    " i.created_at, i.due_at, i.checks, i.promotion_id, i.intent_pk"
)
INTENT_FROM = " FROM rollback_intents i JOIN registered_models m ON m.registered_model_pk = i.registered_model_pk"


# --- the change -------------------------------------------------------------------------------------------------------


def move(tx: Transaction, pk: int, version: int | None, target: Target, archive: bool, at: int) -> tuple[int, ...]:
    """Give the target to a version (None: take it from whoever holds it); returns the versions that were archived."""
    key = {"pk": pk, "version": version, "alias": target.alias, "stage": target.stage, "at": at}
    archived: tuple[int, ...] = ()
    if target.alias and version is not None:
        row = {"registered_model_pk": pk, "alias": target.alias, "version": version}
        tx.upsert("registered_model_aliases", [row], ["registered_model_pk", "alias"])
    elif target.alias:
        tx.change("DELETE FROM registered_model_aliases WHERE registered_model_pk = :pk AND alias = :alias", key)
    if target.stage:
        if archive and target.stage != "Archived":
            others = (
                " WHERE registered_model_pk = :pk AND current_stage = :stage AND deleted_time IS NULL"
                + ("" if version is None else " AND version <> :version")
            )  # fmt: skip
            archived = tuple(int(row[0]) for row in tx.rows(f"SELECT version FROM model_versions{others}", key))
            if archived:
                change = "UPDATE model_versions SET current_stage = 'Archived', last_updated_timestamp = :at"
                tx.change(f"{change}{others}", key)
        tx.change(
            "UPDATE model_versions SET current_stage = :stage, last_updated_timestamp = :at"
            " WHERE registered_model_pk = :pk AND version = :version",
            key,
        )
        tx.change("UPDATE registered_models SET last_updated_timestamp = :at WHERE registered_model_pk = :pk", key)
    return archived


def slot_of(target: Target) -> tuple[str, str]:
    """The column and value that say who the champion of a target is."""
    return ("alias", target.alias) if target.alias else ("stage", str(target.stage))


def has_version(tx: Transaction, pk: int, version: int) -> bool:
    found = tx.row(
        "SELECT 1 FROM model_versions WHERE registered_model_pk = :pk AND version = :version AND deleted_time IS NULL",
        {"pk": pk, "version": version},
    )
    return found is not None


def require_version(tx: Transaction, pk: int, model: str, version: int) -> None:
    if not has_version(tx, pk, version):
        raise ResourceDoesNotExist(f"model {model!r} has no version {version}")


def last_change(tx: Transaction, pk: int, target: Target) -> Promotion | None:
    column, slot = slot_of(target)
    row = tx.row(
        f"SELECT {COLUMNS}{FROM} WHERE p.registered_model_pk = :pk AND p.{column} = :slot"
        " ORDER BY p.revision DESC LIMIT 1",
        {"pk": pk, "slot": slot},
    )
    return None if row is None else promotion_of(row)


def promotion_with_key(tx: Transaction, idempotency_key: str) -> Promotion | None:
    row = tx.row(f"SELECT {COLUMNS}{FROM} WHERE p.idempotency_key = :key", {"key": idempotency_key})
    return None if row is None else promotion_of(row)


def store_promotion(tx: Transaction, pk: int, promotion: Promotion, key: str | None) -> Promotion:
    revision = tx.insert_keyed(
        "promotions",
        {
            "promotion_id": promotion.promotion_id,
            "registered_model_pk": pk,
            "kind": promotion.kind.value,
            "alias": promotion.target.alias,
            "stage": promotion.target.stage,
            "version": promotion.version,
            "previous_version": promotion.previous_version,
            "archived": ",".join(map(str, promotion.archived)),
            "verdict_id": promotion.verdict_id,
            "user_id": promotion.user,
            "remark": promotion.comment,
            "event_id": promotion.event_id,
            "run_id": promotion.run_id,
            "intent_id": promotion.intent_id,
            "idempotency_key": key,
            "created_at": promotion.created_at,
        },
        "revision",
    )
    return replace(promotion, revision=revision)


def promotion_of(row: Row) -> Promotion:
    (
        promotion_id, revision, kind, model, version, previous, alias, stage, archived,
        verdict_id, user, comment, created_at, event_id, run_id, intent_id,
    ) = row  # fmt: skip
    return Promotion(
        promotion_id=promotion_id,
        revision=revision,
        kind=PromotionKind(kind),
        model=model,
        version=version,
        previous_version=previous,
        target=Target(alias, stage),
        archived=tuple(int(one) for one in archived.split(",") if one),
        verdict_id=verdict_id,
        user=user,
        comment=comment,
        created_at=created_at,
        event_id=event_id,
        run_id=run_id,
        intent_id=intent_id,
    )


def store_intent(tx: Transaction, pk: int, intent: RollbackIntent) -> None:
    tx.insert(
        "rollback_intents",
        {
            "intent_id": intent.intent_id,
            "registered_model_pk": pk,
            "alias": intent.target.alias,
            "stage": intent.target.stage,
            "from_version": intent.from_version,
            "to_version": intent.to_version,
            "revision": intent.revision,
            "status": intent.status.value,
            "reason": intent.reason,
            "user_id": intent.user,
            "checks": canonical(intent.checks),
            "promotion_id": intent.promotion_id,
            "created_at": intent.created_at,
            "due_at": intent.due_at,
        },
    )


def settle_intent(tx: Transaction, intent: RollbackIntent) -> None:
    tx.change(
        "UPDATE rollback_intents SET status = :status, reason = :reason WHERE intent_id = :id",
        {"status": intent.status.value, "reason": intent.reason, "id": intent.intent_id},
    )


def find_intent(tx: Transaction, intent_id: str) -> RollbackIntent | None:
    row = tx.row(f"SELECT {INTENT_COLUMNS}{INTENT_FROM} WHERE i.intent_id = :id", {"id": intent_id})
    return None if row is None else intent_of(row)


def locked_intent(tx: Transaction, intent_id: str) -> tuple[int, RollbackIntent]:
    """The intent, read again after its model's row is locked."""
    found = find_intent(tx, intent_id)
    if found is None:
        raise ResourceDoesNotExist(f"no rollback with id {intent_id!r}")
    pk = locked_model(tx, found.model)
    found = find_intent(tx, intent_id)
    assert found is not None
    return pk, found


def intent_of(row: Row) -> RollbackIntent:
    (
        intent_id, model, alias, stage, from_version, to_version, revision, status, reason, user,
        created_at, due_at, checks, promotion_id, _,
    ) = row  # fmt: skip
    loaded: Mapping[str, Any] = json.loads(checks)
    return RollbackIntent(
        intent_id=intent_id,
        model=model,
        target=Target(alias, stage),
        from_version=from_version,
        to_version=to_version,
        revision=revision,
        status=IntentStatus(status),
        reason=reason,
        user=user,
        created_at=created_at,
        due_at=due_at,
        checks=loaded,
        promotion_id=promotion_id,
    )


def lost(
    tx: Transaction, pk: int, model: str, target: Target, holder: Holder, expected: int | None, prefix: str = ""
) -> Conflict:
    """The conflict of somebody who came second; its details name the winner."""
    last = last_change(tx, pk, target)
    held = f"is held by version {holder.version}" if holder.version is not None else "is held by nobody"
    since = f" since promotion {last.promotion_id}" + (f" by {last.user}" if last.user else "") if last else ""
    wanted = f"version {expected}" if expected is not None else "nobody"
    return Conflict(
        f"{prefix}{model}: {target} {held}{since}, not by {wanted} as expected; check the version again",
        winner=encode(last) if last else None,
        version=holder.version,
    )


def announce(tx: Transaction, promotion: Promotion, action: str) -> None:
    """The one event of a promotion; and MLflow's own event for those who listen to aliases."""
    data = encode(promotion)
    at = promotion.created_at
    outbox.publish(tx, "model_version", action, promotion.model, data, event_id=promotion.event_id, at=at)
    if promotion.target.alias and _anybody_asks(tx, "model_version_alias"):
        change = {"name": promotion.model, "alias": promotion.target.alias}
        created = promotion.version is not None
        outbox.publish(
            tx,
            "model_version_alias",
            "created" if created else "deleted",
            promotion.model,
            {**change, "version": str(promotion.version)} if created else change,
            event_id=new_id(),
            at=at,
        )


def _anybody_asks(tx: Transaction, entity: str) -> bool:
    return tx.row("SELECT 1 FROM webhook_events WHERE entity = :entity LIMIT 1", {"entity": entity}) is not None


__all__ = [
    "COLUMNS",
    "FROM",
    "INTENT_COLUMNS",
    "INTENT_FROM",
    "announce",
    "find_intent",
    "has_version",
    "intent_of",
    "last_change",
    "locked_intent",
    "lost",
    "move",
    "promotion_of",
    "promotion_with_key",
    "require_version",
    "settle_intent",
    "slot_of",
    "store_intent",
    "store_promotion",
]
