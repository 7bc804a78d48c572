"""Runs: life cycle, params, tags, metrics in, datasets and models."""

from __future__ import annotations

from typing import Annotated

import msgspec

from mlgate_tracking import wire
from mlgate_tracking.entities import Dataset, DatasetInput, Metric, ModelOutput, Param, Tag
from mlgate_tracking.errors import InvalidParameterValue
from mlgate_tracking.server.decode import Int64, Natural, Request, Text, required
from mlgate_tracking.server.endpoints import PAGED, Call, endpoint
from mlgate_tracking.server.routes.common import (
    EnumIn,
    MetricIn,
    RunIdentity,
    TagIn,
    at_most,
    params_of,
    run_status,
    tags_of,
    view_type,
)
from mlgate_tracking.wire import Json

RUN_NAME_TAG = "mlflow.runName"


class CreateRun(Request, frozen=True):
    experiment_id: str = ""
    user_id: str = ""
    run_name: str = ""
    start_time: Natural = 0
    tags: tuple[TagIn, ...] = ()
    # Additions of ours: an import keeps its ids, and a step may go on writing to runs that it made.
    run_id: str = ""
    owner_run_id: str = ""


class RunId(Request, frozen=True):
    run_id: Text


class UpdateRun(RunIdentity, frozen=True):
    status: EnumIn | None = None
    end_time: Natural | None = None
    run_name: str = ""


class SearchRuns(Request, frozen=True):
    experiment_ids: tuple[str, ...] = ()
    filter: str = ""
    run_view_type: EnumIn = ""
    max_results: Annotated[int, msgspec.Meta(ge=1, le=50_000)] = 1000
    order_by: tuple[str, ...] = ()
    page_token: str = ""


class LogMetric(MetricIn, frozen=True):
    run_id: str = ""
    run_uuid: str = ""


class LogParam(RunIdentity, frozen=True, kw_only=True):
    key: Text
    value: str = ""


class SetTag(RunIdentity, frozen=True, kw_only=True):
    key: Text
    value: str = ""


class DeleteTag(Request, frozen=True):
    run_id: Text
    key: Text


class LogBatch(Request, frozen=True):
    run_id: Text
    metrics: tuple[MetricIn, ...] = ()
    params: tuple[TagIn, ...] = ()
    tags: tuple[TagIn, ...] = ()


class LogModel(Request, frozen=True):
    run_id: Text
    model_json: Text


class DatasetIn(Request, frozen=True):
    name: Text
    digest: Text
    source_type: str = ""
    source: str = ""
    schema: str | None = None
    profile: str | None = None


class DatasetInputIn(Request, frozen=True):
    dataset: DatasetIn
    tags: tuple[TagIn, ...] = ()


class ModelInputIn(Request, frozen=True):
    model_id: Text


class LogInputs(Request, frozen=True):
    run_id: Text
    datasets: tuple[DatasetInputIn, ...] = ()
    models: tuple[ModelInputIn, ...] = ()


class ModelOutputIn(Request, frozen=True):
    model_id: Text
    step: Int64


class LogOutputs(Request, frozen=True):
    run_id: Text
    models: tuple[ModelOutputIn, ...]


def _run_id(request: RunIdentity | LogMetric) -> str:
    return required(request.run_id or request.run_uuid, "run_id")


def create(call: Call, request: CreateRun) -> Json:
    """Create a run."""
    named = next((tag.value for tag in request.tags if tag.key == RUN_NAME_TAG), "")
    if request.run_name and named and named != request.run_name:
        raise InvalidParameterValue(
            f"run_name {request.run_name!r} and tag {RUN_NAME_TAG} {named!r} differ; give one, or the same twice"
        )
    run = call.store.create_run(
        request.experiment_id or "0",
        user_id=request.user_id,
        run_name=request.run_name or None,
        start_time=request.start_time,
        tags=tags_of(request.tags),
        run_id=request.run_id or None,
        owner_run_id=request.owner_run_id or None,
        idempotency_key=call.idempotency_key,
    )
    return {"run": wire.run_to_wire(run)}


def get(call: Call, request: RunIdentity) -> Json:
    """Get a run, deleted ones too."""
    return {"run": wire.run_to_wire(call.store.get_run(_run_id(request)))}


def update(call: Call, request: UpdateRun) -> Json:
    """Set the status, the end time or the name of a run."""
    info = call.store.update_run(
        _run_id(request),
        status=run_status(request.status) if request.status else None,
        end_time=request.end_time,
        run_name=request.run_name or None,
    )
    return {"run_info": wire.run_info_to_wire(info)}


