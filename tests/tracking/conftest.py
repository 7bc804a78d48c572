"""Real database servers, started once for all tests that ask for them."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.support import databases


@pytest.fixture(scope="session")
def postgresql() -> Iterator[databases.PostgreSQL]:
    with databases.postgresql() as server:
        yield server


@pytest.fixture(scope="session")
def mariadb() -> Iterator[databases.MariaDB]:
    with databases.mariadb() as server:
        yield server


@pytest.fixture(scope="session", params=["postgresql", "mariadb"])
def server(request: pytest.FixtureRequest) -> databases.PostgreSQL | databases.MariaDB:
    """Each database server in turn."""
    found: databases.PostgreSQL | databases.MariaDB = request.getfixturevalue(request.param)
    return found
