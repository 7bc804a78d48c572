"""Requests that no client would send: every one is answered, none with a server error."""

from __future__ import annotations

import asyncio
import json
import random
import re
from contextlib import contextmanager
from pathlib import Path
from urllib.parse import quote, urlencode

import msgspec
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from mlgate_tracking.server.app import create_app, endpoints
from mlgate_tracking.server.settings import ServerSettings
from mlgate_tracking.store.sql import SqlStore
from tests.support import databases

ENDPOINTS = endpoints(ServerSettings())

texts = st.text(max_size=12) | st.sampled_from(
    ["0", "1", "-1", "a" * 300, "../..", "\0", "NaN", "é", "'", '"', "%", "`", "m-" + "0" * 32, "0" * 32, "models:/x/1",
     "metrics.a > 1", "tags.`a` = 'b'", "name ASC", "params.x LIKE '%'", "eyJvZmZzZXQiOiAxfQ==", "file:///etc/passwd"]
)  # fmt: skip
numbers = (
    st.integers()
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.sampled_from([0, 1, -1, 2**31, 2**63, -(2**63), 1e308])
)
scalars = st.none() | st.booleans() | numbers | texts
values = st.recursive(
    scalars,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(texts, inner, max_size=3),
    max_leaves=6,
)


@st.composite
def requests(draw: st.DrawFn) -> tuple[str, str, bytes, bytes]:
    """Method, path, query, body: mostly a known endpoint with its own fields holding anything."""
    endpoint = draw(st.sampled_from(ENDPOINTS))
    path = "/api/" + re.sub(r"\{\w+(?::rest)?\}", lambda _: quote(draw(texts), safe=""), endpoint.path)
    method = draw(st.sampled_from([endpoint.method] * 9 + ["POST", "GET", "PUT", "DELETE"]))
    names = [field.encode_name for field in msgspec.structs.fields(endpoint.request)] or ["x"]
    fields = draw(st.dictionaries(st.sampled_from(names), values, max_size=len(names)))
    if method == "GET":
        plain = [(name, value if isinstance(value, str) else json.dumps(value)) for name, value in fields.items()]
        return method, path, urlencode(plain, errors="replace").encode(), b""
    body = draw(
        st.just(json.dumps(fields).encode()) | st.binary(max_size=30) | values.map(lambda v: json.dumps(v).encode())
    )
    return method, path, b"", body


class DirectCalls:
    """An app asked without a socket, as cheaply as can be."""

    def __init__(self, app) -> None:
        self.app = app
        self.loop = asyncio.new_event_loop()

    def answer(self, method: str, path: str, query: bytes, body: bytes, *more: tuple[bytes, bytes]):
        """Status, headers and body."""
        answers = []
        messages = [{"type": "http.request", "body": body, "more_body": False}]

        async def receive():
            if not messages:
                await asyncio.Event().wait()  # the caller stays until it is answered
            return messages.pop()

        async def send(message):
            answers.append(message)

        from urllib.parse import unquote

        scope = {
            "type": "http", "asgi": {"version": "3.0"}, "http_version": "1.1", "method": method, "scheme": "http",
            "path": unquote(path, errors="replace"), "raw_path": path.encode(), "query_string": query, "root_path": "",
            "headers": [(b"host", b"localhost"), (b"content-type", b"application/json"), *more],
            "client": ("127.0.0.1", 1), "server": ("localhost", 80),
        }  # fmt: skip
        self.loop.run_until_complete(self.app(scope, receive, send))
        body = b"".join(answer.get("body", b"") for answer in answers)
        return answers[0]["status"], dict(answers[0]["headers"]), body


@contextmanager
def served(uri: str, artifacts: Path):
    with SqlStore(uri) as store:
        calls = DirectCalls(create_app(store, ServerSettings(artifacts_destination=str(artifacts))))
        yield calls
        calls.loop.close()


@pytest.fixture
def direct(tmp_path: Path):
    with served(f"sqlite:///{tmp_path / 'mlgate.db'}?synchronous=normal", tmp_path / "artifacts") as calls:
        yield calls


@pytest.fixture
def on_server(server: databases.PostgreSQL | databases.MariaDB, tmp_path: Path):
    with served(server.create(), tmp_path / "artifacts") as calls:
        yield calls


def check(direct: DirectCalls, request: tuple[str, str, bytes, bytes]) -> None:
    status, _, body = direct.answer(*request)
    # 501: local files have no multipart uploads.
    assert status < 500 or status == 501, (request, body)


_SHARED = [HealthCheck.function_scoped_fixture, HealthCheck.too_slow]


@settings(max_examples=150, suppress_health_check=_SHARED, deadline=None)
@given(request=requests())
def test_malformed_requests_are_the_callers_fault(direct, request):
    check(direct, request)


