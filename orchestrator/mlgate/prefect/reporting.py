"""What Prefect shows of our work: artifacts, events, assets, and output in the log of whoever is running.

Artifacts are for looking at: one that cannot be written is a warning, never a failure.
"""

from __future__ import annotations

import base64
import contextlib
import math
import re
import threading
import time
import uuid
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextvars import copy_context
from typing import TYPE_CHECKING, Any

from prefect.artifacts import (
    create_image_artifact,
    create_link_artifact,
    create_markdown_artifact,
    create_progress_artifact,
    create_table_artifact,
    update_progress_artifact,
)
from prefect.assets import Asset
from prefect.assets.core import AssetProperties
from prefect.client.orchestration import get_client
from prefect.context import AssetContext
from prefect.events import emit_event
from prefect.events.filters import EventFilter, EventIDFilter
from prefect.logging import get_run_logger
from prefect.runtime import task_run
from prefect.states import Completed

from mlgate.settings import Settings
from mlgate.step import StepResult

if TYPE_CHECKING:
    from mlgate_tracking.contract import Store
    from mlgate_tracking.governance import Promotion, Verdict

_NOT_IN_KEYS = re.compile(r"[^a-z0-9-]+")
_NOT_IN_ASSETS = re.compile(r"[^A-Za-z0-9._~:/-]")
_CURVES, _POINTS = 6, 200
_COLOURS = ("#3b82f6", "#ef4444", "#10b981", "#f59e0b", "#8b5cf6", "#64748b")


class Log:
    """Lines for the log of the task or flow that is running; of the flow that made this, where neither is."""

    def __init__(self) -> None:
        self._fallback = get_run_logger()

    def _logger(self) -> Any:
        try:
            return get_run_logger()
        except Exception:  # MissingContextError: a thread of ours
            return self._fallback

    def line(self, line: str) -> None:
        self._logger().info("%s", line)

    def caution(self, line: str) -> None:
        self._logger().warning("%s", line)

    def output(self, _stream: Any, data: bytes) -> None:
        """A piece of a step's output."""
        logger = self._logger()
        for line in data.decode(errors="replace").splitlines():
            logger.info("%s", line)


@contextlib.contextmanager
def as_warning(log: Log, what: str) -> Iterator[None]:
    try:
        yield
    except Exception as error:
        log.caution(f"{what} could not be shown in Prefect: {type(error).__name__}: {error}")


class Background:
    """Shows things beside the work, in the order they came, each for the task or flow that asked for it."""

    def __init__(self, log: Log) -> None:
        self._log = log
        self._pool = ThreadPoolExecutor(1, thread_name_prefix="mlgate-show")

    def show(self, what: str, function: Callable[[], Any]) -> None:
        def call() -> None:
            with as_warning(self._log, what):
                function()

        self._pool.submit(copy_context().run, call)

    def close(self) -> None:
        self._pool.shutdown()


def key_of(*parts: str) -> str:
    """An artifact key: lower-case letters, digits and dashes."""
    return _NOT_IN_KEYS.sub("-", "-".join(parts).lower()).strip("-")


class BuildProgress:
    """The preparation of an environment as a progress artifact, made with the first line that it says.

    How many lines there will be is not known, so each of them closes a part of the gap; `done` closes the rest.
    """

    def __init__(self, name: str, log: Log) -> None:
        self._name, self._log = name, log
        self._lines = 0
        self._shown = 0.0
        self._artifact: Any = None
        self._lock = threading.Lock()

    def line(self, text: str) -> None:
        self._log.line(text)
        with self._lock:
            self._lines += 1
            if time.monotonic() - self._shown < 1.0:
                return
            self._shown = time.monotonic()
            self._show(100 * (1 - 0.85**self._lines), text)

    def done(self) -> None:
        with self._lock:
            if self._artifact is not None:
                self._show(100.0, "ready")
                self._artifact = None

    def _show(self, progress: float, text: str) -> None:
        with as_warning(self._log, "the progress of a build"):
            if self._artifact is None:
                key = key_of("mlgate-environment", self._name)
                self._artifact = create_progress_artifact(progress, key=key, description=text, _sync=True)  # type: ignore[call-arg,unused-ignore]
            else:
                update_progress_artifact(self._artifact, progress, description=text, _sync=True)  # type: ignore[call-arg,unused-ignore]


