"""`mlgate cache`: why a step of a pipeline would run again."""

from __future__ import annotations

from collections.abc import Sequence

import click

from mlgate.cli.output import json_option, print_json, store_option


@click.group()
def cache() -> None:
    """Look at the cache of pipeline steps."""


@cache.command()
@click.argument("step")
@click.argument("uri", default=".")
@click.option("-p", "--pipeline", required=True, metavar="NAME", help="The pipeline that the step belongs to.")
@click.option("-v", "--version", metavar="REF", help="Branch, tag or commit of a git project.")
@click.option("-P", "--param-list", "parameters", multiple=True, metavar="NAME=VALUE", help="A pipeline parameter.")
@click.option("--env-manager", metavar="KIND", help="As it would be given to run-project.")
@json_option
@store_option
def explain(
    step: str,
    uri: str,
    pipeline: str,
    version: str | None,
    parameters: Sequence[str],
    env_manager: str | None,
    as_json: bool,
    tracking_uri: str | None,
) -> None:
    """Say whether STEP of the project at URI would run, and which of its inputs have changed since it last did."""
    from mlgate.binding import Overrides
    from mlgate.planning import plan_project, step_inputs
    from mlgate.settings import load_settings
    from mlgate.step_cache import explain as explain_inputs
    from mlgate.step_cache import find_cached
    from mlgate.tracking import open_tracking

    settings = load_settings(tracking_uri=tracking_uri)
    values = dict(pair.partition("=")[::2] for pair in parameters)
    planned = plan_project(uri, pipeline, values, settings=settings, version=version)
    wanted = planned.plan.step(step)
    if wanted.kind != "run" or wanted.cache is None:
        raise click.UsageError(f"step {step} of pipeline {pipeline} is not cached; add cache: true to it")
    overrides = Overrides(env_manager=env_manager)
    keys: dict[str, str] = {}
    for name in sorted(planned.plan.upstream(step), key=[one.name for one in planned.plan.steps].index):
        before = planned.plan.step(name)
        if before.kind == "run" and before.cache is not None:
            keys[name] = ",".join(one.key for one in step_inputs(before, planned, settings, overrides, keys))
    rows = []
    with open_tracking(settings) as tracking:
        for map_index, inputs in zip(
            wanted.instances, step_inputs(wanted, planned, settings, overrides, keys), strict=True
        ):
            hit = find_cached(tracking, inputs.key, wanted.cache)
            last, changes = (hit, []) if hit is not None else explain_inputs(tracking, planned.plan, inputs, map_index)
            label = f"{step}[{map_index}]" if map_index >= 0 else step
            rows.append(
                {
                    "step": label,
                    "key": inputs.key,
                    "hit": hit is not None,
                    "run_id": last.info.run_id if last else None,
                    "changes": changes or ([] if hit else ["its result is too old for the cache rule"]),
                }
            )
    if as_json:
        print_json(rows)
        return
    for row in rows:
        if row["hit"]:
            click.echo(f"{row['step']}: in the cache, from run {row['run_id']}")
            continue
        click.echo(f"{row['step']}: would run" + (f"; since run {row['run_id']}:" if row["run_id"] else ""))
        changes = row["changes"]
        assert isinstance(changes, list)
        for change in changes:
            click.echo(f"  {change}")


__all__ = ["cache"]
