"""Traces: what is known of each; clients keep the spans as an artifact beside it."""

from __future__ import annotations

import dataclasses
import os
from collections.abc import Sequence
from typing import Annotated, Any

import msgspec

from mlgate_tracking import wire
from mlgate_tracking.entities import Tag, TraceInfo
from mlgate_tracking.errors import EndpointNotFound, InvalidParameterValue
from mlgate_tracking.server.decode import Natural, Request, Text
from mlgate_tracking.server.endpoints import PAGED, Call, endpoint
from mlgate_tracking.server.routes.common import TagIn, tags_of
from mlgate_tracking.server.trace_wire import (
    assessments_to_text,
    duration_from_text,
    tags_from_map,
    time_from_text,
    trace_to_v2,
    trace_to_v3,
)
from mlgate_tracking.wire import Json

PageSize = Annotated[int, msgspec.Meta(ge=1, le=500)]
_SPAN_CALLS = frozenset({"get", "batchGet", "batchGetInfos"})
"""Calls of newer clients to servers that keep spans in their database. They stand where the id of a trace does."""
_STATES = ("STATE_UNSPECIFIED", "OK", "ERROR", "IN_PROGRESS")


class ExperimentLocation(Request, frozen=True):
    experiment_id: Text


class Location(Request, frozen=True):
    mlflow_experiment: ExperimentLocation
    type: str | int = "MLFLOW_EXPERIMENT"


class TraceInfoIn(Request, frozen=True, kw_only=True):
    trace_id: Text
    trace_location: Location
    request_time: Text
    execution_duration: str = ""
    state: str | int = "STATE_UNSPECIFIED"
    trace_metadata: dict[str, str] = msgspec.field(default_factory=dict)
    tags: dict[str, str] = msgspec.field(default_factory=dict)
    client_request_id: str | None = None
    request_preview: str | None = None
    response_preview: str | None = None
    assessments: tuple[dict[str, Any], ...] = ()


class TraceIn(Request, frozen=True):
    trace_info: TraceInfoIn


class StartTrace(Request, frozen=True):
    trace: TraceIn


class TraceId(Request, frozen=True):
    trace_id: Text


class SearchTraces(Request, frozen=True):
    locations: tuple[Location, ...]
    filter: str = ""
    max_results: PageSize = 100
    order_by: tuple[str, ...] = ()
    page_token: str = ""


class SetTraceTag(TraceId, frozen=True):
    key: Text
    value: str = ""


class DeleteTraceTag(TraceId, frozen=True):
    key: Text


class DeleteTraces(Request, frozen=True):
    experiment_id: Text
    request_ids: tuple[str, ...] = ()
    max_timestamp_millis: Natural | None = None
    max_traces: Annotated[int, msgspec.Meta(ge=1, le=2**31 - 1)] | None = None


class StartTraceV2(Request, frozen=True):
    experiment_id: Text
    timestamp_ms: Natural
    request_metadata: tuple[TagIn, ...] = ()
    tags: tuple[TagIn, ...] = ()


class EndTraceV2(TraceId, frozen=True):
    timestamp_ms: Natural
    status: str | int = "STATE_UNSPECIFIED"
    request_metadata: tuple[TagIn, ...] = ()
    tags: tuple[TagIn, ...] = ()


class SearchTracesV2(Request, frozen=True):
    experiment_ids: tuple[str, ...] = ()
    filter: str = ""
    max_results: PageSize = 100
    order_by: tuple[str, ...] = ()
    page_token: str = ""


def start(call: Call, request: StartTrace) -> Json:
    """Write what is known of a trace; the same id again overwrites it."""
    info = request.trace.trace_info
    trace = call.store.start_trace(
        TraceInfo(
            trace_id=info.trace_id,
            experiment_id=info.trace_location.mlflow_experiment.experiment_id,
            request_time=time_from_text(info.request_time),
            state=_state(info.state),
            execution_duration=duration_from_text(info.execution_duration) if info.execution_duration else None,
            client_request_id=info.client_request_id,
            request_preview=info.request_preview,
            response_preview=info.response_preview,
            trace_metadata=tags_from_map(info.trace_metadata),
            tags=tags_from_map(info.tags),
            assessments=assessments_to_text(info.assessments),
        )
    )
    return {"trace": {"trace_info": trace_to_v3(trace)}}


def get(call: Call, request: TraceId) -> Json:
    """Get what is known of a trace."""
    if request.trace_id in _SPAN_CALLS:
        raise EndpointNotFound(
            f"this server has no 'traces/{request.trace_id}'; the spans of a trace are its artifact 'traces.json', "
            "below the trace's tag 'mlflow.artifactLocation'"
        )
    return {"trace": {"trace_info": trace_to_v3(call.store.get_trace_info(request.trace_id))}}


def search(call: Call, request: SearchTraces) -> Json:
    """Search the traces of some experiments."""
    if not request.locations:
        raise InvalidParameterValue("Missing value for required parameter 'locations'.")
    page = call.store.search_traces(
        [location.mlflow_experiment.experiment_id for location in request.locations],
        filter_string=request.filter or None,
        order_by=request.order_by,
        max_results=request.max_results,
        page_token=request.page_token or None,
    )
    return wire.page_to_wire("traces", page, trace_to_v3)


