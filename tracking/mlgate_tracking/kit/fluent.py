"""The functions behind `import mlgate_tracking as tracking`: one active run, and short calls that log to it.

Names and signatures are MLflow's. Metrics, params and tags are handed over in microseconds and sent in the background
(see `buffer`); files go at once, or wait in the spool while the server is away. Which run is active, `runs` knows.
"""

from __future__ import annotations

import json
import os
import time

from mlgate_tracking.kit import log, records
from mlgate_tracking.kit.client import TrackingClient, local_files
from mlgate_tracking.kit.runs import (
    LOST,
    ActiveRun,
    active_experiment_id,
    active_run,
    active_run_id,
    end_run,
    get_tracking_uri,
    set_experiment,
    set_tracking_uri,
    start_run,
    state,
)
from mlgate_tracking.kit.session import current, in_step, session
from mlgate_tracking.kit.transport import Refused, TrackingError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence
    from typing import Any

    from mlgate_tracking.kit.data import Dataset

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
    run_id = run_id or active_run_id()
    if run_id is not LOST:
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
    run_id = run_id or active_run_id()
    for key, value in metrics.items():
        log_metric(key, value, step, timestamp=moment, run_id=run_id)
    if synchronous:
        flush()


def log_param(key: str, value: Any, synchronous: bool | None = None) -> Any:
    """Log a parameter, as text; returns the value. A parameter keeps its first value.

    Raises:
        TrackingError: this process has logged another value for it to the same run.
    """
    run_id, text = active_run_id(), str(value)
    before = state.params.setdefault((run_id, key), text)
    if before != text:
        raise Refused(
            "param %r of run %s is %r and cannot become %r; params are written once" % (key, run_id, before, text),
            "INVALID_PARAMETER_VALUE",
            400,
        )
    if run_id is not LOST:
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
    run_id = active_run_id()
    if run_id is not LOST:
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
    session().client.delete_tag(active_run_id(), key)


def set_experiment_tag(key: str, value: Any) -> None:
    session().client.set_experiment_tag(active_experiment_id(), key, value)


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
    run_id = run_id or active_run_id()
    for path, file in files:
        if run_id is not LOST:
            session().upload(run_id, path, file)


def _write(path: str, content: bytes, run_id: str | None = None) -> None:
    run_id = run_id or active_run_id()
    if run_id is not LOST:
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

    run_id = run_id or active_run_id()
    if run_id is LOST:
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

    return table_value(session().client.files(run_id or active_run_id()).read(artifact_file))


def get_artifact_uri(artifact_path: str | None = None) -> str:
    """URI of the active run's artifacts, or of one of them."""
    root = session().client.files(active_run_id()).root
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

    run_id = active_run_id()
    if run_id is LOST:
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


def last_active_run() -> records.Run | None:
    """The run that was active last, as the server has it now."""
    if not state.last_run_id or state.last_run_id == LOST:
        return None
    return get_run(state.last_run_id)


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
        ids = [active_experiment_id()]
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
