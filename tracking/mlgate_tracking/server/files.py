"""Artifacts' bytes in and out, streamed: never more than a few chunks of a file in memory."""

from __future__ import annotations

import asyncio
import logging
import mimetypes
import re
import sys
import zlib
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from functools import partial, wraps
from typing import Any, TypeVar
from urllib.parse import quote

from starlette.requests import ClientDisconnect, Request
from starlette.responses import JSONResponse, PlainTextResponse, Response, StreamingResponse
from starlette.routing import Route
from starlette.types import Receive, Scope, Send

from mlgate_tracking.artifacts import ArtifactRepository, ArtifactWriter
from mlgate_tracking.artifacts.paths import safe_path
from mlgate_tracking.errors import InvalidParameterValue, ResourceDoesNotExist, TrackingError
from mlgate_tracking.server.access import check_may_write
from mlgate_tracking.server.api import FAMILIES, error_body
from mlgate_tracking.server.decode import Request as Fields
from mlgate_tracking.server.decode import RequestDecoder, Text, Version, required
from mlgate_tracking.server.endpoints import Call
from mlgate_tracking.server.routes.common import RunIdentity
from mlgate_tracking.server.settings import MEBIBYTE
from mlgate_tracking.server.shortcut import RECEIVE, SEND, in_thread
from mlgate_tracking.server.state import ServerState

log = logging.getLogger(__name__)

BLOCK = MEBIBYTE
"""Bytes gathered before a thread is asked to write them."""

UI_UPLOAD_LIMIT = 10 * MEBIBYTE

_TYPES = mimetypes.MimeTypes()
for _ending, _type in {
    ".jsonl": "application/x-ndjson",
    ".log": "text/plain",
    ".md": "text/markdown",
    ".toml": "application/toml",
    ".yaml": "application/yaml",
    ".yml": "application/yaml",
}.items():
    _TYPES.add_type(_type, _ending)

_RANGE = re.compile(r"bytes=([0-9]*)-([0-9]*)")

T = TypeVar("T")
Handler = Callable[[Request], Awaitable[Response]]


class _OfRun(RunIdentity, frozen=True, kw_only=True):
    path: Text


class _OfVersion(Fields, frozen=True):
    name: Text
    version: Version
    path: Text


class _OfModel(Fields, frozen=True):
    model_id: Text
    artifact_file_path: Text


_of_run, _of_version, _of_model = RequestDecoder(_OfRun), RequestDecoder(_OfVersion), RequestDecoder(_OfModel)


