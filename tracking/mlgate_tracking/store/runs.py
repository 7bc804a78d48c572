"""Runs: created, read, updated, deleted, restored, moved."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from mlgate_tracking.entities import Param, Run, RunData, RunInfo, RunStatus, Tag
from mlgate_tracking.errors import InvalidParameterValue, ResourceAlreadyExists
from mlgate_tracking.store import validate
from mlgate_tracking.store.experiments import active_experiment
from mlgate_tracking.store.idempotency import claim
from mlgate_tracking.store.part import StorePart
from mlgate_tracking.store.run_data import RUN_NAME_TAG, write_tags
from mlgate_tracking.store.run_names import random_run_name
from mlgate_tracking.store.run_rows import (
    SELECT_RUN,
    RunRow,
    find_run,
    hydrate_runs,
    run_info,
    writable_run,
)
from mlgate_tracking.store.transaction import Transaction
from mlgate_tracking.store.values import new_id, now

_REPEATING_TABLES = ("latest_metrics", "params", "tags")
"""They carry their run's experiment, too."""


def insert_run(tx: Transaction, row: RunRow) -> RunRow:
    """Insert a run in an active experiment; the surrogate key and the artifact URI are filled in."""
    location = active_experiment(tx, row.experiment_id)
    row = row._replace(artifact_uri=f"{location.rstrip('/')}/{row.run_id}/artifacts")
    values: dict[str, Any] = row._asdict()
    del values["run_pk"]
    return row._replace(run_pk=tx.insert_keyed("runs", values, "run_pk"))


def new_run(run_id: str, experiment_id: int, name: str, user_id: str, start_time: int, **fields: Any) -> RunRow:
    """The row of a run that starts, before it is inserted."""
    row = RunRow(
        run_pk=0,
        run_id=run_id,
        experiment_id=experiment_id,
        name=name,
        user_id=user_id,
        status=RunStatus.RUNNING.value,
        start_time=start_time,
        end_time=None,
        deleted_time=None,
        artifact_uri="",
        step_run_key=None,
        attempt=0,
        owner_run_id=None,
    )
    return row._replace(**fields)


def fresh_run(row: RunRow, params: Mapping[str, str], tags: Mapping[str, str]) -> Run:
    """A run that was just inserted with these params and tags, without reading them back."""
    return Run(
        info=run_info(row),
        data=RunData(
            params=tuple(Param(name, params[name]) for name in sorted(params)),
            tags=tuple(Tag(name, tags[name]) for name in sorted(tags)),
        ),
    )


def name_for(run_name: str | None, tags: dict[str, str]) -> str:
    """The run's name: given, or by tag, or made up; giving both differently is an error."""
    tagged = tags.get(RUN_NAME_TAG)
    if run_name and tagged and run_name != tagged:
        raise InvalidParameterValue(
            f"run_name is {run_name!r} and tag {RUN_NAME_TAG!r} is {tagged!r}: give one of them, or the same"
        )
    return validate.run_name(run_name or tagged or random_run_name())


class RunStore(StorePart):
    def create_run(
        self,
        experiment_id: str,
        *,
        user_id: str = "",
        run_name: str | None = None,
        start_time: int = 0,
        tags: Sequence[Tag] = (),
        run_id: str | None = None,
        owner_run_id: str | None = None,
        idempotency_key: str | None = None,
    ) -> Run:
        values = validate.tags(tags)
        name = values[RUN_NAME_TAG] = name_for(run_name, values)
        wanted = new_run(
            validate.run_id(run_id) if run_id else new_id(),
            validate.experiment_id(experiment_id),
            name,
            self.acting(user_id).user,
            start_time,
            owner_run_id=self.owner_run_id or owner_run_id,
        )
        created = now()
        tried: list[bool] = []

        def work(tx: Transaction) -> Run:
            if tried:  # the database may have gone away just after it committed the first try
                made = tx.row(f"{SELECT_RUN} WHERE run_id = :run_id", {"run_id": wanted.run_id})
                if made is not None and not run_id:
                    return hydrate_runs(tx, self.keys, [made])[0]
            tried.append(True)
            if idempotency_key:
                earlier = claim(tx, idempotency_key, wanted.run_id, created)
                if earlier is not None:
                    return hydrate_runs(tx, self.keys, [find_run(tx, earlier)])[0]
            if run_id and tx.row("SELECT 1 FROM runs WHERE run_id = :run_id", {"run_id": wanted.run_id}) is not None:
                raise ResourceAlreadyExists(f"there is a run with id {run_id!r} already")
            row = insert_run(tx, wanted)
            write_tags(tx, self.keys, row, values)
            return fresh_run(row, {}, values)

        return self.write(work)

    def get_run(self, run_id: str) -> Run:
        return self.read(lambda tx: hydrate_runs(tx, self.keys, [find_run(tx, run_id)])[0])

    def update_run(
        self,
        run_id: str,
        *,
        status: RunStatus | None = None,
        end_time: int | None = None,
        run_name: str | None = None,
    ) -> RunInfo:
        tags = validate.tags([Tag(RUN_NAME_TAG, run_name)] if run_name else [])

        def work(tx: Transaction) -> RunInfo:
            row = writable_run(tx, run_id, self.fence, tx.dialect.for_update)
            changed = row._replace(
                status=status.value if status is not None else row.status,
                end_time=end_time if end_time is not None else row.end_time,
            )
            if changed != row:
                tx.change(
                    "UPDATE runs SET status = :status, end_time = :end_time WHERE run_pk = :run_pk",
                    {"status": changed.status, "end_time": changed.end_time, "run_pk": row.run_pk},
                )
            write_tags(tx, self.keys, row, tags)
            return run_info(changed._replace(name=run_name or row.name))

        return self.write(work)

    def delete_run(self, run_id: str) -> None:
        self._set_run_deleted(run_id, now())

    def restore_run(self, run_id: str) -> None:
        self._set_run_deleted(run_id, None)

    def _set_run_deleted(self, run_id: str, deleted_time: int | None) -> None:
        def work(tx: Transaction) -> None:
            row = find_run(tx, run_id, tx.dialect.for_update)
            self.require_owner(row.owner_run_id, f"run {run_id!r}")
            if (row.deleted_time is None) != (deleted_time is None):
                tx.change(
                    "UPDATE runs SET deleted_time = :deleted WHERE run_pk = :run_pk",
                    {"deleted": deleted_time, "run_pk": row.run_pk},
                )

        self.write(work)

    def move_run(self, run_id: str, experiment_id: str) -> Run:
        number = validate.experiment_id(experiment_id)

        def work(tx: Transaction) -> Run:
            row = writable_run(tx, run_id, self.fence, tx.dialect.for_update)
            if row.experiment_id != number:
                active_experiment(tx, number)
                for table in ("runs", *_REPEATING_TABLES):
                    tx.change(
                        f"UPDATE {table} SET experiment_id = :experiment_id WHERE run_pk = :run_pk",
                        {"experiment_id": number, "run_pk": row.run_pk},
                    )
            return hydrate_runs(tx, self.keys, [row._replace(experiment_id=number)])[0]

        return self.write(work)


__all__ = ["RunStore", "fresh_run", "insert_run", "name_for", "new_run"]
