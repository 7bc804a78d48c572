"""Requests to a tracking server over HTTP, on the standard library: pooled connections, credentials, TLS, proxies.

`HttpSend` answers one request with one response; `retrying` wraps any such callable with patience. Tests and embedded
uses replace `HttpSend` by a callable that asks an in-process app.
"""

from __future__ import annotations

import json
import os
import random
import time
from base64 import b64encode
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any
from urllib.parse import unquote, urlencode, urlsplit

from mlgate_tracking.errors import (
    BadRequest,
    Conflict,
    EndpointNotFound,
    InternalError,
    InvalidParameterValue,
    NotImplementedByStore,
    PermissionDenied,
    ServerUnreachable,
    TemporarilyUnavailable,
    TrackingError,
    Unauthenticated,
    error_for,
)

if TYPE_CHECKING:
    import http.client
    import ssl

CHUNK_SIZE = 1 << 18
"""Bytes that a streamed answer is read in."""

CONNECT_TIMEOUT = 10.0
"""Seconds: a host that does not even answer the handshake is away, however long its answers may take."""

_IDLE_CONNECTIONS = 32
_TRUE = ("1", "true", "yes", "on")


@dataclass(frozen=True, slots=True)
class Request:
    """One call.

    Attributes:
        path: percent-encoded, below the server's base path, as in `/api/2.0/mlflow/runs/get`.
        body: bytes, or an iterable of chunks. An iterator can be sent only once; an iterable that is not its own
            iterator (a list, `FileBody`) can be sent again.
        stream: hand the answer's body out as it arrives instead of reading it first.
        repeatable: whether sending it twice does no harm. One that is not is sent again only when the server surely
            did not act on it.
        timeout: seconds without any progress; None for the sender's default.
    """

    method: str
    path: str
    query: tuple[tuple[str, str], ...] = ()
    headers: Mapping[str, str] = field(default_factory=dict)
    body: bytes | Iterable[bytes] | None = None
    stream: bool = False
    repeatable: bool = True
    timeout: float | None = None

    @property
    def target(self) -> str:
        return f"{self.path}?{urlencode(self.query)}" if self.query else self.path


class Response:
    """An answer: `status`, `headers` (lower-case names), and the body, whole (`read`) or in chunks (iteration).

    `repeated` tells that an earlier try of the same request may have taken effect on the server.
    """

    def __init__(
        self,
        status: int,
        headers: Mapping[str, str],
        body: bytes | Iterator[bytes] = b"",
        release: Callable[[bool], None] | None = None,
    ) -> None:
        self.status = status
        self.headers = headers
        self.repeated = False
        self._chunks = iter((body,) if body else ()) if isinstance(body, bytes) else body
        self._whole: bytes | None = body if isinstance(body, bytes) else None
        self._release = release

    def __iter__(self) -> Iterator[bytes]:
        return self

    def __next__(self) -> bytes:
        try:
            return next(self._chunks)
        except StopIteration:
            self._done(True)
            raise
        except BaseException:
            self._done(False)
            raise

    def read(self) -> bytes:
        """The whole body; may be called again."""
        if self._whole is None:
            self._whole = b"".join(self)
        return self._whole

    def close(self) -> None:
        """Give the connection up when the body was not read to its end."""
        self._done(False)

    def _done(self, whole: bool) -> None:
        release, self._release = self._release, None
        if release is not None:
            release(whole)

    def __del__(self) -> None:
        self.close()


Send = Callable[[Request], Response]


@dataclass(frozen=True, slots=True)
class Credentials:
    """Who asks: Basic when there is a user name, else Bearer, else nobody."""

    username: str | None = None
    password: str | None = None
    token: str | None = None

    def header(self) -> str | None:
        if self.username is not None:
            pair = f"{self.username}:{self.password or ''}".encode()
            return f"Basic {b64encode(pair).decode()}"
        return f"Bearer {self.token}" if self.token else None

    def __repr__(self) -> str:
        kind = "Basic" if self.username is not None else "Bearer" if self.token else "none"
        return f"Credentials({kind})"


