"""What promotion leaves behind, as frozen dataclasses: verdicts, approvals, promotions, rollbacks, audit, events.

Data only, like `entities`. `encode` and `decode` turn every record into JSON-able data and back, so the same shapes
travel through the REST API, Airflow's XCom and Prefect results. Times are milliseconds since the epoch.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any, Literal, TypeVar

Value = float | int | str | bool | None

ANY: Literal["any"] = "any"
"""`PromotionRequest.expect`: whoever holds the target now may be replaced."""

T = TypeVar("T")


class GateMode(StrEnum):
    ENFORCE = "enforce"
    DRY_RUN = "dry_run"
    """Judged and recorded, never in the way."""


class VerdictStatus(StrEnum):
    PASSED = "passed"
    REJECTED = "rejected"
    PENDING = "pending"
    """Nothing speaks against it but an approval that nobody has given yet."""


class ApprovalStatus(StrEnum):
    PENDING = "pending"
    APPROVED = "approved"
    REJECTED = "rejected"
    EXPIRED = "expired"
    VOID = "void"
    """The champion it was asked for has moved."""


class PromotionKind(StrEnum):
    PROMOTION = "promotion"
    ROLLBACK = "rollback"
    UNGUARDED = "unguarded"
    """A stage or alias changed by MLflow's own calls."""


class IntentStatus(StrEnum):
    PENDING = "pending"
    DONE = "done"
    CANCELLED = "cancelled"
    SUPERSEDED = "superseded"
    """Somebody else moved the champion first: nothing left to roll back."""


@dataclass(frozen=True, slots=True)
class Reason:
    """One comparison that a gate made: `message` for humans, the compared values for machines."""

    message: str
    passed: bool
    subject: str = ""
    actual: Value = None
    comparison: str = ""
    expected: Value = None


@dataclass(frozen=True, slots=True)
class GateResult:
    """What one gate says.

    Attributes:
        pending: not passed, but only because an approval is still awaited.
        enforced: False when the gate ran in `dry_run` mode and does not count.
        settings: the gate's settings as the policy gave them.
    """

    gate: str
    passed: bool
    reasons: tuple[Reason, ...] = ()
    pending: bool = False
    enforced: bool = True
    settings: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Target:
    """Where a version is promoted to: an alias, a stage, or both at once (they move together).

    The alias, when there is one, says who the champion is; else the newest version in the stage.
    """

    alias: str | None = None
    stage: str | None = None

    def __str__(self) -> str:
        return " and ".join(
            text
            for text in (f"alias {self.alias!r}" if self.alias else "", f"stage {self.stage!r}" if self.stage else "")
            if text
        )


@dataclass(frozen=True, slots=True)
class Holder:
    """Who holds a target: the version (None: nobody) and the number of the last change of that target (0: never)."""

    version: int | None = None
    revision: int = 0


@dataclass(frozen=True, slots=True)
class Verdict:
    """What the gates of one policy said about one model version, and what exactly they looked at.

    Attributes:
        champion: who held the target then; the verdict is void once that has changed.
        digests: `model`, `data`, `commit`, `environment`, `policy`, `champion`: what was judged, as digests.
        expires_at: the verdict may not be used later than this; None for ever.
        run_id: tracked run of the gate step, if it was one.
    """

    verdict_id: str
    model: str
    version: int
    target: Target
    status: VerdictStatus
    results: tuple[GateResult, ...]
    champion: Holder = field(default_factory=Holder)
    mode: GateMode = GateMode.ENFORCE
    policy: str = ""
    digests: Mapping[str, str] = field(default_factory=dict)
    created_at: int = 0
    created_by: str = ""
    expires_at: int | None = None
    run_id: str | None = None

    @property
    def passed(self) -> bool:
        return self.status is VerdictStatus.PASSED

    @property
    def failures(self) -> tuple[Reason, ...]:
        """Every comparison that speaks against the version, dry-run gates left out."""
        return tuple(
            reason
            for result in self.results
            if result.enforced and not result.passed
            for reason in result.reasons
            if not reason.passed
        )


