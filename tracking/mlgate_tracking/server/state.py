"""What all requests of one server share."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, cast
from urllib.parse import unquote, urlsplit

from mlgate_tracking.artifacts import ArtifactRepository
from mlgate_tracking.contract import ServerStore
from mlgate_tracking.errors import PermissionDenied
from mlgate_tracking.server.access import ANYBODY, Caller, Callers
from mlgate_tracking.server.delivery import OutboxDelivery
from mlgate_tracking.server.endpoints import Call
from mlgate_tracking.server.measure import Measurements
from mlgate_tracking.server.settings import ServerSettings
from mlgate_tracking.server.tokens import StepTokens

if TYPE_CHECKING:
    from starlette.types import Scope

    from mlgate_tracking.server.events import Event, Listener


class ServerState:
    """The store, its artifacts, the tokens and the threads of one server."""

    def __init__(self, store: ServerStore, settings: ServerSettings) -> None:
        self.store = store
        self.settings = settings
        self.tokens = StepTokens(settings.token_secret, settings.token_lifetime)
        self.callers = Callers(store, settings, self.tokens)
        self.measurements = Measurements(settings.measurements_directory)
        self.webhooks = OutboxDelivery(store, settings)
        self.listeners: list[Listener] = [self.webhooks]
        self.threads = ThreadPoolExecutor(settings.threads, thread_name_prefix="mlgate-server")

    @cached_property
    def proxied(self) -> ArtifactRepository:
        """The repository behind `mlflow-artifacts:/`."""
        return self.repository("mlflow-artifacts:/")

    def repository(self, uri: str) -> ArtifactRepository:
        """The repository of any artifact URI that runs and models of this store have."""
        from mlgate_tracking.artifacts import repository_for

        self._check_local(uri)
        return repository_for(uri, destination=self.settings.artifacts_destination)

    def _check_local(self, uri: str) -> None:
        scheme, colon, _ = uri.partition(":")
        if colon and len(scheme) > 1 and scheme.lower() != "file":
            return
        path = Path(unquote(urlsplit(uri).path) if scheme.lower() == "file" else uri).resolve()
        destination = self.settings.artifacts_destination
        for root in (destination, *self.settings.local_roots):
            if root and path.is_relative_to(Path(root.removeprefix("file://")).resolve()):
                return
        raise PermissionDenied(f"this server does not read artifacts below {path}; it lies outside its artifact roots")

    def call(self, scope: Scope, idempotency_key: str | None = None) -> Call:
        """A request that has passed authentication, with the store as its caller may use it."""
        caller: Caller = scope.get("caller", ANYBODY)
        store = self.store
        if caller.fence is not None:
            store = cast("ServerStore", store.fenced(caller.fence))
        elif caller.identity is not None:
            store = store.identified(caller.identity)
        return Call(store, self, caller.fence, caller.identity, idempotency_key)

    def emit(self, event: Event) -> None:
        """Tell every listener; none of them may block."""
        for listener in self.listeners:
            listener(event)

    def close(self) -> None:
        self.webhooks.close()
        self.threads.shutdown(wait=True)


__all__ = ["ServerState"]
