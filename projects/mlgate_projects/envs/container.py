"""One step's container: started, followed, stopped and always removed, with nothing left behind."""

from __future__ import annotations

import contextlib
import os
import queue
import socket
import threading
import time
from collections.abc import Mapping
from typing import Any

from mlgate_projects.errors import EnvironmentUnavailable
from mlgate_projects.masking import Masker
from mlgate_projects.process import Cancel, Lines, OnOutput, OnStart, Outcome, ProcessRequest, Stop, Stream

TOKEN_LABEL = "mlgate.token"  # noqa: S105 - a label's name
"""Label that holds the token of the step's ledger row, by which leftovers are found."""

_POLL = 0.1  # seconds between looks at `cancel`
_LONGEST_GRACE = 3.0  # seconds between TERM and KILL at most, so that a stop ends in under 5 s
_PIECES = 64  # pieces of output waiting to be passed on; a full queue holds the container back instead of growing
_ANSWER_WITHIN = 30  # seconds for one call to the engine
_FIRST_SAMPLE, _LAST_SAMPLE = 0.2, 2.0  # seconds between looks at memory and CPU time; the distance doubles
_SIGNALLED = 128


def connect(timeout: float = _ANSWER_WITHIN) -> Any:
    """A client of the Docker engine that `DOCKER_HOST` names (the local one by default).

    Raises:
        EnvironmentUnavailable: the SDK is not installed, or no engine answers.
    """
    try:
        import docker
        from docker import errors
    except ImportError:
        raise EnvironmentUnavailable("docker_env needs the Docker SDK: install mlgate[docker]") from None
    try:
        _knock(os.environ.get("DOCKER_HOST") or "unix:///var/run/docker.sock")
        client = docker.from_env(version="auto", timeout=timeout).api
    except (errors.DockerException, OSError) as error:
        reason = str(error).splitlines()[0][:200]
        raise EnvironmentUnavailable(
            f"docker_env: no Docker engine answers ({reason}); start it, or set DOCKER_HOST"
        ) from None
    return client


def _knock(address: str) -> None:
    """Try a local engine's socket; the SDK would leave its own open on failure."""
    if address.startswith("unix://"):
        with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as knocking:
            try:
                knocking.connect("/" + address.removeprefix("unix://").lstrip("/"))
            except OSError as error:
                raise OSError(f"{address}: {error.strerror}") from None


def run_container(
    client: Any,
    config: Mapping[str, Any],
    request: ProcessRequest,
    on_output: OnOutput,
    cancel: Cancel | None,
    on_start: OnStart | None,
) -> Outcome:
    """Create a container, run it to its end and remove it.

    Args:
        config: body of the engine's create call; `name` and `platform` are taken out of it.

    A container that cannot be created or started ends with exit code 125 and the engine's reason on standard error, as
    `docker run` does; a command that the image does not have ends with 127.
    """
    started = time.time()
    body = dict(config)
    parameters: dict[str, Any] = {key: body.pop(key) for key in ("name", "platform") if key in body}
    identity = ""
    try:
        identity = _create(client, body, parameters)
        running = _Running(client, identity, request, on_output)
        try:
            running.start()
            if on_start is not None:
                on_start({"container_id": identity, "token": request.token})
            stopped = running.follow(cancel)
            return running.outcome(started, stopped)
        finally:
            _remove(client, identity)
            running.close()
    except _EngineRefused as refusal:
        on_output(Stream.STDERR, f"docker: {refusal.reason}\n".encode())
        return Outcome(request.argv, refusal.exit_code, started, time.time(), container_id=identity or None)


def remove_leftovers(token: str) -> int:
    """Remove the containers that carry this token; returns how many there were. No engine, no containers."""
    try:
        client = connect()
    except EnvironmentUnavailable:
        return 0
    try:
        found = client.containers(all=True, quiet=True, filters={"label": f"{TOKEN_LABEL}={token}"})
        for container in found:
            _remove(client, container["Id"])
        return len(found)
    finally:
        client.close()


class _EngineRefused(Exception):
    def __init__(self, reason: str, exit_code: int) -> None:
        super().__init__(reason)
        self.reason = reason
        self.exit_code = exit_code


def _create(client: Any, body: dict[str, Any], parameters: dict[str, Any]) -> str:
    from docker import errors

    try:
        answer = client.create_container_from_config(body, **parameters)
    except errors.APIError as error:
        raise _EngineRefused(str(error.explanation or error), 125) from None
    return str(answer["Id"])


def _remove(client: Any, identity: str) -> None:
    """Remove a container whatever state it is in; one that is going already is left to go."""
    from docker import errors

    with contextlib.suppress(errors.NotFound):
        for _ in range(20):
            try:
                client.remove_container(identity, force=True, v=True)
                return
            except errors.APIError as error:
                if error.status_code != 409:  # removal is in progress
                    raise
                time.sleep(0.1)


