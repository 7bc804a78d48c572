"""The functions behind `import mlgate_tracking as tracking`: one active run, and short calls that log to it.

Names and signatures are MLflow's. Metrics, params and tags are handed over in microseconds and sent in the background
(see `buffer`); files go at once, or wait in the spool while the server is away. In a step the first `start_run` takes
up the step's own run, which the runner closes; elsewhere `start_run` makes a run and `end_run` closes it.
"""

from __future__ import annotations

import json
import os
import threading
import time

from mlgate_tracking.kit import log, records
from mlgate_tracking.kit.client import TrackingClient, local_files, now, user
from mlgate_tracking.kit.session import PATIENCE, current, in_step, refresh, session, step_run_id
from mlgate_tracking.kit.transport import Refused, TrackingError, Unreachable, tracking_uri

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence
    from typing import Any

    from mlgate_tracking.kit.data import Dataset

_LOST = "lost"
"""Run id that stands for a run that no server could be asked for; what is logged to it goes nowhere."""


class _State:
    """Which runs are active; a thread sees its own, else those of the thread that began first."""

    def __init__(self) -> None:
        self.shared: list[ActiveRun] = []
        self.owner = 0
        self.local = threading.local()
        self.experiment_id = ""
        self.step_run_taken = False
        self.params: dict[tuple[str, str], str] = {}
        self.last_run_id = ""

    def stack(self) -> list[ActiveRun]:
        """The runs that this thread has begun."""
        if getattr(self.local, "stack", None):
            return self.local.stack  # type: ignore[no-any-return]
        if not self.shared or self.owner == threading.get_ident():
            self.owner = threading.get_ident()
            return self.shared
        self.local.stack = []
        return self.local.stack  # type: ignore[no-any-return]

    def active(self) -> ActiveRun | None:
        own = getattr(self.local, "stack", None)
        if own:
            return own[-1]  # type: ignore[no-any-return]
        return self.shared[-1] if self.shared else None


class ActiveRun(records.Run):
    """A run as a context manager: leaving it ends the run, FAILED when an exception leaves."""

    def __enter__(self) -> ActiveRun:
        return self

    def __exit__(self, kind: Any, error: Any, trace: Any) -> None:
        if kind is None:
            end_run()
        else:
            clean = kind is SystemExit and error.code in (None, 0)
            end_run("FINISHED" if clean else "KILLED" if kind is KeyboardInterrupt else "FAILED")


_state = _State()


def _forget() -> None:
    """A forked child logs to the run that was active, but does not end its parent's runs."""
    _state.owner = threading.get_ident()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_forget)


# --- where ----------------------------------------------------------------------------------------------------------


def set_tracking_uri(uri: str) -> None:
    """Log to another server from here on."""
    os.environ["MLFLOW_TRACKING_URI"] = str(uri)
    refresh()


def get_tracking_uri() -> str:
    return tracking_uri()


def set_experiment(experiment_name: str | None = None, experiment_id: str | None = None) -> records.Experiment:
    """Make an experiment the active one; by name it is created when it does not exist.

    In a step that has not started its run yet, the step's run moves into the experiment.

    Raises:
        TrackingError: neither or both given, a deleted experiment, or no server.
    """
    if (experiment_name is None) == (experiment_id is None):
        raise Refused("set_experiment takes exactly one of experiment_name and experiment_id")
    client = session().client
    if experiment_id is not None:
        wanted = str(experiment_id)
        found = session().wait_for(lambda: client.get_experiment(wanted))
    else:
        found = session().wait_for(lambda: client.ensure_experiment(str(experiment_name)))
    if found.lifecycle_stage != "active":
        raise Refused("experiment %r is deleted; restore it first, or use another name" % found.name)
    _state.experiment_id = found.experiment_id
    if in_step() and not _state.step_run_taken:
        from mlgate_tracking.kit.mlflow_experiment import take_along

        try:
            take_along(found.experiment_id)
        except TrackingError as error:
            log.failure("moving the step's run into experiment %s" % found.experiment_id, error)
    experiment: records.Experiment = found
    return experiment


