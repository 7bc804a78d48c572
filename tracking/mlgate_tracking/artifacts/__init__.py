"""Artifact repositories: one protocol, one leaf module per kind of storage, chosen by URI scheme."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import BinaryIO, Protocol, runtime_checkable
from urllib.parse import unquote, urlsplit

from mlgate_tracking.artifacts.paths import join_path, safe_path
from mlgate_tracking.entities import FileInfo, Page
from mlgate_tracking.errors import InvalidParameterValue


class ArtifactWriter(Protocol):
    """One file on its way in. Used with `with`: leaving the block normally commits, an exception aborts."""

    def write(self, chunk: bytes) -> None:
        """Take the next bytes; returns when there is room for more."""
        ...

    def commit(self) -> int:
        """Give the file its name, all at once; returns its size in bytes."""
        ...

    def abort(self) -> None:
        """Forget what was written. Safe to call at any time, also after `commit`, when it does nothing."""
        ...

    def __enter__(self) -> ArtifactWriter: ...

    def __exit__(self, kind: type[BaseException] | None, *_rest: object) -> None: ...


class ArtifactRepository(Protocol):
    """Files below one root. Paths are relative, '/'-separated, and checked by `paths.safe_path` in every method.

    Nothing is ever held whole in memory; a failed upload leaves no half file under its final name. Listings and
    `stat` give paths relative to the root.

    Raises:
        ResourceDoesNotExist: there is no such file (`download`, `open`).
        InvalidParameterValue: an unsafe path, a directory where a file is needed, a file where a directory is needed.
        TemporarilyUnavailable: the storage is away or full.
        PermissionDenied: the storage refuses.
    """

    root_uri: str

    def writer(self, path: str) -> ArtifactWriter:
        """Start a file that is written piece by piece; parents are created, an existing file is replaced."""
        ...

    def upload(self, path: str, chunks: Iterator[bytes]) -> int:
        """Write a file from chunks; returns its size in bytes. Parents are created, an existing file is replaced."""
        ...

    def download(self, path: str, start: int = 0, end: int | None = None) -> Iterator[bytes]:
        """Bytes `start` to `end` (exclusive; None: to the end of the file), in chunks.

        Errors are raised by the call itself, before the first chunk.
        """
        ...

    def stat(self, path: str) -> FileInfo | None:
        """Facts about a file or a directory; None when there is nothing."""
        ...

    def list(self, path: str = "", *, max_results: int | None = None, page_token: str | None = None) -> Page[FileInfo]:
        """One level below `path`, sorted by path; empty for a missing directory or a file.

        Pages (`max_results`) come in the storage's own order and are sorted within themselves.
        """
        ...

    def delete(self, path: str) -> None:
        """Remove a file or a tree; nothing to remove is fine."""
        ...

    def open(self, path: str) -> BinaryIO:
        """A readable, seekable binary stream of one file."""
        ...


@dataclass(frozen=True, slots=True)
class PresignedUrl:
    """A link that reads or writes one object without further credentials until it expires."""

    url: str
    headers: Mapping[str, str]
    size: int | None = None


@dataclass(frozen=True, slots=True)
class UploadPart:
    """One part of a multipart upload: `number` counts from 1; `etag` is what the storage answered to its PUT."""

    number: int
    etag: str = ""
    url: str = ""
    headers: Mapping[str, str] | None = None


@dataclass(frozen=True, slots=True)
class MultipartUpload:
    upload_id: str
    parts: Sequence[UploadPart]


@runtime_checkable
class DirectTransfer(Protocol):
    """What a repository offers when clients may move bytes past the server, straight to and from the storage.

    Which hooks a repository has is asked by `isinstance(repository, DirectTransfer)`; a storage that cannot do one of
    them raises `NotImplementedByStore`. Expiry is in seconds.
    """

    def presigned_download(self, path: str, *, expires: int = 300) -> PresignedUrl: ...

    def presigned_upload(self, path: str, *, expires: int = 900) -> PresignedUrl: ...

    def create_multipart(self, path: str, parts: int, *, expires: int = 3600) -> MultipartUpload: ...

    def complete_multipart(self, path: str, upload_id: str, parts: Sequence[UploadPart]) -> None: ...

    def abort_multipart(self, path: str, upload_id: str) -> None: ...


_SCHEME = re.compile(r"([A-Za-z][A-Za-z0-9+.-]+):")

SCHEMES = ("file", "mlflow-artifacts")


def repository_for(uri: str, destination: str | None = None, client: object | None = None) -> ArtifactRepository:
    """The repository that an artifact URI names.

    Args:
        uri: a local path, or a URI of scheme `file`, `mlflow-artifacts`, `s3`, `abfss`, `wasbs` (also `abfs`, `wasb`)
            or `gs`.
        destination: where `mlflow-artifacts:` URIs live for whoever holds the storage: a path or URI.
        client: for whoever does not: the store's client, through whose server `mlflow-artifacts:` URIs go.

    Raises:
        InvalidParameterValue: unknown scheme, unsafe path, or an `mlflow-artifacts:` URI with nowhere to go.
        MissingExtra: the storage's library is not installed.
    """
    match = _SCHEME.match(uri)
    scheme = match.group(1).lower() if match else ""
    opener = _OPENERS.get(scheme)
    if opener is None:
        raise InvalidParameterValue(
            f"artifact location {_without_secrets(uri)!r}: unknown scheme {scheme!r}; "
            f"use a path or one of {', '.join(f'{name}:' for name in SCHEMES)}"
        )
    return opener(uri, destination, client)


def is_proxied(uri: str) -> bool:
    """Whether only a tracking server knows where these artifacts are."""
    return uri.lower().startswith("mlflow-artifacts:")


def _local(uri: str, _destination: str | None, _client: object | None) -> ArtifactRepository:
    from mlgate_tracking.artifacts.local import LocalRepository

    if not uri.lower().startswith("file:"):
        return LocalRepository(uri)
    parts = urlsplit(uri)
    if parts.netloc not in ("", "localhost"):
        raise InvalidParameterValue(f"artifact location {uri!r}: files of host {parts.netloc!r} cannot be reached")
    return LocalRepository(unquote(parts.path))


def _proxied(uri: str, destination: str | None, _client: object | None) -> ArtifactRepository:
    parts = urlsplit(uri)
    below = safe_path(unquote(parts.path).lstrip("/"))
    if destination is None:
        raise InvalidParameterValue(
            f"artifact location {uri!r} is served by a tracking server; give the server's client or its destination"
        )
    if parts.netloc:
        raise InvalidParameterValue(f"artifact location {uri!r} belongs to server {parts.netloc!r}, not to this store")
    if is_proxied(destination):
        raise InvalidParameterValue(f"artifacts destination {destination!r} must name a storage")
    return subrepository(destination, below)


def subrepository(destination: str, below: str) -> ArtifactRepository:
    """The repository at a safe path below a destination (path or URI)."""
    match = _SCHEME.match(destination)
    if match is None or match.group(1).lower() == "file":
        from mlgate_tracking.artifacts.local import LocalRepository

        root = repository_for(destination)
        assert isinstance(root, LocalRepository)
        return LocalRepository(root.root, below)
    base, _, query = destination.partition("?")
    joined = base.rstrip("/") + "/" + join_path(below) if below else base
    return repository_for(f"{joined}?{query}" if query else joined)


def _without_secrets(uri: str) -> str:
    return re.sub(r"//[^/@]*@", "//", uri)


_Opener = Callable[[str, str | None, object | None], ArtifactRepository]

_OPENERS: dict[str, _Opener] = {
    "": _local,
    "file": _local,
    "mlflow-artifacts": _proxied,
}

__all__ = [
    "SCHEMES",
    "ArtifactRepository",
    "ArtifactWriter",
    "DirectTransfer",
    "MultipartUpload",
    "PresignedUrl",
    "UploadPart",
    "is_proxied",
    "repository_for",
    "subrepository",
]
