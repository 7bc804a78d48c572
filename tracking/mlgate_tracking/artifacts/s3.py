"""Artifacts in S3 and in stores that speak its protocol.

| variable                               | meaning                                                            |
|----------------------------------------|--------------------------------------------------------------------|
| `AWS_*`, `~/.aws`                      | credentials, region and profile, as boto3 finds them               |
| `MLFLOW_S3_ENDPOINT_URL`               | another store's address (also `AWS_ENDPOINT_URL`)                  |
| `MLFLOW_S3_UPLOAD_EXTRA_ARGS`          | JSON: `ServerSideEncryption`, `SSEKMSKeyId`, `StorageClass`, ...   |
| `MLFLOW_S3_IGNORE_TLS`                 | `true`: any certificate will do                                    |
| `MLFLOW_BOTO_CLIENT_ADDRESSING_STYLE`  | `path`, `virtual` or `auto`                                        |
"""

from __future__ import annotations

import hashlib
import json
import os
import threading
from base64 import b64encode
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from functools import lru_cache
from typing import Any

from mlgate_tracking.artifacts import MultipartUpload, PresignedUrl, UploadPart
from mlgate_tracking.artifacts.base import CHUNK_SIZE
from mlgate_tracking.artifacts.objects import Listing, ObjectRepository, ObjectWriter, Parts, part_size, resuming
from mlgate_tracking.artifacts.paths import safe_path
from mlgate_tracking.errors import (
    InternalError,
    InvalidParameterValue,
    MissingExtra,
    PermissionDenied,
    ResourceDoesNotExist,
    TemporarilyUnavailable,
    TrackingError,
)

_PARTED_BY = "mlgate-parts"
"""Metadata of objects that were written in parts of `part_size`, so that their checksum can be made again."""
_UPLOAD_OPTIONS = frozenset({
    "ACL", "BucketKeyEnabled", "ExpectedBucketOwner", "GrantFullControl", "GrantRead", "RequestPayer",
    "SSECustomerAlgorithm", "SSECustomerKey", "SSEKMSEncryptionContext", "SSEKMSKeyId", "ServerSideEncryption",
    "StorageClass", "Tagging",
})  # fmt: skip
_CUSTOMER_KEY = ("SSECustomerAlgorithm", "SSECustomerKey")
_TRUE = ("1", "true", "yes", "on")
_client_lock = threading.Lock()


