"""The real `mlflow` clients, the newest and 2.8.0, against the real server: nothing of theirs is changed."""

from __future__ import annotations

import json
import os
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from mlgate_projects.testing import project_dir
from mlgate_tracking.client import RestStore
from mlgate_tracking.entities import Fence
from mlgate_tracking.server.embedded import EmbeddedServer
from mlgate_tracking.server.settings import ServerSettings
from mlgate_tracking.store.sql import SqlStore
from tests.support.environments import environment
from tests.support.servers import ServerProcess, mlgate_server

pytestmark = pytest.mark.mlflow

SCRIPTS = Path(__file__).parents[1] / "samples" / "mlflow_clients"
CLIENTS = {
    "newest": (["mlflow>=3,<4", "scikit-learn"], "3.11"),
    "2.8.0": (["mlflow==2.8.0", "scikit-learn<1.4", "numpy<2", "pandas<2.1", "setuptools<81"], "3.10"),
}


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ServerProcess]:
    with mlgate_server(tmp_path_factory.mktemp("server")) as running:
        yield running


def python_of(client: str) -> Path:
    requirements, version = CLIENTS[client]
    return environment(f"mlflow-{client}", requirements, python=version)


def run_script(client: str, script: str, uri: str, **variables: str) -> dict[str, Any]:
    """Run a script with a client; what it printed last is JSON."""
    outcome = subprocess.run(
        [python_of(client), "-W", "ignore", SCRIPTS / script],
        capture_output=True,
        text=True,
        timeout=280,
        check=False,
        env={
            **{key: value for key, value in os.environ.items() if key not in ("PYTHONPATH", "VIRTUAL_ENV")},
            "MLFLOW_TRACKING_URI": uri,
            "MLFLOW_HTTP_REQUEST_MAX_RETRIES": "1",
            "MLFLOW_DISABLE_TELEMETRY": "true",
            "DO_NOT_TRACK": "true",
            "GIT_PYTHON_REFRESH": "quiet",
            **variables,
        },
    )
    assert outcome.returncode == 0, outcome.stderr[-4000:]
    seen = json.loads(outcome.stdout.strip().splitlines()[-1])
    assert isinstance(seen, dict)
    return seen


@pytest.mark.parametrize("client", CLIENTS)
def test_experiments_runs_artifacts_and_searches(client, server):
    seen = run_script(client, "tracking.py", server.uri)
    both, parent, child = ["child", "parent"], ["parent"], ["child"]
    traces = {
        "all": ["ERROR", "OK"],
        "spans": ["inner", "outer"],
        "spans in the store": ["ENDPOINT_NOT_FOUND", "ENDPOINT_NOT_FOUND"],
        "tagged": 1,
        "deleted": 1,
        "left": 1,
    }
    version = seen.pop("version")
    assert seen == {
        "taken": "RESOURCE_ALREADY_EXISTS",
        "params": {"depth": "3", "solver": "lbfgs", "empty": "", "long": "x" * 500},
        "metrics": {"loss": "0.2", "nan": "nan", "inf": "1.7976931348623157e+308", "train/acc": "0.5"},
        "tags": {"team": "a", "k": "v", "a b/c": "1"},
        "status": "FINISHED",
        "parent": True,
        "history": [[step, 1 / (step + 1)] for step in range(5)],
        "artifacts": ["data.json", "empty.txt", "files", "notes"],
        "sizes": [["files/big.bin", 2_560_000]],
        "downloaded": 2_560_000,
        "text": "été",
        "changed param": "INVALID_PARAMETER_VALUE",
        "searches": {
            "metrics.loss < 0.2": child,
            "metrics.loss <= 0.2": both,
            "metrics.loss > 0.15": parent,
            "metrics.loss >= 0.2": parent,
            "metrics.loss = 0.1": child,
            "metrics.loss != 0.1": parent,
            "params.depth = '3'": parent,
            "params.depth != '3'": child,
            "params.solver LIKE 'lb%'": parent,
            "params.solver ILIKE 'LB%'": parent,
            "tags.team = 'a'": parent,
            "tags.`a b/c` = '1'": parent,
            "attributes.status = 'FINISHED'": both,
            "run_name LIKE 'par%'": parent,
            next(text for text in seen["searches"] if text.startswith("run_id IN")): parent,
            next(text for text in seen["searches"] if text.startswith("run_id NOT IN")): child,
            "start_time > 0": both,
            "params.depth = '3' and tags.k = 'v' and metrics.loss < 1": parent,
        },
        "ordered": [["child", "parent"], ["parent", "child"]],
        "pages": [1, 1],
        "experiments": [f"tracking-{version}"],
        "updated": ["renamed", "FAILED", False],
        "deleted": "deleted",
        "write to deleted": "INVALID_PARAMETER_VALUE",
        "deleted experiment": ["deleted", []],
        "restored": ["me", 2],
        **({"traces": traces} if version.startswith("3.") else {}),
    }


