"""Traces to JSON and back, in the shapes of 3.x clients (v3) and of 2.14 to 2.22 clients (v2)."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import UTC, datetime, timedelta
from typing import Any

import msgspec

from mlgate_tracking import wire
from mlgate_tracking.entities import Tag, TraceInfo
from mlgate_tracking.errors import InvalidParameterValue
from mlgate_tracking.wire import Json

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_MILLISECOND = timedelta(milliseconds=1)


def trace_to_v3(trace: TraceInfo) -> Json:
    body: Json = {
        "trace_id": trace.trace_id,
        "trace_location": {
            "type": "MLFLOW_EXPERIMENT",
            "mlflow_experiment": {"experiment_id": trace.experiment_id},
        },
        "request_time": time_to_text(trace.request_time),
        "state": trace.state,
        "trace_metadata": {tag.key: tag.value for tag in trace.trace_metadata},
        "tags": {tag.key: tag.value for tag in trace.tags},
    }
    if trace.execution_duration is not None:
        body["execution_duration"] = f"{trace.execution_duration / 1000:.3f}s"
    for name in ("client_request_id", "request_preview", "response_preview"):
        value = getattr(trace, name)
        if value is not None:
            body[name] = value
    if trace.assessments:
        body["assessments"] = msgspec.json.decode(trace.assessments)
    return body


def trace_to_v2(trace: TraceInfo) -> Json:
    body: Json = {
        "request_id": trace.trace_id,
        "experiment_id": trace.experiment_id,
        "timestamp_ms": trace.request_time,
        "status": "TRACE_STATUS_UNSPECIFIED" if trace.state == "STATE_UNSPECIFIED" else trace.state,
        "request_metadata": wire.pairs_to_wire(trace.trace_metadata),
        "tags": wire.pairs_to_wire(trace.tags),
    }
    if trace.execution_duration is not None:
        body["execution_time_ms"] = trace.execution_duration
    return body


def time_to_text(milliseconds: int) -> str:
    """RFC 3339, in UTC, to the millisecond."""
    return (_EPOCH + milliseconds * _MILLISECOND).isoformat(timespec="milliseconds").replace("+00:00", "Z")


def time_from_text(text: str) -> int:
    """Milliseconds since the epoch; a time without a zone is UTC."""
    try:
        moment = datetime.fromisoformat(text)
        return ((moment if moment.tzinfo else moment.replace(tzinfo=UTC)) - _EPOCH) // _MILLISECOND
    except (ValueError, OverflowError):
        raise InvalidParameterValue(
            f"Invalid value {text!r} for parameter 'request_time' supplied: use RFC 3339, as in 2025-01-31T12:00:00.5Z"
        ) from None


def duration_from_text(text: str) -> int:
    """Milliseconds of a duration such as `1.5s`."""
    try:
        milliseconds = round(float(text.removesuffix("s")) * 1000)
    except (ValueError, OverflowError):
        milliseconds = -1
    if not text.endswith("s") or not 0 <= milliseconds < 2**63:
        raise InvalidParameterValue(
            f"Invalid value {text!r} for parameter 'execution_duration' supplied: use seconds, as in 1.5s"
        )
    return milliseconds


def tags_from_map(values: dict[str, str]) -> tuple[Tag, ...]:
    return tuple(Tag(key, value) for key, value in values.items())


def assessments_to_text(assessments: Iterable[Any]) -> str | None:
    found = list(assessments)
    return msgspec.json.encode(found).decode() if found else None


__all__ = [
    "assessments_to_text",
    "duration_from_text",
    "tags_from_map",
    "time_from_text",
    "time_to_text",
    "trace_to_v2",
    "trace_to_v3",
]
