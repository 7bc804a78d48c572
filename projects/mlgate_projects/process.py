"""The one door to a step's process: start it in its own session, stream its output, stop its whole tree.

`run` never raises for what the process does: exit codes, signals and time-outs are in the `Outcome`, and the caller
decides what failure means.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import resource
import selectors
import signal
import subprocess
import time
import uuid
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from pathlib import Path
from typing import IO, Protocol

from mlgate_projects import procfs
from mlgate_projects.masking import Masker


class Stream(StrEnum):
    STDOUT = "stdout"
    STDERR = "stderr"


class Stop(StrEnum):
    """Why we ended the process ourselves."""

    TIMEOUT = "timeout"
    CANCELLED = "cancelled"


OnOutput = Callable[[Stream, bytes], None]
"""Called with each piece of output as it comes (whole lines, or what there is after a while), never concurrently."""

OnStart = Callable[[Mapping[str, object]], None]
"""Called once with what identifies the process: `pid`, `session`, `start_ticks`, `token`, or `container_id`."""


class Cancel(Protocol):
    """Asked between waits; `threading.Event` is one."""

    def is_set(self) -> bool: ...


@dataclass(frozen=True, slots=True)
class ProcessRequest:
    """What to run.

    Attributes:
        argv: the command as a list; nothing is passed through a shell here.
        env: the whole environment of the child; nothing is inherited besides it.
        timeout: seconds of wall time, None for no limit.
        grace: seconds between TERM and KILL when stopping; the whole stop stays under 5 s.
        secrets: values that are masked (`***`) wherever output is passed on.
        labels: what the ledger and containers are marked with (run id, attempt, step).
        paths: files and directories outside `cwd` that the command reads or writes; a kind with a file system of its
            own puts them there under the same path.
        read_only_paths: the same, for those that it must not write.
        token: marks every process of the tree, so that strays are found again; made up when empty. The ledger's
            token goes in here.
    """

    argv: tuple[str, ...]
    cwd: Path
    env: Mapping[str, str]
    timeout: float | None = None
    grace: float = 3.0
    secrets: tuple[str, ...] = ()
    labels: Mapping[str, str] = field(default_factory=dict)
    paths: tuple[Path, ...] = ()
    read_only_paths: tuple[Path, ...] = ()
    token: str = ""


@dataclass(frozen=True, slots=True)
class Outcome:
    """What became of it.

    Attributes:
        exit_code: 0 to 255 as a shell would say it (128 + signal for a death by signal; 127 and 126 when it could not
            be found or started).
        signal: number of the signal that ended it, None for an ordinary exit.
        stopped: why we stopped it, None when it ended by itself.
        started, ended: seconds since the epoch.
        peak_memory: bytes, the largest resident size of any one process of the tree; None when unknown.
        cpu_time: seconds, user + system of the whole tree; None when unknown.
        oom_killed: the kernel or the engine ended it for lack of memory.
        container_id: of the container it ran in, if any.
    """

    argv: tuple[str, ...]
    exit_code: int
    started: float
    ended: float
    signal: int | None = None
    stopped: Stop | None = None
    peak_memory: int | None = None
    cpu_time: float | None = None
    oom_killed: bool = False
    container_id: str | None = None

    @property
    def ok(self) -> bool:
        return self.exit_code == 0 and self.stopped is None


_READ = 1 << 18
_PIPE = 1 << 20  # bytes; a writer of much output is woken sixteen times less often than with the default pipe
_PARTIAL_AFTER = 0.2  # seconds until text without a line end (a prompt, a progress bar) is passed on
_LONGEST_LINE = 1 << 20  # bytes; a longer line is passed on in pieces
_POLL = 0.1  # seconds between looks at `cancel`
_EXIT_POLL = 0.02  # the same where there is no pidfd, because there the exit shows only in these looks
_AFTER_EXIT = 0.5  # seconds that strays may go on writing after the command itself has ended
_LONGEST_GRACE = 3.0  # seconds; with `_KILL_WITHIN` and the looks between them a stop ends in under 5 s
_KILL_WITHIN = 1.5
_FIRST_SAMPLE, _LAST_SAMPLE = 0.03, 2.0  # seconds between samples of the tree; the distance doubles
_RECENT = 10.0  # seconds; no machine gives out all its pids in this time
_F_SETPIPE_SZ: int | None = getattr(fcntl, "F_SETPIPE_SZ", None)


def run(
    request: ProcessRequest,
    on_output: OnOutput,
    cancel: Cancel | None = None,
    on_start: OnStart | None = None,
) -> Outcome:
    """Run a command to its end.

    Its whole tree is ended before this returns or raises: what the command left running in the background, too.
    An exception from a callback, or Ctrl-C, stops the tree first and then goes on.
    """
    token = request.token or uuid.uuid4().hex
    started = time.time()
    own_peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    try:
        child = _start(request, token)
    except OSError as error:
        on_output(Stream.STDERR, f"{request.argv[0]}: cannot start: {_start_problem(error, request)}\n".encode())
        code = 127 if isinstance(error, FileNotFoundError | NotADirectoryError) else 126
        return Outcome(request.argv, code, started, time.time())
    running = _Running(request, child, token, on_output)
    try:
        if on_start is not None:
            on_start(running.identity())
        stopped = running.follow(cancel)
        running.end_strays()
    except BaseException:
        running.stop()
        raise
    finally:
        running.close()
    return running.outcome(started, stopped, own_peak)


def stop_tree(
    root: int,
    ticks: int = 0,
    token: str = "",
    *,
    grace: float = _LONGEST_GRACE,
    known: Iterable[tuple[int, int]] = (),
    between: Callable[[float], object] = time.sleep,
) -> int:
    """End a step's processes: TERM to all, KILL after `grace` seconds (at most 3) to what is left.

    Args:
        root, ticks, token, known: as for `procfs.tree`.
        between: called with the seconds to wait between two looks; reads output meanwhile.

    Returns:
        How many processes were signalled.
    """
    if not procfs.available():
        return _stop_group(root, grace, between)
    seen: set[tuple[int, int]] = set(known)
    signalled: set[tuple[int, int]] = set()

    def look() -> list[procfs.Process]:
        found = procfs.tree(root, ticks, token, seen)
        seen.update(one.identity for one in found)
        return found

    deadline = time.monotonic() + max(0.0, min(grace, _LONGEST_GRACE))
    wait = 0.01
    while found := look():
        if time.monotonic() >= deadline:
            break
        for one in found:
            if one.identity not in signalled:
                signalled.add(one.identity)
                procfs.send(one, signal.SIGTERM)
                procfs.send(one, signal.SIGCONT)  # a stopped process acts on TERM only once it goes on
        between(min(wait, max(0.0, deadline - time.monotonic())))
        wait = min(wait * 2, 0.1)
    deadline = time.monotonic() + _KILL_WITHIN
    while found := look():
        if time.monotonic() >= deadline:
            break  # only processes in uninterruptible sleep are left; the kernel ends them when they wake
        for one in found:
            signalled.add(one.identity)
            procfs.send(one, signal.SIGKILL)
        between(0.01)
    return len(signalled)


def _stop_group(group: int, grace: float, between: Callable[[float], object]) -> int:
    """`stop_tree` where there is no /proc: the process group is all that can be found."""
    deadline = time.monotonic() + max(0.0, min(grace, _LONGEST_GRACE))
    try:
        os.killpg(group, signal.SIGTERM)
        while time.monotonic() < deadline:
            between(0.05)
            os.killpg(group, 0)
        os.killpg(group, signal.SIGKILL)
    except (ProcessLookupError, PermissionError):  # macOS says EPERM for a group of zombies
        pass
    return 1


def _start(request: ProcessRequest, token: str) -> subprocess.Popen[bytes]:
    outer = os.environ.get(procfs.MARK)
    mark = f"{outer}:{token}" if outer else token
    child = subprocess.Popen(
        request.argv,
        cwd=request.cwd,
        env={**request.env, procfs.MARK: mark},
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        bufsize=0,
        start_new_session=True,
    )
    for pipe in (child.stdout, child.stderr):
        assert pipe is not None
        os.set_blocking(pipe.fileno(), False)
        if _F_SETPIPE_SZ is not None:
            with contextlib.suppress(OSError):  # a user's pipes are limited in all; the default size does too
                fcntl.fcntl(pipe.fileno(), _F_SETPIPE_SZ, _PIPE)
    return child


def _start_problem(error: OSError, request: ProcessRequest) -> str:
    if not request.cwd.is_dir():
        return f"working directory {str(request.cwd)!r} does not exist"
    return os.strerror(error.errno) if error.errno else str(error)


class Lines:
    """Cuts one stream into whole lines, holding back unfinished ones for a short while."""

    def __init__(self, stream: Stream, masker: Masker, on_output: OnOutput) -> None:
        self._stream, self._masker, self._on_output = stream, masker, on_output
        self._text = bytearray()
        self._since = 0.0

    def feed(self, chunk: bytes) -> None:
        text = self._masker.feed(chunk)
        if not text:
            return
        if not self._text:
            self._since = time.monotonic()
        self._text += text
        end = self._text.rfind(b"\n") + 1
        if end == 0 and len(self._text) > _LONGEST_LINE:
            end = len(self._text)
        self._pass_on(end)

    def tick(self, now: float) -> None:
        if self._text and now - self._since >= _PARTIAL_AFTER:
            self._pass_on(len(self._text))

    def finish(self) -> None:
        self._text += self._masker.finish()
        self._pass_on(len(self._text))

    def _pass_on(self, end: int) -> None:
        if end:
            piece = bytes(self._text[:end])
            del self._text[:end]
            self._since = time.monotonic()
            self._on_output(self._stream, piece)


class _Running:
    """A started child: its streams, its samples and its end."""

    def __init__(
        self, request: ProcessRequest, child: subprocess.Popen[bytes], token: str, on_output: OnOutput
    ) -> None:
        self._request, self._child, self._token = request, child, token
        found = procfs.process(child.pid)  # it may have ended already, but it is not reaped
        self._ticks = 0 if found is None else found.start_ticks
        self._began = time.monotonic()
        self._usage: resource.struct_rusage | None = None
        self._status: int | None = None
        self._cpu: dict[tuple[int, int], float] = {}
        self._peak = 0
        self._next_sample = time.monotonic() + _FIRST_SAMPLE
        self._sample_distance = _FIRST_SAMPLE
        self._selector = selectors.DefaultSelector()
        self._pipes: dict[int, tuple[IO[bytes], Lines]] = {}
        for stream, pipe in ((Stream.STDOUT, child.stdout), (Stream.STDERR, child.stderr)):
            assert pipe is not None
            self._pipes[pipe.fileno()] = (pipe, Lines(stream, Masker(request.secrets), on_output))
            self._selector.register(pipe.fileno(), selectors.EVENT_READ)
        self._pidfd = _open_pidfd(child.pid)
        if self._pidfd is not None:
            self._selector.register(self._pidfd, selectors.EVENT_READ)

    def identity(self) -> dict[str, object]:
        return {"pid": self._child.pid, "session": self._child.pid, "start_ticks": self._ticks, "token": self._token}

    def follow(self, cancel: Cancel | None) -> Stop | None:
        """Pass output on until the command has ended, or stop it; returns why it was stopped."""
        limit = None if self._request.timeout is None else time.monotonic() + self._request.timeout
        while self._status is None:
            if cancel is not None and cancel.is_set():
                self.stop()
                return Stop.CANCELLED
            now = time.monotonic()
            if limit is not None and now >= limit:
                self.stop()
                return Stop.TIMEOUT
            self._sample(now)
            wait = _POLL if self._pidfd is not None else _EXIT_POLL
            self._pump(wait if limit is None else min(wait, max(0.0, limit - now)))
        return None

    def end_strays(self) -> None:
        """Read what is still in the pipes, then end what the command left behind."""
        deadline = time.monotonic() + _AFTER_EXIT
        while self._pipes and time.monotonic() < deadline and (self._pump(0.02) or self._left_running()):
            pass
        if self._left_running():
            self.stop()
        self._drain()

    def stop(self) -> None:
        """End the whole tree, passing on what it still says; a second Ctrl-C meanwhile kills at once."""
        arguments = (self._child.pid, self._ticks, self._token)
        try:
            stop_tree(*arguments, grace=self._request.grace, known=self._cpu, between=self._pump)
        except BaseException:
            stop_tree(*arguments, grace=0, known=self._cpu, between=lambda _: self._reap())
            raise
        finally:
            self._reap(block=True)
        self._drain()

    def close(self) -> None:
        self._selector.close()
        if self._pidfd is not None:
            os.close(self._pidfd)
        for pipe in (self._child.stdout, self._child.stderr):
            assert pipe is not None
            pipe.close()

    def outcome(self, started: float, stopped: Stop | None, own_peak: int) -> Outcome:
        assert self._status is not None
        number = os.WTERMSIG(self._status) if os.WIFSIGNALED(self._status) else None
        code = 128 + number if number is not None else os.WEXITSTATUS(self._status)
        cpu, peak = sum(self._cpu.values()), self._peak
        if self._usage is not None:
            cpu = max(cpu, self._usage.ru_utime + self._usage.ru_stime)
            # Between vfork and exec the child is counted with this process's own memory, so a peak that is not well
            # above it (the kernel's counters are not exact) says nothing, and the samples have to do.
            unit = 1024 if os.uname().sysname == "Linux" else 1
            if self._usage.ru_maxrss > own_peak * 1.1 or not peak:
                peak = max(peak, self._usage.ru_maxrss * unit)
        return Outcome(
            argv=self._request.argv,
            exit_code=code,
            started=started,
            ended=time.time(),
            signal=number,
            stopped=stopped,
            peak_memory=peak or None,
            cpu_time=cpu,
        )

    def _pump(self, wait: float) -> bool:
        """Wait for output or the exit, at most `wait` seconds; returns whether there was any output."""
        any_output = False
        for key, _ in self._selector.select(wait):
            if key.fd == self._pidfd:
                self._reap()
            else:
                any_output |= self._read(key.fd)
        if self._pidfd is None:
            self._reap()
        now = time.monotonic()
        for _, lines in self._pipes.values():
            lines.tick(now)
        return any_output

    def _read(self, fd: int) -> bool:
        pipe, lines = self._pipes[fd]
        try:
            chunk = os.read(fd, _READ)
        except BlockingIOError:
            return False
        if chunk:
            lines.feed(chunk)
            return True
        self._selector.unregister(fd)
        del self._pipes[fd]
        lines.finish()
        pipe.close()
        return False

    def _drain(self) -> None:
        """Take what is in the pipes without waiting, then let them go."""
        for fd in list(self._pipes):
            while fd in self._pipes and self._read(fd):
                pass
        for fd, (_, lines) in list(self._pipes.items()):
            self._selector.unregister(fd)
            lines.finish()
        self._pipes.clear()

    def _reap(self, *, block: bool = False) -> None:
        if self._status is not None:
            return
        pid, status, usage = os.wait4(self._child.pid, 0 if block else os.WNOHANG)
        if pid:
            self._status, self._usage = status, usage
            self._child.returncode = os.waitstatus_to_exitcode(status)
            if self._pidfd is not None:
                with contextlib.suppress(KeyError):
                    self._selector.unregister(self._pidfd)

    def _left_running(self) -> bool:
        recent = time.monotonic() - self._began < _RECENT
        return bool(procfs.tree(self._child.pid, self._ticks, self._token, self._cpu, recent=recent))

    def _sample(self, now: float) -> None:
        if now < self._next_sample:
            return
        for found in procfs.descendants(self._child.pid):
            self._cpu[found.identity] = found.cpu_time
            self._peak = max(self._peak, procfs.peak_resident(found.pid))
        self._sample_distance = min(self._sample_distance * 2, _LAST_SAMPLE)
        self._next_sample = now + self._sample_distance


def _open_pidfd(pid: int) -> int | None:
    """A descriptor that becomes readable when the process ends; None where the kernel has none (macOS)."""
    try:
        return os.pidfd_open(pid)
    except (AttributeError, OSError):
        return None


__all__ = [
    "Cancel",
    "Lines",
    "OnOutput",
    "OnStart",
    "Outcome",
    "ProcessRequest",
    "Stop",
    "Stream",
    "run",
    "stop_tree",
]
