"""Words and numbers of MLflow's own storage."""

from __future__ import annotations

import re
from pathlib import Path
from urllib.parse import unquote, urlsplit

from mlgate_tracking.artifacts import is_proxied
from mlgate_tracking.entities import LoggedModelStatus, RunStatus
from mlgate_tracking.store.model_sources import without_server

DELETED_STAGE = "Deleted_Internal"
"""The stage of a model version that was deleted: its row is kept, so that its number is not given out again."""

LOGGED_MODEL_STATUSES = {
    0: LoggedModelStatus.UNSPECIFIED,
    1: LoggedModelStatus.PENDING,
    2: LoggedModelStatus.READY,
    3: LoggedModelStatus.UPLOAD_FAILED,
}

RUN_STATUSES = {
    1: RunStatus.RUNNING,
    2: RunStatus.SCHEDULED,
    3: RunStatus.FINISHED,
    4: RunStatus.FAILED,
    5: RunStatus.KILLED,
}

_SCHEME = re.compile(r"([A-Za-z][A-Za-z0-9+.-]+):")


def readable_location(uri: str, folder: Path | None = None) -> str | None:
    """Where files of an artifact URI can be read from.

    None for an object store's, whose files stay in place, and for a run that has no URI.

    Args:
        folder: what a relative path may be relative to, besides the working directory.
    """
    if not uri:
        return None
    path = local_path(uri)
    if path is None:
        uri = without_server(uri)
        return uri if is_proxied(uri) else None
    if folder is not None and not path.is_absolute() and (folder / path).is_dir():
        path = folder / path
    return str(path.absolute())


def local_path(uri: str) -> Path | None:
    """The path of a local artifact URI."""
    match = _SCHEME.match(uri)
    if match is None:
        return Path(uri)
    return Path(unquote(urlsplit(uri).path)) if match.group(1).lower() == "file" else None


__all__ = ["DELETED_STAGE", "LOGGED_MODEL_STATUSES", "RUN_STATUSES", "local_path", "readable_location"]