def _experiment_id() -> str:
    if _state.experiment_id:
        return _state.experiment_id
    name = os.environ.get("MLFLOW_EXPERIMENT_NAME")
    if name:
        found: records.Experiment = session().wait_for(lambda: session().client.ensure_experiment(name))
        return found.experiment_id
    return os.environ.get("MLFLOW_EXPERIMENT_ID") or "0"


# --- runs -----------------------------------------------------------------------------------------------------------


def start_run(
    run_id: str | None = None,
    experiment_id: str | None = None,
    run_name: str | None = None,
    nested: bool = False,
    parent_run_id: str | None = None,
    tags: Mapping[str, Any] | None = None,
    description: str | None = None,
    log_system_metrics: bool | None = None,
) -> ActiveRun:
    """Start a run and make it the active one; also a context manager.

    Args:
        run_id: a run to go on with, instead of a new one.
        experiment_id: where a new run goes; default the active experiment.
        nested: begin a child of the active run.
        parent_run_id: make the new run a child of this one.
        description: text shown with the run.
        log_system_metrics: accepted for MLflow's sake; the runner samples system metrics of every step.

    Raises:
        TrackingError: a run is active already and `nested` is not set, or (outside a step) no server answers.
    """
    stack = _state.stack()
    if stack and not nested:
        raise Refused(
            "run %s is active already; end it with end_run(), or pass nested=True for a child run"
            % stack[-1].info.run_id
        )
    given = {str(key): str(value) for key, value in (tags or {}).items()}
    if description:
        given["mlflow.note.content"] = description
    if run_name:
        given["mlflow.runName"] = run_name
    active = _state.active()
    resumed = run_id or (step_run_id() if _step_run_waits() else "")
    if resumed:
        run = _resume(resumed, given)
    else:
        parent = parent_run_id or (active.info.run_id if active is not None and nested else None)
        if parent:
            given["mlflow.parentRunId"] = parent
        run = _create(experiment_id, run_name, given)
    stack.append(run)
    _state.last_run_id = run.info.run_id
    return run


def _step_run_waits() -> bool:
    """The step's run is taken once; after that the script makes runs of its own, as with MLflow."""
    return in_step() and not _state.step_run_taken and os.environ.get("MLFLOW_RUN_ID", "") == step_run_id()


def _resume(run_id: str, tags: dict[str, str]) -> ActiveRun:
    if run_id == step_run_id():
        _state.step_run_taken = True
        experiment_id = _state.experiment_id or os.environ.get("MLFLOW_EXPERIMENT_ID", "")
        run = ActiveRun(records.RunInfo(run_id, experiment_id, run_name=tags.get("mlflow.runName", "")))
    else:
        client = session().client
        found = session().wait_for(lambda: client.get_run(run_id))
        if found.info.lifecycle_stage != "active":
            raise Refused("run %s is deleted; restore it before going on with it" % run_id)
        session().wait_for(lambda: client.update_run(run_id, status="RUNNING"))
        run = ActiveRun(found.info, found.data, found.inputs)
    for key, value in tags.items():
        session().buffer.tag(run_id, key, value)
    return run


def _create(
    experiment_id: str | None, run_name: str | None, tags: dict[str, str], patience: float = PATIENCE
) -> ActiveRun:
    import sys

    source = sys.argv[0] if sys.argv and sys.argv[0] not in ("", "-c") else "python"
    everywhere = {"mlflow.user": user(), "mlflow.source.name": source, "mlflow.source.type": "LOCAL"}
    where = str(experiment_id) if experiment_id is not None else _experiment_id()
    try:
        key = os.urandom(16).hex()  # an answer that got lost must not leave a second run behind
        run = session().wait_for(
            lambda: session().client.create_run(
                where, run_name=run_name, tags={**everywhere, **tags}, idempotency_key=key
            ),
            patience,
        )
    except Unreachable as error:
        if not in_step():
            raise
        log.failure("beginning a run; what is logged to it is lost", error)
        return ActiveRun(records.RunInfo(_LOST, where, run_name=run_name or ""))
    return ActiveRun(run.info, run.data)


