"""One HTTP request to the tracking server, on the standard library.

`Connection` keeps one socket alive for one thread; `request` raises `Unreachable` when there was no answer worth
reading (worth a retry) and `Refused` when the server said no.
"""

from __future__ import annotations

import os

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any


class TrackingError(Exception):
    """Root of what the client raises on purpose."""


class Unreachable(TrackingError):
    """No answer, or one that says `later` (429, 5xx): the same request may succeed in a while."""


class Refused(TrackingError):
    """The server's no: `error_code` as MLflow names it, HTTP `status`."""

    def __init__(self, message: str, error_code: str = "", status: int = 0) -> None:
        super().__init__(message)
        self.error_code = error_code
        self.status = status


LATER = (408, 425, 429, 500, 502, 503, 504)
DEFINITE = ("INVALID_STATE", "NOT_IMPLEMENTED", "DATA_LOSS")
"""Error codes that come with a status of LATER and still will not change."""


def tracking_uri() -> str:
    return os.environ.get("MLFLOW_TRACKING_URI", "").rstrip("/")


def authorization(environ: Any = None) -> str | None:
    """Value of the Authorization header that the environment asks for, as MLflow reads it; None for none."""
    environ = os.environ if environ is None else environ
    user, password = environ.get("MLFLOW_TRACKING_USERNAME"), environ.get("MLFLOW_TRACKING_PASSWORD")
    if user and password:
        import base64

        return "Basic " + base64.b64encode(("%s:%s" % (user, password)).encode()).decode()
    token = environ.get("MLFLOW_TRACKING_TOKEN")
    return "Bearer " + token if token else None


class Connection:
    """A kept-alive connection to one server; used by one thread at a time.

    Args:
        uri: base of the server (`http://host:port/prefix`).
        timeout: seconds for each socket operation.
        token: bearer token; default what the environment says.
    """

    def __init__(self, uri: str | None = None, timeout: float = 20.0, token: str | None = None) -> None:
        from urllib.parse import urlsplit

        self.uri = (uri or tracking_uri()).rstrip("/")
        self._token = token
        self._socket: Any = None
        parts = urlsplit(self.uri)
        if parts.scheme not in ("http", "https") or not parts.hostname:
            raise Refused("tracking URI %r is not an http(s) address" % self.uri, "INVALID_PARAMETER_VALUE")
        self._parts = parts
        self._timeout = timeout

    def close(self) -> None:
        if self._socket is not None:
            self._socket.close()
            self._socket = None

    def __del__(self) -> None:
        try:
            self.close()  # of a thread that has ended; an unclosed socket would be reported
        except Exception:
            pass

    def _connect(self) -> Any:
        import http.client

        host, port = str(self._parts.hostname), self._parts.port
        if self._parts.scheme == "http":
            return http.client.HTTPConnection(host, port, timeout=self._timeout)
        import ssl

        context = ssl.create_default_context(cafile=os.environ.get("MLFLOW_TRACKING_SERVER_CERT_PATH") or None)
        if os.environ.get("MLFLOW_TRACKING_INSECURE_TLS", "").lower() in ("1", "true"):
            context.check_hostname = False
            context.verify_mode = ssl.CERT_NONE
        return http.client.HTTPSConnection(host, port, timeout=self._timeout, context=context)

    def send(self, method: str, path: str, body: Any = None, headers: Any = None) -> Any:
        """Send bytes (or a file object) and return the response object, unread.

        A kept-alive socket that the server has closed meanwhile is replaced once.

        Raises:
            Unreachable: no answer.
        """
        import http.client

        headers = dict(headers or {})
        credentials = "Bearer " + self._token if self._token else authorization()
        if credentials:
            headers["Authorization"] = credentials
        headers.setdefault("User-Agent", "mlgate-kit")
        reused = self._socket is not None
        while True:
            if self._socket is None:
                self._socket = self._connect()
            try:
                if hasattr(body, "seek"):
                    body.seek(0)
                self._socket.request(method, self._parts.path.rstrip("/") + path, body=body, headers=headers)
                return self._socket.getresponse()
            except (OSError, http.client.HTTPException) as error:
                self.close()
                if not reused:
                    raise Unreachable("%s %s: %s: %s" % (method, self.uri, type(error).__name__, error))
                reused = False

    def call(
        self, method: str, path: str, body: Any = None, query: Any = None, key: str | None = None
    ) -> dict[str, Any]:
        """One JSON call; `body` and the answer are dictionaries, `query` a list of pairs.

        Args:
            key: the server answers a second call with the same key as the first, and makes nothing twice.

        Raises:
            Unreachable, Refused: see the classes.
        """
        import json
        from urllib.parse import urlencode

        if query:
            path += "?" + urlencode(query)
        data = None if body is None else json.dumps(body).encode()
        headers = {"Content-Type": "application/json"} if data is not None else {}
        if key:
            headers["Idempotency-Key"] = key
        answer = self.send(method, path, data, headers)
        answered: dict[str, Any] = json.loads(self.read(answer, method, path) or b"{}")
        return answered

    def read(self, answer: Any, method: str, path: str) -> bytes:
        """The whole body of a good answer as bytes; raises for any other."""
        import http.client

        try:
            raw: bytes = answer.read()
        except (OSError, http.client.HTTPException) as error:
            self.close()
            raise Unreachable("%s %s: %s" % (method, path, error))
        if answer.status in (200, 206):
            return raw
        raise error_of(answer.status, raw, "%s %s" % (method, path))


def error_of(status: int, raw: bytes, what: str) -> Exception:
    """The exception that an answer with this status and body stands for."""
    import json

    try:
        said = json.loads(raw)
        code, message = str(said.get("error_code", "")), str(said.get("message", ""))
    except (ValueError, AttributeError):
        code = {404: "ENDPOINT_NOT_FOUND", 400: "BAD_REQUEST", 401: "UNAUTHENTICATED", 403: "PERMISSION_DENIED"}.get(
            status, ""
        )
        message = raw[:200].decode("utf-8", "replace")
    text = "%s: %d %s %s" % (what, status, code, message)
    if status in LATER and code not in DEFINITE:
        return Unreachable(text)
    return Refused(text, code, status)


__all__ = ["Connection", "Refused", "TrackingError", "Unreachable", "authorization", "error_of", "tracking_uri"]
