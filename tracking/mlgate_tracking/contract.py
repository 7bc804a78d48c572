"""The contract that every store keeps: `SqlStore` (a database) and `RestStore` (a server) implement it alike.

Thread-safety: a store may be used from any number of threads at once. A write has returned only when it is durable.
Identifiers are strings, times are milliseconds since the epoch. Experiments, runs and models in life-cycle stage
`deleted` can be read by id but refuse writes (`InvalidParameterValue`). Params are immutable once written; metrics are
a set, so writing the same point again changes nothing.

Errors: an unknown id or name raises `ResourceDoesNotExist`; a bad value, name, limit or filter `InvalidParameterValue`;
a name that is taken `ResourceAlreadyExists`; a database or server that is away `TemporarilyUnavailable`.
"""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Mapping, Sequence
from typing import Any

from mlgate_tracking.entities import (
    DatasetInput,
    DatasetSummary,
    Experiment,
    Fence,
    LoggedModel,
    LoggedModelStatus,
    Metric,
    ModelOutput,
    ModelVersion,
    Page,
    Param,
    Point,
    RegisteredModel,
    Run,
    RunInfo,
    RunStatus,
    StepRun,
    Tag,
    TraceInfo,
    ViewType,
    Webhook,
    WebhookEvent,
)
from mlgate_tracking.governance import Delivery
from mlgate_tracking.promotions import Promotions
from mlgate_tracking.users import Identity, Users