def new_run(parent_run_id: str, run_name: str | None = None) -> str:
    """Make a child run without making it the active one; returns its id. For auto-logging."""
    if session().buffer.away:
        raise Unreachable("the tracking server is away; no child run of %s" % parent_run_id)
    active = _state.active()
    home = os.environ.get("MLFLOW_EXPERIMENT_ID") or "0"
    where = active.info.experiment_id if active is not None else _state.experiment_id or home
    run_id = _create(where, run_name, {"mlflow.parentRunId": parent_run_id}, patience=2.0).info.run_id
    if run_id is _LOST:
        raise Unreachable("the tracking server is away; no child run of %s" % parent_run_id)
    return run_id


def logged_param(run_id: str, key: str) -> bool:
    """Whether the script itself has logged this param in this process."""
    return (run_id, key) in _state.params


def active_run() -> ActiveRun | None:
    """The run that the short calls log to; None when there is none."""
    return _state.active()


def last_active_run() -> records.Run | None:
    """The run that was active last, as the server has it now."""
    if not _state.last_run_id or _state.last_run_id == _LOST:
        return None
    return get_run(_state.last_run_id)


def end_run(status: str = "FINISHED") -> None:
    """End the active run of this thread. A step's own run is closed by the runner, with the step's outcome."""
    stack = _state.stack()
    if not stack:
        return
    run_id = stack.pop().info.run_id
    if run_id in (_LOST, step_run_id()):
        return
    session().buffer.end(run_id, status, now())
    session().buffer.flush(0.0 if session().buffer.away else 10.0)


def _active_run_id() -> str:
    """The active run's id; begins a run when there is none."""
    run = _state.active()
    return (run if run is not None else start_run()).info.run_id


# --- params, metrics, tags ------------------------------------------------------------------------------------------


def log_metric(
    key: str,
    value: float,
    step: int | None = None,
    synchronous: bool | None = None,
    timestamp: int | None = None,
    run_id: str | None = None,
) -> None:
    """Log one point of a metric.

    Args:
        value: anything that `float()` takes.
        step: default 0.
        synchronous: wait until the server has it.
        timestamp: milliseconds since the epoch, default now.
        run_id: another run than the active one.
    """
    run_id = run_id or _active_run_id()
    if run_id is not _LOST:
        buffer = session().buffer
        moment = int(time.time() * 1000) if timestamp is None else int(timestamp)
        buffer.metric(run_id, key, float(value), moment, int(step) if step else 0)
        if synchronous:
            buffer.flush(30.0)


def log_metrics(
    metrics: Mapping[str, float],
    step: int | None = None,
    synchronous: bool | None = None,
    run_id: str | None = None,
    timestamp: int | None = None,
) -> None:
    """Log several metrics with the same step and time."""
    moment = int(time.time() * 1000) if timestamp is None else int(timestamp)
    run_id = run_id or _active_run_id()
    for key, value in metrics.items():
        log_metric(key, value, step, timestamp=moment, run_id=run_id)
    if synchronous:
        flush()


def log_param(key: str, value: Any, synchronous: bool | None = None) -> Any:
    """Log a parameter, as text; returns the value. A parameter keeps its first value.

    Raises:
        TrackingError: this process has logged another value for it to the same run.
    """
    run_id, text = _active_run_id(), str(value)
    before = _state.params.setdefault((run_id, key), text)
    if before != text:
        raise Refused(
            "param %r of run %s is %r and cannot become %r; params are written once" % (key, run_id, before, text),
            "INVALID_PARAMETER_VALUE",
            400,
        )
    if run_id is not _LOST:
        session().buffer.param(run_id, key, text)
        if synchronous:
            flush()
    return value


def log_params(params: Mapping[str, Any], synchronous: bool | None = None) -> None:
    for key, value in params.items():
        log_param(key, value)
    if synchronous:
        flush()


def set_tag(key: str, value: Any, synchronous: bool | None = None) -> None:
    """Set a tag of the active run; a later value replaces an earlier one."""
    run_id = _active_run_id()
    if run_id is not _LOST:
        session().buffer.tag(run_id, key, str(value))
        if synchronous:
            flush()