def load_credentials(environ: Mapping[str, str] | None = None) -> Credentials:
    """Credentials as MLflow's clients find them: variables, then `~/.mlflow/credentials`, then a bearer token."""
    env = os.environ if environ is None else environ
    username, password = env.get("MLFLOW_TRACKING_USERNAME"), env.get("MLFLOW_TRACKING_PASSWORD")
    token = env.get("MLFLOW_TRACKING_TOKEN") or None
    if not username and not token:
        username, password = _stored_credentials(env)
    return Credentials(username or None, password, token)


def _stored_credentials(env: Mapping[str, str]) -> tuple[str | None, str | None]:
    path = os.path.join(env.get("HOME") or os.path.expanduser("~"), ".mlflow", "credentials")  # noqa: PTH111, PTH118
    if not os.path.isfile(path):  # noqa: PTH113 - pathlib costs start-up time here
        return None, None
    import configparser

    parser = configparser.ConfigParser(interpolation=None)
    parser.read(path, encoding="utf-8")
    username = parser.get("mlflow", "mlflow_tracking_username", fallback=None)
    return username, parser.get("mlflow", "mlflow_tracking_password", fallback=None)


@dataclass(frozen=True, slots=True)
class TlsOptions:
    """How to trust the server: `verify`, a CA file or directory, and a client certificate (with key, in one file)."""

    verify: bool = True
    ca_path: str | None = None
    client_cert: str | None = None

    def context(self) -> ssl.SSLContext:
        import ssl

        try:
            directory = self.ca_path is not None and os.path.isdir(self.ca_path)  # noqa: PTH112
            context = ssl.create_default_context(
                cafile=None if directory else self.ca_path, capath=self.ca_path if directory else None
            )
            if not self.verify:
                context.check_hostname = False
                context.verify_mode = ssl.CERT_NONE
            if self.client_cert:
                context.load_cert_chain(self.client_cert)
        except (OSError, ssl.SSLError) as error:
            raise InvalidParameterValue(
                f"TLS files (server certificate {self.ca_path!r}, client certificate {self.client_cert!r}): {error}"
            ) from error
        return context


def load_tls_options(environ: Mapping[str, str] | None = None) -> TlsOptions:
    env = os.environ if environ is None else environ
    return TlsOptions(
        verify=env.get("MLFLOW_TRACKING_INSECURE_TLS", "").lower() not in _TRUE,
        ca_path=env.get("MLFLOW_TRACKING_SERVER_CERT_PATH") or env.get("REQUESTS_CA_BUNDLE") or None,
        client_cert=env.get("MLFLOW_TRACKING_CLIENT_CERT_PATH") or None,
    )


