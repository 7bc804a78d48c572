"""Waiting for somebody's word: a flow run is suspended (or paused) until an approval in the store is decided.

The record is the store's, the same under every engine; Prefect only waits. A suspended run holds no process: its state
is in Prefect's database, its question in ours, so neither a restart of the server nor the end of a worker loses it.
It is resumed by the form in Prefect's UI, by `mlgate approvals approve`, or by `resume_decided` on a schedule, and
looks into the store each time it wakes; only the store's answer lets it go on.
"""

from __future__ import annotations

import itertools
import threading
import time
from collections.abc import Mapping
from contextvars import copy_context
from typing import TYPE_CHECKING, Any

from prefect import task
from prefect.cache_policies import NO_CACHE
from prefect.client.orchestration import get_client
from prefect.client.schemas.filters import FlowRunFilter
from prefect.client.schemas.objects import StateType
from prefect.context import TaskRunContext
from prefect.flow_runs import apause_flow_run, asuspend_flow_run, pause_flow_run, suspend_flow_run
from prefect.input import RunInput
from prefect.runtime import deployment, flow_run
from pydantic import Field

from mlgate.prefect import reporting
from mlgate.prefect.blocks import TrackingServer, settings_of
from mlgate.prefect.compat import in_thread, interrupt
from mlgate.prefect.identity import engine_of_this_run, identity, user
from mlgate.prefect.settings import MlgateSettings
from mlgate.prefect.tasks import ModelRejected

if TYPE_CHECKING:
    from mlgate.settings import Settings
    from mlgate_tracking.governance import Approval

PAUSE_KEY = "mlgate-approval-"
_FOREVER = 10 * 365 * 86400


class Answer(RunInput):
    """What a flow run that waits for an approval is resumed with; leave it empty to have it look again."""

    approved: bool | None = Field(default=None, description="Yes or no; leave it empty to look into the store again.")
    user: str = Field(default="", description="Who says so; must have the role that is asked for.")
    comment: str = Field(default="", description="Kept with the approval.")


def request_approval(
    model: str,
    version: int | None = None,
    *,
    role: str,
    to: str,
    source: str | None = None,
    policy: str | Mapping[str, Any] | None = None,
    expires: float | None = None,
    four_eyes: bool = True,
    count: int = 1,
    on_reject: str = "return",
    server: TrackingServer | str | None = None,
) -> dict[str, Any]:
    """Ask the members of a role about a version, and suspend the flow run until they have answered.

    Call it in a flow, not in a task: a task cannot be suspended. A flow run of a deployment is suspended; one that was
    started by hand is paused, which keeps its process.

    Args:
        version, source: the version, or what to register as one (`runs:/RUN_ID/model`).
        policy: the policy under which the answer shall count (as `promote_model` will be given). It is judged first:
            nobody is asked about a version that its other gates rule out.
        expires: seconds from now; then the flow run fails.

    Returns: the approval: `approval_id` (None when nobody was asked), `version`, `status` (`approved`, `rejected`,
        `expired`, `void`), `decisions`.

    Raises:
        ModelRejected: with `on_reject="fail"`, when the answer is no.
    """
    asked = ask_for_approval(
        model, version, role=role, to=to, source=source, policy=policy, expires=expires, four_eyes=four_eyes,
        count=count, server=server,
    )  # fmt: skip
    return _answered(settings_of(server), asked, on_reject)


async def arequest_approval(*args: Any, on_reject: str = "return", **kwargs: Any) -> dict[str, Any]:
    """`request_approval` for async flows."""
    asked = await aask_for_approval(*args, **kwargs)
    return await in_thread(_answered)(settings_of(kwargs.get("server")), asked, on_reject)


def _answered(settings: Settings, asked: dict[str, Any], on_reject: str) -> dict[str, Any]:
    from mlgate_tracking.governance import encode

    data: dict[str, Any]
    data = asked if asked["approval_id"] is None else encode(wait_for(settings, str(asked["approval_id"])))
    if data["status"] != "approved" and on_reject == "fail":
        raise ModelRejected(f"{data['model']} {data['version']}: {data['status']}; nobody may promote it")
    return data


