"""Rows of `runs`: finding them for a write, and making whole runs of them."""

from __future__ import annotations

from collections.abc import Collection, Iterable
from typing import NamedTuple

from mlgate_tracking.entities import (
    Dataset,
    DatasetInput,
    Fence,
    LifecycleStage,
    Metric,
    ModelOutput,
    Param,
    Run,
    RunData,
    RunInfo,
    RunInputs,
    RunStatus,
    Tag,
)
from mlgate_tracking.errors import InvalidParameterValue, PermissionDenied, ResourceDoesNotExist
from mlgate_tracking.store.keys import KeyTable
from mlgate_tracking.store.transaction import Row, Transaction
from mlgate_tracking.store.values import double_from


class RunRow(NamedTuple):
    """A row of `runs`; select `RUN_COLUMNS` to get one with `RunRow._make(row)`."""

    run_pk: int
    run_id: str
    experiment_id: int
    name: str
    user_id: str
    status: str
    start_time: int
    end_time: int | None
    deleted_time: int | None
    artifact_uri: str
    step_run_key: str | None
    attempt: int
    owner_run_id: str | None


RUN_COLUMNS = RunRow._fields
SELECT_RUN = f"SELECT {', '.join(RUN_COLUMNS)} FROM runs"


def find_run(tx: Transaction, run_id: str, lock: str = "") -> RunRow:
    """The row of a run, deleted or not.

    Args:
        lock: `tx.dialect.for_update` to hold the row until the transaction ends.
    """
    row = tx.row(f"{SELECT_RUN} WHERE run_id = :run_id{lock}", {"run_id": run_id})
    if row is None:
        raise _unknown(run_id)
    return RunRow._make(row)


def find_runs(tx: Transaction, run_ids: Collection[str]) -> dict[str, RunRow]:
    """The rows of those runs that exist, deleted or not, by id."""
    among, params = tx.dialect.among("run_id", list(run_ids))
    return {row.run_id: row for row in map(RunRow._make, tx.rows(f"{SELECT_RUN} WHERE {among}", params))}


def _unknown(run_id: str) -> ResourceDoesNotExist:
    return ResourceDoesNotExist(f"there is no run with id {run_id!r}")


def writable_run(tx: Transaction, run_id: str, fence: Fence | None, lock: str = "") -> RunRow:
    """The row of a run that takes writes: it is active, and it is the fenced step's own or made by it."""
    return check_writable(find_run(tx, run_id, lock), run_id, fence)


def check_writable(row: RunRow | None, run_id: str, fence: Fence | None) -> RunRow:
    """The row, if it is that of a run which takes writes, as `writable_run` finds it."""
    if row is None:
        raise _unknown(run_id)
    if fence is not None and fence.run_id not in (row.run_id, row.owner_run_id):
        raise PermissionDenied(
            f"run {run_id!r} was not created by the step whose run is {fence.run_id!r}, so its token may not change it"
        )
    require_active(row)
    return row


def require_active(row: RunRow) -> None:
    if row.deleted_time is not None:
        raise InvalidParameterValue(
            f"run {row.run_id!r} must be in the 'active' state, it is deleted: restore it first"
        )


def run_info(row: RunRow) -> RunInfo:
    return RunInfo(
        run_id=row.run_id,
        run_name=row.name,
        experiment_id=str(row.experiment_id),
        user_id=row.user_id,
        status=RunStatus(row.status),
        start_time=row.start_time,
        artifact_uri=row.artifact_uri,
        end_time=row.end_time,
        lifecycle_stage=LifecycleStage.ACTIVE if row.deleted_time is None else LifecycleStage.DELETED,
    )


Attributes = list[tuple[str, str]]
"""Names and values of params or tags, sorted."""
LatestMetrics = list[tuple[str, float, int, int, int]]
"""Name, value, is_nan, timestamp and step of latest points, sorted by name."""


_MODEL_INPUT, _MODEL_OUTPUT, _DATASET_INPUT = -1, -2, -3
"""Stand where tags have the number of their key, which is positive, so that one statement reads all of them."""


class RunParts(NamedTuple):
    """A run as rows: what entities and answers are made of."""

    row: RunRow
    metrics: LatestMetrics
    params: Attributes
    tags: Attributes
    dataset_inputs: list[DatasetInput]
    model_inputs: list[str]
    model_outputs: list[ModelOutput]


def hydrate_runs(tx: Transaction, keys: KeyTable, run_rows: Iterable[Row]) -> list[Run]:
    """Whole runs for rows of `RUN_COLUMNS`, in the same order; as many statements for a thousand as for one."""
    return [_run(parts) for parts in run_parts(tx, keys, run_rows)]


