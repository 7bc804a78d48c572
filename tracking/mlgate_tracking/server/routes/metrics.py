"""Metric histories."""

from __future__ import annotations

from typing import Annotated

import msgspec

from mlgate_tracking import wire
from mlgate_tracking.errors import InvalidParameterValue
from mlgate_tracking.server.decode import Int64, Request, Text, required
from mlgate_tracking.server.endpoints import PAGED, Call, endpoint
from mlgate_tracking.server.routes.common import RunIdentity, at_most
from mlgate_tracking.wire import Json

MAX_RUNS = 100
MAX_POINTS = 25_000


class GetHistory(RunIdentity, frozen=True, kw_only=True):
    metric_key: Text
    max_results: Annotated[int, msgspec.Meta(ge=1, le=2**31 - 1)] | None = None
    page_token: str = ""


class GetHistoryBulk(Request, frozen=True):
    metric_key: Text
    run_id: tuple[str, ...] = ()
    max_results: Annotated[int, msgspec.Meta(ge=1, le=MAX_POINTS)] = MAX_POINTS


class GetHistoryBulkInterval(Request, frozen=True):
    metric_key: Text
    run_ids: tuple[str, ...] = ()
    start_step: Int64 | None = None
    end_step: Int64 | None = None
    max_results: Annotated[int, msgspec.Meta(ge=1, le=2500)] = 2500


def get_history(call: Call, request: GetHistory) -> Json:
    """All points of one metric of a run, ordered by timestamp, step and value."""
    key = request.metric_key
    page = call.store.metric_points(
        required(request.run_id or request.run_uuid, "run_id"),
        key,
        max_results=request.max_results,
        page_token=request.page_token or None,
    )
    points = [
        {"key": key, "value": wire.double_to_wire(value), "timestamp": timestamp, "step": step}
        for timestamp, step, value in page.items
    ]
    return {**({"metrics": points} if points else {}), **({"next_page_token": page.token} if page.token else {})}


def get_history_bulk(call: Call, request: GetHistoryBulk) -> Json:
    """The points of one metric for up to 100 runs."""
    _check_runs(request.run_id, "run_id")
    metrics: list[Json] = []
    for run_id in sorted(set(request.run_id)):
        room = request.max_results - len(metrics)
        if room <= 0:
            break
        page = call.store.metric_history(run_id, request.metric_key, max_results=room)
        metrics += [{**wire.metric_to_wire(metric), "run_id": run_id} for metric in page.items]
    return {"metrics": metrics} if metrics else {}


def get_history_bulk_interval(call: Call, request: GetHistoryBulkInterval) -> Json:
    """Evenly sampled points of one metric for up to 100 runs."""
    _check_runs(request.run_ids, "run_ids")
    if (request.start_step is None) != (request.end_step is None):
        raise InvalidParameterValue("give both 'start_step' and 'end_step', or neither")
    if request.start_step is not None and request.end_step is not None and request.start_step > request.end_step:
        raise InvalidParameterValue(f"start_step {request.start_step} is after end_step {request.end_step}")
    metrics = call.store.metric_history_sampled(
        request.run_ids,
        request.metric_key,
        start_step=request.start_step,
        end_step=request.end_step,
        max_results=request.max_results,
    )
    return {"metrics": [wire.metric_to_wire(metric) for metric in metrics]} if metrics else {}


def _check_runs(run_ids: tuple[str, ...], name: str) -> None:
    if not run_ids:
        raise InvalidParameterValue(f"Missing value for required parameter '{name}'.")
    at_most(run_ids, MAX_RUNS, name)


_BASE = "2.0/mlflow/metrics/"
_POINTS = {"metrics": "Metric[]"}

ENDPOINTS = (
    endpoint("GET", _BASE + "get-history", GetHistory, get_history, **_POINTS, **PAGED),
    endpoint("GET", _BASE + "get-history-bulk", GetHistoryBulk, get_history_bulk, **_POINTS),
    endpoint("GET", _BASE + "get-history-bulk-interval", GetHistoryBulkInterval, get_history_bulk_interval, **_POINTS),
)

__all__ = ["ENDPOINTS"]
