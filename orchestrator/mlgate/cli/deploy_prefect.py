"""`mlgate deploy prefect`: a `prefect.yaml` for a project, checked before it is written."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from mlgate.cli.run import pairs
from mlgate.errors import UsageError

PREFECT_ENTRYPOINT = "mlgate.prefect.deployed.project"
_HEAD = """\
# Written by `mlgate deploy prefect`; yours from now on. Deploy it with `prefect deploy --all`.
# The flow comes with mlgate, so workers need `pip install mlgate prefect` (or an image with them) and no code of yours:
# the project is fetched from its URI when the flow runs.
"""


@click.command()
@click.argument("uri")
@click.option("--pipeline", "pipelines", multiple=True, metavar="NAME", help="By default all; repeat for more.")
@click.option("-e", "--entry-point", metavar="NAME", help="An entry point instead of pipelines.")
@click.option("-v", "--version", metavar="REF", help="Branch, tag or commit of a git project.")
@click.option(
    "-P", "--param-list", "parameters", multiple=True, metavar="NAME=VALUE", callback=pairs,
    help="A parameter that each run gets; repeat for more.",
)  # fmt: skip
@click.option("--work-pool", default="default-process-pool", show_default=True, metavar="NAME")
@click.option("--image", metavar="NAME", help="For a Docker pool: the image, with mlgate and Prefect in it.")
@click.option("--cron", metavar="EXPR", help="A schedule, as in '0 3 * * *'.")
@click.option("--timezone", default="UTC", show_default=True)
@click.option("--on-promotion", metavar="MODEL", help="Run after each promotion of this registered model.")
@click.option("--server", metavar="NAME", help="The TrackingServer block to use.")
@click.option(
    "-o", "--output", type=click.Path(dir_okay=False, path_type=Path), default="prefect.yaml", show_default=True
)
@click.option("--force", is_flag=True, help="Overwrite the file.")
def prefect(
    uri: str,
    pipelines: tuple[str, ...],
    entry_point: str | None,
    version: str | None,
    parameters: dict[str, str],
    work_pool: str,
    image: str | None,
    cron: str | None,
    timezone: str,
    on_promotion: str | None,
    server: str | None,
    output: Path,
    force: bool,
) -> None:
    """Write prefect.yaml with a deployment for each pipeline of the project at URI."""
    import yaml

    from mlgate.plan import make_plan
    from mlgate.resolve import resolve_step
    from mlgate.settings import load_settings
    from mlgate.step import Engine, Step
    from mlgate_projects.parse import load_project
    from mlgate_projects.source import resolve_source

    if entry_point is not None and pipelines:
        raise UsageError("--entry-point and --pipeline exclude each other")
    if output.exists() and not force:
        raise UsageError(f"{output}: is there already; add --force to overwrite it, or -o for another place")

    def say(line: str) -> None:
        click.echo(line, err=True)

    settings = load_settings()
    source = resolve_source(uri, version, cache_root=settings.git, progress=say)
    project = load_project(source.directory)
    name = project.name or uri.rstrip("/").rpartition("/")[2].removesuffix(".git")
    targets: list[str | None] = [None] if entry_point is not None else list(pipelines or project.pipelines)
    deployments = []
    for pipeline in targets or [None]:
        what = pipeline or entry_point or "main"
        # Mistakes are to show here, not at three in the morning.
        make_plan(project, pipeline, parameters, uri=source.uri, entry_point=what)
        if pipeline is None:
            alone = Step(uri, Engine("prefect", ""), entry_point=what, parameters=parameters)
            resolve_step(alone, settings, progress=say, source=source, project=project)
        wanted = {
            "uri": source.uri,  # without credentials: git on the worker has its own
            "pipeline": pipeline,
            "entry_point": None if pipeline else what,
            "version": version,
            "server": server,
            "parameters": parameters,
        }
        deployment: dict[str, Any] = {
            "name": f"{name}-{what}",
            "description": f"{'Pipeline' if pipeline else 'Entry point'} {what} of {source.uri}",
            "entrypoint": PREFECT_ENTRYPOINT,
            "tags": ["mlgate"],
            "parameters": {key: value for key, value in wanted.items() if value},
            "work_pool": {"name": work_pool, **({"job_variables": {"image": image}} if image else {})},
            "concurrency_limit": {"limit": 1, "collision_strategy": "ENQUEUE" if on_promotion else "CANCEL_NEW"},
        }
        if cron:
            deployment["schedules"] = [{"cron": cron, "timezone": timezone}]
        if on_promotion:
            resource = {"prefect.resource.id": f"mlgate.model.{on_promotion}"}
            deployment["triggers"] = [{"type": "event", "expect": ["mlgate.model.promoted"], "match": resource}]
        deployments.append(deployment)
    data = {
        "name": name,
        "pull": [{"prefect.deployments.steps.set_working_directory": {"directory": "."}}],
        "deployments": deployments,
    }
    output.write_text(_HEAD + yaml.safe_dump(data, sort_keys=False, width=110))
    click.echo(f"wrote {output}: {', '.join(deployment['name'] for deployment in deployments)}")
    click.echo(f"deploy with: prefect deploy --all --prefect-file {output}")


__all__ = ["prefect"]
