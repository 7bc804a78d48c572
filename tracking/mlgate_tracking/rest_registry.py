"""The model registry and logged models over a tracking server's REST API: a part of `RestStore`."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from urllib.parse import quote

from mlgate_tracking import wire
from mlgate_tracking.contract import Store
from mlgate_tracking.entities import LoggedModel, LoggedModelStatus, ModelVersion, Page, Param, RegisteredModel, Tag
from mlgate_tracking.errors import BadRequest, ResourceAlreadyExists, ResourceDoesNotExist
from mlgate_tracking.rest_calls import MLFLOW, RestCalls, given, new_key, search


class RestRegistry(RestCalls, Store):
    """By MLflow's own routes."""

    # --- logged models ------------------------------------------------------------------------------------------

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
        body = given(
            experiment_id=experiment_id,
            name=name,
            model_type=model_type,
            source_run_id=source_run_id,
            params=wire.pairs_to_wire(params),
            tags=wire.pairs_to_wire(tags),
        )
        answer = self._write("POST", MLFLOW + "logged-models", body, key=idempotency_key or new_key())
        return wire.logged_model_from_wire(answer["model"])

    def get_logged_model(self, model_id: str, *, allow_deleted: bool = False) -> LoggedModel:
        answer = self._get(_logged_model(model_id), allow_deleted="true" if allow_deleted else None)
        return wire.logged_model_from_wire(answer["model"])

    def finalize_logged_model(self, model_id: str, status: LoggedModelStatus) -> LoggedModel:
        body = {"model_id": model_id, "status": status.value}
        return wire.logged_model_from_wire(self._write("PATCH", _logged_model(model_id), body)["model"])

    def delete_logged_model(self, model_id: str) -> None:
        self._write("DELETE", _logged_model(model_id), {"model_id": model_id})

    def set_logged_model_tags(self, model_id: str, tags: Sequence[Tag]) -> None:
        self._write("PATCH", _logged_model(model_id) + "/tags", {"tags": wire.pairs_to_wire(tags)})

    def delete_logged_model_tag(self, model_id: str, key: str) -> None:
        path = f"{_logged_model(model_id)}/tags/{quote(key, safe='')}"
        self._once("DELETE", path, {}, ResourceDoesNotExist)

    def log_logged_model_params(self, model_id: str, params: Sequence[Param]) -> None:
        body = {"model_id": model_id, "params": wire.pairs_to_wire(params)}
        answer = self._once("POST", _logged_model(model_id) + "/params", body, BadRequest)
        if answer is None and set(params) - set(self.get_logged_model(model_id).params):
            raise BadRequest(f"logged model {model_id!r} has one of these params already; they are written once")

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
        body = given(
            experiment_ids=list(experiment_ids),
            filter=filter_string,
            datasets=[dict(entry) for entry in datasets],
            max_results=max_results,
            order_by=[dict(entry) for entry in order_by],
            page_token=page_token,
        )
        answer = self._write("POST", MLFLOW + "logged-models/search", body)
        return wire.page_from_wire("models", answer, wire.logged_model_from_wire)

    # --- model registry -----------------------------------------------------------------------------------------

    def create_registered_model(
        self, name: str, *, description: str | None = None, tags: Sequence[Tag] = ()
    ) -> RegisteredModel:
        body = given(name=name, description=description, tags=wire.pairs_to_wire(tags))
        answer = self._once("POST", MLFLOW + "registered-models/create", body, ResourceAlreadyExists)
        if answer is not None:
            return wire.registered_model_from_wire(answer["registered_model"])
        found = self.get_registered_model(name)
        if (found.description or None) != (description or None) or set(tags) - set(found.tags):
            raise ResourceAlreadyExists(f"registered model {name!r} already exists")
        return found

    def get_registered_model(self, name: str) -> RegisteredModel:
        answer = self._get(MLFLOW + "registered-models/get", name=name)
        return wire.registered_model_from_wire(answer["registered_model"])

    def search_registered_models(
        self,
        *,
        filter_string: str | None = None,
        order_by: Sequence[str] = (),
        max_results: int = 100,
        page_token: str | None = None,
    ) -> Page[RegisteredModel]:
        query = search(filter_string, order_by, max_results, page_token)
        answer = self._get(MLFLOW + "registered-models/search", **query)
        return wire.page_from_wire("registered_models", answer, wire.registered_model_from_wire)

    def update_registered_model(self, name: str, description: str | None) -> RegisteredModel:
        body = given(name=name, description=description)
        answer = self._write("PATCH", MLFLOW + "registered-models/update", body)
        return wire.registered_model_from_wire(answer["registered_model"])

    def rename_registered_model(self, name: str, new_name: str) -> RegisteredModel:
        body = {"name": name, "new_name": new_name}
        answer = self._once("POST", MLFLOW + "registered-models/rename", body, ResourceDoesNotExist)
        if answer is None:
            return self.get_registered_model(new_name)
        return wire.registered_model_from_wire(answer["registered_model"])

    def delete_registered_model(self, name: str) -> None:
        self._once("DELETE", MLFLOW + "registered-models/delete", {"name": name}, ResourceDoesNotExist)

    def get_latest_versions(self, name: str, stages: Sequence[str] = ()) -> tuple[ModelVersion, ...]:
        body = given(name=name, stages=list(stages))
        answer = self._write("POST", MLFLOW + "registered-models/get-latest-versions", body)
        return tuple(wire.model_version_from_wire(version) for version in answer.get("model_versions") or ())

    def set_registered_model_tag(self, name: str, tag: Tag) -> None:
        body = {"name": name, "key": tag.key, "value": tag.value}
        self._write("POST", MLFLOW + "registered-models/set-tag", body)

    def delete_registered_model_tag(self, name: str, key: str) -> None:
        self._write("DELETE", MLFLOW + "registered-models/delete-tag", {"name": name, "key": key})

    def set_registered_model_alias(self, name: str, alias: str, version: int) -> None:
        body = {"name": name, "alias": alias, "version": str(version)}
        self._write("POST", MLFLOW + "registered-models/alias", body)

    def delete_registered_model_alias(self, name: str, alias: str) -> None:
        self._write("DELETE", MLFLOW + "registered-models/alias", {"name": name, "alias": alias})

    def get_model_version_by_alias(self, name: str, alias: str) -> ModelVersion:
        answer = self._get(MLFLOW + "registered-models/alias", name=name, alias=alias)
        return wire.model_version_from_wire(answer["model_version"])

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
        body = given(
            name=name,
            source=source,
            run_id=run_id,
            run_link=run_link,
            description=description,
            tags=wire.pairs_to_wire(tags),
            model_id=model_id,
        )
        answer = self._write("POST", MLFLOW + "model-versions/create", body, key=idempotency_key or new_key())
        return wire.model_version_from_wire(answer["model_version"])

    def get_model_version(self, name: str, version: int) -> ModelVersion:
        answer = self._get(MLFLOW + "model-versions/get", name=name, version=version)
        return wire.model_version_from_wire(answer["model_version"])

    def update_model_version(self, name: str, version: int, description: str | None) -> ModelVersion:
        body = given(name=name, version=str(version), description=description)
        answer = self._write("PATCH", MLFLOW + "model-versions/update", body)
        return wire.model_version_from_wire(answer["model_version"])

    def delete_model_version(self, name: str, version: int) -> None:
        body = {"name": name, "version": str(version)}
        self._once("DELETE", MLFLOW + "model-versions/delete", body, ResourceDoesNotExist)

    def search_model_versions(
        self,
        *,
        filter_string: str | None = None,
        order_by: Sequence[str] = (),
        max_results: int = 200_000,
        page_token: str | None = None,
    ) -> Page[ModelVersion]:
        query = search(filter_string, order_by, max_results, page_token)
        answer = self._get(MLFLOW + "model-versions/search", **query)
        return wire.page_from_wire("model_versions", answer, wire.model_version_from_wire)

    def get_model_version_download_uri(self, name: str, version: int) -> str:
        return str(self._get(MLFLOW + "model-versions/get-download-uri", name=name, version=version)["artifact_uri"])

    def transition_model_version_stage(
        self, name: str, version: int, stage: str, *, archive_existing_versions: bool = False
    ) -> ModelVersion:
        body = {
            "name": name,
            "version": str(version),
            "stage": stage,
            "archive_existing_versions": archive_existing_versions,
        }
        answer = self._write("POST", MLFLOW + "model-versions/transition-stage", body)
        return wire.model_version_from_wire(answer["model_version"])

    def set_model_version_tag(self, name: str, version: int, tag: Tag) -> None:
        body = {"name": name, "version": str(version), "key": tag.key, "value": tag.value}
        self._write("POST", MLFLOW + "model-versions/set-tag", body)

    def delete_model_version_tag(self, name: str, version: int, key: str) -> None:
        body = {"name": name, "version": str(version), "key": key}
        self._write("DELETE", MLFLOW + "model-versions/delete-tag", body)


def _logged_model(model_id: str) -> str:
    return f"{MLFLOW}logged-models/{quote(model_id, safe='')}"


__all__ = ["RestRegistry"]
