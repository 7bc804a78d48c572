"""What all requests of one server share."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from functools import cached_property
from typing import TYPE_CHECKING

from mlgate_tracking.artifacts import ArtifactRepository
from mlgate_tracking.contract import Store
from mlgate_tracking.entities import Fence
from mlgate_tracking.server.measure import Measurements
from mlgate_tracking.server.settings import ServerSettings
from mlgate_tracking.server.tokens import StepTokens

if TYPE_CHECKING:
    from mlgate_tracking.server.events import Event, Listener


class ServerState:
    """The store, its artifacts, the tokens and the threads of one server."""

    def __init__(self, store: Store, settings: ServerSettings) -> None:
        self.store = store
        self.settings = settings
        self.tokens = StepTokens(settings.token_secret, settings.token_lifetime)
        self.measurements = Measurements()
        self.listeners: list[Listener] = []
        self.threads = ThreadPoolExecutor(settings.threads, thread_name_prefix="mlgate-server")

    @cached_property
    def proxied(self) -> ArtifactRepository:
        """The repository behind `mlflow-artifacts:/`."""
        return self.repository("mlflow-artifacts:/")

    def repository(self, uri: str) -> ArtifactRepository:
        """The repository of any artifact URI that runs and models of this store have."""
        from mlgate_tracking.artifacts import repository_for

        return repository_for(uri, destination=self.settings.artifacts_destination)

    def view(self, fence: Fence | None) -> Store:
        """The store as the holder of a step token may use it."""
        return self.store if fence is None else self.store.fenced(fence)

    def emit(self, event: Event) -> None:
        """Tell every listener; none of them may block."""
        for listener in self.listeners:
            listener(event)

    def close(self) -> None:
        self.threads.shutdown(wait=True)


__all__ = ["ServerState"]
