"""Artifact repositories: one protocol, one leaf module per kind of storage, chosen by URI scheme."""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, BinaryIO, Protocol, runtime_checkable
from urllib.parse import quote, unquote, urlsplit

from mlgate_tracking.artifacts.paths import safe_path
from mlgate_tracking.entities import FileInfo, Page
from mlgate_tracking.errors import InvalidParameterValue

if TYPE_CHECKING:
    from mlgate_tracking.artifacts.proxy import ProxyClient


class ArtifactWriter(Protocol):
    """One file on its way in. Used with `with`: leaving the block normally commits, an exception aborts."""

    def write(self, chunk: bytes | memoryview) -> None:
        """Take the next bytes; returns when there is room for more, and the chunk is the caller's again."""
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

    def upload_file(self, path: str, file: str | os.PathLike[str]) -> int:
        """Write a local file; returns its size in bytes. Better than `upload`: a storage may send parts at once."""
        ...

    def download(self, path: str, start: int = 0, end: int | None = None) -> Iterator[bytes]:
        """Bytes `start` to `end` (exclusive; None: to the end of the file), in chunks.

        Errors are raised by the call itself, before the first chunk.
        """
        ...

    def download_file(self, path: str, file: str | os.PathLike[str]) -> int:
        """Read into a local file, which appears whole or not at all; returns its size in bytes."""
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

SCHEMES = ("file", "mlflow-artifacts", "s3", "abfss", "wasbs", "gs", "http", "https")


def repository_for(uri: str, destination: str | None = None, client: ProxyClient | None = None) -> ArtifactRepository:
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


def _local(uri: str, _destination: str | None, _client: ProxyClient | None) -> ArtifactRepository:
    from mlgate_tracking.artifacts.local import LocalRepository

    return LocalRepository(_local_path(uri))


def _local_path(uri: str) -> str:
    if not uri.lower().startswith("file:"):
        return uri
    parts = urlsplit(uri)
    if parts.netloc not in ("", "localhost"):
        raise InvalidParameterValue(f"artifact location {uri!r}: files of host {parts.netloc!r} cannot be reached")
    return unquote(parts.path)


def _proxied(uri: str, destination: str | None, client: ProxyClient | None) -> ArtifactRepository:
    parts = urlsplit(uri)
    below = safe_path(unquote(parts.path).lstrip("/"))
    if client is not None:
        from mlgate_tracking.artifacts.proxy import ProxyRepository

        scheme = client.uri.partition(":")[0]
        return ProxyRepository(client, below, server=f"{scheme}://{parts.netloc}" if parts.netloc else None)
    if destination is None:
        raise InvalidParameterValue(
            f"artifact location {uri!r} is served by a tracking server; give the server's client or its destination"
        )
    if parts.netloc:
        raise InvalidParameterValue(f"artifact location {uri!r} belongs to server {parts.netloc!r}, not to this store")
    return subrepository(destination, below)


def subrepository(destination: str, below: str = "") -> ArtifactRepository:
    """The repository at a safe path below a destination (path or URI)."""
    check_destination(destination)
    match = _SCHEME.match(destination)
    if match is None or match.group(1).lower() == "file":
        from mlgate_tracking.artifacts.local import LocalRepository

        return LocalRepository(_local_path(destination), below)
    base, _, query = destination.partition("?")
    joined = base.rstrip("/") + "/" + quote(below) if below else base
    return repository_for(f"{joined}?{query}" if query else joined)


def check_destination(destination: str) -> None:
    """Refuse what cannot be a server's artifacts destination (`InvalidParameterValue`); touches nothing."""
    match = _SCHEME.match(destination)
    scheme = match.group(1).lower() if match else ""
    if not destination or scheme not in _OPENERS or scheme in ("mlflow-artifacts", "http", "https"):
        raise InvalidParameterValue(
            f"artifacts destination {_without_secrets(destination)!r} is no storage; "
            "use a directory, or s3://, abfss://, wasbs:// or gs://"
        )


def require_folder(destination: str, advice: str) -> None:
    """Refuse a destination on the disk that is not there: it is a wrong one (`InvalidParameterValue`)."""
    match = _SCHEME.match(destination)
    if match is None or match.group(1).lower() == "file":
        path = os.path.abspath(_local_path(destination))  # noqa: PTH100 - light
        if not os.path.isdir(path):  # noqa: PTH112 - light
            raise InvalidParameterValue(f"there is no folder {path}: {advice}")


def _http(uri: str, _destination: str | None, client: ProxyClient | None) -> ArtifactRepository:
    from mlgate_tracking.artifacts.proxy import PROXY_ROOT, ProxyRepository

    base, found, below = uri.partition(PROXY_ROOT)
    if not found or client is None:
        raise InvalidParameterValue(
            f"artifact location {_without_secrets(uri)!r}: only a tracking server's artifact proxy can be read over "
            f"HTTP (a URL that contains {PROXY_ROOT})"
        )
    return ProxyRepository(client, safe_path(unquote(below).lstrip("/")), server=base)


def _s3(uri: str, _destination: str | None, _client: ProxyClient | None) -> ArtifactRepository:
    from mlgate_tracking.artifacts.s3 import S3Repository

    return S3Repository(uri)


def _azure(uri: str, _destination: str | None, _client: ProxyClient | None) -> ArtifactRepository:
    from mlgate_tracking.artifacts.azure import AzureRepository

    return AzureRepository(uri)


def _gcs(uri: str, _destination: str | None, _client: ProxyClient | None) -> ArtifactRepository:
    from mlgate_tracking.artifacts.gcs import GcsRepository

    return GcsRepository(uri)


def _without_secrets(uri: str) -> str:
    return re.sub(r"//[^/@]*@", "//", uri)


_Opener = Callable[[str, str | None, "ProxyClient | None"], ArtifactRepository]

_OPENERS: dict[str, _Opener] = {
    "": _local,
    "file": _local,
    "mlflow-artifacts": _proxied,
    "http": _http,
    "https": _http,
    "s3": _s3,
    "abfs": _azure,
    "abfss": _azure,
    "wasb": _azure,
    "wasbs": _azure,
    "gs": _gcs,
}

__all__ = [
    "SCHEMES",
    "ArtifactRepository",
    "ArtifactWriter",
    "DirectTransfer",
    "MultipartUpload",
    "PresignedUrl",
    "UploadPart",
    "check_destination",
    "is_proxied",
    "repository_for",
    "require_folder",
    "subrepository",
]
