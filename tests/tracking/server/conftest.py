"""A real store in a file, and the real app in memory before it."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from starlette.testclient import TestClient

from mlgate_tracking.server.app import create_app
from mlgate_tracking.server.settings import ServerSettings
from mlgate_tracking.store.sql import SqlStore

SECRET = b"the secret of the tests' servers"


@pytest.fixture(scope="session")
def fresh_database(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A database with its schema and nothing else; copying it is quicker than making it."""
    path = tmp_path_factory.mktemp("fresh") / "mlgate.db"
    SqlStore(f"sqlite:///{path}").close()
    return path


@pytest.fixture
def store(tmp_path: Path, fresh_database: Path) -> Iterator[SqlStore]:
    shutil.copyfile(fresh_database, tmp_path / "mlgate.db")
    with SqlStore(f"sqlite:///{tmp_path / 'mlgate.db'}") as opened:
        yield opened


@pytest.fixture
def serve(store: SqlStore, tmp_path: Path) -> Iterator[Callable[..., TestClient]]:
    """Build an app with some settings, and a client that talks to it."""
    clients: list[TestClient] = []

    def build(**given: Any) -> TestClient:
        settings = {"artifacts_destination": str(tmp_path / "artifacts"), "token_secret": SECRET, **given}
        client = TestClient(create_app(store, ServerSettings(**settings)), base_url="http://localhost")
        client.__enter__()
        clients.append(client)
        return client

    yield build
    for client in clients:
        client.__exit__(None, None, None)


@pytest.fixture
def client(serve: Callable[..., TestClient]) -> TestClient:
    return serve()


class Api:
    """MLflow's REST API, as short as a test wants it: `api.post("runs/create", experiment_id="0")`."""

    def __init__(self, client: TestClient) -> None:
        self.client = client

    def post(self, path: str, /, **fields: Any) -> Any:
        return self._answer(self.client.post(_path(path), json=fields))

    def get(self, path: str, /, **fields: Any) -> Any:
        return self._answer(self.client.get(_path(path), params=fields))

    def patch(self, path: str, /, **fields: Any) -> Any:
        return self._answer(self.client.patch(_path(path), json=fields))

    def delete(self, path: str, /, **fields: Any) -> Any:
        return self._answer(self.client.request("DELETE", _path(path), json=fields))

    def refused(self, method: str, path: str, /, **fields: Any) -> tuple[int, str]:
        """Status and error code of a call that must fail."""
        answer = self.client.request(
            method, _path(path), **({"params": fields} if method == "GET" else {"json": fields})
        )
        assert answer.status_code >= 400, answer.text
        return answer.status_code, answer.json()["error_code"]

    def run(self, **fields: Any) -> str:
        """The id of a new run."""
        return str(self.post("runs/create", **{"experiment_id": "0", **fields})["run"]["info"]["run_id"])

    @staticmethod
    def _answer(answer: Any) -> Any:
        assert answer.status_code == 200, answer.text
        assert answer.headers["content-type"] == "application/json"
        return answer.json()


def _path(path: str) -> str:
    return path if path.startswith("/") else f"/api/2.0/mlflow/{path}"


@pytest.fixture
def api(client: TestClient) -> Api:
    return Api(client)
