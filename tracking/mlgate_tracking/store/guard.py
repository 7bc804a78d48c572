"""What MLflow's own stage and alias calls have to ask, and the record they leave: each change of a target is one."""

from __future__ import annotations

from dataclasses import replace

from mlgate_tracking.errors import PermissionDenied
from mlgate_tracking.governance import Promotion, PromotionKind, Protection, RequiredApproval, Target, encode
from mlgate_tracking.store import audit
from mlgate_tracking.store.governance import holder_of
from mlgate_tracking.store.promotion_rows import store_promotion
from mlgate_tracking.store.transaction import Transaction
from mlgate_tracking.store.values import new_id
from mlgate_tracking.users import Actor

_AT_REST = ("None", "Archived")
"""Stages of versions that nobody uses."""


def protection_of(tx: Transaction, pk: int, model: str) -> Protection:
    row = tx.row("SELECT policy_digest FROM protected_models WHERE registered_model_pk = :pk", {"pk": pk})
    if row is None:
        return Protection(model)
    needed = tx.rows(
        "SELECT role_name, needed, four_eyes FROM required_approvals"
        " WHERE registered_model_pk = :pk ORDER BY role_name",
        {"pk": pk},
    )
    return Protection(model, True, row[0], tuple(RequiredApproval(role, n, bool(four)) for role, n, four in needed))


def refuse_when_protected(tx: Transaction, pk: int, model: str, what: str) -> None:
    """Raise `PermissionDenied` when the model may only be promoted through gates."""
    if protection_of(tx, pk, model).protected:
        raise PermissionDenied(
            f"model {model!r} is protected: {what} changes through gates only; "
            "use `mlgate promote` (or `mlgate models unprotect` first)"
        )


def record_alias(tx: Transaction, pk: int, model: str, alias: str, version: int | None, actor: Actor, at: int) -> None:
    """Call before an alias moves to `version` (None: is deleted)."""
    refuse_when_protected(tx, pk, model, f"alias {alias!r}")
    target = Target(alias=alias)
    previous = holder_of(tx, pk, target).version
    if previous != version:
        _record(tx, pk, _unguarded(model, version, previous, target, at), actor)


def record_stage(
    tx: Transaction, pk: int, model: str, version: int, stage: str, actor: Actor, at: int, *, archive: bool
) -> None:
    """Call before `version` moves into a stage; with `archive` the others leave it."""
    refuse_when_protected(tx, pk, model, f"stage {stage!r}")
    target = Target(stage=stage)
    previous = holder_of(tx, pk, target).version
    there = tx.rows(
        "SELECT version FROM model_versions WHERE registered_model_pk = :pk AND current_stage = :stage"
        " AND deleted_time IS NULL ORDER BY version",
        {"pk": pk, "stage": stage},
    )
    others = tuple(int(row[0]) for row in there if row[0] != version)
    if len(others) < len(there) and not (archive and others):
        return  # it is there already and stays alone
    change = replace(_unguarded(model, version, previous, target, at), archived=others if archive else ())
    _record(tx, pk, change, actor)


def record_deletion(tx: Transaction, pk: int, model: str, version: int, actor: Actor, at: int) -> None:
    """Call before a version is deleted: whatever it holds is held by nobody then."""
    aliases = tx.rows(
        "SELECT alias FROM registered_model_aliases WHERE registered_model_pk = :pk AND version = :version",
        {"pk": pk, "version": version},
    )
    stage = tx.row(
        "SELECT current_stage FROM model_versions WHERE registered_model_pk = :pk AND version = :version",
        {"pk": pk, "version": version},
    )
    held = [Target(alias=row[0]) for row in aliases]
    if stage is not None and stage[0] not in _AT_REST:
        held.append(Target(stage=stage[0]))
    if held:
        refuse_when_protected(tx, pk, model, str(held[0]))
    for target in held:
        _record(tx, pk, _unguarded(model, None, version, target, at), actor)


def _unguarded(model: str, version: int | None, previous: int | None, target: Target, at: int) -> Promotion:
    return Promotion(new_id(), 0, PromotionKind.UNGUARDED, model, version, previous, target, created_at=at)


def _record(tx: Transaction, pk: int, promotion: Promotion, actor: Actor) -> None:
    promotion = store_promotion(tx, pk, replace(promotion, user=actor.user), None)
    audit.append(tx, promotion.created_at, actor, "promotion.unguarded", promotion.model, encode(promotion))


__all__ = ["protection_of", "record_alias", "record_deletion", "record_stage", "refuse_when_protected"]