def _run(parts: RunParts) -> Run:
    return Run(
        info=run_info(parts.row),
        data=RunData(
            metrics=tuple(
                Metric(name, double_from(value, is_nan), timestamp, step)
                for name, value, is_nan, timestamp, step in parts.metrics
            ),
            params=tuple(Param(name, value) for name, value in parts.params),
            tags=tuple(Tag(name, value) for name, value in parts.tags),
        ),
        inputs=RunInputs(dataset_inputs=tuple(parts.dataset_inputs), model_inputs=tuple(parts.model_inputs)),
        outputs=tuple(parts.model_outputs),
    )


def run_parts(tx: Transaction, keys: KeyTable, run_rows: Iterable[Row]) -> list[RunParts]:
    """What belongs to rows of `RUN_COLUMNS`, in the same order; as many statements for a thousand as for one."""
    parts = {row[0]: RunParts(RunRow._make(row), [], [], [], [], [], []) for row in run_rows}
    if not parts:
        return []
    listed, chosen = tx.dialect.among("run_pk", list(parts))
    metrics, params, others = tx.rows_of(
        [
            f"SELECT run_pk, key_id, value, is_nan, timestamp, step FROM latest_metrics WHERE {listed}",
            f"SELECT run_pk, key_id, value FROM params WHERE {listed}",
            (
                f"SELECT run_pk, key_id, value, 0 FROM tags WHERE {listed} "
                f"UNION ALL SELECT run_pk, {_MODEL_INPUT}, model_id, 0 FROM model_inputs WHERE {listed} "
                f"UNION ALL SELECT run_pk, {_MODEL_OUTPUT}, model_id, step FROM model_outputs WHERE {listed} "
                f"UNION ALL SELECT run_pk, {_DATASET_INPUT}, '', 0 FROM dataset_inputs WHERE {listed}"
            ),
        ],
        chosen,
    )
    names = keys.names(tx, {row[1] for rows in (metrics, params, others) for row in rows if row[1] > 0})
    for run_pk, key_id, value, is_nan, timestamp, step in metrics:
        parts[run_pk].metrics.append((names[key_id], value, is_nan, timestamp, step))
    for run_pk, key_id, value in params:
        parts[run_pk].params.append((names[key_id], value))
    datasets = _add_others(parts, names, others)
    for found in parts.values():
        for in_order in (found.metrics, found.params, found.tags, found.model_inputs):
            in_order.sort()
        found.model_outputs.sort(key=lambda output: (output.model_id, output.step))
    if datasets:
        _add_dataset_inputs(tx, parts)
    return list(parts.values())


def _add_others(parts: dict[int, RunParts], names: dict[int, str], rows: list[Row]) -> bool:
    """Add the tags of runs and the models that they read and made; whether any of them reads a dataset, too."""
    datasets = False
    for run_pk, key_id, value, step in rows:
        if key_id > 0:
            parts[run_pk].tags.append((names[key_id], value))
        elif key_id == _MODEL_INPUT:
            parts[run_pk].model_inputs.append(value)
        elif key_id == _MODEL_OUTPUT:
            parts[run_pk].model_outputs.append(ModelOutput(value, step))
        else:
            datasets = True
    return datasets


def _add_dataset_inputs(tx: Transaction, parts: dict[int, RunParts]) -> None:
    listed, params = tx.dialect.among("run_pk", list(parts))
    rows = tx.rows(
        "SELECT i.run_pk, i.dataset_pk, d.name, d.digest, d.source_type, d.source, d.schema_json, d.profile "
        "FROM dataset_inputs i JOIN datasets d ON d.dataset_pk = i.dataset_pk "
        f"WHERE i.{listed} ORDER BY i.run_pk, i.dataset_pk",
        params,
    )
    tags: dict[tuple[int, int], list[Tag]] = {}
    for run_pk, dataset_pk, name, value in tx.rows(
        f"SELECT run_pk, dataset_pk, name, value FROM dataset_input_tags WHERE {listed} ORDER BY name", params
    ):
        tags.setdefault((run_pk, dataset_pk), []).append(Tag(name, value))
    for run_pk, dataset_pk, *fields in rows:
        given = DatasetInput(Dataset(*fields), tuple(tags.get((run_pk, dataset_pk), ())))
        parts[run_pk].dataset_inputs.append(given)


__all__ = [
    "RUN_COLUMNS",
    "SELECT_RUN",
    "RunParts",
    "RunRow",
    "check_writable",
    "find_run",
    "find_runs",
    "hydrate_runs",
    "require_active",
    "run_info",
    "run_parts",
    "writable_run",
]
