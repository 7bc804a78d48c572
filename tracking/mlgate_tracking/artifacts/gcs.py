"""Artifacts in Google Cloud Storage.

Credentials are what the library finds: `GOOGLE_APPLICATION_CREDENTIALS`, `gcloud auth application-default login`, or
the machine's own. `STORAGE_EMULATOR_HOST` names another server, asked without credentials.
"""

from __future__ import annotations

import importlib
import os
from base64 import b64encode
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from datetime import timedelta
from functools import lru_cache
from typing import Any

from mlgate_tracking.artifacts import MultipartUpload, PresignedUrl, UploadPart
from mlgate_tracking.artifacts.base import Writer
from mlgate_tracking.artifacts.objects import PART_SIZE, Listing, ObjectRepository
from mlgate_tracking.artifacts.paths import safe_path
from mlgate_tracking.errors import (
    InternalError,
    InvalidParameterValue,
    MissingExtra,
    NotImplementedByStore,
    PermissionDenied,
    ResourceDoesNotExist,
    TemporarilyUnavailable,
    TrackingError,
)

_CONTENT_TYPE = "application/octet-stream"


class GcsRepository(ObjectRepository):
    """Objects of `gs://bucket/prefix`; also a `DirectTransfer`, with links but without multipart uploads."""

    def __init__(self, uri: str, below: str = "") -> None:
        bucket, _, prefix = uri.partition("://")[2].partition("/")
        if not bucket:
            raise InvalidParameterValue(f"artifact location {uri!r}: name a bucket, as in gs://bucket/folder")
        super().__init__(prefix, below)
        self.root_uri = f"gs://{bucket}/{self.prefix}".rstrip("/")
        with self._translated(""):
            self.client = _client(os.environ.get("STORAGE_EMULATOR_HOST"), os.getpid())
        self.bucket = self.client.bucket(bucket)

    def writer(self, path: str) -> GcsWriter:
        return GcsWriter(self, self.key(self._file_path(path)))

    def _size(self, key: str) -> int | None:
        with self._translated(key):
            found = self.bucket.get_blob(key)
        return None if found is None else int(found.size)

    def _read(self, key: str, start: int, end: int | None) -> Iterator[bytes] | None:
        with self._translated(key):
            found = self.bucket.get_blob(key)
        if found is None:
            return None
        size = int(found.size)
        last = size if end is None else min(end, size)
        return self._chunks(found, start, last, check=start == 0 and last == size)

    def _chunks(self, found: Any, start: int, end: int, *, check: bool) -> Iterator[bytes]:
        """One request a chunk, all for the version that was there at the beginning; the library repeats lost ones."""
        digest = _checksum()
        position = start
        while position < end:
            with self._translated(found.name):
                chunk: bytes = found.download_as_bytes(
                    start=position,
                    end=min(end, position + PART_SIZE) - 1,
                    if_generation_match=found.generation,
                    checksum=None,
                )
            if not chunk:
                break
            position += len(chunk)
            if check:
                digest.update(chunk)
            yield chunk
        made = b64encode(digest.digest()).decode()
        if check and found.crc32c and made != found.crc32c:
            raise InternalError(
                f"{self._where(found.name)} arrived damaged: its checksum is {made}, not {found.crc32c}"
            )

    def _page(self, prefix: str, limit: int | None, token: str | None) -> Listing:
        with self._translated(prefix):
            found = self.client.list_blobs(
                self.bucket, prefix=prefix or None, delimiter="/", page_token=token, page_size=limit
            )
            entries = list(next(found.pages, ()))
        files = tuple((entry.name, int(entry.size)) for entry in entries if entry.name != prefix)
        folders = tuple(folder.removesuffix("/") for folder in found.prefixes)
        return Listing(files, folders, found.next_page_token or None)

    def _keys(self, prefix: str) -> Iterator[str]:
        with self._translated(prefix):
            for entry in self.client.list_blobs(self.bucket, prefix=prefix or None):
                yield entry.name

    def _delete(self, keys: list[str]) -> None:
        from google.api_core.exceptions import NotFound

        for key in keys:
            with self._translated(key), suppress(NotFound):
                self.bucket.delete_blob(key)

    # --- past the server ------------------------------------------------------------------------------------------

    def presigned_download(self, path: str, *, expires: int = 300) -> PresignedUrl:
        size = self.file_size(path)
        return PresignedUrl(self._signed("GET", self.key(safe_path(path)), expires), {}, size)

    def presigned_upload(self, path: str, *, expires: int = 900) -> PresignedUrl:
        return PresignedUrl(self._signed("PUT", self.key(self._file_path(path)), expires), {})

    def create_multipart(self, path: str, parts: int, *, expires: int = 3600) -> MultipartUpload:
        raise NotImplementedByStore("Multipart upload is not supported for the current artifact repository")

    def complete_multipart(self, path: str, upload_id: str, parts: Sequence[UploadPart]) -> None:
        raise NotImplementedByStore("Multipart upload is not supported for the current artifact repository")

    def abort_multipart(self, path: str, upload_id: str) -> None:
        raise NotImplementedByStore("Multipart upload is not supported for the current artifact repository")

    def _signed(self, method: str, key: str, expires: int) -> str:
        blob = self.bucket.blob(key)
        try:
            return str(blob.generate_signed_url(version="v4", expiration=timedelta(seconds=expires), method=method))
        except AttributeError as error:  # what the library raises for credentials without a private key
            raise NotImplementedByStore(
                f"{self._where(key)}: these credentials cannot sign links; use a service account's key"
            ) from error

    # --- errors ---------------------------------------------------------------------------------------------------

    def _where(self, key: str) -> str:
        return f"{self.root_uri.removesuffix(self.prefix).rstrip('/')}/{key}"

    @contextmanager
    def _translated(self, key: str) -> Iterator[None]:
        try:
            from google.api_core.exceptions import GoogleAPIError
            from google.auth.exceptions import GoogleAuthError
            from requests.exceptions import RequestException
        except ModuleNotFoundError as error:
            raise MissingExtra(f"artifacts in gs:// need {error.name}; install mlgate[gcs]") from error
        try:
            yield
        except (GoogleAPIError, GoogleAuthError, RequestException) as error:
            raise _translate(error, self._where(key)) from error


