"""Artifacts in Azure Blob Storage and Data Lake Storage.

| variable                          | meaning                                                        |
|-----------------------------------|----------------------------------------------------------------|
| `AZURE_STORAGE_CONNECTION_STRING` | account, key or SAS, and endpoints, in one                     |
| `AZURE_STORAGE_ACCESS_KEY`        | the account's key                                              |
| `AZURE_STORAGE_SAS_TOKEN`         | a shared access signature                                      |
| otherwise                         | what `azure-identity` finds (managed identity, az login, ...)  |
"""

from __future__ import annotations

import hashlib
import os
from base64 import b64encode
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from functools import lru_cache
from typing import Any
from urllib.parse import quote, urlsplit

from mlgate_tracking.artifacts import MultipartUpload, PresignedUrl, UploadPart
from mlgate_tracking.artifacts.objects import PARALLEL_PARTS, Listing, ObjectRepository, ObjectWriter, Parts
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

_CHUNK = 4 << 20
_CLOUDS = (".core.windows.net", ".core.chinacloudapi.cn", ".core.usgovcloudapi.net", ".storage.azure.net")
"""Hosts that may be shown an identity's token; a location must not be able to send it anywhere else."""


class AzureRepository(ObjectRepository):
    """Blobs of `wasbs://container@account.blob.core.windows.net/prefix`, or `abfss://...dfs...`.

    Also a `DirectTransfer`, where the credentials can sign links.
    """

    def __init__(self, uri: str, below: str = "") -> None:
        parts = urlsplit(uri)
        container, at, host = parts.netloc.partition("@")
        account = host.partition(".")[0]
        if not (container and at and account):
            raise InvalidParameterValue(
                f"artifact location {uri!r}: name container and account, as in "
                "wasbs://container@account.blob.core.windows.net/folder"
            )
        super().__init__(uri.partition("://")[2].partition("/")[2], below)
        self.root_uri = f"{parts.scheme}://{parts.netloc}/{self.prefix}".rstrip("/")
        self.client = _client(
            container,
            host.replace(".dfs.", ".blob.", 1),
            os.environ.get("AZURE_STORAGE_CONNECTION_STRING") or None,
            os.environ.get("AZURE_STORAGE_ACCESS_KEY") or None,
            os.environ.get("AZURE_STORAGE_SAS_TOKEN") or None,
            os.getpid(),
        )

    def writer(self, path: str) -> ObjectWriter:
        return ObjectWriter(AzureParts(self, self.key(self._file_path(path))))

    def _size(self, key: str) -> int | None:
        found = self._properties(key)
        return None if found is None or _is_folder(found) else int(found.size)

    def _properties(self, key: str) -> Any:
        from azure.core.exceptions import ResourceNotFoundError

        with self._translated(key):
            try:
                return self.client.get_blob_client(key).get_blob_properties()
            except ResourceNotFoundError as error:
                if _code(error) == "ContainerNotFound":
                    raise
                return None

    def _read(self, key: str, start: int, end: int | None) -> Iterator[bytes] | None:
        from azure.core.exceptions import HttpResponseError

        section = {} if start == 0 and end is None else {"offset": start}
        if end is not None:
            section["length"] = end - start
        with self._translated(key):
            try:
                stream = self.client.download_blob(key, **section)
            except HttpResponseError as error:
                if error.status_code == 404 and _code(error) != "ContainerNotFound":
                    return None
                if error.status_code == 416:
                    return iter(())
                raise
        if _is_folder(stream.properties):
            return None
        stored = stream.properties.content_settings.content_md5
        total = (stream.properties.content_range or "").rpartition("/")[2]
        whole = start == 0 and total in ("", str(stream.size))
        return self._chunks(key, stream, bytes(stored) if whole and stored else None)

    def _chunks(self, key: str, stream: Any, expected: bytes | None) -> Iterator[bytes]:
        digest = hashlib.md5(usedforsecurity=False)
        chunks = stream.chunks()  # broken connections are taken up again by the library
        while True:
            with self._translated(key):
                chunk = next(chunks, b"")
            if not chunk:
                break
            if expected is not None:
                digest.update(chunk)
            yield chunk
        if expected is not None and digest.digest() != expected:
            raise InternalError(
                f"{self._where(key)} arrived damaged: its checksum is {digest.hexdigest()}, not {expected.hex()}"
            )

    def _page(self, prefix: str, limit: int | None, token: str | None) -> Listing:
        with self._translated(prefix):
            found = self.client.walk_blobs(
                name_starts_with=prefix or None, delimiter="/", results_per_page=limit and min(limit, 5000)
            )
            pages = found.by_page(token or None)
            entries = list(next(pages, ()))
        folders = {entry.name.rstrip("/") for entry in entries if not hasattr(entry, "size") or _is_folder(entry)}
        files = tuple((entry.name, int(entry.size)) for entry in entries if entry.name.rstrip("/") not in folders)
        return Listing(files, tuple(folders), pages.continuation_token or None)

    def _keys(self, prefix: str) -> Iterator[str]:
        with self._translated(prefix):
            yield from self.client.list_blob_names(name_starts_with=prefix or None)

    def _delete(self, keys: list[str]) -> None:
        from azure.core.exceptions import ResourceNotFoundError

        def delete(key: str) -> None:
            if key.endswith("/"):
                # Data Lake accounts keep folders as blobs without the '/'.
                key = key.rstrip("/")
                found = self._properties(key)
                if found is None or not _is_folder(found):
                    return
            with self._translated(key):
                try:
                    self.client.delete_blob(key, delete_snapshots="include")
                except ResourceNotFoundError as error:
                    if _code(error) == "ContainerNotFound":
                        raise

        files = [key for key in keys if not key.endswith("/")]
        with ThreadPoolExecutor(PARALLEL_PARTS) as pool:
            list(pool.map(delete, files))
        for key in keys[len(files) :]:
            delete(key)

    # --- past the server ------------------------------------------------------------------------------------------

    def presigned_download(self, path: str, *, expires: int = 300) -> PresignedUrl:
        size = self.file_size(path)
        return PresignedUrl(self._signed(self.key(safe_path(path)), "r", expires), {}, size)

    def presigned_upload(self, path: str, *, expires: int = 900) -> PresignedUrl:
        url = self._signed(self.key(self._file_path(path)), "cw", expires)
        return PresignedUrl(url, {"x-ms-blob-type": "BlockBlob"})

    def create_multipart(self, path: str, parts: int, *, expires: int = 3600) -> MultipartUpload:
        url = self._signed(self.key(self._file_path(path)), "cw", expires)
        upload_id = os.urandom(8).hex()
        numbered = (
            UploadPart(number, url=f"{url}&comp=block&blockid={_wire_id(_block_id(upload_id, number))}")
            for number in range(1, parts + 1)
        )
        return MultipartUpload(upload_id, tuple(numbered))

    def complete_multipart(self, path: str, upload_id: str, parts: Sequence[UploadPart]) -> None:
        key = self.key(self._file_path(path))
        blocks = [_block(upload_id, part.number) for part in sorted(parts, key=lambda part: part.number)]
        with self._translated(key):
            self.client.get_blob_client(key).commit_block_list(blocks)

    def abort_multipart(self, path: str, upload_id: str) -> None:
        """Nothing to do: blocks that no list names are dropped by the service after a week."""

    def _signed(self, key: str, permission: str, expires: int) -> str:
        from azure.storage.blob import generate_blob_sas

        until = datetime.now(UTC) + timedelta(seconds=expires)
        blob = self.client.get_blob_client(key)
        signing: dict[str, Any] = {}
        account_key = getattr(self.client.credential, "account_key", None)
        if account_key:
            signing["account_key"] = account_key
        elif hasattr(self.client.credential, "get_token"):
            with self._translated(key):
                signing["user_delegation_key"] = self.client._get_blob_service_client().get_user_delegation_key(
                    datetime.now(UTC) - timedelta(minutes=5), until
                )
        else:
            raise NotImplementedByStore(
                f"{self._where(key)}: a shared access signature cannot sign links; use the account's key or an identity"
            )
        token = generate_blob_sas(
            blob.account_name, blob.container_name, key, permission=permission, expiry=until, **signing
        )
        return f"{blob.url}?{token}"

    # --- errors ---------------------------------------------------------------------------------------------------

    def _where(self, key: str) -> str:
        return f"{self.root_uri.removesuffix(self.prefix).rstrip('/')}/{key}"

    @contextmanager
    def _translated(self, key: str) -> Iterator[None]:
        from azure.core.exceptions import AzureError

        try:
            yield
        except AzureError as error:
            raise _translate(error, self._where(key)) from error


