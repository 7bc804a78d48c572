from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from mlgate_tracking.artifacts import ArtifactRepository, repository_for
from mlgate_tracking.artifacts.proxy import PROXY_ROOT, ProxyRepository
from mlgate_tracking.entities import FileInfo
from mlgate_tracking.errors import (
    EndpointNotFound,
    InvalidParameterValue,
    ResourceDoesNotExist,
    ServerUnreachable,
)
from mlgate_tracking.server.app import create_app
from mlgate_tracking.server.settings import ServerSettings
from mlgate_tracking.store.sql import SqlStore
from mlgate_tracking.testing.artifacts import ArtifactRepositoryConformance, paths_below, put, read
from mlgate_tracking.testing.inprocess import AsgiSend
from mlgate_tracking.transport import Credentials, HttpSend, Request, Response, Send
from tests.tracking.scripted_server import ScriptedServer, answer, raw


@dataclass
class Client:
    """Just enough of a client: where the server is, and a way to ask it once."""

    uri: str
    send: Send


@pytest.fixture(scope="module")
def destination(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("served")


@pytest.fixture(scope="module")
def app(destination: Path) -> Iterator[Client]:
    settings = ServerSettings(artifacts_destination=str(destination))
    with (
        SqlStore(f"sqlite:///{destination.parent / 'store.db'}") as store,
        AsgiSend(create_app(store, settings)) as send,
    ):
        yield Client("http://127.0.0.1", send)


class TestProxyRepository(ArtifactRepositoryConformance):
    @pytest.fixture
    def repository(self, app: Client, request: pytest.FixtureRequest) -> ArtifactRepository:
        return repository_for(f"mlflow-artifacts:/{abs(hash(request.node.nodeid))}/artifacts", client=app)


@pytest.fixture
def server() -> Iterator[ScriptedServer]:
    with ScriptedServer() as running:
        yield running


@pytest.fixture
def client(server: ScriptedServer) -> Iterator[Client]:
    send = HttpSend(server.uri, credentials=Credentials(token="mine"), timeout=5)
    yield Client(server.uri, send)
    send.close()


# --- what a server of MLflow's own does ------------------------------------------------------------------------------


def test_files_travel_as_mlflows_clients_send_them(server: ScriptedServer, client: Client) -> None:
    repository = repository_for("mlflow-artifacts:/3/run/artifacts", client=client)
    put(repository, "model/été 1.txt", b"12345")
    server.play(answer(200, b"12345"))
    assert read(repository, "model/été 1.txt") == b"12345"
    assert [(seen.method, seen.target, seen.body) for seen in server.seen] == [
        ("PUT", f"{PROXY_ROOT}/3/run/artifacts/model/%C3%A9t%C3%A9%201.txt", b"12345"),
        ("GET", f"{PROXY_ROOT}/3/run/artifacts/model/%C3%A9t%C3%A9%201.txt", b""),
    ]


def test_a_long_upload_is_sent_as_it_comes(server: ScriptedServer, client: Client) -> None:
    repository = ProxyRepository(client)
    assert repository.upload("big", iter([b"x" * (1 << 20)] * 12)) == 12 << 20
    assert server.seen[0].headers["transfer-encoding"] == "chunked"
    assert len(server.seen[0].body) == 12 << 20


def test_files_are_sent_with_their_length(server: ScriptedServer, client: Client, tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(b"from disk")
    repository = ProxyRepository(client)
    assert repository.upload_file("a", tmp_path / "file") == 9
    with repository.writer("b") as writer:
        writer.write(b"piece ")
        writer.write(b"by piece")
    assert [(seen.headers["content-length"], seen.body) for seen in server.seen] == [
        ("9", b"from disk"),
        ("14", b"piece by piece"),
    ]


def test_a_server_without_ranges_is_read_from_the_start(server: ScriptedServer, client: Client) -> None:
    server.otherwise = answer(200, b"0123456789")
    repository = ProxyRepository(client)
    assert read(repository, "digits", 3, 5) == b"34"
    assert read(repository, "digits", 8) == b"89"
    assert repository.stat("digits") == FileInfo("digits", is_dir=False, size=10)


def test_a_server_without_pages_is_paged_here(server: ScriptedServer, client: Client) -> None:
    files: list[object] = [{"path": name, "is_dir": False, "file_size": "3"} for name in "abcde"]
    server.otherwise = answer(200, {"files": files})
    repository = ProxyRepository(client, "root")
    first = repository.list("d", max_results=3)
    assert [entry.path for entry in first.items] == ["d/a", "d/b", "d/c"]
    assert server.seen[0].target.endswith("artifacts?path=root%2Fd&max_results=3")
    rest = repository.list("d", max_results=3, page_token=first.token)
    assert ([entry.path for entry in rest.items], rest.token) == (["d/d", "d/e"], None)
    with pytest.raises(InvalidParameterValue, match="page token"):
        repository.list("d", page_token="after:!!")


def test_a_listing_cannot_lead_a_download_elsewhere(server: ScriptedServer, client: Client) -> None:
    server.otherwise = answer(200, {"files": [{"path": "../../etc/passwd", "is_dir": False}]})
    with pytest.raises(InvalidParameterValue, match="Invalid path"):
        ProxyRepository(client).list()


def test_missing_files_are_404_whatever_the_body(server: ScriptedServer, client: Client) -> None:
    server.otherwise = answer(404, b"<html>no such file</html>")
    with pytest.raises(ResourceDoesNotExist, match=r"no artifact 'a\.txt' in mlflow-artifacts:/3"):
        ProxyRepository(client, "3").download("a.txt")


def test_a_directory_is_known_by_mlflows_own_answer(server: ScriptedServer, client: Client) -> None:
    server.otherwise = answer(400, b'{"detail": "Artifact path refers to a directory"}')
    assert ProxyRepository(client).stat("folder") == FileInfo("folder", is_dir=True)
    with pytest.raises(InvalidParameterValue, match="'folder' in mlflow-artifacts:/ is a directory"):
        ProxyRepository(client).download("folder")


def test_a_server_that_is_none_is_told_apart_from_a_missing_file(server: ScriptedServer, client: Client) -> None:
    server.otherwise = answer(404, b"<html>what?</html>")
    with pytest.raises(EndpointNotFound, match="is it a tracking server"):
        ProxyRepository(client).list()


def test_a_download_that_breaks_off_is_an_error_and_leaves_no_file(
    server: ScriptedServer, client: Client, tmp_path: Path
) -> None:
    server.otherwise = raw(b"HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\nhalf")
    with pytest.raises(ServerUnreachable, match="broke off"):
        ProxyRepository(client).download_file("a.txt", tmp_path / "a.txt")
    assert list(tmp_path.iterdir()) == []


# --- other servers ---------------------------------------------------------------------------------------------------


def test_a_location_on_this_server_is_asked_with_credentials(server: ScriptedServer, client: Client) -> None:
    for uri in (f"mlflow-artifacts://127.0.0.1:{server.port}/3", f"{server.uri}{PROXY_ROOT}/3"):
        repository_for(uri, client=client).list()
        assert server.seen[-1].headers["authorization"] == "Bearer mine"
        assert server.seen[-1].target == f"{PROXY_ROOT}?path=3"


def test_a_location_on_another_server_never_gets_our_credentials(server: ScriptedServer) -> None:
    def refuse(request: Request) -> Response:
        raise AssertionError(f"asked our own server for {request.path}")

    ours = Client("http://tracking.example", refuse)
    for uri in (f"mlflow-artifacts://127.0.0.1:{server.port}/3", f"{server.uri}/base{PROXY_ROOT}/3"):
        repository = repository_for(uri, client=ours)
        assert paths_below(repository) == []
        assert "authorization" not in server.seen[-1].headers
        assert repository.root_uri == f"mlflow-artifacts://127.0.0.1:{server.port}/3"
    assert server.seen[-1].target == f"/base{PROXY_ROOT}?path=3"


def test_only_a_proxy_is_read_over_http(client: Client) -> None:
    for uri in ("http://host/some/file", f"https://host{PROXY_ROOT}/../x"):
        with pytest.raises(InvalidParameterValue):
            repository_for(uri, client=client)
    with pytest.raises(InvalidParameterValue, match="artifact proxy"):
        repository_for(f"http://host{PROXY_ROOT}/3")
