"""A typed client of a tracking server, with the names that an MLflow user knows. Every call is one request, at once.

For scripts that need more than the fluent functions: `client = tracking.TrackingClient()`. Methods raise `Refused`
when the server says no and `Unreachable` when it does not answer.
"""

from __future__ import annotations

import os
import threading
import time
import weakref

from mlgate_tracking.kit import records
from mlgate_tracking.kit.files import Files
from mlgate_tracking.kit.records import Page
from mlgate_tracking.kit.transport import Connection, Refused, tracking_uri

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence
    from typing import Any

API = "/api/2.0/mlflow/"


def now() -> int:
    """Milliseconds since the epoch."""
    return int(time.time() * 1000)


def _items(tags: Mapping[str, Any] | None) -> list[dict[str, str]]:
    return [{"key": str(key), "value": str(value)} for key, value in (tags or {}).items()]


class TrackingClient:
    """Experiments, runs, artifacts and registered models of one server. Safe to use from several threads.

    Args:
        uri: `http(s)://host:port`; default MLFLOW_TRACKING_URI. Credentials come from MLFLOW_TRACKING_TOKEN, or from
            MLFLOW_TRACKING_USERNAME and MLFLOW_TRACKING_PASSWORD.
        timeout: seconds to wait for an answer.
        token: bearer token to use instead.
    """

    def __init__(self, uri: str | None = None, timeout: float = 60.0, token: str | None = None) -> None:
        self._token = token
        self.uri = (uri or tracking_uri()).rstrip("/")
        self._timeout = timeout
        self._local = threading.local()
        self._connections: list[Any] = []
        self._roots: dict[str, str] = {}

    @property
    def connection(self) -> Connection:
        """This thread's connection."""
        found: Connection | None = getattr(self._local, "connection", None)
        if found is None or self._local.pid != os.getpid():
            found = self._local.connection = Connection(self.uri, self._timeout, self._token)
            self._local.pid = os.getpid()
            self._connections = [each for each in self._connections if each() is not None] + [weakref.ref(found)]
        return found

    def close(self) -> None:
        """Close the connections of all threads; the next call opens new ones."""
        for reference in self._connections:
            connection = reference()
            if connection is not None:
                connection.close()
        self._connections = []
        self._local = threading.local()

    def _get(self, path: str, **query: Any) -> dict[str, Any]:
        pairs = []
        for key, value in query.items():
            if value is not None:
                pairs += [(key, item) for item in value] if isinstance(value, (list, tuple)) else [(key, value)]
        return self.connection.call("GET", API + path, query=pairs)

    def _call(self, method: str, path: str, **body: Any) -> dict[str, Any]:
        given = {key: value for key, value in body.items() if value is not None}
        return self.connection.call(method, API + path, given)

    def _post(self, path: str, **body: Any) -> dict[str, Any]:
        return self._call("POST", path, **body)

    # --- experiments --------------------------------------------------------------------------------------------

    def create_experiment(
        self, name: str, artifact_location: str | None = None, tags: Mapping[str, Any] | None = None
    ) -> str:
        answer = self._post(
            "experiments/create", name=name, artifact_location=artifact_location, tags=_items(tags) or None
        )
        return str(answer["experiment_id"])

    def get_experiment(self, experiment_id: str) -> records.Experiment:
        return records.experiment(self._get("experiments/get", experiment_id=experiment_id)["experiment"])

    def get_experiment_by_name(self, name: str) -> records.Experiment | None:
        try:
            return records.experiment(self._get("experiments/get-by-name", experiment_name=name)["experiment"])
        except Refused as error:
            if error.error_code == "RESOURCE_DOES_NOT_EXIST":
                return None
            raise

    def ensure_experiment(self, name: str) -> records.Experiment:
        """Get or create by name, also when several processes do so at once."""
        found = self.get_experiment_by_name(name)
        if found is not None:
            return found
        try:
            return self.get_experiment(self.create_experiment(name))
        except Refused as error:
            raced = self.get_experiment_by_name(name) if error.error_code == "RESOURCE_ALREADY_EXISTS" else None
            if raced is None:
                raise
            return raced

    def search_experiments(
        self,
        view_type: str = "ACTIVE_ONLY",
        max_results: int = 1000,
        filter_string: str | None = None,
        order_by: Sequence[str] | None = None,
        page_token: str | None = None,
    ) -> Page:
        answer = self._post(
            "experiments/search", view_type=view_type, max_results=max_results, filter=filter_string,
            order_by=list(order_by) if order_by else None, page_token=page_token,
        )  # fmt: skip
        return _page(answer, "experiments", records.experiment)

    def set_experiment_tag(self, experiment_id: str, key: str, value: Any) -> None:
        self._post("experiments/set-experiment-tag", experiment_id=experiment_id, key=key, value=str(value))

    def delete_experiment(self, experiment_id: str) -> None:
        self._post("experiments/delete", experiment_id=experiment_id)

    def restore_experiment(self, experiment_id: str) -> None:
        self._post("experiments/restore", experiment_id=experiment_id)

    def rename_experiment(self, experiment_id: str, new_name: str) -> None:
        self._post("experiments/update", experiment_id=experiment_id, new_name=new_name)

    # --- runs ---------------------------------------------------------------------------------------------------

    def create_run(
        self,
        experiment_id: str,
        start_time: int | None = None,
        tags: Mapping[str, Any] | None = None,
        run_name: str | None = None,
        idempotency_key: str | None = None,
    ) -> records.Run:
        """Begin a run; asking again with the same key gives the same run (on mlgate's server)."""
        body = {"experiment_id": experiment_id, "start_time": start_time or now(), "user_id": user()}
        named = {"run_name": run_name, "tags": _items(tags)}
        body.update({name: value for name, value in named.items() if value})
        answer = self.connection.call("POST", API + "runs/create", body, key=idempotency_key)
        return self._keep(records.run(answer["run"]))

    def get_run(self, run_id: str) -> records.Run:
        return self._keep(records.run(self._get("runs/get", run_id=run_id)["run"]))

    def _keep(self, run: records.Run) -> records.Run:
        if run.info.artifact_uri:
            self._roots[run.info.run_id] = run.info.artifact_uri
        return run

    def update_run(self, run_id: str, status: str | None = None, name: str | None = None) -> None:
        self._post("runs/update", run_id=run_id, status=status, run_name=name)

    def set_terminated(self, run_id: str, status: str | None = None, end_time: int | None = None) -> None:
        self._post("runs/update", run_id=run_id, status=status or "FINISHED", end_time=end_time or now())

    def delete_run(self, run_id: str) -> None:
        self._post("runs/delete", run_id=run_id)

    def restore_run(self, run_id: str) -> None:
        self._post("runs/restore", run_id=run_id)

    def search_runs(
        self,
        experiment_ids: Sequence[str],
        filter_string: str = "",
        run_view_type: str = "ACTIVE_ONLY",
        max_results: int = 1000,
        order_by: Sequence[str] | None = None,
        page_token: str | None = None,
    ) -> Page:
        answer = self._post(
            "runs/search", experiment_ids=[str(each) for each in experiment_ids], filter=filter_string or None,
            run_view_type=run_view_type, max_results=max_results, order_by=list(order_by) if order_by else None,
            page_token=page_token,
        )  # fmt: skip
        return _page(answer, "runs", records.run)

    def log_metric(
        self, run_id: str, key: str, value: float, timestamp: int | None = None, step: int | None = None
    ) -> None:
        self.log_batch(run_id, metrics=[records.Metric(key, float(value), timestamp or now(), step or 0)])

    def log_param(self, run_id: str, key: str, value: Any) -> Any:
        self._post("runs/log-parameter", run_id=run_id, key=key, value=str(value))
        return value

    def set_tag(self, run_id: str, key: str, value: Any) -> None:
        self._post("runs/set-tag", run_id=run_id, key=key, value=str(value))

    def delete_tag(self, run_id: str, key: str) -> None:
        self._post("runs/delete-tag", run_id=run_id, key=key)

    def log_batch(
        self,
        run_id: str,
        metrics: Iterable[records.Metric] = (),
        params: Mapping[str, Any] | None = None,
        tags: Mapping[str, Any] | None = None,
    ) -> None:
        """Metrics, params and tags of one run in one call; the server's limits (1000 in all) apply."""
        wire = [
            {"key": each.key, "value": _double(each.value), "timestamp": each.timestamp, "step": each.step}
            for each in metrics
        ]
        self._post(
            "runs/log-batch", run_id=run_id, metrics=wire or None, params=_items(params) or None,
            tags=_items(tags) or None,
        )  # fmt: skip

    def send_batch(self, run_id: str, body: bytes) -> None:
        """A log-batch call whose JSON is ready."""
        path = API + "runs/log-batch"
        connection = self.connection
        answer = connection.send("POST", path, body, {"Content-Type": "application/json"})
        connection.read(answer, "POST", path)

    def get_metric_history(self, run_id: str, key: str) -> list[records.Metric]:
        found: list[records.Metric] = []
        token: str | None = None
        while True:
            answer = self._get(
                "metrics/get-history", run_id=run_id, metric_key=key, max_results=25000, page_token=token
            )
            found += [records.metric(raw) for raw in answer.get("metrics", ())]
            token = answer.get("next_page_token")
            if not token:
                return found

    def log_inputs(self, run_id: str, datasets: Sequence[dict[str, Any]]) -> None:
        """Datasets as the wire has them: `{"dataset": {"name": ..., "digest": ..., ...}, "tags": [...]}`."""
        self._post("runs/log-inputs", run_id=run_id, datasets=list(datasets))

    def log_model_history(self, run_id: str, model_json: str) -> None:
        self._post("runs/log-model", run_id=run_id, model_json=model_json)

    # --- artifacts ----------------------------------------------------------------------------------------------

    def files(self, run_id: str) -> Files:
        """The files of a run."""
        root = self._roots.get(run_id)
        if root is None:
            root = self.get_run(run_id).info.artifact_uri
        return Files(self.connection, root)

    def files_at(self, uri: str) -> Files:
        """The files below any artifact URI."""
        return Files(self.connection, uri)

    def log_artifact(self, run_id: str, local_path: str, artifact_path: str | None = None) -> None:
        """Upload a file, or a directory as a whole, into `artifact_path`."""
        files = self.files(run_id)
        for path, file in local_files(local_path, artifact_path, keep_name=True):
            files.upload(path, file)

    def log_artifacts(self, run_id: str, local_dir: str, artifact_path: str | None = None) -> None:
        """Upload what is in a directory."""
        files = self.files(run_id)
        for path, file in local_files(local_dir, artifact_path, keep_name=False):
            files.upload(path, file)

    def list_artifacts(self, run_id: str, path: str | None = None) -> list[records.FileInfo]:
        return self.files(run_id).entries(path or "")

    def download_artifacts(self, run_id: str, path: str, dst_path: str | None = None) -> str:
        import tempfile

        return self.files(run_id).download(path, dst_path or tempfile.mkdtemp(prefix="mlgate-"))

    # --- model registry -----------------------------------------------------------------------------------------

    def create_registered_model(
        self, name: str, tags: Mapping[str, Any] | None = None, description: str | None = None
    ) -> records.RegisteredModel:
        answer = self._post("registered-models/create", name=name, tags=_items(tags) or None, description=description)
        return records.registered_model(answer["registered_model"])

    def get_registered_model(self, name: str) -> records.RegisteredModel:
        return records.registered_model(self._get("registered-models/get", name=name)["registered_model"])

    def search_registered_models(
        self,
        filter_string: str | None = None,
        max_results: int = 100,
        order_by: Sequence[str] | None = None,
        page_token: str | None = None,
    ) -> Page:
        answer = self._get(
            "registered-models/search", filter=filter_string, max_results=max_results, order_by=order_by,
            page_token=page_token,
        )  # fmt: skip
        return _page(answer, "registered_models", records.registered_model)

    def delete_registered_model(self, name: str) -> None:
        self._call("DELETE", "registered-models/delete", name=name)

    def create_model_version(
        self,
        name: str,
        source: str,
        run_id: str | None = None,
        tags: Mapping[str, Any] | None = None,
        description: str | None = None,
    ) -> records.ModelVersion:
        answer = self._post(
            "model-versions/create", name=name, source=source, run_id=run_id, tags=_items(tags) or None,
            description=description,
        )  # fmt: skip
        return records.model_version(answer["model_version"])

    def get_model_version(self, name: str, version: str | int) -> records.ModelVersion:
        answer = self._get("model-versions/get", name=name, version=str(version))
        return records.model_version(answer["model_version"])

    def get_model_version_by_alias(self, name: str, alias: str) -> records.ModelVersion:
        answer = self._get("registered-models/alias", name=name, alias=alias)
        return records.model_version(answer["model_version"])

    def get_latest_versions(self, name: str, stages: Sequence[str] | None = None) -> list[records.ModelVersion]:
        answer = self._post("registered-models/get-latest-versions", name=name, stages=list(stages) if stages else None)
        return [records.model_version(raw) for raw in answer.get("model_versions", ())]

    def get_model_version_download_uri(self, name: str, version: str | int) -> str:
        answer = self._get("model-versions/get-download-uri", name=name, version=str(version))
        return str(answer["artifact_uri"])

    def search_model_versions(
        self,
        filter_string: str | None = None,
        max_results: int = 10000,
        order_by: Sequence[str] | None = None,
        page_token: str | None = None,
    ) -> Page:
        answer = self._get(
            "model-versions/search", filter=filter_string, max_results=max_results, order_by=order_by,
            page_token=page_token,
        )  # fmt: skip
        return _page(answer, "model_versions", records.model_version)

    def transition_model_version_stage(
        self, name: str, version: str | int, stage: str, archive_existing_versions: bool = False
    ) -> records.ModelVersion:
        answer = self._post(
            "model-versions/transition-stage", name=name, version=str(version), stage=stage,
            archive_existing_versions=archive_existing_versions,
        )  # fmt: skip
        return records.model_version(answer["model_version"])

    def set_model_version_tag(self, name: str, version: str | int, key: str, value: Any) -> None:
        self._post("model-versions/set-tag", name=name, version=str(version), key=key, value=str(value))

    def set_registered_model_tag(self, name: str, key: str, value: Any) -> None:
        self._post("registered-models/set-tag", name=name, key=key, value=str(value))

    def set_registered_model_alias(self, name: str, alias: str, version: str | int) -> None:
        self._post("registered-models/alias", name=name, alias=alias, version=str(version))

    def delete_registered_model_alias(self, name: str, alias: str) -> None:
        self._call("DELETE", "registered-models/alias", name=name, alias=alias)

    def delete_model_version(self, name: str, version: str | int) -> None:
        self._call("DELETE", "model-versions/delete", name=name, version=str(version))

    def get_logged_model(self, model_id: str) -> dict[str, Any]:
        """A 3.x logged model as the wire has it: `{"info": {...}, "data": {...}}`."""
        found: dict[str, Any] = self._get("logged-models/%s" % model_id)["model"]
        return found


