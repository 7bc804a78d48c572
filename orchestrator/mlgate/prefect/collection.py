"""What Prefect loads of us through the entry point `prefect.collections`: the blocks."""

from __future__ import annotations

from mlgate.prefect.blocks import TrackingServer

__all__ = ["TrackingServer"]
