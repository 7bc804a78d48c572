"""The model registry over a real SQLite file."""

from __future__ import annotations

from mlgate_tracking.testing.registry import RegistryConformance


class TestSQLiteRegistry(RegistryConformance):
    pass
