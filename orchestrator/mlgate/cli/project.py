"""`mlgate project show URI`: what a project offers."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import click

from mlgate.cli.output import json_option, print_json, print_table

if TYPE_CHECKING:
    from mlgate_projects.source import Source
    from mlgate_projects.spec import EnvSpec, ProjectSpec


@click.group()
def project() -> None:
    """Look at a project."""


@project.command()
@click.argument("uri", default=".")
@click.option("-v", "--version", metavar="REF", help="Branch, tag or commit of a git project.")
@click.option("--strict", is_flag=True, help="Make warnings errors: unknown keys, types that nobody defined.")
@json_option
def show(uri: str, version: str | None, strict: bool, as_json: bool) -> None:
    """Print name, environment, entry points with their parameters, and pipelines of the project at URI."""
    from mlgate.settings import load_settings
    from mlgate_projects.parse import load_project
    from mlgate_projects.parse import strict as refuse_warnings
    from mlgate_projects.source import resolve_source

    source = resolve_source(
        uri, version=version, cache_root=load_settings().git, progress=lambda line: click.echo(line, err=True)
    )
    spec = load_project(source.directory)
    if strict:
        refuse_warnings(spec)
    if as_json:
        print_json(_as_data(spec, source))
        return
    commit = f" at {source.commit[:12]}" if source.commit else ""
    click.echo(f"{spec.name or '(no name)'} from {source.name}{commit}")
    click.echo(f"environment: {describe(spec.environment)}")
    rows = [
        (
            entry_point.name,
            parameter.name if parameter else "",
            parameter.type if parameter else "",
            "(required)" if parameter and parameter.required else (parameter.default if parameter else ""),
        )
        for entry_point in spec.entry_points.values()
        for parameter in (entry_point.parameters or (None,))
    ]
    print_table(["entry point", "parameter", "type", "default"], rows, empty="no entry points; run a script with -e")
    for pipeline in spec.pipelines.values():
        steps = pipeline.data.get("steps") if isinstance(pipeline.data, dict) else None
        click.echo(f"pipeline {pipeline.name}: {' → '.join(map(str, steps or ()))}")
    for warning in spec.warnings:
        click.echo(f"warning: {warning}", err=True)


def describe(spec: EnvSpec) -> str:
    """One line: kind, and the file or image that it comes from."""
    place = getattr(spec, "file", "") or getattr(spec, "image", "") or getattr(spec, "python", "")
    return f"{spec.kind} ({place})" if place else spec.kind


def _as_data(spec: ProjectSpec, source: Source) -> dict[str, Any]:
    from dataclasses import asdict

    def environment(env: EnvSpec | None) -> dict[str, Any] | None:
        return None if env is None else {"kind": env.kind, **asdict(env)}

    return {
        "name": spec.name,
        "source": source.name,
        "commit": source.commit,
        "directory": str(spec.directory),
        "file": spec.file,
        "environment": environment(spec.environment),
        "entry_points": {
            entry_point.name: {
                "command": entry_point.command,
                "parameters": [
                    {"name": parameter.name, "type": parameter.type, "default": parameter.default}
                    for parameter in entry_point.parameters
                ],
                "environment": environment(entry_point.environment),
            }
            for entry_point in spec.entry_points.values()
        },
        "pipelines": {name: pipeline.data for name, pipeline in spec.pipelines.items()},
        "warnings": [str(warning) for warning in spec.warnings],
    }


__all__ = ["describe", "project"]