def set_tag(call: Call, request: SetTraceTag) -> Json:
    """Set a tag of a trace."""
    call.store.set_trace_tag(request.trace_id, Tag(request.key, request.value))
    return {}


def delete_tag(call: Call, request: DeleteTraceTag) -> Json:
    """Delete a tag of a trace."""
    call.store.delete_trace_tag(request.trace_id, request.key)
    return {}


def delete(call: Call, request: DeleteTraces) -> Json:
    """Delete traces by id, or the oldest up to a time."""
    if bool(request.request_ids) == (request.max_timestamp_millis is not None):
        raise InvalidParameterValue("give exactly one of 'request_ids' and 'max_timestamp_millis'")
    if request.request_ids and request.max_traces is not None:
        raise InvalidParameterValue("'max_traces' goes with 'max_timestamp_millis', not with 'request_ids'")
    deleted = call.store.delete_traces(
        request.experiment_id,
        trace_ids=request.request_ids,
        max_timestamp=request.max_timestamp_millis,
        max_traces=request.max_traces,
    )
    return {"traces_deleted": deleted}


def start_v2(call: Call, request: StartTraceV2) -> Json:
    """Begin a trace, as 2.x clients do; the server makes its id."""
    trace = call.store.start_trace(
        TraceInfo(
            trace_id="tr-" + os.urandom(16).hex(),
            experiment_id=request.experiment_id,
            request_time=request.timestamp_ms,
            state="IN_PROGRESS",
            trace_metadata=tags_of(request.request_metadata),
            tags=tags_of(request.tags),
        )
    )
    return {"trace_info": trace_to_v2(trace)}


def end_v2(call: Call, request: EndTraceV2) -> Json:
    """End a trace, as 2.x clients do."""
    begun = call.store.get_trace_info(request.trace_id)
    trace = call.store.start_trace(
        dataclasses.replace(
            begun,
            state=_state(request.status),
            execution_duration=max(0, request.timestamp_ms - begun.request_time),
            trace_metadata=_merged(begun.trace_metadata, tags_of(request.request_metadata)),
            tags=_merged(begun.tags, tags_of(request.tags)),
        )
    )
    return {"trace_info": trace_to_v2(trace)}


def get_v2(call: Call, request: TraceId) -> Json:
    """Get what is known of a trace, in the shape of 2.x clients."""
    return {"trace_info": trace_to_v2(call.store.get_trace_info(request.trace_id))}


def search_v2(call: Call, request: SearchTracesV2) -> Json:
    """Search the traces of some experiments, in the shape of 2.x clients."""
    if not request.experiment_ids:
        raise InvalidParameterValue("Missing value for required parameter 'experiment_ids'.")
    page = call.store.search_traces(
        request.experiment_ids,
        filter_string=request.filter or None,
        order_by=request.order_by,
        max_results=request.max_results,
        page_token=request.page_token or None,
    )
    return wire.page_to_wire("traces", page, trace_to_v2)


def _state(value: str | int) -> str:
    if isinstance(value, int):
        value = _STATES[value] if 0 <= value < len(_STATES) else str(value)
    value = value or _STATES[0]
    if value == "TRACE_STATUS_UNSPECIFIED":
        value = _STATES[0]
    if value not in _STATES:
        raise InvalidParameterValue(
            f"Invalid value {value!r} for parameter 'state' supplied: use one of {', '.join(_STATES)}"
        )
    return value


def _merged(old: Sequence[Tag], new: Sequence[Tag]) -> tuple[Tag, ...]:
    return tags_from_map({tag.key: tag.value for tag in (*old, *new)})


_V2, _V3 = "2.0/mlflow/traces", "3.0/mlflow/traces"
_INFO = {"trace_info": "TraceInfoV2"}
_TRACE = {"trace": "Trace"}
_COUNT = {"traces_deleted": "integer"}

ENDPOINTS = (
    endpoint("POST", _V3, StartTrace, start, **_TRACE),
    endpoint("POST", _V3 + "/search", SearchTraces, search, traces="TraceInfo[]", **PAGED),
    endpoint("POST", _V3 + "/delete-traces", DeleteTraces, delete, **_COUNT),
    endpoint("GET", _V3 + "/{trace_id}", TraceId, get, **_TRACE),
    endpoint("PATCH", _V3 + "/{trace_id}/tags", SetTraceTag, set_tag),
    endpoint("DELETE", _V3 + "/{trace_id}/tags", DeleteTraceTag, delete_tag),
    endpoint("POST", _V2, StartTraceV2, start_v2, **_INFO),
    endpoint("GET", _V2, SearchTracesV2, search_v2, traces="TraceInfoV2[]", **PAGED),
    endpoint("POST", _V2 + "/delete-traces", DeleteTraces, delete, **_COUNT),
    endpoint("PATCH", _V2 + "/{trace_id}", EndTraceV2, end_v2, **_INFO),
    endpoint("GET", _V2 + "/{trace_id}/info", TraceId, get_v2, **_INFO),
    endpoint("PATCH", _V2 + "/{trace_id}/tags", SetTraceTag, set_tag),
    endpoint("DELETE", _V2 + "/{trace_id}/tags", DeleteTraceTag, delete_tag),
)

__all__ = ["ENDPOINTS"]
