"""Experiments and their tags."""

from __future__ import annotations

from collections.abc import Sequence

from mlgate_tracking.entities import Experiment, LifecycleStage, Tag
from mlgate_tracking.errors import InvalidParameterValue, ResourceAlreadyExists, ResourceDoesNotExist
from mlgate_tracking.store import validate
from mlgate_tracking.store.part import StorePart
from mlgate_tracking.store.transaction import Row, Transaction
from mlgate_tracking.store.values import now

DEFAULT_ID = 0
DEFAULT_NAME = "Default"

COLUMNS = ("experiment_id", "name", "artifact_location", "creation_time", "last_update_time", "deleted_time")
"""What `experiments_from_rows` wants of each row, in this order."""

_SELECT = f"SELECT {', '.join(COLUMNS)} FROM experiments"


def create_default_experiment(tx: Transaction, artifact_root: str) -> None:
    _insert(tx, DEFAULT_NAME, default_location(artifact_root, DEFAULT_ID), now(), experiment_id=DEFAULT_ID)


def default_location(artifact_root: str, experiment_id: int) -> str:
    return f"{artifact_root.rstrip('/')}/{experiment_id}"


def experiments_from_rows(tx: Transaction, rows: Sequence[Row]) -> list[Experiment]:
    """Whole experiments for rows of `COLUMNS`, in the same order."""
    if not rows:
        return []
    tags: dict[int, list[Tag]] = {}
    ids = ", ".join(str(row[0]) for row in rows)
    for experiment_id, name, value in tx.rows(
        f"SELECT experiment_id, name, value FROM experiment_tags WHERE experiment_id IN ({ids}) ORDER BY name"
    ):
        tags.setdefault(experiment_id, []).append(Tag(name, value))
    return [
        Experiment(
            experiment_id=str(experiment_id),
            name=name,
            artifact_location=location,
            lifecycle_stage=LifecycleStage.ACTIVE if deleted is None else LifecycleStage.DELETED,
            creation_time=created,
            last_update_time=updated,
            tags=tuple(tags.get(experiment_id, ())),
        )
        for experiment_id, name, location, created, updated, deleted in rows
    ]


def active_experiment(tx: Transaction, experiment_id: int) -> str:
    """The artifact location of an experiment that takes writes."""
    row = tx.row(
        "SELECT artifact_location, deleted_time FROM experiments WHERE experiment_id = :experiment_id",
        {"experiment_id": experiment_id},
    )
    if row is None:
        raise _unknown(experiment_id)
    if row[1] is not None:
        raise InvalidParameterValue(f"experiment {experiment_id} is deleted: restore it, or use one that is active")
    return str(row[0])


