"""Shapes of the answers, for the API document. The functions of `wire` make them; a test compares the two."""

from __future__ import annotations

from typing import Any

import msgspec


class _Shape(msgspec.Struct, forbid_unknown_fields=True, kw_only=True):
    pass


class KeyValue(_Shape):
    key: str
    value: str


class Metric(_Shape):
    """`value` is a number, or "NaN", "Infinity" or "-Infinity"."""

    key: str
    value: float | str
    timestamp: int
    step: int
    run_id: str | msgspec.UnsetType = msgspec.UNSET
    model_id: str | msgspec.UnsetType = msgspec.UNSET
    dataset_name: str | msgspec.UnsetType = msgspec.UNSET
    dataset_digest: str | msgspec.UnsetType = msgspec.UNSET


class Experiment(_Shape):
    experiment_id: str
    name: str
    artifact_location: str
    lifecycle_stage: str
    last_update_time: int
    creation_time: int
    tags: list[KeyValue] | msgspec.UnsetType = msgspec.UNSET


class RunInfo(_Shape):
    run_id: str
    run_uuid: str
    run_name: str
    experiment_id: str
    user_id: str
    status: str
    start_time: int
    artifact_uri: str
    lifecycle_stage: str
    end_time: int | msgspec.UnsetType = msgspec.UNSET


class RunData(_Shape):
    metrics: list[Metric] | msgspec.UnsetType = msgspec.UNSET
    params: list[KeyValue] | msgspec.UnsetType = msgspec.UNSET
    tags: list[KeyValue] | msgspec.UnsetType = msgspec.UNSET


class Dataset(_Shape):
    name: str
    digest: str
    source_type: str
    source: str
    schema: str | msgspec.UnsetType = msgspec.UNSET
    profile: str | msgspec.UnsetType = msgspec.UNSET


class DatasetSummary(_Shape):
    experiment_id: str
    name: str
    digest: str
    context: str | msgspec.UnsetType = msgspec.UNSET


class DatasetInput(_Shape):
    tags: list[KeyValue]
    dataset: Dataset


class ModelInput(_Shape):
    model_id: str


class ModelOutput(_Shape):
    model_id: str
    step: int


class RunInputs(_Shape):
    dataset_inputs: list[DatasetInput] | msgspec.UnsetType = msgspec.UNSET
    model_inputs: list[ModelInput] | msgspec.UnsetType = msgspec.UNSET


class RunOutputs(_Shape):
    model_outputs: list[ModelOutput] | msgspec.UnsetType = msgspec.UNSET


class Run(_Shape):
    info: RunInfo
    data: RunData
    inputs: RunInputs
    outputs: RunOutputs


class StepRun(_Shape):
    """`token` is the credential of this attempt."""

    run: Run
    step_run_key: str
    attempt: int
    created: bool
    previous_status: str | msgspec.UnsetType = msgspec.UNSET
    token: str | msgspec.UnsetType = msgspec.UNSET


class FileInfo(_Shape):
    path: str
    is_dir: bool
    file_size: int | msgspec.UnsetType = msgspec.UNSET


class LoggedModelInfo(_Shape):
    model_id: str
    experiment_id: str
    name: str
    creation_timestamp_ms: int
    last_updated_timestamp_ms: int
    artifact_uri: str
    status: str
    model_type: str | msgspec.UnsetType = msgspec.UNSET
    source_run_id: str | msgspec.UnsetType = msgspec.UNSET
    status_message: str | msgspec.UnsetType = msgspec.UNSET
    tags: list[KeyValue] | msgspec.UnsetType = msgspec.UNSET


class LoggedModelData(_Shape):
    params: list[KeyValue] | msgspec.UnsetType = msgspec.UNSET
    metrics: list[Metric] | msgspec.UnsetType = msgspec.UNSET


class LoggedModel(_Shape):
    info: LoggedModelInfo
    data: LoggedModelData


class ModelVersion(_Shape):
    name: str
    version: str
    creation_timestamp: int
    last_updated_timestamp: int
    current_stage: str
    description: str
    source: str
    run_id: str
    run_link: str
    status: str
    user_id: str | msgspec.UnsetType = msgspec.UNSET
    status_message: str | msgspec.UnsetType = msgspec.UNSET
    tags: list[KeyValue] | msgspec.UnsetType = msgspec.UNSET
    aliases: list[str] | msgspec.UnsetType = msgspec.UNSET
    model_id: str | msgspec.UnsetType = msgspec.UNSET
    storage_location: str | msgspec.UnsetType = msgspec.UNSET


class ModelAlias(_Shape):
    alias: str
    version: str


class RegisteredModel(_Shape):
    name: str
    creation_timestamp: int
    last_updated_timestamp: int
    user_id: str | msgspec.UnsetType = msgspec.UNSET
    description: str | msgspec.UnsetType = msgspec.UNSET
    latest_versions: list[ModelVersion] | msgspec.UnsetType = msgspec.UNSET
    tags: list[KeyValue] | msgspec.UnsetType = msgspec.UNSET
    aliases: list[ModelAlias] | msgspec.UnsetType = msgspec.UNSET


class WebhookEvent(_Shape):
    entity: str
    action: str


class Webhook(_Shape):
    webhook_id: str
    name: str
    url: str
    events: list[WebhookEvent]
    status: str
    creation_timestamp: int
    last_updated_timestamp: int
    description: str | msgspec.UnsetType = msgspec.UNSET


class TraceExperiment(_Shape):
    experiment_id: str


class TraceLocation(_Shape):
    type: str
    mlflow_experiment: TraceExperiment


class TraceInfo(_Shape):
    """Times are RFC 3339, durations are seconds with an s: `1.500s`."""

    trace_id: str
    trace_location: TraceLocation
    request_time: str
    state: str
    trace_metadata: dict[str, str]
    tags: dict[str, str]
    execution_duration: str | msgspec.UnsetType = msgspec.UNSET
    client_request_id: str | msgspec.UnsetType = msgspec.UNSET
    request_preview: str | msgspec.UnsetType = msgspec.UNSET
    response_preview: str | msgspec.UnsetType = msgspec.UNSET
    assessments: list[dict[str, Any]] | msgspec.UnsetType = msgspec.UNSET


class Trace(_Shape):
    trace_info: TraceInfo


class TraceInfoV2(_Shape):
    """The shape of 2.x clients."""

    request_id: str
    experiment_id: str
    timestamp_ms: int
    status: str
    request_metadata: list[KeyValue]
    tags: list[KeyValue]
    execution_time_ms: int | msgspec.UnsetType = msgspec.UNSET


class Error(_Shape):
    """`details` is an addition of ours: machine-readable facts, such as the winner of a conflict."""

    error_code: str
    message: str
    details: dict[str, Any] | msgspec.UnsetType = msgspec.UNSET


SHAPES: dict[str, type[_Shape]] = {
    shape.__name__: shape
    for shape in (
        DatasetSummary,
        Error,
        Experiment,
        FileInfo,
        LoggedModel,
        Metric,
        ModelVersion,
        RegisteredModel,
        Run,
        RunInfo,
        StepRun,
        Trace,
        TraceInfo,
        TraceInfoV2,
        Webhook,
    )
}

__all__ = ["SHAPES"]
