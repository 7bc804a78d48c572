"""The model registry: registered models, their versions, tags, aliases and stages."""

from __future__ import annotations

from typing import Annotated

import msgspec

from mlgate_tracking import wire
from mlgate_tracking.entities import ModelVersion, RegisteredModel, Tag
from mlgate_tracking.errors import InvalidParameterValue
from mlgate_tracking.server import events
from mlgate_tracking.server.decode import Request, Text, Version
from mlgate_tracking.server.endpoints import PAGED, Call, endpoint
from mlgate_tracking.server.routes.common import TagIn, tags_of
from mlgate_tracking.wire import Json


class CreateRegisteredModel(Request, frozen=True):
    name: Text
    description: str | None = None
    tags: tuple[TagIn, ...] = ()


class ModelName(Request, frozen=True):
    name: Text


class SearchRegisteredModels(Request, frozen=True):
    filter: str = ""
    max_results: Annotated[int, msgspec.Meta(ge=1, le=1000)] = 100
    order_by: tuple[str, ...] = ()
    page_token: str = ""


class UpdateRegisteredModel(ModelName, frozen=True):
    description: str | None = None


class RenameRegisteredModel(ModelName, frozen=True):
    new_name: Text


class GetLatestVersions(ModelName, frozen=True):
    stages: tuple[str, ...] = ()


class SetModelTag(ModelName, frozen=True):
    key: Text
    value: str = ""


class DeleteModelTag(ModelName, frozen=True):
    key: Text


class AliasName(ModelName, frozen=True):
    alias: Text


class SetAlias(AliasName, frozen=True):
    version: Version


class CreateModelVersion(ModelName, frozen=True):
    source: Text
    run_id: str = ""
    run_link: str = ""
    description: str | None = None
    tags: tuple[TagIn, ...] = ()
    model_id: str = ""


class VersionName(ModelName, frozen=True):
    version: Version


class UpdateModelVersion(VersionName, frozen=True):
    description: str | None = None


class SearchModelVersions(Request, frozen=True):
    filter: str = ""
    max_results: Annotated[int, msgspec.Meta(ge=1, le=200_000)] = 200_000
    order_by: tuple[str, ...] = ()
    page_token: str = ""


class TransitionStage(VersionName, frozen=True):
    stage: Text
    archive_existing_versions: bool = False


class SetVersionTag(VersionName, frozen=True):
    key: Text
    value: str = ""


class DeleteVersionTag(VersionName, frozen=True):
    key: Text


def _model(model: RegisteredModel) -> Json:
    return {"registered_model": wire.registered_model_to_wire(model)}


def _version(version: ModelVersion) -> Json:
    return {"model_version": wire.model_version_to_wire(version)}


# --- registered models -----------------------------------------------------------------------------------------------


def create_model(call: Call, request: CreateRegisteredModel) -> Json:
    """Create a registered model."""
    model = call.store.create_registered_model(
        request.name, description=request.description, tags=tags_of(request.tags)
    )
    events.model_created(call, model)
    return _model(model)


def get_model(call: Call, request: ModelName) -> Json:
    """Get a registered model with the latest version of each stage."""
    return _model(call.store.get_registered_model(request.name))


def search_models(call: Call, request: SearchRegisteredModels) -> Json:
    """Search registered models."""
    page = call.store.search_registered_models(
        filter_string=request.filter or None,
        order_by=request.order_by,
        max_results=request.max_results,
        page_token=request.page_token or None,
    )
    return wire.page_to_wire("registered_models", page, wire.registered_model_to_wire)


def update_model(call: Call, request: UpdateRegisteredModel) -> Json:
    """Set or clear the description of a registered model."""
    return _model(call.store.update_registered_model(request.name, request.description))


def rename_model(call: Call, request: RenameRegisteredModel) -> Json:
    """Rename a registered model; versions, tags and aliases follow."""
    return _model(call.store.rename_registered_model(request.name, request.new_name))


def delete_model(call: Call, request: ModelName) -> Json:
    """Delete a registered model and all its versions."""
    call.store.delete_registered_model(request.name)
    return {}


def get_latest_versions(call: Call, request: GetLatestVersions) -> Json:
    """The highest version of each stage."""
    versions = call.store.get_latest_versions(request.name, request.stages)
    return {"model_versions": [wire.model_version_to_wire(version) for version in versions]} if versions else {}


def set_model_tag(call: Call, request: SetModelTag) -> Json:
    """Set a tag of a registered model."""
    call.store.set_registered_model_tag(request.name, Tag(request.key, request.value))
    events.model_tag_set(call, request.name, request.key, request.value)
    return {}


def delete_model_tag(call: Call, request: DeleteModelTag) -> Json:
    """Delete a tag of a registered model."""
    call.store.delete_registered_model_tag(request.name, request.key)
    events.model_tag_deleted(call, request.name, request.key)
    return {}


def set_alias(call: Call, request: SetAlias) -> Json:
    """Let an alias name a version; an alias that exists moves."""
    call.store.set_registered_model_alias(request.name, request.alias, request.version)
    events.alias_set(call, request.name, request.alias, request.version)
    return {}


def delete_alias(call: Call, request: AliasName) -> Json:
    """Delete an alias."""
    call.store.delete_registered_model_alias(request.name, request.alias)
    events.alias_deleted(call, request.name, request.alias)
    return {}


def get_by_alias(call: Call, request: AliasName) -> Json:
    """The version that an alias names."""
    return _version(call.store.get_model_version_by_alias(request.name, request.alias))