class Files:
    """The routes whose bodies are files."""

    def __init__(self, state: ServerState) -> None:
        self._state = state

    def routes(self) -> list[Route]:
        """By run, version and model unless the server keeps none; by proxy path, or a refusal of it."""
        found: list[Route] = []
        if not self._state.settings.artifacts_only:
            found += self._stored_routes()
        for family in FAMILIES:
            base = family + "2.0/mlflow-artifacts/"
            if not self._state.settings.serve_artifacts:
                every = ["GET", "PUT", "POST", "DELETE"]
                found += [Route(base + "{path:rest}", self._answered(self.not_served), methods=every)]
                continue
            for method, handler in (("GET", self.download), ("PUT", self.upload), ("DELETE", self.delete)):
                found.append(Route(base + "artifacts/{path:rest}", self._answered(handler), methods=[method]))
        return found

    def _stored_routes(self) -> list[Route]:
        return [
            Route("/get-artifact", self._answered(self.run_file), methods=["GET"]),
            Route("/model-versions/get-artifact", self._answered(self.version_file), methods=["GET"]),
            Route("/ajax-api/2.0/mlflow/upload-artifact", self._answered(self.upload_from_page), methods=["POST"]),
            Route(
                "/ajax-api/2.0/mlflow/logged-models/{model_id}/artifacts/files",
                self._answered(self.model_file),
                methods=["GET"],
            ),
        ]

    def _answered(self, handler: Handler) -> Handler:
        @wraps(handler)
        async def answer(request: Request) -> Response:
            try:
                return await handler(request)
            except TrackingError as error:
                headers = {"Content-Range": f"bytes */{error.size}"} if isinstance(error, _Unsatisfiable) else None
                return Response(error_body(error), error.status, headers, media_type="application/json")
            except ClientDisconnect:
                return Response(status_code=499)
            except Exception:
                log.exception("%s %s failed", request.method, request.url.path)
                return Response(error_body(None), 500, media_type="application/json")

        return answer

    async def _in_thread(self, work: Callable[[], T]) -> T:
        return await in_thread(self._state.threads, work)

    def _call(self, request: Request) -> Call:
        return self._state.call(request.scope)

    async def not_served(self, _request: Request) -> Response:
        return PlainTextResponse("This server does not serve artifacts: it runs with --no-serve-artifacts", 503)

    # --- the proxy --------------------------------------------------------------------------------------------------

    async def download(self, request: Request) -> Response:
        return await self._send_file(request, lambda: self._state.proxied, request.path_params["path"])

    async def upload(self, request: Request) -> Response:
        call, path = self._call(request), safe_path(request.path_params["path"])

        def begin() -> ArtifactWriter:
            check_may_write(call, path)
            return self._state.proxied.writer(path)

        await self._receive_file(request, await self._in_thread(begin))
        return JSONResponse({})

    async def delete(self, request: Request) -> Response:
        call, path = self._call(request), safe_path(request.path_params["path"])
        if not path:
            raise InvalidParameterValue("name the artifact to delete; the whole destination cannot be deleted")

        def remove() -> None:
            check_may_write(call, path)
            self._state.proxied.delete(path)

        await self._in_thread(remove)
        return JSONResponse({})

    # --- by run, version and model ----------------------------------------------------------------------------------

    async def run_file(self, request: Request) -> Response:
        wanted = _of_run.from_query(request.scope["query_string"])
        run_id = _run_id(wanted)
        return await self._send_file(
            request,
            lambda: self._state.repository(self._call(request).store.get_run(run_id).info.artifact_uri),
            wanted.path,
        )

    async def version_file(self, request: Request) -> Response:
        wanted = _of_version.from_query(request.scope["query_string"])

        def repository() -> ArtifactRepository:
            uri = self._call(request).store.get_model_version_download_uri(wanted.name, wanted.version)
            return self._state.repository(uri)

        return await self._send_file(request, repository, wanted.path)

    async def model_file(self, request: Request) -> Response:
        wanted = _of_model.from_query(request.scope["query_string"], request.path_params)
        return await self._send_file(
            request,
            lambda: self._state.repository(self._call(request).store.get_logged_model(wanted.model_id).artifact_uri),
            wanted.artifact_file_path,
        )

    async def upload_from_page(self, request: Request) -> Response:
        call, wanted = self._call(request), _of_run.from_query(request.scope["query_string"])
        run_id, path = _run_id(wanted), safe_path(wanted.path)

        def begin() -> ArtifactWriter:
            call.store.check_writable(run_id=run_id)
            return self._state.repository(call.store.get_run(run_id).info.artifact_uri).writer(path)

        size = await self._receive_file(request, await self._in_thread(begin), limit=UI_UPLOAD_LIMIT)
        if size == 0:
            raise InvalidParameterValue("the file is empty; send between 1 byte and 10 MB")
        return Response()

    # --- streams ----------------------------------------------------------------------------------------------------

    async def _receive_file(self, request: Request, writer: ArtifactWriter, limit: int | None = None) -> int:
        """Write the body in threads while more of it arrives; its size."""
        counted = _Counted(writer, limit)
        try:
            length, around = _length(request), request.scope.get("extensions", {}).get(RECEIVE)
            if length is not None and around is not None:
                await around(length, counted.write)
            else:
                await self._write_blocks(request, counted)
            if limit is None or counted.size:
                await self._in_thread(writer.commit)
        finally:
            await self._in_thread(writer.abort)
        return counted.size

    async def _write_blocks(self, request: Request, counted: _Counted) -> None:
        writing: asyncio.Future[None] | None = None
        try:
            async for block in _blocks(request):
                if writing is not None:
                    await writing
                writing = asyncio.ensure_future(self._in_thread(partial(counted.write_all, block)))
            if writing is not None:
                await writing
        finally:
            if writing is not None and not writing.done():
                await asyncio.wait([writing])

    async def _send_file(self, request: Request, repository: Callable[[], ArtifactRepository], path: str) -> Response:
        safe = safe_path(path)
        wanted = request.headers.get("range")

        def begin() -> tuple[Iterator[bytes], int, int, int]:
            store = repository()
            info = store.stat(safe)
            if info is None:
                raise ResourceDoesNotExist(f"no artifact {safe!r}")
            if info.size is None:
                raise InvalidParameterValue(f"artifact {safe!r} is a directory; name a file")
            start, end = _range(wanted, info.size)
            return store.download(safe, start, end), start, end, info.size

        chunks, start, end, size = await self._in_thread(begin)
        headers = {
            "Content-Length": str(end - start),
            "Accept-Ranges": "bytes",
            "Content-Disposition": _disposition(safe.rpartition("/")[2]),
            "X-Content-Type-Options": "nosniff",
        }
        status = 200
        if end - start < size:
            status = 206
            headers["Content-Range"] = f"bytes {start}-{end - 1}/{size}"
        media_type = _media_type(safe)
        # What comes from a file says so.
        if hasattr(chunks, "fileno") and SEND in request.scope.get("extensions", {}):
            return _FileAnswer(chunks, start, end - start, status, headers, media_type)
        return StreamingResponse(self._stream(chunks), status, headers, media_type)

    async def _stream(self, chunks: Iterator[bytes]) -> AsyncIterator[bytes]:
        try:
            while chunk := await self._in_thread(lambda: next(chunks, b"")):
                yield chunk
        finally:
            close = getattr(chunks, "close", None)
            if close is not None:
                close()


