"""The one door to a step's process: start it in its own session, stream its output, stop its whole tree.

`run` never raises for what the process does: exit codes, signals and time-outs are in the `Outcome`, and the caller
decides what failure means.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from pathlib import Path
from typing import Protocol


class Stream(StrEnum):
    STDOUT = "stdout"
    STDERR = "stderr"


class Stop(StrEnum):
    """Why we ended the process ourselves."""

    TIMEOUT = "timeout"
    CANCELLED = "cancelled"


OnOutput = Callable[[Stream, bytes], None]
"""Called with each piece of output as it comes (whole lines, or what there is after a while), never concurrently."""


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
    """

    argv: tuple[str, ...]
    cwd: Path
    env: Mapping[str, str]
    timeout: float | None = None
    grace: float = 3.0
    secrets: tuple[str, ...] = ()
    labels: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Outcome:
    """What became of it.

    Attributes:
        exit_code: 0 to 255 as a shell would say it (128 + signal for a death by signal).
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


__all__ = ["Cancel", "OnOutput", "Outcome", "ProcessRequest", "Stop", "Stream"]
