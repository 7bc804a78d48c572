"""Artifacts without their bytes: listings, multipart uploads, links that lead straight to the storage."""

from __future__ import annotations

import posixpath
from typing import Annotated

import msgspec

from mlgate_tracking import wire
from mlgate_tracking.artifacts import ArtifactRepository, DirectTransfer, UploadPart, is_proxied
from mlgate_tracking.artifacts.paths import join_path, safe_path
from mlgate_tracking.entities import FileInfo, Page
from mlgate_tracking.errors import InvalidParameterValue, NotImplementedByStore
from mlgate_tracking.server.access import check_may_write
from mlgate_tracking.server.decode import Request, Text, required
from mlgate_tracking.server.endpoints import Call, endpoint
from mlgate_tracking.server.routes.common import RunIdentity
from mlgate_tracking.wire import Json

NO_MULTIPART_UPLOAD = "Multipart upload is not supported for the current artifact repository"
NO_MULTIPART_DOWNLOAD = "Multipart download is not supported for the current artifact repository"

Expiration = Annotated[int, msgspec.Meta(ge=1, le=604_800)]


class ListRunArtifacts(RunIdentity, frozen=True):
    path: str = ""
    page_token: str = ""


class ListModelArtifacts(Request, frozen=True):
    model_id: Text
    artifact_directory_path: str = ""
    page_token: str = ""


class ListProxied(Request, frozen=True):
    path: str = ""
    # Additions of ours: MLflow's clients know no pages here and get everything.
    max_results: Annotated[int, msgspec.Meta(ge=1, le=10_000)] | None = None
    page_token: str = ""


class PresignUpload(Request, frozen=True):
    path: Text
    run_id: str = ""
    model_id: str = ""
    expiration: Expiration = 900


class PresignDownload(Request, frozen=True):
    run_id: Text
    path: Text
    expiration: Expiration = 300


class CreateMultipart(Request, frozen=True):
    directory: str
    path: Text
    num_parts: Annotated[int, msgspec.Meta(ge=1, le=10_000)]


class PartIn(Request, frozen=True):
    part_number: Annotated[int, msgspec.Meta(ge=1, le=10_000)]
    etag: str = ""
    url: str = ""


class CompleteMultipart(Request, frozen=True):
    directory: str
    path: Text
    parts: tuple[PartIn, ...]
    upload_id: str = ""


class AbortMultipart(Request, frozen=True):
    directory: str
    path: Text
    upload_id: str = ""


class PresignProxied(Request, frozen=True):
    path: Text


def list_run(call: Call, request: ListRunArtifacts) -> Json:
    """List one level of a run's artifacts."""
    run = call.store.get_run(required(request.run_id or request.run_uuid, "run_id"))
    return _listing(call, run.info.artifact_uri, request.path)


def list_model(call: Call, request: ListModelArtifacts) -> Json:
    """List one level of a logged model's artifacts."""
    model = call.store.get_logged_model(request.model_id)
    return _listing(call, model.artifact_uri, request.artifact_directory_path)


def _listing(call: Call, uri: str, path: str) -> Json:
    page = call.server.repository(uri).list(safe_path(path))
    files = {"files": [wire.file_info_to_wire(entry) for entry in page.items]} if page.items else {}
    return {"root_uri": uri, **files}


def list_proxied(call: Call, request: ListProxied) -> Json:
    """List one level below the artifacts destination, by name."""
    page = call.server.proxied.list(
        safe_path(request.path), max_results=request.max_results, page_token=request.page_token or None
    )
    entries = tuple(FileInfo(posixpath.basename(entry.path), entry.is_dir, entry.size) for entry in page.items)
    return wire.page_to_wire("files", Page(entries, page.token), wire.file_info_to_wire)


def presign_upload(call: Call, request: PresignUpload) -> Json:
    """A link to which one artifact can be uploaded, past the server."""
    if bool(request.run_id) == bool(request.model_id):
        raise InvalidParameterValue("give exactly one of 'run_id' and 'model_id'")
    if request.run_id:
        call.store.check_writable(run_id=request.run_id)
        uri = call.store.get_run(request.run_id).info.artifact_uri
    else:
        call.store.check_writable(model_id=request.model_id)
        uri = call.store.get_logged_model(request.model_id).artifact_uri
    repository = _direct(call, uri, "upload")
    link = repository.presigned_upload(safe_path(request.path), expires=request.expiration)
    return {"presigned_url": link.url, "headers": dict(link.headers)}


