"""`mlgate db`: the schema of a database store."""

from __future__ import annotations

import click

from mlgate.cli.output import json_option, print_json
from mlgate.errors import UsageError


@click.group()
def db() -> None:
    """Look after the schema of a database store."""


@db.command()
@click.argument("uri", required=False)
@json_option
def upgrade(uri: str | None, as_json: bool) -> None:
    """Bring an older database to this version's schema (URI: the store, unless given). Make a backup first."""
    from mlgate_tracking.store.upgrade import upgrade_database

    before, after = upgrade_database(database_uri(uri))
    if as_json:
        print_json({"before": before, "after": after})
    else:
        click.echo(f"schema {after}, nothing to do" if before == after else f"schema {before} is now {after}")


@db.command()
@click.argument("uri", required=False)
@json_option
@click.pass_context
def check(context: click.Context, uri: str | None, as_json: bool) -> None:
    """Say which schema a database has; exit code 1 when it is not this version's."""
    from mlgate_tracking.store.schema import REVISION
    from mlgate_tracking.store.upgrade import revision_of

    found = revision_of(database_uri(uri))
    if as_json:
        print_json({"found": found, "wanted": REVISION, "current": found == REVISION})
    elif found is None:
        click.echo("no tables of mlgate: they are made on first use")
    elif found == REVISION:
        click.echo(f"schema {found}, as this mlgate wants it")
    else:
        advice = "run mlgate db upgrade" if found < REVISION else "upgrade mlgate"
        click.echo(f"schema {found}, this mlgate wants {REVISION}: {advice}")
    context.exit(0 if found == REVISION else 1)


def database_uri(uri: str | None) -> str:
    """The database that was named, else the store's own."""
    from mlgate.settings import load_settings

    settings = load_settings(tracking_uri=uri)
    if settings.remote:
        raise UsageError(f"{settings.tracking_uri} is a server: name its database, as in postgresql://host/mlgate")
    return settings.tracking_uri


__all__ = ["database_uri", "db"]
