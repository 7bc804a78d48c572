"""Logged models over a real SQLite file."""

from __future__ import annotations

from mlgate_tracking.testing.logged_models import LoggedModelConformance


class TestSQLiteLoggedModels(LoggedModelConformance):
    pass