def presign_download(call: Call, request: PresignDownload) -> Json:
    """A link from which one artifact can be downloaded, past the server."""
    uri = call.store.get_run(request.run_id).info.artifact_uri
    link = _direct(call, uri, "download").presigned_download(safe_path(request.path), expires=request.expiration)
    size = {} if link.size is None else {"file_size": link.size}
    return {"presigned_url": link.url, "headers": dict(link.headers), **size}


def _direct(call: Call, uri: str, direction: str) -> DirectTransfer:
    if is_proxied(uri) or uri.lower().startswith(("http:", "https:")):
        raise InvalidParameterValue(f"artifact location {uri!r} is served by this server; {direction} through it")
    return _transfer(call.server.repository(uri), f"Presigned {direction} is not supported for {uri!r}")


def _transfer(repository: ArtifactRepository, message: str) -> DirectTransfer:
    if not isinstance(repository, DirectTransfer):
        raise NotImplementedByStore(message)
    return repository


def create_multipart(call: Call, request: CreateMultipart) -> Json:
    """Begin a multipart upload: a link for every part."""
    path = _part_target(call, request.directory, request.path)
    upload = _transfer(call.server.proxied, NO_MULTIPART_UPLOAD).create_multipart(path, request.num_parts)
    credentials = [
        {"url": part.url, "part_number": part.number, "headers": dict(part.headers or {})} for part in upload.parts
    ]
    return {"upload_id": upload.upload_id, "credentials": credentials}


def complete_multipart(call: Call, request: CompleteMultipart) -> Json:
    """Put the uploaded parts together."""
    path = _part_target(call, request.directory, request.path)
    parts = [UploadPart(part.part_number, part.etag, part.url) for part in request.parts]
    _transfer(call.server.proxied, NO_MULTIPART_UPLOAD).complete_multipart(path, request.upload_id, parts)
    return {}


def abort_multipart(call: Call, request: AbortMultipart) -> Json:
    """Forget a multipart upload."""
    path = _part_target(call, request.directory, request.path)
    _transfer(call.server.proxied, NO_MULTIPART_UPLOAD).abort_multipart(path, request.upload_id)
    return {}


def _part_target(call: Call, directory: str, name: str) -> str:
    # Old clients send the file's whole local path, also a Windows one: its last part is the name.
    basename = posixpath.basename(name.replace("\\", "/"))
    path = join_path(safe_path(directory), safe_path(required(basename, "path")))
    check_may_write(call, path)
    return path


def presign_proxied(call: Call, request: PresignProxied) -> Json:
    """A link from which one proxied artifact can be downloaded, past the server."""
    repository = _transfer(call.server.proxied, NO_MULTIPART_DOWNLOAD)
    link = repository.presigned_download(safe_path(request.path))
    return {"url": link.url, "headers": dict(link.headers), **({} if link.size is None else {"file_size": link.size})}


_MLFLOW = "2.0/mlflow/"
_PROXY = "2.0/mlflow-artifacts/"
_FILES = {"root_uri": "string", "files": "FileInfo[]"}
_LINK = {"presigned_url": "string", "headers": "object"}

ENDPOINTS = (
    endpoint("GET", _MLFLOW + "artifacts/list", ListRunArtifacts, list_run, **_FILES),
    endpoint("POST", _MLFLOW + "artifacts/presigned-upload-url", PresignUpload, presign_upload, **_LINK),
    endpoint(
        "POST", _MLFLOW + "artifacts/presigned-download-url", PresignDownload, presign_download,
        **_LINK, file_size="integer",
    ),
    endpoint(
        "GET", _MLFLOW + "logged-models/{model_id}/artifacts/directories", ListModelArtifacts, list_model, **_FILES
    ),
)  # fmt: skip

_TOKEN = {"next_page_token": "string"}

PROXY_ENDPOINTS = (
    endpoint("GET", _PROXY + "artifacts", ListProxied, list_proxied, files="FileInfo[]", **_TOKEN),
    endpoint(
        "POST", _PROXY + "mpu/create/{directory:rest}", CreateMultipart, create_multipart,
        upload_id="string", credentials="object[]",
    ),
    endpoint("POST", _PROXY + "mpu/complete/{directory:rest}", CompleteMultipart, complete_multipart),
    endpoint("POST", _PROXY + "mpu/abort/{directory:rest}", AbortMultipart, abort_multipart),
    endpoint(
        "GET", _PROXY + "presigned/{path:rest}", PresignProxied, presign_proxied,
        url="string", headers="object", file_size="integer",
    ),
)  # fmt: skip

__all__ = ["ENDPOINTS", "NO_MULTIPART_DOWNLOAD", "NO_MULTIPART_UPLOAD", "PROXY_ENDPOINTS"]
