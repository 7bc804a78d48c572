"""What Prefect shows of our work: artifacts for runs and verdicts, events for promotions, output in the task's log."""

from __future__ import annotations

import re
from typing import Any

from prefect.artifacts import create_markdown_artifact, create_table_artifact
from prefect.events import emit_event
from prefect.logging import get_run_logger

from mlgate.settings import Settings
from mlgate.step import StepResult

_NOT_IN_KEYS = re.compile(r"[^a-z0-9-]+")


def log_output(_stream: Any, data: bytes) -> None:
    """The step's output as lines of the log of the task or flow that is running."""
    logger = get_run_logger()
    for line in data.decode(errors="replace").splitlines():
        logger.info("%s", line)


def progress(line: str) -> None:
    get_run_logger().info("%s", line)


def warning(line: str) -> None:
    get_run_logger().warning("%s", line)


def key_of(*parts: str) -> str:
    """An artifact key: lower-case letters, digits and dashes."""
    return _NOT_IN_KEYS.sub("-", "-".join(parts).lower()).strip("-")


def show_run(name: str, result: StepResult, settings: Settings) -> None:
    """A markdown artifact with the run's id, its metrics and where it is."""
    metrics = "\n".join(
        f"| {name} | {value:.6g} |" for name, value in sorted(result.metrics.items()) if not name.startswith("system/")
    )
    where = f"[{result.run_id}]({run_url(settings, result.run_id)})" if settings.remote else f"`{result.run_id}`"
    text = f"**{name}**: {result.status}, run {where}\n\n| metric | value |\n|---|---|\n{metrics}\n"
    create_markdown_artifact(text, key=key_of("mlgate-run", name), description=result.reason or None)


def run_url(settings: Settings, run_id: str) -> str:
    """Where a tracking server shows a run."""
    return f"{settings.tracking_uri.rstrip('/')}/api/2.0/mlflow/runs/get?run_id={run_id}"


def show_verdict(verdict: Any) -> None:
    """A table of the gates' reasons."""
    rows: list[dict[str, Any]] = [
        {"gate": gate.gate, "passed": "yes" if reason.passed else "no", "reason": reason.message}
        for gate in verdict.results
        for reason in gate.reasons
    ]
    title = f"{verdict.model} {verdict.version}: {verdict.status.value}"
    create_table_artifact(rows, key=key_of("mlgate-verdict", verdict.model), description=title)


def announce(promotion: Any, event: str = "mlgate.model.promoted") -> None:
    """An event that automations and deployment triggers can wait for; replays are not announced again."""
    if promotion.replayed:
        return
    emit_event(
        event=event,
        resource={
            "prefect.resource.id": f"mlgate.model.{promotion.model}",
            "prefect.resource.name": promotion.model,
            "mlgate.version": str(promotion.version),
            "mlgate.alias": promotion.target.alias or "",
            "mlgate.stage": promotion.target.stage or "",
        },
        payload={
            "model": promotion.model,
            "version": promotion.version,
            "previous_version": promotion.previous_version,
            "promotion_id": promotion.promotion_id,
        },
    )


__all__ = ["announce", "key_of", "log_output", "progress", "run_url", "show_run", "show_verdict", "warning"]
