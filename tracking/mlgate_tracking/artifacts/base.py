"""What every repository has in common: uploads and readable streams built on `writer` and `download`."""

from __future__ import annotations

import io
import os
from abc import ABC, abstractmethod
from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO, Self, cast

from mlgate_tracking.artifacts import ArtifactWriter
from mlgate_tracking.entities import FileInfo, Page
from mlgate_tracking.errors import InvalidParameterValue, ResourceDoesNotExist

CHUNK_SIZE = 1 << 20
"""Bytes that a download hands out at a time."""


class Writer(ABC):
    """The `with` side of an `ArtifactWriter`; subclasses do the writing."""

    @abstractmethod
    def write(self, chunk: bytes | memoryview) -> None: ...

    @abstractmethod
    def commit(self) -> int: ...

    @abstractmethod
    def abort(self) -> None: ...

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, *_rest: object) -> None:
        if kind is None:
            self.commit()
        else:
            self.abort()


class Repository(ABC):
    """Base of the concrete repositories; see `ArtifactRepository` for the contract."""

    root_uri: str

    @abstractmethod
    def writer(self, path: str) -> ArtifactWriter: ...

    @abstractmethod
    def download(self, path: str, start: int = 0, end: int | None = None) -> Iterator[bytes]: ...

    @abstractmethod
    def stat(self, path: str) -> FileInfo | None: ...

    @abstractmethod
    def list(
        self, path: str = "", *, max_results: int | None = None, page_token: str | None = None
    ) -> Page[FileInfo]: ...

    @abstractmethod
    def delete(self, path: str) -> None: ...

    def upload(self, path: str, chunks: Iterator[bytes]) -> int:
        writer = self.writer(path)
        try:
            for chunk in chunks:
                writer.write(chunk)
            return writer.commit()
        except BaseException:
            writer.abort()
            raise

    def upload_file(self, path: str, file: str | os.PathLike[str]) -> int:
        with Path(file).open("rb") as stream:
            return self.upload(path, iter(lambda: stream.read(CHUNK_SIZE), b""))

    def download_file(self, path: str, file: str | os.PathLike[str]) -> int:
        final = Path(file)
        partial = final.with_name(f".{os.urandom(8).hex()}.partial")
        chunks = self.download(path)
        try:
            with partial.open("xb") as stream:
                size = sum(stream.write(chunk) for chunk in chunks)
            partial.replace(final)
        finally:
            partial.unlink(missing_ok=True)
        return size

    def open(self, path: str) -> BinaryIO:
        return cast(BinaryIO, io.BufferedReader(_RangeReader(self, path, self.file_size(path)), buffer_size=CHUNK_SIZE))

    def file_size(self, path: str) -> int:
        """Size of a file in bytes; a directory or nothing raises."""
        info = self.stat(path)
        if info is None:
            raise self.missing(path)
        if info.size is None:
            raise self.is_directory(path)
        return info.size

    def missing(self, path: str) -> ResourceDoesNotExist:
        return ResourceDoesNotExist(f"no artifact {path!r} in {self.root_uri}")

    def is_directory(self, path: str) -> InvalidParameterValue:
        return InvalidParameterValue(f"artifact {path!r} in {self.root_uri} is a directory; name a file")

    def __repr__(self) -> str:
        return f"{type(self).__name__}({self.root_uri!r})"


def check_range(start: int, end: int | None) -> None:
    if start < 0 or (end is not None and end < start):
        raise InvalidParameterValue(f"byte range {start} to {end}: start counts from 0 and end may not lie before it")


class _RangeReader(io.RawIOBase):
    """Sequential reads come from one download; a seek starts another at the new place."""

    def __init__(self, repository: Repository, path: str, size: int) -> None:
        self._repository = repository
        self._path = path
        self._size = size
        self._position = 0
        self._chunks: Iterator[bytes] | None = None
        self._left = memoryview(b"")

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def seek(self, offset: int, whence: int = io.SEEK_SET) -> int:
        base = {io.SEEK_SET: 0, io.SEEK_CUR: self._position, io.SEEK_END: self._size}[whence]
        target = max(0, base + offset)
        if target != self._position:
            self._stop()
            self._position = target
        return target

    def readinto(self, buffer: object) -> int:
        view = memoryview(buffer).cast("B")  # type: ignore[arg-type]  # RawIOBase hands a writable buffer
        if not self._left:
            if self._position >= self._size:
                return 0
            if self._chunks is None:
                self._chunks = self._repository.download(self._path, self._position)
            self._left = memoryview(next(self._chunks, b""))
        count = min(len(view), len(self._left))
        view[:count] = self._left[:count]
        self._left = self._left[count:]
        self._position += count
        return count

    def close(self) -> None:
        self._stop()
        super().close()

    def _stop(self) -> None:
        close = getattr(self._chunks, "close", None)
        if close is not None:
            close()
        self._chunks, self._left = None, memoryview(b"")


__all__ = ["CHUNK_SIZE", "Repository", "Writer", "check_range"]
