"""`mlgate models` and `mlgate lineage`: registered models, their versions, champions, and where they come from."""

from __future__ import annotations

import uuid
from pathlib import Path
from typing import Any

import click

from mlgate.cli.governance import desk, measure_options, user_option, when
from mlgate.cli.output import json_option, print_json, print_table, store_option


@click.group()
def models() -> None:
    """Register models, look at them and protect them."""


@models.command("list")
@store_option
@json_option
def list_(tracking_uri: str | None, as_json: bool) -> None:
    """List registered models."""
    from mlgate_tracking.governance import encode

    with desk(tracking_uri, None) as at:
        found: list[Any] = []
        token: str | None = None
        while True:
            page = at.store.search_registered_models(max_results=1000, page_token=token)
            found += page.items
            token = page.token
            if token is None:
                break
    if as_json:
        print_json(encode(found))
        return
    rows = [
        (
            model.name,
            max((one.version for one in model.latest_versions), default=""),
            " ".join(f"{alias.alias}={alias.version}" for alias in model.aliases),
            " ".join(f"{one.current_stage}={one.version}" for one in model.latest_versions),
            when(model.last_updated_timestamp),
        )
        for model in found
    ]
    print_table(["model", "newest", "aliases", "stages", "changed"], rows, empty="no models are registered")


@models.command()
@click.argument("model")
@click.argument("source")
@store_option
@json_option
def register(model: str, source: str, tracking_uri: str | None, as_json: bool) -> None:
    """Make the model at SOURCE the next version of MODEL, which is created if need be.

    SOURCE is runs:/RUN_ID/PATH, models:/MODEL/VERSION, models:/MODEL_ID or an artifact URI.
    """
    from mlgate.actions import version_of
    from mlgate_tracking.governance import encode

    with desk(tracking_uri, None) as at:
        key = f"register-{uuid.uuid4().hex}"  # the client may have to ask twice
        made = version_of(at.tracking, {"model": model, "source": source}, idempotency_key=key)
    if as_json:
        print_json(encode(made))
        return
    click.echo(f"{made.name} version {made.version}")


@models.command()
@click.argument("model")
@click.option("--history", type=click.IntRange(0, 1000), default=20, show_default=True, help="How many changes.")
@store_option
@json_option
def show(model: str, history: int, tracking_uri: str | None, as_json: bool) -> None:
    """Show versions, stages and aliases of MODEL, and who was champion when."""
    from mlgate_tracking.governance import encode

    with desk(tracking_uri, None) as at:
        registered = at.store.get_registered_model(model)
        name = model.replace("'", "")
        versions = at.store.search_model_versions(filter_string=f"name = '{name}'", max_results=1000).items
        changes = at.store.search_promotions(model, max_results=max(history, 1)).items[:history]
        protection = at.store.get_protection(model)
    aliases: dict[int, list[str]] = {}
    for alias in registered.aliases:
        aliases.setdefault(alias.version, []).append(alias.alias)
    ordered = sorted(versions, key=lambda one: one.version)
    if as_json:
        print_json(
            {
                "model": encode(registered),
                "versions": [{**encode(one), "aliases": aliases.get(one.version, [])} for one in ordered],
                "history": encode(changes),
                "protection": encode(protection),
            }
        )
        return
    rows = [
        (one.version, one.current_stage, " ".join(aliases.get(one.version, [])), one.run_id or "", one.source)
        for one in ordered
    ]
    print_table(["version", "stage", "aliases", "run", "source"], rows, empty="it has no versions")
    if protection.protected:
        policy = f", by policies with digest {protection.policy_digest} only" if protection.policy_digest else ""
        click.echo(f"{model} is protected: its aliases and stages change through gates only{policy}")
    if changes:
        click.echo()
        print_table(
            ["when", "what", "target", "version", "before", "by", "why"],
            [
                (
                    when(one.created_at),
                    one.kind.value,
                    str(one.target),
                    one.version,
                    one.previous_version,
                    one.user,
                    one.comment,
                )
                for one in changes
            ],
        )


