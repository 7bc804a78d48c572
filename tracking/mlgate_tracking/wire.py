"""Entities to MLflow's JSON and back: plain dictionaries both ways, shared by the server and the REST client.

Writing keeps MLflow's presence rules: what was never set is left out, empty lists are left out, a number that JSON
cannot hold travels as `"NaN"`, `"Infinity"` or `"-Infinity"`, a model version's number is a string. Reading takes what
any MLflow server sends: absent keys, empty strings for "unset", 64-bit numbers as strings.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import Any, TypeVar

from mlgate_tracking.entities import (
    Dataset,
    DatasetInput,
    DatasetSummary,
    Experiment,
    Fence,
    FileInfo,
    LifecycleStage,
    LoggedModel,
    LoggedModelStatus,
    Metric,
    ModelAlias,
    ModelOutput,
    ModelVersion,
    Page,
    Param,
    RegisteredModel,
    Run,
    RunData,
    RunInfo,
    RunInputs,
    RunStatus,
    StepRun,
    Tag,
)

Json = dict[str, Any]
T = TypeVar("T")

_INFINITIES = (float("inf"), float("-inf"))


def _present(**fields: Any) -> Json:
    return {key: value for key, value in fields.items() if value is not None and value != []}


def _integer(value: Any) -> int | None:
    return None if value is None or value == "" else int(value)


def double_to_wire(value: float) -> float | str:
    """A double as JSON can hold it."""
    if value != value:  # noqa: PLR0124 - only NaN differs from itself
        return "NaN"
    if value in _INFINITIES:
        return "Infinity" if value > 0 else "-Infinity"
    return value


def page_to_wire(key: str, page: Page[T], item: Callable[[T], Json]) -> Json:
    """One page of a search: `{key: [...], next_page_token}`, both left out when empty."""
    return _present(**{key: [item(entry) for entry in page.items]}, next_page_token=page.token)


def page_from_wire(key: str, body: Mapping[str, Any], item: Callable[[Any], T]) -> Page[T]:
    return Page(tuple(item(entry) for entry in body.get(key) or ()), body.get("next_page_token") or None)


# --- keys with values ------------------------------------------------------------------------------------------------


def pairs_to_wire(pairs: Iterable[Tag | Param]) -> list[Json]:
    return [{"key": pair.key, "value": pair.value} for pair in pairs]


def tags_from_wire(items: Iterable[Mapping[str, Any]] | None) -> tuple[Tag, ...]:
    return tuple(Tag(item["key"], item.get("value") or "") for item in items or ())


def params_from_wire(items: Iterable[Mapping[str, Any]] | None) -> tuple[Param, ...]:
    return tuple(Param(item["key"], item.get("value") or "") for item in items or ())


def metric_to_wire(metric: Metric) -> Json:
    """A point of a metric; model, dataset and run only where they are known."""
    body: Json = {
        "key": metric.key,
        "value": double_to_wire(metric.value),
        "timestamp": metric.timestamp,
        "step": metric.step,
    }
    if metric.run_id is not None:
        body["run_id"] = metric.run_id
    if metric.model_id is not None:
        body["model_id"] = metric.model_id
    if metric.dataset_name is not None:
        body["dataset_name"] = metric.dataset_name
    if metric.dataset_digest is not None:
        body["dataset_digest"] = metric.dataset_digest
    return body


def metric_from_wire(body: Mapping[str, Any]) -> Metric:
    return Metric(
        body["key"],
        float(body.get("value") or 0.0),
        int(body.get("timestamp") or 0),
        int(body.get("step") or 0),
        body.get("model_id") or None,
        body.get("dataset_name") or None,
        body.get("dataset_digest") or None,
        body.get("run_id") or None,
    )


def metrics_from_wire(items: Iterable[Mapping[str, Any]] | None) -> tuple[Metric, ...]:
    return tuple(metric_from_wire(item) for item in items or ())


# --- experiments and runs --------------------------------------------------------------------------------------------


def experiment_to_wire(experiment: Experiment) -> Json:
    return _present(
        experiment_id=experiment.experiment_id,
        name=experiment.name,
        artifact_location=experiment.artifact_location,
        lifecycle_stage=experiment.lifecycle_stage.value,
        last_update_time=experiment.last_update_time,
        creation_time=experiment.creation_time,
        tags=pairs_to_wire(experiment.tags),
    )


def experiment_from_wire(body: Mapping[str, Any]) -> Experiment:
    return Experiment(
        experiment_id=str(body["experiment_id"]),
        name=body.get("name") or "",
        artifact_location=body.get("artifact_location") or "",
        lifecycle_stage=LifecycleStage(body.get("lifecycle_stage") or "active"),
        creation_time=int(body.get("creation_time") or 0),
        last_update_time=int(body.get("last_update_time") or 0),
        tags=tags_from_wire(body.get("tags")),
    )


def run_info_to_wire(info: RunInfo) -> Json:
    return _present(
        run_id=info.run_id,
        run_uuid=info.run_id,
        run_name=info.run_name,
        experiment_id=info.experiment_id,
        user_id=info.user_id,
        status=info.status.value,
        start_time=info.start_time,
        end_time=info.end_time or None,
        artifact_uri=info.artifact_uri,
        lifecycle_stage=info.lifecycle_stage.value,
    )


def run_info_from_wire(body: Mapping[str, Any]) -> RunInfo:
    return RunInfo(
        run_id=body.get("run_id") or body["run_uuid"],
        run_name=body.get("run_name") or "",
        experiment_id=str(body.get("experiment_id") or ""),
        user_id=body.get("user_id") or "",
        status=RunStatus(body.get("status") or "RUNNING"),
        start_time=int(body.get("start_time") or 0),
        artifact_uri=body.get("artifact_uri") or "",
        end_time=_integer(body.get("end_time")) or None,
        lifecycle_stage=LifecycleStage(body.get("lifecycle_stage") or "active"),
    )


def dataset_input_to_wire(dataset_input: DatasetInput) -> Json:
    dataset = dataset_input.dataset
    return {
        "tags": pairs_to_wire(dataset_input.tags),
        "dataset": _present(
            name=dataset.name,
            digest=dataset.digest,
            source_type=dataset.source_type,
            source=dataset.source,
            schema=dataset.schema,
            profile=dataset.profile,
        ),
    }


def dataset_summary_to_wire(summary: DatasetSummary) -> Json:
    return _present(
        experiment_id=summary.experiment_id, name=summary.name, digest=summary.digest, context=summary.context
    )


def dataset_input_from_wire(body: Mapping[str, Any]) -> DatasetInput:
    dataset = body["dataset"]
    return DatasetInput(
        Dataset(
            name=dataset["name"],
            digest=dataset["digest"],
            source_type=dataset.get("source_type") or "",
            source=dataset.get("source") or "",
            schema=dataset.get("schema"),
            profile=dataset.get("profile"),
        ),
        tags_from_wire(body.get("tags")),
    )


def model_output_to_wire(output: ModelOutput) -> Json:
    return {"model_id": output.model_id, "step": output.step}


def model_output_from_wire(body: Mapping[str, Any]) -> ModelOutput:
    return ModelOutput(body["model_id"], int(body.get("step") or 0))


def run_to_wire(run: Run) -> Json:
    return {
        "info": run_info_to_wire(run.info),
        "data": _present(
            metrics=[metric_to_wire(metric) for metric in run.data.metrics],
            params=pairs_to_wire(run.data.params),
            tags=pairs_to_wire(run.data.tags),
        ),
        "inputs": _present(
            dataset_inputs=[dataset_input_to_wire(entry) for entry in run.inputs.dataset_inputs],
            model_inputs=[{"model_id": model_id} for model_id in run.inputs.model_inputs],
        ),
        "outputs": _present(model_outputs=[model_output_to_wire(output) for output in run.outputs]),
    }


def run_from_wire(body: Mapping[str, Any]) -> Run:
    data, inputs = body.get("data") or {}, body.get("inputs") or {}
    return Run(
        info=run_info_from_wire(body["info"]),
        data=RunData(
            metrics=metrics_from_wire(data.get("metrics")),
            params=params_from_wire(data.get("params")),
            tags=tags_from_wire(data.get("tags")),
        ),
        inputs=RunInputs(
            dataset_inputs=tuple(dataset_input_from_wire(entry) for entry in inputs.get("dataset_inputs") or ()),
            model_inputs=tuple(entry["model_id"] for entry in inputs.get("model_inputs") or ()),
        ),
        outputs=tuple(
            model_output_from_wire(entry) for entry in (body.get("outputs") or {}).get("model_outputs") or ()
        ),
    )


def step_run_to_wire(step_run: StepRun) -> Json:
    return _present(
        run=run_to_wire(step_run.run),
        step_run_key=step_run.step_run_key,
        attempt=step_run.attempt,
        created=step_run.created,
        previous_status=step_run.previous_status.value if step_run.previous_status else None,
        token=step_run.token,
    )


def step_run_from_wire(body: Mapping[str, Any]) -> StepRun:
    previous = body.get("previous_status")
    return StepRun(
        run=run_from_wire(body["run"]),
        step_run_key=body["step_run_key"],
        attempt=int(body["attempt"]),
        created=bool(body.get("created")),
        previous_status=RunStatus(previous) if previous else None,
        token=body.get("token") or None,
    )


def fence_to_wire(fence: Fence) -> Json:
    return {"run_id": fence.run_id, "attempt": fence.attempt}


def fence_from_wire(body: Mapping[str, Any]) -> Fence:
    return Fence(body["run_id"], int(body["attempt"]))


# --- artifacts -------------------------------------------------------------------------------------------------------


def file_info_to_wire(entry: FileInfo) -> Json:
    return _present(path=entry.path, is_dir=entry.is_dir, file_size=entry.size)


def file_info_from_wire(body: Mapping[str, Any]) -> FileInfo:
    is_dir = bool(body.get("is_dir"))
    size = _integer(body.get("file_size"))
    # MLflow leaves the size of an empty file out.
    return FileInfo(body["path"], is_dir, None if is_dir else size or 0)


# --- logged models ---------------------------------------------------------------------------------------------------


def logged_model_to_wire(model: LoggedModel) -> Json:
    return {
        "info": _present(
            model_id=model.model_id,
            experiment_id=model.experiment_id,
            name=model.name,
            creation_timestamp_ms=model.creation_timestamp,
            last_updated_timestamp_ms=model.last_updated_timestamp,
            artifact_uri=model.artifact_uri,
            status=model.status.value,
            model_type=model.model_type,
            source_run_id=model.source_run_id,
            status_message=model.status_message,
            tags=pairs_to_wire(model.tags),
        ),
        "data": _present(
            params=pairs_to_wire(model.params), metrics=[metric_to_wire(metric) for metric in model.metrics]
        ),
    }


def logged_model_from_wire(body: Mapping[str, Any]) -> LoggedModel:
    info, data = body["info"], body.get("data") or {}
    return LoggedModel(
        model_id=info["model_id"],
        experiment_id=str(info["experiment_id"]),
        name=info.get("name") or "",
        artifact_uri=info.get("artifact_uri") or "",
        status=LoggedModelStatus(info.get("status") or LoggedModelStatus.UNSPECIFIED),
        creation_timestamp=int(info.get("creation_timestamp_ms") or 0),
        last_updated_timestamp=int(info.get("last_updated_timestamp_ms") or 0),
        model_type=info.get("model_type") or None,
        source_run_id=info.get("source_run_id") or None,
        status_message=info.get("status_message") or None,
        tags=tags_from_wire(info.get("tags")),
        params=params_from_wire(data.get("params")),
        metrics=metrics_from_wire(data.get("metrics")),
    )


# --- model registry --------------------------------------------------------------------------------------------------


def model_version_to_wire(version: ModelVersion) -> Json:
    """A model version. `run_id`, `run_link` and `description` are "" when unset, as MLflow's server stores them;
    `model_id` and `storage_location` are additions that MLflow's clients ignore."""
    return _present(
        name=version.name,
        version=str(version.version),
        creation_timestamp=version.creation_timestamp,
        last_updated_timestamp=version.last_updated_timestamp,
        user_id=version.user_id,
        current_stage=version.current_stage,
        description=version.description or "",
        source=version.source,
        run_id=version.run_id or "",
        run_link=version.run_link or "",
        status=version.status,
        status_message=version.status_message,
        tags=pairs_to_wire(version.tags),
        aliases=list(version.aliases),
        model_id=version.model_id,
        storage_location=version.storage_location,
    )


