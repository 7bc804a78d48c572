"""The environment variables of a step's process: the caller's, without what is nobody's business in there."""

from __future__ import annotations

import os
import re
from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING

from mlgate_projects.envs import inherited_variables

if TYPE_CHECKING:
    from mlgate.resolve import ResolvedStep
    from mlgate.settings import Settings
    from mlgate.tracking import Endpoint
    from mlgate.workspace import Workspace
    from mlgate_tracking.entities import StepRun

# Names a store, a run or credentials for them: the step gets an endpoint and a token of its own.
_WITHHELD = re.compile(r"MLGATE_|MLFLOW_TRACKING_|MLFLOW_RUN_ID|MLFLOW_EXPERIMENT_|MLFLOW_REGISTRY_URI")
_SECRET_NAME = re.compile(r"(PASSWORD|PASSWD|SECRET|TOKEN|CREDENTIAL|PRIVATE_KEY|API_?KEY|ACCESS_KEY)", re.IGNORECASE)
_SHORTEST_SECRET = 6
"""Shorter values are not masked: hiding every `1` or `true` would make logs unreadable."""


def child_environment(
    resolved: ResolvedStep,
    opened: StepRun,
    endpoint: Endpoint,
    *,
    settings: Settings,
    workspace: Workspace,
    environ: Mapping[str, str] | None = None,
) -> dict[str, str]:
    """Everything that the child sees. `step.env` comes last, so a caller may override any of it."""
    from mlgate_tracking.kit import stage

    step = resolved.step
    caller = os.environ if environ is None else environ
    inherited = inherited_variables(resolved.spec.kind, caller)
    env = {name: value for name, value in inherited.items() if not _WITHHELD.match(name)}
    run = opened.run.info
    python_path = (str(stage(settings.kit)), step.env.get("PYTHONPATH", ""), inherited.get("PYTHONPATH", ""))
    env |= {
        "MLFLOW_TRACKING_URI": endpoint.uri,
        "MLFLOW_RUN_ID": run.run_id,
        "MLFLOW_EXPERIMENT_ID": run.experiment_id,
        "MLGATE_RUN_ID": run.run_id,
        "MLGATE_ATTEMPT": str(opened.attempt),
        "MLGATE_OUTPUTS": str(workspace.outputs_file),
        "MLGATE_SPOOL": str(workspace.spool),
        "PYTHONPATH": os.pathsep.join(part for part in python_path if part),
        # Output is streamed as it comes; a buffered Python would hold it back until the end.
        "PYTHONUNBUFFERED": "1",
    }
    if not settings.remote:
        # The address of a server that is gone when the step ends would be a dead link in every log.
        env["MLFLOW_SUPPRESS_PRINTING_URL_TO_STDOUT"] = "true"
    if endpoint.token:
        env["MLFLOW_TRACKING_TOKEN"] = endpoint.token
    autolog = step.autolog if step.autolog is not None else resolved.entry_point.autolog
    if not autolog:
        env["MLGATE_AUTOLOG"] = "0"
    env |= {name: value for name, value in step.env.items() if name != "PYTHONPATH"}
    return env


def secret_values(env: Mapping[str, str], names: Iterable[str], token: str | None) -> tuple[str, ...]:
    """Values to mask in output: of the variables that are named, of those whose name says it, and the step's token."""
    named = set(names)
    values = {value for name, value in env.items() if name in named or _SECRET_NAME.search(name)}
    if token:
        values.add(token)
    return tuple(sorted((value for value in values if len(value) >= _SHORTEST_SECRET), key=len, reverse=True))


__all__ = ["child_environment", "secret_values"]
