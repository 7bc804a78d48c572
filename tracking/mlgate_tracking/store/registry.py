"""The model registry: registered models, their versions, stages, aliases and tags."""

from __future__ import annotations

from collections.abc import Sequence

from mlgate_tracking.entities import ModelVersion, Page, RegisteredModel, Tag
from mlgate_tracking.errors import InvalidParameterValue, ResourceAlreadyExists
from mlgate_tracking.store import guard, registry_rules, validate
from mlgate_tracking.store.idempotency import claim
from mlgate_tracking.store.logged_models import add_model_version_tag
from mlgate_tracking.store.part import StorePart
from mlgate_tracking.store.registry_rows import (
    MODELS,
    VERSIONS,
    ModelRow,
    VersionRow,
    find_model,
    find_version,
    latest_versions,
    whole_models,
    whole_versions,
)
from mlgate_tracking.store.rows import rows_by_key
from mlgate_tracking.store.transaction import Transaction
from mlgate_tracking.store.values import now
from mlgate_tracking.store.version_origin import origin_of


class RegistryStore(StorePart):
    """Deleting and changing through a fenced view is for what its step created."""

    # --- registered models --------------------------------------------------------------------------------------

    def create_registered_model(
        self, name: str, *, description: str | None = None, tags: Sequence[Tag] = ()
    ) -> RegisteredModel:
        values = {
            "name": registry_rules.model_name(name),
            "description": registry_rules.description(description),
            "user_id": self.acting("").user or None,
            "creation_timestamp": now(),
            "last_updated_timestamp": now(),
            "last_version": 0,
            "owner_run_id": self.owner_run_id,
        }
        given = registry_rules.tags(tags)

        def work(tx: Transaction) -> RegisteredModel:
            _require_free(tx, name)
            pk = tx.insert_keyed("registered_models", values, "registered_model_pk")
            _upsert_tags(tx, "registered_model", pk, given)
            return whole_models(tx, [find_model(tx, name)])[0]

        return self.write(work)

    def get_registered_model(self, name: str) -> RegisteredModel:
        registry_rules.model_name(name)
        return self.read(lambda tx: whole_models(tx, [find_model(tx, name)])[0])

    def search_registered_models(
        self,
        *,
        filter_string: str | None = None,
        order_by: Sequence[str] = (),
        max_results: int = 100,
        page_token: str | None = None,
    ) -> Page[RegisteredModel]:
        from mlgate_tracking.store.search.registry import search_registered_models

        def work(tx: Transaction) -> Page[RegisteredModel]:
            found = search_registered_models(
                tx.core,
                filter_string=filter_string,
                order_by=order_by,
                max_results=max_results,
                page_token=page_token,
            )
            rows = rows_by_key(tx, MODELS, "registered_model_pk", found.keys)
            return Page(tuple(whole_models(tx, [ModelRow(*row) for row in rows])), found.token)

        return self.read(work)

    def update_registered_model(self, name: str, description: str | None) -> RegisteredModel:
        values = {"description": registry_rules.description(description), "updated": now()}

        def work(tx: Transaction) -> RegisteredModel:
            model = self._own_model(tx, name)
            tx.change(
                "UPDATE registered_models SET description = :description, last_updated_timestamp = :updated "
                "WHERE registered_model_pk = :pk",
                {**values, "pk": model.registered_model_pk},
            )
            return whole_models(tx, [find_model(tx, name)])[0]

        return self.write(work)

    def rename_registered_model(self, name: str, new_name: str) -> RegisteredModel:
        registry_rules.model_name(new_name)
        updated = now()

        def work(tx: Transaction) -> RegisteredModel:
            model = self._own_model(tx, name)
            if new_name != name:
                _require_free(tx, new_name)
            values = {"name": new_name, "updated": updated, "pk": model.registered_model_pk}
            tx.change(
                "UPDATE registered_models SET name = :name, last_updated_timestamp = :updated "
                "WHERE registered_model_pk = :pk",
                values,
            )
            tx.change(
                "UPDATE model_versions SET last_updated_timestamp = :updated "
                "WHERE registered_model_pk = :pk AND deleted_time IS NULL",
                {"updated": updated, "pk": model.registered_model_pk},
            )
            return whole_models(tx, [find_model(tx, new_name)])[0]

        return self.write(work)

    def delete_registered_model(self, name: str) -> None:
        def work(tx: Transaction) -> None:
            model = self._own_model(tx, name)
            guard.refuse_when_protected(tx, model.registered_model_pk, name, "whether it is there")
            tx.change(
                "DELETE FROM registered_models WHERE registered_model_pk = :pk", {"pk": model.registered_model_pk}
            )

        self.write(work)

    def get_latest_versions(self, name: str, stages: Sequence[str] = ()) -> tuple[ModelVersion, ...]:
        wanted = {registry_rules.any_stage(stage) for stage in stages}

        def work(tx: Transaction) -> tuple[ModelVersion, ...]:
            latest = latest_versions(tx, [find_model(tx, name).registered_model_pk])
            for stage in wanted - {row.current_stage for row in latest}:
                registry_rules.stage(stage)  # nobody is in it: a stage of a ladder, or a mistake?
            return whole_versions(tx, [row for row in latest if not wanted or row.current_stage in wanted])

        return self.read(work)

    def set_registered_model_tag(self, name: str, tag: Tag) -> None:
        given = registry_rules.tags([tag])
        self.write(
            lambda tx: _upsert_tags(tx, "registered_model", self._own_model(tx, name).registered_model_pk, given)
        )

    def delete_registered_model_tag(self, name: str, key: str) -> None:
        self.write(lambda tx: _delete_tag(tx, "registered_model", self._own_model(tx, name).registered_model_pk, key))

    # --- aliases ------------------------------------------------------------------------------------------------

    def set_registered_model_alias(self, name: str, alias: str, version: int) -> None:
        registry_rules.alias(alias)
        at = now()

        def work(tx: Transaction) -> None:
            model = self._own_model(tx, name)
            found = find_version(tx, name, version)
            guard.record_alias(tx, model.registered_model_pk, name, alias, found.version, self.acting(""), at)
            row = {"registered_model_pk": model.registered_model_pk, "alias": alias, "version": found.version}
            tx.upsert("registered_model_aliases", [row], ["registered_model_pk", "alias"])

        self.write(work)

    def delete_registered_model_alias(self, name: str, alias: str) -> None:
        at = now()

        def work(tx: Transaction) -> None:
            model = self._own_model(tx, name)
            guard.record_alias(tx, model.registered_model_pk, name, alias, None, self.acting(""), at)
            tx.change(
                "DELETE FROM registered_model_aliases WHERE registered_model_pk = :pk AND alias = :alias",
                {"pk": model.registered_model_pk, "alias": alias},
            )

        self.write(work)

    def get_model_version_by_alias(self, name: str, alias: str) -> ModelVersion:
        def work(tx: Transaction) -> ModelVersion:
            model = find_model(tx, name)
            row = tx.row(
                "SELECT max(version) FROM model_versions WHERE registered_model_pk = :pk AND deleted_time IS NULL"
                if alias.lower() == "latest"
                else "SELECT version FROM registered_model_aliases WHERE registered_model_pk = :pk AND alias = :alias",
                {"pk": model.registered_model_pk}
                if alias.lower() == "latest"
                else {"pk": model.registered_model_pk, "alias": alias},
            )
            if row is None or row[0] is None:
                raise InvalidParameterValue(f"Registered model alias {alias} not found: model {name!r} has none of it")
            return whole_versions(tx, [find_version(tx, name, row[0])])[0]

        return self.read(work)

    # --- model versions -----------------------------------------------------------------------------------------

    def create_model_version(
        self,
        name: str,
        source: str,
        *,
        run_id: str | None = None,
        run_link: str | None = None,
        description: str | None = None,
        tags: Sequence[Tag] = (),
        model_id: str | None = None,
        idempotency_key: str | None = None,
    ) -> ModelVersion:
        validate.text(source, validate.MAX_LOCATION, "model version source")
        validate.text(run_id or "", validate.MAX_RUN_ID, "run_id")
        validate.text(model_id or "", validate.MAX_MODEL_ID, "model_id")
        given = registry_rules.tags(tags)
        created = now()
        values = {
            "run_link": validate.text(run_link, registry_rules.MAX_RUN_LINK, "run_link") if run_link else None,
            "description": registry_rules.description(description),
        }

        def work(tx: Transaction) -> ModelVersion:
            model = find_model(tx, name, lock=tx.dialect.for_update)
            number = _next_number(tx, model)
            if idempotency_key:
                earlier = claim(tx, idempotency_key, str(number), created)
                if earlier is not None:
                    return whole_versions(tx, [find_version(tx, name, int(earlier))])[0]
            origin = origin_of(tx, source, run_id or None, model_id or None, given)
            tx.change(
                "UPDATE registered_models SET last_version = :number, last_updated_timestamp = :created "
                "WHERE registered_model_pk = :pk",
                {"number": number, "created": created, "pk": model.registered_model_pk},
            )
            row = {
                "registered_model_pk": model.registered_model_pk,
                "version": number,
                "current_stage": "None",
                "source": origin.source,
                "storage_location": origin.storage_location,
                # An absent run is stored as MLflow stores it: '' is unequal to any run id that a filter names.
                "run_id": origin.run_id or "",
                "user_id": self.acting("").user or None,
                "model_id": origin.model_id,
                "status": "READY",
                "status_message": None,
                "owner_run_id": self.owner_run_id,
                "creation_timestamp": created,
                "last_updated_timestamp": created,
                "deleted_time": None,
                **values,
            }
            pk = tx.insert_keyed("model_versions", row, "model_version_pk")
            _upsert_tags(tx, "model_version", pk, given)
            if model_id:
                add_model_version_tag(tx, self.keys, model_id, name, number)
            return whole_versions(tx, [find_version(tx, name, number)])[0]

        return self.write(work)

    def get_model_version(self, name: str, version: int) -> ModelVersion:
        return self.read(lambda tx: whole_versions(tx, [find_version(tx, name, version)])[0])

    def update_model_version(self, name: str, version: int, description: str | None) -> ModelVersion:
        values = {"description": registry_rules.description(description), "updated": now()}

        def work(tx: Transaction) -> ModelVersion:
            found = self._own_version(tx, name, version)
            tx.change(
                "UPDATE model_versions SET description = :description, last_updated_timestamp = :updated "
                "WHERE model_version_pk = :pk",
                {**values, "pk": found.model_version_pk},
            )
            return whole_versions(tx, [find_version(tx, name, version)])[0]

        return self.write(work)

    def delete_model_version(self, name: str, version: int) -> None:
        deleted = now()

        def work(tx: Transaction) -> None:
            found = self._own_version(tx, name, version)
            guard.record_deletion(tx, found.registered_model_pk, name, found.version, self.acting(""), deleted)
            # Its number is never given out again, so the row stays; where it came from does not.
            tx.change(
                "UPDATE model_versions SET deleted_time = :deleted, last_updated_timestamp = :deleted, source = '', "
                "storage_location = NULL, run_id = '', run_link = NULL, model_id = NULL WHERE model_version_pk = :pk",
                {"deleted": deleted, "pk": found.model_version_pk},
            )
            tx.change(
                "DELETE FROM registered_model_aliases WHERE registered_model_pk = :model AND version = :version",
                {"model": found.registered_model_pk, "version": found.version},
            )
            _touch(tx, found.registered_model_pk, deleted)

        self.write(work)

    def search_model_versions(
        self,
        *,
        filter_string: str | None = None,
        order_by: Sequence[str] = (),
        max_results: int = 200_000,
        page_token: str | None = None,
    ) -> Page[ModelVersion]:
        from mlgate_tracking.store.search.registry import search_model_versions

        def work(tx: Transaction) -> Page[ModelVersion]:
            found = search_model_versions(
                tx.core,
                filter_string=filter_string,
                order_by=order_by,
                max_results=max_results,
                page_token=page_token,
            )
            rows = rows_by_key(tx, VERSIONS, "v.model_version_pk", found.keys, position=1)
            return Page(whole_versions(tx, [VersionRow(*row) for row in rows]), found.token)

        return self.read(work)

    def get_model_version_download_uri(self, name: str, version: int) -> str:
        def work(tx: Transaction) -> str:
            found = find_version(tx, name, version)
            return found.storage_location or found.source

        return self.read(work)

    def transition_model_version_stage(
        self, name: str, version: int, stage: str, *, archive_existing_versions: bool = False
    ) -> ModelVersion:
        to_stage = registry_rules.stage(stage)
        if archive_existing_versions:
            registry_rules.archiving(to_stage)
        moved = now()

        def work(tx: Transaction) -> ModelVersion:
            model = self._own_model(tx, name)
            found = find_version(tx, name, version)
            _touch(tx, model.registered_model_pk, moved)  # first of all: one transition of a model at a time
            guard.record_stage(
                tx,
                model.registered_model_pk,
                name,
                found.version,
                to_stage,
                self.acting(""),
                moved,
                archive=archive_existing_versions,
            )
            values = {"stage": to_stage, "moved": moved, "pk": found.model_version_pk}
            if archive_existing_versions:
                tx.change(
                    "UPDATE model_versions SET current_stage = 'Archived', last_updated_timestamp = :moved "
                    "WHERE registered_model_pk = :model AND current_stage = :stage AND model_version_pk <> :pk "
                    "AND deleted_time IS NULL",
                    {**values, "model": model.registered_model_pk},
                )
            tx.change(
                "UPDATE model_versions SET current_stage = :stage, last_updated_timestamp = :moved "
                "WHERE model_version_pk = :pk",
                values,
            )
            return whole_versions(tx, [find_version(tx, name, version)])[0]

        return self.write(work)

    def set_model_version_tag(self, name: str, version: int, tag: Tag) -> None:
        given = registry_rules.tags([tag])
        self.write(
            lambda tx: _upsert_tags(tx, "model_version", self._own_version(tx, name, version).model_version_pk, given)
        )

    def delete_model_version_tag(self, name: str, version: int, key: str) -> None:
        self.write(
            lambda tx: _delete_tag(tx, "model_version", self._own_version(tx, name, version).model_version_pk, key)
        )

    # --- what a fenced view may change --------------------------------------------------------------------------

    def _own_model(self, tx: Transaction, name: str) -> ModelRow:
        """The model to change; for update, so that changes of one model follow one another."""
        model = find_model(tx, name, lock=tx.dialect.for_update)
        self.require_owner(model.owner_run_id, f"registered model {name!r}")
        return model

    def _own_version(self, tx: Transaction, name: str, version: int) -> VersionRow:
        found = find_version(tx, name, version)
        self.require_owner(found.owner_run_id, f"version {version} of model {name!r}")
        return found