class S3Repository(ObjectRepository):
    """Objects of `s3://bucket/prefix`; also a `DirectTransfer`."""

    def __init__(self, uri: str, below: str = "") -> None:
        bucket, _, prefix = uri.partition("://")[2].partition("/")
        if not bucket:
            raise InvalidParameterValue(f"artifact location {uri!r}: name a bucket, as in s3://bucket/folder")
        super().__init__(prefix, below)
        self.bucket = bucket
        self.root_uri = f"s3://{bucket}/{self.prefix}".rstrip("/")
        self.options = _upload_options(os.environ.get("MLFLOW_S3_UPLOAD_EXTRA_ARGS"))
        self.reading = {name: self.options[name] for name in _CUSTOMER_KEY if name in self.options}
        self.client = _client(
            os.environ.get("MLFLOW_S3_ENDPOINT_URL") or None,
            os.environ.get("MLFLOW_BOTO_CLIENT_ADDRESSING_STYLE") or None,
            os.environ.get("MLFLOW_S3_IGNORE_TLS", "").lower() not in _TRUE,
            os.getpid(),
        )

    def _size(self, key: str) -> int | None:
        with self._translated(key):
            try:
                found = self.client.head_object(Bucket=self.bucket, Key=key, **self.reading)
            except self.client.exceptions.ClientError as error:
                if _status(error) == 404 and _code(error) != "NoSuchBucket":
                    return None
                raise
        return int(found["ContentLength"])

    def _read(self, key: str, start: int, end: int | None) -> Iterator[bytes] | None:
        import urllib3.exceptions
        from botocore.exceptions import HTTPClientError, IncompleteReadError

        with self._translated(key):
            try:
                first = self._get(key, start, end)
            except self.client.exceptions.ClientError as error:
                if _code(error) == "NoSuchKey":
                    return None
                if _status(error) == 416:
                    return iter(())
                raise

        def go_on(position: int) -> Iterator[bytes]:
            with self._translated(key):  # never with another version of the file
                return _chunks(self._get(key, position, end, IfMatch=first["ETag"]))

        interrupted = (HTTPClientError, IncompleteReadError, urllib3.exceptions.HTTPError, ConnectionError)
        chunks = resuming(_chunks(first), start, go_on, interrupted)
        total = int(first.get("ContentRange", "/0").rpartition("/")[2]) or int(first["ContentLength"])
        whole = start == 0 and int(first["ContentLength"]) == total
        return _EtagDigest(first).checked(chunks, self._where(key)) if whole else chunks

    def _get(self, key: str, start: int, end: int | None, **condition: str) -> Any:
        section = {} if start == 0 and end is None else {"Range": f"bytes={start}-{'' if end is None else end - 1}"}
        return self.client.get_object(Bucket=self.bucket, Key=key, **self.reading, **section, **condition)

    def _page(self, prefix: str, limit: int | None, token: str | None) -> Listing:
        arguments: dict[str, Any] = {"Bucket": self.bucket, "Prefix": prefix, "Delimiter": "/"}
        if limit is not None:
            arguments["MaxKeys"] = max(1, min(limit, 1000))
        if token:
            arguments["ContinuationToken"] = token
        with self._translated(prefix):
            page = self.client.list_objects_v2(**arguments)
        return Listing(
            tuple((entry["Key"], int(entry["Size"])) for entry in page.get("Contents", ()) if entry["Key"] != prefix),
            tuple(entry["Prefix"].removesuffix("/") for entry in page.get("CommonPrefixes", ())),
            page.get("NextContinuationToken"),
        )

    def _keys(self, prefix: str) -> Iterator[str]:
        with self._translated(prefix):
            for page in self.client.get_paginator("list_objects_v2").paginate(Bucket=self.bucket, Prefix=prefix):
                for entry in page.get("Contents", ()):
                    yield entry["Key"]

    def _delete(self, keys: list[str]) -> None:
        with self._translated(keys[0]):
            wanted = {"Objects": [{"Key": key} for key in keys], "Quiet": True}
            failed = self.client.delete_objects(Bucket=self.bucket, Delete=wanted).get("Errors", ())
        for failure in failed:
            raise PermissionDenied(f"{self._where(failure['Key'])}: cannot be deleted: {failure.get('Message')}")

    def writer(self, path: str) -> ObjectWriter:
        return ObjectWriter(S3Parts(self, self.key(self._file_path(path))))

    # --- past the server ------------------------------------------------------------------------------------------

    def presigned_download(self, path: str, *, expires: int = 300) -> PresignedUrl:
        key = self.key(safe_path(path))
        size = self.file_size(path)
        return PresignedUrl(self._sign("get_object", {"Key": key}, expires), {}, size)

    def presigned_upload(self, path: str, *, expires: int = 900) -> PresignedUrl:
        return PresignedUrl(self._sign("put_object", {"Key": self.key(self._file_path(path))}, expires), {})

    def create_multipart(self, path: str, parts: int, *, expires: int = 3600) -> MultipartUpload:
        key = self.key(self._file_path(path))
        with self._translated(key):
            upload_id = self.client.create_multipart_upload(Bucket=self.bucket, Key=key, **self.options)["UploadId"]
        arguments = {"Key": key, "UploadId": upload_id}
        urls = (
            self._sign("upload_part", {**arguments, "PartNumber": number}, expires) for number in range(1, parts + 1)
        )
        return MultipartUpload(upload_id, tuple(UploadPart(number, url=url) for number, url in enumerate(urls, 1)))

    def complete_multipart(self, path: str, upload_id: str, parts: Sequence[UploadPart]) -> None:
        key = self.key(self._file_path(path))
        wanted = [
            {"PartNumber": part.number, "ETag": part.etag} for part in sorted(parts, key=lambda part: part.number)
        ]
        with self._translated(key):
            self.client.complete_multipart_upload(
                Bucket=self.bucket, Key=key, UploadId=upload_id, MultipartUpload={"Parts": wanted}
            )

    def abort_multipart(self, path: str, upload_id: str) -> None:
        key = self.key(self._file_path(path))
        with self._translated(key):
            self.client.abort_multipart_upload(Bucket=self.bucket, Key=key, UploadId=upload_id)

    def _sign(self, method: str, arguments: Mapping[str, Any], expires: int) -> str:
        with self._translated(str(arguments["Key"])):
            return str(
                self.client.generate_presigned_url(
                    method, Params={"Bucket": self.bucket, **arguments}, ExpiresIn=expires
                )
            )

    # --- errors ---------------------------------------------------------------------------------------------------

    def _where(self, key: str) -> str:
        return f"s3://{self.bucket}/{key}"

    @contextmanager
    def _translated(self, key: str) -> Iterator[None]:
        from botocore.exceptions import BotoCoreError, ClientError

        try:
            yield
        except (BotoCoreError, ClientError) as error:
            raise _translate(error, self._where(key)) from error


