"""One step as data: what to run (`Step`) and what became of it (`StepResult`). Both turn into JSON and back."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

NEVER_RETRIED = range(64, 79)
"""Exit codes that say the input is wrong (BSD sysexits.h): another attempt cannot help."""


def step_run_key(engine_run_id: str, project_digest: str, step_name: str, map_index: int = -1) -> str:
    """Identity of a step's tracked run, the same for every attempt; hex sha256 over length-prefixed fields."""
    digest = hashlib.sha256()
    for part in (engine_run_id, project_digest, step_name, str(map_index)):
        raw = part.encode()
        digest.update(len(raw).to_bytes(8, "big") + raw)
    return digest.hexdigest()


@dataclass(frozen=True, slots=True)
class Engine:
    """Who runs the step: `local`, `prefect` or `airflow`, the id of its whole run, and other ids, for tags."""

    name: str
    run_id: str
    ids: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Step:
    """Everything that `run_step` needs to know; pinned, resolved, no references left.

    Attributes:
        uri, version: where the project comes from, as the user said it; `commit` pins a git source.
        parameters: values passed by the caller, as text, declared or not.
        env_manager: `virtualenv`, `conda`, `docker`, `system` (alias `local`), `external`, or None for what the
            project declares.
        environment: an environment declared as in an MLproject (`{"python_env": "other.yaml"}`), instead of the
            project's own.
        digest: project digest that the step's identity is made from; None for that of the source as it is now.
        attempt: None means one more than the last.
        parent_run_id: run of the pipeline; makes this run nested.
        timeout: seconds, None for no limit.
        env: extra variables for the child, by name; `secrets` names those whose values are masked.
    """

    uri: str
    engine: Engine
    name: str = "main"
    entry_point: str = "main"
    parameters: Mapping[str, str] = field(default_factory=dict)
    version: str | None = None
    commit: str | None = None
    env_manager: str | None = None
    map_index: int = -1
    attempt: int | None = None
    experiment_name: str | None = None
    experiment_id: str | None = None
    run_name: str | None = None
    parent_run_id: str | None = None
    timeout: float | None = None
    tags: Mapping[str, str] = field(default_factory=dict)
    env: Mapping[str, str] = field(default_factory=dict)
    secrets: tuple[str, ...] = ()
    storage_dir: str | None = None
    autolog: bool | None = None
    system_metrics: bool = True
    env_options: Mapping[str, Any] = field(default_factory=dict)
    environment: Mapping[str, Any] | None = None
    digest: str | None = None


@dataclass(frozen=True, slots=True)
class StepResult:
    """What became of a step; small enough for XCom and Prefect results.

    Attributes:
        status: FINISHED, FAILED or KILLED.
        outputs: named outputs that the script wrote to `MLGATE_OUTPUTS`.
        reason: one line for a human when it did not finish.
        tags: what the script tagged its run with (MLflow's own tags and ours left out).
        model_version: version of the registered model that the step made or promoted, if that was asked for.
    """

    run_id: str
    experiment_id: str
    step_run_key: str
    attempt: int
    status: str
    exit_code: int
    artifact_uri: str
    name: str = "main"
    started: float = 0.0
    ended: float = 0.0
    commit: str | None = None
    metrics: Mapping[str, float] = field(default_factory=dict)
    params: Mapping[str, str] = field(default_factory=dict)
    outputs: Mapping[str, Any] = field(default_factory=dict)
    reason: str = ""
    tags: Mapping[str, str] = field(default_factory=dict)
    model_version: int | None = None

    @property
    def ok(self) -> bool:
        return self.status == "FINISHED"

    @property
    def retryable(self) -> bool:
        return self.status == "FAILED" and self.exit_code not in NEVER_RETRIED


__all__ = ["NEVER_RETRIED", "Engine", "Step", "StepResult", "step_run_key"]
