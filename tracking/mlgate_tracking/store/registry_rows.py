"""Rows of the model registry and the entities they become."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

from mlgate_tracking.entities import ModelAlias, ModelVersion, RegisteredModel, Tag
from mlgate_tracking.errors import ResourceDoesNotExist
from mlgate_tracking.store import registry_rules
from mlgate_tracking.store.rows import among_keys
from mlgate_tracking.store.transaction import Transaction

MODELS = (
    "SELECT registered_model_pk, name, description, user_id, creation_timestamp, last_updated_timestamp, owner_run_id "
    "FROM registered_models"
)
_VERSION_COLUMNS = ", ".join(
    f"v.{column}"
    for column in (
        "model_version_pk",
        "registered_model_pk",
        "version",
        "current_stage",
        "source",
        "storage_location",
        "run_id",
        "run_link",
        "description",
        "user_id",
        "model_id",
        "status",
        "status_message",
        "creation_timestamp",
        "last_updated_timestamp",
        "owner_run_id",
    )
)
VERSIONS = (
    f"SELECT m.name, {_VERSION_COLUMNS} FROM model_versions v "
    "JOIN registered_models m ON m.registered_model_pk = v.registered_model_pk"
)
_ONE_VERSION = f"{VERSIONS} WHERE m.name = :name AND v.version = :version AND v.deleted_time IS NULL"


class ModelRow(NamedTuple):
    """A row of `registered_models` as `MODELS` selects it."""

    registered_model_pk: int
    name: str
    description: str | None
    user_id: str | None
    creation_timestamp: int
    last_updated_timestamp: int
    owner_run_id: str | None


class VersionRow(NamedTuple):
    """A row of `VERSIONS`."""

    name: str
    model_version_pk: int
    registered_model_pk: int
    version: int
    current_stage: str
    source: str
    storage_location: str | None
    run_id: str | None
    run_link: str | None
    description: str | None
    user_id: str | None
    model_id: str | None
    status: str
    status_message: str | None
    creation_timestamp: int
    last_updated_timestamp: int
    owner_run_id: str | None


def find_model(tx: Transaction, name: str, lock: str = "") -> ModelRow:
    row = tx.row(f"{MODELS} WHERE name = :name{lock}", {"name": name})
    if row is None:
        raise ResourceDoesNotExist(f"Registered Model with name={name} not found")
    return ModelRow(*row)


def find_version(tx: Transaction, name: str, version: int) -> VersionRow:
    number = registry_rules.version(version)
    row = tx.row(_ONE_VERSION, {"name": name, "version": number})
    if row is None:
        raise ResourceDoesNotExist(f"Model Version (name={name}, version={number}) not found")
    return VersionRow(*row)


def whole_models(tx: Transaction, rows: Sequence[ModelRow]) -> list[RegisteredModel]:
    """Whole models for rows, in the same order, in three statements whatever their number (up to a chunk)."""
    keys = [row.registered_model_pk for row in rows]
    tags = tags_by_key(tx, "registered_model", keys)
    aliases = aliases_by_key(tx, keys)
    latest: dict[int, list[ModelVersion]] = {}
    versions = latest_versions(tx, keys)
    for row, version in zip(versions, whole_versions(tx, versions, aliases), strict=True):
        latest.setdefault(row.registered_model_pk, []).append(version)
    return [
        RegisteredModel(
            name=row.name,
            creation_timestamp=row.creation_timestamp,
            last_updated_timestamp=row.last_updated_timestamp,
            description=row.description,
            user_id=row.user_id,
            latest_versions=tuple(latest.get(row.registered_model_pk, ())),
            tags=tags.get(row.registered_model_pk, ()),
            aliases=tuple(aliases.get(row.registered_model_pk, ())),
        )
        for row in rows
    ]


def whole_versions(
    tx: Transaction, rows: Sequence[VersionRow], aliases: dict[int, list[ModelAlias]] | None = None
) -> tuple[ModelVersion, ...]:
    """Whole versions for rows, in the same order."""
    tags = tags_by_key(tx, "model_version", [row.model_version_pk for row in rows])
    if aliases is None:
        aliases = aliases_by_key(tx, sorted({row.registered_model_pk for row in rows}))
    return tuple(
        ModelVersion(
            name=row.name,
            version=row.version,
            creation_timestamp=row.creation_timestamp,
            last_updated_timestamp=row.last_updated_timestamp,
            current_stage=row.current_stage,
            source=row.source,
            run_id=row.run_id or None,
            run_link=row.run_link,
            description=row.description,
            user_id=row.user_id,
            model_id=row.model_id,
            storage_location=row.storage_location,
            status=row.status,
            status_message=row.status_message,
            tags=tags.get(row.model_version_pk, ()),
            aliases=tuple(
                each.alias for each in aliases.get(row.registered_model_pk, ()) if each.version == row.version
            ),
        )
        for row in rows
    )


def latest_versions(tx: Transaction, models: Sequence[int]) -> list[VersionRow]:
    """The highest version in each stage of each model, by version."""
    found: list[VersionRow] = []
    for among, params in among_keys(tx, "registered_model_pk", models):
        rows = tx.rows(
            f"{VERSIONS} JOIN (SELECT registered_model_pk, current_stage, max(version) AS version "
            f"FROM model_versions WHERE {among} AND deleted_time IS NULL "
            "GROUP BY registered_model_pk, current_stage) latest "
            "ON latest.registered_model_pk = v.registered_model_pk AND latest.version = v.version "
            "ORDER BY v.registered_model_pk, v.version",
            params,
        )
        found += [VersionRow(*row) for row in rows]
    return found


def tags_by_key(tx: Transaction, owner: str, keys: Sequence[int]) -> dict[int, tuple[Tag, ...]]:
    """Tags by row key; `owner` is `registered_model` or `model_version`."""
    found: dict[int, list[Tag]] = {}
    for among, params in among_keys(tx, f"{owner}_pk", keys):
        for pk, name, value in tx.rows(
            f"SELECT {owner}_pk, name, value FROM {owner}_tags WHERE {among} ORDER BY name", params
        ):
            found.setdefault(pk, []).append(Tag(name, value))
    return {pk: tuple(tags) for pk, tags in found.items()}


def aliases_by_key(tx: Transaction, models: Sequence[int]) -> dict[int, list[ModelAlias]]:
    found: dict[int, list[ModelAlias]] = {}
    for among, params in among_keys(tx, "registered_model_pk", models):
        for pk, alias, version in tx.rows(
            f"SELECT registered_model_pk, alias, version FROM registered_model_aliases WHERE {among} ORDER BY alias",
            params,
        ):
            found.setdefault(pk, []).append(ModelAlias(alias, version))
    return found


__all__ = [
    "MODELS",
    "VERSIONS",
    "ModelRow",
    "VersionRow",
    "find_model",
    "find_version",
    "latest_versions",
    "tags_by_key",
    "whole_models",
    "whole_versions",
]
