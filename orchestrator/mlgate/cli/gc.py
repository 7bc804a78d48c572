"""`mlgate gc`: remove for good what was deleted."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict
from typing import TYPE_CHECKING

import click

from mlgate.cli.output import json_option, print_json, print_table, store_option

if TYPE_CHECKING:
    from mlgate_tracking.store.garbage import Garbage


@click.command()
@click.option("--older-than", metavar="DURATION", help="Only what was deleted this long ago, as in 30d.")
@click.option("--experiment-id", "experiment_ids", multiple=True, metavar="ID", help="Only in this experiment.")
@click.option("--dry-run", is_flag=True, help="Say what would go, remove nothing.")
@click.option("--yes", is_flag=True, help="Do not ask.")
@store_option
@json_option
def gc(
    older_than: str | None,
    experiment_ids: tuple[str, ...],
    dry_run: bool,
    yes: bool,
    tracking_uri: str | None,
    as_json: bool,
) -> None:
    """Remove deleted runs, logged models and experiments for good, with their files.

    What a live model version is made of stays.
    """
    from mlgate.cli.db import database_uri
    from mlgate.settings import load_settings
    from mlgate.units import positive_seconds
    from mlgate_tracking.artifacts import repository_for
    from mlgate_tracking.client import artifacts_destination_of
    from mlgate_tracking.store.garbage import collect, find_garbage
    from mlgate_tracking.store.sql import SqlStore
    from mlgate_tracking.store.values import now

    uri = database_uri(tracking_uri)
    destination = artifacts_destination_of(uri, load_settings().artifacts_destination)
    age = positive_seconds(older_than, "--older-than") if older_than else 0.0
    before = now() + 1 - int(age * 1000)
    with SqlStore(uri) as store:
        garbage = find_garbage(store, deleted_before=before, experiment_ids=experiment_ids)
        goes = [item for item in garbage if item.stays is None]
        if dry_run:
            removed, kept = goes, [item for item in garbage if item.stays is not None]
        else:
            if goes and not yes and not as_json:
                click.confirm(f"Remove {_words(goes)} for good?", abort=True)
            done = collect(store, garbage, lambda uri: repository_for(uri, destination=destination).delete(""), before)
            removed, kept = done.removed, done.kept
    if as_json:
        print_json({"removed": [asdict(item) for item in removed], "kept": [asdict(item) for item in kept]})
        return
    rows = [("goes" if dry_run else "removed", item.kind, item.name, "") for item in removed]
    rows += [("stays", item.kind, item.name, item.stays or "") for item in kept]
    print_table(["", "kind", "name", "because"], rows, empty="nothing was deleted")


def _words(items: Sequence[Garbage]) -> str:
    kinds = [item.kind for item in items]
    return ", ".join(f"{kinds.count(kind)} {kind}{'s' * (kinds.count(kind) > 1)}" for kind in dict.fromkeys(kinds))


__all__ = ["gc"]
