"""`mlgate import`: bring other stores over."""

from __future__ import annotations

import contextlib
import sys
from collections.abc import Callable, Iterator
from dataclasses import asdict

import click

from mlgate.cli.destination import destination_option
from mlgate.cli.output import json_option, print_json, print_table, store_option


@click.group(name="import")
def imports() -> None:
    """Bring what other tools have recorded into a database store."""


@imports.command()
@click.argument("source")
@click.option(
    "--artifacts-source",
    metavar="PATH_OR_URI",
    help="Where the MLflow server kept proxied artifacts (its --artifacts-destination).",
)
@destination_option
@click.option("--no-artifacts", is_flag=True, help="Leave all files where they are.")
@click.option("--dry-run", is_flag=True, help="Read everything and look for conflicts, write nothing.")
@store_option
@json_option
@click.pass_context
def mlflow(
    context: click.Context,
    source: str,
    artifacts_source: str | None,
    artifacts_destination: str | None,
    no_artifacts: bool,
    dry_run: bool,
    tracking_uri: str | None,
    as_json: bool,
) -> None:
    """Bring an MLflow store over: the URI of its database, or the path of its mlruns folder.

    Ids are kept, so links and model URIs stay valid. Run it again to go on after an interruption, or to bring new runs,
    versions and aliases; what was changed here is not touched. Exit code 1: something is missing, and is listed.
    """
    from mlgate.cli.db import database_uri
    from mlgate_tracking.client import artifacts_destination_of
    from mlgate_tracking.store.mlflow_import import ArtifactPlan, import_mlflow, open_source
    from mlgate_tracking.store.sql import SqlStore

    uri = database_uri(tracking_uri)
    destination = None if no_artifacts else artifacts_destination_of(uri, artifacts_destination)
    with contextlib.closing(open_source(source)) as opened, SqlStore(uri) as store, _progress(as_json) as progress:
        plan = ArtifactPlan(destination, artifacts_source)
        report = import_mlflow(opened, store, plan, dry_run=dry_run, progress=progress)
    if as_json:
        print_json({**asdict(report), "dry_run": dry_run})
    else:
        found, written = asdict(report.found), asdict(report.written)
        rows = [(name.replace("_", " "), found[name], written[name]) for name in found]
        print_table(["", "there", "brought over"], rows)
        for what in [*report.left, *report.missing]:
            click.echo(f"not brought over: {what}", err=True)
    context.exit(1 if report.missing else 0)


@contextlib.contextmanager
def _progress(quiet: bool) -> Iterator[Callable[[int, int], None]]:
    """A bar on a terminal, nothing elsewhere."""
    if quiet or not sys.stderr.isatty():
        yield lambda done, total: None
        return
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

    columns = (TextColumn("runs"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    with Progress(*columns, console=Console(stderr=True), transient=True) as bar:
        task = bar.add_task("runs", total=None)
        yield lambda done, total: bar.update(task, completed=done, total=total)


__all__ = ["imports"]
