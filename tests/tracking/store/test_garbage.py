"""Deleted runs, models and experiments go for good, with their files; what is in use stays."""

from __future__ import annotations

from pathlib import Path

import pytest

from mlgate_tracking.artifacts import repository_for
from mlgate_tracking.entities import Dataset, DatasetInput, Metric, Param, Tag
from mlgate_tracking.errors import ResourceDoesNotExist
from mlgate_tracking.store.garbage import Collected, collect, find_garbage, look_for_files
from mlgate_tracking.store.sql import SqlStore
from mlgate_tracking.store.values import now
from tests.support import databases


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
    assert [(item.name, item.stays) for item in done.kept] == [(run_id, "iris version 1")]
    assert files(artifacts) == [run_id]
    store.delete_model_version("iris", 1)
    assert names(sweep(store, artifacts).removed) == [("run", run_id)]


@pytest.mark.parametrize(
    ("root", "source"),
    [
        ("mlflow-artifacts:/0", "mlflow-artifacts:///0/{run}/artifacts/model"),
        ("mlflow-artifacts:/0", "mlflow-artifacts:/0/{run}/artifacts/./model"),
        ("/data/0", "file:///data/0/{run}/artifacts/model"),
        ("file:///data/0", "/data//0/{run}/artifacts/model"),
        ("http://host/api/2.0/mlflow-artifacts/artifacts/0", "mlflow-artifacts:/0/{run}/artifacts/model"),
        ("mlflow-artifacts:/0", "https://h/x/api/2.0/mlflow-artifacts/artifacts/0/{run}/artifacts/model"),
        ("mlflow-artifacts:/0", "mlflow-artifacts://host:5000/0/{run}/artifacts/model"),
    ],
)
def test_files_of_a_live_version_stay_however_their_place_is_written(store: SqlStore, root: str, source: str) -> None:
    experiment_id = store.create_experiment("elsewhere", artifact_location=root)
    run_id = store.create_run(experiment_id).info.run_id
    store.create_registered_model("iris")
    store.create_model_version("iris", "s3://bucket/model")
    # As an import writes it: without the run, in any spelling.
    values = {"location": source.format(run=run_id)}
    store.write(lambda tx: tx.change("UPDATE model_versions SET storage_location = :location", values))
    store.delete_run(run_id)
    assert [item.stays for item in find_garbage(store, deleted_before=now() + 1)] == ["iris version 1"]


def test_a_run_and_a_logged_model_that_a_live_version_names_stay(store: SqlStore) -> None:
    run_id = store.create_run("0").info.run_id
    model = store.create_logged_model("0", name="model", source_run_id=run_id)
    below_the_run = store.create_logged_model("0", name="other", source_run_id=run_id)
    store.create_registered_model("iris")
    store.create_model_version("iris", "s3://bucket/model", run_id=run_id, model_id=model.model_id)
    store.create_model_version("iris", f"runs:/{run_id}/other", run_id=run_id)
    store.delete_run(run_id)
    store.delete_logged_model(model.model_id)
    store.delete_logged_model(below_the_run.model_id)
    assert [(item.name, item.stays) for item in find_garbage(store, deleted_before=now() + 1)] == [
        (run_id, "iris version 1"),
        (model.model_id, "iris version 1"),
        (below_the_run.model_id, "iris version 2"),
    ]


def test_what_a_version_was_made_of_meanwhile_stays(store: SqlStore, artifacts: Path) -> None:
    run_id = a_run(store, artifacts)
    store.delete_run(run_id)
    found = find_garbage(store, deleted_before=now() + 1)
    store.create_registered_model("iris")
    store.create_model_version("iris", f"runs:/{run_id}/model", run_id=run_id)
    done = collect(store, found, lambda _uri: pytest.fail("files removed"), now() + 1)
    assert [(item.name, item.stays) for item in done.kept] == [(run_id, "iris version 1")]


def test_the_default_experiment_stays(store: SqlStore, artifacts: Path) -> None:
    run_id = a_run(store, artifacts)
    store.delete_experiment("0")
    done = sweep(store, artifacts)
    assert names(done.removed) == [("run", run_id)]
    assert [(item.name, item.stays) for item in done.kept] == [("Default", "every store has it")]
    store.restore_experiment("0")
    assert store.create_run("0").info.experiment_id == "0"


def test_a_deleted_experiment_goes_with_its_runs_and_models(store: SqlStore, artifacts: Path) -> None:
    experiment_id = store.create_experiment("old", tags=[Tag("k", "v")])
    run_id = a_run(store, artifacts, experiment_id)
    moved = a_run(store, artifacts, experiment_id)
    store.move_run(moved, "0")
    model = store.create_logged_model(experiment_id, name="model")
    put(artifacts, model.artifact_uri)
    store.delete_experiment(experiment_id)
    done = sweep(store, artifacts, experiment_ids=(int(experiment_id),))
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
    assert [(item.name, item.stays) for item in done.kept] == [(run_id, "iris version 1"), ("old", f"run {run_id}")]
    assert store.get_run(run_id).info.experiment_id == experiment_id


def test_what_was_restored_meanwhile_stays(store: SqlStore, artifacts: Path) -> None:
    run_id = a_run(store, artifacts)
    store.delete_run(run_id)
    found = find_garbage(store, deleted_before=now() + 1)
    store.restore_run(run_id)
    done = collect(store, found, lambda _uri: pytest.fail("files removed"), now() + 1)
    assert names(done.kept) == [("run", run_id)]


def test_what_has_files_that_cannot_be_reached_stays(store: SqlStore, artifacts: Path) -> None:
    away = store.create_experiment("away", artifact_location="http://host/api/2.0/mlflow-artifacts/artifacts/1")
    for run_id in (a_run(store, artifacts), store.create_run("0").info.run_id, store.create_run(away).info.run_id):
        store.delete_run(run_id)
    found = look_for_files(
        find_garbage(store, deleted_before=now() + 1),
        lambda uri: bool(repository_for(uri, destination=str(artifacts)).list().items),
    )
    assert [(item.files, item.stays is None) for item in found] == [(True, True), (False, True), (False, False)]
    assert "its files cannot be reached: artifact location 'http://host/" in (found[2].stays or "")


@pytest.mark.database
def test_a_database_server_is_swept_too(server: databases.PostgreSQL | databases.MariaDB, artifacts: Path) -> None:
    with SqlStore(server.create()) as store:
        experiment_id = store.create_experiment("old")
        run_id = a_run(store, artifacts, experiment_id)
        model = store.create_logged_model(experiment_id, name="model")
        store.delete_experiment(experiment_id)
        assert names(sweep(store, artifacts).removed) == [
            ("run", run_id),
            ("logged model", model.model_id),
            ("experiment", "old"),
        ]
