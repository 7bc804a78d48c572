"""`mlgate experiments`: list, show, create, delete, restore and rename them."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from mlgate.cli.output import json_option, print_json, print_table, store_option

if TYPE_CHECKING:
    from mlgate_tracking.contract import Store
    from mlgate_tracking.entities import Experiment


@click.group()
def experiments() -> None:
    """List, show, create, delete, restore and rename experiments."""


@experiments.command("list")
@click.option("--deleted", is_flag=True, help="Deleted ones too.")
@click.option("-f", "--filter", "filter_string", metavar="FILTER", help="As in \"name LIKE 'iris%'\".")
@store_option
@json_option
def list_experiments(deleted: bool, filter_string: str | None, tracking_uri: str | None, as_json: bool) -> None:
    """All experiments, newest first."""
    from mlgate.cli.lookup import open_store, shown_time

    with open_store(tracking_uri) as tracking:
        found = _search(tracking.store, deleted, filter_string)
    if as_json:
        from mlgate_tracking.wire import experiment_to_wire

        print_json([experiment_to_wire(experiment) for experiment in found])
        return
    rows = [
        (
            experiment.experiment_id,
            experiment.name,
            experiment.lifecycle_stage.value,
            shown_time(experiment.creation_time),
            experiment.artifact_location,
        )
        for experiment in found
    ]
    print_table(["id", "name", "stage", "created", "artifacts"], rows, empty="no experiments match")


@experiments.command()
@click.argument("experiment")
@store_option
@json_option
def show(experiment: str, tracking_uri: str | None, as_json: bool) -> None:
    """One EXPERIMENT, by name or id: where its artifacts are, its tags, and how its runs went."""
    from mlgate.cli.lookup import find_experiment, open_store, search_all_runs, shown_time
    from mlgate_tracking.wire import experiment_to_wire

    with open_store(tracking_uri) as tracking:
        found = find_experiment(tracking.store, experiment)
        counts: dict[str, int] = {}
        newest = 0
        for run in search_all_runs(tracking.store, [found.experiment_id]):
            counts[run.info.status.value] = counts.get(run.info.status.value, 0) + 1
            newest = max(newest, run.info.start_time)
    if as_json:
        print_json({**experiment_to_wire(found), "runs": counts})
        return
    facts = [
        ("id", found.experiment_id),
        ("name", found.name),
        ("stage", found.lifecycle_stage.value),
        ("created", shown_time(found.creation_time)),
        ("artifacts", found.artifact_location),
        ("runs", ", ".join(f"{count} {status}" for status, count in sorted(counts.items())) or "none"),
        ("newest run", shown_time(newest)),
    ]
    for name, value in facts:
        if value:
            click.echo(f"{click.style(f'{name:<12}', dim=True)} {value}")
    if found.tags:
        click.echo(f"\n{click.style('tags', bold=True)}")
        print_table(["name", "value"], sorted((tag.key, tag.value) for tag in found.tags))


@experiments.command()
@click.argument("name")
@click.option("--artifact-location", metavar="URI", help="Where its runs' files go; default: what the store serves.")
@click.option("-t", "--tag", "tags", multiple=True, metavar="KEY=VALUE", help="A tag; repeatable.")
@store_option
@json_option
def create(
    name: str, artifact_location: str | None, tags: tuple[str, ...], tracking_uri: str | None, as_json: bool
) -> None:
    """Create an experiment called NAME."""
    from mlgate.cli.lookup import open_store
    from mlgate.errors import UsageError
    from mlgate_tracking.entities import Tag

    pairs = []
    for tag in tags:
        key, equals, value = tag.partition("=")
        if not (key and equals):
            raise UsageError(f"--tag {tag}: write KEY=VALUE")
        pairs.append(Tag(key, value))
    with open_store(tracking_uri) as tracking:
        experiment_id = tracking.store.create_experiment(name, artifact_location, pairs)
    if as_json:
        print_json({"experiment_id": experiment_id, "name": name})
    else:
        click.echo(f"created experiment {name} with id {experiment_id}")


@experiments.command()
@click.argument("experiment")
@store_option
def delete(experiment: str, tracking_uri: str | None) -> None:
    """Delete an EXPERIMENT and its runs; `mlgate experiments restore` brings them back."""
    from mlgate.cli.lookup import find_experiment, open_store

    with open_store(tracking_uri) as tracking:
        found = find_experiment(tracking.store, experiment)
        tracking.store.delete_experiment(found.experiment_id)
    click.echo(f"deleted experiment {found.name} with its runs")


@experiments.command()
@click.argument("experiment")
@store_option
def restore(experiment: str, tracking_uri: str | None) -> None:
    """Bring a deleted EXPERIMENT and its runs back."""
    from mlgate.cli.lookup import find_experiment, open_store

    with open_store(tracking_uri) as tracking:
        found = find_experiment(tracking.store, experiment)
        tracking.store.restore_experiment(found.experiment_id)
    click.echo(f"restored experiment {found.name} with its runs")


@experiments.command()
@click.argument("experiment")
@click.argument("new_name")
@store_option
def rename(experiment: str, new_name: str, tracking_uri: str | None) -> None:
    """Give an EXPERIMENT a NEW_NAME."""
    from mlgate.cli.lookup import find_experiment, open_store

    with open_store(tracking_uri) as tracking:
        found = find_experiment(tracking.store, experiment)
        tracking.store.rename_experiment(found.experiment_id, new_name)
    click.echo(f"experiment {found.name} is now called {new_name}")


def _search(store: Store, deleted: bool, filter_string: str | None) -> list[Experiment]:
    from mlgate_tracking.entities import ViewType

    view = ViewType.ALL if deleted else ViewType.ACTIVE_ONLY
    found: list[Experiment] = []
    token: str | None = None
    while True:
        page = store.search_experiments(filter_string=filter_string, view_type=view, max_results=1000, page_token=token)
        found += page.items
        token = page.token
        if token is None:
            return found


__all__ = ["experiments"]
