"""Helpers that the tests share: what a test needs from the machine, and how to get it."""

from __future__ import annotations

import os

import pytest


def require(present: bool, reason: str) -> None:
    """Skip the test when something is missing on this machine; fail instead when `MLGATE_TEST_STRICT=1` (CI)."""
    if present:
        return
    if os.environ.get("MLGATE_TEST_STRICT") == "1":
        pytest.fail(f"missing on this machine: {reason}", pytrace=False)
    pytest.skip(reason)


__all__ = ["require"]
