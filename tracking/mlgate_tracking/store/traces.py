"""Traces: what is known of each; the spans are files that clients keep at `mlflow.artifactLocation`."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import NamedTuple

from mlgate_tracking.entities import TRACE_STATES, Page, Tag, TraceInfo
from mlgate_tracking.errors import InvalidParameterValue, ResourceDoesNotExist
from mlgate_tracking.store import validate
from mlgate_tracking.store.dialects import in_list
from mlgate_tracking.store.experiments import active_experiment
from mlgate_tracking.store.part import StorePart
from mlgate_tracking.store.rows import among_keys, rows_by_key
from mlgate_tracking.store.transaction import Transaction

LOCATION_TAG = "mlflow.artifactLocation"
MAX_VALUE = 8_000
MAX_PREVIEW = 100_000
MAX_ASSESSMENTS = 1_000_000
MAX_IDS = 1_000
"""Traces that one delete names."""
_ID = re.compile(r"[\w.-]{1,64}")


class _Row(NamedTuple):
    """A row of `traces` as `_TRACES` selects it."""

    trace_pk: int
    trace_id: str
    experiment_id: int
    request_time: int
    execution_duration: int | None
    state: str
    client_request_id: str | None
    request_preview: str | None
    response_preview: str | None
    assessments: str | None


_TRACES = f"SELECT {', '.join(_Row._fields)} FROM traces"


class TraceStore(StorePart):
    def start_trace(self, trace: TraceInfo) -> TraceInfo:
        number = validate.experiment_id(trace.experiment_id)
        values = _columns(trace)
        tags, metadata = _pairs(trace.tags, "tag"), _pairs(trace.trace_metadata, "metadata")

        def work(tx: Transaction) -> TraceInfo:
            location = active_experiment(tx, number)
            row = {"trace_id": trace.trace_id, "experiment_id": number, **values}
            tx.upsert("traces", [row], ["trace_id"])
            pk = _trace(tx, trace.trace_id).trace_pk
            artifacts = f"{location.rstrip('/')}/traces/{trace.trace_id}/artifacts"
            _upsert(tx, "trace_tags", pk, {**tags, LOCATION_TAG: artifacts})
            _upsert(tx, "trace_metadata", pk, metadata)
            return _hydrate(tx, [_trace(tx, trace.trace_id)])[0]

        return self.write(work)

    def get_trace_info(self, trace_id: str) -> TraceInfo:
        return self.read(lambda tx: _hydrate(tx, [_trace(tx, trace_id)])[0])

    def search_traces(
        self,
        experiment_ids: Sequence[str],
        *,
        filter_string: str | None = None,
        order_by: Sequence[str] = (),
        max_results: int = 100,
        page_token: str | None = None,
    ) -> Page[TraceInfo]:
        from mlgate_tracking.store.search.traces import search_traces

        def work(tx: Transaction) -> Page[TraceInfo]:
            found = search_traces(
                tx.core,
                experiment_ids,
                filter_string=filter_string,
                order_by=order_by,
                max_results=max_results,
                page_token=page_token,
            )
            rows = rows_by_key(tx, _TRACES, "trace_pk", found.keys)
            return Page(tuple(_hydrate(tx, [_Row(*row) for row in rows])), found.token)

        return self.read(work)

    def set_trace_tag(self, trace_id: str, tag: Tag) -> None:
        given = _pairs([tag], "tag")
        self.write(lambda tx: _upsert(tx, "trace_tags", _trace(tx, trace_id).trace_pk, given))

    def delete_trace_tag(self, trace_id: str, key: str) -> None:
        def work(tx: Transaction) -> None:
            removed = tx.change(
                "DELETE FROM trace_tags WHERE trace_pk = :pk AND name = :name",
                {"pk": _trace(tx, trace_id).trace_pk, "name": key},
            )
            if not removed:
                raise ResourceDoesNotExist(f"trace {trace_id!r} has no tag {key!r}")

        self.write(work)

    def delete_traces(
        self,
        experiment_id: str,
        *,
        trace_ids: Sequence[str] = (),
        max_timestamp: int | None = None,
        max_traces: int | None = None,
    ) -> int:
        number = validate.experiment_id(experiment_id)
        self.require_owner(None, f"the traces of experiment {number}")
        if bool(trace_ids) == (max_timestamp is not None):
            raise InvalidParameterValue("delete_traces: give either trace ids or max_timestamp_millis")
        if trace_ids and max_traces is not None:
            raise InvalidParameterValue("delete_traces: max_traces goes with max_timestamp_millis, not with trace ids")
        if max_traces is not None and max_traces < 1:
            raise InvalidParameterValue(f"max_traces {max_traces!r} is not positive")
        if len(trace_ids) > MAX_IDS:
            raise InvalidParameterValue(f"{len(trace_ids)} trace ids are too many: delete at most {MAX_IDS} at once")

        def work(tx: Transaction) -> int:
            if trace_ids:
                part, values = in_list(trace_ids)
                chosen = tx.rows(
                    f"SELECT trace_pk FROM traces WHERE experiment_id = :experiment_id AND trace_id IN {part}",
                    {"experiment_id": number, **values},
                )
            else:
                limit = f" LIMIT {int(max_traces)}" if max_traces is not None else ""
                chosen = tx.rows(
                    "SELECT trace_pk FROM traces WHERE experiment_id = :experiment_id "
                    f"AND request_time <= :until ORDER BY request_time, trace_id{limit}",
                    {"experiment_id": number, "until": max_timestamp},
                )
            for among, params in among_keys(tx, "trace_pk", [row[0] for row in chosen]):
                tx.change(f"DELETE FROM traces WHERE {among}", params)
            return len(chosen)

        return self.write(work)


def _columns(trace: TraceInfo) -> dict[str, object]:
    """What of a trace stands in its own row."""
    if _ID.fullmatch(trace.trace_id) is None:
        raise InvalidParameterValue(f"trace id {trace.trace_id!r}: use 1 to 64 letters, digits, '-', '_' and '.'")
    if trace.state not in TRACE_STATES:
        raise InvalidParameterValue(f"trace state {trace.state!r}: use one of {', '.join(TRACE_STATES)}")
    client_id = trace.client_request_id
    return {
        "request_time": trace.request_time,
        "execution_duration": trace.execution_duration,
        "state": trace.state,
        "client_request_id": validate.text(client_id, 250, "client_request_id") if client_id else None,
        "request_preview": _preview(trace.request_preview, "request_preview"),
        "response_preview": _preview(trace.response_preview, "response_preview"),
        "assessments": validate.text(trace.assessments, MAX_ASSESSMENTS, "assessments") if trace.assessments else None,
    }


def _pairs(values: Sequence[Tag], what: str) -> dict[str, str]:
    return {
        validate.key(tag.key, f"trace {what}"): validate.cut(tag.value, MAX_VALUE, f"trace {what} {tag.key!r}")
        for tag in values
    }


def _preview(value: str | None, what: str) -> str | None:
    return validate.cut(value, MAX_PREVIEW, what) or None


def _trace(tx: Transaction, trace_id: str) -> _Row:
    row = tx.row(f"{_TRACES} WHERE trace_id = :trace_id", {"trace_id": trace_id})
    if row is None:
        raise ResourceDoesNotExist(f"there is no trace with id {trace_id!r}")
    return _Row(*row)


def _upsert(tx: Transaction, table: str, pk: int, values: dict[str, str]) -> None:
    rows = [{"trace_pk": pk, "name": name, "value": value} for name, value in sorted(values.items())]
    tx.upsert(table, rows, ["trace_pk", "name"])


def _hydrate(tx: Transaction, rows: Sequence[_Row]) -> list[TraceInfo]:
    """Whole traces for rows, in the same order."""
    pks = [row.trace_pk for row in rows]
    tags, metadata = _attributes(tx, "trace_tags", pks), _attributes(tx, "trace_metadata", pks)
    return [
        TraceInfo(
            trace_id=row.trace_id,
            experiment_id=str(row.experiment_id),
            request_time=row.request_time,
            state=row.state,
            execution_duration=row.execution_duration,
            client_request_id=row.client_request_id,
            request_preview=row.request_preview,
            response_preview=row.response_preview,
            trace_metadata=tuple(metadata.get(row.trace_pk, ())),
            tags=tuple(tags.get(row.trace_pk, ())),
            assessments=row.assessments,
        )
        for row in rows
    ]


def _attributes(tx: Transaction, table: str, pks: Sequence[int]) -> dict[int, list[Tag]]:
    found: dict[int, list[Tag]] = {}
    for among, params in among_keys(tx, "trace_pk", pks):
        for pk, name, value in tx.rows(
            f"SELECT trace_pk, name, value FROM {table} WHERE {among} ORDER BY name", params
        ):
            found.setdefault(pk, []).append(Tag(name, value))
    return found


__all__ = ["LOCATION_TAG", "TraceStore"]
