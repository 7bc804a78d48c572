"""`mlgate promote` and `mlgate rollback`."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from mlgate.cli.governance import PASSED, PENDING, REJECTED, desk, measure_options, print_results, user_option
from mlgate.cli.output import json_option, print_json, store_option

if TYPE_CHECKING:
    from mlgate_tracking.governance import Promotion


@click.command()
@click.argument("model")
@click.argument("version", type=int)
@click.option("--to", metavar="TARGET", help="Alias, stage or both: champion, Production, champion,Production.")
@click.option(
    "--policy",
    "policy_file",
    type=click.Path(exists=True, dir_okay=False, path_type=Path),
    help="Gates to pass.",
)
@click.option("--verdict", "verdict_id", metavar="ID", help="A verdict of `mlgate gate check` instead of judging anew.")
@click.option("--expect", metavar="CURRENT", help="Version that must hold the target now, or none.")
@click.option("--comment", default="", help="Why; kept with the promotion.")
@click.option("--idempotency-key", metavar="KEY", help="The same key again gives the first answer.")
@click.option("--watch", "stay", is_flag=True, help="Stay and watch over the policy's health window.")
@user_option
@measure_options
@store_option
@json_option
def promote(
    model: str,
    version: int,
    to: str | None,
    policy_file: Path | None,
    verdict_id: str | None,
    expect: str | None,
    comment: str,
    idempotency_key: str | None,
    stay: bool,
    user: str | None,
    directory: Path,
    env_manager: str | None,
    tracking_uri: str | None,
    as_json: bool,
) -> int:
    """Promote VERSION of MODEL if its gates let it through.

    Exit code: 0 promoted, 1 rejected, rolled back or somebody else was faster, 2 bad input, 3 waits for approval.
    """
    from mlgate.policy import load_policy
    from mlgate.promotion import Outcome, parse_target, watch
    from mlgate.promotion import promote as promote_version
    from mlgate_tracking.governance import encode

    policy = load_policy(policy_file) if policy_file else None
    target = parse_target(to, policy.ladder if policy else ()) if to else None
    with desk(tracking_uri, user, directory=directory, env_manager=env_manager) as at:
        result = promote_version(
            at.store,
            model,
            version,
            target=target,
            policy=policy,
            verdict=at.store.get_verdict(verdict_id) if verdict_id else None,
            expect=_expected(expect),
            idempotency_key=idempotency_key,
            user=at.user,
            comment=comment,
            measure=at.measure,
        )
        at.deliver()
        watched = None
        if stay and result.promotion is not None and result.promotion.intent_id and result.promoted:
            watched = watch(at.store, result.promotion.intent_id, user=at.user, measure=at.measure)
            at.deliver()
    if as_json:
        print_json({**encode(result), **({"watched": encode(watched)} if watched else {})})
    else:
        if result.verdict is not None:
            print_results(result.verdict.results)
        _tell(model, version, result)
        if watched is not None:
            click.echo(f"health: {watched.done.replace('_', ' ')}: {watched.intent.reason}")
    if watched is not None and watched.done == "rolled_back":
        return REJECTED
    return {Outcome.PROMOTED: PASSED, Outcome.PENDING: PENDING}.get(result.outcome, REJECTED)


def _tell(model: str, version: int, result: Any) -> None:
    click.echo(f"{model} version {version}: {result.outcome.value.replace('_', ' ')}")
    if result.promotion is not None:
        click.echo(_sentence(result.promotion))
    for approval in result.approvals:
        if result.promotion is None:
            click.echo(f"approval {approval.approval_id} ({approval.role}): {approval.status.value}")
    for one in result.smoke:
        for reason in one.reasons:
            click.echo(f"smoke check {one.gate}: {reason.message}")


def _sentence(promotion: Promotion) -> str:
    held = f"version {promotion.version}" if promotion.version is not None else "nobody"
    before = f"version {promotion.previous_version}" if promotion.previous_version is not None else "nobody"
    archived = f"; archived: {', '.join(map(str, promotion.archived))}" if promotion.archived else ""
    again = " (already done)" if promotion.replayed else ""
    return f"{promotion.target} is held by {held}, before by {before}{archived}{again}; {promotion.promotion_id}"


def _expected(text: str | None) -> Any:
    from mlgate_tracking.governance import ANY

    if text is None:
        return ANY
    if text.lower() in ("none", "nobody"):
        return None
    if not text.isdecimal():
        raise click.BadParameter(f"'{text}' is not a version; write a number or none", param_hint="--expect")
    return int(text)


@click.command()
@click.argument("model")
@click.option("--to", "to_version", type=int, metavar="VERSION", help="Instead of the champion before the present one.")
@click.option("--target", metavar="TARGET", help="Alias or stage; by default that of the last promotion.")
@click.option("--reason", default="", help="Why; kept with the rollback.")
@user_option
@store_option
@json_option
def rollback(
    model: str,
    to_version: int | None,
    target: str | None,
    reason: str,
    user: str | None,
    tracking_uri: str | None,
    as_json: bool,
) -> None:
    """Move the champion of MODEL back, in one transaction like a promotion."""
    from mlgate.promotion import parse_target
    from mlgate.promotion import rollback as roll_back
    from mlgate_tracking.governance import encode

    with desk(tracking_uri, user) as at:
        done = roll_back(
            at.store,
            model,
            target=parse_target(target) if target else None,
            to_version=to_version,
            reason=reason,
            user=at.user,
        )
        at.deliver()
    if as_json:
        print_json(encode(done))
    else:
        click.echo(_sentence(done))


__all__ = ["promote", "rollback"]
