"""Ask people before a model goes on: `RequestApprovalOperator`, on Airflow's human-in-the-loop operators."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import timedelta
from typing import TYPE_CHECKING, Any, ClassVar

from airflow.providers.standard.operators.hitl import HITLOperator

from mlgate.airflow import asking
from mlgate.airflow.compat import AirflowException
from mlgate.airflow.operators import (
    MlgateOperator,
    as_json,
    idempotency_key,
    refuse,
    user_of,
)

if TYPE_CHECKING:
    from airflow.sdk import Context

    from mlgate.tracking import Tracking
    from mlgate_tracking.governance import Approval, Verdict


class RequestApprovalOperator(MlgateOperator, HITLOperator):
    """Ask the members of a role whether a model version may be promoted, and wait in the triggerer.

    Args:
        model, version: what it is about; or `source` (`runs:/RUN_ID/model`) to register a version first, once.
        role: who may answer (`mlgate approvals grant ROLE NAME`, with the login names of Airflow); or
        policy: whose approval gates ask. The answer counts for promotions under the same policy.
        to: an alias, a stage, or both (`champion,Production`); the policy's own target when None.
        expires: how long question and answer count; with `policy`, its gates say so.
        four_eyes: whoever started the run that made the version may not approve it.
        count: how many different members have to approve.
        on_reject: `skip` this task and what follows (the default), or `fail`; a question that expires counts as a no.
        poll: seconds between looks at the store.

    Returns (XCom): `model`, `version`, `target`, `status`, `verdict_id` and the approvals as JSON.

    The question can be answered on Airflow's page *Required Actions*, by its API, or with `mlgate approvals`: it is one
    record in the store. An answer of somebody who may not give it is logged, and the question stays open.
    """

    template_fields: Sequence[str] = (
        "model", "version", "source", "role", "policy", "to", "subject", "body",
    )  # fmt: skip
    template_fields_renderers: ClassVar[dict[str, str]] = {"policy": "json", "body": "md"}

    def __init__(
        self,
        *,
        model: str,
        version: int | str | None = None,
        source: str | None = None,
        role: str | None = None,
        policy: str | Mapping[str, Any] | None = None,
        to: str | None = None,
        expires: timedelta | float | None = None,
        four_eyes: bool = True,
        count: int = 1,
        on_reject: str = "skip",
        poll: float = 10.0,
        subject: str = "",
        body: str | None = None,
        **kwargs: Any,
    ) -> None:
        if on_reject not in ("skip", "fail"):
            raise ValueError(f"on_reject: '{on_reject}' is not known; use skip or fail")
        if (version is None) == (source is None):
            raise ValueError("give either a version of the model, or a source to register one from")
        if role is None and policy is None:
            raise ValueError("give a role to ask, or a policy whose approval gates ask")
        if policy is None and to is None:
            raise ValueError("to: name an alias or a stage, as in to='champion'; only a policy has one of its own")
        super().__init__(subject=subject, body=body, options=[asking.APPROVE, asking.REJECT], **kwargs)
        self.model = model
        self.version = version
        self.source = source
        self.role = role
        self.policy = policy
        self.to = to
        self.expires = expires
        self.four_eyes = four_eyes
        self.count = count
        self.on_reject = on_reject
        self.poll = poll

    def execute(self, context: Context) -> dict[str, Any]:
        from mlgate.user import acting_as

        with acting_as(user_of(context)), self.hook.tracking() as tracking:
            verdict, approvals = self._question(tracking, context)
            if verdict.status.value == "rejected":
                why = "; ".join(reason.message for reason in verdict.failures)
                refuse(self.on_reject, f"{verdict.model} {verdict.version} was rejected by its gates: {why}")
            return self._settle(context, tracking, verdict.verdict_id, [one.approval_id for one in approvals])

    def answered(
        self, context: Context, event: dict[str, Any], approval_ids: list[str] | None = None
    ) -> dict[str, Any]:
        """Where the task goes on when somebody has answered, in Airflow or elsewhere."""
        ids = approval_ids or event["approval_ids"]
        with self.hook.tracking() as tracking:
            asking.take_answer(tracking.store, ids, event, self.log.warning)
            return self._settle(context, tracking, tracking.store.get_approval(ids[0]).verdict_id, ids)

    def _question(self, tracking: Tracking, context: Context) -> tuple[Verdict, tuple[Approval, ...]]:
        """The verdict that waits, and the approvals that it waits for."""
        from mlgate.actions import version_of
        from mlgate.policy import read_policy
        from mlgate.promotion import approvals_for, check, parse_target, request_approval

        about = {"version": self.version} if self.version is not None else {"source": self.source}
        key = idempotency_key(context)
        version = version_of(tracking, {"model": self.model, **about}, idempotency_key=key).version
        policy = read_policy(self.policy) if self.policy is not None else None
        target = parse_target(self.to, policy.ladder if policy else ()) if self.to else None
        store = tracking.store
        if self.role is None:
            assert policy is not None
            verdict = check(store, self.model, version, policy, target=target, user=user_of(context))
            return verdict, approvals_for(store, verdict)
        aim = target or (policy.target if policy else None)
        if aim is None:
            raise ValueError("to: name an alias or a stage, as in to='champion'; the policy names none")
        approval = request_approval(
            store,
            self.model,
            version,
            self.role,
            target=aim,
            policy=policy,
            expires=self.expires.total_seconds() if isinstance(self.expires, timedelta) else self.expires,
            four_eyes=self.four_eyes,
            count=self.count,
            user=user_of(context),
        )
        return store.get_verdict(approval.verdict_id), (approval,)

    def _settle(self, context: Context, tracking: Tracking, verdict_id: str, approval_ids: list[str]) -> dict[str, Any]:
        """The task's result, or its end; as long as nothing is settled, wait."""
        verdict = tracking.store.get_verdict(verdict_id)
        status, approvals = asking.standing(tracking.store, approval_ids)
        what = f"{verdict.model} {verdict.version}"
        if status == "approved":
            return {
                "model": verdict.model,
                "version": verdict.version,
                "target": as_json(verdict.target),
                "status": status,
                "verdict_id": verdict_id,
                "approvals": as_json(approvals),
            }
        if status in ("rejected", "expired"):
            said = [f"by {one.user} {one.comment}".strip() for each in approvals for one in each.decisions]
            refuse(self.on_reject, f"{what}: approval {status} {'; '.join(said)}".strip())
        if status == "void":
            raise AirflowException(f"{what}: the approval is void, because the champion has moved; a retry asks anew")
        self._wait(context, verdict, approvals)
        raise AssertionError("a deferred task does not come here")

    def _wait(self, context: Context, verdict: Verdict, approvals: Sequence[Approval]) -> None:
        from mlgate.airflow.triggers import ApprovalTrigger

        subject = str(self.subject or asking.subject_of(approvals))
        body = str(self.body or asking.body_of(verdict, approvals))
        asking.show(context, subject=subject, body=body, assigned_users=self.assigned_users)
        for notifier in self.notifiers:
            notifier(context)
        self.log.info("%s (%s)", subject, ", ".join(one.approval_id for one in approvals))
        instance: Any = context["ti"]
        ids = [one.approval_id for one in approvals]
        self.defer(
            trigger=ApprovalTrigger(str(instance.id), ids, self.mlgate_conn_id, self.poll),
            method_name="answered",
            kwargs={"approval_ids": ids},
        )


__all__ = ["RequestApprovalOperator"]