class AzureParts(Parts):
    """Blocks, which become the blob when their list is committed."""

    def __init__(self, repository: AzureRepository, key: str) -> None:
        self._repository = repository
        self._key = key
        self._blob = repository.client.get_blob_client(key)
        self._upload_id = os.urandom(8).hex()
        self._digest = hashlib.md5(usedforsecurity=False)

    def see(self, body: bytes) -> None:
        self._digest.update(body)

    def put(self, body: bytes) -> None:
        with self._repository._translated(self._key):
            self._blob.upload_blob(body, overwrite=True, validate_content=True, content_settings=self._settings())

    def begin(self) -> None:
        """Blocks need no announcement."""

    def put_part(self, number: int, body: bytes) -> Any:
        with self._repository._translated(self._key):
            self._blob.stage_block(_block_id(self._upload_id, number), body, validate_content=True)
        return _block(self._upload_id, number)

    def finish(self, parts: list[Any]) -> None:
        with self._repository._translated(self._key):
            self._blob.commit_block_list(parts, content_settings=self._settings())

    def abort(self) -> None:
        """Blocks that no list names are dropped by the service after a week."""

    def _settings(self) -> Any:
        from azure.storage.blob import ContentSettings

        return ContentSettings(content_type="application/octet-stream", content_md5=bytearray(self._digest.digest()))