@models.command()
@click.argument("model")
@click.argument("first", type=int)
@click.argument("second", type=int)
@click.option("--data", metavar="DATASET", help="Score both versions on this file (path, URI or runs:/...).")
@click.option("--target", metavar="COLUMN", help="Column of the dataset that holds the truth.")
@click.option("--all", "everything", is_flag=True, help="Also what is the same.")
@measure_options
@store_option
@json_option
def compare(
    model: str,
    first: int,
    second: int,
    data: str | None,
    target: str | None,
    everything: bool,
    directory: Path,
    env_manager: str | None,
    tracking_uri: str | None,
    as_json: bool,
) -> None:
    """Compare two versions of MODEL: metrics, params, signature, size, environment, code."""
    from mlgate.lineage import compare as side_by_side
    from mlgate_tracking.governance import encode

    with desk(tracking_uri, None, directory=directory, env_manager=env_manager) as at:
        found = side_by_side(at.store, model, first, second, measure=at.measure, data=data, target=target)
    if as_json:
        print_json([encode(one) for one in found])
        return
    rows = [(one.kind, one.name, one.first, one.second) for one in found if everything or not one.same]
    print_table(["what", "name", f"version {first}", f"version {second}"], rows, empty="they are the same")


@models.command()
@click.argument("model")
@click.option(
    "--policy",
    "policy_file",
    type=click.Path(exists=True, dir_okay=False, path_type=Path),
    help="Only verdicts of this policy count, and the approvals that it asks for are asked for by the store itself.",
)
@user_option
@store_option
def protect(model: str, policy_file: Path | None, user: str | None, tracking_uri: str | None) -> None:
    """Let the aliases and stages of MODEL change through gates only."""
    from mlgate.policy import load_policy

    policy = load_policy(policy_file) if policy_file else None
    with desk(tracking_uri, user) as at:
        at.store.protect_model(
            model,
            policy_digest=policy.digest if policy else None,
            approvals=policy.required_approvals if policy else (),
            user=at.user,
        )


@models.command()
@click.argument("model")
@user_option
@store_option
def unprotect(model: str, user: str | None, tracking_uri: str | None) -> None:
    """Let MLflow's own calls change the aliases and stages of MODEL again."""
    with desk(tracking_uri, user) as at:
        at.store.protect_model(model, protected=False, user=at.user)


@click.command()
@click.argument("reference", metavar="MODEL[@ALIAS|/VERSION|/STAGE]")
@store_option
@json_option
def lineage(reference: str, tracking_uri: str | None, as_json: bool) -> None:
    """Show where a model version comes from: promotion, verdict, run, pipeline, commit, data, environment."""
    from mlgate.lineage import lineage as trace
    from mlgate_tracking.governance import encode

    with desk(tracking_uri, None) as at:
        found = trace(at.store, reference)
    if as_json:
        print_json(encode(found))
        return
    rows: list[tuple[str, Any]] = [
        ("version", f"{found.model} version {found.version}, stage {found.stage}"),
        ("aliases", " ".join(found.aliases)),
        ("source", found.source),
    ]
    if found.promotion is not None:
        by = f" by {found.promotion.user}" if found.promotion.user else ""
        rows.append(("promotion", f"{found.promotion.promotion_id}, {when(found.promotion.created_at)}{by}"))
    if found.verdict is not None:
        rows.append(("verdict", f"{found.verdict.verdict_id}, {found.verdict.status.value}, {found.verdict.policy}"))
        rows += [(f"  {name}", digest) for name, digest in sorted(found.verdict.digests.items())]
    rows += [
        ("run", found.run_id),
        ("pipeline", " < ".join(found.ancestors)),
        ("started by", found.started_by),
        ("project", found.project),
        ("entry point", found.entry_point),
        ("commit", found.commit),
        ("environment", found.environment),
        ("environment lock", found.environment_lock),
        ("engine", " ".join(part for part in (found.engine, found.engine_run_id) if part)),
        *((f"data {name}", digest) for name, digest in found.data.items()),
    ]
    print_table(["what", "which"], [row for row in rows if row[1]])


__all__ = ["lineage", "models"]
