"""What URIs stand for, and bringing it to this machine."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from mlgate.fetch import fetch, locate
from mlgate_tracking.artifacts import repository_for
from mlgate_tracking.entities import ModelOutput
from mlgate_tracking.store.sql import SqlStore


@pytest.fixture
def store(tmp_path: Path) -> Iterator[SqlStore]:
    with SqlStore(f"sqlite:///{tmp_path}/store.db") as opened:
        yield opened


def test_a_model_that_newer_clients_keep_apart_is_found_under_its_run(store: SqlStore, tmp_path: Path) -> None:
    run = store.create_run("0").info
    model = store.create_logged_model("0", name="forest", source_run_id=run.run_id)
    store.log_outputs(run.run_id, [ModelOutput(model.model_id)])
    assert locate(store, f"runs:/{run.run_id}/forest") == (model.artifact_uri, "")
    assert locate(store, f"runs:/{run.run_id}/forest/MLmodel") == (model.artifact_uri, "MLmodel")
    assert locate(store, f"runs:/{run.run_id}/data") == (run.artifact_uri, "data")
    assert locate(store, f"runs:/{run.run_id}") == (run.artifact_uri, "")
    gone = store.create_logged_model("0", name="tree", source_run_id=run.run_id)
    store.log_outputs(run.run_id, [ModelOutput(gone.model_id)])
    store.delete_logged_model(gone.model_id)
    assert locate(store, f"runs:/{run.run_id}/tree") == (run.artifact_uri, "tree")
    store.create_registered_model("iris")
    store.create_model_version("iris", f"runs:/{run.run_id}/forest", run_id=run.run_id)
    assert locate(store, "models:/iris/1/MLmodel") == (model.artifact_uri, "MLmodel")

    destination = tmp_path / "artifacts"
    folder = destination / model.artifact_uri.removeprefix("mlflow-artifacts:/")
    folder.mkdir(parents=True)
    (folder / "MLmodel").write_text("{}")
    brought = fetch(
        f"runs:/{run.run_id}/forest",
        tmp_path / "here",
        store,
        lambda uri: repository_for(uri, destination=str(destination)),
    )
    assert (brought / "MLmodel").read_text() == "{}"