class Store(Promotions, Users):
    """Experiments, runs, logged models, the model registry, what governs it (`Promotions`), and `Users`."""

    # --- life ---------------------------------------------------------------------------------------------------

    @abstractmethod
    def close(self) -> None:
        """Release connections. Safe to call twice."""

    def __enter__(self) -> Store:
        return self

    def __exit__(self, *_exc: object) -> None:
        self.close()

    # --- experiments --------------------------------------------------------------------------------------------

    @abstractmethod
    def create_experiment(self, name: str, artifact_location: str | None = None, tags: Sequence[Tag] = ()) -> str:
        """Create an experiment and return its id. `ResourceAlreadyExists` also when a deleted one holds the name."""

    @abstractmethod
    def get_experiment(self, experiment_id: str) -> Experiment: ...

    @abstractmethod
    def get_experiment_by_name(self, name: str) -> Experiment | None:
        """The experiment of that name, deleted ones too; None when there is none."""

    def ensure_experiment(self, name: str) -> Experiment:
        """Get or create by name; safe when several callers create it at once."""
        from mlgate_tracking.errors import ResourceAlreadyExists

        found = self.get_experiment_by_name(name)
        if found is not None:
            return found
        try:
            return self.get_experiment(self.create_experiment(name))
        except ResourceAlreadyExists:
            raced = self.get_experiment_by_name(name)
            if raced is None:
                raise
            return raced

    @abstractmethod
    def search_experiments(
        self,
        *,
        filter_string: str | None = None,
        order_by: Sequence[str] = (),
        view_type: ViewType = ViewType.ACTIVE_ONLY,
        max_results: int = 1000,
        page_token: str | None = None,
    ) -> Page[Experiment]: ...

    @abstractmethod
    def rename_experiment(self, experiment_id: str, new_name: str) -> None: ...

    @abstractmethod
    def delete_experiment(self, experiment_id: str) -> None:
        """Soft-delete the experiment and its runs. `ResourceDoesNotExist` when it is deleted already."""

    @abstractmethod
    def restore_experiment(self, experiment_id: str) -> None: ...

    @abstractmethod
    def set_experiment_tag(self, experiment_id: str, tag: Tag) -> None: ...

    @abstractmethod
    def delete_experiment_tag(self, experiment_id: str, key: str) -> None: ...

    # --- runs ---------------------------------------------------------------------------------------------------

    @abstractmethod
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
        """Create a run; a name is made up when neither `run_name` nor tag `mlflow.runName` gives one.

        Args:
            run_id: 32 hex digits to use (an import keeps ids); a new one is made when None.
            owner_run_id: the step run whose token created this run; that step may go on writing to it.
            idempotency_key: the same key again returns the first call's run instead of a ghost.
        """

    @abstractmethod
    def get_run(self, run_id: str) -> Run: ...

    @abstractmethod
    def update_run(
        self,
        run_id: str,
        *,
        status: RunStatus | None = None,
        end_time: int | None = None,
        run_name: str | None = None,
    ) -> RunInfo: ...

    @abstractmethod
    def delete_run(self, run_id: str) -> None:
        """Soft-delete; repeatable."""

    @abstractmethod
    def restore_run(self, run_id: str) -> None: ...

    @abstractmethod
    def move_run(self, run_id: str, experiment_id: str) -> Run:
        """Put a run into another experiment (a script in a step called `set_experiment`); its artifacts stay put."""

    @abstractmethod
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
        """Runs of those experiments that match the filter (grammar: MLflow's). No experiments: an empty page."""

    @abstractmethod
    def log_batch(
        self,
        run_id: str,
        *,
        metrics: Sequence[Metric] = (),
        params: Sequence[Param] = (),
        tags: Sequence[Tag] = (),
    ) -> None:
        """Write all or nothing. A param key twice, or a changed param, raises `InvalidParameterValue`."""

    @abstractmethod
    def delete_tag(self, run_id: str, key: str) -> None: ...

    @abstractmethod
    def log_inputs(
        self, run_id: str, *, datasets: Sequence[DatasetInput] = (), model_ids: Sequence[str] = ()
    ) -> None: ...

    @abstractmethod
    def log_outputs(self, run_id: str, outputs: Sequence[ModelOutput]) -> None:
        """Upsert the run's output models."""

    @abstractmethod
    def log_model_history(self, run_id: str, model_json: str) -> None:
        """Append a 2.x model to the run's tag `mlflow.log-model.history`."""

    @abstractmethod
    def metric_history(
        self, run_id: str, key: str, *, max_results: int | None = None, page_token: str | None = None
    ) -> Page[Metric]:
        """All points, ordered by timestamp, step, value. An unknown run or key gives an empty page."""

    def metric_points(
        self, run_id: str, key: str, *, max_results: int | None = None, page_token: str | None = None
    ) -> Page[Point]:
        """`metric_history` as plain tuples, for whoever hands very many on."""
        page = self.metric_history(run_id, key, max_results=max_results, page_token=page_token)
        return Page(tuple((point.timestamp, point.step, point.value) for point in page.items), page.token)

    @abstractmethod
    def metric_history_sampled(
        self,
        run_ids: Sequence[str],
        key: str,
        *,
        start_step: int | None = None,
        end_step: int | None = None,
        max_results: int = 2500,
    ) -> list[Metric]:
        """Per run at most `max_results` evenly spaced points, first and last kept; `Metric.run_id` is set."""

    # --- steps: identity, attempts, fences ----------------------------------------------------------------------

    @abstractmethod
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
        """Create or get the run of a step in one statement, and make `attempt` the current one.

        The first call for a key creates the run with its params and tags. A later one reopens it: status RUNNING, end
        time cleared, tags overwritten, new params added (changed ones are ignored, the first attempt's stand), tag
        `mlgate.attempt` set. `attempt=None` means one more than the last.

        Raises:
            StaleAttempt: `attempt` is lower than the current one.
        """

    @abstractmethod
    def find_step_run(self, step_run_key: str) -> StepRun | None: ...

    @abstractmethod
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
        """Write the last metrics and tags and the final status in one transaction.

        Raises:
            StaleAttempt: a higher attempt has taken over; nothing is written.
        """

    @abstractmethod
    def fenced(self, fence: Fence) -> Store:
        """A view of this store for one attempt of one step.

        Reads are free. It may write to its own run, to runs and logged models that it created, and create experiments,
        runs, models and model versions; other runs and every delete of what it did not create raise
        `PermissionDenied`. Once a higher attempt has opened the step, every write raises `StaleAttempt`.
        """

    def check_writable(self, *, run_id: str | None = None, model_id: str | None = None) -> None:
        """Raise what a write to this run or logged model would raise; whoever takes their artifacts asks first."""
        if run_id is not None:
            self.log_batch(run_id)
        if model_id is not None:
            self.set_logged_model_tags(model_id, ())

    # --- logged models (3.x clients) ----------------------------------------------------------------------------

    @abstractmethod
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
    ) -> LoggedModel: ...

    @abstractmethod
    def get_logged_model(self, model_id: str, *, allow_deleted: bool = False) -> LoggedModel: ...

    @abstractmethod
    def finalize_logged_model(self, model_id: str, status: LoggedModelStatus) -> LoggedModel: ...

    @abstractmethod
    def delete_logged_model(self, model_id: str) -> None: ...

    @abstractmethod
    def set_logged_model_tags(self, model_id: str, tags: Sequence[Tag]) -> None: ...

    @abstractmethod
    def delete_logged_model_tag(self, model_id: str, key: str) -> None: ...

    @abstractmethod
    def log_logged_model_params(self, model_id: str, params: Sequence[Param]) -> None: ...

    @abstractmethod
    def search_logged_models(
        self,
        experiment_ids: Sequence[str],
        *,
        filter_string: str | None = None,
        datasets: Sequence[Mapping[str, str]] = (),
        max_results: int = 50,
        order_by: Sequence[Mapping[str, object]] = (),
        page_token: str | None = None,
    ) -> Page[LoggedModel]: ...

    # --- model registry -----------------------------------------------------------------------------------------

    @abstractmethod
    def create_registered_model(
        self, name: str, *, description: str | None = None, tags: Sequence[Tag] = ()
    ) -> RegisteredModel: ...

    @abstractmethod
    def get_registered_model(self, name: str) -> RegisteredModel: ...

    @abstractmethod
    def search_registered_models(
        self,
        *,
        filter_string: str | None = None,
        order_by: Sequence[str] = (),
        max_results: int = 100,
        page_token: str | None = None,
    ) -> Page[RegisteredModel]: ...

    @abstractmethod
    def update_registered_model(self, name: str, description: str | None) -> RegisteredModel: ...

    @abstractmethod
    def rename_registered_model(self, name: str, new_name: str) -> RegisteredModel: ...

    @abstractmethod
    def delete_registered_model(self, name: str) -> None: ...

    @abstractmethod
    def get_latest_versions(self, name: str, stages: Sequence[str] = ()) -> tuple[ModelVersion, ...]: ...

    @abstractmethod
    def set_registered_model_tag(self, name: str, tag: Tag) -> None: ...

    @abstractmethod
    def delete_registered_model_tag(self, name: str, key: str) -> None: ...

    @abstractmethod
    def set_registered_model_alias(self, name: str, alias: str, version: int) -> None: ...

    @abstractmethod
    def delete_registered_model_alias(self, name: str, alias: str) -> None: ...

    @abstractmethod
    def get_model_version_by_alias(self, name: str, alias: str) -> ModelVersion:
        """`InvalidParameterValue` for an unknown alias (MLflow's choice), `ResourceDoesNotExist` for the model."""

    @abstractmethod
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
    ) -> ModelVersion: ...

    @abstractmethod
    def get_model_version(self, name: str, version: int) -> ModelVersion: ...

    @abstractmethod
    def update_model_version(self, name: str, version: int, description: str | None) -> ModelVersion: ...

    @abstractmethod
    def delete_model_version(self, name: str, version: int) -> None: ...

    @abstractmethod
    def search_model_versions(
        self,
        *,
        filter_string: str | None = None,
        order_by: Sequence[str] = (),
        max_results: int = 200_000,
        page_token: str | None = None,
    ) -> Page[ModelVersion]: ...

    @abstractmethod
    def get_model_version_download_uri(self, name: str, version: int) -> str: ...

    @abstractmethod
    def transition_model_version_stage(
        self, name: str, version: int, stage: str, *, archive_existing_versions: bool = False
    ) -> ModelVersion: ...

    @abstractmethod
    def set_model_version_tag(self, name: str, version: int, tag: Tag) -> None: ...

    @abstractmethod
    def delete_model_version_tag(self, name: str, version: int, key: str) -> None: ...


