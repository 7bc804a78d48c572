"""Pieces that several groups of requests share."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from enum import StrEnum
from typing import TypeVar

from mlgate_tracking.entities import Metric, Param, RunStatus, Tag, ViewType
from mlgate_tracking.errors import InvalidParameterValue
from mlgate_tracking.server.decode import Int64, Natural, Request, Text

EnumIn = str | int
"""An enum travels by its name or its number."""

_VIEW_TYPES = {1: ViewType.ACTIVE_ONLY, 2: ViewType.DELETED_ONLY, 3: ViewType.ALL}
_RUN_STATUSES = dict(enumerate(RunStatus, start=1))

E = TypeVar("E", bound=StrEnum)


class KeyValue(Request, frozen=True):
    key: Text


class TagIn(Request, frozen=True):
    key: Text
    value: str = ""


class MetricIn(Request, frozen=True):
    """A point of a metric: value, time in milliseconds, step."""

    key: Text
    value: float
    timestamp: Natural
    step: Int64 = 0
    model_id: str | None = None
    dataset_name: str | None = None
    dataset_digest: str | None = None

    def entity(self) -> Metric:
        if not (self.model_id or self.dataset_name or self.dataset_digest):
            return Metric(self.key, self.value, self.timestamp, self.step)
        return Metric(
            self.key,
            self.value,
            self.timestamp,
            self.step,
            self.model_id or None,
            self.dataset_name or None,
            self.dataset_digest or None,
        )


class RunIdentity(Request, frozen=True):
    """Clients send `run_id`, `run_uuid` (its old name), or both; `run_id` wins."""

    run_id: str = ""
    run_uuid: str = ""


def tags_of(tags: Iterable[TagIn]) -> tuple[Tag, ...]:
    return tuple(Tag(tag.key, tag.value) for tag in tags)


def params_of(params: Iterable[TagIn]) -> tuple[Param, ...]:
    return tuple(Param(param.key, param.value) for param in params)


def view_type(value: EnumIn) -> ViewType:
    return enum_member(value or "ACTIVE_ONLY", "view_type", ViewType, _VIEW_TYPES)


def run_status(value: EnumIn) -> RunStatus:
    return enum_member(value, "status", RunStatus, _RUN_STATUSES)


def enum_member(value: EnumIn, name: str, kind: type[E], numbers: dict[int, E]) -> E:
    if isinstance(value, str) and value.isascii() and value.isdigit():
        value = int(value)
    found = numbers.get(value) if isinstance(value, int) else next((each for each in kind if each == value), None)
    if found is None:
        raise InvalidParameterValue(
            f"Invalid value {value!r} for parameter '{name}' supplied: use one of {', '.join(numbers.values())}"
        )
    return found


def at_most(values: Sequence[object], most: int, name: str) -> None:
    """Refuse a list that is longer than the protocol allows."""
    if len(values) > most:
        raise InvalidParameterValue(
            f"Invalid value of {len(values)} entries for parameter '{name}' supplied: send at most {most} at once"
        )


__all__ = [
    "EnumIn",
    "KeyValue",
    "MetricIn",
    "RunIdentity",
    "TagIn",
    "at_most",
    "enum_member",
    "params_of",
    "run_status",
    "tags_of",
    "view_type",
]
