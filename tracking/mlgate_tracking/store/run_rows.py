"""Rows of `runs`: finding them for a write, and making whole runs of them."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import NamedTuple, TypeVar

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

Attribute = TypeVar("Attribute", Param, Tag)


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
        raise ResourceDoesNotExist(f"there is no run with id {run_id!r}")
    return RunRow._make(row)


def writable_run(tx: Transaction, run_id: str, fence: Fence | None, lock: str = "") -> RunRow:
    """The row of a run that takes writes: it is active, and it is the fenced step's own or made by it."""
    row = find_run(tx, run_id, lock)
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


def hydrate_runs(tx: Transaction, keys: KeyTable, run_rows: Iterable[Row]) -> list[Run]:
    """Whole runs for rows of `RUN_COLUMNS`, in the same order; as many statements for a thousand as for one."""
    rows = [RunRow._make(row) for row in run_rows]
    if not rows:
        return []
    pks = [row.run_pk for row in rows]
    metrics = _latest_metrics(tx, keys, pks)
    params = _attributes(tx, keys, "params", Param, pks)
    tags = _attributes(tx, keys, "tags", Tag, pks)
    datasets = _dataset_inputs(tx, pks)
    models_in, models_out = _models(tx, pks)
    return [
        Run(
            info=run_info(row),
            data=RunData(
                metrics=tuple(metrics.get(row.run_pk, ())),
                params=tuple(params.get(row.run_pk, ())),
                tags=tuple(tags.get(row.run_pk, ())),
            ),
            inputs=RunInputs(
                dataset_inputs=tuple(datasets.get(row.run_pk, ())), model_inputs=tuple(models_in.get(row.run_pk, ()))
            ),
            outputs=tuple(models_out.get(row.run_pk, ())),
        )
        for row in rows
    ]


def _in(pks: Sequence[int]) -> str:
    return f"run_pk IN ({', '.join(map(str, pks))})"


def _latest_metrics(tx: Transaction, keys: KeyTable, pks: Sequence[int]) -> dict[int, list[Metric]]:
    rows = tx.rows(f"SELECT run_pk, key_id, value, is_nan, timestamp, step FROM latest_metrics WHERE {_in(pks)}")
    names = keys.names(tx, {row[1] for row in rows})
    found: dict[int, list[Metric]] = {}
    for run_pk, key_id, value, is_nan, timestamp, step in rows:
        point = Metric(names[key_id], double_from(value, is_nan), timestamp, step)
        found.setdefault(run_pk, []).append(point)
    for points in found.values():
        points.sort(key=_key)
    return found


def _attributes(
    tx: Transaction, keys: KeyTable, table: str, kind: type[Attribute], pks: Sequence[int]
) -> dict[int, list[Attribute]]:
    rows = tx.rows(f"SELECT run_pk, key_id, value FROM {table} WHERE {_in(pks)}")
    names = keys.names(tx, {row[1] for row in rows})
    found: dict[int, list[Attribute]] = {}
    for run_pk, key_id, value in rows:
        found.setdefault(run_pk, []).append(kind(names[key_id], value))
    for attributes in found.values():
        attributes.sort(key=_key)
    return found


def _key(attribute: Metric | Param | Tag) -> str:
    return attribute.key


def _dataset_inputs(tx: Transaction, pks: Sequence[int]) -> dict[int, list[DatasetInput]]:
    rows = tx.rows(
        "SELECT i.run_pk, i.dataset_pk, d.name, d.digest, d.source_type, d.source, d.schema_json, d.profile "
        "FROM dataset_inputs i JOIN datasets d ON d.dataset_pk = i.dataset_pk "
        f"WHERE i.{_in(pks)} ORDER BY i.run_pk, i.dataset_pk"
    )
    if not rows:
        return {}
    tags: dict[tuple[int, int], list[Tag]] = {}
    for run_pk, dataset_pk, name, value in tx.rows(
        f"SELECT run_pk, dataset_pk, name, value FROM dataset_input_tags WHERE {_in(pks)} ORDER BY name"
    ):
        tags.setdefault((run_pk, dataset_pk), []).append(Tag(name, value))
    found: dict[int, list[DatasetInput]] = {}
    for run_pk, dataset_pk, *fields in rows:
        given = DatasetInput(Dataset(*fields), tuple(tags.get((run_pk, dataset_pk), ())))
        found.setdefault(run_pk, []).append(given)
    return found


def _models(tx: Transaction, pks: Sequence[int]) -> tuple[dict[int, list[str]], dict[int, list[ModelOutput]]]:
    models_in: dict[int, list[str]] = {}
    models_out: dict[int, list[ModelOutput]] = {}
    for run_pk, model_id, step, is_output in tx.rows(
        f"SELECT run_pk, model_id, 0, 0 FROM model_inputs WHERE {_in(pks)} "
        f"UNION ALL SELECT run_pk, model_id, step, 1 FROM model_outputs WHERE {_in(pks)} ORDER BY 1, 2"
    ):
        if is_output:
            models_out.setdefault(run_pk, []).append(ModelOutput(model_id, step))
        else:
            models_in.setdefault(run_pk, []).append(model_id)
    return models_in, models_out


__all__ = [
    "RUN_COLUMNS",
    "SELECT_RUN",
    "RunRow",
    "find_run",
    "hydrate_runs",
    "require_active",
    "run_info",
    "writable_run",
]
