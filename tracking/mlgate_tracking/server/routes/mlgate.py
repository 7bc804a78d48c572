"""What MLflow has no word for: the runs of steps, with attempts and fences."""

from __future__ import annotations

import dataclasses
from typing import Annotated

import msgspec

from mlgate_tracking import wire
from mlgate_tracking.entities import Fence
from mlgate_tracking.errors import PermissionDenied, ResourceDoesNotExist
from mlgate_tracking.server.decode import Natural, Request, Text
from mlgate_tracking.server.endpoints import Call, endpoint
from mlgate_tracking.server.routes.common import EnumIn, MetricIn, TagIn, params_of, run_status, tags_of
from mlgate_tracking.wire import Json

Attempt = Annotated[int, msgspec.Meta(ge=1, le=2**31 - 1)]


class OpenStepRun(Request, frozen=True):
    step_run_key: Text
    experiment_id: Text
    attempt: Attempt | None = None
    user_id: str = ""
    run_name: str = ""
    start_time: Natural = 0
    parent_run_id: str = ""
    params: tuple[TagIn, ...] = ()
    tags: tuple[TagIn, ...] = ()


class GetStepRun(Request, frozen=True):
    step_run_key: Text


class MintToken(Request, frozen=True):
    run_id: Text
    attempt: Attempt


class CloseStepRun(Request, frozen=True):
    run_id: Text
    attempt: Attempt
    status: EnumIn
    end_time: Natural
    metrics: tuple[MetricIn, ...] = ()
    tags: tuple[TagIn, ...] = ()


class MoveStepRun(Request, frozen=True):
    run_id: Text
    experiment_id: Text


def open_step_run(call: Call, request: OpenStepRun) -> Json:
    """Create or reopen the run of a step, make the attempt the current one, and mint its token."""
    opened = call.store.open_step_run(
        request.step_run_key,
        experiment_id=request.experiment_id,
        attempt=request.attempt,
        user_id=request.user_id,
        run_name=request.run_name or None,
        start_time=request.start_time,
        parent_run_id=request.parent_run_id or None,
        params=params_of(request.params),
        tags=tags_of(request.tags),
    )
    token = call.server.tokens.mint(Fence(opened.run.info.run_id, opened.attempt))
    return {"step_run": wire.step_run_to_wire(dataclasses.replace(opened, token=token))}


def get_step_run(call: Call, request: GetStepRun) -> Json:
    """The run of a step and its current attempt."""
    found = call.store.find_step_run(request.step_run_key)
    if found is None:
        raise ResourceDoesNotExist(f"no step has the key {request.step_run_key!r}")
    return {"step_run": wire.step_run_to_wire(found)}


def mint_token(call: Call, request: MintToken) -> Json:
    """A token for one attempt of a step, good for as long as that attempt is the current one."""
    fence = Fence(request.run_id, request.attempt)
    if call.fence is not None and call.fence != fence:
        raise PermissionDenied(f"a token of run {call.fence.run_id} cannot ask for one of run {fence.run_id}")
    call.store.get_run(fence.run_id)
    return {"token": call.server.tokens.mint(fence)}


def close_step_run(call: Call, request: CloseStepRun) -> Json:
    """Write a step's last metrics and tags and its final status, unless a newer attempt has taken over."""
    run = call.store.close_step_run(
        request.run_id,
        request.attempt,
        status=run_status(request.status),
        end_time=request.end_time,
        metrics=tuple(metric.entity() for metric in request.metrics),
        tags=tags_of(request.tags),
    )
    return {"run": wire.run_to_wire(run)}


def move_step_run(call: Call, request: MoveStepRun) -> Json:
    """Put a run into another experiment; its artifacts stay where they are."""
    return {"run": wire.run_to_wire(call.store.move_run(request.run_id, request.experiment_id))}


_BASE = "3.0/mlgate/step-runs/"
_STEP_RUN = {"step_run": "StepRun"}
_TOKEN = {"token": "string"}

ENDPOINTS = (
    endpoint("POST", _BASE + "open", OpenStepRun, open_step_run, **_STEP_RUN),
    endpoint("GET", _BASE + "get", GetStepRun, get_step_run, **_STEP_RUN),
    endpoint("POST", _BASE + "token", MintToken, mint_token, **_TOKEN),
    endpoint("POST", _BASE + "close", CloseStepRun, close_step_run, run="Run"),
    endpoint("POST", _BASE + "move", MoveStepRun, move_step_run, run="Run"),
)

__all__ = ["ENDPOINTS"]
