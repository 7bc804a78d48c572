"""This process's tie to the tracking server: one client, one buffer, made on first use and flushed at exit."""

from __future__ import annotations

import atexit
import os
import threading
import time

from mlgate_tracking.kit import log
from mlgate_tracking.kit.buffer import Buffer
from mlgate_tracking.kit.client import TrackingClient
from mlgate_tracking.kit.files import checked
from mlgate_tracking.kit.spool import is_refusal
from mlgate_tracking.kit.transport import Refused, TrackingError, Unreachable, tracking_uri

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any

PATIENCE = 60.0
"""Seconds that a call which needs an answer (a new run's id) waits for a server that is away."""


def in_step() -> bool:
    """Whether a runner started this process: it keeps the spool, closes the step's run, and must never be failed."""
    return bool(os.environ.get("MLGATE_RUN_ID"))


def step_run_id() -> str:
    return os.environ.get("MLGATE_RUN_ID", "")


def spool_directory() -> str:
    """MLGATE_SPOOL, or a directory of this user's own in the temporary directory."""
    given = os.environ.get("MLGATE_SPOOL")
    if given:
        return given
    import stat
    import tempfile

    uid = os.getuid() if hasattr(os, "getuid") else 0
    directory = os.path.join(tempfile.gettempdir(), "mlgate-spool-%d" % uid)
    try:
        os.makedirs(directory, mode=0o700, exist_ok=True)
        status = os.lstat(directory)
        if stat.S_ISDIR(status.st_mode) and status.st_uid == uid and not status.st_mode & 0o077:
            return directory
    except OSError:
        pass
    return tempfile.mkdtemp(prefix="mlgate-spool-")  # somebody else holds the name


class ClientSink:
    """Sends spooled records through a `TrackingClient`."""

    def __init__(self, client: TrackingClient) -> None:
        self._client = client

    def log_batch(self, run_id: str, body: bytes) -> None:
        self._client.send_batch(run_id, body)

    def upload(self, run_id: str, path: str, file: str) -> None:
        self._client.files(run_id).upload(path, file)

    def end_run(self, run_id: str, status: str, end_time: int) -> None:
        self._client.set_terminated(run_id, status, end_time)


class Session:
    """Client and buffer of this process for one tracking server."""

    def __init__(self, uri: str) -> None:
        self.uri = uri
        self._server: Any = None
        self._gave_up = False
        token = None
        if not uri.startswith(("http://", "https://")):
            from mlgate_tracking.kit.embedded import serve

            self._server, token = serve(uri)
        self.client = TrackingClient(self._server.uri if self._server else uri, timeout=20.0, token=token)
        self.buffer = Buffer(spool_directory(), ClientSink(self.client))

    def wait_for(self, call: Callable[[], Any], patience: float = PATIENCE) -> Any:
        """The call's answer, asked again for `patience` seconds while the server is away.

        Raises:
            Unreachable: it stayed away.
            Refused: it said no.
        """
        deadline = time.monotonic() + (1.0 if self._gave_up else patience)
        pause = 0.1
        while True:
            try:
                answer = call()
                self._gave_up = False
                return answer
            except Unreachable:
                self.buffer.away = True
                if time.monotonic() + pause > deadline:
                    self._gave_up = True  # the next call does not wait as long again
                    raise
                time.sleep(pause)
                pause = min(pause * 2, 2.0)

    def upload(self, run_id: str, path: str, file: str) -> None:
        """Store a file with the run: at once when the server answers, else a copy waits in the spool.

        Raises:
            Refused: the path is not one; or, outside a step, the server says no.
        """
        checked(path)
        if not self.buffer.away:
            try:
                self.client.files(run_id).upload(path, file)
                return
            except TrackingError as error:
                log.failure("uploading %s" % path, error)
                self.buffer.away = isinstance(error, Unreachable)
                if is_refusal(error):
                    if in_step():
                        return
                    raise
        import shutil

        waiting = os.path.join(self.buffer.directory, "%d-%s.artifact" % (os.getpid(), os.urandom(6).hex()))
        os.makedirs(self.buffer.directory, mode=0o700, exist_ok=True)
        shutil.copyfile(file, waiting)
        self.buffer.artifact(run_id, path, waiting)

    def write(self, run_id: str, path: str, content: bytes) -> None:
        """`upload` for content in memory."""
        import tempfile

        handle, name = tempfile.mkstemp(prefix="mlgate-")
        try:
            with os.fdopen(handle, "wb") as file:
                file.write(content)
            self.upload(run_id, path, name)
        finally:
            os.unlink(name)

    def flush_limit(self) -> float:
        """Seconds to wait at exit for a server that is away. In a step the runner has the spool: no need to wait."""
        try:
            return float(os.environ["MLGATE_FLUSH_TIMEOUT"])
        except (KeyError, ValueError):
            return 1.0 if in_step() else 30.0

    def close(self) -> None:
        if not self.buffer.close(self.flush_limit()):
            log.write("the tracking server is away; what is left waits in %s" % self.buffer.directory)
        elif not in_step():
            try:
                self.buffer.adopt()
            except TrackingError as error:
                log.failure("sending what an earlier process left", error)
        self.client.close()
        if self._server is not None:
            self._server.__exit__(None, None, None)
            self._server = None


def _on_terminate(_number: int, _frame: Any) -> None:
    """Send what is waiting, then die of the signal as the script would have."""
    import signal

    signal.signal(signal.SIGTERM, signal.SIG_DFL)
    try:
        if _session is not None:
            _session.buffer.flush(2.0)
    finally:
        os.kill(os.getpid(), signal.SIGTERM)


def _watch_signals() -> None:
    """Flush on TERM, unless the script handles it itself. Not in a step: there the runner has the spool, and waits
    for nothing.
    """
    import signal

    if in_step() or threading.current_thread() is not threading.main_thread():
        return
    if signal.getsignal(signal.SIGTERM) is signal.SIG_DFL:
        signal.signal(signal.SIGTERM, _on_terminate)


_session: Session | None = None
_making = threading.RLock()


def session() -> Session:
    """The session of this process. The tracking URI is read once; `refresh` reads it again."""
    return _session if _session is not None else refresh()


def refresh() -> Session:
    """The session for the tracking URI of now.

    Raises:
        Refused: no tracking URI is set.
    """
    global _session
    uri = tracking_uri()
    with _making:
        if _session is None or _session.uri != uri:
            if not uri:
                raise Refused(
                    "no tracking server: set MLFLOW_TRACKING_URI (such as http://127.0.0.1:5000), "
                    "or call set_tracking_uri"
                )
            fresh = Session(uri)
            if _session is not None:
                _session.close()
            else:
                _watch_signals()
            _session = fresh
        return _session


def current() -> Session | None:
    """The session, if there is one already."""
    return _session


def _close() -> None:
    if _session is not None:
        try:
            _session.close()
        except Exception as error:
            log.failure("closing", error)


def _forget() -> None:
    global _session, _making
    _session, _making = None, threading.RLock()


atexit.register(_close)
if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_forget)

__all__ = ["ClientSink", "Session", "current", "in_step", "refresh", "session", "step_run_id"]