def _page(answer: dict[str, Any], key: str, make: Any) -> Page:
    page = Page(make(raw) for raw in answer.get(key, ()))
    page.token = answer.get("next_page_token") or None
    return page


_NOT_JSON = {"nan": "NaN", "inf": "Infinity", "-inf": "-Infinity"}


def _double(value: float) -> Any:
    return _NOT_JSON.get(repr(value), value)


def user() -> str:
    """Name of the operating system's user; empty where there is none (a container with a bare uid)."""
    try:
        import getpass

        return getpass.getuser()
    except Exception:
        return ""


def local_files(local: str, artifact_path: str | None, keep_name: bool) -> list[tuple[str, str]]:
    """(path below the artifacts, local file) for a file or a tree.

    Args:
        keep_name: whether a directory's own name becomes part of the paths.

    Raises:
        FileNotFoundError: nothing is there.
    """
    local = os.fspath(local)
    prefix = [artifact_path.strip("/")] if artifact_path else []
    if os.path.isfile(local):
        return [("/".join([*prefix, os.path.basename(local)]), local)]
    if not os.path.isdir(local):
        raise FileNotFoundError(2, "no such file or directory", local)
    if keep_name:
        prefix.append(os.path.basename(os.path.abspath(local)))
    found = []
    for folder, folders, names in os.walk(local):
        folders.sort()
        inside = os.path.relpath(folder, local)
        parts = prefix + ([] if inside == "." else inside.split(os.sep))
        found += [("/".join([*parts, name]), os.path.join(folder, name)) for name in sorted(names)]
    return found


__all__ = ["TrackingClient", "local_files", "now", "user"]
