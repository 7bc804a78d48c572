"""Artifacts behind a tracking server's proxy: `mlflow-artifacts:` seen from a client."""

from __future__ import annotations

import base64
import binascii
import itertools
import json
import os
import tempfile
from collections.abc import Iterator
from typing import IO, Protocol
from urllib.parse import quote

from mlgate_tracking import wire
from mlgate_tracking.artifacts.base import Repository, Writer, check_range
from mlgate_tracking.artifacts.paths import join_path, safe_path
from mlgate_tracking.entities import FileInfo, Page
from mlgate_tracking.errors import InvalidParameterValue, ResourceDoesNotExist
from mlgate_tracking.transport import (
    Credentials,
    FileBody,
    HttpSend,
    Request,
    Response,
    error_code,
    error_from,
    load_retry_policy,
    retrying,
)

PROXY_ROOT = "/api/2.0/mlflow-artifacts/artifacts"

_HELD_BACK = 8 << 20
"""Uploads up to this many bytes are sent with their length and can be repeated; longer ones go out as they come."""
_OWN_PAGE = "after:"


class ProxyClient(Protocol):
    """Whoever can ask a tracking server; the REST store is one."""

    uri: str

    def send(self, request: Request) -> Response: ...


class ProxyRepository(Repository):
    """Files that a tracking server keeps.

    Args:
        client: asks the server, with its credentials and patience.
        below: safe path under the server's artifact root.
        server: another server's base URI, when the location names one. It is asked without credentials, because
            whoever may write a location must not be able to collect them.
    """

    def __init__(self, client: ProxyClient, below: str = "", *, server: str | None = None) -> None:
        self.below = safe_path(below)
        foreign = server is not None and not _same_server(server, client.uri)
        if server is not None and foreign:
            self._uri = server.rstrip("/")
            self._send = retrying(HttpSend(self._uri, credentials=Credentials()), load_retry_policy())
        else:
            self._uri = client.uri
            self._send = client.send
        authority = server.partition("://")[2].partition("/")[0] if server is not None and foreign else ""
        self.root_uri = f"mlflow-artifacts:{f'//{authority}' if authority else ''}/{quote(self.below)}"

    def writer(self, path: str) -> ProxyWriter:
        return ProxyWriter(self, self._file_path(path))

    def upload(self, path: str, chunks: Iterator[bytes]) -> int:
        safe = self._file_path(path)
        held: list[bytes] = []
        size = 0
        for chunk in chunks:
            held.append(chunk)
            size += len(chunk)
            if size > _HELD_BACK:
                break
        else:
            self.put(safe, b"".join(held))
            return size
        source = _Source(itertools.chain(held, chunks))
        try:
            self.put(safe, source)
        except _SourceFailed as failed:
            raise failed.error from None
        return source.size

    def upload_file(self, path: str, file: str | os.PathLike[str]) -> int:
        body = FileBody(file)
        self.put(self._file_path(path), body)
        return body.size

    def put(self, safe: str, body: bytes | FileBody | _Source) -> None:
        """Send one file to its safe path."""
        headers = {"Content-Type": "application/octet-stream"}
        if isinstance(body, FileBody):
            headers["Content-Length"] = str(body.size)
        self._checked(Request("PUT", self._address(safe), headers=headers, body=body))

    def download(self, path: str, start: int = 0, end: int | None = None) -> Iterator[bytes]:
        check_range(start, end)
        safe = self._file_path(path)
        headers = {}
        if start or end is not None:
            last = "" if end is None else max(start, end - 1)
            headers["Range"] = f"bytes={start}-{last}"
        response = self._ask(Request("GET", self._address(safe), headers=headers, stream=True), safe)
        if response.status == 416 or start == end:
            response.close()
            return iter(())
        # A server that knows no ranges sends the whole file.
        return response if response.status == 206 or not headers else _cut(response, start, end)

    def stat(self, path: str) -> FileInfo | None:
        safe = safe_path(path)
        if not safe:
            return FileInfo("", is_dir=True)
        request = Request("GET", self._address(safe), headers={"Range": "bytes=0-0"}, stream=True)
        try:
            response = self._ask(request, safe)
        except InvalidParameterValue:
            return FileInfo(safe, is_dir=True)
        except ResourceDoesNotExist:
            # An object store has no directories, only names that begin alike.
            return FileInfo(safe, is_dir=True) if self.list(safe, max_results=1).items else None
        response.close()
        return FileInfo(safe, is_dir=False, size=_total_size(response))

    def list(self, path: str = "", *, max_results: int | None = None, page_token: str | None = None) -> Page[FileInfo]:
        safe = safe_path(path)
        after = _own_token(page_token)
        query = [("path", join_path(self.below, safe))]
        if max_results is not None:
            query.append(("max_results", str(max(1, max_results))))
        if page_token and after is None:
            query.append(("page_token", page_token))
        response = self._checked(Request("GET", PROXY_ROOT, tuple(query)))
        body = json.loads(response.read() or b"{}")
        entries = (wire.file_info_from_wire(entry) for entry in body.get("files") or ())
        items = sorted(
            (FileInfo(join_path(safe, safe_path(entry.path)), entry.is_dir, entry.size) for entry in entries),
            key=lambda entry: entry.path,
        )
        token = body.get("next_page_token") or None
        if token is None and (after is not None or max_results is not None):
            # MLflow's own server sends everything at once: the pages are made here.
            items = [entry for entry in items if after is None or entry.path > after]
            limit = len(items) if max_results is None else max(1, max_results)
            token = _new_own_token(items[limit - 1].path) if limit < len(items) else None
            items = items[:limit]
        return Page(tuple(items), token)

    def delete(self, path: str) -> None:
        safe = safe_path(path)
        if not safe and not self.below:
            for entry in self.list().items:
                self.delete(entry.path)
            return
        self._checked(Request("DELETE", self._address(safe)))

    def _file_path(self, path: str) -> str:
        safe = safe_path(path)
        if not safe:
            raise self.is_directory(path)
        return safe

    def _address(self, safe: str) -> str:
        return f"{PROXY_ROOT}/{quote(join_path(self.below, safe), safe='/')}"

    def _ask(self, request: Request, safe: str) -> Response:
        """The answer to a download, 200, 206 or 416; anything else raises."""
        response = self._send(request)
        if response.status in (200, 206, 416):
            return response
        if response.status == 404:
            raise self.missing(safe)
        if response.status == 400 and error_code(response) is None:
            raise self.is_directory(safe)  # how MLflow's own server says it
        raise error_from(response, f"GET {self._uri}{request.path}")

    def _checked(self, request: Request) -> Response:
        response = self._send(request)
        if response.status != 200:
            raise error_from(response, f"{request.method} {self._uri}{request.path}")
        return response


