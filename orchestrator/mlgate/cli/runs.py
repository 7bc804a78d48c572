"""`mlgate runs`: look at what was done."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from mlgate.cli.output import json_option, print_json, print_table, store_option

if TYPE_CHECKING:
    from mlgate.tracking import Tracking
    from mlgate_tracking.contract import Store
    from mlgate_tracking.entities import Run

_SHOWN_METRICS = 3

experiment_option = click.option(
    "-e", "--experiment", "experiments", multiple=True, metavar="NAME|ID", help="Only these experiments; repeatable."
)
deleted_option = click.option("--deleted", is_flag=True, help="Deleted runs too.")


@click.group()
def runs() -> None:
    """List, show, search, export, delete and restore runs."""


@runs.command("list")
@experiment_option
@click.option("--status", type=click.Choice(["RUNNING", "SCHEDULED", "FINISHED", "FAILED", "KILLED"], False))
@click.option("-n", "--limit", type=click.IntRange(1), default=20, show_default=True, help="How many, newest first.")
@deleted_option
@store_option
@json_option
def list_runs(
    experiments: tuple[str, ...],
    status: str | None,
    limit: int,
    deleted: bool,
    tracking_uri: str | None,
    as_json: bool,
) -> None:
    """The newest runs."""
    chosen = f"attributes.status = '{status.upper()}'" if status else None
    _print_runs(tracking_uri, experiments, chosen, ["start_time DESC"], limit, deleted, as_json)


@runs.command()
@click.argument("filter_string", metavar="FILTER")
@experiment_option
@click.option(
    "-o", "--order-by", multiple=True, metavar="CLAUSE", help='As in "metrics.accuracy DESC"; repeatable. Newest first.'
)
@click.option("-n", "--limit", type=click.IntRange(1), default=100, show_default=True, help="How many.")
@deleted_option
@store_option
@json_option
def search(
    filter_string: str,
    experiments: tuple[str, ...],
    order_by: tuple[str, ...],
    limit: int,
    deleted: bool,
    tracking_uri: str | None,
    as_json: bool,
) -> None:
    """Runs that match a FILTER, as in "metrics.accuracy > 0.9 and params.max_depth = '5'"."""
    _print_runs(tracking_uri, experiments, filter_string, order_by, limit, deleted, as_json)


@runs.command()
@click.argument("run", required=False)
@click.option("--tags", "all_tags", is_flag=True, help="Every tag, those of the runner and of MLflow too.")
@store_option
@json_option
def show(run: str | None, all_tags: bool, tracking_uri: str | None, as_json: bool) -> None:
    """One RUN with its parameters, metrics, tags and files: an id or its beginning; without it, the newest."""
    from mlgate.cli.lookup import open_store

    with open_store(tracking_uri) as tracking:
        found = _run_or_newest(tracking.store, run)
        if as_json:
            from mlgate_tracking.wire import run_to_wire

            print_json({**run_to_wire(found), "artifacts": _files(tracking, found)})
        else:
            _print_run(tracking, found, all_tags)


@runs.command()
@click.argument("run_ids", metavar="[RUN]...", nargs=-1)
@experiment_option
@click.option(
    "-f", "--filter", "filter_string", metavar="FILTER", help="Only runs that match, as in mlgate runs search."
)
@click.option("-o", "--output", type=click.Path(path_type=Path), help="A file or, for `dir`, a new folder.")
@click.option(
    "--format",
    "kind",
    type=click.Choice(["json", "csv", "dir"]),
    help="Default: by the output's ending (.csv; none: dir), else json.",
)
@click.option("--history", is_flag=True, help="Every point of every metric in JSON too, not only the latest.")
@deleted_option
@store_option
def export(
    run_ids: tuple[str, ...],
    experiments: tuple[str, ...],
    filter_string: str | None,
    output: Path | None,
    kind: str | None,
    history: bool,
    deleted: bool,
    tracking_uri: str | None,
) -> None:
    """Write RUNs, or all that match, as JSON, as CSV (a row per run), or as a folder with their artifacts."""
    from mlgate.cli import export as exporting
    from mlgate.cli.lookup import find_run, open_store
    from mlgate.errors import UsageError

    kind = kind or exporting.kind_of(output)
    if kind == "dir" and output is None:
        raise UsageError("--format dir: name the folder with --output")
    if run_ids and (experiments or filter_string):
        raise UsageError("give either run ids, or --experiment and --filter")
    with open_store(tracking_uri) as tracking:
        found: Sequence[Run]
        if run_ids:
            found = [find_run(tracking.store, run_id) for run_id in run_ids]
        else:
            found = _search(tracking.store, experiments, filter_string, ["start_time DESC"], None, deleted)
        exporting.export(tracking, found, kind, output, history=history)
    if output is not None:
        click.echo(f"{len(found)} run{'' if len(found) == 1 else 's'} written to {output}", err=True)


@runs.command()
@click.argument("run_ids", metavar="RUN...", nargs=-1, required=True)
@store_option
def delete(run_ids: tuple[str, ...], tracking_uri: str | None) -> None:
    """Delete RUNs; `mlgate runs restore` brings them back."""
    from mlgate.cli.lookup import find_run, open_store

    with open_store(tracking_uri) as tracking:
        for run in [find_run(tracking.store, run_id) for run_id in run_ids]:
            tracking.store.delete_run(run.info.run_id)
            click.echo(f"deleted {run.info.run_id}")


@runs.command()
@click.argument("run_ids", metavar="RUN...", nargs=-1, required=True)
@store_option
def restore(run_ids: tuple[str, ...], tracking_uri: str | None) -> None:
    """Bring deleted RUNs back."""
    from mlgate.cli.lookup import find_run, open_store

    with open_store(tracking_uri) as tracking:
        for run in [find_run(tracking.store, run_id) for run_id in run_ids]:
            tracking.store.restore_run(run.info.run_id)
            click.echo(f"restored {run.info.run_id}")


def _search(
    store: Store,
    experiments: Sequence[str],
    filter_string: str | None,
    order_by: Sequence[str],
    limit: int | None,
    deleted: bool,
) -> list[Run]:
    from mlgate.cli.lookup import all_experiments, find_experiment, search_all_runs

    chosen = [find_experiment(store, reference) for reference in experiments]
    ids = [experiment.experiment_id for experiment in chosen or all_experiments(store, deleted=deleted)]
    found = search_all_runs(store, ids, filter_string=filter_string, order_by=order_by, deleted=deleted, limit=limit)
    return list(found)


def _print_runs(
    tracking_uri: str | None,
    experiments: Sequence[str],
    filter_string: str | None,
    order_by: Sequence[str],
    limit: int,
    deleted: bool,
    as_json: bool,
) -> None:
    from mlgate.cli.lookup import all_experiments, open_store, shown_duration, shown_id, shown_time

    with open_store(tracking_uri) as tracking:
        found = _search(tracking.store, experiments, filter_string, order_by, limit, deleted)
        if as_json:
            from mlgate_tracking.wire import run_to_wire

            print_json([run_to_wire(run) for run in found])
            return
        names = {entry.experiment_id: entry.name for entry in all_experiments(tracking.store)}
    rows = [
        (
            shown_id(run.info.run_id),
            _nested_name(run),
            names.get(run.info.experiment_id, run.info.experiment_id),
            run.info.status.value if run.info.lifecycle_stage == "active" else "deleted",
            shown_time(run.info.start_time),
            shown_duration(run.info.start_time, run.info.end_time),
            _metrics_in_short(run),
        )
        for run in found
    ]
    columns = ["run", "name", "experiment", "status", "started", "took", "metrics"]
    print_table(columns, rows, empty="no runs match" if filter_string else "no runs yet; start one with run-project")


def _nested_name(run: Run) -> str:
    return f"  {run.info.run_name}" if run.tag("mlflow.parentRunId") else run.info.run_name


def _metrics_in_short(run: Run) -> str:
    from mlgate.cli.lookup import shown_value

    own = [metric for metric in run.data.metrics if not metric.key.startswith("system/")]
    shown = [f"{metric.key}={shown_value(metric.value)}" for metric in sorted(own, key=lambda metric: metric.key)]
    more = len(shown) - _SHOWN_METRICS
    return " ".join(shown[:_SHOWN_METRICS]) + (f" +{more}" if more > 0 else "")


def _run_or_newest(store: Store, reference: str | None) -> Run:
    from mlgate.cli.lookup import find_run
    from mlgate_tracking.errors import ResourceDoesNotExist

    if reference is not None:
        return find_run(store, reference)
    newest = _search(store, (), None, ["start_time DESC"], 1, False)
    if not newest:
        raise ResourceDoesNotExist("there are no runs yet; start one with run-project")
    return store.get_run(newest[0].info.run_id)


def _print_run(tracking: Tracking, run: Run, all_tags: bool) -> None:
    from mlgate.cli.lookup import shown_duration, shown_id, shown_time, shown_value
    from mlgate.units import format_size

    info = run.info
    experiment = tracking.store.get_experiment(info.experiment_id)
    facts = [
        ("run", info.run_id),
        ("name", info.run_name),
        ("experiment", f"{experiment.name} ({experiment.experiment_id})"),
        ("status", info.status.value + ("" if info.lifecycle_stage == "active" else ", deleted")),
        ("reason", run.tag("mlgate.reason")),
        ("started", shown_time(info.start_time)),
        ("ended", shown_time(info.end_time)),
        ("took", shown_duration(info.start_time, info.end_time)),
        ("user", info.user_id or run.tag("mlflow.user")),
        ("project", run.tag("mlflow.source.name")),
        ("entry point", run.tag("mlflow.project.entryPoint")),
        ("commit", run.tag("mlflow.source.git.commit")),
        ("environment", run.tag("mlgate.env.kind")),
        ("parent", run.tag("mlflow.parentRunId")),
        ("artifacts", info.artifact_uri),
    ]
    for name, value in facts:
        if value:
            click.echo(f"{click.style(f'{name:<12}', dim=True)} {_coloured(name, value)}")
    _section("parameters", ["name", "value"], [(param.key, param.value) for param in run.data.params])
    _section(
        "metrics",
        ["name", "value", "step", "at"],
        [(point.key, shown_value(point.value), point.step, shown_time(point.timestamp)) for point in run.data.metrics],
    )
    tags = [tag for tag in run.data.tags if all_tags or not tag.key.startswith(("mlflow.", "mlgate."))]
    _section("tags", ["name", "value"], [(tag.key, tag.value) for tag in tags])
    _section(
        "datasets",
        ["name", "digest", "source"],
        [(entry.dataset.name, entry.dataset.digest, entry.dataset.source) for entry in run.inputs.dataset_inputs],
    )
    _section("models", ["model", "step"], [(output.model_id, output.step) for output in run.outputs])
    steps = _children(tracking.store, run)
    _section(
        "steps",
        ["run", "name", "status", "took"],
        [
            (shown_id(step.info.run_id), step.info.run_name, step.info.status.value,
             shown_duration(step.info.start_time, step.info.end_time))
            for step in steps
        ],
    )  # fmt: skip
    files = _files(tracking, run)
    _section(
        "files",
        ["path", "size"],
        [(entry["path"] + ("/" if entry["is_dir"] else ""), "" if entry["is_dir"] else format_size(entry["file_size"]))
         for entry in files],
    )  # fmt: skip


def _coloured(name: str, value: str) -> str:
    colours = {"FINISHED": "green", "FAILED": "red", "KILLED": "magenta", "RUNNING": "yellow"}
    return click.style(value, fg=colours.get(value.partition(",")[0])) if name == "status" else value


def _section(title: str, columns: Sequence[str], rows: Sequence[Sequence[Any]]) -> None:
    if rows:
        click.echo(f"\n{click.style(title, bold=True)}")
        print_table(columns, sorted(rows, key=lambda row: str(row[0])) if title != "steps" else rows)


def _children(store: Store, run: Run) -> list[Run]:
    page = store.search_runs(
        [run.info.experiment_id],
        filter_string=f"tags.`mlflow.parentRunId` = '{run.info.run_id}'",
        order_by=["start_time ASC"],
        max_results=200,
    )
    return list(page.items)


def _files(tracking: Tracking, run: Run) -> list[dict[str, Any]]:
    """The top level of the run's artifacts; empty where this process cannot read them."""
    from mlgate_tracking.errors import TrackingError
    from mlgate_tracking.wire import file_info_to_wire

    try:
        entries = tracking.repository(run.info.artifact_uri).list().items
    except TrackingError as error:
        click.echo(f"warning: the run's files cannot be listed: {error}", err=True)
        return []
    return [file_info_to_wire(entry) for entry in entries]


__all__ = ["runs"]
