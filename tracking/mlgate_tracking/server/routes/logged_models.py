"""Logged models, which 3.x clients make for every model they log."""

from __future__ import annotations

from typing import Annotated

import msgspec

from mlgate_tracking import wire
from mlgate_tracking.entities import LoggedModelStatus
from mlgate_tracking.errors import InvalidParameterValue
from mlgate_tracking.server.decode import Request, Text
from mlgate_tracking.server.endpoints import PAGED, Call, endpoint
from mlgate_tracking.server.routes.common import EnumIn, TagIn, enum_member, params_of, tags_of
from mlgate_tracking.wire import Json

_STATUSES = dict(enumerate(LoggedModelStatus))


class CreateLoggedModel(Request, frozen=True):
    experiment_id: Text
    name: str = ""
    model_type: str = ""
    source_run_id: str = ""
    params: tuple[TagIn, ...] = ()
    tags: tuple[TagIn, ...] = ()


class ModelId(Request, frozen=True):
    model_id: Text


class GetLoggedModel(ModelId, frozen=True):
    allow_deleted: bool = False


class FinalizeLoggedModel(ModelId, frozen=True):
    status: EnumIn


class SetTags(ModelId, frozen=True):
    tags: tuple[TagIn, ...] = ()


class DeleteTag(ModelId, frozen=True):
    key: Text


class LogParams(ModelId, frozen=True):
    params: tuple[TagIn, ...] = ()


class DatasetFilter(Request, frozen=True):
    dataset_name: Text
    dataset_digest: str | None = None


class OrderBy(Request, frozen=True):
    field_name: Text
    ascending: bool = True
    dataset_name: str | None = None
    dataset_digest: str | None = None


class SearchLoggedModels(Request, frozen=True):
    experiment_ids: tuple[str, ...]
    filter: str = ""
    datasets: tuple[DatasetFilter, ...] = ()
    max_results: Annotated[int, msgspec.Meta(ge=1, le=10_000)] = 50
    order_by: tuple[OrderBy, ...] = ()
    page_token: str = ""


def create(call: Call, request: CreateLoggedModel) -> Json:
    """Create a logged model, pending until its files are there."""
    model = call.store.create_logged_model(
        request.experiment_id,
        name=request.name or None,
        model_type=request.model_type or None,
        source_run_id=request.source_run_id or None,
        params=params_of(request.params),
        tags=tags_of(request.tags),
        idempotency_key=call.idempotency_key,
    )
    return {"model": wire.logged_model_to_wire(model)}


def get(call: Call, request: GetLoggedModel) -> Json:
    """Get a logged model."""
    model = call.store.get_logged_model(request.model_id, allow_deleted=request.allow_deleted)
    return {"model": wire.logged_model_to_wire(model)}


def finalize(call: Call, request: FinalizeLoggedModel) -> Json:
    """Set the status of a logged model once its files are there, or failed to arrive."""
    status = enum_member(request.status, "status", LoggedModelStatus, _STATUSES)
    return {"model": wire.logged_model_to_wire(call.store.finalize_logged_model(request.model_id, status))}


def delete(call: Call, request: ModelId) -> Json:
    """Delete a logged model; its versions in the registry stay."""
    call.store.delete_logged_model(request.model_id)
    return {}


def set_tags(call: Call, request: SetTags) -> Json:
    """Set tags of a logged model."""
    call.store.set_logged_model_tags(request.model_id, tags_of(request.tags))
    return {}


def delete_tag(call: Call, request: DeleteTag) -> Json:
    """Delete a tag of a logged model."""
    call.store.delete_logged_model_tag(request.model_id, request.key)
    return {}


def log_params(call: Call, request: LogParams) -> Json:
    """Add parameters to a logged model."""
    call.store.log_logged_model_params(request.model_id, params_of(request.params))
    return {}


def search(call: Call, request: SearchLoggedModels) -> Json:
    """Search the logged models of some experiments."""
    if not request.experiment_ids:
        raise InvalidParameterValue("Missing value for required parameter 'experiment_ids'.")
    page = call.store.search_logged_models(
        request.experiment_ids,
        filter_string=request.filter or None,
        datasets=[
            {"dataset_name": entry.dataset_name}
            | ({"dataset_digest": entry.dataset_digest} if entry.dataset_digest else {})
            for entry in request.datasets
        ],
        max_results=request.max_results,
        order_by=[
            {key: value for key, value in msgspec.structs.asdict(entry).items() if value is not None}
            for entry in request.order_by
        ],
        page_token=request.page_token or None,
    )
    return wire.page_to_wire("models", page, wire.logged_model_to_wire)


_BASE = "2.0/mlflow/logged-models"
_ONE = _BASE + "/{model_id}"
_MODEL = {"model": "LoggedModel"}

ENDPOINTS = (
    endpoint("POST", _BASE, CreateLoggedModel, create, **_MODEL),
    endpoint("POST", _BASE + "/search", SearchLoggedModels, search, models="LoggedModel[]", **PAGED),
    endpoint("GET", _ONE, GetLoggedModel, get, **_MODEL),
    endpoint("PATCH", _ONE, FinalizeLoggedModel, finalize, **_MODEL),
    endpoint("DELETE", _ONE, ModelId, delete),
    endpoint("PATCH", _ONE + "/tags", SetTags, set_tags),
    endpoint("DELETE", _ONE + "/tags/{key:rest}", DeleteTag, delete_tag),
    endpoint("POST", _ONE + "/params", LogParams, log_params),
)

__all__ = ["ENDPOINTS"]
