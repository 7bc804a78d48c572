from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from mlgate_tracking.client import RestStore, artifacts_destination_of, connect
from mlgate_tracking.errors import InvalidParameterValue
from mlgate_tracking.store.sql import SqlStore
from mlgate_tracking.transport import Credentials


def test_a_servers_uri_gives_its_client(monkeypatch: pytest.MonkeyPatch) -> None:
    store = connect("HTTPS://ann:secret@tracking.example/mlflow/", credentials=Credentials())
    assert isinstance(store, RestStore)
    assert store.uri == "https://tracking.example/mlflow"
    assert "secret" not in repr(store)
    store.close()
    store.close()


def test_a_databases_uri_opens_it(tmp_path: Path) -> None:
    with connect(f"sqlite:///{tmp_path}/new/mlgate.db") as store:
        assert isinstance(store, SqlStore)
        assert store.get_experiment("0").name == "Default"


@pytest.mark.parametrize("uri", ["", "ftp://host", "mongodb://host", "oracle+x://secret@host"])
def test_other_uris_are_refused(uri: str) -> None:
    with pytest.raises(InvalidParameterValue, match="use http") as caught:
        connect(uri)
    assert "secret" not in caught.value.message


def test_a_destination_that_is_none_is_refused_before_the_database_is_made(tmp_path: Path) -> None:
    with pytest.raises(InvalidParameterValue, match=r"'ftp://host' is no storage"):
        connect(f"sqlite:///{tmp_path}/mlgate.db", artifacts_destination="ftp://host")
    assert [entry.name for entry in tmp_path.iterdir() if entry.name != "mlgate-home"] == []


@pytest.mark.parametrize(
    ("uri", "place"),
    [
        ("sqlite:////data/mlgate.db", "/data/artifacts"),
        ("sqlite:////data/with%20space/mlgate.db?timeout=5", "/data/with space/artifacts"),
        ("sqlite+pysqlite:////data/mlgate.db", "/data/artifacts"),
        ("sqlite:///mlgate.db", "{here}/artifacts"),
    ],
)
def test_artifacts_of_a_sqlite_store_lie_beside_it(uri: str, place: str) -> None:
    assert artifacts_destination_of(uri) == place.format(here=Path.cwd())
    assert artifacts_destination_of(uri, "s3://bucket") == "s3://bucket"


@pytest.mark.parametrize("uri", ["mlruns", "./mlruns", "/home/ann/mlruns", "file:///home/ann/mlruns"])
def test_a_folder_of_mlflow_is_no_store_but_can_be_brought_into_one(uri: str) -> None:
    for opened in (connect, artifacts_destination_of):
        with pytest.raises(InvalidParameterValue, match=re.escape(f"`mlgate import mlflow {uri}`")):
            opened(uri)


@pytest.mark.parametrize(
    "uri", ["sqlite://", "sqlite:///:memory:", "postgresql://ann:secret@host/db", "mysql://host/db"]
)
def test_other_databases_must_be_told_where(uri: str) -> None:
    with pytest.raises(InvalidParameterValue, match="name a place for artifacts") as caught:
        artifacts_destination_of(uri)
    assert "secret" not in caught.value.message


def test_importing_the_client_loads_neither_http_nor_databases() -> None:
    code = (
        "import sys, mlgate_tracking.client;"
        "heavy = ('http.client', 'ssl', 'socket', 'urllib.request', 'dataclasses', 'sqlalchemy', 'email', 'hashlib');"
        "print([name for name in heavy if name in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, env={**os.environ})
    assert done.stdout.strip() == "[]"
