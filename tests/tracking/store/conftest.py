from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from mlgate_tracking.store.sql import SqlStore


@pytest.fixture
def store(tmp_path: Path) -> Iterator[SqlStore]:
    with SqlStore(f"sqlite:///{tmp_path}/store.db") as opened:
        yield opened
