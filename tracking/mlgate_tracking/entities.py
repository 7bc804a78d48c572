"""What the store holds, as frozen dataclasses. Words and meanings are MLflow's; times are milliseconds since the epoch.

Everything here is data only: no I/O, nothing that knows a database or a wire format.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import StrEnum
from typing import Generic, TypeVar


class RunStatus(StrEnum):
    RUNNING = "RUNNING"
    SCHEDULED = "SCHEDULED"
    FINISHED = "FINISHED"
    FAILED = "FAILED"
    KILLED = "KILLED"

    @property
    def terminal(self) -> bool:
        return self in (RunStatus.FINISHED, RunStatus.FAILED, RunStatus.KILLED)


class LifecycleStage(StrEnum):
    ACTIVE = "active"
    DELETED = "deleted"


class ViewType(StrEnum):
    ACTIVE_ONLY = "ACTIVE_ONLY"
    DELETED_ONLY = "DELETED_ONLY"
    ALL = "ALL"


class LoggedModelStatus(StrEnum):
    UNSPECIFIED = "LOGGED_MODEL_STATUS_UNSPECIFIED"
    PENDING = "LOGGED_MODEL_PENDING"
    READY = "LOGGED_MODEL_READY"
    UPLOAD_FAILED = "LOGGED_MODEL_UPLOAD_FAILED"


STAGES = ("None", "Staging", "Production", "Archived")

PROMPT_TAG = "mlflow.prompt.is_prompt"
"""A registered model or version whose tag of this name is `true` is a prompt."""

TRACE_STATES = ("STATE_UNSPECIFIED", "IN_PROGRESS", "OK", "ERROR")

WEBHOOK_STATUSES = ("ACTIVE", "DISABLED")

WEBHOOK_EVENTS = frozenset(
    {
        ("registered_model", "created"),
        ("model_version", "created"),
        ("model_version_tag", "set"),
        ("model_version_tag", "deleted"),
        ("model_version_alias", "created"),
        ("model_version_alias", "deleted"),
        ("prompt", "created"),
        ("prompt_version", "created"),
        ("prompt_tag", "set"),
        ("prompt_tag", "deleted"),
        ("prompt_version_tag", "set"),
        ("prompt_version_tag", "deleted"),
        ("prompt_alias", "created"),
        ("prompt_alias", "deleted"),
        ("budget_policy", "exceeded"),
    }
)
"""(entity, action) pairs of MLflow's that a webhook may subscribe to."""

PROMOTION_EVENTS = frozenset({("model_version", "promoted"), ("model_version", "rolled_back")})
"""Ours: exactly one event for each promotion and each rollback."""


@dataclass(frozen=True, slots=True)
class Tag:
    key: str
    value: str


@dataclass(frozen=True, slots=True)
class Param:
    key: str
    value: str


@dataclass(frozen=True, slots=True)
class Metric:
    """One point of a metric. `model_id` and `dataset_*` (3.x clients) also attach it to a logged model."""

    key: str
    value: float
    timestamp: int
    step: int = 0
    model_id: str | None = None
    dataset_name: str | None = None
    dataset_digest: str | None = None
    run_id: str | None = None


Point = tuple[int, int, float]
"""A point of a known metric: timestamp, step, value."""


@dataclass(frozen=True, slots=True)
class Experiment:
    experiment_id: str
    name: str
    artifact_location: str
    lifecycle_stage: LifecycleStage = LifecycleStage.ACTIVE
    creation_time: int = 0
    last_update_time: int = 0
    tags: tuple[Tag, ...] = ()


@dataclass(frozen=True, slots=True)
class RunInfo:
    run_id: str
    run_name: str
    experiment_id: str
    user_id: str
    status: RunStatus
    start_time: int
    artifact_uri: str
    end_time: int | None = None
    lifecycle_stage: LifecycleStage = LifecycleStage.ACTIVE


@dataclass(frozen=True, slots=True)
class RunData:
    """`metrics` holds the latest point of each key: greatest (step, timestamp, value)."""

    metrics: tuple[Metric, ...] = ()
    params: tuple[Param, ...] = ()
    tags: tuple[Tag, ...] = ()


@dataclass(frozen=True, slots=True)
class Dataset:
    name: str
    digest: str
    source_type: str
    source: str
    schema: str | None = None
    profile: str | None = None


@dataclass(frozen=True, slots=True)
class DatasetInput:
    dataset: Dataset
    tags: tuple[Tag, ...] = ()


@dataclass(frozen=True, slots=True)
class DatasetSummary:
    """A dataset that runs of an experiment have read, and what for (`mlflow.data.context`)."""

    experiment_id: str
    name: str
    digest: str
    context: str | None = None


@dataclass(frozen=True, slots=True)
class ModelOutput:
    model_id: str
    step: int = 0


@dataclass(frozen=True, slots=True)
class RunInputs:
    dataset_inputs: tuple[DatasetInput, ...] = ()
    model_inputs: tuple[str, ...] = ()
    """ids of logged models"""


