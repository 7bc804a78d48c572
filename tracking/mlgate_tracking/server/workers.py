"""Several processes that accept from one socket.

Each worker is a fresh interpreter (`python -m mlgate_tracking.server`): it inherits the listening socket and reads its
configuration, secrets included, from the first line of its standard input. The supervisor keeps that pipe open for as
long as the worker shall serve: its end, also that of a supervisor that was killed, lets the worker finish what is in
flight and go. A worker that dies is replaced.
"""

from __future__ import annotations

import logging
import os
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import time
from dataclasses import dataclass, replace
from types import FrameType
from typing import BinaryIO

import msgspec

from mlgate_tracking.server.serve import DRAIN_SECONDS, ServeOptions, serve_on
from mlgate_tracking.server.settings import ServerSettings

log = logging.getLogger(__name__)

RESTART_PAUSE = 1.0
"""Seconds between the starts of workers that keep dying."""


def supervise(listener: socket.socket, options: ServeOptions, settings: ServerSettings) -> None:
    """Keep `options.workers` workers running until INT or TERM, then let them finish."""
    stop = threading.Event()

    def ask_to_stop(_signal: int, _frame: FrameType | None) -> None:
        stop.set()

    for received in (signal.SIGINT, signal.SIGTERM):
        signal.signal(received, ask_to_stop)
    with tempfile.TemporaryDirectory(prefix="mlgate-server-") as directory:
        told = Configuration(listener.fileno(), options, replace(settings, measurements_directory=directory))
        configuration = msgspec.json.encode(told) + b"\n"
        workers = [_start(listener, configuration) for _ in range(options.workers)]
        while not stop.wait(0.1):
            for index, worker in enumerate(workers):
                if worker.poll() is not None:
                    log.error("worker %d ended with status %d; starting another", worker.pid, worker.returncode)
                    stop.wait(RESTART_PAUSE)
                    _ask_to_end(worker)
                    workers[index] = _start(listener, configuration)
        listener.close()
        _end(workers, time.monotonic() + DRAIN_SECONDS + 5)


def _start(listener: socket.socket, configuration: bytes) -> subprocess.Popen[bytes]:
    worker = subprocess.Popen(
        [sys.executable, "-m", "mlgate_tracking.server"],
        stdin=subprocess.PIPE,
        pass_fds=[listener.fileno()],
        # Ctrl-C in a terminal reaches the supervisor alone, which then asks the workers.
        start_new_session=True,
    )
    assert worker.stdin is not None
    worker.stdin.write(configuration)
    worker.stdin.flush()
    return worker


def _ask_to_end(worker: subprocess.Popen[bytes]) -> None:
    assert worker.stdin is not None
    worker.stdin.close()


def _end(workers: list[subprocess.Popen[bytes]], deadline: float) -> None:
    for worker in workers:
        _ask_to_end(worker)
    for worker in workers:
        try:
            worker.wait(max(0.0, deadline - time.monotonic()))
        except subprocess.TimeoutExpired:
            worker.kill()
            worker.wait()


@dataclass(frozen=True, slots=True)
class Configuration:
    """What a worker is told; `descriptor` is the inherited listening socket."""

    descriptor: int
    options: ServeOptions
    settings: ServerSettings


def run_worker(source: BinaryIO) -> None:
    """Serve as the first line of `source` says, until its end; the body of a worker process."""
    configuration = msgspec.json.decode(source.readline(), type=Configuration)
    listener = socket.socket(fileno=configuration.descriptor)
    threading.Thread(target=_end_with, args=(source.fileno(),), name="mlgate-supervisor-watch", daemon=True).start()
    serve_on(listener, configuration.options, configuration.settings)


def _end_with(supervisor: int) -> None:
    # Read from the descriptor: a thread that sits in a buffered stream would break the interpreter's own end.
    os.read(supervisor, 1)
    os.kill(os.getpid(), signal.SIGTERM)


__all__ = ["Configuration", "run_worker", "supervise"]
