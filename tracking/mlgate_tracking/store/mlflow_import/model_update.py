"""A registered model that is here already: what the source has got since is added to it.

What was changed here stays: an alias or stage that was moved here (each move leaves a record), anything of a protected
model, and versions that were registered here.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from mlgate_tracking.entities import ModelVersion, Tag
from mlgate_tracking.store.guard import protection_of
from mlgate_tracking.store.mlflow_import.records import RegisteredModelRecord
from mlgate_tracking.store.mlflow_import.version_rows import write_version
from mlgate_tracking.store.transaction import Transaction


@dataclass(slots=True)
class Update:
    """
    Attributes:
        refused: what is not brought, in words.
    """

    versions: int = 0
    aliases: int = 0
    refused: list[str] = field(default_factory=list)


def update_model(
    tx: Transaction, pk: int, record: RegisteredModelRecord, versions: Sequence[ModelVersion], *, dry_run: bool
) -> Update:
    """
    Args:
        versions: those of the record, with the places that their files have here.
    """
    return _Updating(tx, pk, record, dry_run).run(versions)


class _Updating:
    def __init__(self, tx: Transaction, pk: int, record: RegisteredModelRecord, dry_run: bool) -> None:
        self.tx = tx
        self.pk = pk
        self.record = record
        self.name = record.model.name
        self.dry_run = dry_run
        self.done = Update()
        self.protected = protection_of(tx, pk, self.name).protected
        moved = tx.rows("SELECT alias, stage FROM promotions WHERE registered_model_pk = :pk", {"pk": pk})
        self.moved_aliases = {alias for alias, _ in moved if alias is not None}
        self.stages_moved = self.protected or any(stage is not None for _, stage in moved)

    def run(self, versions: Sequence[ModelVersion]) -> Update:
        here = {
            row[0]: row[1:]
            for row in self.tx.rows(
                "SELECT version, model_version_pk, creation_timestamp, current_stage, storage_location, deleted_time "
                "FROM model_versions WHERE registered_model_pk = :pk",
                {"pk": self.pk},
            )
        }
        strangers = set()
        for original, version in zip(self.record.versions, versions, strict=True):
            number = version.version
            if number not in here:
                self._add(version)
            elif here[number][1] != version.creation_timestamp:
                strangers.add(number)
                self.done.refused.append(f"{self.name} version {number}: another one is here")
            elif here[number][4] is None:
                self._update(here[number], original, version)
        self._aliases(strangers)
        self._tags("registered_model_tags", "registered_model_pk", self.pk, self.record.model.tags)
        self._change(
            "UPDATE registered_models SET last_updated_timestamp = :updated WHERE registered_model_pk = :pk "
            "AND last_updated_timestamp < :updated",
            {"updated": self.record.model.last_updated_timestamp, "pk": self.pk},
        )
        return self.done

    def _add(self, version: ModelVersion) -> None:
        added = version
        if self.stages_moved and version.current_stage != "None":
            added = replace(version, current_stage="None")
            self.done.refused.append(f"{self.name} version {version.version}: stage {version.current_stage}")
        self.done.versions += 1
        if not self.dry_run:
            write_version(self.tx, self.pk, added, deleted=version.version in self.record.deleted)
        self._change(
            "UPDATE registered_models SET last_version = :version WHERE registered_model_pk = :pk "
            "AND last_version < :version",
            {"version": version.version, "pk": self.pk},
        )

    def _update(self, row: Sequence[Any], original: ModelVersion, version: ModelVersion) -> None:
        pk, _, stage, location, _ = row
        what = f"{self.name} version {version.version}"
        if version.version in self.record.deleted:
            if self.protected:
                self.done.refused.append(f"{what}: it is deleted there")
            else:
                values = {
                    "pk": pk,
                    "deleted": version.last_updated_timestamp,
                    "model": self.pk,
                    "number": version.version,
                }
                self._change("UPDATE model_versions SET deleted_time = :deleted WHERE model_version_pk = :pk", values)
                self._change(
                    "DELETE FROM registered_model_aliases WHERE registered_model_pk = :model AND version = :number",
                    values,
                )
            return
        if stage != version.current_stage:
            if self.stages_moved:
                self.done.refused.append(f"{what}: stage {version.current_stage} there, {stage} here")
            else:
                self._change(
                    "UPDATE model_versions SET current_stage = :stage WHERE model_version_pk = :pk",
                    {"stage": version.current_stage, "pk": pk},
                )
        # Its files stayed where they were when it was brought over, and have been copied now.
        if location == (original.storage_location or original.source) != version.storage_location:
            self._change(
                "UPDATE model_versions SET source = :source, storage_location = :location WHERE model_version_pk = :pk",
                {"source": version.source, "location": version.storage_location, "pk": pk},
            )
        self._tags("model_version_tags", "model_version_pk", pk, version.tags)

    def _aliases(self, strangers: set[int]) -> None:
        here: dict[str, int] = dict(
            self.tx.rows(
                "SELECT alias, version FROM registered_model_aliases WHERE registered_model_pk = :pk", {"pk": self.pk}
            )
        )
        for alias in self.record.model.aliases:
            held = here.get(alias.alias)
            if held == alias.version:
                continue
            if self.protected or alias.alias in self.moved_aliases or alias.version in strangers:
                where = f"version {held}" if held is not None else "none"
                self.done.refused.append(
                    f"{self.name}: alias {alias.alias} is version {alias.version} there, {where} here"
                )
                continue
            self.done.aliases += 1
            row = {"registered_model_pk": self.pk, "alias": alias.alias, "version": alias.version}
            if not self.dry_run:
                self.tx.upsert("registered_model_aliases", [row], ["registered_model_pk", "alias"])

    def _tags(self, table: str, column: str, pk: int, tags: Sequence[Tag]) -> None:
        if not self.dry_run:
            rows = [{column: pk, "name": tag.key, "value": tag.value} for tag in tags]
            self.tx.upsert(table, rows, [column, "name"])

    def _change(self, sql: str, params: dict[str, Any]) -> None:
        if not self.dry_run:
            self.tx.change(sql, params)


__all__ = ["Update", "update_model"]