class GcsWriter(Writer):
    """Short files go out in one request, longer ones through a resumable upload, which ends all at once."""

    def __init__(self, repository: GcsRepository, key: str) -> None:
        self._repository = repository
        self._blob = repository.bucket.blob(key)
        self._digest = _checksum()
        self._buffer = bytearray()
        self._stream: Any = None
        self._size = 0
        self._closed = False

    def write(self, chunk: bytes | memoryview) -> None:
        assert not self._closed, "the file is closed"
        self._buffer += chunk
        self._size += len(chunk)
        self._digest.update(bytes(chunk))
        if len(self._buffer) > PART_SIZE:
            self._flush()

    def commit(self) -> int:
        assert not self._closed, "the file is closed"
        try:
            with self._repository._translated(self._blob.name):
                if self._stream is None:
                    body = bytes(self._buffer)
                    self._blob.upload_from_string(body, content_type=_CONTENT_TYPE, checksum="crc32c")
                else:
                    self._flush()
                    self._stream.close()
                    self._blob.reload()
            made = b64encode(self._digest.digest()).decode()
            if self._blob.crc32c != made:
                self._repository._delete([self._blob.name])
                raise InternalError(f"{self._repository._where(self._blob.name)} arrived damaged and was removed")
        except BaseException:
            self.abort()
            raise
        self._end()
        return self._size

    def abort(self) -> None:
        if self._closed:
            return
        stream = self._stream
        self._end()
        if stream is not None and not stream.closed:
            with suppress(TrackingError), self._repository._translated(self._blob.name):
                stream.terminate()

    def _flush(self) -> None:
        with self._repository._translated(self._blob.name):
            if self._stream is None:
                self._stream = self._blob.open(
                    "wb", chunk_size=PART_SIZE, content_type=_CONTENT_TYPE, ignore_flush=True
                )
            self._stream.write(bytes(self._buffer))
        self._buffer.clear()

    def _end(self) -> None:
        self._closed = True
        self._buffer = bytearray()
        self._stream = None

    def __del__(self) -> None:
        if hasattr(self, "_closed"):
            self.abort()


@lru_cache(maxsize=4)
def _client(_emulator: str | None, _pid: int) -> Any:
    from google.cloud import storage

    return storage.Client()


def _checksum() -> Any:
    """A running CRC32C, the checksum that the service keeps of every object."""
    crc32c: Any = importlib.import_module("google_crc32c")  # a dependency of the library, without types
    return crc32c.Checksum()


def _translate(error: Exception, where: str) -> TrackingError:
    from google.auth.exceptions import DefaultCredentialsError

    message = str(getattr(error, "message", "") or error).splitlines()[0]
    status = int(getattr(error, "code", None) or 0)
    if isinstance(error, DefaultCredentialsError):
        return PermissionDenied(f"{where}: no credentials; set GOOGLE_APPLICATION_CREDENTIALS")
    if status == 404:
        kind = "bucket" if "bucket" in message.lower() else "artifact"
        return ResourceDoesNotExist(f"{where}: there is no such {kind}")
    if status in (401, 403):
        return PermissionDenied(f"{where}: {message}")
    if status == 412:
        return TemporarilyUnavailable(f"{where}: the file was replaced while it was read; read it again")
    if status >= 500 or status in (0, 408, 429):
        return TemporarilyUnavailable(f"{where}: {message}")
    return InvalidParameterValue(f"{where}: {message}")


__all__ = ["GcsRepository", "GcsWriter"]
