"""What the runner writes on a run by itself: MLflow's tags for projects, and our own `mlgate.*`."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING, Any

from mlgate_projects.process import Outcome
from mlgate_tracking.entities import Metric, Tag

if TYPE_CHECKING:
    from mlgate.resolve import ResolvedStep
    from mlgate_projects.envs import Prepared

_MEGABYTE = 2**20
_SHOWN = 5000
"""Characters of the command that are kept as a tag; older servers take no more."""


def opening_tags(resolved: ResolvedStep, prepared: Prepared | None) -> list[Tag]:
    """Tags that are known before the process starts; the step's own ones come last and win."""
    step, source = resolved.step, resolved.source
    tags: dict[str, str | None] = {
        "mlflow.source.type": "PROJECT",
        "mlflow.source.name": source.name,
        "mlflow.project.entryPoint": resolved.entry_point.name,
        "mlflow.project.backend": "local",
        "mlflow.source.git.commit": source.commit,
        "mlflow.source.git.repoURL": source.repo_url,
        "mlflow.source.git.branch": source.branch,
        "mlgate.step": step.name,
        "mlgate.command": resolved.command[:_SHOWN],
        "mlgate.engine": step.engine.name,
        "mlgate.engine.run_id": step.engine.run_id,
        "mlgate.project.digest": source.digest,
        "mlgate.project.name": resolved.project.name,
        "mlgate.source.dirty": "true" if source.dirty else None,
        "mlgate.map_index": str(step.map_index) if step.map_index >= 0 else None,
        **{f"mlgate.engine.{name}": value for name, value in step.engine.ids.items()},
    }
    if prepared is not None:
        tags |= {
            "mlflow.project.env": None if prepared.kind in ("system", "external") else prepared.kind,
            "mlgate.env.kind": prepared.kind,
            "mlgate.env.digest": prepared.digest,
            "mlgate.env.lock": prepared.lock_digest,
            "mlgate.env.python": prepared.python_version,
            "mlflow.docker.image.uri": prepared.extra.get("image"),
            "mlflow.docker.image.id": prepared.extra.get("image_id"),
        }
    return [Tag(key, value) for key, value in {**tags, **step.tags}.items() if value]


def own_tags(tags: Iterable[Tag]) -> dict[str, str]:
    """What the script tagged its run with: without MLflow's own tags and ours."""
    return {tag.key: tag.value for tag in tags if not tag.key.startswith(("mlflow.", "mlgate."))}


def closing_tags(exit_code: int, reason: str) -> list[Tag]:
    """Tags that are known once the process has ended; an empty reason overwrites that of an earlier attempt."""
    return [Tag("mlgate.exit_code", str(exit_code)), Tag("mlgate.reason", reason)]


def closing_metrics(outcome: Outcome | None, outputs: Mapping[str, Any], timestamp: int) -> list[Metric]:
    """What the process used (`system/…`), and every named output that is a number, under its own name."""
    values: dict[str, float] = {}
    if outcome is not None:
        values["system/wall_time_seconds"] = outcome.ended - outcome.started
        if outcome.peak_memory is not None:
            values["system/peak_memory_megabytes"] = outcome.peak_memory / _MEGABYTE
        if outcome.cpu_time is not None:
            values["system/cpu_time_seconds"] = outcome.cpu_time
    values |= {
        name: float(value)
        for name, value in outputs.items()
        if isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)
    }
    return [Metric(key, value, timestamp) for key, value in values.items()]


__all__ = ["closing_metrics", "closing_tags", "opening_tags", "own_tags"]
