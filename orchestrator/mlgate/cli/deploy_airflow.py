"""`mlgate deploy airflow`: a DAG file of three lines for a project, and the plan that it is made from."""

from __future__ import annotations

import re
import time
from pathlib import Path

import click

from mlgate.cli.run import pairs
from mlgate.errors import UsageError

_HEAD = """\
# Written by `mlgate deploy airflow`; yours from now on. Needs mlgate where Airflow runs, and nothing of the project's.
from datetime import datetime

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
@click.option("--experiment-name", metavar="NAME", help="Instead of what the pipeline says.")
@click.option(
    "--schedule", metavar="EXPR", help="As in '@daily' or '0 3 * * *'; by default the DAG waits for a trigger."
)
@click.option("--conn-id", metavar="ID", help="The connection of type mlgate that its tasks use.")
@click.option(
    "-o", "--output", type=click.Path(file_okay=False, path_type=Path), default="dags", show_default=True,
    help="The folder to write to.",
)  # fmt: skip
@click.option("--force", is_flag=True, help="Overwrite the files.")
def airflow(
    uri: str,
    pipelines: tuple[str, ...],
    entry_point: str | None,
    version: str | None,
    parameters: dict[str, str],
    experiment_name: str | None,
    schedule: str | None,
    conn_id: str | None,
    output: Path,
    force: bool,
) -> None:
    """Write a DAG file for each pipeline of the project at URI, with its plan beside it.

    The plan pins the commit of a git project, so that loading the DAG file fetches nothing; write it again to move on.
    """
    from mlgate.planning import plan_project
    from mlgate.settings import load_settings

    if entry_point is not None and pipelines:
        raise UsageError("--entry-point and --pipeline exclude each other")
    settings = load_settings()

    def plan(pipeline: str | None, name: str = "main") -> tuple[str, str, str]:
        """DAG id, text of the DAG file, text of the plan (empty where none is needed)."""
        planned = plan_project(
            uri, pipeline, parameters, settings=settings, version=version, entry_point=name,
            experiment=experiment_name, progress=lambda line: click.echo(line, err=True),
        )  # fmt: skip
        project = planned.project.name or planned.source.name.rstrip("/").rpartition("/")[2].removesuffix(".git")
        dag_id = re.sub(r"[^\w.-]+", "_", f"{project}_{pipeline or name}")
        options = {"schedule": schedule, "start_date": _today()}
        connection = {"mlgate_conn_id": conn_id} if conn_id else {}
        if pipeline is not None:
            experiment = {"experiment_name": experiment_name} if experiment_name else {}
            call = _call("ProjectDag", dag_id, {"source": f"{dag_id}.plan.json", **options, **experiment, **connection})
            text = f"{_HEAD}from mlgate.airflow import ProjectDag\n\n{call}\n"
            return dag_id, text, planned.plan.to_json() + "\n"
        run = {
            "uri": planned.plan.uri,
            "entry_point": name,
            "commit": planned.plan.commit if planned.source.kind == "git" else None,
            "parameters": parameters,
            "experiment_name": experiment_name,
            **connection,
        }
        task = _call("RunProjectOperator", None, {"task_id": name, **{key: one for key, one in run.items() if one}})
        head = _call("DAG", dag_id, {**options, "catchup": False})
        imports = "from airflow.sdk import DAG\n\nfrom mlgate.airflow import RunProjectOperator\n\n"
        return dag_id, f"{_HEAD}{imports}with {head}:\n    {task}\n", ""

    if entry_point is not None:
        found = [plan(None, entry_point)]
    else:
        names = pipelines or _pipelines(uri, version)
        found = [plan(name) for name in names] if names else [plan(None)]
    files = {output / f"{dag_id}.py": text for dag_id, text, _ in found}
    files |= {output / f"{dag_id}.plan.json": text for dag_id, _, text in found if text}
    there = [str(file) for file in files if file.exists()]
    if there and not force:
        raise UsageError(f"{there[0]}: is there already; add --force to overwrite it, or -o for another place")
    output.mkdir(parents=True, exist_ok=True)
    for file, text in files.items():
        file.write_text(text, encoding="utf-8")
        click.echo(f"wrote {file}")


def _pipelines(uri: str, version: str | None) -> list[str]:
    from mlgate.settings import load_settings
    from mlgate_projects.parse import load_project
    from mlgate_projects.source import resolve_source

    source = resolve_source(uri, version, cache_root=load_settings().git)
    return list(load_project(source.directory).pipelines)


def _today() -> object:
    now = time.gmtime()
    return _Code(f"datetime({now.tm_year}, {now.tm_mon}, {now.tm_mday})")


class _Code(str):
    """Text that goes into the file as it is."""

    __slots__ = ()


def _call(name: str, first: str | None, arguments: dict[str, object]) -> str:
    shown = [f"{key}={value if isinstance(value, _Code) else _quoted(value)}" for key, value in arguments.items()]
    return f"{name}({', '.join(([_quoted(first)] if first is not None else []) + shown)})"


def _quoted(value: object) -> str:
    """Python source of a value, with double quotes where that is as good."""
    text = repr(value)
    return f'"{value}"' if isinstance(value, str) and text == f"'{value}'" and '"' not in value else text


__all__ = ["airflow"]
