"""Writing a version of a registered model as it was."""

from __future__ import annotations

from mlgate_tracking.entities import ModelVersion
from mlgate_tracking.store.transaction import Transaction


def write_version(tx: Transaction, model_pk: int, version: ModelVersion, *, deleted: bool) -> None:
    values = {
        "registered_model_pk": model_pk,
        "version": version.version,
        "current_stage": version.current_stage,
        "source": version.source,
        "storage_location": version.storage_location or version.source,
        "run_id": version.run_id or "",
        "run_link": version.run_link,
        "description": version.description,
        "user_id": version.user_id,
        "model_id": version.model_id,
        "status": version.status,
        "status_message": version.status_message,
        "owner_run_id": None,
        "creation_timestamp": version.creation_timestamp,
        "last_updated_timestamp": version.last_updated_timestamp,
        "deleted_time": version.last_updated_timestamp if deleted else None,
    }
    pk = tx.insert_keyed("model_versions", values, "model_version_pk")
    rows = [{"model_version_pk": pk, "name": tag.key, "value": tag.value} for tag in version.tags]
    tx.insert_many("model_version_tags", rows)


__all__ = ["write_version"]
