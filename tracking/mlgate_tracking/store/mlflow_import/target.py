"""Our side of an import: rows written with the ids they had, each thing whole or not at all."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from itertools import islice
from typing import Any, NamedTuple

from mlgate_tracking.entities import DatasetInput, Experiment, LifecycleStage, Metric, ModelVersion, Run
from mlgate_tracking.errors import Conflict
from mlgate_tracking.store.dialects import in_list
from mlgate_tracking.store.inputs import write_dataset_input
from mlgate_tracking.store.metrics import dataset_hash, write_metrics
from mlgate_tracking.store.mlflow_import.model_update import Update, update_model
from mlgate_tracking.store.mlflow_import.records import Counts, LoggedModelRecord, RegisteredModelRecord, RunRecord
from mlgate_tracking.store.mlflow_import.version_rows import write_version
from mlgate_tracking.store.part import StorePart
from mlgate_tracking.store.run_data import write_params, write_tags
from mlgate_tracking.store.run_names import random_run_name
from mlgate_tracking.store.run_rows import RunRow
from mlgate_tracking.store.transaction import Transaction
from mlgate_tracking.store.values import double_columns

_POINTS_AT_ONCE = 5000
_IDS_AT_ONCE = 400


class RunHere(NamedTuple):
    run_pk: int
    run_id: str
    artifact_uri: str


class Target:
    def __init__(self, store: StorePart) -> None:
        self._store = store

    # --- what is here already -----------------------------------------------------------------------------------

    def refuse_conflicts(self, experiments: Sequence[Experiment], models: Sequence[RegisteredModelRecord]) -> None:
        """Refuse a source whose experiments or models would get in the way of others that are here."""

        def work(tx: Transaction) -> None:
            ids: dict[int, str] = dict(tx.rows("SELECT experiment_id, name FROM experiments"))
            names = {name: experiment_id for experiment_id, name in ids.items()}
            for experiment in experiments:
                number = int(experiment.experiment_id)
                if ids.get(number, experiment.name) != experiment.name:
                    raise Conflict(
                        f"experiment {number} is {experiment.name!r} there and {ids[number]!r} here: "
                        "import into an empty store"
                    )
                if names.get(experiment.name, number) != number:
                    raise Conflict(
                        f"experiment {experiment.name!r} has id {number} there and {names[experiment.name]} here: "
                        "rename one of them, or import into an empty store"
                    )
            made: dict[str, int] = dict(tx.rows("SELECT name, creation_timestamp FROM registered_models"))
            for record in models:
                name, created = record.model.name, record.model.creation_timestamp
                if made.get(name, created) != created:
                    raise Conflict(f"registered model {name!r} is here already, and another one: rename one of them")

        self._store.read(work)

    def runs_here(self, run_ids: Sequence[str]) -> dict[str, RunHere]:
        def work(tx: Transaction) -> dict[str, RunHere]:
            return {row[1]: RunHere(*row) for row in _run_rows(tx, run_ids)}

        return self._store.read(work)

    def points_here(self, run: RunHere) -> int:
        return self._store.read(lambda tx: _count(tx, "metrics WHERE run_pk = :pk", pk=run.run_pk))

    def logged_model_uri(self, model_id: str) -> str | None:
        """The artifact URI of a logged model that is here."""
        return self._store.read(
            lambda tx: next(iter(_present(tx, "logged_models", "model_id", [model_id], "artifact_uri")), None)
        )

    # --- writing ------------------------------------------------------------------------------------------------

    def write_experiment(self, experiment: Experiment, location: str) -> bool:
        """False when it was here."""
        number = int(experiment.experiment_id)

        def work(tx: Transaction) -> bool:
            present = tx.row("SELECT 1 FROM experiments WHERE experiment_id = :number", {"number": number}) is not None
            if not present:
                deleted = experiment.lifecycle_stage is LifecycleStage.DELETED
                values = {
                    "experiment_id": number,
                    "name": experiment.name,
                    "artifact_location": location,
                    "creation_time": experiment.creation_time,
                    "last_update_time": experiment.last_update_time,
                    "deleted_time": experiment.last_update_time if deleted else None,
                }
                tx.insert("experiments", values)
            rows = [{"experiment_id": number, "name": tag.key, "value": tag.value} for tag in experiment.tags]
            tx.insert_missing("experiment_tags", rows, ["experiment_id", "name"])
            return not present

        return self._store.write(work)

    def write_runs(self, records: Sequence[tuple[RunRecord, str]]) -> None:
        """Write runs that are not here yet, each with the artifact URI it gets."""

        def work(tx: Transaction) -> None:
            present = set(_present(tx, "runs", "run_id", [record.run.info.run_id for record, _ in records]))
            for record, artifact_uri in records:
                if record.run.info.run_id not in present:
                    self._write_run(tx, record, artifact_uri)

        self._store.write(work)

    def _write_run(self, tx: Transaction, record: RunRecord, artifact_uri: str) -> None:
        run, keys = record.run, self._store.keys
        row = _run_row(run, record.deleted_time, artifact_uri)
        values: dict[str, Any] = row._asdict()
        del values["run_pk"]
        row = row._replace(run_pk=tx.insert_keyed("runs", values, "run_pk"))
        write_params(tx, keys, row, {param.key: param.value for param in run.data.params})
        write_tags(tx, keys, row, {tag.key: tag.value for tag in run.data.tags})
        points = iter(record.history)
        while some := list(islice(points, _POINTS_AT_ONCE)):
            write_metrics(tx, keys, [(row, some)])
        for given in _unique(run.inputs.dataset_inputs):
            write_dataset_input(tx, row, given)
        tx.insert_missing(
            "model_inputs",
            [{"run_pk": row.run_pk, "model_id": model_id} for model_id in run.inputs.model_inputs],
            ["run_pk", "model_id"],
        )
        steps = {output.model_id: output.step for output in run.outputs}
        tx.upsert(
            "model_outputs",
            [{"run_pk": row.run_pk, "model_id": model_id, "step": step} for model_id, step in steps.items()],
            ["run_pk", "model_id"],
        )

    def write_logged_model(self, record: LoggedModelRecord, artifact_uri: str) -> bool:
        model = record.model

        def work(tx: Transaction) -> bool:
            if list(_present(tx, "logged_models", "model_id", [model.model_id])):
                return False
            values = {
                "model_id": model.model_id,
                "experiment_id": int(model.experiment_id),
                "name": model.name,
                "artifact_uri": artifact_uri,
                "status": model.status.value,
                "status_message": model.status_message,
                "model_type": model.model_type,
                "source_run_id": model.source_run_id,
                "owner_run_id": None,
                "creation_timestamp": model.creation_timestamp,
                "last_updated_timestamp": model.last_updated_timestamp,
                "deleted_time": record.deleted_time,
            }
            pk = tx.insert_keyed("logged_models", values, "logged_model_pk")
            self._write_model_data(tx, pk, record)
            return True

        return self._store.write(work)

    def _write_model_data(self, tx: Transaction, pk: int, record: LoggedModelRecord) -> None:
        model = record.model
        ids = self._store.keys.intern(
            tx, {item.key for items in (model.params, model.tags, model.metrics) for item in items}
        )
        for table, items in (("logged_model_params", model.params), ("logged_model_tags", model.tags)):
            values = {ids[item.key]: item.value for item in items}
            tx.insert_many(
                table, [{"logged_model_pk": pk, "key_id": key_id, "value": value} for key_id, value in values.items()]
            )
        points = [_model_point(pk, ids[point.key], point) for point in model.metrics]
        conflict = ["logged_model_pk", "key_id", "dataset_hash", "step", "timestamp", "value", "is_nan", "run_id"]
        tx.insert_missing("logged_model_metrics", points, conflict)

    def relocate_run(self, run_id: str, artifact_uri: str) -> None:
        values = {"uri": artifact_uri, "id": run_id}
        self._store.write(lambda tx: tx.change("UPDATE runs SET artifact_uri = :uri WHERE run_id = :id", values))

    def relocate_logged_model(self, model_id: str, artifact_uri: str) -> None:
        values = {"uri": artifact_uri, "id": model_id}
        self._store.write(
            lambda tx: tx.change("UPDATE logged_models SET artifact_uri = :uri WHERE model_id = :id", values)
        )

    def update_registered_model(
        self, record: RegisteredModelRecord, versions: Sequence[ModelVersion], *, dry_run: bool
    ) -> Update | None:
        """Add to a model what the source has got since it was brought over; None when it is not here."""

        def work(tx: Transaction) -> Update | None:
            lock = "" if dry_run else tx.dialect.for_update
            row = tx.row(
                f"SELECT registered_model_pk FROM registered_models WHERE name = :name{lock}",
                {"name": record.model.name},
            )
            return None if row is None else update_model(tx, row[0], record, versions, dry_run=dry_run)

        return self._store.read(work) if dry_run else self._store.write(work)

    def write_registered_model(self, record: RegisteredModelRecord, versions: Sequence[ModelVersion]) -> None:
        """Write a new model with these versions, in one transaction."""
        model = record.model

        def work(tx: Transaction) -> None:
            values = {
                "name": model.name,
                "description": model.description,
                "user_id": model.user_id,
                "creation_timestamp": model.creation_timestamp,
                "last_updated_timestamp": model.last_updated_timestamp,
                "last_version": max((version.version for version in versions), default=0),
                "owner_run_id": None,
            }
            pk = tx.insert_keyed("registered_models", values, "registered_model_pk")
            tx.insert_many(
                "registered_model_tags",
                [{"registered_model_pk": pk, "name": tag.key, "value": tag.value} for tag in model.tags],
            )
            tx.insert_many(
                "registered_model_aliases",
                [
                    {"registered_model_pk": pk, "alias": alias.alias, "version": alias.version}
                    for alias in model.aliases
                ],
            )
            for version in versions:
                write_version(tx, pk, version, deleted=version.version in record.deleted)

        self._store.write(work)

    def finish(self) -> None:
        """Let PostgreSQL's counter of experiments go on behind the ids that were brought over."""

        def work(tx: Transaction) -> None:
            if tx.dialect.name == "postgresql":
                tx.rows(
                    "SELECT setval(pg_get_serial_sequence('experiments', 'experiment_id'), "
                    "GREATEST((SELECT MAX(experiment_id) FROM experiments), 1))"
                )

        self._store.write(work)

    # --- counting -----------------------------------------------------------------------------------------------

    def count_run_data(self, run_ids: Sequence[str], counts: Counts) -> None:
        """Add what is here of these runs' data."""

        def work(tx: Transaction) -> None:
            pks = list(_present(tx, "runs", "run_id", run_ids, "run_pk"))
            if not pks:
                return
            chosen, params = tx.dialect.among("run_pk", pks)
            counts.params += _count(tx, f"params WHERE {chosen}", **params)
            counts.tags += _count(tx, f"tags WHERE {chosen}", **params)
            counts.metric_points += _count(tx, f"metrics WHERE {chosen}", **params)
            counts.dataset_inputs += _count(tx, f"dataset_inputs WHERE {chosen}", **params)

        self._store.read(work)

    def count_model_data(self, record: RegisteredModelRecord, counts: Counts) -> None:
        """Add which of a model's versions and aliases are here."""

        def work(tx: Transaction) -> None:
            chosen = "registered_model_pk = (SELECT registered_model_pk FROM registered_models WHERE name = :name)"
            name = {"name": record.model.name}
            versions = {row[0] for row in tx.rows(f"SELECT version FROM model_versions WHERE {chosen}", name)}
            aliases = {row[0] for row in tx.rows(f"SELECT alias FROM registered_model_aliases WHERE {chosen}", name)}
            counts.model_versions += sum(version.version in versions for version in record.versions)
            counts.aliases += sum(alias.alias in aliases for alias in record.model.aliases)

        self._store.read(work)

    def count_others(
        self, experiments: Sequence[str], logged_models: Sequence[str], models: Sequence[str], counts: Counts
    ) -> None:
        def work(tx: Transaction) -> None:
            counts.experiments += len(list(_present(tx, "experiments", "experiment_id", [int(e) for e in experiments])))
            counts.logged_models += len(list(_present(tx, "logged_models", "model_id", logged_models)))
            counts.registered_models += len(list(_present(tx, "registered_models", "name", models)))

        self._store.read(work)