def status_of(results: Iterable[GateResult]) -> VerdictStatus:
    """One no rejects; else one `pending` keeps it pending; gates in dry-run mode do not count."""
    counted = [result for result in results if result.enforced and not result.passed]
    if not counted:
        return VerdictStatus.PASSED
    return VerdictStatus.PENDING if all(result.pending for result in counted) else VerdictStatus.REJECTED


@dataclass(frozen=True, slots=True)
class Decision:
    user: str
    approved: bool
    comment: str = ""
    decided_at: int = 0


@dataclass(frozen=True, slots=True)
class Approval:
    """A question to the members of a role, and their answers.

    Attributes:
        count: how many different members have to approve; one rejection settles it.
        starter: who started the run that made the version; with `four_eyes` that user may not approve.
        expires_at: neither the question nor the answer counts later than this; None for ever.
        policy_digest: of the policy that asked; another policy has to ask again.
    """

    approval_id: str
    verdict_id: str
    model: str
    version: int
    role: str
    status: ApprovalStatus = ApprovalStatus.PENDING
    target: Target = field(default_factory=Target)
    count: int = 1
    four_eyes: bool = True
    starter: str = ""
    requested_by: str = ""
    requested_at: int = 0
    expires_at: int | None = None
    policy_digest: str = ""
    decisions: tuple[Decision, ...] = ()


@dataclass(frozen=True, slots=True)
class PromotionRequest:
    """What to promote and under which conditions.

    Attributes:
        expect: the version that must hold the target now; None when nobody may; `ANY` when it does not matter. With a
            verdict the champion that the verdict was made against is checked besides.
        verdict_id: the verdict that allows it; a protected model needs one.
        idempotency_key: the same key again returns the first answer and changes nothing.
        archive_existing: other versions in the target's stage become Archived.
        health_due_at: store, in the same transaction, the intent to roll back by then unless somebody confirms.
        health_checks: what the watcher of that intent is to check (gate settings, as in the policy).
    """

    model: str
    version: int
    target: Target
    expect: int | Literal["any"] | None = ANY
    verdict_id: str | None = None
    idempotency_key: str | None = None
    user: str = ""
    comment: str = ""
    archive_existing: bool = True
    run_id: str | None = None
    health_due_at: int | None = None
    health_checks: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Promotion:
    """A change of a target that has happened.

    Attributes:
        revision: ascending number of the change in its store.
        version: who holds the target since; None when an alias was deleted.
        previous_version: who held it before.
        archived: versions that left the stage by it.
        event_id: of the one event that tells others about it; receivers drop what they have seen.
        intent_id: the rollback intent that watches over it (a promotion) or made it (a rollback).
        replayed: this answer repeats an earlier one, because the idempotency key had been used.
    """

    promotion_id: str
    revision: int
    kind: PromotionKind
    model: str
    version: int | None
    previous_version: int | None
    target: Target
    archived: tuple[int, ...] = ()
    verdict_id: str | None = None
    user: str = ""
    comment: str = ""
    created_at: int = 0
    event_id: str = ""
    run_id: str | None = None
    intent_id: str | None = None
    replayed: bool = False


@dataclass(frozen=True, slots=True)
class RollbackIntent:
    """The stored will to move a champion back, so that any worker can finish what a dead one began.

    Attributes:
        from_version: the champion to be replaced; once it is another, the intent is superseded.
        to_version: who comes back; None when nobody held the target before (it is cleared then).
        due_at: None for at once; else the end of a health window, by which somebody must have confirmed.
        checks: what to check during the window.
    """

    intent_id: str
    model: str
    target: Target
    from_version: int | None
    to_version: int | None
    revision: int = 0
    status: IntentStatus = IntentStatus.PENDING
    reason: str = ""
    user: str = ""
    created_at: int = 0
    due_at: int | None = None
    checks: Mapping[str, Any] = field(default_factory=dict)
    promotion_id: str | None = None


@dataclass(frozen=True, slots=True)
class RequiredApproval:
    """An approval that a protected model needs, whatever a verdict says: `count` different members of a role."""

    role: str
    count: int = 1
    four_eyes: bool = True


