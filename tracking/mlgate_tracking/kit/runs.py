"""Which run is active: one at a time in a thread, nested ones above it, and the step's own run first of all.

In a step the first `start_run` takes up the step's run, which the runner closes; elsewhere `start_run` makes a run and
`end_run` closes it.
"""

from __future__ import annotations

import os
import threading

from mlgate_tracking.kit import log, records
from mlgate_tracking.kit.client import now, user
from mlgate_tracking.kit.session import PATIENCE, in_step, refresh, session, step_run_id
from mlgate_tracking.kit.transport import Refused, TrackingError, Unreachable, tracking_uri

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping
    from typing import Any

LOST = "lost"
"""Run id that stands for a run that no server could be asked for; what is logged to it goes nowhere."""


class _State:
    """Which runs are active; a thread sees its own, else those of the thread that began first."""

    def __init__(self) -> None:
        self.shared: list[ActiveRun] = []
        self.owner = 0
        self.local = threading.local()
        self.experiment_id = ""
        self.step_run_taken = False
        self.params: dict[tuple[str, str], str] = {}
        self.last_run_id = ""

    def stack(self) -> list[ActiveRun]:
        """The runs that this thread has begun."""
        if getattr(self.local, "stack", None):
            return self.local.stack  # type: ignore[no-any-return]
        if not self.shared or self.owner == threading.get_ident():
            self.owner = threading.get_ident()
            return self.shared
        self.local.stack = []
        return self.local.stack  # type: ignore[no-any-return]

    def active(self) -> ActiveRun | None:
        own = getattr(self.local, "stack", None)
        if own:
            return own[-1]  # type: ignore[no-any-return]
        return self.shared[-1] if self.shared else None


class ActiveRun(records.Run):
    """A run as a context manager: leaving it ends the run, FAILED when an exception leaves."""

    def __enter__(self) -> ActiveRun:
        return self

    def __exit__(self, kind: Any, error: Any, trace: Any) -> None:
        if kind is None:
            end_run()
        else:
            clean = kind is SystemExit and error.code in (None, 0)
            end_run("FINISHED" if clean else "KILLED" if kind is KeyboardInterrupt else "FAILED")


state = _State()


def _forget() -> None:
    """A forked child logs to the run that was active, but does not end its parent's runs."""
    state.owner = threading.get_ident()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_forget)


# --- where ----------------------------------------------------------------------------------------------------------


def set_tracking_uri(uri: str) -> None:
    """Log to another server from here on."""
    os.environ["MLFLOW_TRACKING_URI"] = str(uri)
    refresh()


def get_tracking_uri() -> str:
    return tracking_uri()


def set_experiment(experiment_name: str | None = None, experiment_id: str | None = None) -> records.Experiment:
    """Make an experiment the active one; by name it is created when it does not exist.

    In a step that has not started its run yet, the step's run moves into the experiment.

    Raises:
        TrackingError: neither or both given, a deleted experiment, or no server.
    """
    if (experiment_name is None) == (experiment_id is None):
        raise Refused("set_experiment takes exactly one of experiment_name and experiment_id")
    client = session().client
    if experiment_id is not None:
        wanted = str(experiment_id)
        found = session().wait_for(lambda: client.get_experiment(wanted))
    else:
        found = session().wait_for(lambda: client.ensure_experiment(str(experiment_name)))
    if found.lifecycle_stage != "active":
        raise Refused("experiment %r is deleted; restore it first, or use another name" % found.name)
    state.experiment_id = found.experiment_id
    if in_step() and not state.step_run_taken:
        from mlgate_tracking.kit.mlflow_experiment import take_along

        try:
            take_along(found.experiment_id)
        except TrackingError as error:
            log.failure("moving the step's run into experiment %s" % found.experiment_id, error)
    experiment: records.Experiment = found
    return experiment


def active_experiment_id() -> str:
    if state.experiment_id:
        return state.experiment_id
    name = os.environ.get("MLFLOW_EXPERIMENT_NAME")
    if name:
        found: records.Experiment = session().wait_for(lambda: session().client.ensure_experiment(name))
        return found.experiment_id
    return os.environ.get("MLFLOW_EXPERIMENT_ID") or "0"


# --- runs -----------------------------------------------------------------------------------------------------------