# --- model versions --------------------------------------------------------------------------------------------------


def create_version(call: Call, request: CreateModelVersion) -> Json:
    """Create the next version of a registered model."""
    version = call.store.create_model_version(
        request.name,
        request.source,
        run_id=request.run_id or None,
        run_link=request.run_link or None,
        description=request.description or None,
        tags=tags_of(request.tags),
        model_id=request.model_id or None,
        idempotency_key=call.idempotency_key,
    )
    events.version_created(call, version)
    return _version(version)


def get_version(call: Call, request: VersionName) -> Json:
    """Get a model version."""
    return _version(call.store.get_model_version(request.name, request.version))


def update_version(call: Call, request: UpdateModelVersion) -> Json:
    """Set or clear the description of a model version."""
    return _version(call.store.update_model_version(request.name, request.version, request.description))


def delete_version(call: Call, request: VersionName) -> Json:
    """Delete a model version."""
    call.store.delete_model_version(request.name, request.version)
    return {}


def search_versions(call: Call, request: SearchModelVersions) -> Json:
    """Search model versions."""
    page = call.store.search_model_versions(
        filter_string=request.filter or None,
        order_by=request.order_by,
        max_results=request.max_results,
        page_token=request.page_token or None,
    )
    return wire.page_to_wire("model_versions", page, wire.model_version_to_wire)


def get_download_uri(call: Call, request: VersionName) -> Json:
    """Where the files of a model version are."""
    return {"artifact_uri": call.store.get_model_version_download_uri(request.name, request.version)}


def transition_stage(call: Call, request: TransitionStage) -> Json:
    """Move a model version to another stage."""
    if request.archive_existing_versions and request.stage.lower() not in ("staging", "production"):
        raise InvalidParameterValue(
            f"archive_existing_versions goes with stage Staging or Production only, not {request.stage!r}"
        )
    version = call.store.transition_model_version_stage(
        request.name,
        request.version,
        request.stage,
        archive_existing_versions=request.archive_existing_versions,
    )
    return _version(version)


def set_version_tag(call: Call, request: SetVersionTag) -> Json:
    """Set a tag of a model version."""
    call.store.set_model_version_tag(request.name, request.version, Tag(request.key, request.value))
    events.version_tag_set(call, request.name, request.version, request.key, request.value)
    return {}


def delete_version_tag(call: Call, request: DeleteVersionTag) -> Json:
    """Delete a tag of a model version."""
    call.store.delete_model_version_tag(request.name, request.version, request.key)
    events.version_tag_deleted(call, request.name, request.version, request.key)
    return {}


_MODELS = "2.0/mlflow/registered-models/"
_VERSIONS = "2.0/mlflow/model-versions/"
_A_MODEL = {"registered_model": "RegisteredModel"}
_A_VERSION = {"model_version": "ModelVersion"}
_SOME_VERSIONS = {"model_versions": "ModelVersion[]"}

ENDPOINTS = (
    endpoint("POST", _MODELS + "create", CreateRegisteredModel, create_model, **_A_MODEL),
    endpoint("GET", _MODELS + "get", ModelName, get_model, **_A_MODEL),
    endpoint(
        "GET", _MODELS + "search", SearchRegisteredModels, search_models,
        registered_models="RegisteredModel[]", **PAGED,
    ),
    endpoint("PATCH", _MODELS + "update", UpdateRegisteredModel, update_model, **_A_MODEL),
    endpoint("POST", _MODELS + "rename", RenameRegisteredModel, rename_model, **_A_MODEL),
    endpoint("DELETE", _MODELS + "delete", ModelName, delete_model),
    endpoint("POST", _MODELS + "get-latest-versions", GetLatestVersions, get_latest_versions, **_SOME_VERSIONS),
    endpoint("GET", _MODELS + "get-latest-versions", GetLatestVersions, get_latest_versions, **_SOME_VERSIONS),
    endpoint("POST", _MODELS + "set-tag", SetModelTag, set_model_tag),
    endpoint("DELETE", _MODELS + "delete-tag", DeleteModelTag, delete_model_tag),
    endpoint("POST", _MODELS + "alias", SetAlias, set_alias),
    endpoint("DELETE", _MODELS + "alias", AliasName, delete_alias),
    endpoint("GET", _MODELS + "alias", AliasName, get_by_alias, **_A_VERSION),
    endpoint("POST", _VERSIONS + "create", CreateModelVersion, create_version, **_A_VERSION),
    endpoint("GET", _VERSIONS + "get", VersionName, get_version, **_A_VERSION),
    endpoint("PATCH", _VERSIONS + "update", UpdateModelVersion, update_version, **_A_VERSION),
    endpoint("DELETE", _VERSIONS + "delete", VersionName, delete_version),
    endpoint("GET", _VERSIONS + "search", SearchModelVersions, search_versions, **_SOME_VERSIONS, **PAGED),
    endpoint("GET", _VERSIONS + "get-download-uri", VersionName, get_download_uri, artifact_uri="string"),
    endpoint("POST", _VERSIONS + "transition-stage", TransitionStage, transition_stage, **_A_VERSION),
    endpoint("POST", _VERSIONS + "set-tag", SetVersionTag, set_version_tag),
    endpoint("DELETE", _VERSIONS + "delete-tag", DeleteVersionTag, delete_version_tag),
)  # fmt: skip

__all__ = ["ENDPOINTS"]
