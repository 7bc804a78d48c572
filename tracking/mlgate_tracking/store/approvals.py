"""Verdicts and approvals in the database: what was judged, who was asked, who answered, and whether it still counts."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

from mlgate_tracking.entities import Page
from mlgate_tracking.errors import BadRequest, Conflict, InvalidParameterValue, PermissionDenied, ResourceDoesNotExist
from mlgate_tracking.governance import (
    Approval,
    ApprovalStatus,
    Decision,
    Holder,
    RequiredApproval,
    RoleMember,
    Target,
    Verdict,
    canonical,
    decode,
    encode,
    status_of,
)
from mlgate_tracking.store import audit
from mlgate_tracking.store.governance import (
    GovernancePart,
    after_key,
    check_target,
    holder_of,
    locked_model,
    model_key,
    next_page,
)
from mlgate_tracking.store.transaction import Row, Transaction
from mlgate_tracking.store.users import check_role, require_another_admin
from mlgate_tracking.store.values import now
from mlgate_tracking.users import ADMIN, Actor

_COLUMNS = (
    "a.approval_id, a.verdict_id, m.name, a.version, a.role_name, a.status, a.alias, a.stage, a.needed, a.four_eyes,"
    " a.starter, a.requested_by, a.requested_at, a.expires_at, a.policy_digest, a.approval_pk, a.registered_model_pk,"
    " a.champion_version, a.champion_revision"
)
_FROM = " FROM approvals a JOIN registered_models m ON m.registered_model_pk = a.registered_model_pk"
_OPEN = (ApprovalStatus.PENDING, ApprovalStatus.APPROVED)


class ApprovalStore(GovernancePart):
    # --- verdicts -----------------------------------------------------------------------------------------------

    def record_verdict(self, verdict: Verdict, approvals: Sequence[Approval] = ()) -> Verdict:
        self.require_unfenced("judge a model")
        actor = self.acting(verdict.created_by)
        check_target(verdict.target)
        if verdict.status is not status_of(verdict.results):
            raise InvalidParameterValue(
                f"verdict {verdict.verdict_id}: status {verdict.status.value} is not what its results say, "
                f"{status_of(verdict.results).value}"
            )
        at = now()

        def work(tx: Transaction) -> Verdict:
            pk = locked_model(tx, verdict.model)
            known = tx.row("SELECT body FROM verdicts WHERE verdict_id = :id", {"id": verdict.verdict_id})
            if known is not None:
                return decode(Verdict, json.loads(known[0]))
            made = replace(verdict, created_at=verdict.created_at or at, created_by=actor.user)
            row = {
                "verdict_id": made.verdict_id,
                "registered_model_pk": pk,
                "version": made.version,
                "body": canonical(encode(made)),
                "created_at": made.created_at,
            }
            tx.insert("verdicts", row)
            for approval in approvals:
                _store_approval(tx, pk, made, self._asked(approval, at))
            audit.append(tx, at, actor, f"verdict.{made.status.value}", made.model, _audited(made))
            for approval in approvals:
                data = {"approval_id": approval.approval_id, "role": approval.role, "version": approval.version}
                asking = actor if self.identity is not None else Actor(approval.requested_by)
                audit.append(tx, at, asking, "approval.requested", made.model, data)
            return made

        return self.database.write(work)

    def get_verdict(self, verdict_id: str) -> Verdict:
        return self.read(lambda tx: verdict_of(tx, verdict_id))

    def search_verdicts(
        self, model: str, *, version: int | None = None, max_results: int = 100, page_token: str | None = None
    ) -> Page[Verdict]:
        before = after_key(page_token)

        def work(tx: Transaction) -> Page[Verdict]:
            where = " WHERE registered_model_pk = :pk"
            where += " AND version = :version" if version is not None else ""
            where += " AND verdict_pk < :before" if before is not None else ""
            rows = tx.rows(
                f"SELECT verdict_pk, body FROM verdicts{where} ORDER BY verdict_pk DESC LIMIT :most",
                {"pk": model_key(tx, model), "version": version, "before": before, "most": max_results + 1},
            )
            page = next_page(rows, max_results, lambda row: int(row[0]))
            return Page(tuple(decode(Verdict, json.loads(body)) for _, body in page.items), page.token)

        return self.read(work)

    # --- approvals ----------------------------------------------------------------------------------------------

    def get_approval(self, approval_id: str) -> Approval:
        at = now()
        return self.read(lambda tx: _approval(tx, _approval_row(tx, approval_id), at))

    def search_approvals(
        self,
        *,
        model: str | None = None,
        version: int | None = None,
        status: ApprovalStatus | None = None,
        max_results: int = 100,
        page_token: str | None = None,
    ) -> Page[Approval]:
        before, at = after_key(page_token), now()

        def work(tx: Transaction) -> Page[Approval]:
            # Expired and void are not written down when it happens, but seen when somebody looks.
            stored = {ApprovalStatus.EXPIRED: None, ApprovalStatus.VOID: None}.get(status, status) if status else None
            where = [
                text
                for text, given in (
                    ("m.name = :model", model),
                    ("a.version = :version", version),
                    ("a.status = :status", stored),
                    ("a.approval_pk < :before", before),
                )
                if given is not None
            ]
            found: list[tuple[int, Approval]] = []
            params = {"model": model, "version": version, "status": stored and stored.value, "before": before}
            rows = tx.rows(
                f"SELECT {_COLUMNS}{_FROM}{' WHERE ' if where else ''}{' AND '.join(where)}"
                " ORDER BY a.approval_pk DESC LIMIT :most",
                {**params, "most": max_results + 1},
            )
            found = [(int(row[15]), _approval(tx, row, at)) for row in rows]
            page = next_page(found, max_results, lambda one: one[0])
            return Page(tuple(one for _, one in page.items if status in (None, one.status)), page.token)

        return self.read(work)

    def decide_approval(self, approval_id: str, user: str, approved: bool, comment: str = "") -> Approval:
        self.require_unfenced("approve a model")
        actor = self.acting(user)
        user = actor.user
        if not user:
            raise InvalidParameterValue("an approval needs the name of who gives it")
        at = now()

        def work(tx: Transaction) -> Approval:
            locked_model(tx, _approval_row(tx, approval_id)[2])
            row = _approval_row(tx, approval_id)
            approval = _approval(tx, row, at)
            said = next((one for one in approval.decisions if one.user == user), None)
            if said is not None and said.approved == approved:
                return approval
            _require_may_decide(tx, approval, user, approved, said)
            if approved and approval.four_eyes and self.identity is not None:
                _require_other_eyes(tx, approval, user)
            decision = Decision(user, approved, comment, at)
            tx.insert(
                "approval_decisions",
                {
                    "approval_pk": row[15],
                    "user_id": user,
                    "approved": int(approved),
                    "remark": comment,
                    "decided_at": at,
                },
            )
            decisions = (*approval.decisions, decision)
            status = _status_after(approval, decisions)
            tx.change(
                "UPDATE approvals SET status = :status WHERE approval_id = :id",
                {"status": status.value, "id": approval_id},
            )
            made = replace(approval, status=status, decisions=decisions)
            action = "approval.approved" if approved else "approval.rejected"
            data = {"approval_id": approval_id, "role": approval.role, "version": approval.version, "comment": comment}
            audit.append(tx, at, actor, action, approval.model, {**data, "status": status.value})
            return made

        return self.database.write(work)

    def _asked(self, approval: Approval, at: int) -> Approval:
        """An approval as it is stored: when, and by whom if that is known better than by what the request says."""
        requested_by = self.acting(approval.requested_by).user
        return replace(approval, requested_at=approval.requested_at or at, requested_by=requested_by)

    # --- roles --------------------------------------------------------------------------------------------------

    def grant_role(self, role: str, member: str, *, user: str = "") -> None:
        self._change_role(role, member, user, granted=True)

    def revoke_role(self, role: str, member: str, *, user: str = "") -> None:
        self._change_role(role, member, user, granted=False)

    def _change_role(self, role: str, member: str, user: str, *, granted: bool) -> None:
        self.require_admin("give or take roles")
        check_role(role)
        if not member or len(member) > 256:
            raise InvalidParameterValue(f"user {member[:80]!r} needs 1 to 256 characters")
        at, actor, row = now(), self.acting(user), {"role_name": role, "user_id": member}

        def work(tx: Transaction) -> None:
            if role == ADMIN and not granted:
                require_another_admin(tx, member)
            if granted:
                tx.insert_missing("role_members", [row], ["role_name", "user_id"])
            else:
                tx.change("DELETE FROM role_members WHERE role_name = :role_name AND user_id = :user_id", row)
            action = "role.granted" if granted else "role.revoked"
            audit.append(tx, at, actor, action, "", {"role": role, "member": member})

        self.database.write(work)

    def role_members(self, role: str | None = None) -> tuple[RoleMember, ...]:
        where = " WHERE role_name = :role" if role is not None else ""
        return self.read(
            lambda tx: tuple(
                RoleMember(*row)
                for row in tx.rows(
                    f"SELECT role_name, user_id FROM role_members{where} ORDER BY role_name, user_id", {"role": role}
                )
            )
        )


# --- asked by the promotion -------------------------------------------------------------------------------------------


def verdict_of(tx: Transaction, verdict_id: str) -> Verdict:
    row = tx.row("SELECT body FROM verdicts WHERE verdict_id = :id", {"id": verdict_id})
    if row is None:
        raise ResourceDoesNotExist(f"no verdict with id {verdict_id!r}")
    return decode(Verdict, json.loads(row[0]))


def missing_approvals(
    tx: Transaction, pk: int, verdict: Verdict, holder: Holder, at: int, required: Sequence[RequiredApproval] = ()
) -> list[str]:
    """What a promotion still waits for: the approval gates of its verdict, whatever that itself says about them, and
    what the model's protection requires, whatever gates the verdict had."""
    asked = [
        RequiredApproval(str(result.settings.get("role", "")), 0, False)
        for result in verdict.results
        if result.gate == "approval" and result.enforced
    ]
    missing = []
    for one in (*asked, *required):
        rows = tx.rows(
            f"SELECT {_COLUMNS}{_FROM} WHERE a.registered_model_pk = :pk AND a.version = :version"
            " AND a.role_name = :role AND a.policy_digest = :policy ORDER BY a.approval_pk DESC",
            {"pk": pk, "version": verdict.version, "role": one.role, "policy": verdict.digests.get("policy", "")},
        )
        found = [_approval(tx, row, at, holder) for row in rows]
        given = [each for each in found if each.status is ApprovalStatus.APPROVED and each.target == verdict.target]
        if any(_suffices(tx, each, one) for each in given):
            continue
        latest = f"; the latest is {found[0].status.value}" if found else ""
        missing.append(f"nobody's approval as {one.role} counts{latest}")
    return list(dict.fromkeys(missing))


