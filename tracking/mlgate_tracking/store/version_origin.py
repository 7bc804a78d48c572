"""Where a model version comes from: its source, checked against the run or logged model that it is registered with."""

from __future__ import annotations

from typing import NamedTuple

from mlgate_tracking.entities import PROMPT_TAG, Tag
from mlgate_tracking.store import model_sources, registry_rules
from mlgate_tracking.store.logged_models import find_logged_model
from mlgate_tracking.store.model_sources import Inside, OfLoggedModel, OfRun, OfVersion
from mlgate_tracking.store.registry_rows import find_model, find_version, latest_versions, tags_by_key
from mlgate_tracking.store.transaction import Transaction


class Origin(NamedTuple):
    """What a version is stored with: its source as given (or resolved) and where its files are."""

    source: str
    storage_location: str
    run_id: str | None
    model_id: str | None


def origin_of(tx: Transaction, source: str, run_id: str | None, model_id: str | None, tags: dict[str, str]) -> Origin:
    """Check a source against the run or logged model that it is registered with, and resolve it.

    Raises:
        InvalidParameterValue: the source is not theirs.
        ResourceDoesNotExist: the logged model or the version that the source names is unknown.
    """
    if tags.get(PROMPT_TAG) == "true" and source in model_sources.PROMPT_SOURCES:
        return Origin(source, source, run_id, model_id)
    place = model_sources.read_source(source)
    if isinstance(place, OfVersion):
        return _origin_of_version(tx, place, run_id, model_id)
    if isinstance(place, OfRun) and place.run_id != run_id:
        raise model_sources.invalid(source, f"it belongs to run {place.run_id!r}, so pass that as run_id")
    if isinstance(place, OfLoggedModel) and place.model_id != model_id:
        raise model_sources.invalid(source, f"it is logged model {place.model_id!r}, so pass that as model_id")
    model = find_logged_model(tx, model_id) if model_id else None
    if model is not None:
        run_id = run_id or model.source_run_id
    if isinstance(place, OfLoggedModel):
        assert model is not None
        return Origin(source, model.artifact_uri, run_id, model_id)
    if isinstance(place, Inside):
        roots = [model.artifact_uri] if model is not None else []
        row = tx.row("SELECT artifact_uri FROM runs WHERE run_id = :run_id", {"run_id": run_id}) if run_id else None
        roots += [row[0]] if row is not None else []
        if not any(model_sources.contains(root, source) for root in roots):
            owner = "the run or logged model that it is registered with" if roots else "a run_id that it belongs to"
            raise model_sources.invalid(source, f"it must lie inside the artifacts of {owner}")
    return Origin(source, source, run_id, model_id)


def _origin_of_version(tx: Transaction, place: OfVersion, run_id: str | None, model_id: str | None) -> Origin:
    model = find_model(tx, place.name)
    number = place.version
    if place.alias is not None:
        row = tx.row(
            "SELECT version FROM registered_model_aliases WHERE registered_model_pk = :pk AND alias = :alias",
            {"pk": model.registered_model_pk, "alias": place.alias},
        )
        number = row[0] if row is not None else None
    elif place.stage is not None:
        latest = latest_versions(tx, [model.registered_model_pk])
        if place.stage.lower() != "latest":
            stage = registry_rules.stage(place.stage)
            latest = [row for row in latest if row.current_stage == stage]
        number = max((row.version for row in latest), default=None)
    if number is None:
        raise model_sources.invalid(place.source, f"model {place.name!r} has no such version")
    version = find_version(tx, place.name, number)
    tags = tags_by_key(tx, "model_version", [version.model_version_pk]).get(version.model_version_pk, ())
    if Tag(PROMPT_TAG, "true") in tags:
        raise model_sources.invalid(place.source, "it is a prompt")
    for what, given, known in (("run_id", run_id, version.run_id or None), ("model_id", model_id, version.model_id)):
        if given and known and given != known:
            raise model_sources.invalid(place.source, f"its {what} is {known!r}, not {given!r}")
    return Origin(
        f"models:/{version.name}/{version.version}",
        version.storage_location or version.source,
        run_id or version.run_id or None,
        model_id or version.model_id,
    )


__all__ = ["Origin", "origin_of"]
