"""The way back: an intent is stored first, and any worker can finish it, once."""

from __future__ import annotations

from dataclasses import replace

from mlgate_tracking.entities import Page
from mlgate_tracking.errors import BadRequest, Conflict, ResourceDoesNotExist
from mlgate_tracking.governance import (
    Holder,
    IntentStatus,
    Promotion,
    PromotionKind,
    RollbackIntent,
    Target,
    encode,
)
from mlgate_tracking.store import audit
from mlgate_tracking.store.governance import (
    GovernancePart,
    after_key,
    check_target,
    holder_of,
    locked_model,
    next_page,
)
from mlgate_tracking.store.promotion_rows import (
    INTENT_COLUMNS,
    INTENT_FROM,
    announce,
    find_intent,
    has_version,
    intent_of,
    locked_intent,
    lost,
    move,
    promotion_with_key,
    require_version,
    settle_intent,
    slot_of,
    store_intent,
    store_promotion,
)
from mlgate_tracking.store.transaction import Transaction
from mlgate_tracking.store.values import new_id, now
from mlgate_tracking.users import Actor

ROLLED_BACK = "rolled_back"
"""Action of entity `model_version` in the outbox."""


class RollbackStore(GovernancePart):
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
        self.require_unfenced("roll a model back")
        made, at, actor = intent_id or new_id(), now(), self.acting(user)

        def work(tx: Transaction) -> RollbackIntent:
            known = find_intent(tx, made)
            if known is not None:
                return known
            pk = locked_model(tx, model)
            aim = target or _latest_target(tx, pk, model)
            check_target(aim)
            holder = holder_of(tx, pk, aim)
            if to_version is not None:
                require_version(tx, pk, model, to_version)
            back = to_version if to_version is not None else _predecessor(tx, pk, model, aim, holder.version)
            if back == holder.version:
                raise BadRequest(f"{model}: version {back} holds {aim} already")
            intent = RollbackIntent(
                made, model, aim, holder.version, back, holder.revision, reason=reason, user=actor.user, created_at=at
            )
            store_intent(tx, pk, intent)
            audit.append(tx, at, actor, "rollback.intended", model, encode(intent))
            return intent

        return self.database.write(work)

    def finish_rollback(self, intent_id: str, *, user: str = "", reason: str = "") -> Promotion:
        self.require_unfenced("roll a model back")
        ids, at, actor = (new_id(), new_id()), now(), self.acting(user)
        # The verdict that somebody else was faster has to be kept, so it is raised after the commit.
        done = self.database.write(lambda tx: _finish(tx, intent_id, actor, reason, ids, at))
        if isinstance(done, Conflict):
            raise done
        return done

    def cancel_rollback(self, intent_id: str, *, user: str = "", reason: str = "") -> RollbackIntent:
        self.require_unfenced("cancel a rollback")
        at, actor = now(), self.acting(user)

        def work(tx: Transaction) -> RollbackIntent:
            _, intent = locked_intent(tx, intent_id)
            if intent.status is IntentStatus.CANCELLED:
                return intent
            if intent.status is not IntentStatus.PENDING:
                raise Conflict(f"rollback {intent_id} is {intent.status.value} already", intent=encode(intent))
            settled = replace(intent, status=IntentStatus.CANCELLED, reason=reason or intent.reason)
            settle_intent(tx, settled)
            audit.append(tx, at, actor, "rollback.cancelled", intent.model, encode(settled))
            return settled

        return self.database.write(work)

    def get_rollback(self, intent_id: str) -> RollbackIntent:
        def work(tx: Transaction) -> RollbackIntent:
            found = find_intent(tx, intent_id)
            if found is None:
                raise ResourceDoesNotExist(f"no rollback with id {intent_id!r}")
            return found

        return self.read(work)

    def search_rollbacks(
        self,
        *,
        status: IntentStatus | None = None,
        model: str | None = None,
        max_results: int = 100,
        page_token: str | None = None,
    ) -> Page[RollbackIntent]:
        after = after_key(page_token)

        def work(tx: Transaction) -> Page[RollbackIntent]:
            params = {"status": status and status.value, "model": model, "after": after, "most": max_results + 1}
            where = [
                text
                for text, given in (
                    ("i.status = :status", status),
                    ("m.name = :model", model),
                    ("i.intent_pk > :after", after),
                )
                if given is not None
            ]
            rows = tx.rows(
                f"SELECT {INTENT_COLUMNS}{INTENT_FROM}{' WHERE ' if where else ''}{' AND '.join(where)}"
                " ORDER BY i.intent_pk LIMIT :most",
                params,
            )
            keys = {str(row[0]): int(row[-1]) for row in rows}
            return next_page([intent_of(row) for row in rows], max_results, lambda one: keys[one.intent_id])

        return self.read(work)