class ProxyWriter(Writer):
    """Collects a file, on disk when it grows, and sends it at the end, with its length and as often as it takes."""

    def __init__(self, repository: ProxyRepository, safe: str) -> None:
        self._repository = repository
        self._safe = safe
        self._file: IO[bytes] | None = tempfile.NamedTemporaryFile(prefix="mlgate-upload-")  # noqa: SIM115 - kept open

    def write(self, chunk: bytes | memoryview) -> None:
        assert self._file is not None, "the file is closed"
        self._file.write(chunk)

    def commit(self) -> int:
        assert self._file is not None, "the file is closed"
        try:
            self._file.flush()
            return self._repository.upload_file(self._safe, self._file.name)
        finally:
            self.abort()

    def abort(self) -> None:
        file, self._file = self._file, None
        if file is not None:
            file.close()


class _SourceFailed(Exception):
    """The chunks to upload broke off; not a fault of the connection."""

    def __init__(self, error: BaseException) -> None:
        super().__init__(str(error))
        self.error = error


class _Source:
    """The chunks of an upload, counted, their own errors kept apart from the connection's. Can be read once."""

    def __init__(self, chunks: Iterator[bytes]) -> None:
        self._chunks = chunks
        self.size = 0

    def __iter__(self) -> Iterator[bytes]:
        return self

    def __next__(self) -> bytes:
        try:
            chunk = next(self._chunks)
        except StopIteration:
            raise
        except BaseException as error:
            raise _SourceFailed(error) from error
        self.size += len(chunk)
        return chunk


def _cut(response: Response, start: int, end: int | None) -> Iterator[bytes]:
    position = 0
    for chunk in response:
        piece = chunk[max(0, start - position) : None if end is None else max(0, end - position)]
        position += len(chunk)
        if piece:
            yield piece
        if end is not None and position >= end:
            break
    response.close()


def _total_size(response: Response) -> int:
    total = response.headers.get("content-range", "").rpartition("/")[2]
    if total.isdigit():
        return int(total)
    return int(response.headers.get("content-length") or 0) if response.status == 200 else 0


def _same_server(server: str, uri: str) -> bool:
    def origin(address: str) -> str:
        return address.rstrip("/").rpartition("@")[2].removeprefix("http://").removeprefix("https://").lower()

    here, there = origin(uri), origin(server)
    return there in (here, here.partition("/")[0])


def _new_own_token(path: str) -> str:
    return _OWN_PAGE + base64.urlsafe_b64encode(path.encode()).decode()


def _own_token(token: str | None) -> str | None:
    if not token or not token.startswith(_OWN_PAGE):
        return None
    try:
        return base64.b64decode(token.removeprefix(_OWN_PAGE), altchars=b"-_", validate=True).decode()
    except (binascii.Error, ValueError):
        raise InvalidParameterValue(f"page token {token!r} is not one of this listing; start from the first") from None


__all__ = ["PROXY_ROOT", "ProxyClient", "ProxyRepository", "ProxyWriter"]
