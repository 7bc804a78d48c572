"""The store contract over a tracking server's REST API, on the standard library.

MLflow's own routes wherever MLflow has a word for it, `/api/3.0/mlgate/` for the rest. HTTP and TLS are loaded with the
first request.
"""

from __future__ import annotations

from collections.abc import Sequence

from mlgate_tracking import wire
from mlgate_tracking.artifacts import ArtifactRepository, repository_for
from mlgate_tracking.contract import Store
from mlgate_tracking.entities import (
    DatasetInput,
    Experiment,
    Fence,
    Metric,
    ModelOutput,
    Page,
    Param,
    Run,
    RunInfo,
    RunStatus,
    StepRun,
    Tag,
    ViewType,
)
from mlgate_tracking.errors import (
    ResourceAlreadyExists,
    ResourceDoesNotExist,
)
from mlgate_tracking.rest_calls import MLFLOW, MLGATE, given, new_key, search
from mlgate_tracking.rest_promotions import RestPromotions
from mlgate_tracking.rest_registry import RestRegistry
from mlgate_tracking.rest_users import RestUsers
from mlgate_tracking.transport import (
    Credentials,
    HttpSend,
    Request,
    Response,
    RetryPolicy,
    Send,
    TlsOptions,
    load_retry_policy,
    retrying,
)
from mlgate_tracking.wire import Json

_RUNS_PER_HISTORY = 100
_FIRST_STEP, _LAST_STEP = -(2**63), 2**63 - 1


class RestStore(RestRegistry, RestPromotions, RestUsers):
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

    # --- experiments --------------------------------------------------------------------------------------------

    def create_experiment(self, name: str, artifact_location: str | None = None, tags: Sequence[Tag] = ()) -> str:
        body = given(name=name, artifact_location=artifact_location, tags=wire.pairs_to_wire(tags))
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
        body = search(filter_string, order_by, max_results, page_token, view_type=view_type.value)
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
        body = given(
            experiment_id=experiment_id,
            user_id=user_id,
            run_name=run_name,
            start_time=start_time,
            tags=wire.pairs_to_wire(tags),
            run_id=run_id,
            owner_run_id=owner_run_id,
        )
        answer = self._write("POST", MLFLOW + "runs/create", body, key=idempotency_key or new_key())
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
        body = given(run_id=run_id, status=status and status.value, end_time=end_time, run_name=run_name)
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
        body = search(filter_string, order_by, max_results, page_token, run_view_type=view_type.value)
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
        body = given(
            run_id=run_id,
            metrics=[wire.metric_to_wire(metric) for metric in metrics],
            params=wire.pairs_to_wire(params),
            tags=wire.pairs_to_wire(tags),
        )
        self._write("POST", MLFLOW + "runs/log-batch", body)

    def delete_tag(self, run_id: str, key: str) -> None:
        self._once("POST", MLFLOW + "runs/delete-tag", {"run_id": run_id, "key": key}, ResourceDoesNotExist)

    def log_inputs(self, run_id: str, *, datasets: Sequence[DatasetInput] = (), model_ids: Sequence[str] = ()) -> None:
        body = given(
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
        body = given(
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
        body = given(
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


__all__ = ["RestStore"]
