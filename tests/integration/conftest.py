"""What the whole-product tests share."""

from __future__ import annotations

import pytest

from tests.support.environments import environments_directory


@pytest.fixture
def shared_environments(monkeypatch: pytest.MonkeyPatch) -> None:
    """The environments of projects are built once and kept between test runs."""
    monkeypatch.setenv("MLGATE_ENVS", str(environments_directory() / "mlgate-envs"))