@dataclass(frozen=True, slots=True)
class Protection:
    """Whether MLflow's own stage and alias calls are refused for a model, and which policy counts for it.

    Attributes:
        policy_digest: digest of the only policy that counts; None when any enforced policy does.
        approvals: what people must have said besides; the store asks for it, so no verdict can leave it out.
    """

    model: str
    protected: bool = False
    policy_digest: str | None = None
    approvals: tuple[RequiredApproval, ...] = ()


@dataclass(frozen=True, slots=True)
class RoleMember:
    role: str
    user: str


@dataclass(frozen=True, slots=True)
class AuditEntry:
    """One link of the audit log; `digest` covers everything in it and the link before."""

    sequence: int
    at: int
    user: str
    action: str
    model: str
    data: Mapping[str, Any]
    previous: str
    digest: str


@dataclass(frozen=True, slots=True)
class Event:
    """Something that others are told about. `event_id` is the same however often it is delivered."""

    sequence: int
    event_id: str
    type: str
    model: str
    data: Mapping[str, Any]
    created_at: int


@dataclass(frozen=True, slots=True)
class Delivery:
    """An event on its way to one webhook.

    Attributes:
        attempts: how often it has been tried, this time included.
    """

    webhook_pk: int
    webhook_id: str
    name: str
    url: str
    secret: str | None
    event: Event
    attempts: int


GENESIS = "0" * 64
"""What the first audit entry follows."""


def canonical(data: Any) -> str:
    """JSON text that is the same for equal data; what JSON has no word for (a date) goes in as its text."""
    return json.dumps(data, sort_keys=True, separators=(",", ":"), ensure_ascii=True, default=str)


def digest_of(data: Any) -> str:
    """sha256 of the canonical JSON."""
    return hashlib.sha256(canonical(data).encode()).hexdigest()


def audit_digest(
    previous: str, sequence: int, at: int, user: str, action: str, model: str, data: Mapping[str, Any]
) -> str:
    """The digest of one audit entry, chained to the one before."""
    return digest_of([previous, sequence, at, user, action, model, data])


def broken_link(entries: Sequence[AuditEntry], previous: str = GENESIS, sequence: int = 1) -> str | None:
    """What is wrong with a stretch of the audit log that begins after `previous`; None when the chain holds."""
    for entry in entries:
        if entry.sequence != sequence:
            return f"audit entry {sequence} is missing (entry {entry.sequence} comes next)"
        if entry.previous != previous:
            return f"audit entry {entry.sequence} does not follow the entry before it"
        expected = audit_digest(
            previous, entry.sequence, entry.at, entry.user, entry.action, entry.model, dict(entry.data)
        )
        if entry.digest != expected:
            return f"audit entry {entry.sequence} was changed after it was written"
        previous, sequence = entry.digest, sequence + 1
    return None


def encode(record: Any) -> Any:
    """A record as JSON-able data."""
    import msgspec

    return msgspec.to_builtins(record)


def decode(kind: type[T], data: Any) -> T:
    """The record that `data` describes.

    Raises:
        InvalidParameterValue: naming the field that does not fit.
    """
    import msgspec

    from mlgate_tracking.errors import InvalidParameterValue

    try:
        return msgspec.convert(data, kind)
    except msgspec.ValidationError as error:
        raise InvalidParameterValue(f"{kind.__name__}: {error}") from None


__all__ = [
    "ANY",
    "GENESIS",
    "Approval",
    "ApprovalStatus",
    "AuditEntry",
    "Decision",
    "Delivery",
    "Event",
    "GateMode",
    "GateResult",
    "Holder",
    "IntentStatus",
    "Promotion",
    "PromotionKind",
    "PromotionRequest",
    "Protection",
    "Reason",
    "RequiredApproval",
    "RoleMember",
    "RollbackIntent",
    "Target",
    "Value",
    "Verdict",
    "VerdictStatus",
    "audit_digest",
    "broken_link",
    "canonical",
    "decode",
    "digest_of",
    "encode",
    "status_of",
]
