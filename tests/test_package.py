"""The wheel: three packages, typed, and nothing else at the top."""

from __future__ import annotations

import subprocess
import sys
import tomllib
import zipfile
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
PACKAGES = {"mlgate", "mlgate_projects", "mlgate_tracking"}


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> zipfile.ZipFile:
    target = tmp_path_factory.mktemp("wheel")
    subprocess.run(
        [sys.executable, "-m", "build", "--wheel", "--installer", "uv", "--outdir", str(target), str(ROOT)],
        check=True,
        capture_output=True,
    )
    [file] = target.glob("*.whl")
    return zipfile.ZipFile(file)


@pytest.mark.slow
def test_the_wheel_holds_three_typed_packages_and_nothing_else(wheel: zipfile.ZipFile) -> None:
    names = wheel.namelist()
    tops = {name.split("/")[0] for name in names}
    assert {top for top in tops if not top.endswith(".dist-info")} == PACKAGES
    for package in PACKAGES:
        assert f"{package}/py.typed" in names


@pytest.mark.slow
def test_the_wheel_holds_every_file_of_the_packages(wheel: zipfile.ZipFile) -> None:
    packed = {name for name in wheel.namelist() if name.split("/")[0] in PACKAGES}
    tracked = subprocess.run(
        ["git", "-C", str(ROOT), "ls-files", "projects", "tracking", "orchestrator"],
        capture_output=True,
        text=True,
        check=True,
    ).stdout.split()
    assert packed == {name.split("/", 1)[1] for name in tracked if (ROOT / name).exists()}


def test_the_commands_are_declared() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    assert set(project["scripts"]) == {"mlgate", "run-project"}


def test_importing_mlgate_loads_nothing_heavy() -> None:
    code = (
        "import sys, mlgate, mlgate_projects, mlgate_tracking, mlgate_tracking.client;"
        "print([name for name in ('sqlalchemy', 'starlette', 'uvicorn', 'rich', 'click', 'yaml', 'alembic', 'msgspec',"
        " 'virtualenv', 'docker', 'boto3', 'airflow', 'prefect') if name in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
