"""`mlgate approvals`: what waits for somebody's word, and giving it."""

from __future__ import annotations

import click

from mlgate.cli.governance import desk, user_option, when
from mlgate.cli.output import json_option, print_json, print_table, store_option


@click.group()
def approvals() -> None:
    """List and answer what promotions wait for, and say who may answer."""


@approvals.command("list")
@click.option("--model", help="Only this registered model.")
@click.option(
    "--status",
    type=click.Choice(["pending", "approved", "rejected", "expired", "void", "all"]),
    default="pending",
    show_default=True,
)
@store_option
@json_option
def list_(model: str | None, status: str, tracking_uri: str | None, as_json: bool) -> None:
    """List approvals, newest first."""
    from mlgate_tracking.governance import ApprovalStatus, encode

    with desk(tracking_uri, None) as at:
        wanted = None if status == "all" else ApprovalStatus(status)
        found = at.store.search_approvals(model=model, status=wanted, max_results=1000).items
    if as_json:
        print_json(encode(found))
        return
    rows = [
        (
            one.approval_id,
            one.model,
            one.version,
            str(one.target),
            one.role,
            one.status.value,
            f"{sum(said.approved for said in one.decisions)}/{one.count}",
            one.requested_by,
            when(one.expires_at),
        )
        for one in found
    ]
    columns = ["approval", "model", "version", "target", "role", "status", "given", "asked by", "expires"]
    print_table(columns, rows, empty="nothing waits for approval")


def _decide(approval_id: str, approved: bool, comment: str, user: str | None, uri: str | None, as_json: bool) -> None:
    from mlgate.waking import wake
    from mlgate_tracking.governance import encode

    with desk(uri, user) as at:
        made = at.store.decide_approval(approval_id, at.user, approved, comment)
        woken = wake(at.store, made)
    if woken:
        click.echo(woken, err=as_json)
    if as_json:
        print_json(encode(made))
        return
    given = sum(said.approved for said in made.decisions)
    click.echo(f"{made.model} version {made.version} for {made.target}: {made.status.value} ({given} of {made.count})")
    if made.status.value == "approved":
        click.echo(f"promote it with: mlgate promote {made.model} {made.version} --verdict {made.verdict_id}")


@approvals.command()
@click.argument("approval_id", metavar="APPROVAL")
@click.option("--comment", default="", help="Kept with the approval.")
@user_option
@store_option
@json_option
def approve(approval_id: str, comment: str, user: str | None, tracking_uri: str | None, as_json: bool) -> None:
    """Say yes, as somebody who has the role and did not start the run."""
    _decide(approval_id, True, comment, user, tracking_uri, as_json)


@approvals.command()
@click.argument("approval_id", metavar="APPROVAL")
@click.option("--comment", default="", help="Kept with the rejection.")
@user_option
@store_option
@json_option
def reject(approval_id: str, comment: str, user: str | None, tracking_uri: str | None, as_json: bool) -> None:
    """Say no; one no settles it."""
    _decide(approval_id, False, comment, user, tracking_uri, as_json)


@approvals.command()
@click.argument("role")
@click.argument("member")
@user_option
@store_option
def grant(role: str, member: str, user: str | None, tracking_uri: str | None) -> None:
    """Let MEMBER answer for ROLE."""
    with desk(tracking_uri, user) as at:
        at.store.grant_role(role, member, user=at.user)


@approvals.command()
@click.argument("role")
@click.argument("member")
@user_option
@store_option
def revoke(role: str, member: str, user: str | None, tracking_uri: str | None) -> None:
    """Take ROLE away from MEMBER."""
    with desk(tracking_uri, user) as at:
        at.store.revoke_role(role, member, user=at.user)


@approvals.command()
@store_option
@json_option
def roles(tracking_uri: str | None, as_json: bool) -> None:
    """List who may answer for which role."""
    from mlgate_tracking.governance import encode

    with desk(tracking_uri, None) as at:
        members = at.store.role_members()
    if as_json:
        print_json(encode(members))
        return
    print_table(["role", "member"], [(one.role, one.user) for one in members], empty="nobody has a role yet")


__all__ = ["approvals"]
