"""`mlgate users`: who may use a shared server, and as whom."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from mlgate.cli.governance import when
from mlgate.cli.lookup import open_store
from mlgate.cli.output import json_option, print_json, print_table, store_option

if TYPE_CHECKING:
    from mlgate_tracking.users import IssuedToken


@click.group()
def users() -> None:
    """Add users of a shared server, give them tokens, take them away.

    The first user is an admin, and is added on the database itself or by whoever the server lets in; from then on the
    server takes users' tokens only.
    """


@users.command()
@click.argument("name")
@click.option(
    "--role", "roles", multiple=True, metavar="ROLE", help="admin, engine, or what approvals ask for; may be repeated."
)
@store_option
@json_option
def add(name: str, roles: tuple[str, ...], tracking_uri: str | None, as_json: bool) -> None:
    """Add NAME and print a token, this once: only its hash is kept."""
    from mlgate.user import current_user

    with open_store(tracking_uri) as tracking:
        issued = tracking.store.add_user(name, roles, user=current_user())
    _print(issued, as_json)


@users.command()
@click.argument("name")
@store_option
@json_option
def rotate(name: str, tracking_uri: str | None, as_json: bool) -> None:
    """Print a new token for NAME; the old one is worthless at once. A revoked user comes back, without roles."""
    from mlgate.user import current_user

    with open_store(tracking_uri) as tracking:
        issued = tracking.store.rotate_token(name, user=current_user())
    _print(issued, as_json)


@users.command()
@click.argument("name")
@store_option
def revoke(name: str, tracking_uri: str | None) -> None:
    """Take the token and the roles of NAME away."""
    from mlgate.user import current_user

    with open_store(tracking_uri) as tracking:
        tracking.store.revoke_user(name, user=current_user())
    click.echo(f"{name} may not come in any more", err=True)


@users.command("list")
@store_option
@json_option
def list_(tracking_uri: str | None, as_json: bool) -> None:
    """List users and their roles."""
    from mlgate_tracking.governance import encode

    with open_store(tracking_uri) as tracking:
        found = tracking.store.list_users()
    if as_json:
        print_json(encode(found))
        return
    rows = [
        (one.name, ", ".join(one.roles), when(one.created_at), one.created_by, when(one.revoked_at)) for one in found
    ]
    print_table(
        ["user", "roles", "added", "by", "revoked"],
        rows,
        empty="no users: anybody who reaches the server may do anything",
    )


@users.command()
@store_option
@json_option
def whoami(tracking_uri: str | None, as_json: bool) -> None:
    """Tell whom the store takes you for."""
    from mlgate.user import current_user
    from mlgate_tracking.governance import encode

    with open_store(tracking_uri) as tracking:
        known = tracking.store.whoami()
    if as_json:
        print_json(encode(known))
    elif known is None:
        click.echo(f"{current_user()} (by the name of this machine's user: the store asks for no proof)")
    else:
        roles = f" ({', '.join(sorted(known.roles))})" if known.roles else ""
        click.echo(f"{known.user}{roles}")


def _print(issued: IssuedToken, as_json: bool) -> None:
    from mlgate_tracking.governance import encode

    if as_json:
        print_json({"user": encode(issued.user), "token": issued.token})
        return
    click.echo(issued.token)
    roles = f" with the roles {', '.join(issued.user.roles)}" if issued.user.roles else ""
    click.echo(f"the token of {issued.user.name}{roles}, shown this once: for MLFLOW_TRACKING_TOKEN", err=True)


__all__ = ["users"]