# --- writing ----------------------------------------------------------------------------------------------------------


def _require_free(tx: Transaction, name: str) -> None:
    if tx.row("SELECT 1 FROM registered_models WHERE name = :name", {"name": name}) is not None:
        raise ResourceAlreadyExists(f"Registered Model (name={name}) already exists")


def _upsert_tags(tx: Transaction, owner: str, pk: int, tags: dict[str, str]) -> None:
    rows = [{f"{owner}_pk": pk, "name": name, "value": value} for name, value in sorted(tags.items())]
    tx.upsert(f"{owner}_tags", rows, [f"{owner}_pk", "name"])


def _delete_tag(tx: Transaction, owner: str, pk: int, name: str) -> None:
    tx.change(f"DELETE FROM {owner}_tags WHERE {owner}_pk = :pk AND name = :name", {"pk": pk, "name": name})


def _touch(tx: Transaction, registered_model_pk: int, updated: int) -> None:
    tx.change(
        "UPDATE registered_models SET last_updated_timestamp = :updated WHERE registered_model_pk = :pk",
        {"updated": updated, "pk": registered_model_pk},
    )


def _next_number(tx: Transaction, model: ModelRow) -> int:
    """The number of the next version; the caller holds the model's row."""
    row = tx.row(
        "SELECT last_version FROM registered_models WHERE registered_model_pk = :pk", {"pk": model.registered_model_pk}
    )
    assert row is not None
    return int(row[0]) + 1


__all__ = ["RegistryStore"]
