"""The store as a step needs it: where experiments, artifacts and the address for the child come from.

A remote server is simply used. A database is opened here, and a small server on a loopback port serves it to the
child for as long as the child runs.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, cast

from mlgate.settings import Settings
from mlgate_tracking.artifacts import ArtifactRepository, repository_for
from mlgate_tracking.client import artifacts_destination_of, connect
from mlgate_tracking.entities import Fence, Run, StepRun

if TYPE_CHECKING:
    from mlgate_tracking.contract import Store
    from mlgate_tracking.rest import RestStore
    from mlgate_tracking.transport import RetryPolicy


@dataclass(frozen=True, slots=True)
class Endpoint:
    """What the child talks to: a URI, and a token that is good for its own run only."""

    uri: str
    token: str | None


class Tracking:
    """An open store. Use `open_tracking`."""

    def __init__(self, settings: Settings, store: Store) -> None:
        self.settings = settings
        self.store = store

    def experiment_id(self, name: str | None, experiment_id: str | None) -> str:
        """The id for a name (created when it is new) or for an id (which must exist); `0` when neither is given."""
        if experiment_id is not None:
            return self.store.get_experiment(experiment_id).experiment_id
        if name is not None:
            return self.store.ensure_experiment(name).experiment_id
        return "0"

    def repository(self, artifact_uri: str) -> ArtifactRepository:
        """Where the files of a run or model are."""
        if hasattr(self.store, "send"):  # a server's client, told apart without loading it
            return repository_for(artifact_uri, client=cast("RestStore", self.store))
        return repository_for(artifact_uri, destination=self.destination)

    @property
    def destination(self) -> str:
        """Where a database store keeps `mlflow-artifacts:` files."""
        return artifacts_destination_of(self.settings.tracking_uri, self.settings.artifacts_destination)

    def fetch(self, uri: str, directory: Path) -> Path:
        """Download what a URI names into `directory`; see `mlgate.fetch`."""
        from mlgate.fetch import fetch

        return fetch(uri, directory, self.store, self.repository)

    def log_text(self, run: Run, path: str, text: str) -> None:
        self.repository(run.info.artifact_uri).upload(path, iter([text.encode()]))

    def log_file(self, run: Run, path: str, file: Path) -> None:
        self.repository(run.info.artifact_uri).upload_file(path, file)

    @contextlib.contextmanager
    def endpoint(self, opened: StepRun, *, host: str = "127.0.0.1") -> Iterator[Endpoint]:
        """An address that the step's process can reach, listening before the process starts.

        Args:
            host: the address to listen on for a database store (a container may need another one than loopback).
        """
        if self.settings.remote:
            yield Endpoint(self.settings.tracking_uri, opened.token)
            return
        from mlgate_tracking.server.embedded import EmbeddedServer
        from mlgate_tracking.server.settings import ServerSettings

        settings = ServerSettings(artifacts_destination=self.destination)
        # A store of its own: it is opened only if somebody connects, and closed when the step ends.
        with EmbeddedServer(lambda: connect(self.settings.tracking_uri), settings, host=host) as server:
            yield Endpoint(server.uri, server.mint_token(Fence(opened.run.info.run_id, opened.attempt)))

    def replay_spool(self, fence: Fence, directory: Path) -> int:
        """Write to the store what a step handed over while it could not reach the server; returns the records."""
        if not any(directory.glob("*.spool")):
            return 0
        from mlgate_tracking import spooled

        store = self.store.fenced(fence)
        return spooled.replay(directory, store, self.repository)


@contextlib.contextmanager
def open_tracking(settings: Settings, *, retry: RetryPolicy | None = None) -> Iterator[Tracking]:
    """Connect to the store that the settings name; a SQLite database and its directory are made on first use.

    Args:
        retry: patience with a server; by default the client's own.
    """
    store = connect(
        settings.tracking_uri, settings.artifacts_destination, credentials=settings.credentials, retry=retry
    )
    try:
        yield Tracking(settings, store)
    finally:
        store.close()


__all__ = ["Endpoint", "Tracking", "open_tracking"]
