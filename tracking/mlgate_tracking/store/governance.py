"""What the parts that govern promotion have in common: locks, holders, pages, and no steps allowed."""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeVar

from mlgate_tracking.entities import Page
from mlgate_tracking.errors import InvalidParameterValue, PermissionDenied, ResourceDoesNotExist
from mlgate_tracking.governance import Holder, Target
from mlgate_tracking.store import registry_rules, validate
from mlgate_tracking.store.part import StorePart
from mlgate_tracking.store.transaction import Transaction
from mlgate_tracking.store.values import integer_from

T = TypeVar("T")


class GovernancePart(StorePart):
    def require_unfenced(self, what: str) -> None:
        """Refuse a step's own token: whoever is judged does not judge."""
        if self.fence is not None:
            raise PermissionDenied(f"the token of run {self.fence.run_id} may not {what}")

    def require_admin(self, what: str) -> None:
        """Refuse a known user who is no admin; a store that knows nobody lets anybody."""
        self.require_unfenced(what)
        if self.identity is not None and not self.identity.is_admin:
            raise PermissionDenied(f"user {self.identity.user!r} may not {what}: that takes the role admin")


def check_target(target: Target) -> None:
    if not target.alias and not target.stage:
        raise InvalidParameterValue("the target names neither an alias nor a stage, as in {'alias': 'champion'}")
    if target.alias:
        registry_rules.alias(target.alias)
    if target.stage:
        validate.text(target.stage, 100, "stage")


def model_key(tx: Transaction, model: str) -> int:
    row = tx.row("SELECT registered_model_pk FROM registered_models WHERE name = :name", {"name": model})
    if row is None:
        raise ResourceDoesNotExist(f"no registered model {model!r}")
    return int(row[0])


def locked_model(tx: Transaction, model: str) -> int:
    """The model's key; its row is held until the transaction ends, so that promotions of one model take turns."""
    row = tx.row(
        f"SELECT registered_model_pk FROM registered_models WHERE name = :name{tx.dialect.for_update}", {"name": model}
    )
    if row is None:
        raise ResourceDoesNotExist(f"no registered model {model!r}")
    return int(row[0])


def holder_of(tx: Transaction, pk: int, target: Target) -> Holder:
    """Who holds a target and since which change."""
    if target.alias:
        row = tx.row(
            "SELECT version FROM registered_model_aliases WHERE registered_model_pk = :pk AND alias = :alias",
            {"pk": pk, "alias": target.alias},
        )
        column, slot = "alias", target.alias
    else:
        row = tx.row(
            "SELECT MAX(version) FROM model_versions"
            " WHERE registered_model_pk = :pk AND current_stage = :stage AND deleted_time IS NULL",
            {"pk": pk, "stage": target.stage},
        )
        column, slot = "stage", str(target.stage)
    last = tx.row(
        f"SELECT MAX(revision) FROM promotions WHERE registered_model_pk = :pk AND {column} = :slot",
        {"pk": pk, "slot": slot},
    )
    version = None if row is None or row[0] is None else int(row[0])
    return Holder(version, 0 if last is None or last[0] is None else int(last[0]))


def after_key(page_token: str | None) -> int | None:
    """The key in a page token."""
    if not page_token:
        return None
    key = integer_from(page_token)
    if key is None:
        raise InvalidParameterValue(f"page token {page_token[:40]!r} is not one of this store's")
    return key


def next_page(items: list[T], max_results: int, key: Callable[[T], int]) -> Page[T]:
    """A page from one row more than fits on it."""
    if len(items) <= max_results:
        return Page(tuple(items))
    kept = items[:max_results]
    return Page(tuple(kept), str(key(kept[-1])))


__all__ = [
    "GovernancePart",
    "after_key",
    "check_target",
    "holder_of",
    "locked_model",
    "model_key",
    "next_page",
]
