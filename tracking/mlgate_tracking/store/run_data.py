"""Params and tags of runs, and the batch that writes them together with metrics."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any

from mlgate_tracking.entities import Metric, Param, Tag
from mlgate_tracking.errors import InvalidParameterValue, ResourceDoesNotExist
from mlgate_tracking.store import validate
from mlgate_tracking.store.keys import KeyTable
from mlgate_tracking.store.metrics import write_metrics
from mlgate_tracking.store.part import StorePart
from mlgate_tracking.store.points import PointWriter
from mlgate_tracking.store.run_rows import RunRow, writable_run
from mlgate_tracking.store.transaction import Transaction
from mlgate_tracking.store.values import text_hash

RUN_NAME_TAG = "mlflow.runName"
MODEL_HISTORY_TAG = "mlflow.log-model.history"
_MODEL_FIELDS = ("artifact_path", "flavors", "utc_time_created", "run_id")


def write_params(
    tx: Transaction, keys: KeyTable, run: RunRow, values: Mapping[str, str], *, ignore_changed: bool = False
) -> None:
    """Add checked params. One that is there with another value stays and is an error, or is ignored."""
    if not values:
        return
    ids = keys.intern(tx, values)
    among, keys_wanted = tx.dialect.among("key_id", list(ids.values()))
    present: dict[int, str] = dict(
        tx.rows(
            f"SELECT key_id, value FROM params WHERE run_pk = :run_pk AND {among}",
            {"run_pk": run.run_pk, **keys_wanted},
        )
    )
    if not ignore_changed:
        _refuse_changes(run, values, ids, present)
    missing = {name: value for name, value in values.items() if ids[name] not in present}
    # A plain insert: should another writer be faster, the whole transaction runs again and compares.
    tx.insert_many("params", _attribute_rows(run, ids, missing))


def _refuse_changes(run: RunRow, values: Mapping[str, str], ids: Mapping[str, int], present: Mapping[int, str]) -> None:
    for name, value in values.items():
        old = present.get(ids[name])
        if old is not None and old != value:
            raise InvalidParameterValue(
                "Changing param values is not allowed. "
                f"Param {name!r} of run {run.run_id!r} is {old[:250]!r}, and cannot become {value[:250]!r}"
            )


def write_tags(tx: Transaction, keys: KeyTable, run: RunRow, values: Mapping[str, str]) -> None:
    """Set checked tags; the tag that names the run renames it."""
    if not values:
        return
    ids = keys.intern(tx, values)
    tx.upsert("tags", _attribute_rows(run, ids, values), ["run_pk", "key_id"])
    name = values.get(RUN_NAME_TAG)
    if name is not None and name != run.name:
        tx.change("UPDATE runs SET name = :name WHERE run_pk = :run_pk", {"name": name, "run_pk": run.run_pk})


def _attribute_rows(run: RunRow, ids: Mapping[str, int], values: Mapping[str, str]) -> list[dict[str, Any]]:
    """In the order of the keys' ids, the same for every writer."""
    return [
        {
            "run_pk": run.run_pk,
            "key_id": ids[name],
            "experiment_id": run.experiment_id,
            "value": values[name],
            "value_hash": text_hash(values[name]),
        }
        for name in sorted(values, key=ids.__getitem__)
    ]


class RunDataStore(StorePart):
    point_writer: PointWriter

    def log_batch(
        self,
        run_id: str,
        *,
        metrics: Sequence[Metric] = (),
        params: Sequence[Param] = (),
        tags: Sequence[Tag] = (),
    ) -> None:
        validate.batch(metrics, params, tags)
        for point in metrics:
            validate.metric(point)
        if not params and not tags and PointWriter.takes(metrics):
            self.point_writer.write(run_id, self.fence, metrics)
            return
        new_params = validate.params(params)
        new_tags = validate.tags(tags)

        def work(tx: Transaction) -> None:
            run = writable_run(tx, run_id, self.fence)
            write_params(tx, self.keys, run, new_params)
            write_metrics(tx, self.keys, [(run, metrics)])
            write_tags(tx, self.keys, run, new_tags)

        self.write(work, streamed=True)

    def delete_tag(self, run_id: str, key: str) -> None:
        def work(tx: Transaction) -> None:
            run = writable_run(tx, run_id, self.fence)
            key_id = self.keys.find(tx, [key]).get(key)
            removed = key_id is not None and tx.change(
                "DELETE FROM tags WHERE run_pk = :run_pk AND key_id = :key_id", {"run_pk": run.run_pk, "key_id": key_id}
            )
            if not removed:
                raise ResourceDoesNotExist(f"run {run_id!r} has no tag {key!r}")

        self.write(work)

    def log_model_history(self, run_id: str, model_json: str) -> None:
        entry = _history_entry(model_json)

        def work(tx: Transaction) -> None:
            run = writable_run(tx, run_id, self.fence, tx.dialect.for_update)
            found = tx.row(
                "SELECT value FROM tags WHERE run_pk = :run_pk "
                "AND key_id = (SELECT key_id FROM attribute_keys WHERE name = :name)",
                {"run_pk": run.run_pk, "name": MODEL_HISTORY_TAG},
            )
            history = [*(json.loads(found[0]) if found is not None else []), entry]
            write_tags(tx, self.keys, run, {MODEL_HISTORY_TAG: json.dumps(history)})

        self.write(work)


def _history_entry(model_json: str) -> dict[str, Any]:
    try:
        model = json.loads(model_json)
    except ValueError as error:
        raise InvalidParameterValue(f"model_json is not JSON: {error}") from error
    missing = [field for field in _MODEL_FIELDS if not isinstance(model, dict) or field not in model]
    if missing:
        raise InvalidParameterValue(f"model_json lacks {', '.join(missing)}")
    flavors = model["flavors"]
    if not isinstance(flavors, dict) or not all(isinstance(flavor, dict) for flavor in flavors.values()):
        raise InvalidParameterValue("model_json: flavors is not an object of objects")
    return {
        **{field: model[field] for field in ("run_id", "artifact_path", "utc_time_created")},
        "model_uuid": model.get("model_uuid"),
        "flavors": {
            name: {field: value for field, value in flavor.items() if field != "config"}
            for name, flavor in flavors.items()
        },
    }


__all__ = ["RUN_NAME_TAG", "RunDataStore", "write_params", "write_tags"]
