"""An MLflow database (SQLite, PostgreSQL, MySQL), versions 2.0 to 3.x, opened for reading only."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import sqlalchemy as sa

from mlgate_tracking.entities import (
    Dataset,
    DatasetInput,
    Experiment,
    LifecycleStage,
    LoggedModel,
    Metric,
    ModelAlias,
    ModelOutput,
    ModelVersion,
    Param,
    RegisteredModel,
    Run,
    RunData,
    RunInfo,
    RunInputs,
    RunStatus,
    Tag,
)
from mlgate_tracking.errors import BadRequest, InvalidParameterValue, TemporarilyUnavailable
from mlgate_tracking.store.mlflow_import.records import LoggedModelRecord, RegisteredModelRecord, RunRecord
from mlgate_tracking.store.mlflow_import.vocabulary import DELETED_STAGE, LOGGED_MODEL_STATUSES, readable_location
from mlgate_tracking.store.pooled import driver_url
from mlgate_tracking.store.sqlite import database_path
from mlgate_tracking.store.values import double_from

_BATCH = 50
_POINTS_AT_ONCE = 5000
_WANTED = ("experiments", "runs", "metrics", "params", "tags", "registered_models", "model_versions")
_LEFT = {
    "trace_info": "traces",
    "webhooks": "webhooks",
    "evaluation_datasets": "evaluation datasets",
    "scorers": "scorers",
    "endpoints": "gateway endpoints",
}

Row = dict[str, Any]


class DatabaseSource:
    def __init__(self, uri: str) -> None:
        self._folder: Path | None = None
        if uri.startswith("sqlite"):
            path = database_path(uri).absolute()
            if not path.is_file():
                raise InvalidParameterValue(f"there is no database file {path}")
            self._folder = path.parent
            read_only = f"{path.as_uri()}?mode=ro"
            self._engine = sa.create_engine("sqlite://", creator=lambda: sqlite3.connect(read_only, uri=True))
        else:
            self._engine = sa.create_engine(driver_url(uri))
        try:
            self._connection = self._engine.connect()
        except sa.exc.DBAPIError as error:
            self._engine.dispose()
            cause = str(error.orig).strip().splitlines()[0]
            raise TemporarilyUnavailable(f"the MLflow database cannot be opened: {cause}") from error
        self._columns = self._read_columns()
        missing = [table for table in _WANTED if table not in self._columns]
        if missing:
            self.close()
            raise BadRequest(f"this is no MLflow database: it has no table {missing[0]}")

    def close(self) -> None:
        self._connection.close()
        self._engine.dispose()

    def _read_columns(self) -> dict[str, set[str]]:
        inspector = sa.inspect(self._connection)
        return {
            table: {column["name"] for column in inspector.get_columns(table)} for table in inspector.get_table_names()
        }

    def _rows(self, table: str, where: str = "", order: str = "", **params: Any) -> list[Row]:
        """All columns that this version of MLflow has; nothing when it does not have the table."""
        if table not in self._columns:
            return []
        quote = self._engine.dialect.identifier_preparer.quote
        columns = ", ".join(quote(column) for column in sorted(self._columns[table]))
        statement = sa.text(f"SELECT {columns} FROM {table} {where} {order}")
        listed = [name for name, value in params.items() if isinstance(value, (list, tuple))]
        statement = statement.bindparams(*[sa.bindparam(name, expanding=True) for name in listed])
        return [dict(row) for row in self._connection.execute(statement, params).mappings()]

    def _grouped(self, table: str, key: str, where: str, **params: Any) -> dict[Any, list[Row]]:
        found: dict[Any, list[Row]] = {}
        for row in self._rows(table, where, **params):
            found.setdefault(row[key], []).append(row)
        return found

    # --- experiments and runs -----------------------------------------------------------------------------------

    def experiments(self) -> list[Experiment]:
        tags = self._grouped("experiment_tags", "experiment_id", "")
        return [
            Experiment(
                experiment_id=str(row["experiment_id"]),
                name=row["name"],
                artifact_location=row["artifact_location"] or "",
                lifecycle_stage=LifecycleStage(row["lifecycle_stage"]),
                creation_time=row.get("creation_time") or 0,
                last_update_time=row.get("last_update_time") or 0,
                tags=tuple(Tag(tag["key"], tag["value"] or "") for tag in tags.get(row["experiment_id"], ())),
            )
            for row in self._rows("experiments", order="ORDER BY experiment_id")
        ]

    def run_count(self) -> int:
        return int(self._connection.execute(sa.text("SELECT COUNT(*) FROM runs")).scalar_one())

    def runs(self, experiment_id: str) -> Iterator[list[RunRecord]]:
        after = ""
        while True:
            rows = self._rows(
                "runs",
                "WHERE experiment_id = :experiment_id AND run_uuid > :after",
                f"ORDER BY run_uuid LIMIT {_BATCH}",
                experiment_id=int(experiment_id),
                after=after,
            )
            if not rows:
                return
            yield self._run_records(rows)
            after = rows[-1]["run_uuid"]

    def _run_records(self, rows: Sequence[Row]) -> list[RunRecord]:
        ids = [row["run_uuid"] for row in rows]
        where = "WHERE run_uuid IN :ids"
        params = self._grouped("params", "run_uuid", where, ids=ids)
        tags = self._grouped("tags", "run_uuid", where, ids=ids)
        points = self._point_counts(ids)
        inputs = self._inputs(ids)
        outputs = self._grouped(
            "inputs", "source_id", "WHERE destination_type = 'MODEL_OUTPUT' AND source_id IN :ids", ids=ids
        )
        return [
            RunRecord(
                run=Run(
                    info=_run_info(row),
                    data=RunData(
                        params=tuple(Param(item["key"], item["value"]) for item in params.get(row["run_uuid"], ())),
                        tags=tuple(Tag(item["key"], item["value"] or "") for item in tags.get(row["run_uuid"], ())),
                    ),
                    inputs=inputs.get(row["run_uuid"], RunInputs()),
                    outputs=tuple(
                        ModelOutput(item["destination_id"], item.get("step") or 0)
                        for item in outputs.get(row["run_uuid"], ())
                    ),
                ),
                history=_History(self._connection, row["run_uuid"], points.get(row["run_uuid"], 0)),
                deleted_time=_deleted(row, row.get("deleted_time") or row["end_time"]),
                artifacts=readable_location(row["artifact_uri"] or "", self._folder),
            )
            for row in rows
        ]

    def _point_counts(self, ids: Sequence[str]) -> dict[str, int]:
        statement = sa.text("SELECT run_uuid, COUNT(*) FROM metrics WHERE run_uuid IN :ids GROUP BY run_uuid")
        statement = statement.bindparams(sa.bindparam("ids", expanding=True))
        return {row[0]: row[1] for row in self._connection.execute(statement, {"ids": list(ids)})}

    def _inputs(self, ids: Sequence[str]) -> dict[str, RunInputs]:
        links = self._rows(
            "inputs", "WHERE source_type = 'DATASET' AND destination_type = 'RUN' AND destination_id IN :ids", ids=ids
        )
        models = self._grouped(
            "inputs", "source_id", "WHERE destination_type = 'MODEL_INPUT' AND source_id IN :ids", ids=ids
        )
        datasets: dict[str, list[DatasetInput]] = {}
        if links:
            uuids = [link["source_id"] for link in links]
            known = {
                row["dataset_uuid"]: row for row in self._rows("datasets", "WHERE dataset_uuid IN :ids", ids=uuids)
            }
            inputs = [link["input_uuid"] for link in links]
            tags = self._grouped("input_tags", "input_uuid", "WHERE input_uuid IN :ids", ids=inputs)
            for link in links:
                given = DatasetInput(
                    _dataset(known[link["source_id"]]),
                    tuple(Tag(tag["name"], tag["value"]) for tag in tags.get(link["input_uuid"], ())),
                )
                datasets.setdefault(link["destination_id"], []).append(given)
        return {
            run_id: RunInputs(
                tuple(datasets.get(run_id, ())), tuple(row["destination_id"] for row in models.get(run_id, ()))
            )
            for run_id in {*datasets, *models}
        }

    # --- models -------------------------------------------------------------------------------------------------

    def logged_models(self, experiment_id: str) -> list[LoggedModelRecord]:
        where = "WHERE experiment_id = :experiment_id"
        number = int(experiment_id)
        params = self._grouped("logged_model_params", "model_id", where, experiment_id=number)
        tags = self._grouped("logged_model_tags", "model_id", where, experiment_id=number)
        points = self._grouped("logged_model_metrics", "model_id", where, experiment_id=number)
        return [
            LoggedModelRecord(
                model=LoggedModel(
                    model_id=row["model_id"],
                    experiment_id=experiment_id,
                    name=row["name"],
                    artifact_uri=row["artifact_location"],
                    status=LOGGED_MODEL_STATUSES[row["status"]],
                    creation_timestamp=row["creation_timestamp_ms"],
                    last_updated_timestamp=row["last_updated_timestamp_ms"],
                    model_type=row["model_type"],
                    source_run_id=row["source_run_id"],
                    status_message=row["status_message"],
                    tags=tuple(Tag(tag["tag_key"], tag["tag_value"]) for tag in tags.get(row["model_id"], ())),
                    params=tuple(
                        Param(param["param_key"], param["param_value"]) for param in params.get(row["model_id"], ())
                    ),
                    metrics=tuple(_model_point(point) for point in points.get(row["model_id"], ())),
                ),
                deleted_time=_deleted(row, row["last_updated_timestamp_ms"]),
                artifacts=readable_location(row["artifact_location"], self._folder),
            )
            for row in self._rows("logged_models", where, "ORDER BY model_id", experiment_id=number)
        ]

    def registered_models(self) -> list[RegisteredModelRecord]:
        tags = self._grouped("registered_model_tags", "name", "")
        aliases = self._grouped("registered_model_aliases", "name", "")
        versions = self._grouped("model_versions", "name", "ORDER BY version")
        version_tags: dict[tuple[str, int], list[Tag]] = {}
        for row in self._rows("model_version_tags"):
            version_tags.setdefault((row["name"], row["version"]), []).append(Tag(row["key"], row["value"] or ""))
        return [
            RegisteredModelRecord(
                model=RegisteredModel(
                    name=row["name"],
                    creation_timestamp=row["creation_time"] or 0,
                    last_updated_timestamp=row["last_updated_time"] or 0,
                    description=row["description"],
                    tags=tuple(Tag(tag["key"], tag["value"] or "") for tag in tags.get(row["name"], ())),
                    aliases=tuple(
                        ModelAlias(alias["alias"], int(alias["version"])) for alias in aliases.get(row["name"], ())
                    ),
                ),
                versions=tuple(
                    _version(version, tuple(version_tags.get((row["name"], version["version"]), ())))
                    for version in versions.get(row["name"], ())
                ),
                deleted=frozenset(
                    version["version"]
                    for version in versions.get(row["name"], ())
                    if version["current_stage"] == DELETED_STAGE
                ),
            )
            for row in self._rows("registered_models", order="ORDER BY name")
        ]

    def proxied_location(self) -> str | None:
        for table, column in (("runs", "artifact_uri"), ("logged_models", "artifact_location")):
            if table in self._columns:
                statement = sa.text(f"SELECT {column} FROM {table} WHERE {column} LIKE :a OR {column} LIKE :b LIMIT 1")
                served = {"a": "mlflow-artifacts:%", "b": "http%/api/2.0/mlflow-artifacts/artifacts/%"}
                found = self._connection.execute(statement, served).scalar()
                if found is not None:
                    return str(found)
        return None

    def unreadable(self) -> list[str]:
        return []

    def left(self) -> list[str]:
        found = []
        for table, words in _LEFT.items():
            if table in self._columns:
                count = self._connection.execute(sa.text(f"SELECT COUNT(*) FROM {table}")).scalar_one()
                if count:
                    found.append(f"{count} {words}")
        return found


class _History:
    """All points of a run, read in portions: a long training has more of them than fit into memory."""

    def __init__(self, connection: sa.Connection, run_id: str, count: int) -> None:
        self._connection = connection
        self._quote = connection.dialect.identifier_preparer.quote
        self._run_id = run_id
        self._count = count

    def __len__(self) -> int:
        return self._count

    def __iter__(self) -> Iterator[Metric]:
        columns = ", ".join(map(self._quote, ("key", "value", "is_nan", "timestamp", "step")))
        statement = sa.text(f"SELECT {columns} FROM metrics WHERE run_uuid = :run_id").execution_options(
            yield_per=_POINTS_AT_ONCE
        )
        count = 0
        with self._connection.execute(statement, {"run_id": self._run_id}) as rows:
            for row in rows:
                yield Metric(row[0], double_from(row[1], row[2]), row[3], row[4])
                count += 1
        self._count = count


def _run_info(row: Row) -> RunInfo:
    return RunInfo(
        run_id=row["run_uuid"],
        run_name=row["name"] or "",
        experiment_id=str(row["experiment_id"]),
        user_id=row["user_id"] or "",
        status=RunStatus(row["status"]),
        start_time=row["start_time"] or 0,
        artifact_uri=row["artifact_uri"] or "",
        end_time=row["end_time"],
        lifecycle_stage=LifecycleStage(row["lifecycle_stage"]),
    )


def _deleted(row: Row, when: int | None) -> int | None:
    return (when or 0) if row["lifecycle_stage"] == LifecycleStage.DELETED else None


def _model_point(row: Row) -> Metric:
    value = row["metric_value"]
    return Metric(
        key=row["metric_name"],
        value=double_from(value or 0.0, value is None),
        timestamp=row["metric_timestamp_ms"],
        step=row["metric_step"],
        dataset_name=row["dataset_name"],
        dataset_digest=row["dataset_digest"],
        run_id=row["run_id"],
    )


def _dataset(row: Row) -> Dataset:
    return Dataset(
        name=row["name"],
        digest=row["digest"],
        source_type=row["dataset_source_type"],
        source=row["dataset_source"],
        schema=row["dataset_schema"],
        profile=row["dataset_profile"],
    )


def _version(row: Row, tags: tuple[Tag, ...]) -> ModelVersion:
    return ModelVersion(
        name=row["name"],
        version=row["version"],
        creation_timestamp=row["creation_time"] or 0,
        last_updated_timestamp=row["last_updated_time"] or 0,
        current_stage="None" if row["current_stage"] == DELETED_STAGE else row["current_stage"],
        source=row["source"] or "",
        run_id=row["run_id"],
        run_link=row["run_link"],
        description=row["description"],
        user_id=row["user_id"],
        storage_location=row.get("storage_location"),
        status=row["status"] or "READY",
        status_message=row["status_message"],
        tags=tags,
    )


__all__ = ["DatabaseSource"]