@dataclass(frozen=True, slots=True)
class Run:
    info: RunInfo
    data: RunData = field(default_factory=RunData)
    inputs: RunInputs = field(default_factory=RunInputs)
    outputs: tuple[ModelOutput, ...] = ()

    def tag(self, key: str) -> str | None:
        return next((tag.value for tag in self.data.tags if tag.key == key), None)

    def param(self, key: str) -> str | None:
        return next((param.value for param in self.data.params if param.key == key), None)

    def metric(self, key: str) -> float | None:
        return next((metric.value for metric in self.data.metrics if metric.key == key), None)


@dataclass(frozen=True, slots=True)
class StepRun:
    """The tracked run of one step, as `Store.open_step_run` hands it out.

    Attributes:
        run: the run, RUNNING.
        step_run_key: identity of the step, the same for every attempt.
        attempt: 1 for the first; writes that carry a lower attempt than the store's are refused.
        created: False when an earlier attempt's run was reopened.
        previous_status: what the run's status was before this attempt (None when created).
        token: step-scoped credential minted by a server; None when the store itself was called.
    """

    run: Run
    step_run_key: str
    attempt: int
    created: bool
    previous_status: RunStatus | None = None
    token: str | None = None


@dataclass(frozen=True, slots=True)
class Fence:
    """Who writes: attempt number `attempt` of the step whose run is `run_id`."""

    run_id: str
    attempt: int


@dataclass(frozen=True, slots=True)
class LoggedModel:
    model_id: str
    experiment_id: str
    name: str
    artifact_uri: str
    status: LoggedModelStatus
    creation_timestamp: int
    last_updated_timestamp: int
    model_type: str | None = None
    source_run_id: str | None = None
    status_message: str | None = None
    tags: tuple[Tag, ...] = ()
    params: tuple[Param, ...] = ()
    metrics: tuple[Metric, ...] = ()


@dataclass(frozen=True, slots=True)
class ModelVersion:
    name: str
    version: int
    creation_timestamp: int
    last_updated_timestamp: int
    current_stage: str = "None"
    source: str = ""
    run_id: str | None = None
    run_link: str | None = None
    description: str | None = None
    user_id: str | None = None
    model_id: str | None = None
    storage_location: str | None = None
    """What `get-download-uri` answers: fixed at creation."""
    status: str = "READY"
    status_message: str | None = None
    tags: tuple[Tag, ...] = ()
    aliases: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class ModelAlias:
    alias: str
    version: int


@dataclass(frozen=True, slots=True)
class RegisteredModel:
    name: str
    creation_timestamp: int
    last_updated_timestamp: int
    description: str | None = None
    user_id: str | None = None
    latest_versions: tuple[ModelVersion, ...] = ()
    tags: tuple[Tag, ...] = ()
    aliases: tuple[ModelAlias, ...] = ()


@dataclass(frozen=True, slots=True)
class TraceInfo:
    """What is known of one trace; its spans lie in the artifact `traces.json` at tag `mlflow.artifactLocation`.

    `request_time` is in milliseconds since the epoch, `execution_duration` in milliseconds (None while it runs).
    `assessments` is the JSON text of what clients sent, kept as it came.
    """

    trace_id: str
    experiment_id: str
    request_time: int
    state: str = "STATE_UNSPECIFIED"
    execution_duration: int | None = None
    client_request_id: str | None = None
    request_preview: str | None = None
    response_preview: str | None = None
    trace_metadata: tuple[Tag, ...] = ()
    tags: tuple[Tag, ...] = ()
    assessments: str | None = None


@dataclass(frozen=True, slots=True)
class WebhookEvent:
    """What a webhook listens for, in lower case: `model_version`, `created`."""

    entity: str
    action: str


@dataclass(frozen=True, slots=True)
class Webhook:
    """A subscription to registry events. Its secret is never part of it (see `ServerStore.get_webhook_secret`)."""

    webhook_id: str
    name: str
    url: str
    events: tuple[WebhookEvent, ...]
    status: str
    creation_timestamp: int
    last_updated_timestamp: int
    description: str | None = None


@dataclass(frozen=True, slots=True)
class FileInfo:
    """An entry of an artifact listing; `path` is relative to the listing's root, `size` is None for directories."""

    path: str
    is_dir: bool
    size: int | None = None


T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Page(Generic[T]):
    """One page of a search; `token` is None on the last page."""

    items: tuple[T, ...]
    token: str | None = None


__all__ = [
    "PROMOTION_EVENTS",
    "PROMPT_TAG",
    "STAGES",
    "TRACE_STATES",
    "WEBHOOK_EVENTS",
    "WEBHOOK_STATUSES",
    "Dataset",
    "DatasetInput",
    "DatasetSummary",
    "Experiment",
    "Fence",
    "FileInfo",
    "LifecycleStage",
    "LoggedModel",
    "LoggedModelStatus",
    "Metric",
    "ModelAlias",
    "ModelOutput",
    "ModelVersion",
    "Page",
    "Param",
    "Point",
    "RegisteredModel",
    "Run",
    "RunData",
    "RunInfo",
    "RunInputs",
    "RunStatus",
    "StepRun",
    "Tag",
    "TraceInfo",
    "ViewType",
    "Webhook",
    "WebhookEvent",
]