def _ask(
    model: str,
    version: int | None = None,
    *,
    role: str,
    to: str,
    source: str | None = None,
    policy: str | Mapping[str, Any] | None = None,
    expires: float | None = None,
    four_eyes: bool = True,
    count: int = 1,
    server: TrackingServer | str | None = None,
) -> dict[str, Any]:
    """Store the question, and a run that says who waits for the answer; the same question again finds the first."""
    from mlgate.actions import version_of
    from mlgate.policy import read_policy
    from mlgate.promotion import approvals_for, check, parse_target, request_approval
    from mlgate.step import step_run_key
    from mlgate.tracking import open_tracking
    from mlgate.user import current_user
    from mlgate_tracking.entities import RunStatus, Tag
    from mlgate_tracking.governance import VerdictStatus, encode

    engine = engine_of_this_run()
    about: dict[str, Any] = {"version": version} if version is not None else {"source": source}
    name = identity("approve", {"model": model, "role": role, "to": to, **about})
    read = read_policy(policy) if policy is not None else None
    with open_tracking(settings_of(server)) as tracking:
        store = tracking.store
        found = version_of(tracking, {"model": model, **about}, idempotency_key=f"prefect/{engine.run_id}/{name}")
        tags = {
            "mlgate.kind": "approval",
            "mlgate.step": name,
            "mlgate.engine": engine.name,
            "mlgate.engine.run_id": engine.run_id,
            "mlgate.model": model,
            "mlgate.model_version": str(found.version),
        }
        opened = store.open_step_run(
            step_run_key(engine.run_id, "", name),
            experiment_id="0",
            user_id=current_user(),
            run_name=f"approve {model} {found.version}",
            start_time=int(time.time() * 1000),
            tags=[Tag(key, value) for key, value in tags.items()],
        )
        run_id = opened.run.info.run_id
        target = parse_target(to, read.ladder if read else ())
        who: dict[str, Any] = {"target": target, "user": user(), "run_id": run_id}
        verdict = check(store, model, found.version, read, **who) if read else None
        approval: Approval | None = None
        if verdict is None or verdict.status is not VerdictStatus.REJECTED:
            known = approvals_for(store, verdict) if verdict else ()
            approval = next((one for one in known if one.role == role), None) or request_approval(
                store, model, found.version, role, policy=read, expires=expires, four_eyes=four_eyes, count=count, **who
            )
        outcome = approval.status.value if approval else "rejected"
        closing = [Tag("mlgate.outcome", outcome), Tag("mlgate.approval_id", approval.approval_id if approval else "")]
        store.close_step_run(
            run_id, opened.attempt, status=RunStatus.FINISHED, end_time=int(time.time() * 1000), tags=closing
        )
    if verdict is not None:
        with reporting.as_warning(reporting.Log(), "the verdict"):
            reporting.show_verdict(verdict)
    data: dict[str, Any] = encode(approval) if approval else {}
    return data or {"approval_id": None, "model": model, "version": found.version, "status": "rejected"}


_OPTIONS: dict[str, Any] = {"name": "ask-for-approval", "task_run_name": "ask {role}", "cache_policy": NO_CACHE}
ask_for_approval = task(_ask, **_OPTIONS)
aask_for_approval = task(in_thread(_ask), **_OPTIONS)


# --- waiting ----------------------------------------------------------------------------------------------------------


def wait_for(settings: Settings, approval_id: str) -> Approval:
    """Suspend or pause the flow run until an approval is decided, expired or void; returns it.

    Runs from its beginning each time the flow run is resumed: the pauses of before answer at once with what they were
    resumed with, and saying the same thing to the store again changes nothing.
    """
    from mlgate_tracking.governance import ApprovalStatus

    if TaskRunContext.get() is not None:
        raise RuntimeError("request_approval: call it in a flow; a task cannot be suspended")
    log = reporting.Log()
    for turn in itertools.count(1):
        approval = _read(settings, approval_id)
        if approval.status is not ApprovalStatus.PENDING:
            log.line(f"{_about(approval)}: {approval.status.value}")
            return approval
        _record(settings, approval, _interrupt(settings, approval, f"{PAUSE_KEY}{approval_id}-{turn}"), log)
    raise AssertionError("unreachable")


