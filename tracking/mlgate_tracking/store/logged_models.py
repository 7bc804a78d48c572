"""Logged models: what 3.x clients make of a model before and beside its registration."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from typing import NamedTuple, TypeVar

from mlgate_tracking.entities import LoggedModel, LoggedModelStatus, Metric, Page, Param, Tag
from mlgate_tracking.errors import BadRequest, InvalidParameterValue, ResourceDoesNotExist
from mlgate_tracking.store import validate
from mlgate_tracking.store.experiments import active_experiment
from mlgate_tracking.store.idempotency import claim
from mlgate_tracking.store.keys import KeyTable
from mlgate_tracking.store.part import StorePart
from mlgate_tracking.store.rows import among_keys, rows_by_key
from mlgate_tracking.store.run_names import random_run_name
from mlgate_tracking.store.transaction import Transaction
from mlgate_tracking.store.values import double_from, new_id, now

MAX_NAME = 500
VERSIONS_TAG = "mlflow.modelVersions"
_BAD_NAME = re.compile(r"""[/:.%"'\0]""")
_FINAL = (LoggedModelStatus.READY, LoggedModelStatus.UPLOAD_FAILED, LoggedModelStatus.PENDING)

T = TypeVar("T", Param, Tag)


class LoggedModelRow(NamedTuple):
    """A row of `logged_models` as `_MODELS` selects it."""

    logged_model_pk: int
    model_id: str
    experiment_id: int
    name: str
    artifact_uri: str
    status: str
    status_message: str | None
    model_type: str | None
    source_run_id: str | None
    owner_run_id: str | None
    creation_timestamp: int
    last_updated_timestamp: int
    deleted_time: int | None


_MODELS = f"SELECT {', '.join(LoggedModelRow._fields)} FROM logged_models"


