"""`mlgate gc`: remove for good what was deleted."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict
from typing import TYPE_CHECKING

import click

from mlgate.cli.destination import destination_option
from mlgate.cli.output import json_option, print_json, print_table, store_option
from mlgate.errors import UsageError

if TYPE_CHECKING:
    from mlgate_tracking.store.garbage import Garbage


@click.command()
@click.option("--older-than", metavar="DURATION", help="Only what was deleted this long ago, as in 30d.")
@click.option(
    "--experiment-id", "experiment_ids", multiple=True, type=int, metavar="ID", help="Only in this experiment."
)
@destination_option
@click.option("--dry-run", is_flag=True, help="Say what would go, remove nothing.")
@click.option("--yes", is_flag=True, help="Do not ask.")
@store_option
@json_option
@click.pass_context
def gc(
    context: click.Context,
    older_than: str | None,
    experiment_ids: tuple[int, ...],
    artifacts_destination: str | None,
    dry_run: bool,
    yes: bool,
    tracking_uri: str | None,
    as_json: bool,
) -> None:
    """Remove deleted runs, logged models and experiments for good, with their files.

    What a live model version is made of stays, and so does what has files that cannot be reached (exit code 1).
    """
    from mlgate.cli.db import database_uri
    from mlgate.units import positive_seconds
    from mlgate_tracking.artifacts import is_proxied, repository_for, require_folder
    from mlgate_tracking.client import artifacts_destination_of
    from mlgate_tracking.store.garbage import collect, find_garbage, look_for_files
    from mlgate_tracking.store.sql import SqlStore
    from mlgate_tracking.store.values import now

    if as_json and not (yes or dry_run):
        raise UsageError("--json asks nothing: add --yes to remove, or --dry-run to look")
    uri = database_uri(tracking_uri)
    destination = artifacts_destination_of(uri, artifacts_destination)
    age = positive_seconds(older_than, "--older-than") if older_than else 0.0
    before = now() + 1 - int(age * 1000)
    with SqlStore(uri) as store:
        found = find_garbage(store, deleted_before=before, experiment_ids=experiment_ids)
        if any(item.stays is None and is_proxied(item.artifact_uri or "") for item in found):
            require_folder(destination, "say where the server keeps artifacts (--artifacts-destination)")
        garbage = look_for_files(
            found, lambda uri: bool(repository_for(uri, destination=destination).list(max_results=1).items)
        )
        removed = [item for item in garbage if item.stays is None]
        kept = [item for item in garbage if item.stays is not None]
        unreachable = len(kept) - sum(item.stays is not None for item in found)
        if not dry_run:
            if removed and not yes:
                click.confirm(f"Remove {_words(removed)} for good?", abort=True)
            done = collect(store, garbage, lambda uri: repository_for(uri, destination=destination).delete(""), before)
            removed, kept = done.removed, done.kept
    if as_json:
        print_json({"removed": [asdict(item) for item in removed], "kept": [asdict(item) for item in kept]})
    else:
        goes = "goes" if dry_run else "removed"
        rows = [
            (goes, item.kind, item.name, "no files" if item.artifact_uri and not item.files else "") for item in removed
        ]
        rows += [("stays", item.kind, item.name, item.stays or "") for item in kept]
        print_table(["", "kind", "name", "note"], rows, empty="nothing was deleted")
    context.exit(1 if unreachable else 0)


def _words(items: Sequence[Garbage]) -> str:
    kinds = [item.kind for item in items]
    words = [f"{kinds.count(kind)} {kind}{'s' * (kinds.count(kind) > 1)}" for kind in dict.fromkeys(kinds)]
    bare = sum(not item.files for item in items if item.artifact_uri is not None)
    return ", ".join(words) + (f" ({bare} of them without files)" if bare else "")


__all__ = ["gc"]
