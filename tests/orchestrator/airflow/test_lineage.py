"""What a task tells OpenLineage, gathered from the store."""

from __future__ import annotations

from mlgate.airflow.lineage import facts_of, without_password
from mlgate.settings import load_settings
from mlgate.tracking import open_tracking
from mlgate_tracking.entities import Dataset, DatasetInput, Tag


def test_a_run_its_data_and_its_model_versions_become_facets() -> None:
    with open_tracking(load_settings()) as tracking:
        store = tracking.store
        tags = {
            "mlgate.project.digest": "d1",
            "mlflow.source.git.commit": "c1",
            "mlflow.source.git.repoURL": "https://host/iris.git",
        }
        run = store.create_run("0", tags=[Tag(key, value) for key, value in tags.items()])
        data = Dataset(name="iris.csv", digest="abc", source_type="local", source="{}", schema=None, profile=None)
        store.log_inputs(run.info.run_id, datasets=[DatasetInput(data)])
        store.create_registered_model("iris")
        store.create_model_version("iris", f"{run.info.artifact_uri}/model", run_id=run.info.run_id)
        facts = facts_of(tracking, run.info.run_id, {"other": 4})
    assert facts["run"] == {
        "runId": run.info.run_id, "experimentId": "0", "projectDigest": "d1", "commit": "c1",
    }  # fmt: skip
    assert facts["code"] == {"repoUrl": "https://host/iris.git", "version": "c1"}
    assert [(one["name"], one["digest"]) for one in facts["inputs"]] == [("iris.csv", "abc")]
    assert facts["outputs"] == [{"name": "iris", "version": "1"}, {"name": "other", "version": "4"}]


def test_a_namespace_never_holds_a_password() -> None:
    assert without_password("postgresql://ada:secret@db:5432/mlgate") == "postgresql://db:5432/mlgate"
    assert without_password("https://tracking.example.org/") == "https://tracking.example.org"
