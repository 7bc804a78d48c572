"""mlgate on a real Prefect server: a pipeline as a flow, tasks by hand, retries, artifacts; and the same local run."""

from __future__ import annotations

import json
import os
import subprocess
from pathlib import Path
from typing import Any

import pytest

from mlgate_projects.testing import project_dir
from tests.support.cli import connected, run_json
from tests.support.environments import ROOT, environment
from tests.support.toys import TOY, shape

pytestmark = [pytest.mark.prefect, pytest.mark.slow]

HERE = Path(__file__).parent


@pytest.fixture(scope="session")
def python() -> Path:
    return environment("prefect", ["prefect>=3.7,<4", "--editable", str(ROOT)])


def run_script(python: Path, name: str, *args: str | Path, env: dict[str, str] | None = None) -> dict[str, Any]:
    done = subprocess.run(
        [str(python), str(HERE / "scripts" / name), *map(str, args)],
        env={**os.environ, **(env or {})},
        capture_output=True,
        text=True,
        timeout=280,
        check=False,
    )
    assert done.returncode == 0, done.stdout[-3000:] + done.stderr[-3000:]
    seen = json.loads(done.stdout.strip().splitlines()[-1])
    assert isinstance(seen, dict)
    return seen


def test_a_pipeline_is_the_same_under_prefect_as_under_the_local_runner(python: Path, tmp_path: Path) -> None:
    project = project_dir(tmp_path / "toy", TOY)
    seen = run_script(python, "run.py", project, env={"PREFECT_HOME": str(tmp_path / "prefect")})

    assert seen["pipeline"]["status"] == "FINISHED"
    assert seen["pipeline"]["steps"]["promote"]["outcome"] == "promoted"
    names = [name for name, _, _ in seen["tasks"]]
    assert {"prepare", "train[0]", "train[1]", "train[2]", "flaky", "promote"} <= set(names)
    assert ["flaky", "Completed", 2] in seen["tasks"]

    assert seen["better"]["promoted"]["outcome"] == "promoted"
    assert seen["worse"]["promoted"]["outcome"] == "rejected"
    assert seen["back"]["version"] == 1
    assert seen["broken"][0] == "Failed"
    assert "FAILED" in seen["broken"][1]
    assert ["fails", "Failed", 1] in seen["tasks"]
    assert seen["artifacts"] == ["mlgate-run-fails", "mlgate-run-train", "mlgate-verdict-toy"]
    with connected() as store:
        assert store.get_model_version_by_alias("toy", "champion").version == 1

    under_prefect = shape(seen["pipeline"]["run_id"])
    os.environ["MLGATE_HOME"] = str(tmp_path / "local-home")  # the fixture puts it back
    local = run_json(project, "--pipeline", "retrain", "--env-manager", "system", "--experiment-name", "toys")
    assert local["status"] == "FINISHED"
    assert shape(local["run_id"]) == under_prefect
    assert len(under_prefect) == 7


def test_every_example_flow_loads_without_network_and_without_airflow(python: Path, tmp_path: Path) -> None:
    seen = run_script(python, "load.py", ROOT / "flows", env={"PREFECT_HOME": str(tmp_path / "prefect")})
    assert seen["flows"] == {
        "scheduled_retraining": ["scheduled-retraining"],
        "score_on_promotion": ["score-on-promotion"],
        "sweep": ["sweep"],
    }
    assert seen["airflow"] is False