class HttpSend:
    """Sends requests to one server; safe for any number of threads, each taking an idle connection or a new one.

    Args:
        uri: `http(s)://[user:password@]host[:port][/base]`.
        credentials, tls: by default from the environment; those in the URI win.
        timeout: seconds without any progress.

    Raises (when called):
        ServerUnreachable: no answer, or half an answer. Its details tell `maybe_done` (the server may have acted) and
            `permanent` (another try cannot help).
    """

    def __init__(
        self,
        uri: str,
        *,
        credentials: Credentials | None = None,
        tls: TlsOptions | None = None,
        timeout: float | None = None,
    ) -> None:
        parts = urlsplit(uri)
        if parts.scheme not in ("http", "https") or not parts.hostname:
            raise InvalidParameterValue(f"tracking URI {uri!r}: give http://HOST[:PORT] or https://HOST[:PORT]")
        self.host, self.secure = parts.hostname, parts.scheme == "https"
        try:
            self.port = parts.port or (443 if self.secure else 80)
        except ValueError as error:
            raise InvalidParameterValue(f"tracking URI {uri!r}: {error}") from None
        self.base_path = parts.path.rstrip("/")
        shown_host = f"[{self.host}]" if ":" in self.host else self.host
        self.authority = shown_host if parts.port is None else f"{shown_host}:{parts.port}"
        self.uri = f"{parts.scheme}://{self.authority}{self.base_path}"
        if parts.username:
            credentials = Credentials(unquote(parts.username), unquote(parts.password or ""))
        self._credentials = load_credentials() if credentials is None else credentials
        self._tls = load_tls_options() if tls is None else tls
        self._timeout = float(os.environ.get("MLFLOW_HTTP_REQUEST_TIMEOUT") or 120) if timeout is None else timeout
        self._context: ssl.SSLContext | None = None
        self._proxy = _proxy_for(self.host, self.secure)
        self._pid = os.getpid()
        self._idle: deque[http.client.HTTPConnection] = deque(maxlen=_IDLE_CONNECTIONS)

    def with_credentials(self, credentials: Credentials) -> HttpSend:
        """The same server, asked by somebody else, over connections of its own."""
        return HttpSend(self.uri, credentials=credentials, tls=self._tls, timeout=self._timeout)

    def close(self) -> None:
        if self._pid == os.getpid():  # a forked child leaves its parent's connections alone
            while self._idle:
                self._idle.pop().close()

    def __del__(self) -> None:
        if hasattr(self, "_idle"):
            self.close()

    def __call__(self, request: Request) -> Response:
        connection, reused = self._take()
        try:
            return self._exchange(connection, request)
        except ServerUnreachable as error:
            connection.close()
            if reused and error.details.get("no_answer") and request.repeatable and _repeatable_body(request):
                # The server closed this idle connection just as we took it: a fresh one tells how things are.
                connection = self._connect()
                try:
                    response = self._exchange(connection, request)
                except BaseException:
                    connection.close()
                    raise
                response.repeated = True
                return response
            raise
        except BaseException:
            connection.close()
            raise

    def _exchange(self, connection: http.client.HTTPConnection, request: Request) -> Response:
        import http.client

        sent = False
        try:
            timeout = request.timeout or self._timeout
            if connection.sock is None:
                connection.timeout = min(timeout, CONNECT_TIMEOUT)
                connection.connect()
            assert connection.sock is not None
            connection.sock.settimeout(timeout)
            sent = True
            self._write(connection, request)
            answer = connection.getresponse()
            response = self._response(connection, answer)
            if request.stream and answer.status < 300:
                return response
            whole = Response(answer.status, response.headers, response.read())
        except (OSError, http.client.HTTPException) as error:
            raise self._unreachable(error, maybe_done=sent) from error
        return whole

    def _write(self, connection: http.client.HTTPConnection, request: Request) -> None:
        headers = {"Host": self.authority, "User-Agent": "mlgate-client", "Accept": "*/*", **request.headers}
        # Packing costs more than it saves where nothing leaves the machine, and a part of a packed file is no use.
        packed = not _loopback(self.host) and "Range" not in headers
        headers.setdefault("Accept-Encoding", "gzip" if packed else "identity")
        authorization = self._credentials.header()
        if authorization and "Authorization" not in headers:
            headers["Authorization"] = authorization
        target = self.base_path + request.target
        if self._proxy is not None and not self.secure:
            target = f"http://{self.authority}{target}"
            headers.update(self._proxy.headers)
        chunked = request.body is not None and not isinstance(request.body, bytes) and "Content-Length" not in headers
        if chunked:
            headers["Transfer-Encoding"] = "chunked"
        elif isinstance(request.body, bytes):
            headers["Content-Length"] = str(len(request.body))
        elif request.body is None and request.method in ("POST", "PUT", "PATCH"):
            headers["Content-Length"] = "0"
        # A server may answer (too large, not allowed) and hang up before it has read everything.
        with suppress(BrokenPipeError, ConnectionResetError):
            connection.request(request.method, target, request.body, headers, encode_chunked=chunked)

    def _response(self, connection: http.client.HTTPConnection, answer: http.client.HTTPResponse) -> Response:
        headers = {name.lower(): value for name, value in answer.getheaders()}

        def release(whole: bool) -> None:
            if whole and not answer.will_close:
                self._idle.append(connection)
            else:
                answer.close()
                connection.close()

        chunks = self._chunks(answer)
        if headers.get("content-encoding", "").lower() == "gzip":
            chunks = self._unpacked(chunks)
        return Response(answer.status, headers, chunks, release)

    def _unpacked(self, chunks: Iterator[bytes]) -> Iterator[bytes]:
        import zlib

        unpack = zlib.decompressobj(wbits=31)
        try:
            for chunk in chunks:
                left = chunk
                while left:
                    if piece := unpack.decompress(left, CHUNK_SIZE):
                        yield piece
                    left = unpack.unconsumed_tail
        except zlib.error as error:
            raise ServerUnreachable(f"{self.uri}: the answer is not valid gzip: {error}", maybe_done=True) from error
        if not unpack.eof:
            raise ServerUnreachable(f"{self.uri}: the packed answer broke off", maybe_done=True)

    def _chunks(self, answer: http.client.HTTPResponse) -> Iterator[bytes]:
        import http.client

        expected = answer.length
        received = 0
        try:
            while chunk := answer.read(CHUNK_SIZE):
                received += len(chunk)
                yield chunk
        except (OSError, http.client.HTTPException) as error:
            raise self._unreachable(error, maybe_done=True) from error
        if expected is not None and received < expected:
            raise ServerUnreachable(
                f"{self.uri}: the answer broke off after {received} of {expected} bytes", maybe_done=True
            )

    def _take(self) -> tuple[http.client.HTTPConnection, bool]:
        if self._pid != os.getpid():  # forked: the parent goes on using its connections
            self._idle = deque(maxlen=_IDLE_CONNECTIONS)
            self._pid = os.getpid()
        while True:
            try:
                connection = self._idle.pop()
            except IndexError:
                return self._connect(), False
            if _alive(connection):
                return connection, True
            connection.close()

    def _connect(self) -> http.client.HTTPConnection:
        import http.client

        proxy = self._proxy
        host, port = (self.host, self.port) if proxy is None else (proxy.host, proxy.port)
        if not self.secure:
            return http.client.HTTPConnection(host, port)
        if self._context is None:
            self._context = self._tls.context()
        connection = http.client.HTTPSConnection(host, port, context=self._context)
        if proxy is not None:
            connection.set_tunnel(self.host, self.port, headers=proxy.headers)
        return connection

    def _unreachable(self, error: Exception, *, maybe_done: bool) -> ServerUnreachable:
        if isinstance(error, ServerUnreachable):
            return error
        import http.client
        import socket
        import ssl

        no_answer = isinstance(error, (ConnectionError, http.client.RemoteDisconnected, http.client.CannotSendRequest))
        permanent = False
        if isinstance(error, ssl.SSLCertVerificationError):
            permanent = True
            hint = (
                f"its TLS certificate is not trusted ({error.verify_message}); "
                "name its CA with MLFLOW_TRACKING_SERVER_CERT_PATH"
            )
        elif isinstance(error, ssl.SSLError):
            permanent = True
            hint = f"no TLS connection ({error.reason or error}); is it an http:// server?"
        elif isinstance(error, socket.gaierror):
            permanent = error.errno == socket.EAI_NONAME
            hint = f"the name {self.host!r} cannot be resolved ({error.strerror})"
        elif isinstance(error, ConnectionRefusedError):
            hint = "connection refused; is the server running?"
        elif isinstance(error, TimeoutError):
            hint = "no answer in time"
        elif isinstance(error, http.client.RemoteDisconnected):
            hint = "the server hung up without an answer"
        elif isinstance(error, http.client.IncompleteRead):
            hint = f"the answer broke off after {len(error.partial)} bytes"
        else:
            hint = str(error) or type(error).__name__
        return ServerUnreachable(f"{self.uri}: {hint}", maybe_done=maybe_done, permanent=permanent, no_answer=no_answer)