@pytest.mark.parametrize("client", CLIENTS)
def test_models_registry_and_evaluation(client, server):
    seen = run_script(client, "models.py", server.uri)
    version = seen.pop("version")
    logged = {"logged model": ["model", "READY", ["accuracy"]], "logged models": [True]}
    assert seen == {
        "autolog": ["0.5", True],
        "datasets": ["dataset"],
        "versions": [1, 2],
        "source run": True,
        "stages": ["Archived", "Production"],
        "latest": [["Archived", "1"], ["Production", "2"]],
        "loaded": [True] * (6 if version.startswith("3.") else 5),
        "files": True,
        "alias": "1",
        "moved alias": "2",
        "no alias": "INVALID_PARAMETER_VALUE",
        "described": ["the first", {"checked": "yes"}, "flowers"],
        "found": [f"iris-{version}"],
        "after rename": "2",
        "evaluated": [0.97, True],
        **(logged if version.startswith("3.") else {}),
        "left": [2],
        "gone": "RESOURCE_DOES_NOT_EXIST",
    }


def test_the_flow_of_the_usual_tutorial(tmp_path):
    with mlgate_server(tmp_path) as own:
        seen = run_script("2.8.0", "tutorial.py", own.uri)
    assert seen == {
        "best": True,
        "search": ["20"],
        "by hand": ["1", "the best"],
        "production": ["2"],
        "stages": ["Archived", "Production"],
        "same": True,
    }


@pytest.mark.parametrize("client", CLIENTS)
def test_a_step_logs_into_its_own_run_with_its_token(client, tmp_path):
    script = tmp_path / "step.py"
    script.write_text(
        "import json, mlflow\n"
        "with mlflow.start_run() as run:\n"
        "    mlflow.log_metric('m', 1)\n"
        "    mlflow.log_text('x', 'x.txt')\n"
        "    with mlflow.start_run(nested=True): mlflow.log_param('p', 1)\n"
        "print(json.dumps({'run_id': run.info.run_id}))\n"
    )
    uri = f"sqlite:///{tmp_path / 'mlgate.db'}"
    settings = ServerSettings(artifacts_destination=str(tmp_path / "artifacts"))
    with SqlStore(uri) as store, EmbeddedServer(lambda: SqlStore(uri), settings) as embedded:
        opened = store.open_step_run("key", experiment_id="0")
        run_id = opened.run.info.run_id
        token = embedded.mint_token(Fence(run_id, opened.attempt))
        seen = run_script(
            client,
            str(script),
            embedded.uri,
            MLFLOW_TRACKING_TOKEN=token,
            MLFLOW_RUN_ID=run_id,
            MLFLOW_EXPERIMENT_ID="0",
        )
        assert seen == {"run_id": run_id}
        run = store.get_run(run_id)
        assert run.metric("m") == 1
        children = store.search_runs(["0"], filter_string=f"tags.mlflow.parentRunId = '{run_id}'")
        assert [child.param("p") for child in children.items] == ["1"]
        assert (tmp_path / "artifacts" / "0" / run_id / "artifacts" / "x.txt").read_text() == "x"


@pytest.mark.parametrize("client", CLIENTS)
def test_mlflow_run_takes_a_file_with_pipelines(client, server, tmp_path):
    """One MLproject serves both commands; what mlgate alone knows is in the way of neither."""
    text = """
        name: both
        entry_points:
          main: {parameters: {word: {type: string, default: x}}, command: "echo {word} > said.txt"}
        pipelines:
          all:
            steps:
              first: {parameters: {word: one}, cache: true}
              second: {needs: first, parameters: {word: "${{ steps.first.run_id }}"}}
            finally:
              last: {parameters: {word: "${{ run.status }}"}}
        """
    project = project_dir(tmp_path / "both", {"MLproject": text})
    python = python_of(client)
    env = {key: value for key, value in os.environ.items() if key not in ("PYTHONPATH", "VIRTUAL_ENV")}
    env |= {"MLFLOW_TRACKING_URI": server.uri, "GIT_PYTHON_REFRESH": "quiet", "MLFLOW_DISABLE_TELEMETRY": "true"}
    argv = [python, "-m", "mlflow", "run", project, "--env-manager", "local", "-P", "word=hello"]
    done = subprocess.run(argv, env=env, cwd=tmp_path, capture_output=True, text=True, timeout=280, check=False)
    assert done.returncode == 0, done.stderr[-4000:]
    assert (project / "said.txt").read_text() == "hello\n"
    with RestStore(server.uri) as store:
        run = store.search_runs(["0"], filter_string=f"tags.mlflow.source.name = '{project}'").items[0]
    assert (run.info.status, run.param("word")) == ("FINISHED", "hello")


def test_both_clients_and_ours_see_the_same_run(server):
    with RestStore(server.uri) as store:
        run = store.create_run("0", run_name="ours")
    code = "import json, mlflow, sys; run = mlflow.get_run(sys.argv[1]); print(json.dumps(run.info.run_name))"
    for client in CLIENTS:
        outcome = subprocess.run(
            [python_of(client), "-W", "ignore", "-c", code, run.info.run_id],
            capture_output=True,
            text=True,
            timeout=120,
            check=True,
            env={**os.environ, "MLFLOW_TRACKING_URI": server.uri},
        )
        assert json.loads(outcome.stdout.splitlines()[-1]) == "ours"
