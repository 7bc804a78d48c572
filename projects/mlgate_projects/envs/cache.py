"""One cache for all kinds of environments: built once per key, used by many processes, collected when nobody uses it.

    ROOT/CACHEDIR.TAG, .gitignore
    ROOT/KIND/NAME.json       what the environment is; written last, so a file here means a whole environment
    ROOT/KIND/NAME.lock       held while one process builds
    ROOT/KIND/NAME.lease      locked shared by everyone who uses it, exclusively by who removes it
    ROOT/KIND/NAME-XXXXXXXX/  the environment itself; a new directory for every build

`NAME` is the beginning of the key's digest. A build that was killed leaves a directory that no `.json` names: the next
builder removes it and makes its own, so what a stray installer still writes harms nobody. Locks and leases are locks of
the operating system: they end with the process that holds them, however it ends. A cache that may only be read (baked
into an image, mounted read-only) serves what it holds, without leases.
"""

from __future__ import annotations

import contextlib
import errno
import fcntl
import hashlib
import json
import os
import shutil
import threading
import time
import uuid
from collections import defaultdict
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from mlgate_projects.envs import Package, Prepared, Progress
from mlgate_projects.errors import BuildCancelled
from mlgate_projects.process import Cancel, stop_tree

SCHEME = 1
"""Part of every key and of every file: raised when environments of an older layout must not be used any more."""

_NAME_LENGTH = 20  # hex digits; keeps the paths in `#!` lines short
_TAG = (
    "Signature: 8a477f597d28d172789f06886806bc55\n"
    "# Environments of mlgate. Remove them with `mlgate env gc`; everything here can be made again.\n"
)


def digest_of(key: Mapping[str, Any]) -> str:
    """sha256 in hex over canonical JSON: equal data, equal digest, whatever the order of keys."""
    text = json.dumps({"scheme": SCHEME, **key}, sort_keys=True, separators=(",", ":"), allow_nan=False)
    return hashlib.sha256(text.encode()).hexdigest()


@dataclass(frozen=True, slots=True)
class Fingerprint:
    """What a finished environment was built from, and what came out.

    Attributes:
        digest: the whole digest of its key.
        directory: name of its directory beside this file; empty for kinds that keep it elsewhere (images).
        description: one line for a human.
        created: seconds since the epoch; `seconds` is how long the build took.
        location, python, python_version, packages, lock_digest, extra: as in `Prepared`; paths relative to `directory`.
    """

    kind: str
    digest: str
    directory: str = ""
    description: str = ""
    created: float = 0.0
    seconds: float = 0.0
    location: str = ""
    python: str | None = None
    python_version: str = ""
    packages: tuple[Package, ...] = ()
    lock_digest: str = ""
    extra: Mapping[str, str] = field(default_factory=dict)
    scheme: int = SCHEME


@dataclass(frozen=True, slots=True)
class Built:
    """What a builder made: the fields of a `Fingerprint` that only it knows."""

    python: str | None = None
    python_version: str = ""
    packages: tuple[Package, ...] = ()
    lock_digest: str = ""
    location: str = ""
    extra: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Entry:
    """An environment in the cache, for `list` and `gc`.

    Attributes:
        used: when it was last used, seconds since the epoch.
        size: bytes on disk that removing it would free, files shared with an installer's cache left out.
        leased: somebody uses it now.
    """

    fingerprint: Fingerprint
    path: Path
    used: float
    size: int
    leased: bool


class Lease:
    """Keeps an environment from being collected; closing it, or the end of the process, lets it go."""

    def __init__(self, path: Path) -> None:
        self._descriptor = -1
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            self._descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o644)
        except OSError as error:
            if error.errno not in (errno.EROFS, errno.EACCES, errno.EPERM):
                raise
            return
        fcntl.flock(self._descriptor, fcntl.LOCK_SH)

    def close(self) -> None:
        if self._descriptor >= 0:
            os.close(self._descriptor)
            self._descriptor = -1


_held: dict[str, list[Lease]] = defaultdict(list)
_held_lock = threading.Lock()