def set_tags(tags: Mapping[str, Any], synchronous: bool | None = None) -> None:
    for key, value in tags.items():
        set_tag(key, value)
    if synchronous:
        flush()


def delete_tag(key: str) -> None:
    flush()
    session().client.delete_tag(_active_run_id(), key)


def set_experiment_tag(key: str, value: Any) -> None:
    session().client.set_experiment_tag(_experiment_id(), key, value)


def set_experiment_tags(tags: Mapping[str, Any]) -> None:
    for key, value in tags.items():
        set_experiment_tag(key, value)


def flush(timeout: float = 30.0) -> bool:
    """Send what is waiting; False when the server stayed away for `timeout` seconds (it is sent later then)."""
    found = current()
    return found is None or found.buffer.flush(timeout)


# --- files ----------------------------------------------------------------------------------------------------------


def log_artifact(local_path: str, artifact_path: str | None = None, run_id: str | None = None) -> None:
    """Store a file (or a directory as a whole) with the run, in the folder `artifact_path`.

    Raises:
        FileNotFoundError: nothing is there.
    """
    _upload(local_files(local_path, artifact_path, keep_name=True), run_id)


def log_artifacts(local_dir: str, artifact_path: str | None = None, run_id: str | None = None) -> None:
    """Store what a directory holds."""
    _upload(local_files(local_dir, artifact_path, keep_name=False), run_id)


def _upload(files: Iterable[tuple[str, str]], run_id: str | None) -> None:
    run_id = run_id or _active_run_id()
    for path, file in files:
        if run_id is not _LOST:
            session().upload(run_id, path, file)


def _write(path: str, content: bytes, run_id: str | None = None) -> None:
    run_id = run_id or _active_run_id()
    if run_id is not _LOST:
        session().write(run_id, path, content)


def log_text(text: str, artifact_file: str, run_id: str | None = None) -> None:
    """Store text as a file of the run."""
    _write(artifact_file, text.encode("utf-8"), run_id)


def log_dict(dictionary: Any, artifact_file: str, run_id: str | None = None) -> None:
    """Store data as JSON, or as YAML when the name ends in `.yaml` or `.yml`."""
    if artifact_file.endswith((".yaml", ".yml")):
        from mlgate_tracking.kit.simple_yaml import dump

        text = dump(json.loads(json.dumps(dictionary, default=str)))
    else:
        text = json.dumps(dictionary, indent=2, default=str)
    log_text(text, artifact_file, run_id)


def log_figure(figure: Any, artifact_file: str, *, save_kwargs: Mapping[str, Any] | None = None) -> None:
    """Store a matplotlib or plotly figure as a picture (or `.html` for plotly)."""
    from mlgate_tracking.kit.data import figure_bytes

    _write(artifact_file, figure_bytes(figure, artifact_file, dict(save_kwargs or {})))


def log_image(
    image: Any,
    artifact_file: str | None = None,
    key: str | None = None,
    step: int | None = None,
    timestamp: int | None = None,
    synchronous: bool | None = None,
) -> None:
    """Store a picture: a PIL image, or an array of shape (height, width[, 1, 3 or 4]), uint8 or floats in 0 to 1.

    Args:
        artifact_file: name of the file.
        key, step, timestamp: instead of a name, for a series of pictures; stored below `images/`.
    """
    from mlgate_tracking.kit.data import image_bytes

    if (artifact_file is None) == (key is None):
        raise Refused("log_image takes exactly one of artifact_file and key")
    if artifact_file is None:
        moment = int(time.time() * 1000) if timestamp is None else timestamp
        clean = str(key).replace("/", "~")
        unique = os.urandom(4).hex()
        artifact_file = "images/%s+step+%d+timestamp+%d+%s.png" % (clean, step or 0, moment, unique)
    _write(artifact_file, image_bytes(image, artifact_file))


def log_table(data: Any, artifact_file: str, run_id: str | None = None) -> None:
    """Store a table (a dictionary of columns or a DataFrame) as JSON; rows are added to a table that is there."""
    from mlgate_tracking.kit.data import merged_table

    run_id = run_id or _active_run_id()
    if run_id is _LOST:
        return
    try:
        before = session().client.files(run_id).read(artifact_file)
    except TrackingError:
        before = b""
    table = merged_table(before, data)
    _write(artifact_file, json.dumps(table, default=str).encode(), run_id)
    set_tag("mlflow.loggedArtifacts", json.dumps([{"path": artifact_file, "type": "table"}]))


