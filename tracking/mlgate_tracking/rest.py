"""The store contract over a tracking server's REST API, on the standard library.

MLflow's own routes wherever MLflow has a word for it, `/api/3.0/mlgate/` for the rest. HTTP and TLS are loaded with the
first request.
"""

from __future__ import annotations

import json
import os
from collections.abc import Mapping, Sequence
from typing import Any
from urllib.parse import quote

from mlgate_tracking import wire
from mlgate_tracking.artifacts import ArtifactRepository, repository_for
from mlgate_tracking.contract import Store
from mlgate_tracking.entities import (
    DatasetInput,
    Experiment,
    Fence,
    LoggedModel,
    LoggedModelStatus,
    Metric,
    ModelOutput,
    ModelVersion,
    Page,
    Param,
    RegisteredModel,
    Run,
    RunInfo,
    RunStatus,
    StepRun,
    Tag,
    ViewType,
)
from mlgate_tracking.errors import (
    BadRequest,
    InvalidParameterValue,
    ResourceAlreadyExists,
    ResourceDoesNotExist,
    TrackingError,
)
from mlgate_tracking.rest_promotions import RestPromotions
from mlgate_tracking.rest_users import RestUsers
from mlgate_tracking.transport import (
    Credentials,
    HttpSend,
    Request,
    Response,
    RetryPolicy,
    Send,
    TlsOptions,
    error_from,
    load_retry_policy,
    retrying,
)
from mlgate_tracking.wire import Json

MLFLOW = "/api/2.0/mlflow/"
MLGATE = "/api/3.0/mlgate/"

_RUNS_PER_HISTORY = 100
_FIRST_STEP, _LAST_STEP = -(2**63), 2**63 - 1