def _alive(connection: http.client.HTTPConnection) -> bool:
    """Whether an idle connection is still open: one that has something to read was closed by the server."""
    import select

    if connection.sock is None:
        return False
    try:
        poll = select.poll()
        poll.register(connection.sock, select.POLLIN)
        return not poll.poll(0)
    except (OSError, ValueError):
        return False


def _repeatable_body(request: Request) -> bool:
    return request.body is None or isinstance(request.body, bytes) or iter(request.body) is not request.body


# --- proxies ---------------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class _Proxy:
    host: str
    port: int
    headers: dict[str, str]


def _proxy_for(host: str, secure: bool) -> _Proxy | None:
    if _loopback(host) or not any(name.lower().endswith("_proxy") for name in os.environ):
        return None
    from urllib.request import getproxies_environment, proxy_bypass_environment  # type: ignore[attr-defined]

    proxies = getproxies_environment()
    uri = proxies.get("https" if secure else "http") or proxies.get("all")
    if not uri or proxy_bypass_environment(host, proxies):
        return None
    parts = urlsplit(uri if "//" in uri else f"http://{uri}")
    if parts.scheme != "http" or not parts.hostname:
        raise InvalidParameterValue(f"proxy {parts.scheme}://{parts.hostname}: only http:// proxies can be used")
    headers = {}
    if parts.username:
        credentials = Credentials(unquote(parts.username), unquote(parts.password or ""))
        headers["Proxy-Authorization"] = credentials.header() or ""
    return _Proxy(parts.hostname, parts.port or 80, headers)