def _interrupt(settings: Settings, approval: Approval, key: str) -> Answer:
    left = None if approval.expires_at is None else max(1, round(approval.expires_at / 1000 - time.time()))
    form = Answer.with_initial_data(
        description=f"**{_about(approval)}**\n\nAsked by {approval.requested_by}. Answer here, or with "
        f"`mlgate approvals approve {approval.approval_id}`."
    )
    if deployment.id and not flow_run.parent_flow_run_id:
        return interrupt(suspend_flow_run, asuspend_flow_run, wait_for_input=form, timeout=left, key=key)  # type: ignore[no-any-return]
    poll = MlgateSettings().approval_poll_seconds
    over = threading.Event()
    watcher = threading.Thread(
        target=copy_context().run, args=(_resume_once_decided, settings, approval.approval_id, poll, over), daemon=True
    )
    watcher.start()
    try:
        asked = {"wait_for_input": form, "timeout": left or _FOREVER, "poll_interval": poll, "key": key}
        return interrupt(pause_flow_run, apause_flow_run, **asked)  # type: ignore[no-any-return]
    finally:
        over.set()


def _resume_once_decided(settings: Settings, approval_id: str, poll: float, over: threading.Event) -> None:
    """A paused run has a process, which can look by itself."""
    while not over.wait(poll):
        if _read(settings, approval_id).status.value != "pending":
            with get_client(sync_client=True) as client:
                client.resume_flow_run(flow_run.id, run_input={})
            return


def _record(settings: Settings, approval: Approval, answer: Answer, log: reporting.Log) -> None:
    from mlgate.tracking import open_tracking
    from mlgate_tracking.errors import TrackingError

    if answer.approved is None:
        return
    try:
        with open_tracking(settings) as tracking:
            tracking.store.decide_approval(approval.approval_id, answer.user, answer.approved, answer.comment)
    except TrackingError as error:
        if error.status >= 500:
            raise
        log.caution(f"{error}")  # no right to answer, or answered already: go on waiting


def _read(settings: Settings, approval_id: str) -> Approval:
    from mlgate.tracking import open_tracking

    with open_tracking(settings) as tracking:
        return tracking.store.get_approval(approval_id)


def _about(approval: Approval) -> str:
    return f"{approval.model} version {approval.version} for {approval.target} waits for {approval.role}"


# --- for approvals that were given where nobody knows of Prefect ------------------------------------------------------


@task(name="resume-decided", cache_policy=NO_CACHE)
def resume_decided(server: TrackingServer | str | None = None) -> list[str]:
    """Resume every flow run whose approval has been decided; for a deployment that runs every minute or so.

    Returns: ids of the flow runs that were resumed.
    """
    from mlgate_tracking.errors import ResourceDoesNotExist

    settings, resumed = settings_of(server), []
    waiting = FlowRunFilter(state={"type": {"any_": [StateType.PAUSED]}})
    with get_client(sync_client=True) as client:
        for run in client.read_flow_runs(flow_run_filter=waiting):
            key = (run.state.state_details.pause_key if run.state else None) or ""
            if not key.startswith(PAUSE_KEY):
                continue
            try:
                approval = _read(settings, key.removeprefix(PAUSE_KEY).rpartition("-")[0])
            except ResourceDoesNotExist:
                continue  # of another store
            if approval.status.value != "pending":
                client.resume_flow_run(run.id, run_input={})
                resumed.append(str(run.id))
    return resumed


__all__ = ["Answer", "arequest_approval", "ask_for_approval", "request_approval", "resume_decided", "wait_for"]
