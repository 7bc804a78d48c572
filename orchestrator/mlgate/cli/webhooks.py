"""`mlgate webhooks`: who is told of promotions."""

from __future__ import annotations

from typing import TYPE_CHECKING, cast

import click

from mlgate.cli.governance import Desk, desk, webhook_settings
from mlgate.cli.output import json_option, print_json, print_table, store_option

if TYPE_CHECKING:
    from mlgate_tracking.contract import ServerStore


def _store(at: Desk) -> ServerStore:
    """Both kinds of store have the calls that these commands make."""
    return cast("ServerStore", at.store)


@click.group()
def webhooks() -> None:
    """Tell others of promotions, by HTTP, Slack-compatible channels or mail."""


@webhooks.command()
@click.argument("name")
@click.argument("url")
@click.option(
    "--event",
    "events",
    multiple=True,
    default=("model_version.promoted", "model_version.rolled_back"),
    show_default=True,
    help="What to tell; may be repeated.",
)
@click.option("--secret-env", metavar="VARIABLE", help="Environment variable that holds the secret for signatures.")
@store_option
@json_option
def add(
    name: str, url: str, events: tuple[str, ...], secret_env: str | None, tracking_uri: str | None, as_json: bool
) -> None:
    """Tell URL (https://, slack+https:// or mailto:) of events."""
    import os

    from mlgate_tracking.entities import WebhookEvent
    from mlgate_tracking.governance import encode

    secret = None
    if secret_env:
        secret = os.environ.get(secret_env)
        if not secret:
            raise click.BadParameter(f"variable {secret_env} is not set", param_hint="--secret-env")
    wanted = []
    for text in events:
        entity, dot, action = text.partition(".")
        if not dot:
            raise click.BadParameter(f"'{text}' is not an event, as in model_version.promoted", param_hint="--event")
        wanted.append(WebhookEvent(entity, action))
    with desk(tracking_uri, None) as at:
        if not at.tracking.settings.remote:
            from mlgate_tracking.server.webhooks import check_target

            check_target(url, webhook_settings(at.tracking.settings))
        made = _store(at).create_webhook(name, url, wanted, secret=secret)
    if as_json:
        print_json(encode(made))
    else:
        click.echo(made.webhook_id)


@webhooks.command("list")
@store_option
@json_option
def list_(tracking_uri: str | None, as_json: bool) -> None:
    """List webhooks, newest first."""
    from mlgate_tracking.governance import encode

    with desk(tracking_uri, None) as at:
        found = _store(at).list_webhooks(max_results=1000).items
    if as_json:
        print_json(encode(found))
        return
    rows = [
        (one.webhook_id, one.name, one.url, one.status, " ".join(f"{e.entity}.{e.action}" for e in one.events))
        for one in found
    ]
    print_table(["webhook", "name", "url", "status", "events"], rows, empty="nobody is told of anything")


@webhooks.command()
@click.argument("webhook_id", metavar="WEBHOOK")
@store_option
def remove(webhook_id: str, tracking_uri: str | None) -> None:
    """Tell it no more."""
    with desk(tracking_uri, None) as at:
        _store(at).delete_webhook(webhook_id)


@webhooks.command()
@store_option
def flush(tracking_uri: str | None) -> None:
    """Send what an embedded store still has to tell; with a server, the server does."""
    with desk(tracking_uri, None) as at:
        at.deliver()


__all__ = ["webhooks"]
