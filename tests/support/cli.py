"""Run the commands as a user does: in a process of their own."""

from __future__ import annotations

import contextlib
import json
import os
import subprocess
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from mlgate.settings import load_settings
from mlgate_tracking.client import connect
from mlgate_tracking.contract import Store
from mlgate_tracking.entities import Run

Done = subprocess.CompletedProcess[str]
RUN = (sys.executable, "-m", "mlgate", "run")


def mlgate(
    *args: str | Path, cwd: Path | None = None, env: Mapping[str, str] | None = None
) -> subprocess.CompletedProcess[str]:
    """`mlgate ARGS`, its output captured; a minute at most."""
    return subprocess.run(
        [sys.executable, "-m", "mlgate", *map(str, args)],
        cwd=cwd,
        env={**os.environ, **(env or {})},
        capture_output=True,
        text=True,
        timeout=280,
        check=False,
    )


def run_project(
    *args: str | Path, cwd: Path | None = None, env: Mapping[str, str] | None = None
) -> subprocess.CompletedProcess[str]:
    """`run-project ARGS`."""
    return mlgate("run", *args, cwd=cwd, env=env)


def run_json(*args: str | Path, cwd: Path | None = None, env: Mapping[str, str] | None = None) -> dict[str, Any]:
    """The result that `run-project ARGS --json` prints."""
    done = run_project(*args, "--json", cwd=cwd, env=env)
    assert done.stdout, done.stderr
    result = json.loads(done.stdout)
    assert isinstance(result, dict)
    return result


def all_runs() -> list[Run]:
    """Every run in the test's embedded store, newest first; none when there is no store yet."""
    settings = load_settings()
    if not (settings.home / "mlgate.db").exists():
        return []
    with connect(settings.tracking_uri) as store:
        experiments = [experiment.experiment_id for experiment in store.search_experiments().items]
        return list(store.search_runs(experiments).items)


@contextlib.contextmanager
def connected() -> Iterator[Store]:
    """The test's embedded store."""
    with connect(load_settings().tracking_uri) as store:
        yield store


def get_run(run_id: str) -> Run:
    with connect(load_settings().tracking_uri) as store:
        return store.get_run(run_id)


def artifact_text(run: Run, path: str) -> str:
    """A text artifact of a run in the embedded store."""
    root = load_settings().home / "artifacts" / run.info.artifact_uri.removeprefix("mlflow-artifacts:/")
    return (root / path).read_text()


__all__ = ["RUN", "all_runs", "artifact_text", "connected", "get_run", "mlgate", "run_json", "run_project"]
