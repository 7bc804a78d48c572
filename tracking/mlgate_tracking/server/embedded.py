"""The server that lives as long as one step: it listens at once, and starts serving when somebody comes.

Binding a socket costs a tenth of a millisecond; importing a web framework and opening a database cost hundreds. So the
socket is bound and listening before the step's process starts (a connection waits in the kernel's queue), and the rest
happens in a thread on the first connection. A step that never talks to the server never pays for it.
"""

from __future__ import annotations

import dataclasses
import os
import selectors
import socket
import threading
from collections.abc import Callable
from contextlib import closing
from typing import TYPE_CHECKING, Any, Self, cast

from mlgate_tracking.contract import ServerStore, Store
from mlgate_tracking.entities import Fence
from mlgate_tracking.server.settings import ServerSettings
from mlgate_tracking.server.tokens import StepTokens

if TYPE_CHECKING:
    from starlette.types import ASGIApp

BACKLOG = 256
DRAIN_SECONDS = 5.0
KEEP_ALIVE_SECONDS = 3600
"""Whoever connects is the step or a child of it, and all of them end with the step."""


class EmbeddedServer:
    """Serves a store on a port of its own, to holders of step tokens only.

    Use as a context manager; `uri` is known, and connections are accepted, as soon as the block is entered. Leaving it
    lets requests in flight finish (at most `DRAIN_SECONDS`), and closes the store that `open_store` gave, if it did.

    Args:
        open_store: called in the serving thread on the first connection; the store is closed at the end.
        settings: `step_tokens_only` is taken as set, unless there is an access token.
        host: address to bind; `0.0.0.0` lets containers in.
        advertised_host: the name to put into `uri` when it differs from `host`.
    """

    def __init__(
        self,
        open_store: Callable[[], Store],
        settings: ServerSettings,
        host: str = "127.0.0.1",
        *,
        advertised_host: str | None = None,
    ) -> None:
        self._open_store = open_store
        self._settings = settings
        self._tokens = StepTokens(settings.token_secret, settings.token_lifetime)
        # With the protocol named, asyncio turns Nagle's algorithm off; it costs 40 ms on every small answer.
        family = socket.AF_INET6 if ":" in host else socket.AF_INET
        self._socket = socket.socket(family, socket.SOCK_STREAM, socket.IPPROTO_TCP)
        try:
            self._socket.bind((host, 0))
            self._socket.listen(BACKLOG)
        except OSError:
            self._socket.close()
            raise
        self.port: int = self._socket.getsockname()[1]
        name = advertised_host or ("127.0.0.1" if host == "0.0.0.0" else host)  # noqa: S104 - compared, not bound
        self.uri = f"http://[{name}]:{self.port}" if ":" in name else f"http://{name}:{self.port}"
        # Writing to this pipe wakes the thread that waits for the first connection.
        self._wake_read, self._wake_write = os.pipe()
        self._closed = False
        self.started = False
        """Whether anybody has connected yet."""
        self._thread = threading.Thread(target=self._wait_and_serve, name="mlgate-embedded-server", daemon=True)
        self.failure: BaseException | None = None
        """What ended the serving thread, if it did not end by itself."""

    def mint_token(self, fence: Fence) -> str:
        """A token for one attempt of one step."""
        return self._tokens.mint(fence)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_exc: object) -> None:
        self.close()

    def close(self) -> None:
        """Stop; safe to call twice."""
        if self._closed:
            return
        self._closed = True
        os.write(self._wake_write, b"x")
        if self._thread.is_alive():
            self._thread.join(DRAIN_SECONDS + 5.0)
        self._socket.close()
        os.close(self._wake_read)
        os.close(self._wake_write)

    def _wait_and_serve(self) -> None:
        with selectors.DefaultSelector() as selector:
            selector.register(self._socket, selectors.EVENT_READ)
            selector.register(self._wake_read, selectors.EVENT_READ)
            selector.select()
        if self._closed:
            return
        try:
            self._serve()
        except BaseException as error:
            self.failure = error
            raise

    def _serve(self) -> None:
        import asyncio

        from mlgate_tracking.server.app import create_app

        settings = self._settings
        if settings.access_token is None:
            settings = dataclasses.replace(settings, step_tokens_only=True)
        with closing(self._open_store()) as store:
            self.started = True
            # Only database stores are ever opened here, and those are servers' stores.
            app = create_app(cast("ServerStore", store), settings)
            asyncio.run(_serve_until(self._wake_read, self._socket, app))


async def _serve_until(stop: int, listener: socket.socket, app: ASGIApp) -> None:
    """Serve on a listening socket until the descriptor `stop` can be read.

    uvicorn's own server looks ten times a second whether it should stop; at the end of every step that would be most of
    what mlgate costs. So this drives uvicorn's protocol itself, and stops at once.
    """
    import asyncio

    import uvicorn
    from uvicorn.server import ServerState

    config = uvicorn.Config(
        app,
        log_config=None,
        access_log=False,
        lifespan="on",
        ws="none",
        server_header=False,
        timeout_keep_alive=KEEP_ALIVE_SECONDS,
    )
    config.load()
    lifespan = config.lifespan_class(config)
    await lifespan.startup()
    loop = asyncio.get_running_loop()
    state = ServerState()
    protocol: Any = config.http_protocol_class
    server = await loop.create_server(
        lambda: protocol(config=config, server_state=state, app_state=lifespan.state, _loop=loop), sock=listener
    )
    stopped = asyncio.Event()
    loop.add_reader(stop, stopped.set)
    await stopped.wait()
    loop.remove_reader(stop)
    server.close()
    for connection in list(state.connections):
        connection.shutdown()
    deadline = loop.time() + DRAIN_SECONDS
    while (state.connections or state.tasks) and loop.time() < deadline:
        await asyncio.sleep(0.002)
    await lifespan.shutdown()


__all__ = ["BACKLOG", "DRAIN_SECONDS", "EmbeddedServer"]
