"""What a model version may be registered from: reading and checking its `source`."""

from __future__ import annotations

import posixpath
import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import PurePosixPath
from typing import NamedTuple
from urllib.parse import SplitResult, unquote, urlsplit

from mlgate_tracking.errors import InvalidParameterValue

PROMPT_SOURCES = frozenset({"dummy-source", "prompt-template"})
_HOST_SCHEMES = frozenset({"ftp", "sftp", "hdfs", "viewfs", "http", "https", "r2", "b2", "abfss"})
"""Schemes whose URI names a machine to connect to: whoever loads the model would be sent there, so it has to be the one
that the run's own artifacts are on."""
_SERVED = re.compile(
    r"^(?:https?://.*?/(?:ajax-)?api/2\.0/mlflow-artifacts/artifacts/|mlflow-artifacts://[^/]*/)", re.IGNORECASE
)
_SCHEME = re.compile(r"[A-Za-z][A-Za-z0-9+.-]*(?=:)")


@dataclass(frozen=True, slots=True)
class Stored:
    """Somewhere outside: taken as it is."""

    source: str


@dataclass(frozen=True, slots=True)
class Inside:
    """A place that has to lie inside the artifacts of the run or model that is named along with it."""

    source: str


@dataclass(frozen=True, slots=True)
class OfRun:
    """`runs:/RUN_ID/path`."""

    source: str
    run_id: str


@dataclass(frozen=True, slots=True)
class OfLoggedModel:
    """`models:/m-...`."""

    source: str
    model_id: str


@dataclass(frozen=True, slots=True)
class OfVersion:
    """`models:/NAME/VERSION`, `models:/NAME/STAGE` or `models:/NAME@ALIAS`; one of the last three is set."""

    source: str
    name: str
    version: int | None = None
    stage: str | None = None
    alias: str | None = None


Source = Stored | Inside | OfRun | OfLoggedModel | OfVersion


def read_source(source: str) -> Source:
    """Say what kind of place a source names.

    Raises:
        InvalidParameterValue: it can climb out of where it points, or is malformed.
    """
    decoded = _decoded(source)
    if not source or "\0" in decoded:
        raise invalid(source, "it must be a path or a URI")
    scheme = found.group().lower() if (found := _SCHEME.match(source)) else ""
    if scheme == "models":
        return _read_models(source)
    path = _split(decoded).path if scheme else decoded
    if ".." in re.split(r"[/\\]", decoded):
        raise invalid(source, "a '..' segment could leave the place it points to")
    if scheme == "runs":
        parts = path.lstrip("/").split("/", 1)
        if _split(source).netloc or not parts[0]:
            raise invalid(source, "write runs:/RUN_ID/path")
        return OfRun(source, parts[0])
    if scheme in {"", "file"}:
        return Inside(source)
    if scheme == "mlflow-artifacts":
        if _split(source).netloc:
            raise invalid(source, "mlflow-artifacts: of another server cannot be registered here")
        return Inside(source)
    return Inside(source) if scheme in _HOST_SCHEMES else Stored(source)


class Place(NamedTuple):
    """Where a URI or path points to, however it is written."""

    scheme: str
    host: str
    path: str


def without_server(uri: str) -> str:
    """A location that names the server which its files go through, as `mlflow-artifacts:/path`; others as they are."""
    return _SERVED.sub("mlflow-artifacts:/", uri)


def contains(root: str, source: str) -> bool:
    """Whether `source` is `root` or lies below it; both are URIs or paths of one kind."""
    return place(root) in places_above(source)


def places_above(uri: str) -> Iterator[Place]:
    """The place that a URI names and every folder that it lies in."""
    inner = place(uri)
    yield inner
    for folder in PurePosixPath(inner.path).parents:
        yield inner._replace(path=str(folder))


def place(uri: str) -> Place:
    """
    Raises:
        InvalidParameterValue: it is no URI and no path.
    """
    decoded = _decoded(uri)
    if not _SCHEME.match(uri):
        return Place("file", "", _normal(decoded))
    parts = _split(decoded)
    scheme, host = parts.scheme.lower(), parts.netloc.lower()
    return Place(scheme, "" if (scheme, host) == ("file", "localhost") else host, _normal("/" + parts.path))


def _normal(path: str) -> str:
    path = posixpath.normpath(path)
    return "/" + path.lstrip("/") if path.startswith("/") else path


def _read_models(source: str) -> Source:
    parts = _split(source)
    rest = _decoded(parts.path).lstrip("/")
    if parts.netloc or not rest:
        raise invalid(source, "write models:/NAME/VERSION, models:/NAME@ALIAS or models:/m-ID, without a host")
    if "/" not in rest and "@" not in rest:
        return OfLoggedModel(source, rest)
    name, at, alias = rest.rpartition("@")
    if at and "/" not in alias and alias:
        return OfVersion(source, name, alias=alias)
    name, _, suffix = rest.partition("/")
    if not name or not suffix or "/" in suffix:
        raise invalid(source, "write models:/NAME/VERSION, models:/NAME@ALIAS or models:/m-ID")
    if suffix.isascii() and suffix.isdigit() and len(suffix) < 10:
        return OfVersion(source, name, version=int(suffix))
    return OfVersion(source, name, stage=suffix)


def _decoded(text: str) -> str:
    """Percent-decode until nothing changes: %252e%252e is '..' too."""
    for _ in range(10):
        once = unquote(text)
        if once == text:
            return text
        text = once
    raise invalid(text, "it is percent-encoded too many times over")


def _split(uri: str) -> SplitResult:
    try:
        return urlsplit(uri)
    except ValueError as broken:
        raise invalid(uri, str(broken)) from None


def invalid(source: str, reason: str) -> InvalidParameterValue:
    return InvalidParameterValue(f"Invalid model version source: {source!r}: {reason}")


__all__ = [
    "PROMPT_SOURCES",
    "Inside",
    "OfLoggedModel",
    "OfRun",
    "OfVersion",
    "Place",
    "Source",
    "Stored",
    "contains",
    "invalid",
    "place",
    "places_above",
    "read_source",
    "without_server",
]