def _loopback(host: str) -> bool:
    """No proxy can reach what only this machine sees."""
    return host in ("localhost", "::1") or host.startswith("127.")


# --- patience --------------------------------------------------------------------------------------------------------

RETRIED_STATUSES = frozenset({408, 429, 500, 502, 503, 504})
_SURELY_NOT_DONE = frozenset({408, 429})
_FINAL_CODES = frozenset({"INVALID_STATE", "DATA_LOSS"})
"""Errors that come with status 500 and stay however often one asks."""


@dataclass(frozen=True, slots=True)
class RetryPolicy:
    """How long to try: `retries` more times after the first, waiting `backoff` seconds, doubled each time.

    Waits are jittered between half and full length, and never longer than `longest`, unless the server asks for more
    with `Retry-After`, which is followed up to `longest_asked`.
    """

    retries: int = 7
    backoff: float = 0.25
    longest: float = 20.0
    longest_asked: float = 60.0

    def wait(self, tried: int, response: Response | None) -> float:
        delay: float = min(self.longest, self.backoff * 2 ** (tried - 1)) * random.uniform(0.5, 1.0)  # noqa: S311 - no secret
        asked = response.headers.get("retry-after", "") if response is not None else ""
        return max(delay, min(float(asked), self.longest_asked)) if asked.isdigit() else delay


