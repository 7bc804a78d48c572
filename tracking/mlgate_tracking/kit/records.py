"""What the tracking server tells, as typed records with MLflow's attribute names. Times are milliseconds."""

from __future__ import annotations

from mlgate_tracking.kit.light import record

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any


@record
class Metric:
    key: str
    value: float
    timestamp: int
    step: int


@record
class Experiment:
    experiment_id: str
    name: str
    artifact_location: str = ""
    lifecycle_stage: str = "active"
    tags: dict[str, str] = {}
    creation_time: int = 0
    last_update_time: int = 0


@record
class RunInfo:
    run_id: str
    experiment_id: str
    run_name: str = ""
    user_id: str = ""
    status: str = "RUNNING"
    start_time: int = 0
    end_time: int | None = None
    artifact_uri: str = ""
    lifecycle_stage: str = "active"


@record
class RunData:
    """`metrics` holds the latest value of each key."""

    metrics: dict[str, float] = {}
    params: dict[str, str] = {}
    tags: dict[str, str] = {}


@record
class Run:
    info: RunInfo
    data: RunData = RunData()
    inputs: tuple[dict[str, Any], ...] = ()
    """dataset inputs as the server gives them: `{"dataset": {...}, "tags": [...]}`"""


@record
class FileInfo:
    """`path` is relative to the run's artifacts; `file_size` is None for directories."""

    path: str
    is_dir: bool
    file_size: int | None = None


@record
class RegisteredModel:
    name: str
    description: str = ""
    creation_timestamp: int = 0
    last_updated_timestamp: int = 0
    tags: dict[str, str] = {}
    aliases: dict[str, str] = {}
    latest_versions: tuple[ModelVersion, ...] = ()


@record
class ModelVersion:
    name: str
    version: str
    current_stage: str = "None"
    source: str = ""
    run_id: str = ""
    status: str = "READY"
    description: str = ""
    creation_timestamp: int = 0
    last_updated_timestamp: int = 0
    tags: dict[str, str] = {}
    aliases: tuple[str, ...] = ()


class Page(list):  # type: ignore[type-arg]
    """A list of results that knows how to ask for more; `token` is None on the last page."""

    token: str | None = None


def number(value: Any) -> float:
    """A double of the wire: a number, or text for what JSON lacks."""
    return float(value)


def pairs(items: Any) -> dict[str, str]:
    return {item["key"]: item.get("value", "") for item in items or ()}


def _pick(cls: Any, raw: dict[str, Any], **given: Any) -> Any:
    """`cls` from the keys that it knows; integers may arrive as text."""
    known = cls.fields
    values = {key: value for key, value in raw.items() if key in known and key not in given}
    for key, value in values.items():
        if key.endswith(("_time", "_timestamp", "_size")) and value is not None:
            values[key] = int(value)
    return cls(**values, **given)


def metric(raw: dict[str, Any]) -> Metric:
    return Metric(raw["key"], number(raw["value"]), int(raw.get("timestamp", 0)), int(raw.get("step", 0)))


def experiment(raw: dict[str, Any]) -> Experiment:
    found: Experiment = _pick(Experiment, raw, tags=pairs(raw.get("tags")))
    return found


def run(raw: dict[str, Any]) -> Run:
    data = raw.get("data", {})
    info: RunInfo = _pick(RunInfo, {"run_id": raw["info"].get("run_uuid"), **raw["info"]})
    return Run(
        info,
        RunData(
            {item["key"]: number(item["value"]) for item in data.get("metrics", ())},
            pairs(data.get("params")),
            pairs(data.get("tags")),
        ),
        tuple(raw.get("inputs", {}).get("dataset_inputs", ())),
    )


def file_info(raw: dict[str, Any]) -> FileInfo:
    found: FileInfo = _pick(FileInfo, {"is_dir": False, **raw})
    return found


def model_version(raw: dict[str, Any]) -> ModelVersion:
    found: ModelVersion = _pick(
        ModelVersion,
        raw,
        version=str(raw["version"]),
        tags=pairs(raw.get("tags")),
        aliases=tuple(raw.get("aliases", ())),
    )
    return found


def registered_model(raw: dict[str, Any]) -> RegisteredModel:
    found: RegisteredModel = _pick(
        RegisteredModel,
        raw,
        tags=pairs(raw.get("tags")),
        aliases={item["alias"]: str(item["version"]) for item in raw.get("aliases", ())},
        latest_versions=tuple(model_version(item) for item in raw.get("latest_versions", ())),
    )
    return found


__all__ = [
    "Experiment",
    "FileInfo",
    "Metric",
    "ModelVersion",
    "Page",
    "RegisteredModel",
    "Run",
    "RunData",
    "RunInfo",
]