def _suffices(tx: Transaction, approval: Approval, required: RequiredApproval) -> bool:
    approvers = {one.user for one in approval.decisions if one.approved}
    if required.four_eyes:
        approvers -= {approval.starter, *_makers(tx, approval)}
    return len(approvers) >= required.count


# --- one approval -----------------------------------------------------------------------------------------------------


def _require_may_decide(tx: Transaction, approval: Approval, user: str, approved: bool, said: Decision | None) -> None:
    name = f"approval {approval.approval_id} of {approval.model} version {approval.version}"
    if approval.status is ApprovalStatus.EXPIRED:
        raise BadRequest(f"{name} has expired; ask for a new one by checking the version again")
    if approval.status is ApprovalStatus.VOID:
        raise Conflict(f"{name} is void: the champion has moved since; check the version again")
    if said is not None:
        verb = "approved" if said.approved else "rejected"
        raise Conflict(f"{name}: {user} has {verb} it already")
    if approval.status is not ApprovalStatus.PENDING:
        raise Conflict(f"{name} is {approval.status.value} already")
    member = tx.row(
        "SELECT 1 FROM role_members WHERE role_name = :role AND user_id = :user", {"role": approval.role, "user": user}
    )
    if member is None:
        anybody = tx.row("SELECT 1 FROM role_members WHERE role_name = :role LIMIT 1", {"role": approval.role})
        hint = "" if anybody else " (nobody has it yet)"
        raise PermissionDenied(
            f"{name} asks for role {approval.role!r}, which {user!r} does not have{hint}; "
            f"give it with `mlgate approvals grant {approval.role} {user}`"
        )
    # Whoever started it may take it back, but not wave it through.
    if approved and approval.four_eyes and user == approval.starter:
        raise PermissionDenied(f"{name}: {user!r} started the run that made it; somebody else has to approve")