class S3Parts(Parts):
    def __init__(self, repository: S3Repository, key: str) -> None:
        self._repository = repository
        self._key = key
        self._upload_id = ""

    def put(self, body: bytes) -> None:
        self._call("put_object", Body=body, ContentMD5=_md5(body), **self._repository.options)

    def begin(self) -> None:
        answer = self._call("create_multipart_upload", Metadata={_PARTED_BY: "1"}, **self._repository.options)
        self._upload_id = answer["UploadId"]

    def put_part(self, number: int, body: bytes) -> Any:
        answer = self._call(
            "upload_part",
            UploadId=self._upload_id,
            PartNumber=number,
            Body=body,
            ContentMD5=_md5(body),
            **self._repository.reading,
        )
        return {"PartNumber": number, "ETag": answer["ETag"]}

    def finish(self, parts: list[Any]) -> None:
        self._call("complete_multipart_upload", UploadId=self._upload_id, MultipartUpload={"Parts": parts})

    def abort(self) -> None:
        self._call("abort_multipart_upload", UploadId=self._upload_id)

    def _call(self, method: str, **arguments: Any) -> Any:
        with self._repository._translated(self._key):
            return getattr(self._repository.client, method)(Bucket=self._repository.bucket, Key=self._key, **arguments)


class _EtagDigest:
    """Checks a whole download against the ETag, where that is a digest of the content.

    It is the MD5 of an object that was put at once, and the MD5 of the parts' MD5s of one that was put in parts; with
    a key of KMS or of the customer's own it is neither.
    """

    def __init__(self, found: Mapping[str, Any]) -> None:
        etag = found["ETag"].strip('"')
        self._parted = "-" in etag
        known = len(etag) == 32 or (self._parted and found.get("Metadata", {}).get(_PARTED_BY) == "1")
        encrypted = found.get("ServerSideEncryption", "AES256") != "AES256" or "SSECustomerAlgorithm" in found
        self._expected = etag if known and not encrypted else None

    def checked(self, chunks: Iterator[bytes], where: str) -> Iterator[bytes]:
        if self._expected is None:
            yield from chunks
            return
        whole, part, parts = hashlib.md5(usedforsecurity=False), hashlib.md5(usedforsecurity=False), 0
        left = part_size(1)
        for chunk in chunks:
            view = memoryview(chunk)
            while self._parted and len(view) > left:
                part.update(view[:left])
                view = view[left:]
                whole.update(part.digest())
                parts += 1
                part, left = hashlib.md5(usedforsecurity=False), part_size(parts + 1)
            part.update(view)
            left -= len(view)
            yield chunk
        if self._parted:
            whole.update(part.digest())
        made = f"{whole.hexdigest()}-{parts + 1}" if self._parted else part.hexdigest()
        if made != self._expected:
            raise InternalError(f"{where} arrived damaged: its checksum is {made}, not {self._expected}")


