"""What a killed runner leaves: end its processes and containers, save its logs, close its run."""

from __future__ import annotations

import time
from dataclasses import dataclass
from pathlib import Path

from mlgate.settings import Settings
from mlgate.tags import closing_tags
from mlgate.tracking import Tracking
from mlgate.workspace import Workspace
from mlgate_projects import ledger
from mlgate_projects.envs import remove_containers
from mlgate_tracking.entities import Fence, RunStatus
from mlgate_tracking.errors import ResourceDoesNotExist, StaleAttempt


@dataclass(frozen=True, slots=True)
class Reaped:
    """One step that was put in order; `closed` is False when a newer attempt owns the run already."""

    run_id: str
    attempt: int
    killed: int
    closed: bool


def reap(settings: Settings, tracking: Tracking, *, key: str | None = None) -> list[Reaped]:
    """Put in order every step whose runner is gone.

    Args:
        key: look at the step with this identity only (its next attempt does so before it starts).

    Steps of another store than `tracking`'s are left for a call with that store.
    """
    reaped: list[Reaped] = []

    def close(found: ledger.Reaped) -> None:
        reaped.append(_close(found, tracking))

    ledger.reap(
        settings.ledger,
        key=key,
        close=close,
        only=lambda row: row.info.get("tracking_uri") == settings.tracking_uri,
        remove_containers=remove_containers,
    )
    return reaped


def _close(found: ledger.Reaped, tracking: Tracking) -> Reaped:
    row = found.row
    workspace = Workspace(Path(row.info["workspace"]))
    try:
        run = tracking.store.get_run(row.run_id)
        closed = not run.info.status.terminal
        if closed:
            tracking.replay_spool(Fence(row.run_id, row.attempt), workspace.spool)
            for path, file in workspace.artifacts():
                tracking.log_file(run, path, file)
            tracking.store.close_step_run(
                row.run_id,
                row.attempt,
                status=RunStatus.KILLED,
                end_time=int(time.time() * 1000),
                tags=closing_tags(137, "the runner was killed; closed afterwards"),
            )
    except (StaleAttempt, ResourceDoesNotExist):
        closed = False
    workspace.discard()
    return Reaped(row.run_id, row.attempt, found.killed, closed)


__all__ = ["Reaped", "reap"]