def load_retry_policy(environ: Mapping[str, str] | None = None) -> RetryPolicy:
    """The policy, with MLflow's `MLFLOW_HTTP_REQUEST_MAX_RETRIES` where it is set."""
    env = os.environ if environ is None else environ
    asked = env.get("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "")
    return RetryPolicy(retries=int(asked)) if asked.isdigit() else RetryPolicy()


def retrying(send: Send, policy: RetryPolicy, sleep: Callable[[float], None] = time.sleep) -> Send:
    """`send`, repeated on overload, server errors and lost connections, as far as the request may be repeated."""

    def patient(request: Request) -> Response:
        maybe_done = False
        again = _repeatable_body(request)
        for tried in range(1, policy.retries + 2):
            last = tried > policy.retries
            response: Response | None = None
            try:
                response = send(request)
            except ServerUnreachable as error:
                done = bool(error.details.get("maybe_done"))
                if last or not again or error.details.get("permanent") or (done and not request.repeatable):
                    raise
                maybe_done = maybe_done or done
            else:
                response.repeated = response.repeated or maybe_done
                if last or not again or not _worth_retrying(request, response):
                    return response
                maybe_done = maybe_done or response.status not in _SURELY_NOT_DONE
                response.close()
            sleep(policy.wait(tried, response))
        raise AssertionError("the last try returns or raises")

    return patient


def _worth_retrying(request: Request, response: Response) -> bool:
    if response.status not in RETRIED_STATUSES or (response.status == 500 and error_code(response) in _FINAL_CODES):
        return False
    return request.repeatable or response.status in _SURELY_NOT_DONE


def error_code(response: Response) -> str | None:
    """MLflow's error code in an answer's body; None when there is none."""
    code = _json_object(response).get("error_code")
    return code if isinstance(code, str) else None


def error_from(response: Response, asked: str) -> TrackingError:
    """The error that an answer other than 200 stands for, of the class that the server raised.

    Args:
        asked: what was asked for whom, as in `GET http://host/api/...`, for answers that say nothing themselves.
    """
    body = _json_object(response)
    code, message, details = body.get("error_code"), body.get("message"), body.get("details")
    if isinstance(code, str):
        facts = {str(key): value for key, value in details.items()} if isinstance(details, dict) else {}
        facts.pop("message", None)
        return error_for(_SYNONYMS.get(code, code), str(message or code), facts)
    text = " ".join(response.read()[:200].decode("utf-8", "replace").split())
    if 300 <= response.status < 400:
        to = response.headers.get("location", "elsewhere")
        return InvalidParameterValue(f"{asked}: the server points to {to}; use that address as tracking URI")
    kind, hint = _BY_STATUS.get(response.status, (InternalError, text or f"status {response.status}"))
    return kind(f"{asked}: {hint or text or f'status {response.status}'}")


def _json_object(response: Response) -> dict[str, Any]:
    try:
        body = json.loads(response.read())
    except ValueError:
        return {}
    return body if isinstance(body, dict) else {}


_SYNONYMS = {
    "NOT_FOUND": "RESOURCE_DOES_NOT_EXIST",
    "ALREADY_EXISTS": "RESOURCE_ALREADY_EXISTS",
    "CUSTOMER_UNAUTHORIZED": "UNAUTHENTICATED",
    "REQUEST_LIMIT_EXCEEDED": "TEMPORARILY_UNAVAILABLE",
    "RESOURCE_EXHAUSTED": "TEMPORARILY_UNAVAILABLE",
    "DEADLINE_EXCEEDED": "TEMPORARILY_UNAVAILABLE",
}
"""Codes of other servers, and ours for the same thing."""

_BY_STATUS: dict[int, tuple[type[TrackingError], str]] = {
    400: (BadRequest, ""),
    401: (
        Unauthenticated,
        "the server wants credentials; set MLFLOW_TRACKING_TOKEN, or MLFLOW_TRACKING_USERNAME and _PASSWORD",
    ),
    403: (PermissionDenied, ""),
    404: (EndpointNotFound, "the server does not know this address; is it a tracking server, and of this version?"),
    405: (EndpointNotFound, "the server does not know this call; is it a tracking server, and of this version?"),
    408: (TemporarilyUnavailable, "the server waited too long for the request"),
    409: (Conflict, ""),
    413: (InvalidParameterValue, "the request is too large for the server or a proxy before it"),
    429: (TemporarilyUnavailable, "the server is overloaded"),
    501: (NotImplementedByStore, ""),
    502: (TemporarilyUnavailable, "the proxy before the server cannot reach it"),
    503: (TemporarilyUnavailable, ""),
    504: (TemporarilyUnavailable, "the proxy before the server got no answer in time"),
}


class FileBody:
    """A file as a request's body: read in chunks, from its start each time it is sent."""

    def __init__(self, path: str | os.PathLike[str]) -> None:
        self.path = path
        self.size = os.stat(path).st_size  # noqa: PTH116

    def __iter__(self) -> Iterator[bytes]:
        with open(self.path, "rb") as stream:  # noqa: PTH123
            left = self.size
            while left and (chunk := stream.read(min(CHUNK_SIZE, left))):
                left -= len(chunk)
                yield chunk


__all__ = [
    "RETRIED_STATUSES",
    "Credentials",
    "FileBody",
    "HttpSend",
    "Request",
    "Response",
    "RetryPolicy",
    "Send",
    "TlsOptions",
    "error_code",
    "error_from",
    "load_credentials",
    "load_retry_policy",
    "load_tls_options",
    "retrying",
]
