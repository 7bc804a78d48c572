"""What /proc says about processes: identity that survives pid reuse, sessions, marks, memory and CPU time.

Where /proc is missing (macOS) the answers are empty, and callers fall back to process groups.
"""

from __future__ import annotations

import contextlib
import os
import signal
from collections.abc import Collection, Iterator
from dataclasses import dataclass
from pathlib import Path

_PROC = Path("/proc")
_PAGE = os.sysconf("SC_PAGE_SIZE")
_TICKS_PER_SECOND = os.sysconf("SC_CLK_TCK")

MARK = "MLGATE_PROCESS_MARK"
"""Variable that every process of a step inherits: the tokens of all enclosing steps, joined by colons."""


@dataclass(frozen=True, slots=True)
class Process:
    """One line of the process table.

    Attributes:
        start_ticks: start time in clock ticks since boot; pid and start_ticks together are never reused.
        cpu_time: seconds of user and system time of the process itself.
        resident: bytes of memory in use now.
    """

    pid: int
    parent: int
    group: int
    session: int
    state: str
    start_ticks: int
    cpu_time: float
    resident: int

    @property
    def identity(self) -> tuple[int, int]:
        return self.pid, self.start_ticks

    @property
    def ended(self) -> bool:
        return self.state in "ZX"


def available() -> bool:
    return _PROC.joinpath("self/stat").exists()


def process(pid: int) -> Process | None:
    """The process with this pid, None when there is none (or no /proc)."""
    raw = _content(f"/proc/{pid}/stat")
    if not raw:
        return None
    # The command name stands in parentheses and may hold spaces and parentheses itself.
    fields = raw[raw.rindex(b")") + 2 :].split()
    return Process(
        pid=pid,
        state=fields[0].decode(),
        parent=int(fields[1]),
        group=int(fields[2]),
        session=int(fields[3]),
        start_ticks=int(fields[19]),
        cpu_time=(int(fields[11]) + int(fields[12])) / _TICKS_PER_SECOND,
        resident=int(fields[21]) * _PAGE,
    )


def processes(since: int = 0) -> Iterator[Process]:
    """Every process that can be seen; with `since`, only those whose pid was given out after that one.

    Pids are given out in ascending order and start again at the end of their range, so `since` must be recent.
    """
    try:
        names = os.listdir(_PROC)  # noqa: PTH208 - names are all that is needed, hundreds of them
    except OSError:
        return
    last = int(_content("/proc/loadavg").split()[-1]) if since else 0
    for name in names:
        if not name.isdigit():
            continue
        pid = int(name)
        newer = since < pid <= last if since <= last else pid > since or pid <= last
        if (newer or not since) and (found := process(pid)) is not None:
            yield found


def _content(path: str) -> bytes:
    """A small file of /proc, empty when it cannot be read; without the layers of `open`, because there are hundreds."""
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    except OSError:
        return b""
    try:
        pieces = []
        while piece := os.read(descriptor, 1 << 16):
            pieces.append(piece)
        return b"".join(pieces)
    except OSError:
        return b""
    finally:
        os.close(descriptor)


def start_ticks(pid: int) -> int:
    """Start time of a live process in ticks since boot, 0 when it is gone."""
    found = process(pid)
    return 0 if found is None or found.ended else found.start_ticks


def is_alive(pid: int, ticks: int) -> bool:
    """Whether exactly this process still runs; `ticks` 0 compares the pid alone."""
    if not available():
        try:
            os.kill(pid, 0)
        except ProcessLookupError:
            return False
        except PermissionError:
            return True
        return True
    now = start_ticks(pid)
    return now != 0 and ticks in (0, now)


def carries(pid: int, token: str) -> bool:
    """Whether the process was started with this token in its mark (False for other users' processes)."""
    raw = b"\0" + _content(f"/proc/{pid}/environ")
    _, found, rest = raw.partition(b"\0" + MARK.encode() + b"=")
    return bool(found) and token.encode() in rest.partition(b"\0")[0].split(b":")


def peak_resident(pid: int) -> int:
    """The largest resident size that the process has had since its exec, in bytes; 0 when unknown."""
    raw = _content(f"/proc/{pid}/status")
    _, found, rest = raw.partition(b"VmHWM:")
    return int(rest.split(None, 1)[0]) * 1024 if found else 0


def tree(
    root: int, ticks: int = 0, token: str = "", known: Collection[tuple[int, int]] = (), *, recent: bool = False
) -> list[Process]:
    """Live processes of a step: its session, its descendants, all that carry its token, and those seen before.

    The mark finds what left the session and lost its parent (double fork, setsid); the caller itself is never in it.
    With `ticks`, a later process that got the pid `root` by reuse is left alone, and so is its session. `recent` looks
    only at processes that are younger than `root`, which must have started a short while ago.
    """
    table = {found.pid: found for found in processes(since=root if recent else 0) if not found.ended}
    if root in table and ticks not in (0, table[root].start_ticks):
        root = -1
    children: dict[int, list[int]] = {}
    for found in table.values():
        children.setdefault(found.parent, []).append(found.pid)
    seeds = [
        found.pid
        for found in table.values()
        if root in (found.pid, found.session) or found.identity in known or (token and carries(found.pid, token))
    ]
    members: set[int] = set()
    while seeds:
        pid = seeds.pop()
        if pid not in members:
            members.add(pid)
            seeds.extend(children.get(pid, ()))
    members.discard(os.getpid())
    return [table[pid] for pid in sorted(members)]


def descendants(root: int) -> list[Process]:
    """The process and its descendants, found without walking the whole table; cheap enough to sample."""
    found, queue = [], [root]
    while queue:
        pid = queue.pop()
        one = process(pid)
        if one is None or one.ended:
            continue
        found.append(one)
        # Only the main thread's children: a child that another thread forked is found by `tree`.
        with contextlib.suppress(OSError):
            queue.extend(
                int(child) for child in (_PROC / str(pid) / "task" / str(pid) / "children").read_bytes().split()
            )
    return found


def send(found: Process, number: signal.Signals) -> None:
    """Signal exactly this process: nothing happens when it is gone or its pid belongs to another one by now."""
    if start_ticks(found.pid) == found.start_ticks:
        with contextlib.suppress(ProcessLookupError, PermissionError):
            os.kill(found.pid, number)


def place() -> str:
    """Names this boot and pid namespace: pids of two processes compare only when their places are equal."""
    boot, namespace = "", ""
    with contextlib.suppress(OSError):
        boot = (_PROC / "sys/kernel/random/boot_id").read_text().strip()
    with contextlib.suppress(OSError):
        namespace = os.readlink(_PROC / "self/ns/pid")  # noqa: PTH115 - not a path but `pid:[4026531836]`
    return f"{boot}/{namespace}"


__all__ = [
    "MARK",
    "Process",
    "available",
    "carries",
    "descendants",
    "is_alive",
    "peak_resident",
    "place",
    "process",
    "processes",
    "send",
    "start_ticks",
    "tree",
]