def load_table(artifact_file: str, run_id: str | None = None) -> Any:
    """A table of a run: a DataFrame where pandas is installed, else a dictionary of columns."""
    from mlgate_tracking.kit.data import table_value

    return table_value(session().client.files(run_id or _active_run_id()).read(artifact_file))


def get_artifact_uri(artifact_path: str | None = None) -> str:
    """URI of the active run's artifacts, or of one of them."""
    root = session().client.files(_active_run_id()).root
    return root + ("/" + artifact_path.strip("/") if artifact_path else "")


def download_artifacts(
    artifact_uri: str | None = None,
    run_id: str | None = None,
    artifact_path: str | None = None,
    dst_path: str | None = None,
) -> str:
    """Copy a file or a tree here; returns the local path.

    Args:
        artifact_uri: `runs:/RUN/path`, `models:/NAME/1`, or any artifact URI; or give `run_id` and `artifact_path`.
        dst_path: directory to copy into, default a new temporary one.
    """
    import tempfile

    target = dst_path or tempfile.mkdtemp(prefix="mlgate-")
    if artifact_uri is not None:
        from mlgate_tracking.kit.models.locate import locate

        files, path = locate(session().client, artifact_uri)
        return files.download(path, target)
    if run_id is None or artifact_path is None:
        raise Refused("download_artifacts takes an artifact_uri, or a run_id and an artifact_path")
    return session().client.files(run_id).download(artifact_path, target)


# --- data -----------------------------------------------------------------------------------------------------------


def log_input(dataset: Dataset | Any, context: str | None = None, tags: Mapping[str, str] | None = None) -> None:
    """Say which data the run used.

    Args:
        dataset: what `tracking.dataset(...)` made, an MLflow dataset, or the data itself (DataFrame, array, path).
        context: `training`, `validation`, ...
    """
    from mlgate_tracking.kit.data import input_record

    run_id = _active_run_id()
    if run_id is _LOST:
        return
    record = input_record(dataset, context, tags)
    try:
        session().wait_for(lambda: session().client.log_inputs(run_id, [record]))
    except TrackingError as error:
        if not in_step():
            raise
        log.failure("logging dataset %s" % record["dataset"]["name"], error)


def dataset(data: Any, source: str | None = None, name: str | None = None, targets: str | None = None) -> Dataset:
    """Describe data: name, where it comes from, schema, size and a digest of its content."""
    from mlgate_tracking.kit.data import describe

    return describe(data, source=source, name=name, targets=targets)


def log_drift(
    reference: Any,
    current: Any,
    *,
    columns: Sequence[str] | None = None,
    threshold: float = 0.05,
    prefix: str = "drift_",
    artifact_file: str | None = "drift.json",
) -> dict[str, Any]:
    """Compare two tables column by column and log what has changed; see `mlgate_tracking.kit.drift.compare`."""
    from mlgate_tracking.kit.drift import compare, metrics

    report = compare(reference, current, columns=columns, threshold=threshold)
    log_metrics(metrics(report, prefix))
    if artifact_file:
        log_dict(report, artifact_file)
    return report


# --- models ---------------------------------------------------------------------------------------------------------


def log_model(model: Any, artifact_path: str | None = None, **options: Any) -> Any:
    """Store a model with the run, in MLflow's format; see `mlgate_tracking.kit.models.log_model`."""
    from mlgate_tracking.kit.models import log_model as store

    return store(model, artifact_path, **options)


def register_model(
    model_uri: str,
    name: str,
    await_registration_for: int = 0,
    *,
    tags: Mapping[str, Any] | None = None,
) -> records.ModelVersion:
    """Make a logged model (`runs:/RUN/model`) a new version of a registered model, which is created if need be."""
    from mlgate_tracking.kit.models import register_model as register

    return register(model_uri, name, tags=tags)