ODD = [
    None, True, False, 0, 1, -1, 2**31, 2**63, -(2**63), 1e308, 1.5, "", "0", "1", "a" * 300, "../..", "\0", "NaN", "é",
    "'", '"', "%", "`", "m-" + "0" * 32, "0" * 32, "models:/x/1", "metrics.a > 1", "name ASC", "file:///etc/passwd",
    "eyJvZmZzZXQiOiAxfQ==", "a\0b", "a" * 40, "a" * 3000, {"key": "k", "value": "\0"}, [], {}, [None], [1, "a"], [{}],
    {"key": "k"}, [{"key": "k", "value": 1, "timestamp": 1}],
    [{"key": "k", "value": "v"}], {"trace_info": {"trace_id": "x"}}, ["0"], "2025-01-31T12:00:00Z",
]  # fmt: skip


def odd_request(source: random.Random) -> tuple[str, str, bytes, bytes]:
    endpoint = source.choice(ENDPOINTS)
    path = "/api/" + re.sub(r"\{\w+(?::rest)?\}", lambda _: quote(str(source.choice(ODD))[:40], safe=""), endpoint.path)
    names = [field.encode_name for field in msgspec.structs.fields(endpoint.request)] or ["x"]
    fields = {name: source.choice(ODD) for name in names if source.random() < 0.8}
    if endpoint.method == "GET":
        plain = [(name, value if isinstance(value, str) else json.dumps(value)) for name, value in fields.items()]
        return "GET", path, urlencode(plain).encode(), b""
    body = json.dumps(fields).encode()
    if source.random() < 0.1:
        body = body[: source.randrange(len(body))] + source.randbytes(3)
    return endpoint.method, path, b"", body


PROXY = "/api/2.0/mlflow-artifacts/artifacts"
FILE_ROUTES = [
    ("GET", "/get-artifact?run_id={run_id}&path={path}"),
    ("GET", "/model-versions/get-artifact?name={name}&version={version}&path={path}"),
    ("GET", "/ajax-api/2.0/mlflow/logged-models/{model_id}/artifacts/files?artifact_file_path={path}"),
    ("POST", "/ajax-api/2.0/mlflow/upload-artifact?run_uuid={run_id}&path={path}"),
    ("GET", PROXY + "/0/{run_id}/artifacts/{path}"),
    ("PUT", PROXY + "/{path}"),
    ("DELETE", PROXY + "/{path}"),
]
LONG = "9" * 5000
RANGES = ["", "bytes=0-1", "bytes=-0", "bytes=-1", "bytes=-", f"bytes={LONG}-", f"bytes=-{LONG}", f"bytes=0-{LONG}",
          "bytes=5-2", "bytes=\u00b2-", "lines=1-2", "bytes=0-1,3-4", "\0"]  # fmt: skip


@pytest.fixture
def run_with_a_file(direct: DirectCalls) -> str:
    create = json.dumps({"experiment_id": "0"}).encode()
    answer = json.loads(direct.answer("POST", "/api/2.0/mlflow/runs/create", b"", create)[2])
    run_id = str(answer["run"]["info"]["run_id"])
    assert direct.answer("PUT", f"{PROXY}/0/{run_id}/artifacts/file", b"", b"0123456789")[0] == 200
    return run_id


@pytest.mark.parametrize(("method", "route"), FILE_ROUTES)
def test_malformed_requests_for_files_are_the_callers_fault(direct, run_with_a_file, method, route):
    usual = {"run_id": run_with_a_file, "path": "file", "name": "m", "version": "1", "model_id": "m-1"}
    odd = [text for text in ODD if isinstance(text, str)] + [LONG]
    named = [name for name in usual if f"{{{name}}}" in route]
    asked = [({**usual, name: text}, "bytes=0-1") for name in named for text in odd]
    asked += [(usual, wanted) for wanted in RANGES if method == "GET"]
    for fields, wanted in asked:
        path, _, query = route.format(**{name: quote(text, safe="/") for name, text in fields.items()}).partition("?")
        status, headers, body = direct.answer(method, path, query.encode(), b"x", (b"range", wanted.encode("latin-1")))
        assert status < 500, (path, query, wanted, body)
        assert status != 416 or headers[b"content-range"] == b"bytes */10"
        assert status < 400 or status == 404 or json.loads(body)["error_code"]


@pytest.mark.database
def test_malformed_requests_on_other_databases(on_server):
    source = random.Random(21)
    for _ in range(2_000):
        check(on_server, odd_request(source))


@pytest.mark.slow
def test_ten_thousand_malformed_requests(direct):
    source = random.Random(20)
    for _ in range(10_000):
        check(direct, odd_request(source))