class _Running:
    """A container between start and end: its output, its figures, its stop."""

    def __init__(self, client: Any, identity: str, request: ProcessRequest, on_output: OnOutput) -> None:
        self._client, self._identity, self._request = client, identity, request
        self._lines = {stream: Lines(stream, Masker(request.secrets), on_output) for stream in Stream}
        self._pieces: queue.Queue[tuple[Stream, bytes] | None] = queue.Queue(_PIECES)
        self._peak, self._cpu = 0, 0.0
        self._closed = threading.Event()
        self._ended = False
        self._socket: Any = None
        self._tty = False
        self._reader: threading.Thread | None = None
        self._next_sample = time.monotonic() + _FIRST_SAMPLE
        self._sample_distance = _FIRST_SAMPLE

    def start(self) -> None:
        from docker import errors

        # Attached before the start, so that not a byte is missed.
        self._socket = self._client.attach_socket(self._identity)
        self._tty = bool(self._client.inspect_container(self._identity)["Config"]["Tty"])
        try:
            self._client.start(self._identity)
        except errors.APIError as error:
            reason = str(error.explanation or error)
            missing = "executable file not found" in reason or "no such file or directory" in reason
            raise _EngineRefused(reason, 127 if missing else 125) from None
        self._reader = threading.Thread(target=self._read, name="mlgate-container", daemon=True)
        self._reader.start()

    def follow(self, cancel: Cancel | None) -> Stop | None:
        """Pass output on until the container has ended, or stop it; returns why it was stopped."""
        limit = None if self._request.timeout is None else time.monotonic() + self._request.timeout
        try:
            while not self._is_over():
                if cancel is not None and cancel.is_set():
                    self._stop()
                    return Stop.CANCELLED
                if limit is not None and time.monotonic() >= limit:
                    self._stop()
                    return Stop.TIMEOUT
                self._sample()
                left = _POLL if limit is None else min(_POLL, max(0.0, limit - time.monotonic()))
                self._pump(left)
        except BaseException:
            self._kill("SIGKILL")
            raise
        self._drain()
        return None

    def outcome(self, started: float, stopped: Stop | None) -> Outcome:
        state = self._client.inspect_container(self._identity)["State"]
        code = int(state["ExitCode"])
        return Outcome(
            argv=self._request.argv,
            exit_code=code,
            started=started,
            ended=time.time(),
            signal=code - _SIGNALLED if stopped is not None and code > _SIGNALLED else None,
            stopped=stopped,
            peak_memory=self._peak or None,
            cpu_time=self._cpu or None,
            oom_killed=bool(state.get("OOMKilled")),
            container_id=self._identity,
        )

    def close(self) -> None:
        self._closed.set()
        with contextlib.suppress(queue.Empty):  # a reader that waits for room ends
            while True:
                self._pieces.get_nowait()
        if self._reader is not None:
            self._reader.join(2)
        if self._socket is not None:
            # The answer owns the connection, of which the socket is only a part.
            getattr(self._socket, "_response", self._socket).close()

    def _is_over(self) -> bool:
        """Whether the container has ended; its output may end before that only when the engine loses it."""
        if not self._ended:
            return False
        return not self._client.inspect_container(self._identity)["State"]["Running"]

    def _pump(self, wait: float) -> None:
        try:
            piece = self._pieces.get(timeout=max(wait, 0.001))
        except queue.Empty:
            pass
        else:
            if piece is None:
                self._ended = True
            else:
                self._lines[piece[0]].feed(piece[1])
        if self._ended:
            time.sleep(min(wait, 0.005))
        now = time.monotonic()
        for lines in self._lines.values():
            lines.tick(now)

    def _drain(self) -> None:
        deadline = time.monotonic() + 1
        while not self._ended and time.monotonic() < deadline:
            self._pump(_POLL)
        for lines in self._lines.values():
            lines.finish()

    def _stop(self) -> None:
        """TERM, a grace, KILL; what the step still says meanwhile is passed on."""
        try:
            self._kill("SIGTERM")
            deadline = time.monotonic() + max(0.0, min(self._request.grace, _LONGEST_GRACE))
            while not self._is_over() and time.monotonic() < deadline:
                self._pump(0.02)
        finally:
            self._kill("SIGKILL")
        deadline = time.monotonic() + 1.5
        while not self._is_over() and time.monotonic() < deadline:
            self._pump(0.02)
        self._drain()

    def _kill(self, name: str) -> None:
        from docker import errors

        with contextlib.suppress(errors.APIError):  # it has ended
            self._client.kill(self._identity, name)

    def _read(self) -> None:
        """In a thread: everything the container writes, in order, both streams apart."""
        from docker.utils.socket import STDERR, frames_iter

        try:
            for number, piece in frames_iter(self._socket, self._tty):
                which = Stream.STDERR if number == STDERR else Stream.STDOUT
                if piece and not self._offer((which, piece)):
                    return
        except Exception as error:  # the connection broke; the exit code still comes from the engine
            self._offer((Stream.STDERR, f"docker: output was lost: {error}\n".encode()))
        finally:
            self._offer(None)

    def _offer(self, piece: tuple[Stream, bytes] | None) -> bool:
        while not self._closed.is_set():
            try:
                self._pieces.put(piece, timeout=0.5)
                return True
            except queue.Full:
                continue
        return False

    def _sample(self) -> None:
        """Memory and CPU time as the engine counts them."""
        from docker import errors

        now = time.monotonic()
        if now < self._next_sample:
            return
        self._sample_distance = min(self._sample_distance * 2, _LAST_SAMPLE)
        self._next_sample = now + self._sample_distance
        try:
            sample = self._client.stats(self._identity, stream=False, one_shot=True)
        except (errors.APIError, errors.InvalidVersion):
            return  # it has just ended, or the engine is too old; then the figures are unknown
        memory = sample.get("memory_stats") or {}
        self._peak = max(self._peak, memory.get("max_usage") or 0, memory.get("usage") or 0)
        used = ((sample.get("cpu_stats") or {}).get("cpu_usage") or {}).get("total_usage") or 0
        self._cpu = max(self._cpu, used / 1e9)


__all__ = ["TOKEN_LABEL", "connect", "remove_leftovers", "run_container"]
