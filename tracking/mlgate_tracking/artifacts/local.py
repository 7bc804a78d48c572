"""Artifacts in a local directory: atomic writes, confined to the root."""

from __future__ import annotations

import base64
import binascii
import errno
import os
import shutil
import stat as modes
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import BinaryIO

from mlgate_tracking.artifacts.base import CHUNK_SIZE, Repository, Writer, check_range
from mlgate_tracking.artifacts.paths import join_path, safe_path, split_path
from mlgate_tracking.entities import FileInfo, Page
from mlgate_tracking.errors import (
    InternalError,
    InvalidParameterValue,
    PermissionDenied,
    TemporarilyUnavailable,
    TrackingError,
)

PARTIAL_PREFIX = ".mlgate-partial-"
"""Names of unfinished uploads; listings leave them out and nobody can ask for them."""


class LocalRepository(Repository):
    """Files below a directory, which need not exist yet.

    Args:
        root: the directory. A user's own symbolic link there is followed.
        below: safe path under `root` that this repository is confined to.
        fsync: flush every file and its directory to the disk before it gets its name. Without it an acknowledged file
            survives a crash of the process, but perhaps not a power cut.

    Symbolic links below the root are followed as long as they end inside it.
    """

    def __init__(self, root: str | os.PathLike[str], below: str = "", *, fsync: bool = False) -> None:
        self.below = safe_path(below)
        self.base = Path(root).absolute()
        self.root = self.base / self.below if self.below else self.base
        self.root_uri = self.root.as_uri()
        self._fsync = fsync

    def writer(self, path: str) -> LocalWriter:
        safe = self._file_path(path)
        directory, name = split_path(safe)
        with self._translated(safe):
            self._inside(directory).mkdir(parents=True, exist_ok=True)
            # A second look, because the directories may have been made through a link that was put there meanwhile.
            folder = self._inside(directory)
            if (folder / name).is_dir():
                raise self.is_directory(safe)
            return LocalWriter(self, safe, folder / name, fsync=self._fsync)

    def download(self, path: str, start: int = 0, end: int | None = None) -> Iterator[bytes]:
        check_range(start, end)
        safe = self._file_path(path)
        descriptor = self._open(safe)
        if start:
            os.lseek(descriptor, start, os.SEEK_SET)
        return _Chunks(descriptor, None if end is None else end - start)

    def open(self, path: str) -> BinaryIO:
        return os.fdopen(self._open(self._file_path(path)), "rb")

    def local_path(self, path: str) -> Path:
        """The real path of an existing file, for whoever can send a file by its name."""
        safe = self._file_path(path)
        with self._translated(safe):
            real = self._inside(safe)
            self._check_file(real.stat(), safe)
        return real

    def stat(self, path: str) -> FileInfo | None:
        safe = safe_path(path)
        try:
            found = self._inside(safe).stat()
        except (FileNotFoundError, NotADirectoryError):
            return None
        except OSError as error:
            raise self._translate(error, safe) from error
        return _info(safe, found)

    def list(self, path: str = "", *, max_results: int | None = None, page_token: str | None = None) -> Page[FileInfo]:
        safe = safe_path(path)
        after = _name_of(page_token)
        try:
            with os.scandir(self._inside(safe)) as entries:
                names = sorted(
                    entry.name
                    for entry in entries
                    if (after is None or entry.name > after) and not entry.name.startswith(PARTIAL_PREFIX)
                )
        except (FileNotFoundError, NotADirectoryError):
            return Page(())
        except OSError as error:
            raise self._translate(error, safe) from error
        limit = len(names) if max_results is None else max(1, max_results)
        infos = (self._entry(join_path(safe, name)) for name in names[:limit])
        return Page(tuple(info for info in infos if info), _token(names[limit - 1]) if limit < len(names) else None)

    def delete(self, path: str) -> None:
        safe = safe_path(path)
        directory, name = split_path(safe)
        with self._translated(safe), suppress(FileNotFoundError, NotADirectoryError):
            target = self._inside(directory) / name
            if modes.S_ISDIR(target.lstat().st_mode):
                shutil.rmtree(target)
            else:
                target.unlink()

    def _entry(self, path: str) -> FileInfo | None:
        try:
            return self.stat(path)
        except TrackingError:
            return None  # a link that leaves the root, or a name this API cannot spell

    def _file_path(self, path: str) -> str:
        safe = safe_path(path)
        if not safe:
            raise self.is_directory(path)
        if split_path(safe)[1].startswith(PARTIAL_PREFIX):
            raise InvalidParameterValue(f"Invalid path: {path!r}: names that start with {PARTIAL_PREFIX!r} are taken")
        return safe

    def _inside(self, safe: str) -> Path:
        """The real path behind a safe one; what links lead out of the root is refused."""
        base = os.path.realpath(self.base)
        root = os.path.realpath(f"{base}/{self.below}")
        real = os.path.realpath(f"{root}/{safe}")
        if not (_within(root, base) and _within(real, root)):
            raise InvalidParameterValue(f"Invalid path: {safe!r}: a symbolic link leads out of {self.root_uri}")
        return Path(real)

    def _open(self, safe: str) -> int:
        with self._translated(safe):
            # Not blocking: a pipe that lies there must not hold the caller up before it is seen to be no file.
            descriptor = os.open(self._inside(safe), os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK | os.O_NOFOLLOW)
            try:
                self._check_file(os.fstat(descriptor), safe)
            except BaseException:
                os.close(descriptor)
                raise
            return descriptor

    def _check_file(self, found: os.stat_result, safe: str) -> None:
        if modes.S_ISDIR(found.st_mode):
            raise self.is_directory(safe)
        if not modes.S_ISREG(found.st_mode):
            raise InvalidParameterValue(f"artifact {safe!r} in {self.root_uri} is not a regular file")

    @contextmanager
    def _translated(self, safe: str) -> Iterator[None]:
        try:
            yield
        except OSError as error:
            raise self._translate(error, safe) from error

    def _translate(self, error: OSError, safe: str) -> TrackingError:
        where = f"artifact {safe!r} in {self.root_uri}"
        match error.errno:
            case errno.ENOENT:
                return self.missing(safe)
            case errno.ENOTDIR | errno.EEXIST:
                return InvalidParameterValue(f"{where}: a file is where a directory is needed")
            case errno.EISDIR:
                return self.is_directory(safe)
            case errno.ENAMETOOLONG:
                return InvalidParameterValue(f"{where}: the name is too long for the file system")
            case errno.EACCES | errno.EPERM | errno.EROFS:
                return PermissionDenied(f"{where}: {error.strerror}; check owner and mode of the artifact directory")
            case errno.ENOSPC | errno.EDQUOT:
                return TemporarilyUnavailable(f"{where}: {error.strerror}; nothing was written")
            case _:
                return InternalError(f"{where}: {error.strerror or error}")


