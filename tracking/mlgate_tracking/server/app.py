"""The server as one ASGI application."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from functools import cache

import msgspec
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import PlainTextResponse, Response
from starlette.routing import Route
from starlette.types import ASGIApp

from mlgate_tracking.contract import ServerStore
from mlgate_tracking.server.api import JsonApi
from mlgate_tracking.server.compression import Compressed
from mlgate_tracking.server.endpoints import Endpoint
from mlgate_tracking.server.files import Files
from mlgate_tracking.server.middleware import Authentication, BrowserGuard, Measured, StaticPrefix
from mlgate_tracking.server.routes import (
    artifacts,
    experiments,
    logged_models,
    metrics,
    mlgate,
    promotions,
    registry,
    runs,
    traces,
    users,
    webhooks,
)
from mlgate_tracking.server.routes import server_info as info
from mlgate_tracking.server.settings import ServerSettings
from mlgate_tracking.server.shortcut import Shortcut
from mlgate_tracking.server.state import ServerState

SERVER_VERSION = "0.1.0"
"""What `/version` says: clients read 3.4 or more as an offer of OTLP, which this server does not make."""


def endpoints(settings: ServerSettings) -> list[Endpoint]:
    """Every JSON endpoint of a server with these settings."""
    if settings.artifacts_only:
        return [*artifacts.PROXY_ENDPOINTS, *info.ENDPOINTS]
    groups = [
        experiments,
        runs,
        metrics,
        artifacts,
        logged_models,
        registry,
        webhooks,
        traces,
        mlgate,
        promotions,
        users,
        info,
    ]
    found = [endpoint for group in groups for endpoint in group.ENDPOINTS]
    return found + (list(artifacts.PROXY_ENDPOINTS) if settings.serve_artifacts else [])


def create_app(store: ServerStore, settings: ServerSettings | None = None) -> ASGIApp:
    """Build the application. It uses the store from many threads, and does not close it.

    Args:
        settings: an open server on the working directory's `mlartifacts` when None.
    """
    settings = settings or ServerSettings(artifacts_destination="mlartifacts")
    state = ServerState(store, settings)

    @asynccontextmanager
    async def lifespan(_app: Starlette) -> AsyncIterator[None]:
        if settings.tend_outbox:
            state.webhooks.wake()
        yield
        state.close()

    pages = Starlette(routes=_routes(state), lifespan=lifespan, exception_handlers={404: _unknown_route})
    app: ASGIApp = JsonApi(state, endpoints(settings), otherwise=pages)
    if settings.gzip:
        app = Compressed(app, state.threads)
    app = Authentication(app, state)
    app = BrowserGuard(app, settings)
    app = Measured(app, state.measurements, log=settings.access_log)
    if settings.static_prefix.strip("/"):
        app = StaticPrefix(app, settings.static_prefix)
    return Shortcut(app, state.threads)


def _routes(state: ServerState) -> list[Route]:
    @cache
    def document() -> str:
        from mlgate_tracking.server import openapi

        documented = [(method, route.path) for route in routes for method in route.methods or ()]
        return msgspec.json.encode(openapi.document(endpoints(state.settings), SERVER_VERSION, documented)).decode()

    routes = [
        _text("/health", lambda: "OK"),
        _text("/version", lambda: SERVER_VERSION),
        _text("/openapi.json", document, "application/json"),
        _text("/metrics", lambda: state.measurements.render(SERVER_VERSION), "text/plain; version=0.0.4"),
        *Files(state).routes(),
    ]
    return routes


def _text(path: str, body: Callable[[], str], media_type: str = "text/plain") -> Route:
    async def answer(_request: Request) -> Response:
        return PlainTextResponse(body(), media_type=media_type)

    answer.__name__ = path.strip("/")
    return Route(path, answer)


async def _unknown_route(_request: Request, _error: Exception) -> Response:
    # Plain text on purpose: clients take a 404 in JSON for a server failure and then do not fall back.
    return PlainTextResponse("Not Found", 404)


__all__ = ["SERVER_VERSION", "create_app", "endpoints"]
