"""What object stores have in common: keys below a prefix, directories that are only names, uploads in parts.

A storage's own module brings the primitives (`ObjectRepository`'s abstract methods); everything else is here once.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections import deque
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass
from typing import Any

from mlgate_tracking.artifacts.base import Repository, Writer, check_range
from mlgate_tracking.artifacts.paths import join_path, safe_path
from mlgate_tracking.entities import FileInfo, Page
from mlgate_tracking.errors import InvalidParameterValue, TemporarilyUnavailable

PART_SIZE = 8 << 20
"""Bytes of the first parts of a long upload; shorter files go out in one request."""
PARALLEL_PARTS = 4
_PARTS_PER_SIZE = 1000
_DELETED_AT_ONCE = 1000
_RESUMPTIONS = 4


def part_size(number: int) -> int:
    """Bytes of part `number` (from 1): doubled every thousand parts, so that 10,000 parts reach terabytes."""
    return PART_SIZE << ((number - 1) // _PARTS_PER_SIZE)


@dataclass(frozen=True, slots=True)
class Listing:
    """One page of keys (relative to the repository's prefix) and of common beginnings (without the last '/')."""

    files: tuple[tuple[str, int], ...]
    folders: tuple[str, ...]
    token: str | None


class ObjectRepository(Repository):
    """Objects of one bucket or container whose keys begin with one prefix."""

    def __init__(self, prefix: str, below: str) -> None:
        self.prefix = join_path(safe_path(prefix.lstrip("/")), safe_path(below))

    # --- primitives -----------------------------------------------------------------------------------------------

    @abstractmethod
    def _size(self, key: str) -> int | None:
        """Bytes of an object; None when there is none."""

    @abstractmethod
    def _read(self, key: str, start: int, end: int | None) -> Iterator[bytes] | None:
        """An object's bytes in chunks, opened by the call itself; nothing beyond its end. None when there is none."""

    @abstractmethod
    def _page(self, prefix: str, limit: int | None, token: str | None) -> Listing:
        """One page of what begins with `prefix` (which is '' or ends with '/'), grouped at the next '/'."""

    @abstractmethod
    def _keys(self, prefix: str) -> Iterator[str]:
        """All keys that begin with `prefix`."""

    @abstractmethod
    def _delete(self, keys: list[str]) -> None:
        """Remove up to 1000 objects; missing ones are fine."""

    # --- the contract ---------------------------------------------------------------------------------------------

    def key(self, safe: str) -> str:
        return join_path(self.prefix, safe)

    def download(self, path: str, start: int = 0, end: int | None = None) -> Iterator[bytes]:
        check_range(start, end)
        safe = self._file_path(path)
        if start == end:
            self.file_size(safe)
            return iter(())
        chunks = self._read(self.key(safe), start, end)
        if chunks is None:
            raise self.is_directory(safe) if self._is_folder(safe) else self.missing(safe)
        return chunks

    def stat(self, path: str) -> FileInfo | None:
        safe = safe_path(path)
        size = self._size(self.key(safe)) if safe else None
        if size is not None:
            return FileInfo(safe, is_dir=False, size=size)
        return FileInfo(safe, is_dir=True) if self._is_folder(safe) else None

    def list(self, path: str = "", *, max_results: int | None = None, page_token: str | None = None) -> Page[FileInfo]:
        safe = safe_path(path)
        found: list[FileInfo] = []
        token = page_token
        while True:
            page = self._page(_folder(self.key(safe)), max_results, token)
            found += (FileInfo(name, is_dir=True) for name in map(self._relative, page.folders) if _spelled(name))
            found += (
                FileInfo(name, is_dir=False, size=size)
                for name, size in ((self._relative(key), size) for key, size in page.files)
                if _spelled(name)
            )
            token = page.token
            if token is None or (max_results is not None and found):
                return Page(tuple(sorted(found, key=lambda entry: entry.path)), token)

    def delete(self, path: str) -> None:
        safe = safe_path(path)
        top = _folder(self.key(safe))
        batch = [self.key(safe)] if safe else []
        folders = {top} if top else set()
        for key in self._keys(top):
            batch.append(key)
            folders |= _folders_between(top, key)
            if len(batch) == _DELETED_AT_ONCE:
                self._delete(batch)
                batch = []
        # Some stores keep a folder as an object of its own, named with a '/' at its end; innermost ones go first.
        batch += sorted(folders, key=len, reverse=True)
        for first in range(0, len(batch), _DELETED_AT_ONCE):
            self._delete(batch[first : first + _DELETED_AT_ONCE])

    def _file_path(self, path: str) -> str:
        safe = safe_path(path)
        if not safe:
            raise self.is_directory(path)
        return safe

    def _is_folder(self, safe: str) -> bool:
        page = self._page(_folder(self.key(safe)), 1, None)
        return bool(page.files or page.folders)

    def _relative(self, key: str) -> str:
        return key[len(self.prefix) :].lstrip("/") if self.prefix else key


class Parts(ABC):
    """How a storage writes one object: at once, or in numbered parts that a last call puts together."""

    def see(self, body: bytes) -> None:  # noqa: B027 - most storages need not know
        """Told the content piece by piece, in order, before it is sent."""

    @abstractmethod
    def put(self, body: bytes) -> None:
        """Write the whole object."""

    @abstractmethod
    def begin(self) -> None:
        """Called before the first part."""

    @abstractmethod
    def put_part(self, number: int, body: bytes) -> Any:
        """Write part `number` (from 1), called from several threads; what it returns goes to `finish`."""

    @abstractmethod
    def finish(self, parts: list[Any]) -> None:
        """Put the parts together, in order."""

    @abstractmethod
    def abort(self) -> None:
        """Forget the parts."""


class ObjectWriter(Writer):
    """Buffers at most a few parts; sends full ones while the next is being filled."""

    def __init__(self, parts: Parts) -> None:
        self._parts = parts
        self._buffer = bytearray()
        self._size = 0
        self._pool: ThreadPoolExecutor | None = None
        self._sent: list[Future[Any]] = []
        self._waiting: deque[Future[Any]] = deque()
        self._closed = False

    def write(self, chunk: bytes | memoryview) -> None:
        assert not self._closed, "the file is closed"
        self._buffer += chunk
        self._size += len(chunk)
        while len(self._buffer) > (wanted := part_size(len(self._sent) + 1)):
            body = bytes(memoryview(self._buffer)[:wanted])
            del self._buffer[:wanted]
            self._send(body)

    def commit(self) -> int:
        assert not self._closed, "the file is closed"
        try:
            if self._pool is None:
                body = bytes(self._buffer)
                self._parts.see(body)
                self._parts.put(body)
            else:
                self._send(bytes(self._buffer))
                self._parts.finish([future.result() for future in self._sent])
        except BaseException:
            self.abort()
            raise
        self._close()
        return self._size

    def abort(self) -> None:
        if self._closed:
            return
        begun = self._pool is not None
        self._close()
        if begun:
            with suppress(TemporarilyUnavailable):  # the storage forgets unfinished parts by itself, later
                self._parts.abort()

    def _send(self, body: bytes) -> None:
        if self._pool is None:
            self._parts.begin()
            self._pool = ThreadPoolExecutor(PARALLEL_PARTS, thread_name_prefix="mlgate-upload")
        self._parts.see(body)
        while len(self._waiting) >= PARALLEL_PARTS:
            self._waiting.popleft().result()
        future = self._pool.submit(self._parts.put_part, len(self._sent) + 1, body)
        self._sent.append(future)
        self._waiting.append(future)

    def _close(self) -> None:
        self._closed = True
        self._buffer = bytearray()
        if self._pool is not None:
            self._pool.shutdown(wait=True, cancel_futures=True)

    def __del__(self) -> None:
        self.abort()


def resuming(
    chunks: Iterator[bytes],
    position: int,
    open_at: Callable[[int], Iterator[bytes]],
    interrupted: tuple[type[Exception], ...],
) -> Iterator[bytes]:
    """The chunks, which begin at `position`, gone on with by `open_at(position)` where they break off."""
    left = _RESUMPTIONS
    while True:
        try:
            for chunk in chunks:
                position += len(chunk)
                yield chunk
            return
        except interrupted as error:
            if left == 0:
                raise TemporarilyUnavailable(f"the download broke off again and again: {error}") from error
            left -= 1
        finally:
            close = getattr(chunks, "close", None)
            if close is not None:
                close()
        chunks = open_at(position)


def _folder(key: str) -> str:
    return f"{key}/" if key else ""


def _folders_between(top: str, key: str) -> set[str]:
    """The folders below `top` that a key lies in, each with its '/'."""
    parts = key[len(top) :].split("/")[:-1]
    return {top + "/".join(parts[:depth]) + "/" for depth in range(1, len(parts) + 1)}


def _spelled(name: str) -> bool:
    """Whether this API can ask for the name; a key that others wrote may be anything."""
    try:
        return name != "" and safe_path(name) == name
    except InvalidParameterValue:
        return False


__all__ = ["PART_SIZE", "Listing", "ObjectRepository", "ObjectWriter", "Parts", "part_size", "resuming"]