def _finish(
    tx: Transaction, intent_id: str, actor: Actor, reason: str, ids: tuple[str, str], at: int
) -> Promotion | Conflict:
    pk, intent = locked_intent(tx, intent_id)
    if intent.status is IntentStatus.DONE:
        done = promotion_with_key(tx, _rollback_key(intent_id))
        assert done is not None
        return replace(done, replayed=True)
    if intent.status is not IntentStatus.PENDING:
        return Conflict(f"rollback {intent_id} is {intent.status.value} already", intent=encode(intent))
    holder = holder_of(tx, pk, intent.target)
    gone = intent.to_version is not None and not has_version(tx, pk, intent.to_version)
    if holder != Holder(intent.from_version, intent.revision) or gone:
        settled = replace(intent, status=IntentStatus.SUPERSEDED)
        settle_intent(tx, settled)
        audit.append(tx, at, actor, "rollback.superseded", intent.model, encode(settled))
        if gone:
            return Conflict(f"{intent.model}: version {intent.to_version} to roll back to has been deleted")
        return lost(tx, pk, intent.model, intent.target, holder, intent.from_version)
    archived = move(tx, pk, intent.to_version, intent.target, True, at)
    promotion = Promotion(
        promotion_id=ids[0],
        revision=0,
        kind=PromotionKind.ROLLBACK,
        model=intent.model,
        version=intent.to_version,
        previous_version=intent.from_version,
        target=intent.target,
        archived=archived,
        user=actor.user or intent.user,
        comment=reason or intent.reason,
        created_at=at,
        event_id=ids[1],
        intent_id=intent_id,
    )
    promotion = store_promotion(tx, pk, promotion, _rollback_key(intent_id))
    settle_intent(tx, replace(intent, status=IntentStatus.DONE, reason=reason or intent.reason))
    announce(tx, promotion, ROLLED_BACK)
    audit.append(tx, at, actor._replace(user=promotion.user), "rollback.done", intent.model, encode(promotion))
    return promotion


def _rollback_key(intent_id: str) -> str:
    return f"rollback-{intent_id}"


def _predecessor(tx: Transaction, pk: int, model: str, target: Target, version: int | None) -> int | None:
    """The version that held the target before `version` came to it; deleted ones are passed over.

    A version that a rollback brought back counts from when it came the first time, so that rolling back twice goes two
    champions back and not to and fro.
    """
    column, slot = slot_of(target)
    seen = {version}
    while version is not None:
        row = tx.row(
            f"SELECT previous_version FROM promotions WHERE registered_model_pk = :pk AND {column} = :slot"
            " AND version = :version AND kind <> 'rollback' ORDER BY revision DESC LIMIT 1",
            {"pk": pk, "slot": slot, "version": version},
        )
        version = row[0] if row is not None else None
        if version is None or version in seen:
            break
        if has_version(tx, pk, version):
            return int(version)
        seen.add(version)
    raise BadRequest(f"{model}: no version held {target} before; name one, as in mlgate rollback {model} --to 3")


def _latest_target(tx: Transaction, pk: int, model: str) -> Target:
    row = tx.row(
        "SELECT alias, stage FROM promotions WHERE registered_model_pk = :pk AND kind <> 'unguarded'"
        " ORDER BY revision DESC LIMIT 1",
        {"pk": pk},
    )
    if row is None:
        raise BadRequest(f"{model}: nothing was promoted yet; name the target, as in --target champion")
    return Target(row[0], row[1])


__all__ = ["ROLLED_BACK", "RollbackStore"]
