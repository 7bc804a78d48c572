"""Traces over a real SQLite file."""

from __future__ import annotations

from mlgate_tracking.testing.served import TraceConformance


class TestSQLiteTraces(TraceConformance):
    pass