def _require_other_eyes(tx: Transaction, approval: Approval, user: str) -> None:
    """Ask the store itself who made a version, where users are known: the verdict is its maker's word."""
    if user in _makers(tx, approval):
        raise PermissionDenied(
            f"approval {approval.approval_id} of {approval.model} version {approval.version}: {user!r} started the run "
            "or registered the version; somebody else has to approve"
        )


def _makers(tx: Transaction, approval: Approval) -> set[str]:
    """Who started the run of a version, and the step that did so for them, and who registered the version: the run that
    it names may be anybody's."""
    version = tx.row(
        "SELECT v.user_id, v.run_id, v.owner_run_id FROM model_versions v"
        " JOIN registered_models m ON m.registered_model_pk = v.registered_model_pk"
        " WHERE m.name = :model AND v.version = :version",
        {"model": approval.model, "version": approval.version},
    )
    if version is None:
        return set()
    makers, runs = {version[0]}, [version[1], version[2]]
    for run_id in runs:
        row = tx.row("SELECT user_id, owner_run_id FROM runs WHERE run_id = :run_id", {"run_id": run_id})
        if row is not None:
            makers.add(row[0])
            runs.append(row[1])
    return makers


def _status_after(approval: Approval, decisions: Sequence[Decision]) -> ApprovalStatus:
    if any(not one.approved for one in decisions):
        return ApprovalStatus.REJECTED
    enough = sum(one.approved for one in decisions) >= approval.count
    return ApprovalStatus.APPROVED if enough else ApprovalStatus.PENDING


