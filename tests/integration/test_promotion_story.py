"""The whole story on real data: train, gate, approve, promote, reject a worse model, promote a better one, roll back.

The models are trained by the iris example in its own environment; the registry is looked at, and used in MLflow's own
way beside, by an unmodified mlflow client.
"""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest

from mlgate_tracking.client import connect
from mlgate_tracking.governance import PromotionKind, broken_link
from tests.integration.test_mlflow_clients import run_script
from tests.support.cli import mlgate, run_json
from tests.support.environments import ROOT
from tests.support.servers import ServerProcess, mlgate_server

pytestmark = [pytest.mark.mlflow, pytest.mark.venv, pytest.mark.slow, pytest.mark.timeout(900)]

MODEL = "iris_classifier"
POLICY = """\
name: iris-champion
to: {alias: champion, stage: Production}
gates:
  - metric: {name: accuracy, min: 0.5}
  - champion: {metric: accuracy, min_change: 0.001}
  - signature
  - size: {max: 20MB}
  - approval: {role: ml_engineer, expires: 24h}
"""
# Single trees that are told apart by their accuracy: fair, worse, better.
MODELS = tuple({"max_depth": str(depth), "n_estimators": "1"} for depth in (2, 1, 5))


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ServerProcess]:
    with mlgate_server(tmp_path_factory.mktemp("server")) as running:
        yield running


def client(what: str, uri: str, **arguments: Any) -> dict[str, Any]:
    return run_script("newest", "promotion_story.py", uri, STORY=what, ARGUMENTS=json.dumps(arguments))


def test_the_story_of_a_champion(server: ServerProcess, tmp_path: Path) -> None:
    env = {"MLGATE_TRACKING_URI": server.uri, "USER": "bob", "LOGNAME": "bob"}
    project = tmp_path / "iris"
    shutil.copytree(ROOT / "examples" / "iris", project, ignore=shutil.ignore_patterns("processed", "__pycache__"))
    policy = tmp_path / "policy.yaml"
    policy.write_text(POLICY)

    def promote(version: int, user: str = "bob") -> tuple[int, dict[str, Any]]:
        done = mlgate(
            "promote", MODEL, str(version), "--policy", policy, "--user", user, "--json", cwd=tmp_path, env=env
        )
        assert done.stdout, done.stderr
        return done.returncode, json.loads(done.stdout)

    def approve(result: Mapping[str, Any], user: str) -> int:
        (asked,) = [one for one in result["approvals"] if one["status"] == "pending"]
        return mlgate("approvals", "approve", asked["approval_id"], "--user", user, env=env).returncode

    prepared = run_json(project, "-e", "data_preparation", cwd=tmp_path, env=env)
    assert prepared["status"] == "FINISHED", prepared
    runs = [run_json(project, *_parameters(one), cwd=tmp_path, env=env) for one in MODELS]
    assert [run["status"] for run in runs] == ["FINISHED"] * 3, runs
    registered = client("register", server.uri, runs=[run["run_id"] for run in runs])
    fair, worse, better = registered["accuracies"]
    assert worse < fair < better
    assert registered["versions"] == [1, 2, 3]

    # Gated, approved by somebody else than the starter, promoted.
    code, waiting = promote(1)
    assert (code, waiting["outcome"]) == (3, "pending")
    for user in ("alice", "bob"):
        mlgate("approvals", "grant", "ml_engineer", user, env=env)
    assert waiting["approvals"][0]["starter"] not in ("", "alice")
    assert approve(waiting, "alice") == 0
    assert promote(1)[1]["outcome"] == "promoted"
    assert client("look", server.uri)["champion"] == 1

    # Worse is rejected without asking anybody; better is promoted and the old champion archived.
    code, rejected = promote(2)
    assert (code, rejected["outcome"], rejected["approvals"]) == (1, "rejected", [])
    code, waiting = promote(3)
    assert approve(waiting, "alice") == 0
    assert promote(3)[0] == 0
    seen = client("look", server.uri)
    assert seen["champion"] == 3
    assert seen["stages"] == {"1": "Archived", "2": "None", "3": "Production"}
    assert len(seen["features"]) == 4

    # Rolled back; then an MLflow pipeline moves stages by itself, until the model is protected.
    assert mlgate("rollback", MODEL, "--user", "alice", "--reason", "alarms", env=env).returncode == 0
    assert client("look", server.uri)["stages"] == {"1": "Production", "2": "None", "3": "Archived"}
    moved = client("stages", server.uri, moves=[[2, "Staging"], [2, "Production"], [3, "Production"]])
    assert moved["moved"] == [True, False, True]
    assert moved["stages"] == {"1": "Archived", "2": "Staging", "3": "Production"}
    mlgate("models", "protect", MODEL, "--policy", policy, env=env)
    protected = client("protected", server.uri)
    assert protected["transition"] == ["PERMISSION_DENIED", True]
    assert protected["alias"] == ["PERMISSION_DENIED", True]

    with connect(server.uri) as store:
        kinds = [one.kind for one in store.search_promotions(MODEL).items]
        assert kinds == [PromotionKind.UNGUARDED] * 2 + [PromotionKind.ROLLBACK] + [PromotionKind.PROMOTION] * 2
        assert len([one for one in store.events(model=MODEL) if one.type.startswith("model_version.")]) == 3
        assert broken_link(store.audit_log()) is None
    origin = json.loads(mlgate("lineage", f"{MODEL}/3", "--json", env=env).stdout)
    assert origin["run_id"]
    assert origin["environment_lock"]


def _parameters(values: Mapping[str, str]) -> list[str]:
    return [word for name, value in values.items() for word in ("-P", f"{name}={value}")]
