"""`mlgate validate`: every mistake of a project's files, with line and column, without running anything."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import click

from mlgate.cli.output import json_option, print_json

if TYPE_CHECKING:
    from mlgate_projects.errors import Problem


@click.command()
@click.argument("uri", default=".")
@click.option("-v", "--version", metavar="REF", help="Branch, tag or commit of a git project.")
@click.option("--strict", is_flag=True, help="Count warnings as mistakes.")
@json_option
def validate(uri: str, version: str | None, strict: bool, as_json: bool) -> int:
    """Check the MLproject of the project at URI, its environment files and its pipelines.

    Prints a line for each mistake and warning; exit code 2 when there are mistakes.
    """
    from mlgate.plan import pipeline_problems
    from mlgate.settings import load_settings
    from mlgate_projects.errors import InvalidProject
    from mlgate_projects.parse import load_project
    from mlgate_projects.source import resolve_source

    source = resolve_source(uri, version, cache_root=load_settings().git)
    warnings: list[Problem] = []
    try:
        project = load_project(source.directory)
        warnings = [*project.warnings, *(project.notices if strict else ())]
        problems = pipeline_problems(project)
    except InvalidProject as error:
        problems = list(error.problems)
    warnings = [warning for warning in warnings if warning not in problems]
    if strict:
        problems, warnings = [*problems, *warnings], []
    if as_json:
        print_json({"mistakes": [_as_data(one) for one in problems], "warnings": [_as_data(one) for one in warnings]})
        return 2 if problems else 0
    for problem in sorted(problems, key=_place):
        click.echo(f"error: {_line(problem)}")
    for warning in sorted(warnings, key=_place):
        click.echo(f"warning: {_line(warning)}")
    click.echo(f"{_count(len(problems), 'mistake')}, {_count(len(warnings), 'warning')}", err=True)
    return 2 if problems else 0


def _place(problem: Problem) -> tuple[str, int, int]:
    return problem.file, problem.line, problem.column


def _line(problem: Problem) -> str:
    place = ":".join(str(part) for part in (problem.file, problem.line, problem.column) if part)
    return ": ".join(part for part in (place, problem.key, problem.message) if part)


def _count(number: int, what: str) -> str:
    return f"{number} {what}" if number == 1 else f"{number} {what}s"


def _as_data(problem: Problem) -> dict[str, Any]:
    return {
        "file": problem.file,
        "line": problem.line,
        "column": problem.column,
        "key": problem.key,
        "message": problem.message,
    }


__all__ = ["validate"]