def model_version_from_wire(body: Mapping[str, Any]) -> ModelVersion:
    return ModelVersion(
        name=body["name"],
        version=int(body["version"]),
        creation_timestamp=int(body.get("creation_timestamp") or 0),
        last_updated_timestamp=int(body.get("last_updated_timestamp") or 0),
        current_stage=body.get("current_stage") or "None",
        source=body.get("source") or "",
        run_id=body.get("run_id") or None,
        run_link=body.get("run_link") or None,
        description=body.get("description") or None,
        user_id=body.get("user_id") or None,
        model_id=body.get("model_id") or None,
        storage_location=body.get("storage_location") or None,
        status=body.get("status") or "READY",
        status_message=body.get("status_message") or None,
        tags=tags_from_wire(body.get("tags")),
        aliases=tuple(body.get("aliases") or ()),
    )


def registered_model_to_wire(model: RegisteredModel) -> Json:
    return _present(
        name=model.name,
        creation_timestamp=model.creation_timestamp,
        last_updated_timestamp=model.last_updated_timestamp,
        user_id=model.user_id,
        description=model.description or None,
        latest_versions=[model_version_to_wire(version) for version in model.latest_versions],
        tags=pairs_to_wire(model.tags),
        aliases=[{"alias": alias.alias, "version": str(alias.version)} for alias in model.aliases],
    )