# --- runs -------------------------------------------------------------------------------------------------------------


def show_run(name: str, result: StepResult, settings: Settings, store: Store) -> None:
    """What a run came to, as markdown; a link to it; and its metrics over time, if there is more than a point."""
    metrics = {key: value for key, value in sorted(result.metrics.items()) if not key.startswith("system/")}
    rows = "\n".join(f"| {_cell(key)} | {value:.6g} |" for key, value in metrics.items())
    link = run_url(settings, result.run_id)
    where = f"[{result.run_id}]({link})" if link else f"`{result.run_id}`"
    table = f"\n| metric | value |\n|---|---|\n{rows}\n" if rows else ""
    reason = f"\n{_cell(result.reason)}\n" if result.reason else ""
    text = f"**{name}**: {result.status}, run {where}\n{reason}{table}"
    create_markdown_artifact(text, key=key_of("mlgate-run", name), _sync=True)  # type: ignore[call-arg,unused-ignore]
    show_link(name, result.run_id, settings)
    curves = {key: _history(store, result.run_id, key) for key in list(metrics)[:_CURVES]}
    curves = {key: points for key, points in curves.items() if len(points) > 1}
    if curves:
        create_image_artifact(
            "data:image/svg+xml;base64," + base64.b64encode(draw_curves(curves).encode()).decode(),
            key=key_of("mlgate-curves", name),
            description=f"Metrics of run {result.run_id}",
            _sync=True,  # type: ignore[call-arg,unused-ignore]
        )


def show_link(name: str, run_id: str, settings: Settings) -> None:
    """A link to the run, where the store is a server."""
    link = run_url(settings, run_id)
    if link:
        create_link_artifact(link, f"run {run_id}", key=key_of("mlgate-link", name), _sync=True)  # type: ignore[call-arg,unused-ignore]


def run_url(settings: Settings, run_id: str) -> str:
    """Where a tracking server shows a run; empty for a database."""
    if not settings.remote:
        return ""
    return f"{settings.tracking_uri.rstrip('/')}/api/2.0/mlflow/runs/get?run_id={run_id}"


def _history(store: Store, run_id: str, key: str) -> list[tuple[float, float]]:
    points = store.metric_history_sampled([run_id], key, max_results=_POINTS)
    return [(float(point.step), point.value) for point in points if math.isfinite(point.value)]


def draw_curves(curves: Mapping[str, Sequence[tuple[float, float]]]) -> str:
    """Metrics over their steps as an SVG picture, each curve between its own smallest and largest value."""
    width, height, left, top = 640, 240, 10, 10
    lines, legend = [], []
    for number, (name, points) in enumerate(curves.items()):
        colour = _COLOURS[number % len(_COLOURS)]
        xs, ys = [x for x, _ in points], [y for _, y in points]
        across, up = (max(xs) - min(xs)) or 1.0, (max(ys) - min(ys)) or 1.0
        places = " ".join(
            f"{left + (x - min(xs)) / across * (width - 2 * left):.1f},"
            f"{top + (1 - (y - min(ys)) / up) * (height - 2 * top):.1f}"
            for x, y in points
        )
        lines.append(f'<polyline fill="none" stroke="{colour}" stroke-width="2" points="{places}"/>')
        said = f"{_xml(name)}: {min(ys):.4g} to {max(ys):.4g}, last {ys[-1]:.4g}"
        legend.append(f'<text x="{left}" y="{height + 18 * (number + 1)}" fill="{colour}">{said}</text>')
    total = height + 18 * (len(curves) + 1)
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width} {total}" width="{width}" height="{total}" '
        f'font-family="sans-serif" font-size="13"><rect width="{width}" height="{total}" fill="white"/>'
        f"{''.join(lines)}{''.join(legend)}</svg>"
    )


