"""Runs as files: JSON, CSV, or a folder with their artifacts. What is there appears whole or not at all."""

from __future__ import annotations

import csv
import io
import json
import os
import shutil
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from mlgate.errors import UsageError

if TYPE_CHECKING:
    from mlgate.tracking import Tracking
    from mlgate_tracking.contract import Store
    from mlgate_tracking.entities import Metric, Run


def kind_of(output: Path | None) -> str:
    """The format that an output's name asks for."""
    if output is None or output.suffix == ".json":
        return "json"
    return "csv" if output.suffix == ".csv" else "dir"


def export(tracking: Tracking, runs: Sequence[Run], kind: str, output: Path | None, *, history: bool) -> None:
    """Write runs to a file or a new folder; to standard output when there is no `output`.

    Raises:
        UsageError: the folder is there already and not empty.
    """
    if kind == "dir":
        assert output is not None
        _export_folder(tracking, runs, output)
        return
    text = _json(tracking.store, runs, history) if kind == "json" else _csv(runs)
    if output is None:
        click.echo(text, nl=False)
        return
    output.parent.mkdir(parents=True, exist_ok=True)
    with _appearing(output) as partial:
        partial.write_text(text, encoding="utf-8")


def _json(store: Store, runs: Sequence[Run], history: bool) -> str:
    documents = [_document(store, run, history) for run in runs]
    return json.dumps(documents, indent=2, ensure_ascii=False) + "\n"


def _document(store: Store, run: Run, history: bool) -> dict[str, Any]:
    from mlgate_tracking.wire import metric_to_wire, run_to_wire

    document = run_to_wire(run)
    if history:
        document["history"] = {
            latest.key: [metric_to_wire(point) for point in metric_points(store, run, latest.key)]
            for latest in run.data.metrics
        }
    return document


def _csv(runs: Sequence[Run]) -> str:
    """A row per run; a column for each parameter, metric and tag that any of them has."""
    params = sorted({param.key for run in runs for param in run.data.params})
    metrics = sorted({metric.key for run in runs for metric in run.data.metrics})
    tags = sorted({tag.key for run in runs for tag in run.data.tags})
    facts = ["run_id", "run_name", "experiment_id", "status", "start_time", "end_time", "artifact_uri"]
    text = io.StringIO()
    table = csv.writer(text, lineterminator="\n")
    table.writerow(
        [*facts, *(f"params.{key}" for key in params), *(f"metrics.{key}" for key in metrics),
         *(f"tags.{key}" for key in tags)]
    )  # fmt: skip
    for run in runs:
        values = {param.key: param.value for param in run.data.params}
        numbers = {metric.key: repr(metric.value) for metric in run.data.metrics}
        notes = {tag.key: tag.value for tag in run.data.tags}
        table.writerow(
            [*(getattr(run.info, fact) for fact in facts), *(values.get(key) for key in params),
             *(numbers.get(key) for key in metrics), *(notes.get(key) for key in tags)]
        )  # fmt: skip
    return text.getvalue()


def _export_folder(tracking: Tracking, runs: Sequence[Run], output: Path) -> None:
    """`<output>/<run id>/` with run.json, metrics.csv (every point) and artifacts/."""
    from mlgate_tracking.artifacts.transfer import download_tree

    if output.exists() and (not output.is_dir() or any(output.iterdir())):
        raise UsageError(f"{output}: is there already; name a new folder")
    output.parent.mkdir(parents=True, exist_ok=True)
    with (
        _appearing(output) as partial,
        click.progressbar(
            runs, label="exporting", file=sys.stderr, item_show_func=lambda run: run.info.run_name if run else ""
        ) as bar,
    ):
        partial.mkdir()
        for run in bar:
            folder = partial / run.info.run_id
            folder.mkdir()
            document = json.dumps(_document(tracking.store, run, False), indent=2, ensure_ascii=False)
            (folder / "run.json").write_text(document + "\n", encoding="utf-8")
            _write_history(tracking.store, run, folder / "metrics.csv")
            repository = tracking.repository(run.info.artifact_uri)
            if repository.stat("") is not None:
                download_tree(repository, "", folder / "artifacts")


def _write_history(store: Store, run: Run, path: Path) -> None:
    with path.open("w", encoding="utf-8", newline="") as file:
        table = csv.writer(file, lineterminator="\n")
        table.writerow(["metric", "step", "timestamp", "value"])
        for latest in run.data.metrics:
            for point in metric_points(store, run, latest.key):
                table.writerow([point.key, point.step, point.timestamp, repr(point.value)])


def metric_points(store: Store, run: Run, key: str) -> Iterator[Metric]:
    token: str | None = None
    while True:
        page = store.metric_history(run.info.run_id, key, max_results=25_000, page_token=token)
        yield from page.items
        token = page.token
        if token is None:
            return


@contextmanager
def _appearing(output: Path) -> Iterator[Path]:
    """A path to write to, which becomes `output` at the end, or goes away when something fails."""
    partial = output.with_name(f".{output.name}.{os.urandom(4).hex()}.partial")
    try:
        yield partial
        partial.replace(output)
    finally:
        if partial.is_dir():
            shutil.rmtree(partial)
        else:
            partial.unlink(missing_ok=True)


__all__ = ["export", "kind_of", "metric_points"]