@lru_cache(maxsize=16)
def _client(endpoint: str | None, addressing: str | None, verify: bool, _pid: int) -> Any:
    """One client for all repositories of a process: making one takes longer than using it."""
    try:
        import boto3
        from botocore.config import Config
    except ModuleNotFoundError as error:
        raise MissingExtra(f"artifacts in s3:// need {error.name}; install mlgate[s3]") from error
    settings: dict[str, Any] = {
        "signature_version": "s3v4",  # presigned links of version 2 also bind headers that clients choose themselves
        "retries": {"mode": "standard", "max_attempts": 5},
        "max_pool_connections": 32,
        "s3": {"addressing_style": addressing} if addressing else {},
    }
    # Newer botocore adds trailing checksums that many S3-compatible stores refuse; MD5s are sent here instead.
    for checksums in ({"request_checksum_calculation": "when_required"}, {}):
        try:
            config = Config(**settings, **checksums)
            break
        except TypeError:
            continue
    with _client_lock:  # the default session is not safe for threads
        return boto3.session.Session().client(
            "s3", endpoint_url=endpoint, config=config, verify=None if verify else False
        )


def _upload_options(text: str | None) -> dict[str, Any]:
    if not text:
        return {}
    try:
        options = json.loads(text)
    except ValueError as error:
        raise InvalidParameterValue(f"MLFLOW_S3_UPLOAD_EXTRA_ARGS is not JSON: {error}") from None
    if not isinstance(options, dict):
        raise InvalidParameterValue("MLFLOW_S3_UPLOAD_EXTRA_ARGS is not a JSON object")
    unknown = sorted(set(options) - _UPLOAD_OPTIONS)
    if unknown:
        raise InvalidParameterValue(
            f"MLFLOW_S3_UPLOAD_EXTRA_ARGS: unknown option {unknown[0]!r}; use {', '.join(sorted(_UPLOAD_OPTIONS))}"
        )
    return options


def _chunks(found: Mapping[str, Any]) -> Iterator[bytes]:
    chunks: Iterator[bytes] = found["Body"].iter_chunks(CHUNK_SIZE)
    return chunks


def _md5(body: bytes) -> str:
    return b64encode(hashlib.md5(body, usedforsecurity=False).digest()).decode()


def _code(error: Any) -> str:
    return str(error.response.get("Error", {}).get("Code", ""))


def _status(error: Any) -> int:
    return int(error.response.get("ResponseMetadata", {}).get("HTTPStatusCode", 0))


def _translate(error: Exception, where: str) -> TrackingError:
    from botocore.exceptions import ClientError, NoCredentialsError, PartialCredentialsError

    if isinstance(error, (NoCredentialsError, PartialCredentialsError)):
        return PermissionDenied(f"{where}: no credentials; set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY")
    if not isinstance(error, ClientError):
        return TemporarilyUnavailable(f"{where}: {error}")
    code, status = _code(error), _status(error)
    message = str(error.response.get("Error", {}).get("Message") or code)
    if code == "NoSuchBucket":
        return ResourceDoesNotExist(f"{where}: there is no such bucket")
    if code in ("NoSuchUpload", "InvalidPart", "InvalidPartOrder", "EntityTooSmall"):
        return InvalidParameterValue(f"{where}: {message}")
    if status == 404:
        return ResourceDoesNotExist(f"{where}: there is no such artifact")
    if status in (401, 403):
        return PermissionDenied(f"{where}: {code}: {message}")
    if status == 412:
        return TemporarilyUnavailable(f"{where}: the file was replaced while it was read; read it again")
    if status >= 500 or status == 429:
        return TemporarilyUnavailable(f"{where}: {code}: {message}")
    return InvalidParameterValue(f"{where}: {code}: {message}")


__all__ = ["S3Parts", "S3Repository"]
