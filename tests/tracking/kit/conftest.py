"""The staged kit, and how to run a script with it, on any interpreter."""

from __future__ import annotations

import os
import subprocess
import sys
import textwrap
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

import pytest

from mlgate_tracking import kit


@dataclass(frozen=True)
class Child:
    exit_code: int
    stdout: str
    stderr: str


RunScript = Callable[..., Child]


@pytest.fixture(scope="session")
def staged(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The directory that the runner puts on a step's path."""
    return kit.stage(tmp_path_factory.mktemp("kit"))


@pytest.fixture
def run_script(staged: Path, tmp_path: Path) -> RunScript:
    """Run a script as a step would: `run_script(source, python=..., path=[...], env={...})`."""

    def run(
        source: str,
        *,
        python: Path | str = sys.executable,
        env: Mapping[str, str] | None = None,
        path: tuple[Path, ...] = (),
        options: tuple[str, ...] = (),
        timeout: float = 120,
    ) -> Child:
        script = tmp_path / "script.py"
        script.write_text(textwrap.dedent(source))
        kept = {name: value for name, value in os.environ.items() if not name.startswith(("MLGATE_", "MLFLOW_"))}
        kept["PYTHONPATH"] = os.pathsep.join(map(str, (staged, *path)))
        done = subprocess.run(
            [str(python), *options, str(script)],
            env={**kept, **(env or {})}, cwd=tmp_path, capture_output=True, text=True, timeout=timeout, check=False,
        )  # fmt: skip
        return Child(done.returncode, done.stdout, done.stderr)

    return run