class _FileAnswer(Response):
    """Bytes of an open file, which the server's connection copies by itself."""

    def __init__(
        self, chunks: Any, offset: int, count: int, status: int, headers: dict[str, str], media_type: str
    ) -> None:
        super().__init__(None, status, headers, media_type)
        self._chunks = chunks
        self._message = {"type": SEND, "file": chunks.fileno(), "offset": offset, "count": count}

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        try:
            await send({"type": "http.response.start", "status": self.status_code, "headers": self.raw_headers})
            await send(self._message)
        finally:
            self._chunks.close()


class _Counted:
    """A writer that counts, and refuses more than `limit` bytes."""

    def __init__(self, writer: ArtifactWriter, limit: int | None) -> None:
        self._writer = writer
        self._limit = limit
        self.size = 0

    def write(self, chunk: bytes | memoryview) -> None:
        self.size += len(chunk)
        if self._limit is not None and self.size > self._limit:
            raise InvalidParameterValue(f"the file is longer than {self._limit} bytes; log it with a client instead")
        self._writer.write(chunk)

    def write_all(self, block: list[bytes]) -> None:
        for chunk in block:
            self.write(chunk)


def _length(request: Request) -> int | None:
    """The announced length of a body that comes as it is."""
    length = request.headers.get("content-length", "")
    encodings = {request.headers.get(name, "identity").lower() for name in ("content-encoding", "transfer-encoding")}
    plain = encodings == {"identity"}
    return _number(length) if plain and length.isascii() and length.isdigit() else None


async def _blocks(request: Request) -> AsyncIterator[list[bytes]]:
    """The body in blocks large enough to be worth a thread's while; unpacked if it came compressed."""
    encoding = request.headers.get("content-encoding", "identity").lower()
    if encoding not in ("identity", "gzip"):
        raise InvalidParameterValue(f"Content-Encoding is {encoding}; send gzip or identity")
    unpack = zlib.decompressobj(wbits=31) if encoding == "gzip" else None
    gathered: list[bytes] = []
    size = 0
    async for chunk in request.stream():
        for part in _unpacked(unpack, chunk) if unpack else (chunk,):
            gathered.append(part)
            size += len(part)
            if size >= BLOCK:
                yield gathered
                gathered, size = [], 0
    if unpack and not unpack.eof:
        raise InvalidParameterValue("the file is not valid gzip: it ends early")
    if size:
        yield gathered


def _unpacked(unpack: zlib._Decompress, chunk: bytes) -> Iterator[bytes]:
    """What a chunk holds, at most a block at a time however much it grows."""
    while chunk:
        try:
            yield unpack.decompress(chunk, BLOCK)
        except zlib.error as error:
            raise InvalidParameterValue(f"the file is not valid gzip: {error}") from None
        chunk = unpack.unconsumed_tail


def _range(header: str | None, size: int) -> tuple[int, int]:
    """Start and exclusive end of the one range asked for; the whole file for none, several, or nonsense."""
    match = _RANGE.fullmatch((header or "").strip())
    if match is None or match.groups() == ("", ""):
        return 0, size
    first, last = match.groups()
    start = _number(first) if first else max(0, size - _number(last))
    end = min(_number(last) + 1, size) if first and last else size
    if start >= size and (first or not _number(last)):
        raise _Unsatisfiable(f"the range lies outside the file's {size} bytes", size)
    return (start, end) if end > start else (0, size)


def _number(digits: str) -> int:
    """Their number, or the largest size there is: no file has more bytes."""
    digits = digits.lstrip("0")
    return int(digits or "0") if len(digits) < len(str(sys.maxsize)) else sys.maxsize


class _Unsatisfiable(InvalidParameterValue):
    status = 416

    def __init__(self, message: str, size: int) -> None:
        super().__init__(message)
        self.size = size


def _media_type(path: str) -> str:
    media_type, packing = _TYPES.guess_type(path)
    # `table.csv.gz` is not text, and its packing not one that a client shall undo on the way.
    return media_type if media_type and not packing else "application/octet-stream"


def _disposition(name: str) -> str:
    # Always a download: a page among the artifacts must not run in the server's origin.
    if name.isascii() and '"' not in name:
        return f'attachment; filename="{name}"'
    return f"attachment; filename*=UTF-8''{quote(name, safe='')}"


def _run_id(wanted: _OfRun) -> str:
    return required(wanted.run_id or wanted.run_uuid, "run_id")


__all__ = ["Files"]