def start_run(
    run_id: str | None = None,
    experiment_id: str | None = None,
    run_name: str | None = None,
    nested: bool = False,
    parent_run_id: str | None = None,
    tags: Mapping[str, Any] | None = None,
    description: str | None = None,
    log_system_metrics: bool | None = None,
) -> ActiveRun:
    """Start a run and make it the active one; also a context manager.

    Args:
        run_id: a run to go on with, instead of a new one.
        experiment_id: where a new run goes; default the active experiment.
        nested: begin a child of the active run.
        parent_run_id: make the new run a child of this one.
        description: text shown with the run.
        log_system_metrics: accepted for MLflow's sake; the runner samples system metrics of every step.

    Raises:
        TrackingError: a run is active already and `nested` is not set, or (outside a step) no server answers.
    """
    stack = state.stack()
    if stack and not nested:
        raise Refused(
            "run %s is active already; end it with end_run(), or pass nested=True for a child run"
            % stack[-1].info.run_id
        )
    given = {str(key): str(value) for key, value in (tags or {}).items()}
    if description:
        given["mlflow.note.content"] = description
    if run_name:
        given["mlflow.runName"] = run_name
    active = state.active()
    resumed = run_id or (step_run_id() if _step_run_waits() else "")
    if resumed:
        run = _resume(resumed, given)
    else:
        parent = parent_run_id or (active.info.run_id if active is not None and nested else None)
        if parent:
            given["mlflow.parentRunId"] = parent
        run = _create(experiment_id, run_name, given)
    stack.append(run)
    state.last_run_id = run.info.run_id
    return run


def _step_run_waits() -> bool:
    """The step's run is taken once; after that the script makes runs of its own, as with MLflow."""
    return in_step() and not state.step_run_taken and os.environ.get("MLFLOW_RUN_ID", "") == step_run_id()


def _resume(run_id: str, tags: dict[str, str]) -> ActiveRun:
    if run_id == step_run_id():
        state.step_run_taken = True
        experiment_id = state.experiment_id or os.environ.get("MLFLOW_EXPERIMENT_ID", "")
        run = ActiveRun(records.RunInfo(run_id, experiment_id, run_name=tags.get("mlflow.runName", "")))
    else:
        client = session().client
        found = session().wait_for(lambda: client.get_run(run_id))
        if found.info.lifecycle_stage != "active":
            raise Refused("run %s is deleted; restore it before going on with it" % run_id)
        session().wait_for(lambda: client.update_run(run_id, status="RUNNING"))
        run = ActiveRun(found.info, found.data, found.inputs)
    for key, value in tags.items():
        session().buffer.tag(run_id, key, value)
    return run


def _create(
    experiment_id: str | None, run_name: str | None, tags: dict[str, str], patience: float = PATIENCE
) -> ActiveRun:
    import sys

    source = sys.argv[0] if sys.argv and sys.argv[0] not in ("", "-c") else "python"
    everywhere = {"mlflow.user": user(), "mlflow.source.name": source, "mlflow.source.type": "LOCAL"}
    where = str(experiment_id) if experiment_id is not None else active_experiment_id()
    try:
        key = os.urandom(16).hex()  # an answer that got lost must not leave a second run behind
        run = session().wait_for(
            lambda: session().client.create_run(
                where, run_name=run_name, tags={**everywhere, **tags}, idempotency_key=key
            ),
            patience,
        )
    except Unreachable as error:
        if not in_step():
            raise
        log.failure("beginning a run; what is logged to it is lost", error)
        return ActiveRun(records.RunInfo(LOST, where, run_name=run_name or ""))
    return ActiveRun(run.info, run.data)


def new_run(parent_run_id: str, run_name: str | None = None) -> str:
    """Make a child run without making it the active one; returns its id. For auto-logging."""
    if session().buffer.away:
        raise Unreachable("the tracking server is away; no child run of %s" % parent_run_id)
    active = state.active()
    home = os.environ.get("MLFLOW_EXPERIMENT_ID") or "0"
    where = active.info.experiment_id if active is not None else state.experiment_id or home
    run_id = _create(where, run_name, {"mlflow.parentRunId": parent_run_id}, patience=2.0).info.run_id
    if run_id is LOST:
        raise Unreachable("the tracking server is away; no child run of %s" % parent_run_id)
    return run_id


def logged_param(run_id: str, key: str) -> bool:
    """Whether the script itself has logged this param in this process."""
    return (run_id, key) in state.params


def active_run() -> ActiveRun | None:
    """The run that the short calls log to; None when there is none."""
    return state.active()


def end_run(status: str = "FINISHED") -> None:
    """End the active run of this thread. A step's own run is closed by the runner, with the step's outcome."""
    stack = state.stack()
    if not stack:
        return
    run_id = stack.pop().info.run_id
    if run_id in (LOST, step_run_id()):
        return
    session().buffer.end(run_id, status, now())
    session().buffer.flush(0.0 if session().buffer.away else 10.0)


def active_run_id() -> str:
    """The active run's id; begins a run when there is none."""
    run = state.active()
    return (run if run is not None else start_run()).info.run_id


__all__ = [
    "LOST",
    "ActiveRun",
    "active_experiment_id",
    "active_run",
    "active_run_id",
    "end_run",
    "get_tracking_uri",
    "logged_param",
    "new_run",
    "set_experiment",
    "set_tracking_uri",
    "start_run",
    "state",
]
