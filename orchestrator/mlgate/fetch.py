"""Bring files that a URI names to this machine: `runs:/`, `models:/`, artifact storage and http(s)."""

from __future__ import annotations

import contextlib
import hashlib
import re
import shutil
import urllib.request
from collections.abc import Callable
from pathlib import Path
from urllib.parse import urlsplit

from mlgate.errors import UsageError
from mlgate_tracking.artifacts import ArtifactRepository
from mlgate_tracking.artifacts.transfer import download_tree
from mlgate_tracking.contract import Store
from mlgate_tracking.errors import ResourceDoesNotExist

_MODEL = re.compile(r"models:/(?P<name>[^/@]+)(?:/(?P<version>[^/@]+)|@(?P<alias>[^/]+))(?:/(?P<path>.*))?")
_RUN = re.compile(r"runs:/(?P<run_id>[^/]+)/?(?P<path>.*)")
_SUFFIX = re.compile(r"(?:\.[A-Za-z0-9]{1,8}){0,2}$")


def locate(store: Store, uri: str) -> tuple[str, str]:
    """(artifact root URI, path below it) that a `runs:/`, `models:/` or storage URI stands for.

    `models:/NAME/VERSION`, `models:/NAME/STAGE`, `models:/NAME/latest`, `models:/NAME@ALIAS` and `models:/m-ID` are
    resolved as MLflow's clients do.

    Raises:
        ResourceDoesNotExist: no such run, model, version, stage or alias.
    """
    if match := _RUN.fullmatch(uri):
        return _of_run(store, match["run_id"], match["path"])
    if uri.startswith("models:/m-") and "@" not in uri:
        model_id, _, path = uri.removeprefix("models:/").partition("/")
        return store.get_logged_model(model_id).artifact_uri, path
    if match := _MODEL.fullmatch(uri):
        version = _version(store, match["name"], match["version"], match["alias"])
        source = store.get_model_version_download_uri(match["name"], version)
        root, path = locate(store, source) if source.startswith(("runs:/", "models:/")) else (source, "")
        return root, "/".join(part for part in (path, match["path"] or "") if part)
    return uri, ""


def _of_run(store: Store, run_id: str, path: str) -> tuple[str, str]:
    """3.x clients keep models apart from their run, and still call them by the run."""
    run = store.get_run(run_id)
    name, _, rest = path.partition("/")
    for output in run.outputs if name else ():
        with contextlib.suppress(ResourceDoesNotExist):  # deleted since
            model = store.get_logged_model(output.model_id)
            if model.name == name:
                return model.artifact_uri, rest
    return run.info.artifact_uri, path


def _version(store: Store, name: str, version: str | None, alias: str | None) -> int:
    if alias is not None:
        return store.get_model_version_by_alias(name, alias).version
    assert version is not None
    if version.isdecimal():
        return int(version)
    stages = () if version.lower() == "latest" else (version,)
    found = store.get_latest_versions(name, stages)
    if not found:
        raise ResourceDoesNotExist(f"models:/{name}/{version}: no version of '{name}' is there; see mlgate models show")
    return max(found, key=lambda candidate: candidate.version).version


def fetch(uri: str, directory: Path, store: Store, repository: Callable[[str], ArtifactRepository]) -> Path:
    """Download the file or tree at `uri` into `directory` and return its local path.

    Args:
        repository: opens the storage that an artifact root URI names.

    Raises:
        UsageError: a scheme that nobody here can read.
        ResourceDoesNotExist: there is nothing at the URI.
    """
    scheme = urlsplit(uri).scheme.lower()
    if scheme in ("http", "https"):
        return _download_url(uri, directory)
    root, path = locate(store, uri)
    if path:
        return download(repository(root), path, directory / path.rpartition("/")[2])
    if root != uri:
        return download(repository(root), "", directory / "artifacts")
    # A storage URI names the file or tree itself: what holds it is the root.
    holder, _, name = root.rstrip("/").rpartition("/")
    return download(repository(holder), name, directory / name)


def download(repository: ArtifactRepository, path: str, target: Path) -> Path:
    """Copy a file or tree out of a repository; returns `target`."""
    info = repository.stat(path)
    if info is None:
        raise ResourceDoesNotExist(f"{repository.root_uri}/{path}: there is nothing; look with mlgate artifacts list")
    if info.is_dir:
        download_tree(repository, path, target)
    else:
        target.parent.mkdir(parents=True, exist_ok=True)
        repository.download_file(path, target)
    return target


def _download_url(uri: str, directory: Path) -> Path:
    name = urlsplit(uri).path.rpartition("/")[2]
    suffix = _SUFFIX.search(name)
    digest = hashlib.sha256(uri.encode()).hexdigest()[:16]
    target = directory / f"{digest}{suffix[0] if suffix else ''}"
    directory.mkdir(parents=True, exist_ok=True)
    partial = target.with_name(target.name + ".partial")
    try:
        with urllib.request.urlopen(uri, timeout=60) as answer, partial.open("wb") as file:  # noqa: S310 - http(s) only
            shutil.copyfileobj(answer, file)
    except OSError as error:
        partial.unlink(missing_ok=True)
        raise UsageError(f"{uri}: cannot be downloaded: {error}") from error
    partial.replace(target)
    return target


__all__ = ["download", "fetch", "locate"]
