from __future__ import annotations

import pytest

from mlgate_tracking.entities import Run
from tests.orchestrator.cli.looking import CommandLine, make_history


@pytest.fixture(scope="module")
def history(tmp_path_factory: pytest.TempPathFactory) -> tuple[str, dict[str, Run]]:
    """One store for a module's tests, which only look at it or clean up after themselves."""
    return make_history(tmp_path_factory.mktemp("history"))


@pytest.fixture
def run_ids(history: tuple[str, dict[str, Run]]) -> dict[str, str]:
    return {name: run.info.run_id for name, run in history[1].items()}


@pytest.fixture
def mlgate(
    history: tuple[str, dict[str, Run]], capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> CommandLine:
    monkeypatch.setenv("MLGATE_TRACKING_URI", history[0])
    monkeypatch.setenv("TZ", "UTC")
    return CommandLine(history[0], capsys)
