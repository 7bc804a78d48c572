"""Promote and gate steps: the registry, the verdicts and the tree of runs after whole pipelines."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from mlgate.settings import load_settings
from mlgate_projects.testing import project_dir
from mlgate_tracking.client import connect
from mlgate_tracking.contract import Store
from tests.support.cli import get_run, run_json

pytestmark = pytest.mark.slow

PROJECT = {
    "MLproject": """\
        name: promoted
        entry_points:
          train: {parameters: {accuracy: float}, command: "python train.py {accuracy}"}
          show: {parameters: {text: string}, command: "echo {text}"}
        pipelines:
          release:
            parameters: {accuracy: {type: float, default: 0.9}, on_reject: {type: string, default: skip}}
            defaults: {environment: system}
            steps:
              train: {entry_point: train, parameters: {accuracy: "${{ params.accuracy }}"}}
              check:
                gate:
                  model: wine
                  source: "${{ steps.train.artifacts }}/model"
                  to: {alias: champion}
                  policy: policy.yaml
              promote:
                needs: check
                promote:
                  model: wine
                  version: "${{ steps.check.model_version }}"
                  to: {alias: champion, stage: Production}
                  gates: [{metric: {name: accuracy, min: 0.8}}, {champion: {metric: accuracy, min_change: 0.0}}]
                  on_reject: "${{ params.on_reject }}"
              tell:
                entry_point: show
                parameters: {text: "v${{ steps.promote.model_version }} ${{ steps.promote.outputs.outcome }}"}
          approved:
            steps:
              train: {entry_point: train, parameters: {accuracy: 0.9}, environment: system}
              promote:
                promote:
                  model: wine
                  source: "${{ steps.train.artifacts }}/model"
                  to: {alias: champion}
                  gates: [{approval: {role: ml_engineer, four_eyes: false}}]
              tell:
                needs: [promote]
                entry_point: show
                parameters: {text: done}
        """,
    "policy.yaml": "gates: [{metric: {name: accuracy, min: 0.5}}]\n",
    "train.py": """\
        import json, os, sys, urllib.request

        run, experiment = os.environ["MLFLOW_RUN_ID"], os.environ["MLFLOW_EXPERIMENT_ID"]
        server = os.environ["MLFLOW_TRACKING_URI"] + "/api/2.0/mlflow-artifacts/artifacts"
        headers = {"Authorization": "Bearer " + os.environ["MLFLOW_TRACKING_TOKEN"]}
        url = f"{server}/{experiment}/{run}/artifacts/model/MLmodel"
        urllib.request.urlopen(urllib.request.Request(url, data=b"flavors: {}\\n", method="PUT", headers=headers))
        with open(os.environ["MLGATE_OUTPUTS"], "a") as outputs:
            print(json.dumps({"accuracy": float(sys.argv[1])}), file=outputs)
        """,
}


@pytest.fixture
def project(tmp_path: Path) -> Path:
    return project_dir(tmp_path / "p", PROJECT)


@pytest.fixture
def store() -> Iterator[Store]:
    with connect(load_settings().tracking_uri) as opened:
        yield opened


def release(project: Path, *args: str) -> dict[str, Any]:
    return run_json(project, "--pipeline", "release", *args)


def outcomes(result: dict[str, Any]) -> dict[str, str]:
    return {name: state["outcome"] for name, state in result["steps"].items()}


def test_a_version_that_passes_becomes_champion_and_a_worse_one_does_not(project: Path, store: Store) -> None:
    first = release(project)
    assert outcomes(first) == {"train": "ran", "check": "passed", "promote": "promoted", "tell": "ran"}
    champion = store.get_model_version_by_alias("wine", "champion")
    assert (champion.version, champion.current_stage) == (1, "Production")
    assert champion.run_id == first["steps"]["train"]["results"][0]["run_id"]
    promoted = first["steps"]["promote"]["results"][0]
    assert promoted["model_version"] == 1
    tags = {tag.key: tag.value for tag in get_run(promoted["run_id"]).data.tags}
    assert tags["mlgate.promotion_id"] == promoted["outputs"]["promotion_id"]
    assert tags["mlflow.parentRunId"] == first["run_id"]

    worse = release(project, "-P", "accuracy=0.85")
    assert worse["status"] == "FINISHED"
    assert outcomes(worse) == {"train": "ran", "check": "passed", "promote": "rejected", "tell": "skipped"}
    assert "accuracy" in worse["steps"]["promote"]["reason"]
    assert store.get_model_version_by_alias("wine", "champion").version == 1

    failed = release(project, "-P", "accuracy=0.85", "-P", "on_reject=fail")
    assert (failed["status"], outcomes(failed)["promote"]) == ("FAILED", "failed")

    refused = release(project, "-P", "accuracy=0.3")
    assert outcomes(refused) == {"train": "ran", "check": "rejected", "promote": "skipped", "tell": "skipped"}


def test_a_resumed_run_promotes_once_somebody_has_approved(project: Path, store: Store) -> None:
    waiting = run_json(project, "--pipeline", "approved")
    assert outcomes(waiting) == {"train": "ran", "promote": "pending", "tell": "skipped"}
    assert "waiting for approval by ml_engineer" in waiting["steps"]["promote"]["reason"]
    [approval] = store.search_approvals(model="wine").items
    store.grant_role("ml_engineer", "alice")
    store.decide_approval(approval.approval_id, user="alice", approved=True)
    resumed = run_json(project, "--pipeline", "approved", "--resume", waiting["run_id"])
    # What was skipped because of the promotion runs now that there is one.
    assert outcomes(resumed) == {"train": "reused", "promote": "promoted", "tell": "ran"}
    assert store.get_model_version_by_alias("wine", "champion").version == 1
    assert len(store.search_model_versions(filter_string="name = 'wine'").items) == 1
