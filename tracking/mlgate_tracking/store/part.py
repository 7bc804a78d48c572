"""What the parts of `SqlStore` (experiments, runs, metrics, ...) have in common: the database and the fence.

A part is a mixin that implements one subject of the `Store` contract: `class RunStore(StorePart)`. Its methods check
their arguments, then hand one function of a `Transaction` to `self.read` or `self.write`.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from typing import TypeVar

from mlgate_tracking.entities import Fence
from mlgate_tracking.errors import PermissionDenied, StaleAttempt
from mlgate_tracking.store import validate
from mlgate_tracking.store.database import Database, Work
from mlgate_tracking.store.keys import KeyTable
from mlgate_tracking.store.transaction import Transaction
from mlgate_tracking.users import Actor, Identity

T = TypeVar("T")


class StorePart:
    """
    Attributes:
        database: where everything goes.
        keys: the interned names of metrics, params and tags.
        artifact_root: URI below which new experiments get their artifact location.
        fence: the attempt that this view of the store writes for; None for the store itself.
        identity: the user whose view this is; None for the store itself, which believes the names it is told.
    """

    database: Database
    keys: KeyTable
    artifact_root: str
    fence: Fence | None = None
    identity: Identity | None = None

    def read(self, work: Work[T]) -> T:
        return self.database.read(work)

    def write(self, work: Work[T], *, streamed: bool = False) -> T:
        """Run work in a write transaction, after seeing that this view's attempt is still the current one.

        Args:
            streamed: see `Database.write`.
        """
        fence = self.fence
        if fence is None:
            return self.database.write(work, streamed=streamed)

        def fenced(tx: Transaction) -> T:
            require_current(tx, fence)
            return work(tx)

        return self.database.write(fenced, streamed=streamed)

    def acting(self, claimed: str) -> Actor:
        """In whose name a write is recorded: that of the known user, or else whatever name came with it."""
        validate.text(claimed, validate.MAX_USER, "user id")
        return Actor(claimed) if self.identity is None else self.identity.acting(claimed)

    @property
    def owner_run_id(self) -> str | None:
        """What goes into `owner_run_id` of rows that are created through this view."""
        return self.fence.run_id if self.fence is not None else None

    def require_owner(self, owner_run_id: str | None, what: str) -> None:
        """Refuse to change `what` ("run 'abc'") through a fenced view that has not created it."""
        if self.fence is not None and owner_run_id != self.fence.run_id:
            raise PermissionDenied(
                f"{what} was not created by the step whose run is {self.fence.run_id!r}, so its token may not change it"
            )


def require_current(tx: Transaction, fence: Fence) -> None:
    """Hold the step's run row until the transaction ends, and see that no higher attempt has opened it."""
    check_attempt(fence, current_attempts(tx, [fence.run_id]))


def current_attempts(tx: Transaction, run_ids: Collection[str]) -> dict[str, int]:
    """The attempts of steps' runs by run id, which nobody can raise until the transaction ends."""
    if not run_ids:
        return {}
    among, params = tx.dialect.among("run_id", sorted(run_ids))
    lock = tx.dialect.for_share  # in one order everywhere, so that two who hold several do not deadlock
    return dict(tx.rows(f"SELECT run_id, attempt FROM runs WHERE {among} ORDER BY run_id{lock}", params))


def check_attempt(fence: Fence, attempts: Mapping[str, int]) -> None:
    """Raise `StaleAttempt` unless the fence's attempt is the current one."""
    current = attempts.get(fence.run_id, 0)
    if current != fence.attempt:
        raise StaleAttempt(
            f"attempt {fence.attempt} of run {fence.run_id!r} is not the current one, attempt {current} is: "
            "its writes are refused",
            run_id=fence.run_id,
            attempt=fence.attempt,
            current_attempt=current,
        )


__all__ = ["StorePart", "check_attempt", "current_attempts", "require_current"]
