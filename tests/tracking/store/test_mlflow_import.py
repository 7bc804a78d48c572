"""An MLflow store, made by the real MLflow or by hand, arrives whole and with its ids."""

from __future__ import annotations

import contextlib
import json
import math
import os
import shutil
import sqlite3
import subprocess
import tracemalloc
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from mlgate_tracking.artifacts import repository_for
from mlgate_tracking.artifacts.local import LocalRepository
from mlgate_tracking.entities import LifecycleStage, Metric, RunStatus, Tag
from mlgate_tracking.errors import BadRequest, Conflict, InvalidParameterValue, ResourceDoesNotExist
from mlgate_tracking.store.mlflow_import import ArtifactPlan, ImportReport, Incomplete, import_mlflow, open_source
from mlgate_tracking.store.sql import SqlStore
from tests.support import databases
from tests.support.environments import environment

SEED = Path(databases.__file__).with_name("mlflow_seed.py")
MLFLOW_2 = ("mlflow-2.8", ["mlflow==2.8.0", "setuptools<81"], "3.10")
MLFLOW_3 = ("mlflow", ["mlflow>=3.10,<4", "psycopg[binary]>=3.1"], "3.11")

META = """artifact_uri: {artifacts}
end_time: 20
experiment_id: '5'
lifecycle_stage: active
run_id: {run_id}
run_name: first
start_time: 10
status: 3
user_id: ann
"""


def bring(
    uri: str | Path, store: SqlStore, artifacts: Path | None, proxied: Path | None = None, **options
) -> ImportReport:
    """
    Args:
        proxied: where the MLflow server kept its artifacts.
    """
    plan = ArtifactPlan(str(artifacts) if artifacts else None, str(proxied) if proxied else None)
    with contextlib.closing(open_source(str(uri))) as source:
        return import_mlflow(source, store, plan, **options)


def text(uri: str, path: str, destination: Path) -> str:
    return b"".join(repository_for(uri, destination=str(destination)).download(path)).decode()


# --- by hand: quick, without MLflow ---------------------------------------------------------------------------------


@pytest.fixture
def mlruns(tmp_path: Path) -> Path:
    """A file store with three runs of one experiment; it was moved after it was written."""
    folder = tmp_path / "mlruns"
    for number in range(3):
        run_id = f"{number:032x}"
        run = folder / "5" / run_id
        for name, content in {
            "meta.yaml": META.format(run_id=run_id, artifacts=f"file:///gone/mlruns/5/{run_id}/artifacts"),
            "params/depth": "3",
            "tags/mlflow.runName": "first",
            "metrics/loss": "1 0.5 0\n2 0.25 1\n2 0.25 1\n3 nan 2\n",
            "artifacts/notes/a.txt": f"of {number}",
        }.items():
            path = run / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(content)
    (folder / "5" / "meta.yaml").write_text(
        "name: by hand\nlifecycle_stage: active\nartifact_location: /gone/mlruns/5\n"
    )
    return folder


def test_a_moved_folder_arrives_with_its_files(mlruns: Path, store: SqlStore, tmp_path: Path) -> None:
    report = bring(mlruns, store, tmp_path / "artifacts")
    assert (report.found.runs, report.found.metric_points, report.found.artifact_files) == (3, 9, 3)
    assert report.written == report.found
    run = store.get_run(f"{1:032x}")
    assert run.info.artifact_uri == f"mlflow-artifacts:/5/{1:032x}/artifacts"
    assert text(run.info.artifact_uri, "notes/a.txt", tmp_path / "artifacts") == "of 1"
    assert math.isnan(run.metric("loss") or 0)
    history = store.metric_history(run.info.run_id, "loss").items
    assert history[:2] == (Metric("loss", 0.5, 1, 0), Metric("loss", 0.25, 2, 1))
    assert int(store.create_experiment("next")) > 5