def load_model(model_uri: str, dst_path: str | None = None, **options: Any) -> Any:
    """Load a model; see `mlgate_tracking.kit.models.load_model`."""
    from mlgate_tracking.kit.models import load_model as load

    return load(model_uri, dst_path, **options)


# --- questions ------------------------------------------------------------------------------------------------------


def get_run(run_id: str) -> records.Run:
    """A run as the server has it, with everything that this process has logged so far."""
    flush()
    return session().client.get_run(run_id)


def get_experiment(experiment_id: str) -> records.Experiment:
    return session().client.get_experiment(str(experiment_id))


def get_experiment_by_name(name: str) -> records.Experiment | None:
    return session().client.get_experiment_by_name(name)


def create_experiment(name: str, artifact_location: str | None = None, tags: Mapping[str, Any] | None = None) -> str:
    return session().client.create_experiment(name, artifact_location, tags)


def search_experiments(
    view_type: str = "ACTIVE_ONLY",
    max_results: int | None = None,
    filter_string: str | None = None,
    order_by: Sequence[str] | None = None,
) -> list[records.Experiment]:
    found: list[records.Experiment] = []
    token = None
    while True:
        wanted = 1000 if max_results is None else min(1000, max_results - len(found))
        page = session().client.search_experiments(view_type, wanted, filter_string, order_by, token)
        found += page
        token = page.token
        if token is None or (max_results is not None and len(found) >= max_results):
            return found


def search_runs(
    experiment_ids: Sequence[str] | None = None,
    filter_string: str = "",
    run_view_type: str = "ACTIVE_ONLY",
    max_results: int = 100000,
    order_by: Sequence[str] | None = None,
    output_format: str = "pandas",
    search_all_experiments: bool = False,
    experiment_names: Sequence[str] | None = None,
) -> Any:
    """Runs that match a filter, MLflow's grammar.

    Args:
        output_format: `pandas` for a DataFrame with columns such as `run_id`, `metrics.accuracy`, `params.depth`,
            `tags.x`; `list` for `Run` records. Without pandas installed, `pandas` gives the list as well.
    """
    flush()
    client = session().client
    ids = [str(each) for each in experiment_ids or ()]
    if experiment_names:
        found = (client.get_experiment_by_name(name) for name in experiment_names)
        ids = [each.experiment_id for each in found if each is not None]
    elif search_all_experiments:
        ids = [each.experiment_id for each in search_experiments()]
    elif not ids:
        ids = [_experiment_id()]
    runs: list[records.Run] = []
    token = None
    while ids and len(runs) < max_results:
        page = client.search_runs(
            ids, filter_string, run_view_type, min(1000, max_results - len(runs)), order_by, token
        )
        runs += page
        token = page.token
        if token is None:
            break
    if output_format == "list":
        return runs
    from mlgate_tracking.kit.data import runs_table

    return runs_table(runs)


def autolog(disable: bool = False, log_models: bool = True, **_options: Any) -> None:
    """Log every fit of scikit-learn, XGBoost, LightGBM, Keras and Lightning from here on, or stop doing so.

    In a step whose script does not import MLflow it is on from the start.
    """
    from mlgate_tracking.kit.autologging import enable

    enable(not disable, log_models=log_models)


__all__ = [
    "ActiveRun",
    "TrackingClient",
    "TrackingError",
    "active_run",
    "autolog",
    "create_experiment",
    "dataset",
    "delete_tag",
    "download_artifacts",
    "end_run",
    "flush",
    "get_artifact_uri",
    "get_experiment",
    "get_experiment_by_name",
    "get_run",
    "get_tracking_uri",
    "last_active_run",
    "load_model",
    "load_table",
    "log_artifact",
    "log_artifacts",
    "log_dict",
    "log_drift",
    "log_figure",
    "log_image",
    "log_input",
    "log_metric",
    "log_metrics",
    "log_model",
    "log_param",
    "log_params",
    "log_table",
    "log_text",
    "register_model",
    "search_experiments",
    "search_runs",
    "set_experiment",
    "set_experiment_tag",
    "set_experiment_tags",
    "set_tag",
    "set_tags",
    "set_tracking_uri",
    "start_run",
]