class LoggedModelStore(StorePart):
    def create_logged_model(
        self,
        experiment_id: str,
        *,
        name: str | None = None,
        model_type: str | None = None,
        source_run_id: str | None = None,
        params: Sequence[Param] = (),
        tags: Sequence[Tag] = (),
        idempotency_key: str | None = None,
    ) -> LoggedModel:
        number = validate.experiment_id(experiment_id)
        model_id = f"m-{new_id()}"
        created = now()
        values = {
            "model_id": model_id,
            "experiment_id": number,
            "name": _name(name) if name else random_run_name(),
            "status": LoggedModelStatus.PENDING.value,
            "status_message": None,
            "model_type": validate.text(model_type, MAX_NAME, "model_type") if model_type else None,
            "source_run_id": validate.text(source_run_id or "", validate.MAX_RUN_ID, "source_run_id") or None,
            "owner_run_id": self.owner_run_id,
            "creation_timestamp": created,
            "last_updated_timestamp": created,
            "deleted_time": None,
        }
        given_params, given_tags = validate.params(params), validate.tags(tags)

        def work(tx: Transaction) -> LoggedModel:
            if idempotency_key:
                earlier = claim(tx, idempotency_key, model_id, created)
                if earlier is not None:
                    return self._logged_model(tx, earlier, allow_deleted=True)
            location = active_experiment(tx, number)
            artifact_uri = f"{location.rstrip('/')}/models/{model_id}/artifacts"
            pk = tx.insert_keyed("logged_models", {**values, "artifact_uri": artifact_uri}, "logged_model_pk")
            self._insert(tx, "logged_model_params", pk, given_params)
            self._insert(tx, "logged_model_tags", pk, given_tags)
            return self._logged_model(tx, model_id)

        return self.write(work)

    def get_logged_model(self, model_id: str, *, allow_deleted: bool = False) -> LoggedModel:
        return self.read(lambda tx: self._logged_model(tx, model_id, allow_deleted=allow_deleted))

    def finalize_logged_model(self, model_id: str, status: LoggedModelStatus) -> LoggedModel:
        if status not in _FINAL:
            raise InvalidParameterValue(f"status {status!r}: use one of {', '.join(_FINAL)}")
        updated = now()

        def work(tx: Transaction) -> LoggedModel:
            row = self._own(tx, model_id)
            tx.change(
                "UPDATE logged_models SET status = :status, last_updated_timestamp = :updated "
                "WHERE logged_model_pk = :pk",
                {"status": status.value, "updated": updated, "pk": row.logged_model_pk},
            )
            return self._logged_model(tx, model_id)

        return self.write(work)

    def delete_logged_model(self, model_id: str) -> None:
        deleted = now()

        def work(tx: Transaction) -> None:
            row = self._own(tx, model_id, allow_deleted=True)
            tx.change(
                "UPDATE logged_models SET deleted_time = :deleted, last_updated_timestamp = :deleted "
                "WHERE logged_model_pk = :pk AND deleted_time IS NULL",
                {"deleted": deleted, "pk": row.logged_model_pk},
            )

        self.write(work)

    def set_logged_model_tags(self, model_id: str, tags: Sequence[Tag]) -> None:
        given = validate.tags(tags)

        def work(tx: Transaction) -> None:
            _upsert_tags(tx, self.keys, self._own(tx, model_id).logged_model_pk, given)

        self.write(work)

    def delete_logged_model_tag(self, model_id: str, key: str) -> None:
        def work(tx: Transaction) -> None:
            row = self._own(tx, model_id)
            key_id = self.keys.find(tx, [key]).get(key)
            removed = key_id is not None and tx.change(
                "DELETE FROM logged_model_tags WHERE logged_model_pk = :pk AND key_id = :key_id",
                {"pk": row.logged_model_pk, "key_id": key_id},
            )
            if not removed:
                raise ResourceDoesNotExist(f"logged model {model_id!r} has no tag {key!r}")

        self.write(work)

    def log_logged_model_params(self, model_id: str, params: Sequence[Param]) -> None:
        given = validate.params(params)

        def work(tx: Transaction) -> None:
            row = self._own(tx, model_id)
            known = {
                param.key: param.value
                for param in _attributes(tx, self.keys, "logged_model_params", Param, [row.logged_model_pk]).get(
                    row.logged_model_pk, ()
                )
            }
            for key, value in given.items():
                if known.get(key, value) != value:
                    raise BadRequest(
                        f"param {key!r} of logged model {model_id!r} is {known[key]!r} and cannot become {value!r}"
                    )
            new = {key: value for key, value in given.items() if key not in known}
            self._insert(tx, "logged_model_params", row.logged_model_pk, new)

        self.write(work)

    def search_logged_models(
        self,
        experiment_ids: Sequence[str],
        *,
        filter_string: str | None = None,
        datasets: Sequence[Mapping[str, str]] = (),
        max_results: int = 50,
        order_by: Sequence[Mapping[str, object]] = (),
        page_token: str | None = None,
    ) -> Page[LoggedModel]:
        from mlgate_tracking.store.search.logged_models import search_logged_models

        def work(tx: Transaction) -> Page[LoggedModel]:
            found = search_logged_models(
                tx.core,
                experiment_ids,
                filter_string=filter_string,
                datasets=datasets,
                order_by=order_by,
                max_results=max_results,
                page_token=page_token,
            )
            rows = rows_by_key(tx, _MODELS, "logged_model_pk", found.keys)
            return Page(tuple(_hydrate(tx, self.keys, [LoggedModelRow(*row) for row in rows])), found.token)

        return self.read(work)

    # --- helpers ------------------------------------------------------------------------------------------------

    def _logged_model(self, tx: Transaction, model_id: str, *, allow_deleted: bool = False) -> LoggedModel:
        return _hydrate(tx, self.keys, [find_logged_model(tx, model_id, allow_deleted=allow_deleted)])[0]

    def _own(self, tx: Transaction, model_id: str, *, allow_deleted: bool = False) -> LoggedModelRow:
        """The model to change, held until the transaction ends."""
        row = find_logged_model(tx, model_id, allow_deleted=allow_deleted, lock=tx.dialect.for_update)
        self.require_owner(row.owner_run_id, f"logged model {model_id!r}")
        return row

    def _insert(self, tx: Transaction, table: str, pk: int, values: Mapping[str, str]) -> None:
        ids = self.keys.intern(tx, values)
        tx.insert_many(
            table, [{"logged_model_pk": pk, "key_id": ids[key], "value": value} for key, value in values.items()]
        )


def find_logged_model(tx: Transaction, model_id: str, *, allow_deleted: bool = False, lock: str = "") -> LoggedModelRow:
    """The row of a logged model.

    Raises:
        ResourceDoesNotExist: there is none, or it is deleted and that is not allowed.
    """
    found = tx.row(f"{_MODELS} WHERE model_id = :model_id{lock}", {"model_id": model_id})
    row = LoggedModelRow(*found) if found is not None else None
    if row is None or (row.deleted_time is not None and not allow_deleted):
        raise ResourceDoesNotExist(f"Logged model with ID '{model_id}' not found")
    return row


