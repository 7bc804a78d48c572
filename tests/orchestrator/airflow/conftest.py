"""A real Airflow in an environment of its own, with a database of its own."""

from __future__ import annotations

import json
import os
import subprocess
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from tests.support.environments import ROOT, environment

AIRFLOW = "apache-airflow[postgres]==3.3.*"
HERE = Path(__file__).parent


@dataclass(frozen=True)
class Airflow:
    """`run` executes a script of `scripts/` in Airflow's interpreter and reads the JSON on its last line."""

    python: Path
    home: Path

    def environ(self, env: Mapping[str, str] | None = None) -> dict[str, str]:
        return {
            **{name: value for name, value in os.environ.items() if not name.startswith("AIRFLOW")},
            "AIRFLOW_HOME": str(self.home),
            "AIRFLOW__CORE__DAGS_FOLDER": str(HERE / "dags"),
            "AIRFLOW__CORE__LOAD_EXAMPLES": "False",
            "AIRFLOW__CORE__DAGS_ARE_PAUSED_AT_CREATION": "False",  # a watcher of a paused DAG does not watch
            "AIRFLOW__CORE__UNIT_TEST_MODE": "False",
            **(env or {}),
        }

    def run(self, script: str, *args: str | Path, env: Mapping[str, str] | None = None) -> Any:
        done = subprocess.run(
            [str(self.python), str(HERE / "scripts" / script), *map(str, args)],
            env=self.environ(env),
            capture_output=True,
            text=True,
            timeout=250,
            check=False,
        )
        assert done.returncode == 0, done.stdout[-3000:] + done.stderr[-3000:]
        return json.loads(done.stdout.strip().splitlines()[-1])


@pytest.fixture(scope="session")
def airflow(tmp_path_factory: pytest.TempPathFactory) -> Airflow:
    python = environment("airflow", [AIRFLOW, "--editable", f"{ROOT}[docker]"])
    made = Airflow(python, tmp_path_factory.mktemp("airflow"))
    subprocess.run(
        [str(python), "-m", "airflow", "db", "migrate"],
        env=made.environ(),
        check=True,
        capture_output=True,
        timeout=250,
    )
    return made