@dataclass(frozen=True, slots=True)
class Cache:
    """All environments below one directory. Any number of processes may use it at once."""

    root: Path

    def lookup(self, kind: str, digest: str) -> Fingerprint | None:
        """The finished environment of a key, None when it has to be built."""
        fingerprint = _read(self._file(kind, digest, ".json"))
        if fingerprint is None or fingerprint.digest != digest or fingerprint.kind != kind:
            return None
        if fingerprint.directory and not (self.root / kind / fingerprint.directory).is_dir():
            return None
        # The interpreter that it was made from may have gone.
        python = fingerprint.python
        if fingerprint.directory and python and not (self.root / kind / fingerprint.directory / python).exists():
            return None
        return fingerprint

    def obtain(
        self,
        kind: str,
        digest: str,
        build: Callable[[Path], Built],
        *,
        description: str = "",
        progress: Progress = lambda _: None,
        usable: Callable[[Fingerprint], bool] = lambda _: True,
        in_directory: bool = True,
        cancel: Cancel | None = None,
    ) -> tuple[Fingerprint, bool]:
        """Reuse the environment of a key, or build it: one build however many processes ask.

        The environment is leased from here until `in_use` ends, or until this process ends.

        Args:
            build: makes the environment in the new, empty directory that it is given; processes that it starts carry
                the directory's name as their token, so that they are found if this process is killed.
            usable: refuses an environment that is whole here but broken elsewhere (an image that was removed).
            in_directory: False for kinds that keep nothing in the cache but the fingerprint.
            cancel: ends the waiting for another process that builds the same; `build` looks at it by itself.

        Returns:
            The fingerprint, and whether it was there already.
        """
        lease = Lease(self._file(kind, digest, ".lease"))
        try:
            found = self.lookup(kind, digest)
            reused = found is not None and usable(found)
            if found is None or not reused:
                found, reused = self._build(
                    kind, digest, build, description, progress, usable, cancel, in_directory=in_directory
                )
            self._touch(kind, digest)
        except BaseException:
            lease.close()
            raise
        with _held_lock:
            _held[self._lease_name(kind, digest)].append(lease)
        return found, reused

    @contextlib.contextmanager
    def in_use(self, kind: str, digest: str) -> Iterator[None]:
        """Lease an environment while a command runs in it; takes over the lease of `obtain`."""
        with _held_lock:
            waiting = _held[self._lease_name(kind, digest)]
            lease = waiting.pop() if waiting else None
        lease = lease or Lease(self._file(kind, digest, ".lease"))
        try:
            yield
        finally:
            lease.close()

    def prepared(self, fingerprint: Fingerprint, *, reused: bool, warnings: Iterable[str] = ()) -> Prepared:
        """The fingerprint as callers want it, paths made absolute."""
        directory = self.root / fingerprint.kind / fingerprint.directory if fingerprint.directory else None
        return Prepared(
            kind=fingerprint.kind,
            digest=fingerprint.digest,
            location=str(directory) if directory else fingerprint.location,
            python=str(directory / fingerprint.python) if directory and fingerprint.python else fingerprint.python,
            python_version=fingerprint.python_version,
            packages=fingerprint.packages,
            lock_digest=fingerprint.lock_digest,
            reused=reused,
            warnings=tuple(warnings),
            extra=fingerprint.extra,
        )

    def entries(self, kinds: Collection[str] = ()) -> list[Entry]:
        """Every finished environment, the one used last first."""
        found = []
        for path in self.root.glob("*/*.json"):
            if kinds and path.parent.name not in kinds:
                continue
            fingerprint = _read(path)
            with contextlib.suppress(FileNotFoundError):
                if fingerprint is not None:
                    directory = path.parent / fingerprint.directory if fingerprint.directory else path
                    leased = _is_locked(path.with_suffix(".lease"))
                    found.append(Entry(fingerprint, directory, path.stat().st_mtime, _size(directory), leased))
        return sorted(found, key=lambda entry: entry.used, reverse=True)

    def find(self, name: str) -> Entry:
        """The environment whose digest begins with `name` (`KIND/NAME` works, too); KeyError when not exactly one."""
        kind, _, digest = name.rpartition("/")
        found = [
            entry
            for entry in self.entries([kind] if kind else [])
            if digest and entry.fingerprint.digest.startswith(digest)
        ]
        if len(found) != 1:
            raise KeyError(f"{len(found)} environments have a digest that begins with {name!r}")
        return found[0]

    def gc(
        self,
        *,
        unused_for: float | None = None,
        max_size: int | None = None,
        kinds: Collection[str] = (),
        dry_run: bool = False,
        remove_image: Callable[[Fingerprint], None] = lambda _: None,
    ) -> list[Entry]:
        """Remove environments that nobody uses: those unused for so many seconds, and the oldest over `max_size`.

        With neither limit every unused environment goes. What killed builds left goes in any case.

        Returns:
            What was removed (or would be, with `dry_run`).
        """
        entries = self.entries(kinds)
        total = sum(entry.size for entry in entries)
        now = time.time()
        removed = []
        for entry in reversed(entries):
            old = unused_for is not None and now - entry.used >= unused_for
            large = max_size is not None and total > max_size
            everything = unused_for is None and max_size is None
            if not (old or large or everything) or entry.leased:
                continue
            if dry_run or self.remove(entry, remove_image):
                total -= entry.size
                removed.append(entry)
        if not dry_run:
            self._sweep(kinds)
        return removed

    def _build(
        self,
        kind: str,
        digest: str,
        build: Callable[[Path], Built],
        description: str,
        progress: Progress,
        usable: Callable[[Fingerprint], bool],
        cancel: Cancel | None,
        *,
        in_directory: bool,
    ) -> tuple[Fingerprint, bool]:
        from filelock import FileLock, Timeout

        self._make_root(kind)
        lock = FileLock(self._file(kind, digest, ".lock"))
        try:
            lock.acquire(timeout=0)
        except Timeout:
            progress(f"waiting for another process that builds {kind} environment {digest[:_NAME_LENGTH]}")
            while not lock.is_locked:
                if cancel is not None and cancel.is_set():
                    raise BuildCancelled from None
                with contextlib.suppress(Timeout):
                    lock.acquire(timeout=0.2, poll_interval=0.05)
        try:
            found = self.lookup(kind, digest)
            if found is not None and usable(found):
                return found, True
            self._clear(kind, digest)
            directory = self._file(kind, digest, f"-{uuid.uuid4().hex[:8]}")
            started = time.time()
            try:
                if in_directory:
                    directory.mkdir()
                built = build(directory)
            except BaseException:
                shutil.rmtree(directory, ignore_errors=True)
                raise
            fingerprint = Fingerprint(
                kind=kind,
                digest=digest,
                directory=directory.name if in_directory else "",
                description=description,
                created=started,
                seconds=round(time.time() - started, 3),
                **{name: getattr(built, name) for name in Built.__slots__},
            )
            _write(self._file(kind, digest, ".json"), fingerprint)
            return fingerprint, False
        finally:
            lock.release()

    def remove(self, entry: Entry, remove_image: Callable[[Fingerprint], None] = lambda _: None) -> bool:
        """Take an environment away unless somebody leases it; the name goes first, so nobody finds half of it."""
        fingerprint = entry.fingerprint
        with _exclusive(self._file(fingerprint.kind, fingerprint.digest, ".lease")) as alone:
            if not alone:
                return False
            if not fingerprint.directory:
                remove_image(fingerprint)
            self._clear(fingerprint.kind, fingerprint.digest)
        return True

    def _clear(self, kind: str, digest: str) -> None:
        """Remove whatever there is of a key, but for its lock and lease files."""
        self._file(kind, digest, ".json").unlink(missing_ok=True)
        for directory in self._file(kind, digest, "").parent.glob(f"{digest[:_NAME_LENGTH]}-*"):
            _remove_directory(directory)

    def _sweep(self, kinds: Collection[str]) -> None:
        """Remove directories of builds that ended before they were finished."""
        for directory in self.root.glob("*/*-????????"):
            kind, name = directory.parent.name, directory.name.rpartition("-")[0]
            if (kinds and kind not in kinds) or not directory.is_dir():
                continue
            with _exclusive(directory.parent / f"{name}.lock") as alone:
                fingerprint = _read(directory.parent / f"{name}.json")
                if alone and (fingerprint is None or fingerprint.directory != directory.name):
                    _remove_directory(directory)

    def _make_root(self, kind: str) -> None:
        (self.root / kind).mkdir(parents=True, exist_ok=True)
        for name, text in (("CACHEDIR.TAG", _TAG), (".gitignore", "*\n")):
            if not (self.root / name).exists():
                (self.root / name).write_text(text, encoding="utf-8")

    def _touch(self, kind: str, digest: str) -> None:
        with contextlib.suppress(OSError):  # a cache that this user may only read
            os.utime(self._file(kind, digest, ".json"))

    def _file(self, kind: str, digest: str, suffix: str) -> Path:
        return self.root / kind / f"{digest[:_NAME_LENGTH]}{suffix}"

    def _lease_name(self, kind: str, digest: str) -> str:
        return str(self._file(kind, digest, ".lease"))


