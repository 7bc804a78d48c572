"""Asking people through Airflow, with the answer kept in the store.

A question is an approval in the store and, for Airflow's pages and API, a human-in-the-loop detail of the task. Whoever
answers first, and wherever, the store's record counts: it checks role, four eyes and expiry, whoever responds.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from airflow.sdk import Context

    from mlgate_tracking.contract import Store
    from mlgate_tracking.governance import Approval, Verdict

APPROVE, REJECT = "Approve", "Reject"
"""The options that Airflow offers, spelled as its own ApprovalOperator spells them."""

COMMENT = {"comment": {"value": "", "schema": {"type": ["string", "null"], "title": "Comment"}, "description": ""}}
"""The form's only field."""


def show(
    context: Context,
    *,
    subject: str,
    body: str,
    assigned_users: list[Any] | None = None,
) -> None:
    """Put the question on Airflow's pages, or open it again after an answer that does not settle it."""
    from airflow.sdk.execution_time.hitl import upsert_hitl_detail

    instance: Any = context["ti"]
    upsert_hitl_detail(
        ti_id=instance.id,
        options=[APPROVE, REJECT],
        subject=subject,
        body=body,
        params=COMMENT,
        assigned_users=assigned_users,
    )


def standing(store: Store, approval_ids: Sequence[str]) -> tuple[str, tuple[Approval, ...]]:
    """`approved`, `rejected`, `expired`, `void` or `pending`, of all questions together, and the questions."""
    found = tuple(store.get_approval(approval_id) for approval_id in approval_ids)
    words = {one.status.value for one in found}
    for settled in ("rejected", "expired", "void", "pending"):
        if settled in words:
            return settled, found
    return "approved", found


def take_answer(
    store: Store, approval_ids: Sequence[str], event: Mapping[str, Any], warn: Callable[[str], None]
) -> None:
    """Record what somebody has answered in Airflow; one who may not answer is refused, and the question stays open.

    Args:
        event: as Airflow's human-in-the-loop operators get it; one without a person changes nothing.
    """
    from mlgate_tracking.errors import BadRequest, Conflict, PermissionDenied

    user = person(event.get("responded_by_user"))
    if not user:
        return
    approved = list(event.get("chosen_options") or ()) == [APPROVE]
    comment = str((event.get("params_input") or {}).get("comment") or "")
    for approval_id in approval_ids:
        if store.get_approval(approval_id).status.value != "pending":
            continue
        try:
            store.decide_approval(approval_id, user, approved, comment)
        except (PermissionDenied, Conflict, BadRequest) as error:
            warn(f"the answer of {user} does not count: {error}")


def person(user: Any) -> str:
    """The name that a user of Airflow has in the store: the login name."""
    if user is None:
        return ""
    names = user if isinstance(user, Mapping) else {"id": user.id, "name": user.name}
    return str(names.get("name") or names.get("id") or "")


def close_detail(instance_id: Any, approved: bool) -> None:
    """Take the question off Airflow's pages, because it was answered elsewhere."""
    from airflow.sdk.execution_time.hitl import update_hitl_detail_response

    with contextlib.suppress(Exception):  # answered there in the same moment, or cleared: nothing to take off
        update_hitl_detail_response(
            ti_id=instance_id, chosen_options=[APPROVE if approved else REJECT], params_input={}
        )


def subject_of(approvals: Sequence[Approval]) -> str:
    """One line: what is asked."""
    first = approvals[0]
    return f"Promote {first.model} version {first.version} to {first.target}?"


def body_of(verdict: Verdict | None, approvals: Sequence[Approval]) -> str:
    """Markdown: who is asked, and what the gates have said."""
    lines = []
    for approval in approvals:
        eyes = f", not by {approval.starter}" if approval.four_eyes and approval.starter else ""
        lines.append(f"Asks {approval.count} of role **{approval.role}**{eyes}. Approval `{approval.approval_id}`.")
    if verdict is not None:
        rows = [
            f"| {result.gate} | {'yes' if reason.passed else 'waits' if result.pending else 'no'} |"
            f" {reason.message.replace('|', '/')} |"
            for result in verdict.results
            for reason in result.reasons
        ]
        lines += ["", "| gate | passed | reason |", "|---|---|---|", *rows]
    return "\n".join(lines)


__all__ = [
    "APPROVE",
    "REJECT",
    "body_of",
    "close_detail",
    "person",
    "show",
    "standing",
    "subject_of",
    "take_answer",
]