def _xml(text: str) -> str:
    return text.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")


def _cell(text: str) -> str:
    return text.replace("|", "\\|").replace("\n", " ")


# --- verdicts and promotions ------------------------------------------------------------------------------------------


def show_verdict(verdict: Verdict) -> None:
    """The verdict as markdown, and a table of its gates' reasons."""
    rows: list[dict[str, Any]] = [
        {"gate": gate.gate, "passed": "yes" if reason.passed else "no", "reason": reason.message}
        for gate in verdict.results
        for reason in gate.reasons
    ]
    champion = f"version {verdict.champion.version}" if verdict.champion.version is not None else "nobody"
    title = f"{verdict.model} version {verdict.version} for {verdict.target}: {verdict.status.value}"
    failures = "".join(f"\n- {_cell(reason.message)}" for reason in verdict.failures)
    text = f"**{title}**\n\nJudged by {verdict.policy or 'its policy'} against {champion}.\n{failures}\n"
    create_markdown_artifact(text, key=key_of("mlgate-verdict", verdict.model), _sync=True)  # type: ignore[call-arg,unused-ignore]
    create_table_artifact(rows, key=key_of("mlgate-gates", verdict.model), description=title, _sync=True)  # type: ignore[call-arg,unused-ignore]


def announce(promotion: Promotion, event: str = "mlgate.model.promoted", *, again: bool = False) -> None:
    """The event that automations and deployment triggers can wait for, and the model as a materialized asset.

    Args:
        again: somebody may have announced it before (a retry after a crash): look first.
    """
    identity = uuid.uuid5(uuid.NAMESPACE_OID, f"{event}/{promotion.promotion_id}")
    if again and _emitted(identity):
        return
    details = {
        "model": promotion.model,
        "version": promotion.version,
        "previous_version": promotion.previous_version,
        "alias": promotion.target.alias,
        "stage": promotion.target.stage,
        "promotion_id": promotion.promotion_id,
        "verdict_id": promotion.verdict_id,
        "run_id": promotion.run_id,
    }
    emit_event(
        event=event,
        id=identity,
        resource={
            "prefect.resource.id": f"mlgate.model.{promotion.model}",
            "prefect.resource.name": promotion.model,
            "mlgate.version": str(promotion.version),
            "mlgate.alias": promotion.target.alias or "",
            "mlgate.stage": promotion.target.stage or "",
        },
        payload=details,
    )
    places = [place for place in (promotion.target.alias, promotion.target.stage) if place]
    assets = [
        Asset(
            key="mlgate://models/" + _NOT_IN_ASSETS.sub("-", f"{promotion.model}/{place}"),
            properties=AssetProperties(
                name=f"{promotion.model} {place}", description=f"version {promotion.version} of {promotion.model}"
            ),
        )
        for place in places
    ]
    # What `@materialize` does at the end of a task; a task of ours learns only while it runs whether it makes an asset.
    AssetContext(
        downstream_assets=set(assets),
        materialized_by="mlgate",
        task_run_id=uuid.UUID(task_run.id) if task_run.id else None,
        materialization_metadata={asset.key: details for asset in assets},
    ).emit_events(Completed())


def _emitted(identity: uuid.UUID) -> bool:
    with get_client(sync_client=True) as client:
        return bool(client.read_events(EventFilter(id=EventIDFilter(id=[identity])), limit=1).events)


__all__ = [
    "Background",
    "BuildProgress",
    "Log",
    "announce",
    "as_warning",
    "draw_curves",
    "key_of",
    "run_url",
    "show_link",
    "show_run",
    "show_verdict",
]
