"""A row on disk for every live step, written before it starts, so that whatever a SIGKILL leaves can be found.

A row is a small JSON file in the ledger's directory. Its runner holds a lock on it as long as it lives; `reap` takes
the rows whose runner is gone, ends what is left of their processes or containers, and returns them so that their runs
can be closed. Rows of other machines that share the directory are taken only when their lock is free, and nothing is
killed for them here.
"""

from __future__ import annotations

import contextlib
import fcntl
import json
import os
import socket
import time
import uuid
from collections.abc import Callable, Iterator, Mapping
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any, Self

from mlgate_projects import procfs
from mlgate_projects.process import stop_tree


@dataclass(frozen=True, slots=True)
class Row:
    """What is written down about a live step.

    Attributes:
        token: marks the step's processes (`ProcessRequest.token`) and containers (label `mlgate.token`).
        key: identity of the step, the same for every attempt.
        kind: environment kind; `docker` makes `reap` look for containers.
        info: what the runner needs to close the run (tracking URI, ...); plain text, never a credential.
        place: host, boot and pid namespace of the runner; pids say something only there.
        process: as told by `on_start`; empty until the step has started.
    """

    token: str
    run_id: str
    key: str = ""
    attempt: int = 0
    kind: str = ""
    info: Mapping[str, str] = field(default_factory=dict)
    runner_pid: int = 0
    runner_ticks: int = 0
    place: str = ""
    created: float = 0.0
    process: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Reaped:
    """A row whose runner was gone.

    Attributes:
        killed: how many processes and containers had to be ended.
    """

    row: Row
    killed: int

    @property
    def run_id(self) -> str:
        return self.row.run_id


class Entry:
    """The row of a step that this process runs. A context manager: leaving it takes the row away."""

    def __init__(self, directory: Path, row: Row) -> None:
        directory.mkdir(parents=True, exist_ok=True)
        self.row = row
        self._path = directory / f"{row.token}.json"
        # The lock is on a file of its own, because the row itself is replaced when the step starts.
        self._lock = os.open(directory / f"{row.token}.lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        with contextlib.suppress(OSError):  # a file system without locks: pid and start time have to do
            fcntl.flock(self._lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        _write(self._path, row)

    @property
    def token(self) -> str:
        return self.row.token

    def started(self, process: Mapping[str, object]) -> None:
        """Write down what identifies the process; give this to `run` as `on_start`."""
        self.row = replace(self.row, process=dict(process))
        _write(self._path, self.row, durable=False)  # after a power cut there is no process to be found

    def close(self) -> None:
        """Take the row away: the step has ended and its run is closed."""
        _remove(self._path)
        if self._lock >= 0:
            os.close(self._lock)
            self._lock = -1

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


def open_entry(
    directory: Path,
    *,
    run_id: str,
    key: str = "",
    attempt: int = 0,
    kind: str = "",
    info: Mapping[str, str] | None = None,
) -> Entry:
    """Write the row of a step that is about to start; durable when this returns."""
    row = Row(
        token=uuid.uuid4().hex,
        run_id=run_id,
        key=key,
        attempt=attempt,
        kind=kind,
        info=dict(info or {}),
        runner_pid=os.getpid(),
        runner_ticks=procfs.start_ticks(os.getpid()),
        place=_place(),
        created=time.time(),
    )
    return Entry(directory, row)


def rows(directory: Path) -> list[Row]:
    """Every row, oldest first; a file that is no row (a crash before the first write) is left out."""
    found = [row for path in directory.glob("*.json") if (row := _read(path)) is not None]
    return sorted(found, key=lambda row: (row.created, row.token))


def is_live(directory: Path, row: Row) -> bool:
    """Whether the row's runner still runs."""
    if row.place == _place():
        return procfs.is_alive(row.runner_pid, row.runner_ticks)
    try:
        lock = os.open(directory / f"{row.token}.lock", os.O_RDWR | os.O_CLOEXEC)
    except FileNotFoundError:
        return False
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        return True
    finally:
        os.close(lock)
    return False


def reap(
    directory: Path,
    *,
    key: str | None = None,
    only: Callable[[Row], bool] | None = None,
    close: Callable[[Reaped], None] | None = None,
    remove_containers: Callable[[str], int] | None = None,
    grace: float = 3.0,
) -> list[Reaped]:
    """End what dead runners left running.

    Args:
        key: only rows of this step (what the next attempt of a step does before it starts).
        only: rows for which this is true (those of one store, say).
        close: called for each row once its processes are gone, to close its run; the row stays, for the next `reap`,
            when it raises. Without it the row is taken away at once.
        remove_containers: ends the containers that carry a token and returns their number.
        grace: seconds between TERM and KILL.
    """
    reaped = []
    for row in rows(directory):
        if (key is not None and row.key != key) or (only is not None and not only(row)) or is_live(directory, row):
            continue
        with _only_reaper(directory, row) as alone:
            if not alone:
                continue
            killed = 0
            if row.place == _place():
                process = row.process
                killed += stop_tree(
                    int(process.get("session", -1)), int(process.get("start_ticks", 0)), row.token, grace=grace
                )
            if remove_containers is not None and row.kind == "docker":
                killed += remove_containers(row.token)
            result = Reaped(row, killed)
            if close is not None:
                close(result)
            _remove(directory / f"{row.token}.json")
        reaped.append(result)
    return reaped


@contextlib.contextmanager
def _only_reaper(directory: Path, row: Row) -> Iterator[bool]:
    """Two reapers at once: one works, the other passes on."""
    lock = os.open(directory / f"{row.token}.lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            yield False
            return
        yield directory.joinpath(f"{row.token}.json").exists()
    finally:
        if not directory.joinpath(f"{row.token}.json").exists():
            directory.joinpath(f"{row.token}.lock").unlink(missing_ok=True)
        os.close(lock)


def _place() -> str:
    return f"{socket.gethostname()}/{procfs.place()}"


def _write(path: Path, row: Row, *, durable: bool = True) -> None:
    """Replace the row's file; after a crash at any moment there is the old or the new one, whole."""
    partial = path.with_suffix(".partial")
    descriptor = os.open(partial, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, 0o600)
    with os.fdopen(descriptor, "w", encoding="utf-8") as file:
        json.dump(asdict(row), file)
        file.flush()
        if durable:
            os.fsync(file.fileno())
    partial.replace(path)


def _read(path: Path) -> Row | None:
    try:
        return Row(**json.loads(path.read_text(encoding="utf-8")))
    except (OSError, ValueError, TypeError):
        return None


def _remove(path: Path) -> None:
    for suffix in (".partial", ".json", ".lock"):  # the lock last: whoever still holds a row finds its lock
        path.with_suffix(suffix).unlink(missing_ok=True)


__all__ = ["Entry", "Reaped", "Row", "is_live", "open_entry", "reap", "rows"]