class LocalWriter(Writer):
    """Writes beside the final name and renames at the end."""

    def __init__(self, repository: LocalRepository, path: str, final: Path, *, fsync: bool) -> None:
        self._repository = repository
        self._path = path
        self._final = final
        self._partial = final.with_name(PARTIAL_PREFIX + os.urandom(8).hex())
        self._fsync = fsync
        self._size = 0
        flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC
        self._descriptor: int | None = os.open(self._partial, flags, 0o666)

    def write(self, chunk: bytes | memoryview) -> None:
        assert self._descriptor is not None, "the file is closed"
        view = memoryview(chunk)
        with self._repository._translated(self._path):
            while view:
                view = view[os.write(self._descriptor, view) :]
        self._size += len(chunk)

    def commit(self) -> int:
        assert self._descriptor is not None, "the file is closed"
        try:
            with self._repository._translated(self._path):
                if self._fsync:
                    os.fsync(self._descriptor)
                self._close()
                self._partial.replace(self._final)
        except BaseException:
            self.abort()
            raise
        if self._fsync:
            self._flush_folder()
        return self._size

    def abort(self) -> None:
        self._close()
        self._partial.unlink(missing_ok=True)

    def _close(self) -> None:
        descriptor, self._descriptor = self._descriptor, None
        if descriptor is not None:
            os.close(descriptor)

    def _flush_folder(self) -> None:
        folder = os.open(self._final.parent, os.O_RDONLY | os.O_DIRECTORY)
        try:
            os.fsync(folder)
        finally:
            os.close(folder)

    def __del__(self) -> None:
        self.abort()


class _Chunks:
    """A file's bytes; closes itself at the end, on `close`, and quietly when nobody read it."""

    def __init__(self, descriptor: int, length: int | None) -> None:
        self._descriptor: int | None = descriptor
        self._left = length

    def __iter__(self) -> Iterator[bytes]:
        return self

    def __next__(self) -> bytes:
        if self._descriptor is None:
            raise StopIteration
        chunk = os.read(self._descriptor, CHUNK_SIZE if self._left is None else min(CHUNK_SIZE, self._left))
        if not chunk:
            self.close()
            raise StopIteration
        if self._left is not None:
            self._left -= len(chunk)
        return chunk

    def fileno(self) -> int:
        """The descriptor, for whoever can have the kernel copy the file."""
        assert self._descriptor is not None, "the file is closed"
        return self._descriptor

    def close(self) -> None:
        descriptor, self._descriptor = self._descriptor, None
        if descriptor is not None:
            os.close(descriptor)

    __del__ = close


def _within(path: str, root: str) -> bool:
    return path == root or path.startswith(root.rstrip("/") + "/")


def _info(path: str, found: os.stat_result) -> FileInfo:
    is_dir = modes.S_ISDIR(found.st_mode)
    return FileInfo(path, is_dir, None if is_dir else found.st_size)


def _token(name: str) -> str:
    return base64.urlsafe_b64encode(name.encode("utf-8", "surrogateescape")).decode()


def _name_of(token: str | None) -> str | None:
    if not token:
        return None
    try:
        return base64.b64decode(token, altchars=b"-_", validate=True).decode("utf-8", "surrogateescape")
    except (binascii.Error, ValueError):
        raise InvalidParameterValue(f"page token {token!r} is not one of this listing; start from the first") from None


__all__ = ["PARTIAL_PREFIX", "LocalRepository", "LocalWriter"]
