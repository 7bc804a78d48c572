"""Deleted runs, models and experiments go for good, with their files; what is in use stays."""

from __future__ import annotations

from pathlib import Path

import pytest

from mlgate_tracking.artifacts import repository_for
from mlgate_tracking.entities import Dataset, DatasetInput, Metric, Param, Tag
from mlgate_tracking.errors import ResourceDoesNotExist
from mlgate_tracking.store.garbage import Collected, collect, find_garbage
from mlgate_tracking.store.sql import SqlStore
from mlgate_tracking.store.values import now


@pytest.fixture
def artifacts(tmp_path: Path) -> Path:
    return tmp_path / "artifacts"


def put(artifacts: Path, uri: str) -> None:
    repository_for(uri, destination=str(artifacts)).upload("model/MLmodel", iter([b"flavors: {}"]))


def files(artifacts: Path) -> list[str]:
    return sorted(path.relative_to(artifacts).parts[1] for path in artifacts.rglob("MLmodel"))


def sweep(store: SqlStore, artifacts: Path, before: int | None = None, **options) -> Collected:
    before = before or now() + 1
    found = find_garbage(store, deleted_before=before, **options)
    return collect(store, found, lambda uri: repository_for(uri, destination=str(artifacts)).delete(""), before)


def names(items: list) -> list[tuple[str, str]]:
    return [(item.kind, item.name) for item in items]


def a_run(store: SqlStore, artifacts: Path, experiment_id: str = "0") -> str:
    run = store.create_run(experiment_id)
    run_id = run.info.run_id
    store.log_batch(run_id, metrics=[Metric("m", 1.0, 1)], params=[Param("p", "1")], tags=[Tag("t", "1")])
    dataset = Dataset("d", "1", "local", "x")
    store.log_inputs(run_id, datasets=[DatasetInput(dataset, (Tag("k", "v"),))], model_ids=["m-1"])
    put(artifacts, run.info.artifact_uri)
    return run_id


def rows(store: SqlStore) -> dict[str, int]:
    tables = ("runs", "metrics", "latest_metrics", "params", "tags", "dataset_inputs", "dataset_input_tags")
    return {
        table: store.read(lambda tx, table=table: tx.rows(f"SELECT COUNT(*) FROM {table}")[0][0]) for table in tables
    }


def test_a_deleted_run_goes_with_rows_and_files(store: SqlStore, artifacts: Path) -> None:
    gone, stays = a_run(store, artifacts), a_run(store, artifacts)
    store.delete_run(gone)
    assert names(sweep(store, artifacts).removed) == [("run", gone)]
    with pytest.raises(ResourceDoesNotExist):
        store.get_run(gone)
    assert store.get_run(stays).metric("m") == 1.0
    assert files(artifacts) == [stays]
    assert rows(store) == {
        "runs": 1,
        "metrics": 1,
        "latest_metrics": 1,
        "params": 1,
        "tags": 2,
        "dataset_inputs": 1,
        "dataset_input_tags": 1,
    }
    assert names(sweep(store, artifacts).removed) == []


def test_what_was_deleted_lately_stays_when_an_age_is_asked_for(store: SqlStore, artifacts: Path) -> None:
    run_id = a_run(store, artifacts)
    store.delete_run(run_id)
    assert names(sweep(store, artifacts, before=now() - 60_000).removed) == []
    assert store.get_run(run_id).info.run_id == run_id


def test_a_run_that_a_live_version_is_made_of_stays(store: SqlStore, artifacts: Path) -> None:
    run_id = a_run(store, artifacts)
    store.create_registered_model("iris")
    store.create_model_version("iris", f"runs:/{run_id}/model", run_id=run_id)
    store.delete_run(run_id)
    done = sweep(store, artifacts)
    assert names(done.removed) == []
    assert [(item.name, item.needed_by) for item in done.kept] == [(run_id, "iris version 1")]
    assert files(artifacts) == [run_id]
    store.delete_model_version("iris", 1)
    assert names(sweep(store, artifacts).removed) == [("run", run_id)]


def test_a_deleted_experiment_goes_with_its_runs_and_models(store: SqlStore, artifacts: Path) -> None:
    experiment_id = store.create_experiment("old", tags=[Tag("k", "v")])
    run_id = a_run(store, artifacts, experiment_id)
    moved = a_run(store, artifacts, experiment_id)
    store.move_run(moved, "0")
    model = store.create_logged_model(experiment_id, name="model")
    put(artifacts, model.artifact_uri)
    store.delete_experiment(experiment_id)
    done = sweep(store, artifacts, experiment_ids=(experiment_id,))
    assert names(done.removed) == [("run", run_id), ("logged model", model.model_id), ("experiment", "old")]
    assert files(artifacts) == [moved]
    assert store.get_run(moved).param("p") == "1"
    assert store.create_experiment("old") != experiment_id


def test_an_experiment_with_a_run_that_stays_stays_too(store: SqlStore, artifacts: Path) -> None:
    experiment_id = store.create_experiment("old")
    run_id = a_run(store, artifacts, experiment_id)
    store.create_registered_model("iris")
    store.create_model_version("iris", f"runs:/{run_id}/model", run_id=run_id)
    store.delete_experiment(experiment_id)
    done = sweep(store, artifacts)
    assert names(done.kept) == [("run", run_id), ("experiment", "old")]
    assert store.get_run(run_id).info.experiment_id == experiment_id


def test_what_was_restored_meanwhile_stays(store: SqlStore, artifacts: Path) -> None:
    run_id = a_run(store, artifacts)
    store.delete_run(run_id)
    found = find_garbage(store, deleted_before=now() + 1)
    store.restore_run(run_id)
    done = collect(store, found, lambda _uri: pytest.fail("files removed"), now() + 1)
    assert names(done.kept) == [("run", run_id)]
