"""`mlgate gc` and `mlgate import mlflow`, as a user runs them."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from mlgate_tracking.artifacts import repository_for
from mlgate_tracking.store.sql import SqlStore
from tests.support.cli import mlgate


def test_gc_says_what_would_go_and_then_removes_it(tmp_path: Path) -> None:
    uri = f"sqlite:///{tmp_path}/store.db"
    with SqlStore(uri) as store:
        run = store.create_run("0")
        repository_for(run.info.artifact_uri, destination=str(tmp_path / "artifacts")).upload("a.txt", iter([b"x"]))
        store.delete_run(run.info.run_id)
    done = mlgate("gc", "--dry-run", "--tracking-uri", uri)
    assert done.stdout.splitlines()[1].split("\t") == ["goes", "run", run.info.run_id, ""]
    assert list((tmp_path / "artifacts").rglob("a.txt"))
    done = mlgate("gc", "--older-than", "30d", "--yes", "--json", "--tracking-uri", uri)
    assert json.loads(done.stdout) == {"removed": [], "kept": []}
    done = mlgate("gc", "--yes", "--json", "--tracking-uri", uri)
    assert [item["name"] for item in json.loads(done.stdout)["removed"]] == [run.info.run_id]
    assert not list((tmp_path / "artifacts").rglob("a.txt"))


@pytest.fixture
def deleted_run(tmp_path: Path) -> str:
    """A deleted run in `store.db`, with a file that a server has put into `elsewhere`."""
    with SqlStore(f"sqlite:///{tmp_path}/store.db") as store:
        run = store.create_run("0")
        repository_for(run.info.artifact_uri, destination=str(tmp_path / "elsewhere")).upload("a.txt", iter([b"x"]))
        store.delete_run(run.info.run_id)
        return run.info.run_id


def test_gc_does_not_leave_files_behind_that_lie_elsewhere(tmp_path: Path, deleted_run: str) -> None:
    uri = f"sqlite:///{tmp_path}/store.db"
    done = mlgate("gc", "--yes", "--tracking-uri", uri)
    assert done.returncode == 2
    assert done.stderr.startswith(f"error: there is no folder {tmp_path}/artifacts: say where the server")
    (tmp_path / "artifacts").mkdir()
    done = mlgate("gc", "--dry-run", "--tracking-uri", uri)
    assert done.stdout.splitlines()[1].split("\t") == ["goes", "run", deleted_run, "no files"]
    for variable in ("MLGATE_ARTIFACTS_DESTINATION", "MLFLOW_ARTIFACTS_DESTINATION", "MLGATE_ARTIFACTS"):
        done = mlgate("gc", "--dry-run", "--tracking-uri", uri, env={variable: str(tmp_path / "elsewhere")})
        assert done.stdout.splitlines()[1].split("\t") == ["goes", "run", deleted_run, ""]
    done = mlgate("gc", "--yes", "--tracking-uri", uri, "--artifacts-destination", tmp_path / "elsewhere")
    assert done.stdout.splitlines()[1].split("\t") == ["removed", "run", deleted_run, ""]
    assert not list((tmp_path / "elsewhere").rglob("a.txt"))


def test_gc_refuses_what_it_cannot_mean(tmp_path: Path, deleted_run: str) -> None:
    uri = f"sqlite:///{tmp_path}/store.db"
    done = mlgate("gc", "--json", "--tracking-uri", uri)
    assert (done.returncode, done.stderr) == (
        2,
        "error: --json asks nothing: add --yes to remove, or --dry-run to look\n",
    )
    done = mlgate("gc", "--experiment-id", "abc", "--yes", "--tracking-uri", uri)
    assert done.returncode == 2
    assert "Invalid value for '--experiment-id': 'abc' is not a valid integer." in done.stderr
    with SqlStore(uri) as store:
        assert store.get_run(deleted_run).info.run_id == deleted_run


def test_import_prints_what_it_found_and_brought(tmp_path: Path) -> None:
    run = tmp_path / "mlruns" / "5" / ("a" * 32)
    (run / "params").mkdir(parents=True)
    (run / "params" / "depth").write_text("3")
    (run / "meta.yaml").write_text("run_name: first\nstatus: 3\nstart_time: 1\nend_time: 2\n")
    (run.parent / "meta.yaml").write_text("name: by hand\n")
    uri = f"sqlite:///{tmp_path}/store.db"
    done = mlgate("import", "mlflow", tmp_path / "mlruns", "--tracking-uri", uri)
    assert done.returncode == 0, done.stderr
    table = [line.split("\t") for line in done.stdout.splitlines()]
    assert ["runs", "1", "1"] in table
    assert ["params", "1", "1"] in table
    assert ["artifact files", "0", "0"] in table
    done = mlgate("import", "mlflow", tmp_path / "mlruns", "--tracking-uri", uri, "--json")
    report = json.loads(done.stdout)
    assert (report["found"]["runs"], report["written"]["runs"]) == (1, 0)
    done = mlgate("import", "mlflow", tmp_path / "nothing", "--tracking-uri", uri)
    assert (done.returncode, done.stderr) == (2, f"error: there is no folder {tmp_path}/nothing\n")


def test_import_fails_when_something_is_missing(tmp_path: Path) -> None:
    run = tmp_path / "mlruns" / "5" / ("a" * 32)
    run.mkdir(parents=True)
    (run / "meta.yaml").write_text(f"status: 3\nartifact_uri: {tmp_path}/disk/5/{run.name}/artifacts\n")
    (run.parent / "meta.yaml").write_text("name: by hand\n")
    for options in ([], ["--dry-run"]):
        done = mlgate("import", "mlflow", tmp_path / "mlruns", "--tracking-uri", f"sqlite:///{tmp_path}/s.db", *options)
        assert done.returncode == 1
        assert done.stderr == f"not brought over: files of 1 runs: there is no folder {tmp_path}/disk/5\n"
