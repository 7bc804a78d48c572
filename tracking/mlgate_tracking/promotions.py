"""The part of the store's contract that governs who holds an alias or a stage; see `contract` for what holds for all.

A promotion is a compare-and-swap: it happens in one transaction with its record, its event and its audit entry, or not
at all. Whoever comes second gets `Conflict`, whose details name the winner. Nothing here can be done with a step's
token (`PermissionDenied`): whoever is judged does not judge.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence

from mlgate_tracking.entities import Page
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
)


class Promotions(ABC):
    """Verdicts, approvals, promotions, rollbacks, protection, audit log and events."""

    @abstractmethod
    def holder(self, model: str, target: Target) -> Holder:
        """Who holds a target now, and since which change; what a verdict is made against."""

    # --- verdicts and approvals -----------------------------------------------------------------------------------

    @abstractmethod
    def record_verdict(self, verdict: Verdict, approvals: Sequence[Approval] = ()) -> Verdict:
        """Store a verdict and the questions that its approval gates ask, in one transaction.

        The same `verdict_id` again returns what is stored. A status that its results do not bear out raises
        `InvalidParameterValue`.
        """

    @abstractmethod
    def get_verdict(self, verdict_id: str) -> Verdict: ...

    @abstractmethod
    def search_verdicts(
        self, model: str, *, version: int | None = None, max_results: int = 100, page_token: str | None = None
    ) -> Page[Verdict]:
        """Verdicts on a model, newest first."""

    @abstractmethod
    def get_approval(self, approval_id: str) -> Approval: ...

    @abstractmethod
    def search_approvals(
        self,
        *,
        model: str | None = None,
        version: int | None = None,
        status: ApprovalStatus | None = None,
        max_results: int = 100,
        page_token: str | None = None,
    ) -> Page[Approval]:
        """Approvals, newest first; `expired` and `void` are told at the moment of asking."""

    @abstractmethod
    def decide_approval(self, approval_id: str, user: str, approved: bool, comment: str = "") -> Approval:
        """Approve or reject. Saying the same thing twice changes nothing.

        Raises:
            PermissionDenied: the user has not the role, or started the run and `four_eyes` asks for somebody else.
            BadRequest: expired.
            Conflict: void, settled already, or the user has said the opposite before.
        """

    @abstractmethod
    def grant_role(self, role: str, member: str, *, user: str = "") -> None:
        """Let `member` answer for a role; `user` is who grants it. Repeatable."""

    @abstractmethod
    def revoke_role(self, role: str, member: str, *, user: str = "") -> None:
        """Take a role away. Repeatable; answers that were given stay."""

    @abstractmethod
    def role_members(self, role: str | None = None) -> tuple[RoleMember, ...]: ...

    # --- promotions ---------------------------------------------------------------------------------------------

    @abstractmethod
    def promote(self, request: PromotionRequest) -> Promotion:
        """Give the target to a version if everything that the request expects still holds.

        A version that holds the target already, or an idempotency key that has been used, gives the earlier promotion
        (`replayed`) and changes nothing.

        Raises:
            Conflict: somebody else holds the target than expected, or than the verdict was made against (it is void).
            PermissionDenied: the verdict rejects, has expired or waits for approval; or a protected model without one.
        """

    @abstractmethod
    def get_promotion(self, promotion_id: str) -> Promotion: ...

    @abstractmethod
    def find_promotion(self, idempotency_key: str) -> Promotion | None:
        """The promotion that a key stands for; None when nobody has used it."""

    @abstractmethod
    def search_promotions(
        self,
        model: str,
        *,
        target: Target | None = None,
        max_results: int = 100,
        page_token: str | None = None,
    ) -> Page[Promotion]:
        """Every change of a model's targets (or of one), newest first, unguarded ones and rollbacks too."""

    @abstractmethod
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
        """Store the intent to move a champion back: by default that of the last promotion, to the one before it.

        The same `intent_id` again returns what is stored.

        Raises:
            BadRequest: nobody held the target before, or the version holds it already.
        """

    @abstractmethod
    def finish_rollback(self, intent_id: str, *, user: str = "", reason: str = "") -> Promotion:
        """Do what an intent says, once: whoever comes later gets the same promotion, `replayed`.

        Raises:
            Conflict: cancelled, or superseded because the champion has moved since.
        """

    @abstractmethod
    def cancel_rollback(self, intent_id: str, *, user: str = "", reason: str = "") -> RollbackIntent:
        """Drop a pending intent (a health window that ended well). `Conflict` when it is done or superseded."""

    @abstractmethod
    def get_rollback(self, intent_id: str) -> RollbackIntent: ...

    @abstractmethod
    def search_rollbacks(
        self,
        *,
        status: IntentStatus | None = None,
        model: str | None = None,
        max_results: int = 100,
        page_token: str | None = None,
    ) -> Page[RollbackIntent]:
        """Rollback intents, oldest first."""

    # --- protection, audit, events --------------------------------------------------------------------------------

    @abstractmethod
    def protect_model(
        self,
        model: str,
        protected: bool = True,
        *,
        policy_digest: str | None = None,
        approvals: Sequence[RequiredApproval] = (),
        user: str = "",
    ) -> Protection:
        """Refuse MLflow's own stage and alias calls on a model, and promotions without an enforced verdict.

        Args:
            policy_digest: only verdicts of this policy count.
            approvals: what a promotion needs besides, whatever its verdict says of approvals.
        """

    @abstractmethod
    def get_protection(self, model: str) -> Protection: ...

    @abstractmethod
    def audit_log(self, *, after: int = 0, max_results: int = 1000) -> tuple[AuditEntry, ...]:
        """Entries with a greater sequence than `after`, in order; `governance.broken_link` checks the chain."""

    @abstractmethod
    def events(self, *, after: int = 0, model: str | None = None, max_results: int = 100) -> tuple[Event, ...]:
        """Events with a greater sequence than `after`, in order: one for each promotion and rollback."""


__all__ = ["Promotions"]
