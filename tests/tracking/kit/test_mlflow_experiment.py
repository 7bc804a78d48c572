"""`mlflow.set_experiment` in a step moves the step's run along, whatever else the script does."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest

from tests.tracking.kit.conftest import RunScript

RUN = "a" * 32


class Recorder(ThreadingHTTPServer):
    """Answers the one route that the hook calls, and keeps what it was asked."""

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.moves: list[dict[str, Any]] = []
        self.can_move = True

    @property
    def uri(self) -> str:
        return f"http://127.0.0.1:{self.server_address[1]}"


class _Handler(BaseHTTPRequestHandler):
    server: Recorder

    def _answer(self, status: int, body: dict[str, Any]) -> None:
        raw = json.dumps(body).encode()
        self.send_response(status)
        self.send_header("Content-Length", str(len(raw)))
        self.end_headers()
        self.wfile.write(raw)

    def do_POST(self) -> None:
        body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        if self.path != "/api/3.0/mlgate/step-runs/move" or not self.server.can_move:
            return self._answer(404, {"error_code": "ENDPOINT_NOT_FOUND", "message": self.path})
        self.server.moves.append({**body, "authorization": self.headers["Authorization"]})
        return self._answer(200, {})

    def do_GET(self) -> None:
        self._answer(200, {"run": {"info": {"run_id": RUN, "experiment_id": "1"}}})

    def log_message(self, *_: Any) -> None:
        pass


@pytest.fixture
def recorder() -> Iterator[Recorder]:
    with Recorder() as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        yield server
        server.shutdown()
        thread.join()


@pytest.fixture
def mlflow_like(tmp_path: Path) -> Path:
    """A package with MLflow's names and its rules about MLFLOW_RUN_ID; the real one is used in `test_mlflow_client`."""
    package = tmp_path / "site" / "mlflow" / "tracking"
    package.mkdir(parents=True)
    (package / "__init__.py").write_text("")
    (package.parent / "__init__.py").write_text(
        "import os\nfrom mlflow.tracking.fluent import set_experiment, start_run\n"
        "uri = None\ndef set_tracking_uri(u):\n    global uri\n    uri = u\n"
        "def get_tracking_uri():\n    return uri or os.environ['MLFLOW_TRACKING_URI']\n"
    )
    (package / "fluent.py").write_text(
        "import os, types\n"
        "def set_experiment(experiment_name=None, experiment_id=None):\n"
        "    return types.SimpleNamespace(experiment_id=experiment_id or '7')\n"
        "def start_run(nested=False):\n"
        "    return os.environ.pop('MLFLOW_RUN_ID', 'new')\n"
    )
    return tmp_path / "site"


def step_env(recorder: Recorder) -> dict[str, str]:
    return {
        "MLGATE_RUN_ID": RUN,
        "MLFLOW_RUN_ID": RUN,
        "MLFLOW_EXPERIMENT_ID": "1",
        "MLFLOW_TRACKING_URI": recorder.uri,
        "MLFLOW_TRACKING_TOKEN": "s3cret",
    }


def run(run_script: RunScript, source: str, recorder: Recorder, site: Path) -> str:
    child = run_script("import os, mlflow\n" + source, env=step_env(recorder), path=(site,))
    assert (child.exit_code, child.stderr) == (0, "")
    return child.stdout.strip()


def test_the_run_is_moved_and_then_resumed(run_script: RunScript, recorder: Recorder, mlflow_like: Path) -> None:
    said = run(run_script, "mlflow.set_experiment('x'); print(mlflow.start_run())", recorder, mlflow_like)
    assert said == RUN
    assert recorder.moves == [{"run_id": RUN, "experiment_id": "7", "authorization": "Bearer s3cret"}]


def test_the_last_experiment_set_before_the_run_starts_wins(
    run_script: RunScript, recorder: Recorder, mlflow_like: Path
) -> None:
    run(run_script, "mlflow.set_experiment('x'); mlflow.set_experiment(experiment_id='8')", recorder, mlflow_like)
    assert [move["experiment_id"] for move in recorder.moves] == ["7", "8"]


def test_a_run_that_was_resumed_stays_where_it_is(run_script: RunScript, recorder: Recorder, mlflow_like: Path) -> None:
    source = "print(mlflow.start_run()); mlflow.set_experiment('x'); print(mlflow.start_run())"
    assert run(run_script, source, recorder, mlflow_like).split() == [RUN, "new"]
    assert recorder.moves == []


def test_a_script_that_logs_to_another_server_starts_runs_of_its_own_there(
    run_script: RunScript, recorder: Recorder, mlflow_like: Path
) -> None:
    source = "mlflow.set_tracking_uri('http://elsewhere'); print(mlflow.start_run())"
    assert run(run_script, source, recorder, mlflow_like) == "new"
    source = "mlflow.set_tracking_uri('sqlite:///x.db'); mlflow.set_experiment('x'); print(mlflow.start_run())"
    assert run(run_script, source, recorder, mlflow_like) == "new"
    assert recorder.moves == []


def test_a_server_that_cannot_move_runs_gives_the_script_a_run_of_its_own(
    run_script: RunScript, recorder: Recorder, mlflow_like: Path
) -> None:
    recorder.can_move = False
    assert run(run_script, "mlflow.set_experiment('x'); print(mlflow.start_run())", recorder, mlflow_like) == "new"
    same = "mlflow.set_experiment(experiment_id='1'); print(mlflow.start_run())"
    assert run(run_script, same, recorder, mlflow_like) == RUN


def test_a_server_that_is_away_changes_nothing(run_script: RunScript, recorder: Recorder, mlflow_like: Path) -> None:
    env = {**step_env(recorder), "MLFLOW_TRACKING_URI": "http://127.0.0.1:9"}
    child = run_script(
        "import mlflow; mlflow.set_experiment('x'); print(mlflow.start_run())", env=env, path=(mlflow_like,)
    )
    assert (child.exit_code, child.stdout, child.stderr) == (0, RUN + "\n", "")


def test_the_wrapped_functions_look_like_mlflows(run_script: RunScript, recorder: Recorder, mlflow_like: Path) -> None:
    source = """
from inspect import signature
print(signature(mlflow.set_experiment), type(mlflow.tracking.fluent.__loader__).__name__)"""
    said = run(run_script, source, recorder, mlflow_like)
    assert said == "(experiment_name=None, experiment_id=None) SourceFileLoader"