def _present(
    tx: Transaction, table: str, column: str, values: Sequence[object], wanted: str | None = None
) -> Iterable[Any]:
    """Column `wanted` (or the looked-up one) of the rows whose `column` is among `values`."""
    for start in range(0, len(values), _IDS_AT_ONCE):
        part, params = in_list(values[start : start + _IDS_AT_ONCE])
        for row in tx.rows(f"SELECT {wanted or column} FROM {table} WHERE {column} IN {part}", params):
            yield row[0]


def _run_rows(tx: Transaction, run_ids: Sequence[str]) -> Iterator[Sequence[Any]]:
    for start in range(0, len(run_ids), _IDS_AT_ONCE):
        part, params = in_list(run_ids[start : start + _IDS_AT_ONCE])
        yield from tx.rows(f"SELECT run_pk, run_id, artifact_uri FROM runs WHERE run_id IN {part}", params)


def _count(tx: Transaction, rows: str, **params: object) -> int:
    found = tx.row(f"SELECT COUNT(*) FROM {rows}", params)
    return int(found[0]) if found is not None else 0


def _run_row(run: Run, deleted_time: int | None, artifact_uri: str) -> RunRow:
    info = run.info
    return RunRow(
        run_pk=0,
        run_id=info.run_id,
        experiment_id=int(info.experiment_id),
        name=info.run_name or run.tag("mlflow.runName") or random_run_name(),
        user_id=info.user_id,
        status=info.status.value,
        start_time=info.start_time,
        end_time=info.end_time,
        deleted_time=deleted_time,
        artifact_uri=artifact_uri,
        step_run_key=None,
        attempt=0,
        owner_run_id=None,
    )


def _unique(given: Iterable[DatasetInput]) -> list[DatasetInput]:
    return list({(item.dataset.name, item.dataset.digest): item for item in given}.values())


def _model_point(pk: int, key_id: int, point: Metric) -> dict[str, Any]:
    value, is_nan = double_columns(point.value)
    return {
        "logged_model_pk": pk,
        "key_id": key_id,
        "dataset_hash": dataset_hash(point.dataset_name, point.dataset_digest),
        "step": point.step,
        "timestamp": point.timestamp,
        "value": value,
        "is_nan": is_nan,
        "run_id": point.run_id or "",
        "dataset_name": point.dataset_name,
        "dataset_digest": point.dataset_digest,
    }


__all__ = ["RunHere", "Target"]
