"""Webhooks' subscriptions over a real SQLite file."""

from __future__ import annotations

from mlgate_tracking.testing.served import WebhookConformance


class TestSQLiteWebhooks(WebhookConformance):
    pass