def registered_model_from_wire(body: Mapping[str, Any]) -> RegisteredModel:
    return RegisteredModel(
        name=body["name"],
        creation_timestamp=int(body.get("creation_timestamp") or 0),
        last_updated_timestamp=int(body.get("last_updated_timestamp") or 0),
        description=body.get("description") or None,
        user_id=body.get("user_id") or None,
        latest_versions=tuple(model_version_from_wire(version) for version in body.get("latest_versions") or ()),
        tags=tags_from_wire(body.get("tags")),
        aliases=tuple(ModelAlias(entry["alias"], int(entry["version"])) for entry in body.get("aliases") or ()),
    )


__all__ = [
    "Json",
    "dataset_input_from_wire",
    "dataset_input_to_wire",
    "double_to_wire",
    "experiment_from_wire",
    "experiment_to_wire",
    "fence_from_wire",
    "fence_to_wire",
    "file_info_from_wire",
    "file_info_to_wire",
    "logged_model_from_wire",
    "logged_model_to_wire",
    "metric_from_wire",
    "metric_to_wire",
    "metrics_from_wire",
    "model_output_from_wire",
    "model_output_to_wire",
    "model_version_from_wire",
    "model_version_to_wire",
    "page_from_wire",
    "page_to_wire",
    "pairs_to_wire",
    "params_from_wire",
    "registered_model_from_wire",
    "registered_model_to_wire",
    "run_from_wire",
    "run_info_from_wire",
    "run_info_to_wire",
    "run_to_wire",
    "step_run_from_wire",
    "step_run_to_wire",
    "tags_from_wire",
]