def _approval_row(tx: Transaction, approval_id: str) -> Row:
    row = tx.row(f"SELECT {_COLUMNS}{_FROM} WHERE a.approval_id = :id", {"id": approval_id})
    if row is None:
        raise ResourceDoesNotExist(f"no approval with id {approval_id!r}")
    return row


def _approval(tx: Transaction, row: Row, at: int, holder: Holder | None = None) -> Approval:
    (
        approval_id, verdict_id, model, version, role, status, alias, stage, needed, four_eyes,
        starter, requested_by, requested_at, expires_at, policy, pk, model_pk, champion_version, champion_revision,
    ) = row  # fmt: skip
    decisions = tx.rows(
        "SELECT user_id, approved, remark, decided_at FROM approval_decisions WHERE approval_pk = :pk"
        " ORDER BY decided_at, user_id",
        {"pk": pk},
    )
    approval = Approval(
        approval_id=approval_id,
        verdict_id=verdict_id,
        model=model,
        version=version,
        role=role,
        status=ApprovalStatus(status),
        target=Target(alias, stage),
        count=needed,
        four_eyes=bool(four_eyes),
        starter=starter,
        requested_by=requested_by,
        requested_at=requested_at,
        expires_at=expires_at,
        policy_digest=policy,
        decisions=tuple(Decision(user, bool(yes), remark, when) for user, yes, remark, when in decisions),
    )
    if approval.status not in _OPEN:
        return approval
    if (holder or holder_of(tx, model_pk, approval.target)) != Holder(champion_version, champion_revision):
        return replace(approval, status=ApprovalStatus.VOID)
    if expires_at is not None and expires_at <= at:
        return replace(approval, status=ApprovalStatus.EXPIRED)
    return approval


def _store_approval(tx: Transaction, pk: int, verdict: Verdict, approval: Approval) -> None:
    tx.insert(
        "approvals",
        {
            "approval_id": approval.approval_id,
            "verdict_id": verdict.verdict_id,
            "registered_model_pk": pk,
            "version": approval.version,
            "alias": verdict.target.alias,
            "stage": verdict.target.stage,
            "role_name": approval.role,
            "status": ApprovalStatus.PENDING.value,
            "needed": approval.count,
            "four_eyes": int(approval.four_eyes),
            "starter": approval.starter,
            "requested_by": approval.requested_by,
            "requested_at": approval.requested_at,
            "expires_at": approval.expires_at,
            "policy_digest": verdict.digests.get("policy", ""),
            "champion_version": verdict.champion.version,
            "champion_revision": verdict.champion.revision,
        },
    )


def _audited(verdict: Verdict) -> dict[str, Any]:
    """What the audit log keeps of a verdict: everything that says what was judged, and the reasons of a no."""
    data: dict[str, Any] = encode(verdict)
    del data["results"]
    return {**data, "failures": [reason.message for reason in verdict.failures]}


__all__ = ["ApprovalStore", "missing_approvals", "verdict_of"]