class ServerStore(Store):
    """A store that can stand behind a server: also traces and webhooks, which only clients of MLflow's API ask for."""

    # --- runs as the server sends them --------------------------------------------------------------------------

    @abstractmethod
    def search_run_documents(
        self,
        experiment_ids: Sequence[str],
        *,
        filter_string: str | None = None,
        order_by: Sequence[str] = (),
        view_type: ViewType = ViewType.ACTIVE_ONLY,
        max_results: int = 1000,
        page_token: str | None = None,
    ) -> Page[Any]:
        """`search_runs`, each run as something that msgspec encodes as it does what `wire.run_to_wire` gives for it."""

    @abstractmethod
    def search_datasets(self, experiment_ids: Sequence[str]) -> Sequence[DatasetSummary]:
        """What runs of those experiments have read, each dataset once for each context; the first thousand."""

    # --- traces: what is known of them; their spans are artifacts -----------------------------------------------

    @abstractmethod
    def start_trace(self, trace: TraceInfo) -> TraceInfo:
        """Write a trace, or write it again: the same id overwrites, its tags and metadata are merged.

        Tag `mlflow.artifactLocation` is added: `<experiment artifact_location>/traces/<trace_id>/artifacts`.
        """

    @abstractmethod
    def get_trace_info(self, trace_id: str) -> TraceInfo: ...

    @abstractmethod
    def search_traces(
        self,
        experiment_ids: Sequence[str],
        *,
        filter_string: str | None = None,
        order_by: Sequence[str] = (),
        max_results: int = 100,
        page_token: str | None = None,
    ) -> Page[TraceInfo]:
        """Traces of those experiments, newest first unless ordered otherwise."""

    @abstractmethod
    def set_trace_tag(self, trace_id: str, tag: Tag) -> None: ...

    @abstractmethod
    def delete_trace_tag(self, trace_id: str, key: str) -> None: ...

    @abstractmethod
    def delete_traces(
        self,
        experiment_id: str,
        *,
        trace_ids: Sequence[str] = (),
        max_timestamp: int | None = None,
        max_traces: int | None = None,
    ) -> int:
        """Delete the named traces, or the oldest up to `max_timestamp` (at most `max_traces`); return how many."""

    # --- who calls: asked by the server ------------------------------------------------------------------------

    @abstractmethod
    def identified(self, identity: Identity) -> ServerStore:
        """A view of this store for a user whom a token has proven: every name that comes with a call is theirs.

        Only an admin adds and revokes users, gives roles, protects models and keeps webhooks. Four eyes means eyes of
        people the store knows: whoever started the run, or registered the version, does not approve it, whatever the
        verdict says.
        """

    @abstractmethod
    def has_users(self) -> bool:
        """Whether anybody was ever added; from then on a server lets nobody else in."""

    @abstractmethod
    def identity_of(self, token: str) -> Identity | None:
        """Whose token it is; None for nobody's, or one that was revoked or replaced."""

    # --- webhooks: subscriptions; what delivers them stands elsewhere -------------------------------------------

    @abstractmethod
    def create_webhook(
        self,
        name: str,
        url: str,
        events: Sequence[WebhookEvent],
        *,
        description: str | None = None,
        secret: str | None = None,
        status: str = "ACTIVE",
    ) -> Webhook:
        """Subscribe `url`; whether this server may call it is checked by who delivers."""

    @abstractmethod
    def get_webhook(self, webhook_id: str) -> Webhook: ...

    @abstractmethod
    def get_webhook_secret(self, webhook_id: str) -> str | None:
        """For signing deliveries; never sent to a client."""

    @abstractmethod
    def list_webhooks(self, *, max_results: int = 100, page_token: str | None = None) -> Page[Webhook]:
        """All that are not deleted, newest first."""

    @abstractmethod
    def webhooks_for(self, event: WebhookEvent) -> tuple[Webhook, ...]:
        """Active webhooks that listen for this event, oldest first."""

    @abstractmethod
    def update_webhook(
        self,
        webhook_id: str,
        *,
        name: str | None = None,
        url: str | None = None,
        events: Sequence[WebhookEvent] | None = None,
        description: str | None = None,
        secret: str | None = None,
        status: str | None = None,
    ) -> Webhook:
        """Change what is given; None leaves a field as it is."""

    @abstractmethod
    def delete_webhook(self, webhook_id: str) -> None: ...

    # --- deliveries: what is still to be told to which webhook --------------------------------------------------

    @abstractmethod
    def publish_event(self, entity: str, action: str, model: str, data: Mapping[str, Any]) -> bool:
        """Write an event that belongs to no promotion, if some webhook has asked for it; tells whether one has."""

    @abstractmethod
    def claim_deliveries(self, *, most: int = 20) -> tuple[Delivery, ...]:
        """The oldest delivery of each webhook and model that is due, claimed for a minute.

        No later event of a model goes to a webhook before the earlier one is settled.
        """

    @abstractmethod
    def settle_delivery(self, delivery: Delivery, *, retry_at: int | None = None, problem: str = "") -> None:
        """Done when `retry_at` is None (given up if there is a `problem`, which is audited); else due again then."""

    @abstractmethod
    def next_delivery_at(self) -> int | None:
        """When the next delivery is due, in milliseconds since the epoch; None when nothing waits."""


__all__ = ["ServerStore", "Store"]
