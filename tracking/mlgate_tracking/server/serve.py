"""Run a server of its own, as `mlgate server` does."""

from __future__ import annotations

import asyncio
import gc
import importlib
import logging
import signal
import socket
import sys
from collections.abc import Callable
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import cast

from mlgate_tracking.contract import ServerStore
from mlgate_tracking.errors import InvalidParameterValue
from mlgate_tracking.server.settings import ServerSettings

DRAIN_SECONDS = 30
KEEP_ALIVE_SECONDS = 75
"""How long an idle connection is kept; a client that finds its own closed may have to ask again."""


@dataclass(frozen=True, slots=True)
class ServeOptions:
    """Where and how to listen.

    Attributes:
        store_uri: database that holds the runs: `sqlite:///`, `postgresql://`, `mysql://`.
        artifact_root: default artifact location of new experiments.
        workers: processes; each has its own pool of connections.
        certificate, key: PEM files; both, or neither.
    """

    store_uri: str
    artifact_root: str = "mlflow-artifacts:/"
    host: str = "127.0.0.1"
    port: int = 5000
    workers: int = 1
    certificate: str | None = None
    key: str | None = None
    key_password: str | None = None


def serve(options: ServeOptions, settings: ServerSettings, *, ready: Callable[[str], None] | None = None) -> None:
    """Serve until a signal (INT or TERM) asks to stop; requests in flight are finished first.

    Args:
        ready: called with the server's URI once it is listening.

    Raises:
        InvalidParameterValue: the address cannot be bound, or a certificate comes without its key.
    """
    if bool(options.certificate) != bool(options.key):
        raise InvalidParameterValue("TLS needs both a certificate and its key; give --ssl-certfile and --ssl-keyfile")
    for name, path in (("certificate", options.certificate), ("key", options.key)):
        if path and not Path(path).is_file():
            raise InvalidParameterValue(f"there is no TLS {name} file {path!r}")
    listener = _bind(options.host, options.port)
    # Opened once before any worker is, so that exactly one process makes or checks the schema.
    open_store(options).close()
    if ready is not None:
        ready(_uri(options, listener))
    if options.workers == 1:
        serve_on(listener, options, settings)
    else:
        from mlgate_tracking.server.workers import supervise

        supervise(listener, options, settings)


def open_store(options: ServeOptions) -> ServerStore:
    """The database store that the options name."""
    sql = importlib.import_module("mlgate_tracking.store.sql")
    return cast("ServerStore", sql.SqlStore(options.store_uri, artifact_root=options.artifact_root))


def _bind(host: str, port: int) -> socket.socket:
    # With the protocol named, asyncio turns Nagle's algorithm off; it costs 40 ms on every small answer.
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    listener = socket.socket(family, socket.SOCK_STREAM, socket.IPPROTO_TCP)
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        listener.bind((host, port))
    except OSError as error:
        listener.close()
        raise InvalidParameterValue(f"cannot listen on {host}:{port}: {error.strerror or error}") from None
    listener.listen(2048)
    return listener


def _uri(options: ServeOptions, listener: socket.socket) -> str:
    host = f"[{options.host}]" if ":" in options.host else options.host
    return f"{'https' if options.certificate else 'http'}://{host}:{listener.getsockname()[1]}"


def serve_on(listener: socket.socket, options: ServeOptions, settings: ServerSettings) -> None:
    """Serve in this process, on a socket that is listening already, until INT or TERM."""
    import uvicorn

    from mlgate_tracking.server.app import create_app

    _log_to_standard_streams()
    _collect_less()
    with closing(open_store(options)) as store:
        config = uvicorn.Config(
            create_app(store, settings),
            log_config=None,
            access_log=False,
            lifespan="on",
            ws="none",
            server_header=False,
            timeout_graceful_shutdown=DRAIN_SECONDS,
            timeout_keep_alive=KEEP_ALIVE_SECONDS,
            ssl_certfile=options.certificate,
            ssl_keyfile=options.key,
            ssl_keyfile_password=options.key_password,
        )
        server = uvicorn.Server(config)
        # uvicorn would raise the signal again once it has stopped; for a server, being asked to stop is no failure.
        for received in (signal.SIGINT, signal.SIGTERM):
            signal.signal(received, server.handle_exit)
        with asyncio.Runner(loop_factory=config.get_loop_factory()) as runner:
            runner.run(server._serve([listener]))


def _collect_less() -> None:
    """Look for garbage less often: a page of runs is tens of thousands of objects, and none of them is a cycle."""
    gc.collect()
    gc.freeze()
    gc.set_threshold(100_000, 20, 20)


def _log_to_standard_streams() -> None:
    """Requests go to standard output, one JSON object a line; everything else to standard error."""
    from mlgate_tracking.server.middleware import access_log

    logging.basicConfig(
        stream=sys.stderr, level=logging.WARNING, format="%(asctime)s %(levelname)s %(name)s: %(message)s"
    )
    handler = logging.StreamHandler(sys.stdout)
    handler.setFormatter(logging.Formatter("%(message)s"))
    access_log.handlers = [handler]
    access_log.setLevel(logging.INFO)
    access_log.propagate = False


__all__ = ["DRAIN_SECONDS", "ServeOptions", "open_store", "serve", "serve_on"]
