"""Files of runs and models: up, down and listed, streamed through the server's artifact proxy or a local directory."""

from __future__ import annotations

import os

from mlgate_tracking.kit.records import FileInfo, file_info
from mlgate_tracking.kit.transport import Connection, Refused, Unreachable

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

PROXY = "/api/2.0/mlflow-artifacts/artifacts"
CHUNK = 1 << 20


def checked(path: str) -> str:
    """A relative path without tricks, '/'-separated; raises `Refused` for any other."""
    parts = path.replace(os.sep, "/").strip("/").split("/") if path else []
    if path.startswith("/") or any(part in ("", ".", "..") or "\\" in part or "\0" in part for part in parts):
        raise Refused("%r is not a path inside the artifacts; use one like 'plots/roc.png'" % path)
    return "/".join(parts)


class Files:
    """The files below one artifact URI.

    Args:
        connection: to the tracking server, which `mlflow-artifacts:` URIs are resolved against.
        root: `mlflow-artifacts:/...`, `http(s)://...` of a proxy, `file:///...` or a local directory.
    """

    def __init__(self, connection: Connection, root: str) -> None:
        from urllib.parse import unquote, urlsplit

        parts = urlsplit(root)
        self.root = root
        self._connection = connection
        self._base = ""
        self._directory = ""
        if parts.scheme == "mlflow-artifacts":
            if parts.netloc:
                self._connection = Connection("%s://%s" % (connection.uri.partition(":")[0], parts.netloc))
            self._base = unquote(parts.path).strip("/")
        elif parts.scheme in ("http", "https") and PROXY in parts.path:
            server, _, inside = parts.path.partition(PROXY)
            self._connection = Connection("%s://%s%s" % (parts.scheme, parts.netloc, server))
            self._base = unquote(inside).strip("/")
        elif parts.scheme in ("", "file"):
            self._directory = unquote(parts.path) if parts.scheme else root
        else:
            raise Refused(
                "artifacts at %r cannot be reached from here; use a server that proxies artifacts (mlflow-artifacts:), "
                "or a local directory" % root
            )

    def _remote(self, path: str) -> str:
        from urllib.parse import quote

        return PROXY + "/" + quote("/".join(part for part in (self._base, checked(path)) if part))

    def _local(self, path: str) -> str:
        return os.path.join(self._directory, *checked(path).split("/")) if path else self._directory

    def upload(self, path: str, file: str) -> None:
        """Put a local file at `path`.

        Raises:
            FileNotFoundError: there is no such local file.
        """
        if self._directory:
            import shutil  # brings the compression modules along

            target = self._local(path)
            os.makedirs(os.path.dirname(target), exist_ok=True)
            partial = "%s.%d.partial" % (target, os.getpid())
            shutil.copyfile(file, partial)
            os.replace(partial, target)
            return
        with open(file, "rb") as stream:
            self._put(path, stream, os.fstat(stream.fileno()).st_size)

    def write(self, path: str, content: bytes) -> None:
        """Put bytes at `path`."""
        if self._directory:
            target = self._local(path)
            os.makedirs(os.path.dirname(target), exist_ok=True)
            with open(target, "wb") as file:
                file.write(content)
            return
        self._put(path, content, len(content))

    def _put(self, path: str, body: Any, size: int) -> None:
        remote = self._remote(path)
        headers = {"Content-Type": "application/octet-stream", "Content-Length": str(size)}
        self._connection.read(self._connection.send("PUT", remote, body, headers), "PUT", remote)

    def entries(self, path: str = "") -> list[FileInfo]:
        """One level, sorted; paths relative to the root. Empty for a file and for what does not exist."""
        prefix = checked(path)
        if self._directory:
            folder = self._local(path)
            names = sorted(os.listdir(folder)) if os.path.isdir(folder) else []
            found = [_local_info(os.path.join(folder, name), name) for name in names]
        else:
            inside = "/".join(part for part in (self._base, prefix) if part)
            answer = self._connection.call("GET", PROXY, query=[("path", inside)] if inside else None)
            found = [file_info(raw) for raw in answer.get("files", ())]
        return [
            FileInfo("/".join(part for part in (prefix, each.path) if part), each.is_dir, each.file_size)
            for each in found
        ]

    def walk(self, path: str = "") -> list[str]:
        """Paths of all files below `path`."""
        found = []
        for each in self.entries(path):
            found += self.walk(each.path) if each.is_dir else [each.path]
        return found

    def read(self, path: str) -> bytes:
        """Content of one file.

        Raises:
            Refused: there is no such file.
        """
        if self._directory:
            try:
                with open(self._local(path), "rb") as file:
                    return file.read()
            except OSError as error:
                raise Refused("no file %r in %s (%s)" % (path, self.root, error), "RESOURCE_DOES_NOT_EXIST", 404)
        remote = self._remote(path)
        return self._connection.read(self._connection.send("GET", remote), "GET", remote)

    def download(self, path: str, target: str) -> str:
        """Copy a file or a tree below the directory `target`, keeping its path; returns the local path."""
        local = os.path.join(target, *checked(path).split("/")) if path else target
        files = self.walk(path)
        if not files and path:
            self._fetch(path, local)
            return local
        for file in files:
            self._fetch(file, os.path.join(target, *checked(file).split("/")))
        return local

    def _fetch(self, path: str, local: str) -> None:
        import http.client
        import shutil

        os.makedirs(os.path.dirname(local), exist_ok=True)
        if self._directory:
            try:
                shutil.copyfile(self._local(path), local)
            except OSError as error:
                raise Refused("no file %r in %s (%s)" % (path, self.root, error), "RESOURCE_DOES_NOT_EXIST", 404)
            return
        remote = self._remote(path)
        answer = self._connection.send("GET", remote)
        if answer.status != 200:
            self._connection.read(answer, "GET", remote)
        partial = "%s.%d.partial" % (local, os.getpid())
        try:
            with open(partial, "wb") as file:
                shutil.copyfileobj(answer, file, CHUNK)
            if answer.length:
                raise http.client.IncompleteRead(b"", answer.length)
        except (OSError, http.client.HTTPException) as error:
            self._connection.close()
            os.unlink(partial)
            raise Unreachable("GET %s: %s" % (remote, error))
        os.replace(partial, local)


def _local_info(file: str, name: str) -> FileInfo:
    is_dir = os.path.isdir(file)
    return FileInfo(name, is_dir, None if is_dir else os.stat(file).st_size)


__all__ = ["Files", "checked"]