def test_an_interrupted_import_goes_on(
    mlruns: Path, store: SqlStore, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    broken = mlruns / "5" / f"{2:032x}" / "metrics" / "loss"
    broken.write_text("oops")
    monkeypatch.setattr("mlgate_tracking.store.mlflow_import.folder_source._BATCH", 1)
    with pytest.raises(BadRequest, match=r"metrics/loss:1: 'oops' is not 'timestamp value step'"):
        bring(mlruns, store, tmp_path / "artifacts")
    broken.write_text("1 1.0 0\n")
    told: list[tuple[int, int]] = []
    report = bring(mlruns, store, tmp_path / "artifacts", progress=lambda done, total: told.append((done, total)))
    assert (report.found.runs, report.written.runs, report.written.artifact_files) == (3, 1, 1)
    assert told == [(1, 3), (2, 3), (3, 3)]
    assert bring(mlruns, store, tmp_path / "artifacts").written.runs == 0


def test_a_dry_run_writes_nothing(mlruns: Path, store: SqlStore, tmp_path: Path) -> None:
    report = bring(mlruns, store, tmp_path / "artifacts", dry_run=True)
    assert (report.found.runs, report.written.runs, report.written.artifact_files) == (3, 0, 0)
    assert store.get_experiment_by_name("by hand") is None
    assert not (tmp_path / "artifacts").exists()


def test_files_may_stay_where_they_are(mlruns: Path, store: SqlStore) -> None:
    assert bring(mlruns, store, None).written.artifact_files == 0
    assert store.get_run(f"{1:032x}").info.artifact_uri == f"file:///gone/mlruns/5/{1:032x}/artifacts"


def test_another_experiment_in_the_way_stops_it_before_anything_is_written(
    mlruns: Path, store: SqlStore, tmp_path: Path
) -> None:
    store.create_experiment("by hand")
    with pytest.raises(Conflict, match="experiment 'by hand' has id 5 there and 1 here"):
        bring(mlruns, store, tmp_path / "artifacts")
    for number in range(4):
        store.create_experiment(f"experiment {number}")
    store.rename_experiment("1", "out of the way")
    with pytest.raises(Conflict, match="experiment 5 is 'by hand' there and 'experiment 3' here"):
        bring(mlruns, store, tmp_path / "artifacts")
    with pytest.raises(ResourceDoesNotExist):
        store.get_run(f"{1:032x}")


def test_what_changed_since_it_was_brought_over_is_left_alone(mlruns: Path, store: SqlStore, tmp_path: Path) -> None:
    bring(mlruns, store, tmp_path / "artifacts")
    store.log_batch(f"{1:032x}", tags=[Tag("later", "1")])
    store.delete_tag(f"{2:032x}", "mlflow.runName")
    assert bring(mlruns, store, tmp_path / "artifacts").written.runs == 0
    assert store.get_run(f"{1:032x}").tag("later") == "1"


def test_counts_that_differ_at_the_end_are_told(
    mlruns: Path, store: SqlStore, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("mlgate_tracking.store.mlflow_import.target.write_params", lambda *_args: None)
    with pytest.raises(Incomplete, match=r"the import is not complete: params: 3 there, 0 here"):
        bring(mlruns, store, tmp_path / "artifacts")


def test_line_ends_of_texts_stay(mlruns: Path, store: SqlStore) -> None:
    run = mlruns / "5" / f"{1:032x}"
    (run / "params" / "depth").write_bytes(b"one\r\ntwo\rthree\n")
    (run / "tags" / "note").write_bytes(b"\r\n")
    bring(mlruns, store, None)
    arrived = store.get_run(run.name)
    assert (arrived.param("depth"), arrived.tag("note")) == ("one\r\ntwo\rthree\n", "\r\n")


def test_a_run_whose_id_is_none_is_told(mlruns: Path, store: SqlStore) -> None:
    shutil.copytree(mlruns / "5" / f"{1:032x}", mlruns / "5" / "backup")
    assert bring(mlruns, store, None).missing == ["run backup of experiment 5: its id has not 32 characters"]


@pytest.fixture
def long_run(tmp_path: Path) -> Path:
    """A database of MLflow's with one run of 50,000 points."""
    path = tmp_path / "mlflow.db"
    with contextlib.closing(sqlite3.connect(path)) as raw:
        raw.executescript("""
            CREATE TABLE experiments (experiment_id, name, artifact_location, lifecycle_stage);
            CREATE TABLE runs (run_uuid, name, experiment_id, user_id, status, start_time, end_time, lifecycle_stage,
                artifact_uri);
            CREATE TABLE metrics (key, value, timestamp, run_uuid, step, is_nan);
            CREATE TABLE params (key, value, run_uuid);
            CREATE TABLE tags (key, value, run_uuid);
            CREATE TABLE registered_models (name);
            CREATE TABLE model_versions (name, version);
            INSERT INTO experiments VALUES (5, 'by hand', 's3://bucket/5', 'active');
        """)
        run = (f"{1:032x}", "first", 5, "ann", "FINISHED", 10, 20, "active", "s3://bucket/5/1")
        raw.execute("INSERT INTO runs VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?)", run)
        points = (("loss", float(step), 1000 + step, run[0], step, 0) for step in range(50_000))
        raw.executemany("INSERT INTO metrics VALUES (?, ?, ?, ?, ?, ?)", points)
        raw.commit()
    return path


def test_a_long_history_arrives_without_being_in_memory(long_run: Path, store: SqlStore) -> None:
    tracemalloc.start()
    try:
        with contextlib.closing(open_source(str(long_run))) as source:
            [[record]] = source.runs("5")
            assert len(record.history) == sum(1 for _ in record.history) == 50_000
        assert tracemalloc.get_traced_memory()[1] < 8 * 1024 * 1024
    finally:
        tracemalloc.stop()
    assert bring(long_run, store, None).written.metric_points == 50_000
    assert store.get_run(f"{1:032x}").metric("loss") == 49_999.0


# --- files that are not where they should be


@pytest.fixture(
    params=["mlflow-artifacts:", "mlflow-artifacts://host:5000", "http://host/x/api/2.0/mlflow-artifacts/artifacts"]
)
def behind_a_server(request: pytest.FixtureRequest, mlruns: Path, tmp_path: Path) -> Path:
    """Where the server of `mlruns` has put the files of its runs, whose locations name it in one way or another."""
    served = tmp_path / "served"
    for run in (mlruns / "5").glob("0*"):
        shutil.move(run / "artifacts", served / "5" / run.name / "artifacts")
        meta = META.format(run_id=run.name, artifacts=f"{request.param}/5/{run.name}/artifacts")
        (run / "meta.yaml").write_text(meta)
    return served


@pytest.mark.parametrize("dry_run", [True, False])
@pytest.mark.parametrize(
    ("proxied", "message"),
    [(None, r"/5/.* are behind an MLflow server"), ("typo", "there are no files in .*typo")],
)
@pytest.mark.usefixtures("behind_a_server")
def test_nothing_is_written_without_the_place_of_a_servers_files(
    mlruns: Path, store: SqlStore, tmp_path: Path, proxied: str | None, message: str, dry_run: bool
) -> None:
    with pytest.raises(InvalidParameterValue, match=message):
        bring(mlruns, store, tmp_path / "artifacts", proxied and tmp_path / proxied, dry_run=dry_run)
    assert store.get_experiment_by_name("by hand") is None


def test_a_wrong_place_of_files_is_told_and_the_right_one_brings_them(
    mlruns: Path, store: SqlStore, tmp_path: Path, behind_a_server: Path
) -> None:
    report = bring(mlruns, store, tmp_path / "artifacts", mlruns)
    assert report.missing == [
        f"no file of 3 runs and models was found in {mlruns}: is it the MLflow server's --artifacts-destination?"
    ]
    report = bring(mlruns, store, tmp_path / "artifacts", behind_a_server)
    assert (report.written.runs, report.written.artifact_files, report.missing) == (0, 3, [])
    assert text(store.get_run(f"{1:032x}").info.artifact_uri, "notes/a.txt", tmp_path / "artifacts") == "of 1"


def test_a_run_whose_files_are_out_of_reach_keeps_their_place(mlruns: Path, store: SqlStore, tmp_path: Path) -> None:
    run = mlruns / "5" / f"{1:032x}"
    away, back = tmp_path / "disk" / "5" / run.name / "artifacts", tmp_path / "away"
    shutil.move(run / "artifacts", back)
    (run / "meta.yaml").write_text(META.format(run_id=run.name, artifacts=away))
    report = bring(mlruns, store, tmp_path / "artifacts")
    assert report.missing == [f"files of 1 runs: there is no folder {tmp_path}/disk/5"]
    assert store.get_run(run.name).info.artifact_uri == str(away)
    shutil.move(back, away)
    report = bring(mlruns, store, tmp_path / "artifacts")
    assert (report.written.artifact_files, report.missing) == (1, [])
    uri = store.get_run(run.name).info.artifact_uri
    assert uri == f"mlflow-artifacts:/5/{run.name}/artifacts"
    assert text(uri, "notes/a.txt", tmp_path / "artifacts") == "of 1"


def test_files_that_were_left_are_brought_later(mlruns: Path, store: SqlStore, tmp_path: Path) -> None:
    bring(mlruns, store, None)
    assert bring(mlruns, store, tmp_path / "artifacts").written.artifact_files == 3
    assert text(store.get_run(f"{1:032x}").info.artifact_uri, "notes/a.txt", tmp_path / "artifacts") == "of 1"


def test_a_file_that_vanishes_is_told_and_not_replaced_by_an_empty_one(
    mlruns: Path, store: SqlStore, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    download = LocalRepository.download

    def vanishing(self: LocalRepository, path: str, start: int = 0, end: int | None = None) -> Iterator[bytes]:
        if f"{1:032x}" in str(self.root):
            raise self.missing(path)
        return download(self, path, start, end)

    monkeypatch.setattr(LocalRepository, "download", vanishing)
    report = bring(mlruns, store, tmp_path / "artifacts")
    assert report.missing == [f"run {1:032x}: file 'notes/a.txt' vanished while it was read"]
    monkeypatch.undo()
    assert not list((tmp_path / "artifacts" / "5" / f"{1:032x}").rglob("a.txt"))
    assert bring(mlruns, store, tmp_path / "artifacts").written.artifact_files == 1


def test_a_run_without_files_is_none_that_misses_any(mlruns: Path, store: SqlStore, tmp_path: Path) -> None:
    run = mlruns / "5" / f"{1:032x}"
    shutil.rmtree(run / "artifacts")
    (run / "meta.yaml").write_text(META.format(run_id=run.name, artifacts=""))
    report = bring(mlruns, store, tmp_path / "artifacts")
    assert (report.found.artifact_files, report.missing) == (2, [])


def test_a_run_that_went_on_since_is_told(mlruns: Path, store: SqlStore, tmp_path: Path) -> None:
    bring(mlruns, store, tmp_path / "artifacts")
    with (mlruns / "5" / f"{1:032x}" / "metrics" / "loss").open("a") as file:
        file.write("4 0.1 3\n")
    (mlruns / "5" / f"{2:032x}" / "artifacts" / "notes" / "a.txt").write_text("longer")
    assert bring(mlruns, store, tmp_path / "artifacts").missing == [
        f"run {1:032x}: 4 points there, 3 here: it went on since",
        f"run {2:032x}: file 'notes/a.txt' has 6 bytes there and 4 here",
    ]


# --- a registry that has grown


def a_version(mlruns: Path, number: int, *, stage: str = "None", tag: str = "1", created: int = 1) -> None:
    folder = mlruns / "models" / "iris" / f"version-{number}"
    (folder / "tags").mkdir(parents=True, exist_ok=True)
    (folder / "tags" / "checked").write_text(tag)
    (folder / "meta.yaml").write_text(
        f"name: iris\nversion: {number}\ncurrent_stage: {stage}\nsource: s3://bucket/{number}\n"
        f"creation_timestamp: {created}\nlast_updated_timestamp: {number}\n"
    )


def an_alias(mlruns: Path, alias: str, version: int) -> None:
    folder = mlruns / "models" / "iris" / "aliases"
    folder.mkdir(exist_ok=True)
    (folder / alias).write_text(str(version))


@pytest.fixture
def registry(mlruns: Path) -> Path:
    """A model in `mlruns` with one version, which is `champion`."""
    a_version(mlruns, 1, stage="Production")
    (mlruns / "models" / "iris" / "meta.yaml").write_text("name: iris\ncreation_timestamp: 1\n")
    an_alias(mlruns, "champion", 1)
    return mlruns


def test_what_a_model_has_got_since_is_brought(registry: Path, store: SqlStore, tmp_path: Path) -> None:
    bring(registry, store, tmp_path / "artifacts")
    a_version(registry, 1, stage="Archived", tag="2")
    a_version(registry, 2, stage="Production")
    an_alias(registry, "champion", 2)
    an_alias(registry, "first", 1)
    assert bring(registry, store, tmp_path / "artifacts", dry_run=True).missing == []
    assert store.get_model_version_by_alias("iris", "champion").version == 1
    report = bring(registry, store, tmp_path / "artifacts")
    assert (report.written.model_versions, report.written.aliases, report.missing) == (1, 2, [])
    assert store.get_model_version_by_alias("iris", "champion").version == 2
    first, second = (store.get_model_version("iris", number) for number in (1, 2))
    assert (first.current_stage, first.tags) == ("Archived", (Tag("checked", "2"),))
    assert second.current_stage == "Production"
    assert store.create_model_version("iris", "s3://bucket/new").version == 3


def test_what_was_moved_or_made_here_is_not_overwritten_but_told(
    registry: Path, store: SqlStore, tmp_path: Path
) -> None:
    bring(registry, store, tmp_path / "artifacts")
    store.create_model_version("iris", "s3://bucket/ours")
    store.set_registered_model_alias("iris", "champion", 2)
    store.transition_model_version_stage("iris", 1, "Archived")
    a_version(registry, 2)
    a_version(registry, 3, stage="Staging")
    report = bring(registry, store, tmp_path / "artifacts")
    assert report.missing == [
        "iris version 1: stage Production there, Archived here",
        "iris version 2: another one is here",
        "iris version 3: stage Staging",
        "iris: alias champion is version 1 there, version 2 here",
    ]
    assert store.get_model_version_by_alias("iris", "champion").source == "s3://bucket/ours"
    assert store.get_model_version("iris", 3).current_stage == "None"


def test_a_version_that_was_deleted_since_goes(registry: Path, store: SqlStore, tmp_path: Path) -> None:
    bring(registry, store, tmp_path / "artifacts")
    a_version(registry, 1, stage="Deleted_Internal")
    (registry / "models" / "iris" / "aliases" / "champion").unlink()
    assert bring(registry, store, tmp_path / "artifacts").missing == []
    with pytest.raises(ResourceDoesNotExist):
        store.get_model_version("iris", 1)
    assert store.get_registered_model("iris").aliases == ()


def test_a_version_without_files_is_told(registry: Path, store: SqlStore, tmp_path: Path) -> None:
    meta = registry / "models" / "iris" / "version-1" / "meta.yaml"
    meta.write_text(
        meta.read_text().replace("s3://bucket/1", f"/gone/mlruns/5/{1:032x}/artifacts/model\nrun_id: '{1:032x}'")
    )
    assert bring(registry, store, tmp_path / "artifacts").missing == [
        f"iris version 1: there are no files in mlflow-artifacts:/5/{1:032x}/artifacts/model"
    ]


# --- what is no source


@pytest.mark.parametrize(
    ("name", "error", "message"),
    [
        ("missing", InvalidParameterValue, "there is no folder"),
        ("empty", BadRequest, "is no folder of MLflow's"),
        ("other.db", BadRequest, "is no MLflow database: it has no table experiments"),
        ("sqlite:///missing.db", InvalidParameterValue, "there is no database file"),
        ("http://127.0.0.1:5000", InvalidParameterValue, "is a server: name its database"),
    ],
)
def test_a_source_that_is_none_is_refused(tmp_path: Path, name: str, error: type[Exception], message: str) -> None:
    (tmp_path / "empty").mkdir()
    raw = sqlite3.connect(tmp_path / "other.db")
    raw.execute("CREATE TABLE t (x)")
    raw.close()
    with pytest.raises(error, match=message):
        open_source(name if ":" in name else str(tmp_path / name))


# --- by MLflow itself -----------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Seeded:
    """A store that MLflow wrote; removed from where its metadata says it is."""

    uri: str
    ids: dict[str, str]


@pytest.fixture(
    scope="module",
    params=[(MLFLOW_2, "database"), (MLFLOW_3, "database"), (MLFLOW_2, "folder"), (MLFLOW_3, "folder")],
    ids=lambda param: f"{param[0][0]}-{param[1]}",
)
def seeded(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Seeded:
    (name, requirements, version), kind = request.param
    python = environment(name, requirements, python=version)
    folder = tmp_path_factory.mktemp("mlflow")
    uri = f"sqlite:///{folder}/mlflow.db" if kind == "database" else f"file://{folder}/mlruns"
    artifacts = str(folder / "artifacts") if kind == "database" else ""
    ids = run_seed(python, uri, artifacts, folder)
    return Seeded(uri, ids)


def run_seed(python: Path, uri: str, artifacts: str, folder: Path) -> dict[str, str]:
    script = shutil.copy(SEED, folder / "seed.py")
    done = subprocess.run(
        [python, script, uri, artifacts],
        cwd=folder,
        env={**os.environ, "MLFLOW_ALLOW_FILE_STORE": "true", "GIT_PYTHON_REFRESH": "quiet"},
        capture_output=True,
        text=True,
        timeout=240,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    found: dict[str, str] = json.loads(done.stdout.strip().splitlines()[-1])
    return found


def everything_arrived(store: SqlStore, ids: dict[str, str], destination: Path) -> None:
    iris = store.get_experiment_by_name("iris")
    assert iris is not None
    assert (iris.experiment_id, iris.tags) == (ids["iris"], (Tag("team", "ml"),))
    assert store.get_experiment(ids["gone"]).lifecycle_stage is LifecycleStage.DELETED
    assert store.get_run(ids["lost"]).info.lifecycle_stage is LifecycleStage.DELETED

    run = store.get_run(ids["run"])
    assert (run.info.run_name, run.info.user_id) == ("train", "ann") or run.tag("mlflow.user") == "ann"
    assert (run.info.status, run.info.end_time) == (RunStatus.FAILED, 99999)
    assert (run.param("depth"), run.param("model/alpha")) == ("3", "0.5")
    assert (run.tag("note"), run.tag("mlflow.note.content")) == ("\u00e9 'x'", "hello\nworld")
    assert store.metric_history(ids["run"], "loss").items == tuple(
        Metric("loss", 1.0 / (step + 1), 1000 + step, step) for step in range(30)
    )
    assert [str(point.value) for point in store.metric_history(ids["run"], "odd").items] == [
        "nan",
        "1.7976931348623157e+308",
    ]
    assert run.metric("a/b") == 2.5
    assert text(run.info.artifact_uri, "notes/a b.txt", destination) == "hello"
    assert text(run.info.artifact_uri, "empty.txt", destination) == ""

    child = store.get_run(ids["child"])
    assert child.info.lifecycle_stage is LifecycleStage.DELETED
    assert (child.tag("mlflow.parentRunId"), child.param("p")) == (ids["run"], "v")
    model_run = store.get_run(ids["model_run"])
    [given] = model_run.inputs.dataset_inputs
    assert (given.dataset.name, given.tags) == ("rows", (Tag("mlflow.data.context", "train"),))

    model = store.get_registered_model("echo")
    assert (model.description, model.tags) == ("says it again", (Tag("owner", "ann"),))
    assert store.get_model_version_by_alias("echo", "champion").version == 2
    first, second = (store.get_model_version("echo", number) for number in (1, 2))
    assert (first.current_stage, first.tags) == ("Archived", (Tag("v", "1"),))
    assert (second.current_stage, second.description) == ("Production", "two")
    with pytest.raises(ResourceDoesNotExist):
        store.get_model_version("echo", 3)
    source = store.get_model_version_download_uri("echo", 2)
    assert source.startswith("mlflow-artifacts:/")
    assert "flavors" in text(source, "MLmodel", destination)
    for output in model_run.outputs:
        logged = store.get_logged_model(output.model_id)
        assert logged.artifact_uri == source
        assert [(point.key, point.value) for point in logged.metrics] == [("accuracy", 0.9)]
    assert store.create_model_version("echo", "s3://bucket/new").version == 4
    assert store.get_registered_model("empty").latest_versions == ()


@pytest.mark.mlflow
def test_a_store_of_mlflows_arrives_whole(seeded: Seeded, store: SqlStore, tmp_path: Path) -> None:
    destination = tmp_path / "artifacts"
    report = bring(seeded.uri, store, destination)
    assert (report.found.experiments, report.found.runs, report.found.metric_points) == (3, 4, 34)
    assert (report.found.registered_models, report.found.model_versions, report.found.aliases) == (2, 3, 1)
    assert report.written.artifact_files == 7
    again = bring(seeded.uri, store, destination)
    assert (again.written.runs, again.written.registered_models, again.written.artifact_files) == (0, 0, 0)
    everything_arrived(store, seeded.ids, destination)


@pytest.mark.mlflow
@pytest.mark.database
def test_a_postgresql_database_of_mlflows_arrives_in_ours(postgresql: databases.PostgreSQL, tmp_path: Path) -> None:
    name, requirements, version = MLFLOW_3
    python = environment(name, requirements, python=version)
    there, here = postgresql.create(), postgresql.create()
    ids = run_seed(python, there, str(tmp_path / "there"), tmp_path)
    with SqlStore(here) as store:
        bring(there, store, tmp_path / "artifacts")
        assert bring(there, store, tmp_path / "artifacts").missing == []
        everything_arrived(store, ids, tmp_path / "artifacts")
        assert int(store.create_experiment("next")) > int(ids["gone"])
