"""What every test gets: a home of its own, and no settings of the person who runs the tests."""

from __future__ import annotations

import os
import signal
from pathlib import Path

import pytest

from tests.support.certificates import self_signed

# The suites that the packages ship explain their failures like any other test.
pytest.register_assert_rewrite("mlgate_tracking.testing", "mlgate_projects.testing")


@pytest.fixture(autouse=True)
def _own_home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Point `MLGATE_HOME` into the test's directory and drop every variable that names somebody's store or run."""
    for name in list(os.environ):
        if name.startswith(("MLGATE_", "MLFLOW_")) and not name.startswith("MLGATE_TEST_"):
            monkeypatch.delenv(name)
    monkeypatch.setenv("MLGATE_HOME", str(tmp_path / "mlgate-home"))


@pytest.fixture(scope="session")
def certificate(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A self-signed certificate of 127.0.0.1 with its key, in one file."""
    return self_signed(tmp_path_factory.mktemp("tls") / "server.pem")


# A shell that starts the tests in the background makes them ignore Ctrl-C, and Python then leaves it ignored.
if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    signal.signal(signal.SIGINT, signal.default_int_handler)