def _block_id(upload_id: str, number: int) -> str:
    """All ids of one blob must have the same length; on the wire they are base64."""
    return f"{upload_id}{number:06}"


def _wire_id(block_id: str) -> str:
    return quote(b64encode(block_id.encode()).decode(), safe="")


def _block(upload_id: str, number: int) -> Any:
    from azure.storage.blob import BlobBlock

    return BlobBlock(_block_id(upload_id, number))


@lru_cache(maxsize=16)
def _client(
    container: str, host: str, connection: str | None, access_key: str | None, sas: str | None, _pid: int
) -> Any:
    try:
        from azure.storage.blob import ContainerClient
    except ModuleNotFoundError as error:
        raise MissingExtra(f"artifacts in Azure need {error.name}; install mlgate[azure]") from error
    options: dict[str, Any] = {"max_single_get_size": _CHUNK, "max_chunk_get_size": _CHUNK}
    account = host.partition(".")[0]
    if connection:
        client = ContainerClient.from_connection_string(connection, container, **options)
        if client.account_name != account:
            raise InvalidParameterValue(
                f"artifact location in account {account!r}: AZURE_STORAGE_CONNECTION_STRING is for "
                f"{client.account_name!r}"
            )
        return client
    if not host.endswith(_CLOUDS):
        raise InvalidParameterValue(
            f"artifact location: {host!r} is no Azure storage; use one of *{', *'.join(_CLOUDS)}"
        )
    credential: Any
    if access_key:
        credential = {"account_name": account, "account_key": access_key}
    elif sas:
        credential = sas
    else:
        try:
            from azure.identity import DefaultAzureCredential
        except ModuleNotFoundError as error:
            raise PermissionDenied(
                f"artifacts in Azure account {account!r}: no credentials; set AZURE_STORAGE_CONNECTION_STRING or "
                "AZURE_STORAGE_ACCESS_KEY, or install azure-identity"
            ) from error
        credential = DefaultAzureCredential()
    return ContainerClient(f"https://{host}", container, credential=credential, **options)


def _is_folder(found: Any) -> bool:
    metadata: Mapping[str, str] = getattr(found, "metadata", None) or {}
    return metadata.get("hdi_isfolder", "").lower() == "true"


def _code(error: Any) -> str:
    code = getattr(error, "error_code", None) or ""
    return str(getattr(code, "value", code))


def _translate(error: Exception, where: str) -> TrackingError:
    from azure.core.exceptions import ClientAuthenticationError, HttpResponseError

    message = str(getattr(error, "reason", None) or error).splitlines()[0]
    if isinstance(error, ClientAuthenticationError):
        return PermissionDenied(f"{where}: {_code(error) or message}; check the account's key, SAS or identity")
    if not isinstance(error, HttpResponseError):
        return TemporarilyUnavailable(f"{where}: {message}")
    code, status = _code(error) or message, error.status_code or 0
    if code == "ContainerNotFound":
        return ResourceDoesNotExist(f"{where}: there is no such container")
    if status == 404:
        return ResourceDoesNotExist(f"{where}: there is no such artifact")
    if status in (401, 403):
        return PermissionDenied(f"{where}: {code}; check the account's key, SAS or identity")
    if status >= 500 or status in (0, 429):
        return TemporarilyUnavailable(f"{where}: {code}")
    return InvalidParameterValue(f"{where}: {code}")


__all__ = ["AzureParts", "AzureRepository"]