def delete(call: Call, request: RunId) -> Json:
    """Delete a run; it can be restored."""
    call.store.delete_run(request.run_id)
    return {}


def restore(call: Call, request: RunId) -> Json:
    """Restore a deleted run."""
    call.store.restore_run(request.run_id)
    return {}


def search(call: Call, request: SearchRuns) -> Json:
    """Search the runs of some experiments."""
    page = call.store.search_run_documents(
        request.experiment_ids,
        filter_string=request.filter or None,
        order_by=request.order_by,
        view_type=view_type(request.run_view_type),
        max_results=request.max_results,
        page_token=request.page_token or None,
    )
    return wire.page_to_wire("runs", page, lambda document: document)


def log_metric(call: Call, request: LogMetric) -> Json:
    """Log one point of a metric."""
    call.store.log_batch(_run_id(request), metrics=(request.entity(),))
    return {}


def log_parameter(call: Call, request: LogParam) -> Json:
    """Log a parameter; it cannot be changed afterwards."""
    call.store.log_batch(_run_id(request), params=(Param(request.key, request.value),))
    return {}


def set_tag(call: Call, request: SetTag) -> Json:
    """Set a tag of a run."""
    call.store.log_batch(_run_id(request), tags=(Tag(request.key, request.value),))
    return {}


def delete_tag(call: Call, request: DeleteTag) -> Json:
    """Delete a tag of a run."""
    call.store.delete_tag(request.run_id, request.key)
    return {}


def log_batch(call: Call, request: LogBatch) -> Json:
    """Log up to 1000 metrics, 100 parameters and 100 tags, 1000 in all: every one or none."""
    at_most(request.metrics, 1000, "metrics")
    at_most(request.params, 100, "params")
    at_most(request.tags, 100, "tags")
    at_most([*request.metrics, *request.params, *request.tags], 1000, "metrics, params and tags")
    metrics: tuple[Metric, ...] = tuple(metric.entity() for metric in request.metrics)
    call.store.log_batch(request.run_id, metrics=metrics, params=params_of(request.params), tags=tags_of(request.tags))
    return {}


def log_model(call: Call, request: LogModel) -> Json:
    """Note a model that a 2.x client has logged among the run's artifacts."""
    call.store.log_model_history(request.run_id, request.model_json)
    return {}


def log_inputs(call: Call, request: LogInputs) -> Json:
    """Note datasets and models that a run reads."""
    datasets = tuple(
        DatasetInput(
            Dataset(
                entry.dataset.name,
                entry.dataset.digest,
                entry.dataset.source_type,
                entry.dataset.source,
                entry.dataset.schema,
                entry.dataset.profile,
            ),
            tags_of(entry.tags),
        )
        for entry in request.datasets
    )
    call.store.log_inputs(
        request.run_id, datasets=datasets, model_ids=tuple(model.model_id for model in request.models)
    )
    return {}


def log_outputs(call: Call, request: LogOutputs) -> Json:
    """Note logged models that a run has made."""
    call.store.log_outputs(request.run_id, tuple(ModelOutput(model.model_id, model.step) for model in request.models))
    return {}


_BASE = "2.0/mlflow/runs/"

ENDPOINTS = (
    endpoint("POST", _BASE + "create", CreateRun, create, run="Run"),
    endpoint("GET", _BASE + "get", RunIdentity, get, run="Run"),
    endpoint("POST", _BASE + "update", UpdateRun, update, run_info="RunInfo"),
    endpoint("POST", _BASE + "delete", RunId, delete),
    endpoint("POST", _BASE + "restore", RunId, restore),
    endpoint("POST", _BASE + "search", SearchRuns, search, runs="Run[]", **PAGED),
    endpoint("POST", _BASE + "log-metric", LogMetric, log_metric),
    endpoint("POST", _BASE + "log-parameter", LogParam, log_parameter),
    endpoint("POST", _BASE + "set-tag", SetTag, set_tag),
    endpoint("POST", _BASE + "delete-tag", DeleteTag, delete_tag),
    endpoint("POST", _BASE + "log-batch", LogBatch, log_batch),
    endpoint("POST", _BASE + "log-model", LogModel, log_model),
    endpoint("POST", _BASE + "log-inputs", LogInputs, log_inputs),
    endpoint("POST", _BASE + "outputs", LogOutputs, log_outputs),
)

__all__ = ["ENDPOINTS"]
