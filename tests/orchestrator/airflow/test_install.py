"""The wheel next to Airflow, as a user installs it: with Airflow's pins it changes nothing that is there."""

from __future__ import annotations

import hashlib
import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.orchestrator.airflow.conftest import AIRFLOW
from tests.support.environments import ROOT, interpreter

pytestmark = [pytest.mark.airflow, pytest.mark.slow, pytest.mark.timeout(600)]

# Not s3: boto3 sets bounds of its own (on python-dateutil) that Airflow without its Amazon provider does not keep.
NEXT_TO_IT = "[docker,conda,postgres]"
IMPORTS = """
import importlib, importlib.util, pkgutil
import mlgate.airflow as ours

assert importlib.util.find_spec("prefect") is None
for module in pkgutil.iter_modules(ours.__path__, "mlgate.airflow."):
    importlib.import_module(module.name)
names = {name: getattr(ours, name) for name in ours.__all__}
print(*sorted(names))
"""


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    target = tmp_path_factory.mktemp("wheel")
    _call(sys.executable, "-m", "build", "--wheel", "--installer", "uv", "--outdir", target, ROOT)
    [file] = target.glob("*.whl")
    return file


@pytest.fixture(scope="module")
def alone(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The directory of an environment that holds Airflow and what it needs."""
    target = tmp_path_factory.mktemp("airflow-alone") / "env"
    _uv("venv", "-p", interpreter("3.11"), target)
    _uv("pip", "install", "-p", target, AIRFLOW)
    return target


def test_the_wheel_changes_no_package_of_airflow_and_overwrites_no_file(alone: Path, wheel: Path) -> None:
    packages, files = _packages(alone), _files(alone)
    pins = alone.parent / "constraints.txt"
    pins.write_text("\n".join(packages))
    _uv("pip", "install", "-p", alone, "--constraint", pins, f"{wheel}{NEXT_TO_IT}")
    assert set(packages) <= set(_packages(alone))
    after = _files(alone)
    assert {path: after.get(path) for path in files} == files

    owners: dict[str, list[str]] = {}
    for record in alone.glob("lib/*/site-packages/*.dist-info/RECORD"):
        for line in record.read_text().splitlines():
            owners.setdefault(line.split(",")[0], []).append(record.parent.name)
    ours = {path: names for path, names in owners.items() if any(name.startswith("mlgate-") for name in names)}
    assert len(ours) > 200
    assert {path: names for path, names in ours.items() if len(names) > 1} == {}

    env = {**os.environ, "AIRFLOW_HOME": str(alone.parent / "home")}
    names = _call(alone / "bin" / "python", "-W", "error::DeprecationWarning:mlgate", "-c", IMPORTS, env=env).split()
    assert {"RunProjectOperator", "PromoteModelOperator", "ModelVersionSensor"} <= set(names)
    listed = _call(alone / "bin" / "airflow", "providers", "list", "-o", "plain", env=env)
    assert any(line.split()[0] == "mlgate" for line in listed.splitlines() if line.strip())


def test_the_extra_brings_airflow(wheel: Path, tmp_path: Path) -> None:
    wanted = tmp_path / "requirements.in"
    wanted.write_text(f"mlgate[airflow] @ {wheel.as_uri()}\n")
    resolved = _uv("pip", "compile", "-q", "--no-header", "--no-annotate", "--python-version", "3.11", wanted)
    pins = dict(line.split("==", 1) for line in resolved.splitlines() if "==" in line)
    assert int(pins["apache-airflow"].split(".")[0]) >= 3


def _uv(*args: str | Path) -> str:
    from uv import find_uv_bin

    return _call(find_uv_bin(), *args)


def _call(*argv: str | Path, env: dict[str, str] | None = None) -> str:
    done = subprocess.run(
        [str(part) for part in argv], env=env, capture_output=True, text=True, timeout=500, check=False
    )
    assert done.returncode == 0, done.stdout[-2000:] + done.stderr[-3000:]
    return done.stdout


def _packages(env: Path) -> list[str]:
    return _uv("pip", "freeze", "-p", env).splitlines()


def _files(env: Path) -> dict[str, str]:
    """Digest of every file of the environment; bytecode is left out, which anybody may write anew."""
    return {
        str(path.relative_to(env)): hashlib.sha256(path.read_bytes()).hexdigest()
        for path in env.rglob("*")
        if path.is_file() and not path.is_symlink() and path.suffix != ".pyc"
    }