class ExperimentStore(StorePart):
    def create_experiment(self, name: str, artifact_location: str | None = None, tags: Sequence[Tag] = ()) -> str:
        validate.experiment_name(name)
        location = validate.artifact_location(artifact_location) if artifact_location else None
        values = _tags(tags)
        created = now()

        def work(tx: Transaction) -> str:
            taken = tx.row("SELECT deleted_time FROM experiments WHERE name = :name", {"name": name})
            if taken is not None:
                advice = "get it by name" if taken[0] is None else "it is deleted: restore it, or choose another name"
                raise ResourceAlreadyExists(f"experiment {name!r} exists already: {advice}")
            experiment_id = _insert(tx, name, location or "", created)
            if location is None:
                tx.change(
                    "UPDATE experiments SET artifact_location = :location WHERE experiment_id = :experiment_id",
                    {
                        "location": default_location(self.artifact_root, experiment_id),
                        "experiment_id": experiment_id,
                    },
                )
            _upsert_tags(tx, experiment_id, values)
            return str(experiment_id)

        return self.write(work)

    def get_experiment(self, experiment_id: str) -> Experiment:
        number = validate.experiment_id(experiment_id)

        def work(tx: Transaction) -> Experiment:
            row = tx.row(f"{_SELECT} WHERE experiment_id = :experiment_id", {"experiment_id": number})
            if row is None:
                raise _unknown(number)
            return experiments_from_rows(tx, [row])[0]

        return self.read(work)

    def get_experiment_by_name(self, name: str) -> Experiment | None:
        def work(tx: Transaction) -> Experiment | None:
            row = tx.row(f"{_SELECT} WHERE name = :name", {"name": name})
            return experiments_from_rows(tx, [row])[0] if row is not None else None

        return self.read(work)

    def rename_experiment(self, experiment_id: str, new_name: str) -> None:
        number = validate.experiment_id(experiment_id)
        validate.experiment_name(new_name)
        self.require_owner(None, f"experiment {number}")
        updated = now()

        def work(tx: Transaction) -> None:
            active_experiment(tx, number)
            taken = tx.row("SELECT experiment_id FROM experiments WHERE name = :name", {"name": new_name})
            if taken is not None and taken[0] != number:
                raise ResourceAlreadyExists(f"experiment {new_name!r} exists already: choose another name")
            tx.change(
                "UPDATE experiments SET name = :name, last_update_time = :updated WHERE experiment_id = :experiment_id",
                {"name": new_name, "updated": updated, "experiment_id": number},
            )

        self.write(work)

    def delete_experiment(self, experiment_id: str) -> None:
        self._set_experiment_deleted(experiment_id, now())

    def restore_experiment(self, experiment_id: str) -> None:
        self._set_experiment_deleted(experiment_id, None)

    def _set_experiment_deleted(self, experiment_id: str, deleted_time: int | None) -> None:
        number = validate.experiment_id(experiment_id)
        self.require_owner(None, f"experiment {number}")
        values = {"deleted": deleted_time, "updated": now(), "experiment_id": number}
        other = "IS NULL" if deleted_time is not None else "IS NOT NULL"

        def work(tx: Transaction) -> None:
            changed = tx.change(
                "UPDATE experiments SET deleted_time = :deleted, last_update_time = :updated "
                f"WHERE experiment_id = :experiment_id AND deleted_time {other}",
                values,
            )
            if not changed:
                state = "active" if deleted_time is not None else "deleted"
                raise ResourceDoesNotExist(f"there is no {state} experiment with id {number}")
            tx.change(
                "UPDATE runs SET deleted_time = :deleted "
                f"WHERE experiment_id = :experiment_id AND deleted_time {other}",
                {"deleted": deleted_time, "experiment_id": number},
            )

        self.write(work)

    def set_experiment_tag(self, experiment_id: str, tag: Tag) -> None:
        number = validate.experiment_id(experiment_id)
        values = _tags([tag])

        def work(tx: Transaction) -> None:
            active_experiment(tx, number)
            _upsert_tags(tx, number, values)

        self.write(work)

    def delete_experiment_tag(self, experiment_id: str, key: str) -> None:
        number = validate.experiment_id(experiment_id)
        self.require_owner(None, f"experiment {number}")

        def work(tx: Transaction) -> None:
            active_experiment(tx, number)
            removed = tx.change(
                "DELETE FROM experiment_tags WHERE experiment_id = :experiment_id AND name = :name",
                {"experiment_id": number, "name": key},
            )
            if not removed:
                raise ResourceDoesNotExist(f"experiment {number} has no tag {key!r}")

        self.write(work)


def _insert(tx: Transaction, name: str, location: str, created: int, experiment_id: int | None = None) -> int:
    values = {
        "name": name,
        "artifact_location": location,
        "creation_time": created,
        "last_update_time": created,
        "deleted_time": None,
    }
    if experiment_id is None:
        return tx.insert_keyed("experiments", values, "experiment_id")
    tx.insert("experiments", {"experiment_id": experiment_id, **values})
    return experiment_id


def _tags(tags: Sequence[Tag]) -> dict[str, str]:
    limit = validate.MAX_EXPERIMENT_TAG_VALUE
    return {
        validate.key(tag.key, "experiment tag"): validate.text(tag.value, limit, f"experiment tag {tag.key!r}")
        for tag in tags
    }


def _upsert_tags(tx: Transaction, experiment_id: int, values: dict[str, str]) -> None:
    rows = [{"experiment_id": experiment_id, "name": name, "value": value} for name, value in sorted(values.items())]
    tx.upsert("experiment_tags", rows, ["experiment_id", "name"])


def _unknown(experiment_id: int) -> ResourceDoesNotExist:
    return ResourceDoesNotExist(f"there is no experiment with id {experiment_id}")


__all__ = [
    "COLUMNS",
    "ExperimentStore",
    "active_experiment",
    "create_default_experiment",
    "default_location",
    "experiments_from_rows",
]
