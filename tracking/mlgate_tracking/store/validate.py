"""MLflow's rules for names, sizes and numbers; each check raises `InvalidParameterValue` naming field, value, rule."""

from __future__ import annotations

import posixpath
import re
from collections.abc import Iterable, Sequence
from functools import lru_cache
from urllib.parse import unquote, urlsplit

from mlgate_tracking.artifacts import is_proxied
from mlgate_tracking.artifacts.paths import safe_path
from mlgate_tracking.entities import DatasetInput, Metric, Param, Tag
from mlgate_tracking.errors import InvalidParameterValue
from mlgate_tracking.store.model_sources import without_server

MAX_KEY = 250
MAX_EXPERIMENT_NAME = 500
MAX_EXPERIMENT_TAG_VALUE = 20_000
MAX_LOCATION = 2048
MAX_EXPERIMENT_LOCATION = MAX_LOCATION - len("/models/m-0123456789abcdef0123456789abcdef/artifacts")
"""A run or model adds its own folder."""
MAX_RUN_ID = 32
MAX_USER = 256
MAX_IDEMPOTENCY_KEY = 255
MAX_DIGEST = 64
MAX_MODEL_ID = 64
MAX_DATASET_NAME = 500
MAX_DATASET_DIGEST = 36
MAX_PARAM_VALUE = 6000
MAX_TAG_VALUE = 8000
MAX_OWN_TAG_VALUE = 1_000_000
"""For tags that the product itself writes (`mlgate.*`, the model history), which may hold a lock file."""
MAX_METRICS_IN_BATCH = 1000
MAX_PARAMS_IN_BATCH = 100
MAX_TAGS_IN_BATCH = 100
MAX_ENTITIES_IN_BATCH = 1000

_KEY = re.compile(r"[\w/\-. :]+")
_RUN_ID = re.compile(r"[0-9a-fA-F]{32}")
_INT64 = range(-(2**63), 2**63)
_BUCKETS = frozenset({"s3", "gs", "r2", "b2"})
_CONTAINERS = frozenset({"abfs", "abfss", "wasb", "wasbs"})
_NO_STORAGE = frozenset({"runs", "models", "http", "https", "ftp"})
_OWN_TAGS = ("mlgate.", "mlflow.log-model.history")


@lru_cache(maxsize=16_384)
def key(value: str, what: str) -> str:
    """A metric, param or tag key."""
    if not isinstance(value, str) or not value:
        raise InvalidParameterValue(f"{what} key {value!r} is empty: name it")
    if len(value) > MAX_KEY:
        raise InvalidParameterValue(
            f"{what} key {value[:50]!r}... has {len(value)} characters: at most {MAX_KEY} go in"
        )
    if _KEY.fullmatch(value) is None:
        raise InvalidParameterValue(
            f"{what} key {value!r}: use letters, digits, underscores, dashes, periods, spaces, colons and slashes"
        )
    normal = posixpath.normpath(value)
    if normal != value or normal == "." or normal.startswith(("..", "/")):
        raise InvalidParameterValue(f"{what} key {value!r} does not read like a relative path: {normal!r} would")
    return value


def text(value: str, limit: int, what: str) -> str:
    """A text that fits its column, on every database."""
    if "\0" in value:
        raise InvalidParameterValue(f"{what} holds a NUL character, which not every database can store: leave it out")
    if len(value) > limit:
        raise InvalidParameterValue(f"{what} has {len(value)} characters: at most {limit} go in")
    return value


def cut(value: str | None, limit: int, what: str) -> str:
    """As much of a text as fits its column."""
    return text(("" if value is None else str(value))[:limit], limit, what)


def run_id(value: str) -> str:
    if _RUN_ID.fullmatch(value) is None:
        raise InvalidParameterValue(f"run id {value!r} is not 32 hexadecimal digits")
    return value.lower()


def experiment_id(value: str) -> int:
    """The number behind an experiment id; an empty one is the default experiment's."""
    try:
        number = int(value or "0")
    except ValueError:
        number = -1
    if number < 0 or number not in _INT64:
        raise InvalidParameterValue(f"experiment id {value!r} is not a number: look it up by name")
    return number


def experiment_name(value: str) -> str:
    if not isinstance(value, str) or not value.strip():
        raise InvalidParameterValue(f"experiment name {value!r} is blank: give one")
    return text(value, MAX_EXPERIMENT_NAME, "experiment name")


def artifact_location(value: str) -> str:
    """A path or URI below which runs and models can have their folders.

    Schemes that no storage of ours reads are taken: MLflow's clients may have a library for them.
    """
    text(value, MAX_EXPERIMENT_LOCATION, "artifact location")
    try:
        problem = _location_problem(value)
    except (ValueError, InvalidParameterValue) as error:
        problem = str(error)
    if problem:
        raise InvalidParameterValue(f"artifact location {value!r}: {problem}")
    return value


