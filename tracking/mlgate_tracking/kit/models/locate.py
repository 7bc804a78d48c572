"""Where a model URI points to: `runs:/RUN/path`, `models:/NAME/1|stage|latest`, `models:/NAME@alias`, `models:/m-ID`,
an artifact URI of the server, or a local directory.
"""

from __future__ import annotations

import os
from dataclasses import dataclass

from mlgate_tracking.kit.files import Files
from mlgate_tracking.kit.transport import Connection, Refused

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from mlgate_tracking.kit.client import TrackingClient

DIGEST_TAG = "mlgate.model.sha256"
"""Tag of a model version; on a run the key goes on with `.<artifact path>`."""


@dataclass(frozen=True)
class Place:
    """Files, the path of the model in them, and the digest that the store has on record for its MLmodel file."""

    files: Files
    path: str
    digest: str | None = None


def run_tag(path: str) -> str:
    """Key of the run's tag that holds the digest of the model at `path`."""
    return "%s.%s" % (DIGEST_TAG, path) if path else DIGEST_TAG


def is_local(uri: str) -> bool:
    scheme = uri.partition(":")[0] if ":" in uri else ""
    return len(scheme) < 2 or scheme == "file"


def place(client: TrackingClient | None, uri: str) -> Place:
    """Resolve a model URI.

    Args:
        client: None will do for local directories.

    Raises:
        TrackingError: the URI is malformed, or names nothing.
    """
    if is_local(uri) or client is None:
        from urllib.parse import unquote, urlsplit

        directory = unquote(urlsplit(uri).path) if uri.startswith("file:") else uri
        if not os.path.isdir(directory):
            raise Refused("no directory %r; a model URI is a local directory, runs:/RUN/path or models:/NAME/1" % uri)
        return Place(Files(_NO_CONNECTION, os.path.abspath(directory)), "")
    if uri.startswith("runs:"):
        return _of_run(client, uri)
    if uri.startswith("models:"):
        return _of_registry(client, uri)
    return Place(client.files_at(uri), "")


def locate(client: TrackingClient, uri: str) -> tuple[Files, str]:
    """(files, path in them) of any artifact URI."""
    found = place(client, uri)
    return found.files, found.path


def _of_run(client: TrackingClient, uri: str) -> Place:
    run_id, _, path = uri[len("runs:") :].strip("/").partition("/")
    run = client.get_run(run_id)
    files = client.files(run_id)
    digest = run.data.tags.get(run_tag(path))
    if digest is None and path and not files.entries(path):
        found = _logged_model(client, run.info.experiment_id, run_id, path)
        if found is not None:
            return Place(client.files_at(found), "")
    return Place(files, path, digest)


def _logged_model(client: TrackingClient, experiment_id: str, run_id: str, name: str) -> str | None:
    """Artifact URI of the model that a 3.x client logged under this name from this run."""
    body = {"experiment_ids": [experiment_id], "filter": "name = '%s'" % name.replace("'", ""), "max_results": 100}
    try:
        answer = client.connection.call("POST", "/api/2.0/mlflow/logged-models/search", body)
    except Refused:  # a server from before 3.0
        return None
    infos: list[dict[str, Any]] = [model["info"] for model in answer.get("models", ())]
    mine = [info for info in infos if info.get("source_run_id") == run_id]
    newest = max(mine, key=lambda info: int(info.get("creation_timestamp_ms", 0)), default=None)
    return str(newest["artifact_uri"]) if newest else None


def _of_registry(client: TrackingClient, uri: str) -> Place:
    name = uri[len("models:") :].strip("/")
    if "/" not in name and "@" not in name:
        return Place(client.files_at(str(client.get_logged_model(name)["info"]["artifact_uri"])), "")
    if "@" in name and "/" not in name:
        model, _, alias = name.rpartition("@")
        version = client.get_model_version_by_alias(model, alias)
    else:
        model, _, wanted = name.rpartition("/")
        if wanted.isdigit():
            version = client.get_model_version(model, wanted)
        else:
            stages = None if wanted.lower() == "latest" else [wanted]
            latest = client.get_latest_versions(model, stages)
            if not latest:
                raise Refused("model %r has no version %r" % (model, wanted), "RESOURCE_DOES_NOT_EXIST", 404)
            version = max(latest, key=lambda each: int(each.version))
    digest = version.tags.get(DIGEST_TAG)
    source = client.get_model_version_download_uri(version.name, version.version)
    if source.startswith(("runs:", "models:/m-")):
        found = place(client, source)
        return Place(found.files, found.path, digest or found.digest)
    return Place(client.files_at(source), "", digest)


class _NoConnection(Connection):
    """Local directories need no server."""

    def __init__(self) -> None:
        self.uri = ""
        self._socket = None


_NO_CONNECTION = _NoConnection()

__all__ = ["DIGEST_TAG", "Place", "is_local", "locate", "place", "run_tag"]