def _remove_directory(directory: Path) -> None:
    """Remove an environment, ending an installer first that outlived the process which started it."""
    stop_tree(-1, token=directory.name, grace=0)
    shutil.rmtree(directory, ignore_errors=True)


def _read(path: Path) -> Fingerprint | None:
    """A fingerprint file; None when it is missing, broken or of another layout."""
    try:
        data = json.loads(path.read_bytes())
        if data["scheme"] != SCHEME:
            return None
        packages = tuple(Package(**package) for package in data.pop("packages"))
        return Fingerprint(**data, packages=packages)
    except (OSError, ValueError, TypeError, KeyError):
        return None


def _write(path: Path, fingerprint: Fingerprint) -> None:
    partial = path.with_suffix(f".{uuid.uuid4().hex[:8]}.partial")
    with partial.open("w", encoding="utf-8") as file:
        json.dump(asdict(fingerprint), file)
        file.flush()
        os.fsync(file.fileno())
    partial.replace(path)


@contextlib.contextmanager
def _exclusive(path: Path) -> Iterator[bool]:
    """Whether the lock on this file could be had at once; it is held inside the block."""
    descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o644)
    try:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            yield False
            return
        yield True
    finally:
        os.close(descriptor)


def _is_locked(path: Path) -> bool:
    if not path.exists():
        return False
    with _exclusive(path) as alone:
        return not alone


def _size(path: Path) -> int:
    """Bytes that removing this would free."""
    if path.is_file():
        return path.stat().st_blocks * 512
    total = 0
    for folder, _, names in os.walk(path):
        for name in names:
            with contextlib.suppress(OSError):
                status = os.lstat(f"{folder}/{name}")
                total += status.st_blocks * 512 if status.st_nlink == 1 else 0
    return total


__all__ = ["SCHEME", "Built", "Cache", "Entry", "Fingerprint", "digest_of"]
