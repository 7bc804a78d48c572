"""A package index in a folder: small wheels made on the spot, so that environments are built without a network."""

from __future__ import annotations

import os
import zipfile
from pathlib import Path

import pytest


def wheel(folder: Path, name: str, version: str, requires: str = "") -> None:
    """A wheel with one module; enough of a package index when it is the only one."""
    folder.mkdir(exist_ok=True)
    about = f"{name}-{version}.dist-info"
    files = {
        f"{name}.py": f"VERSION = {version!r}\n",
        f"{about}/METADATA": f"Metadata-Version: 2.1\nName: {name}\nVersion: {version}\n"
        + (f"Requires-Dist: {requires}\n" if requires else ""),
        f"{about}/WHEEL": "Wheel-Version: 1.0\nRoot-Is-Purelib: true\nTag: py3-none-any\n",
        f"{about}/entry_points.txt": f"[console_scripts]\n{name}-command = {name}:main\n",
    }
    with zipfile.ZipFile(folder / f"{name}-{version}-py3-none-any.whl", "w") as archive:
        for path, text in files.items():
            archive.writestr(path, text)
        archive.writestr(f"{about}/RECORD", "".join(f"{path},,\n" for path in [*files, f"{about}/RECORD"]))


@pytest.fixture
def index(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder of wheels that is all there is to install from: no network is needed."""
    folder = tmp_path / "wheels"
    for name, version, requires in (
        ("alpha", "1.0", "beta"), ("alpha", "2.0", "beta"), ("beta", "1.0", ""), ("pip", "25.0", ""),
        ("setuptools", "80.0", ""),
    ):  # fmt: skip
        wheel(folder, name, version, requires)
    for variable in [name for name in os.environ if name.startswith(("UV_", "PIP_", "PYTHONDONTWRITE"))]:
        monkeypatch.delenv(variable)
    monkeypatch.setenv("PIP_CONFIG_FILE", os.devnull)
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    monkeypatch.setenv("PIP_FIND_LINKS", str(folder))
    monkeypatch.setenv("UV_CACHE_DIR", str(tmp_path / "uv-cache"))
    return folder


HANGING = {
    "hang/pyproject.toml": """
        [build-system]
        requires = []
        build-backend = "backend"
        backend-path = ["."]
        [project]
        name = "hang"
        version = "1"
        """,
    "hang/backend.py": """
        import os, pathlib, signal, time
        signal.signal(signal.SIGTERM, signal.SIG_IGN)
        def build_wheel(*arguments, **settings):
            pathlib.Path(__file__).parents[1].joinpath("hanging").write_text(str(os.getpid()))
            time.sleep(600)
        """,
}
"""A package `hang` whose build never ends and ignores TERM; it writes its pid to `hanging` beside it."""

__all__ = ["HANGING", "index", "wheel"]