def _location_problem(value: str) -> str:
    """What keeps it from being one; '' if nothing does."""
    parts = urlsplit(value)
    scheme = parts.scheme if len(parts.scheme) > 1 else ""  # one letter is a drive
    if "#" in value:
        return "a fragment ('#...') has no meaning there"
    if ";" in parts.path.rpartition("/")[2]:
        return "parameters (';...') have no meaning there"
    if ".." in re.split(r"[/\\]", unquote(value) if scheme == "file" else value):
        return "a '..' segment leads elsewhere"
    if not scheme:
        return ""
    if "?" in value:
        return "a query ('?...') has no meaning there"
    if scheme == "file":
        foreign = parts.netloc not in ("", "localhost")
        return f"files of host {parts.netloc!r} cannot be reached" if foreign else ""
    safe_path(parts.path.lstrip("/"))
    if scheme in _BUCKETS and not parts.hostname:
        return f"it names no bucket, as in {scheme}://bucket/folder"
    if scheme in _CONTAINERS and not (parts.username and parts.hostname):
        return f"name container and account, as in {scheme}://container@account.blob.core.windows.net/folder"
    if scheme in _NO_STORAGE and not is_proxied(without_server(value)):
        return "name a storage; over HTTP that is the artifact proxy of a tracking server"
    return ""


def params(values: Iterable[Param]) -> dict[str, str]:
    """Params by key, long values cut; a key that comes twice is refused."""
    found: dict[str, str] = {}
    for param in values:
        name = key(param.key, "param")
        if name in found:
            raise InvalidParameterValue(f"param {name!r} is given twice in one request: give it once")
        found[name] = cut(param.value, MAX_PARAM_VALUE, f"param {name!r}")
    return found


def tags(values: Iterable[Tag]) -> dict[str, str]:
    """Tags by key, long values cut; the last of several wins."""
    found: dict[str, str] = {}
    for tag in values:
        name = key(tag.key, "tag")
        limit = MAX_OWN_TAG_VALUE if name.startswith(_OWN_TAGS) else MAX_TAG_VALUE
        found[name] = cut(tag.value, limit, f"tag {name!r}")
    if "mlflow.runName" in found:
        run_name(found["mlflow.runName"])
    return found


def run_name(value: str) -> str:
    return text(value, MAX_KEY, "run name")


def metric(point: Metric) -> None:
    key(point.key, "metric")
    if isinstance(point.value, bool) or not isinstance(point.value, (int, float)):
        raise InvalidParameterValue(f"metric {point.key!r}: value {point.value!r} is not a number")
    if type(point.timestamp) is not int or point.timestamp < 0 or point.timestamp not in _INT64:
        raise InvalidParameterValue(
            f"metric {point.key!r}: timestamp {point.timestamp!r} is not a count of milliseconds since 1970"
        )
    if type(point.step) is not int or point.step not in _INT64:
        raise InvalidParameterValue(f"metric {point.key!r}: step {point.step!r} is not a 64-bit integer")
    if point.model_id:
        text(point.model_id, MAX_MODEL_ID, f"metric {point.key!r}: model_id")
        text(point.dataset_name or "", MAX_DATASET_NAME, f"metric {point.key!r}: dataset_name")
        text(point.dataset_digest or "", MAX_DATASET_DIGEST, f"metric {point.key!r}: dataset_digest")


def batch(metrics: Sequence[Metric], params: Sequence[Param], tags: Sequence[Tag]) -> None:
    """The sizes that one `log_batch` takes."""
    total = len(metrics) + len(params) + len(tags)
    for count, limit, what in (
        (len(metrics), MAX_METRICS_IN_BATCH, "metrics"),
        (len(params), MAX_PARAMS_IN_BATCH, "params"),
        (len(tags), MAX_TAGS_IN_BATCH, "tags"),
        (total, MAX_ENTITIES_IN_BATCH, "metrics, params and tags in all"),
    ):
        if count > limit:
            raise InvalidParameterValue(f"a batch of {count} {what} is too large: send at most {limit} at once")


def dataset_input(given: DatasetInput) -> None:
    dataset = given.dataset
    for value, limit, what in (
        (dataset.name, MAX_DATASET_NAME, "name"),
        (dataset.digest, MAX_DATASET_DIGEST, "digest"),
        (dataset.source_type, 36, "source_type"),
        (dataset.source, 65_535, "source"),
        (dataset.schema or "", 1_048_575, "schema"),
        (dataset.profile or "", 16_777_215, "profile"),
    ):
        text(value, limit, f"dataset {dataset.name[:50]!r}: {what}")
    if not dataset.name or not dataset.digest:
        raise InvalidParameterValue(f"dataset {dataset.name!r} needs a name and a digest, it has {dataset.digest!r}")
    for tag in given.tags:
        text(tag.key, 255, f"dataset {dataset.name!r}: tag key")
        text(tag.value, 500, f"dataset {dataset.name!r}: tag {tag.key!r}")


__all__ = [
    "artifact_location",
    "batch",
    "cut",
    "dataset_input",
    "experiment_id",
    "experiment_name",
    "key",
    "metric",
    "params",
    "run_id",
    "run_name",
    "tags",
    "text",
]