def add_model_version_tag(tx: Transaction, keys: KeyTable, model_id: str, name: str, version: int) -> None:
    """Note on a logged model, as MLflow's clients do, that it is registered as this version."""
    row = find_logged_model(tx, model_id, lock=tx.dialect.for_update)
    tags = _attributes(tx, keys, "logged_model_tags", Tag, [row.logged_model_pk]).get(row.logged_model_pk, ())
    known = next((tag.value for tag in tags if tag.key == VERSIONS_TAG), "[]")
    try:
        versions = json.loads(known)
    except ValueError:
        versions = []
    if not isinstance(versions, list):
        versions = []
    versions.append({"name": name, "version": version})
    _upsert_tags(tx, keys, row.logged_model_pk, {VERSIONS_TAG: json.dumps(versions)})


def _upsert_tags(tx: Transaction, keys: KeyTable, pk: int, tags: Mapping[str, str]) -> None:
    ids = keys.intern(tx, tags)
    rows = [
        {"logged_model_pk": pk, "key_id": ids[key], "value": tags[key]} for key in sorted(tags, key=ids.__getitem__)
    ]
    tx.upsert("logged_model_tags", rows, ["logged_model_pk", "key_id"])


def _hydrate(tx: Transaction, keys: KeyTable, rows: Sequence[LoggedModelRow]) -> list[LoggedModel]:
    """Whole models for rows, in the same order, in a constant number of statements."""
    pks = [row.logged_model_pk for row in rows]
    params = _attributes(tx, keys, "logged_model_params", Param, pks)
    tags = _attributes(tx, keys, "logged_model_tags", Tag, pks)
    metrics = _metrics(tx, keys, {row.logged_model_pk: row.model_id for row in rows})
    return [
        LoggedModel(
            model_id=row.model_id,
            experiment_id=str(row.experiment_id),
            name=row.name,
            artifact_uri=row.artifact_uri,
            status=LoggedModelStatus(row.status),
            creation_timestamp=row.creation_timestamp,
            last_updated_timestamp=row.last_updated_timestamp,
            model_type=row.model_type,
            source_run_id=row.source_run_id,
            status_message=row.status_message,
            tags=tuple(tags.get(row.logged_model_pk, ())),
            params=tuple(params.get(row.logged_model_pk, ())),
            metrics=tuple(metrics.get(row.logged_model_pk, ())),
        )
        for row in rows
    ]


def _attributes(tx: Transaction, keys: KeyTable, table: str, kind: type[T], pks: Sequence[int]) -> dict[int, list[T]]:
    found: dict[int, list[T]] = {}
    for among, params in among_keys(tx, "logged_model_pk", pks):
        rows = tx.rows(f"SELECT logged_model_pk, key_id, value FROM {table} WHERE {among}", params)
        names = keys.names(tx, {row[1] for row in rows})
        for pk, key_id, value in rows:
            found.setdefault(pk, []).append(kind(names[key_id], value))
    for attributes in found.values():
        attributes.sort(key=lambda attribute: attribute.key)
    return found


def _metrics(tx: Transaction, keys: KeyTable, model_ids: Mapping[int, str]) -> dict[int, list[Metric]]:
    """Every point that was logged for each model, by key, step and time."""
    found: dict[int, list[Metric]] = {}
    for among, params in among_keys(tx, "logged_model_pk", list(model_ids)):
        rows = tx.rows(
            "SELECT logged_model_pk, key_id, value, is_nan, timestamp, step, dataset_name, dataset_digest, run_id "
            f"FROM logged_model_metrics WHERE {among} ORDER BY step, timestamp",
            params,
        )
        names = keys.names(tx, {row[1] for row in rows})
        for pk, key_id, value, is_nan, timestamp, step, dataset, digest, run_id in rows:
            found.setdefault(pk, []).append(
                Metric(
                    names[key_id],
                    double_from(value, is_nan),
                    timestamp,
                    step,
                    model_id=model_ids[pk],
                    dataset_name=dataset,
                    dataset_digest=digest,
                    run_id=run_id,
                )
            )
    for points in found.values():
        points.sort(key=lambda point: point.key)
    return found


def _name(value: str) -> str:
    if _BAD_NAME.search(value):
        raise InvalidParameterValue(f"""logged model name {value!r}: none of / : . % " ' may stand in it""")
    return validate.text(value, MAX_NAME, "logged model name")


__all__ = ["LoggedModelRow", "LoggedModelStore", "add_model_version_tag", "find_logged_model"]
