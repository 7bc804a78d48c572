"""`mlgate gate`: judge a version, replay past promotions under another policy, watch over health windows."""

from __future__ import annotations

from pathlib import Path

import click

from mlgate.cli.governance import (
    PASSED,
    PENDING,
    REJECTED,
    desk,
    measure_options,
    print_results,
    user_option,
    when,
)
from mlgate.cli.output import json_option, print_json, print_table, store_option

_POLICY = click.Path(exists=True, dir_okay=False, path_type=Path)


@click.group()
def gate() -> None:
    """Judge model versions by policies."""


@gate.command()
@click.argument("model")
@click.argument("version", type=int)
@click.option("--policy", "policy_file", type=_POLICY, required=True, help="Policy file (YAML).")
@click.option("--to", "to", metavar="TARGET", help="Alias, stage or both (champion,Production), not the policy's.")
@click.option("--no-record", is_flag=True, help="Do not store the verdict, and ask nobody for approval.")
@user_option
@measure_options
@store_option
@json_option
def check(
    model: str,
    version: int,
    policy_file: Path,
    to: str | None,
    no_record: bool,
    user: str | None,
    directory: Path,
    env_manager: str | None,
    tracking_uri: str | None,
    as_json: bool,
) -> int:
    """Judge VERSION of MODEL by a policy. Exit code: 0 passed, 1 rejected, 2 bad input, 3 waits for approval."""
    from mlgate.policy import load_policy
    from mlgate.promotion import check as judge
    from mlgate.promotion import parse_target
    from mlgate_tracking.governance import VerdictStatus, encode

    policy = load_policy(policy_file)
    target = parse_target(to, policy.ladder) if to else None
    with desk(tracking_uri, user, directory=directory, env_manager=env_manager) as at:
        verdict = judge(
            at.store, model, version, policy, target=target, user=at.user, measure=at.measure, record=not no_record
        )
    if as_json:
        print_json(encode(verdict))
    else:
        print_results(verdict.results)
        against = f"version {verdict.champion.version}" if verdict.champion.version is not None else "nobody"
        click.echo(f"{model} version {version} for {verdict.target} against {against}: {verdict.status.value}")
        if not no_record:
            click.echo(f"verdict {verdict.verdict_id}")
    return {VerdictStatus.PASSED: PASSED, VerdictStatus.PENDING: PENDING}.get(verdict.status, REJECTED)


@gate.command()
@click.option("--policy", "policy_file", type=_POLICY, required=True, help="Policy file (YAML).")
@click.option("--model", required=True, help="Registered model.")
@click.option("--last", type=click.IntRange(1, 1000), default=20, show_default=True, help="How many promotions.")
@measure_options
@store_option
@json_option
def replay(
    policy_file: Path,
    model: str,
    last: int,
    directory: Path,
    env_manager: str | None,
    tracking_uri: str | None,
    as_json: bool,
) -> None:
    """Tell which of the last promotions of a model would have gone otherwise under a policy."""
    from mlgate.policy import load_policy
    from mlgate.replay import replay as judge_again
    from mlgate_tracking.governance import encode

    policy = load_policy(policy_file)
    with desk(tracking_uri, None, directory=directory, env_manager=env_manager) as at:
        found = judge_again(at.store, model, policy, last=last, measure=at.measure)
    if as_json:
        print_json([encode(one) for one in found])
        return
    rows = [
        (
            when(one.promotion.created_at),
            one.promotion.version,
            one.promotion.previous_version,
            str(one.promotion.target),
            one.status.value,
            "; ".join(one.failures) or ("as it was" if not one.changed else ""),
        )
        for one in found
    ]
    print_table(["promoted", "version", "before", "target", "now", "because"], rows, empty="nothing was promoted yet")
    changed = sum(one.changed for one in found)
    click.echo(f"{changed} of {len(found)} promotions would have gone otherwise")


@gate.command()
@click.option("--model", help="Only this registered model.")
@click.option("--once", is_flag=True, help="Look once at every open window instead of staying until all are closed.")
@user_option
@measure_options
@store_option
@json_option
def watch(
    model: str | None,
    once: bool,
    user: str | None,
    directory: Path,
    env_manager: str | None,
    tracking_uri: str | None,
    as_json: bool,
) -> None:
    """Judge the health of freshly promoted models, roll back what is not well, finish what dead workers left."""
    import time

    from mlgate.promotion import tend
    from mlgate_tracking.governance import encode

    with desk(tracking_uri, user, directory=directory, env_manager=env_manager) as at:
        while True:
            seen = tend(at.store, user=at.user, model=model, measure=at.measure)
            at.deliver()
            waiting = [one for one in seen if one.done == "waiting"]
            if as_json:
                print_json([encode(one) for one in seen])
            else:
                rows = [
                    (one.intent.model, str(one.intent.target), one.intent.from_version, one.done, one.intent.reason)
                    for one in seen
                ]
                print_table(["model", "target", "version", "state", "reason"], rows, empty="nothing to watch over")
            if once or not waiting:
                return
            time.sleep(min(float(one.intent.checks.get("every", 60.0)) for one in waiting))


__all__ = ["gate"]
