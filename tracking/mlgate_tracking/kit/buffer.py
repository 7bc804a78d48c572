"""Hands metrics, params and tags over in microseconds: a line in the spool now, the network in the background.

One `Buffer` per process. Its lock is held for a write of some hundred bytes; the sending thread reads the file and
never needs the caller's lock. Where the disk refuses, records wait in memory instead.
"""

from __future__ import annotations

import json
import os
import threading
import time

from mlgate_tracking.kit import log
from mlgate_tracking.kit.spool import Segment, replay, send_lines

TYPE_CHECKING = False
if TYPE_CHECKING:
    from mlgate_tracking.kit.spool import Sink

SEGMENT = 32 << 20
"""Bytes after which a new spool file is begun, so that sent ones can go."""
LINGER = 0.2
"""Seconds that the sender waits for more before it sends."""
IN_MEMORY = 200_000
"""Records kept in memory when the disk refuses; further ones are dropped."""


class Buffer:
    """Everything that this process logs passes through here, in order.

    Args:
        directory: where the spool files go; made if missing.
        sink: the network.
    """

    def __init__(self, directory: str, sink: Sink) -> None:
        self.directory = directory
        self._sink = sink
        self._lock = threading.RLock()  # reentrant: a signal handler may log as well
        self._draining = threading.RLock()
        self._awake = threading.Event()
        self._stopped = threading.Event()
        self._thread: threading.Thread | None = None
        self._segments: list[Segment] = []
        self._handle = -1
        self._size = 0
        self._torn = False
        self._memory: list[bytes] = []
        self._prefixes: dict[tuple[str, str], str] = {}
        self.away = False
        """True while the server does not answer."""

    # --- the caller's side --------------------------------------------------------------------------------------

    def metric(self, run_id: str, key: str, value: float, timestamp: int, step: int) -> None:
        prefix = self._prefixes.get((run_id, key))
        if prefix is None:
            prefix = 'm %s {"key": %s, "value": ' % (run_id, json.dumps(key))
            self._prefixes[run_id, key] = prefix
        text = repr(value)
        if text[-1] in "fn":  # inf, -inf, nan
            text = {"nan": '"NaN"', "inf": '"Infinity"', "-inf": '"-Infinity"'}[text]
        self.append(('%s%s, "timestamp": %d, "step": %d}\n' % (prefix, text, timestamp, step)).encode())

    def param(self, run_id: str, key: str, value: str) -> None:
        self.append(("p %s %s\n" % (run_id, json.dumps({"key": key, "value": value}))).encode())

    def tag(self, run_id: str, key: str, value: str) -> None:
        self.append(("t %s %s\n" % (run_id, json.dumps({"key": key, "value": value}))).encode())

    def artifact(self, run_id: str, path: str, file: str) -> None:
        """Upload `file` (which lies in the spool directory and is ours to delete) when the server answers."""
        self.append(("a %s %s\n" % (run_id, json.dumps({"path": path, "file": file}))).encode())

    def end(self, run_id: str, status: str, end_time: int) -> None:
        self.append(("e %s %s\n" % (run_id, json.dumps({"status": status, "end_time": end_time}))).encode())

    def append(self, line: bytes) -> None:
        with self._lock:
            if self._handle < 0 or self._size > SEGMENT:
                self._begin_segment()
            self._write(line)
        if not self._awake.is_set():
            self._awake.set()
        if self._thread is None:
            self._start()

    def _write(self, line: bytes) -> None:
        if self._handle >= 0:
            try:
                whole = b"\n" + line if self._torn else line
                written = os.write(self._handle, whole)
                self._size += written
                self._torn = written != len(whole)
                if not self._torn:
                    return
            except OSError as error:
                if not self._memory:
                    log.failure("writing to the spool", error)
        if len(self._memory) < IN_MEMORY:
            self._memory.append(line)
        elif len(self._memory) == IN_MEMORY:
            self._memory.append(b"")
            log.write("neither disk nor server takes what the script logs; metrics are being dropped")

    def _begin_segment(self) -> None:
        """Open the next spool file; without one (disk full, no permission) records stay in memory."""
        path = os.path.join(self.directory, "%d-%s.spool" % (os.getpid(), os.urandom(6).hex()))
        try:
            os.makedirs(self.directory, mode=0o700, exist_ok=True)
            handle = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND, log.mode_in(self.directory))
        except OSError as error:
            if self._handle < 0 and not self._memory:
                log.failure("opening a spool in %s" % self.directory, error)
            return
        if self._handle >= 0:
            os.close(self._handle)
        self._handle, self._size, self._torn = handle, 0, False
        self._segments.append(Segment(path))

    # --- the sender's side --------------------------------------------------------------------------------------

    def _start(self) -> None:
        with self._lock:
            if self._thread is not None or self._stopped.is_set():
                return
            self._thread = threading.Thread(target=self._run, name="mlgate-sender", daemon=True)
        try:
            self._thread.start()
        except RuntimeError:  # the interpreter is shutting down: `flush` at exit sends it
            pass

    def _run(self) -> None:
        pause = 0.1
        while not self._stopped.is_set():
            self._awake.wait()
            self._stopped.wait(LINGER)
            self._awake.clear()
            if self._try_drain():
                pause = 0.1
                continue
            self._awake.set()
            self._stopped.wait(pause)
            pause = min(pause * 2, 5.0)

    def _try_drain(self, timeout: float = -1) -> bool:
        """Send all there is; False when the server is away, or another thread keeps sending for `timeout` seconds."""
        if not self._draining.acquire(timeout=timeout):
            return False
        try:
            try:
                self._drain()
            except Exception as error:
                if not self.away:
                    log.failure("sending to the tracking server", error)
                self.away = True
                return False
            if self.away:
                log.write("the tracking server is back")
            self.away = False
            return True
        finally:
            self._draining.release()

    def _drain(self) -> None:
        while True:
            with self._lock:
                segments = list(self._segments)
            for segment in segments:
                segment.drain(self._sink)
            for done in segments[:-1]:  # a later one is being written, so nothing is added to these
                done.remove()
                with self._lock:
                    self._segments.remove(done)
            if len(segments) == len(self._segments) or not segments:
                break
        with self._lock:
            waiting = len(self._memory)
        if waiting:
            send_lines([line.rstrip(b"\n") for line in self._memory[:waiting]], self._sink)
            with self._lock:
                del self._memory[:waiting]

    def flush(self, timeout: float) -> bool:
        """Send everything that was handed over before; False when the server was away for `timeout` seconds."""
        deadline = time.monotonic() + timeout
        pause = 0.05
        while not self._try_drain(max(0.0, deadline - time.monotonic())):
            if time.monotonic() + pause > deadline:
                return False
            time.sleep(pause)
            pause = min(pause * 2, 1.0)
        return True

    def close(self, timeout: float) -> bool:
        """Flush, stop the sender, and remove the spool if nothing is left in it. The buffer can be used again."""
        self._stopped.set()
        self._awake.set()
        flushed = self.flush(timeout)
        with self._lock:
            if flushed:
                if self._handle >= 0:
                    os.close(self._handle)
                self._handle = -1
                for segment in self._segments:
                    segment.remove()
                self._segments = []
        return flushed

    def adopt(self) -> int:
        """Send what processes that are gone have left in the directory; returns the number of records."""
        own = "%d-" % os.getpid()

        def alive(path: str) -> bool:
            name = os.path.basename(path)
            return name.startswith(own) or _alive(name.partition("-")[0])

        return replay(self.directory, self._sink, skip=alive)


def _alive(pid: str) -> bool:
    try:
        os.kill(int(pid), 0)
    except (ValueError, ProcessLookupError):
        return False
    except OSError:  # somebody else's process
        return True
    return True


__all__ = ["Buffer"]