class RestStore(RestPromotions, RestUsers, Store):
    """A tracking server's store: MLflow's REST API, and mlgate's own for what MLflow has no word for.

    Requests that may be repeated are, with growing waits, on overload, server errors and lost connections; creating
    calls carry an idempotency key, so that a repeated one makes nothing twice.

    Args:
        uri: `http(s)://[user:password@]host[:port][/base]`.
        send: asks the server once; by default over HTTP. Tests put an in-process app here.
        credentials, tls, timeout (seconds), retry: for HTTP; by default from MLflow's environment variables.
        token: step-scoped credential to send instead of the credentials.
    """

    def __init__(
        self,
        uri: str,
        *,
        send: Send | None = None,
        credentials: Credentials | None = None,
        tls: TlsOptions | None = None,
        timeout: float | None = None,
        retry: RetryPolicy | None = None,
        token: str | None = None,
    ) -> None:
        self._http = None if send else HttpSend(uri, credentials=credentials, tls=tls, timeout=timeout)
        self.uri = self._http.uri if self._http else uri.rstrip("/")
        self._ask = send or self._http
        assert self._ask is not None
        self._patient = retrying(self._ask, load_retry_policy() if retry is None else retry)
        self._retry = retry
        self._token = token
        self._step_tokens: dict[Fence, str] = {}

    def close(self) -> None:
        if self._http:
            self._http.close()

    def __repr__(self) -> str:
        return f"RestStore({self.uri!r})"

    # --- the door -----------------------------------------------------------------------------------------------

    def send(self, request: Request) -> Response:
        """Ask the server, with patience and this store's credentials; any status is an answer."""
        if self._token:
            headers = {**request.headers, "Authorization": f"Bearer {self._token}"}
            request = Request(
                request.method,
                request.path,
                request.query,
                headers,
                request.body,
                request.stream,
                request.repeatable,
                request.timeout,
            )
        return self._patient(request)

    def artifacts(self, uri: str) -> ArtifactRepository:
        """The repository of a run's or model's artifact URI, through the server where it is served by it."""
        return repository_for(uri, client=self)

    def _get(self, path: str, **query: object) -> Json:
        pairs = []
        for key, value in query.items():
            if isinstance(value, (list, tuple)):
                pairs += [(key, str(entry)) for entry in value]
            elif value is not None:
                pairs.append((key, str(value)))
        return self._answer(Request("GET", path, tuple(pairs)))

    def _write(self, method: str, path: str, body: Json, *, key: str | None = None, repeatable: bool = True) -> Json:
        return self._answer(_json_request(method, path, body, key, repeatable))

    def _once(self, method: str, path: str, body: Json, settled: type[TrackingError]) -> Json | None:
        """Write something that cannot be written twice; None when an earlier try turns out to have done it already."""
        request = _json_request(method, path, body, None, True)
        response = self.send(request)
        try:
            return self._body(request, response)
        except settled:
            if not response.repeated:
                raise
            return None

    def _answer(self, request: Request) -> Json:
        return self._body(request, self.send(request))

    def _body(self, request: Request, response: Response) -> Json:
        if response.status != 200:
            raise error_from(response, f"{request.method} {self.uri}{request.path}")
        try:
            body = json.loads(response.read() or b"{}")
        except ValueError:
            body = None
        if not isinstance(body, dict):
            raise InvalidParameterValue(f"{self.uri} did not answer with JSON; is it a tracking server?")
        return body

    # --- experiments --------------------------------------------------------------------------------------------

    def create_experiment(self, name: str, artifact_location: str | None = None, tags: Sequence[Tag] = ()) -> str:
        body = _given(name=name, artifact_location=artifact_location, tags=wire.pairs_to_wire(tags))
        answer = self._once("POST", MLFLOW + "experiments/create", body, ResourceAlreadyExists)
        if answer is not None:
            return str(answer["experiment_id"])
        found = self.get_experiment_by_name(name)
        same_place = found and artifact_location in (None, found.artifact_location)
        if not found or not same_place or set(tags) - set(found.tags):
            raise ResourceAlreadyExists(f"experiment {name!r} already exists")
        return found.experiment_id

    def get_experiment(self, experiment_id: str) -> Experiment:
        answer = self._get(MLFLOW + "experiments/get", experiment_id=experiment_id)
        return wire.experiment_from_wire(answer["experiment"])

    def get_experiment_by_name(self, name: str) -> Experiment | None:
        try:
            answer = self._get(MLFLOW + "experiments/get-by-name", experiment_name=name)
        except ResourceDoesNotExist:
            return None
        return wire.experiment_from_wire(answer["experiment"])

    def search_experiments(
        self,
        *,
        filter_string: str | None = None,
        order_by: Sequence[str] = (),
        view_type: ViewType = ViewType.ACTIVE_ONLY,
        max_results: int = 1000,
        page_token: str | None = None,
    ) -> Page[Experiment]:
        body = _search(filter_string, order_by, max_results, page_token, view_type=view_type.value)
        answer = self._write("POST", MLFLOW + "experiments/search", body)
        return wire.page_from_wire("experiments", answer, wire.experiment_from_wire)

    def rename_experiment(self, experiment_id: str, new_name: str) -> None:
        body = {"experiment_id": experiment_id, "new_name": new_name}
        self._write("POST", MLFLOW + "experiments/update", body)

    def delete_experiment(self, experiment_id: str) -> None:
        body = {"experiment_id": experiment_id}
        self._once("POST", MLFLOW + "experiments/delete", body, ResourceDoesNotExist)

    def restore_experiment(self, experiment_id: str) -> None:
        body = {"experiment_id": experiment_id}
        self._once("POST", MLFLOW + "experiments/restore", body, ResourceDoesNotExist)

    def set_experiment_tag(self, experiment_id: str, tag: Tag) -> None:
        body = {"experiment_id": experiment_id, "key": tag.key, "value": tag.value}
        self._write("POST", MLFLOW + "experiments/set-experiment-tag", body)

    def delete_experiment_tag(self, experiment_id: str, key: str) -> None:
        body = {"experiment_id": experiment_id, "key": key}
        self._once("POST", MLFLOW + "experiments/delete-experiment-tag", body, ResourceDoesNotExist)

    # --- runs ---------------------------------------------------------------------------------------------------

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
        body = _given(
            experiment_id=experiment_id,
            user_id=user_id,
            run_name=run_name,
            start_time=start_time,
            tags=wire.pairs_to_wire(tags),
            run_id=run_id,
            owner_run_id=owner_run_id,
        )
        answer = self._write("POST", MLFLOW + "runs/create", body, key=idempotency_key or _new_key())
        return wire.run_from_wire(answer["run"])

    def get_run(self, run_id: str) -> Run:
        return wire.run_from_wire(self._get(MLFLOW + "runs/get", run_id=run_id)["run"])

    def update_run(
        self,
        run_id: str,
        *,
        status: RunStatus | None = None,
        end_time: int | None = None,
        run_name: str | None = None,
    ) -> RunInfo:
        body = _given(run_id=run_id, status=status and status.value, end_time=end_time, run_name=run_name)
        return wire.run_info_from_wire(self._write("POST", MLFLOW + "runs/update", body)["run_info"])

    def delete_run(self, run_id: str) -> None:
        self._write("POST", MLFLOW + "runs/delete", {"run_id": run_id})

    def restore_run(self, run_id: str) -> None:
        self._write("POST", MLFLOW + "runs/restore", {"run_id": run_id})

    def move_run(self, run_id: str, experiment_id: str) -> Run:
        body = {"run_id": run_id, "experiment_id": experiment_id}
        return wire.run_from_wire(self._write("POST", MLGATE + "step-runs/move", body)["run"])

    def search_runs(
        self,
        experiment_ids: Sequence[str],
        *,
        filter_string: str | None = None,
        order_by: Sequence[str] = (),
        view_type: ViewType = ViewType.ACTIVE_ONLY,
        max_results: int = 1000,
        page_token: str | None = None,
    ) -> Page[Run]:
        if not experiment_ids:
            return Page(())
        body = _search(filter_string, order_by, max_results, page_token, run_view_type=view_type.value)
        body["experiment_ids"] = list(experiment_ids)
        return wire.page_from_wire("runs", self._write("POST", MLFLOW + "runs/search", body), wire.run_from_wire)

    def log_batch(
        self,
        run_id: str,
        *,
        metrics: Sequence[Metric] = (),
        params: Sequence[Param] = (),
        tags: Sequence[Tag] = (),
    ) -> None:
        body = _given(
            run_id=run_id,
            metrics=[wire.metric_to_wire(metric) for metric in metrics],
            params=wire.pairs_to_wire(params),
            tags=wire.pairs_to_wire(tags),
        )
        self._write("POST", MLFLOW + "runs/log-batch", body)

    def delete_tag(self, run_id: str, key: str) -> None:
        self._once("POST", MLFLOW + "runs/delete-tag", {"run_id": run_id, "key": key}, ResourceDoesNotExist)

    def log_inputs(self, run_id: str, *, datasets: Sequence[DatasetInput] = (), model_ids: Sequence[str] = ()) -> None:
        body = _given(
            run_id=run_id,
            datasets=[wire.dataset_input_to_wire(entry) for entry in datasets],
            models=[{"model_id": model_id} for model_id in model_ids],
        )
        self._write("POST", MLFLOW + "runs/log-inputs", body)

    def log_outputs(self, run_id: str, outputs: Sequence[ModelOutput]) -> None:
        body = {"run_id": run_id, "models": [wire.model_output_to_wire(output) for output in outputs]}
        self._write("POST", MLFLOW + "runs/outputs", body)

    def log_model_history(self, run_id: str, model_json: str) -> None:
        # Appends: what may have arrived is not sent again.
        body = {"run_id": run_id, "model_json": model_json}
        self._write("POST", MLFLOW + "runs/log-model", body, repeatable=False)

    def metric_history(
        self, run_id: str, key: str, *, max_results: int | None = None, page_token: str | None = None
    ) -> Page[Metric]:
        answer = self._get(
            MLFLOW + "metrics/get-history",
            run_id=run_id,
            metric_key=key,
            max_results=max_results,
            page_token=page_token,
        )
        return wire.page_from_wire("metrics", answer, wire.metric_from_wire)

    def metric_history_sampled(
        self,
        run_ids: Sequence[str],
        key: str,
        *,
        start_step: int | None = None,
        end_step: int | None = None,
        max_results: int = 2500,
    ) -> list[Metric]:
        steps: dict[str, int] = {}
        if start_step is not None or end_step is not None:  # the protocol knows both bounds or none
            steps["start_step"] = _FIRST_STEP if start_step is None else start_step
            steps["end_step"] = _LAST_STEP if end_step is None else end_step
        points: list[Metric] = []
        for first in range(0, len(run_ids), _RUNS_PER_HISTORY):
            answer = self._get(
                MLFLOW + "metrics/get-history-bulk-interval",
                run_ids=list(run_ids[first : first + _RUNS_PER_HISTORY]),
                metric_key=key,
                max_results=max_results,
                **steps,
            )
            points += wire.metrics_from_wire(answer.get("metrics"))
        return points

    # --- steps: identity, attempts, fences ----------------------------------------------------------------------

    def open_step_run(
        self,
        step_run_key: str,
        *,
        experiment_id: str,
        attempt: int | None = None,
        user_id: str = "",
        run_name: str | None = None,
        start_time: int = 0,
        parent_run_id: str | None = None,
        params: Sequence[Param] = (),
        tags: Sequence[Tag] = (),
    ) -> StepRun:
        body = _given(
            step_run_key=step_run_key,
            experiment_id=experiment_id,
            attempt=attempt,
            user_id=user_id,
            run_name=run_name,
            start_time=start_time,
            parent_run_id=parent_run_id,
            params=wire.pairs_to_wire(params),
            tags=wire.pairs_to_wire(tags),
        )
        # Repeated without a number, it opens one attempt more, and that one's answer is the one that counts.
        return self._remember(self._write("POST", MLGATE + "step-runs/open", body)["step_run"])

    def find_step_run(self, step_run_key: str) -> StepRun | None:
        try:
            answer = self._get(MLGATE + "step-runs/get", step_run_key=step_run_key)
        except ResourceDoesNotExist:
            return None
        return self._remember(answer["step_run"])

    def close_step_run(
        self,
        run_id: str,
        attempt: int,
        *,
        status: RunStatus,
        end_time: int,
        metrics: Sequence[Metric] = (),
        tags: Sequence[Tag] = (),
    ) -> Run:
        body = _given(
            run_id=run_id,
            attempt=attempt,
            status=status.value,
            end_time=end_time,
            metrics=[wire.metric_to_wire(metric) for metric in metrics],
            tags=wire.pairs_to_wire(tags),
        )
        return wire.run_from_wire(self._write("POST", MLGATE + "step-runs/close", body)["run"])

    def fenced(self, fence: Fence) -> Store:
        """The same server, asked with the step token that it minted when this store opened the step's run."""
        token = self._step_tokens.get(fence)
        if token is None:
            answer = self._write("POST", MLGATE + "step-runs/token", wire.fence_to_wire(fence))
            token = self._step_tokens[fence] = str(answer["token"])
        return RestStore(self.uri, send=self._ask, retry=self._retry, token=token)

    def _remember(self, body: Json) -> StepRun:
        opened = wire.step_run_from_wire(body)
        if opened.token:
            self._step_tokens[Fence(opened.run.info.run_id, opened.attempt)] = opened.token
        return opened

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
        body = _given(
            experiment_id=experiment_id,
            name=name,
            model_type=model_type,
            source_run_id=source_run_id,
            params=wire.pairs_to_wire(params),
            tags=wire.pairs_to_wire(tags),
        )
        answer = self._write("POST", MLFLOW + "logged-models", body, key=idempotency_key or _new_key())
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
        body = _given(
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
        body = _given(name=name, description=description, tags=wire.pairs_to_wire(tags))
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
        query = _search(filter_string, order_by, max_results, page_token)
        answer = self._get(MLFLOW + "registered-models/search", **query)
        return wire.page_from_wire("registered_models", answer, wire.registered_model_from_wire)

    def update_registered_model(self, name: str, description: str | None) -> RegisteredModel:
        body = _given(name=name, description=description)
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
        body = _given(name=name, stages=list(stages))
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
        body = _given(
            name=name,
            source=source,
            run_id=run_id,
            run_link=run_link,
            description=description,
            tags=wire.pairs_to_wire(tags),
            model_id=model_id,
        )
        answer = self._write("POST", MLFLOW + "model-versions/create", body, key=idempotency_key or _new_key())
        return wire.model_version_from_wire(answer["model_version"])

    def get_model_version(self, name: str, version: int) -> ModelVersion:
        answer = self._get(MLFLOW + "model-versions/get", name=name, version=version)
        return wire.model_version_from_wire(answer["model_version"])

    def update_model_version(self, name: str, version: int, description: str | None) -> ModelVersion:
        body = _given(name=name, version=str(version), description=description)
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
        query = _search(filter_string, order_by, max_results, page_token)
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


def _json_request(method: str, path: str, body: Json, key: str | None, repeatable: bool) -> Request:
    headers = {"Content-Type": "application/json"}
    if key:
        headers["Idempotency-Key"] = key
    encoded = json.dumps(body, separators=(",", ":"), allow_nan=False).encode()
    return Request(method, path, headers=headers, body=encoded, repeatable=repeatable)


def _given(**fields: Any) -> Json:
    return {key: value for key, value in fields.items() if value is not None and value != []}


def _search(
    filter_string: str | None, order_by: Sequence[str], max_results: int, page_token: str | None, **more: str
) -> Json:
    return _given(filter=filter_string, order_by=list(order_by), max_results=max_results, page_token=page_token, **more)


def _logged_model(model_id: str) -> str:
    return f"{MLFLOW}logged-models/{quote(model_id, safe='')}"


def _new_key() -> str:
    return os.urandom(16).hex()


__all__ = ["MLFLOW", "MLGATE", "RestStore"]
