"""`run-project` (and `mlgate run`): run one entry point of a project, tracked."""

from __future__ import annotations

import json
import re
import sys
import threading
import uuid
from collections.abc import Container, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from mlgate.cli import signals
from mlgate.cli.output import store_option

if TYPE_CHECKING:
    from mlgate.runner import Hooks
    from mlgate.settings import Settings
    from mlgate.step import Step, StepResult

ENV_MANAGERS = ["local", "system", "virtualenv", "uv", "conda", "docker", "external"]


def pairs(_ctx: click.Context, param: click.Parameter, values: Sequence[str]) -> dict[str, str]:
    """What a repeated NAME=VALUE option comes to."""
    found: dict[str, str] = {}
    for value in values:
        name, equals, text = value.partition("=")
        if not equals or not name:
            raise click.BadParameter(f"'{value[:60]}' is not NAME=VALUE, as in {param.opts[0]} alpha=0.5")
        if name in found:
            raise click.BadParameter(f"'{name}' is given twice")
        found[name] = text
    return found


def _from_file(file: Path) -> dict[str, str]:
    from mlgate_projects.document import read_document

    document, duplicates = read_document(file, str(file))
    if duplicates:
        raise click.UsageError(str(duplicates[0]))
    data = {} if document.data is None else document.data
    if not isinstance(data, dict) or any(isinstance(value, dict | list) or value is None for value in data.values()):
        raise click.UsageError(f"--param-file {file}: must hold names and single values, as in {{alpha: 0.5}}")
    # A number stays as it is written, so that 0.10 does not become 0.1.
    return {str(name): document.text(name) or str(value) for name, value in data.items()}


def _docker_args(_ctx: click.Context, _param: click.Parameter, values: Sequence[str]) -> dict[str, str | bool]:
    args: dict[str, str | bool] = {}
    for value in values:
        name, equals, text = value.partition("=")
        if name in args:
            raise click.BadParameter(f"'{name}' is given twice")
        args[name] = text if equals else True
    return args


def _complete_entry_point(ctx: click.Context, _param: click.Parameter, incomplete: str) -> list[str]:
    directory = Path(str(ctx.params.get("uri") or "."))
    if not directory.is_dir():
        return []
    from mlgate_projects.parse import load_project

    return [name for name in load_project(directory).entry_points if name.startswith(incomplete)]


@click.command(context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 120})
@click.argument("uri")
@click.option(
    "-e", "--entry-point", default="main", show_default=True, metavar="NAME", shell_complete=_complete_entry_point,
    help="Entry point of the project, or a script in it (train.py).",
)  # fmt: skip
@click.option("-v", "--version", metavar="REF", help="Branch, tag or commit of a git project.")
@click.option(
    "-P", "--param-list", "parameters", multiple=True, metavar="NAME=VALUE", callback=pairs,
    help="A parameter; repeat for more. Ones that the project does not declare are appended as --NAME VALUE.",
)  # fmt: skip
@click.option(
    "--param-file", type=click.Path(exists=True, dir_okay=False, path_type=Path),
    help="Parameters from a JSON or YAML file of names and values, of any length; -P wins over it.",
)  # fmt: skip
@click.option(
    "-A", "--docker-args", multiple=True, metavar="NAME=VALUE", callback=_docker_args,
    help="An argument for docker run, as in -A gpus=all or -A t.",
)  # fmt: skip
@click.option("--experiment-name", envvar="MLFLOW_EXPERIMENT_NAME", metavar="NAME", help="Created when it is new.")
@click.option("--experiment-id", envvar="MLFLOW_EXPERIMENT_ID", metavar="ID")
@click.option("--run-name", metavar="NAME", help="Name of the run; made up when left away.")
@click.option("--env-manager", type=click.Choice(ENV_MANAGERS), help="Instead of what the project declares.")
@click.option("--python", metavar="PATH", help="Interpreter for --env-manager external.")
@click.option("--conda-tool", type=click.Choice(["rattler", "conda", "mamba", "micromamba"]), help="Who solves conda.")
@click.option("--strict-python", is_flag=True, help="Refuse another patch version of Python than the one asked for.")
@click.option("--locked", is_flag=True, help="Refuse to resolve packages anew when the lock has drifted.")
@click.option("--offline", is_flag=True, help="Use only what is cached.")
@click.option("--build-image", is_flag=True, help="Docker: build an image that holds the project's code.")
@click.option("--storage-dir", type=click.Path(file_okay=False), help="Where remote path parameters are downloaded to.")
@click.option("--timeout", metavar="TIME", help="End the step after this long: 90, 90s, 30m, 2h.")
@click.option("-b", "--backend", default="local", hidden=True)
@click.option("-c", "--backend-config", hidden=True)
@click.option("--run-id", hidden=True)
@click.option("--pipeline", metavar="NAME", help="Run a pipeline of the project instead of one entry point.")
@click.option("-j", "--jobs", type=click.IntRange(1, 256), help="Steps of a pipeline at a time; 4 when left away.")
@click.option("-k", "--keep-going", is_flag=True, help="After a failed step go on with what does not need it.")
@click.option("--no-cache", is_flag=True, help="Run every step, also those whose inputs have not changed.")
@click.option("--resume", metavar="RUN_ID", help="Go on with a pipeline's run: what it finished does not run again.")
@click.option("--from", "from_step", metavar="STEP", help="Run this step and all that need it; take the rest over.")
@click.option("--only", metavar="STEP", help="Run this step alone; take what it needs over from an earlier run.")
@click.option("--graph", type=click.Choice(["text", "mermaid"]), help="Draw the pipeline; run nothing.")
@click.option("--plan", is_flag=True, help="Print what would happen; change nothing.")
@click.option("--json", "as_json", is_flag=True, help="One JSON object on standard output, everything else on stderr.")
@click.option("-q", "--quiet", is_flag=True, help="Print nothing but the step's own output.")
@click.option("--no-system-metrics", is_flag=True, help="Do not sample CPU, memory, disk, network and GPUs.")
@click.option("--no-autolog", is_flag=True, help="Do not log frameworks automatically.")
@store_option
def run(**options: Any) -> int:
    """Run a project from URI: a directory, a git URL (https, ssh, file), each with #subdirectory if need be.

    The step runs in the environment that the project declares, and everything about it is in the tracking store.
    """
    from mlgate.settings import load_settings

    _check_options(options)
    if options["param_file"]:
        options["parameters"] = {**_from_file(options["param_file"]), **options["parameters"]}
    settings = load_settings(tracking_uri=options["tracking_uri"])
    if options["pipeline"]:
        from mlgate.cli.pipeline import pipeline_command

        return pipeline_command(options, settings)
    step = _step(options)
    if options["plan"]:
        return _print_plan(step, settings, options)
    from mlgate.runner import run_step
    from mlgate_projects.source import resolve_source

    cancel, printed = threading.Event(), set[str]()
    hooks = _hooks(options, cancel, printed)
    with signals.interrupting():
        source = resolve_source(step.uri, step.version, cache_root=settings.git, progress=hooks.progress)
    with signals.setting(cancel):
        result = run_step(step, settings=settings, hooks=hooks, source=source)
    _report(result, settings, options, printed)
    return result.exit_code


def _check_options(options: dict[str, Any]) -> None:
    if options["experiment_name"] is not None and options["experiment_id"] is not None:
        raise click.UsageError("--experiment-name and --experiment-id exclude each other")
    for name in ("resume", "from_step", "only", "graph", "keep_going", "no_cache", "jobs"):
        if options[name] and not options["pipeline"]:
            option = {"from_step": "from"}.get(name, name.replace("_", "-"))
            raise click.UsageError(f"--{option} is for pipelines; add --pipeline NAME")
    if options["backend"] != "local":
        raise click.UsageError(
            f"--backend {options['backend']}: mlgate runs steps here, or under Airflow and Prefect; see docs/how-to"
        )


def _step(options: dict[str, Any]) -> Step:
    from mlgate.step import Engine, Step
    from mlgate.units import positive_seconds

    extra = {
        name: options[name]
        for name in ("python", "conda_tool", "strict_python", "locked", "offline", "build_image", "docker_args")
        if options[name]
    }
    engine_id = options["run_id"] or f"local-{uuid.uuid4().hex}"
    return Step(
        uri=options["uri"],
        engine=Engine("local", engine_id),
        name=options["entry_point"],
        entry_point=options["entry_point"],
        parameters=options["parameters"],
        version=options["version"],
        env_manager=options["env_manager"],
        experiment_name=options["experiment_name"],
        experiment_id=options["experiment_id"],
        run_name=options["run_name"],
        timeout=positive_seconds(options["timeout"], "--timeout") if options["timeout"] else None,
        storage_dir=options["storage_dir"],
        autolog=False if options["no_autolog"] else None,
        system_metrics=not options["no_system_metrics"],
        env_options=extra,
    )


def _hooks(options: dict[str, Any], cancel: threading.Event, printed: set[str]) -> Hooks:
    """Hooks that show everything to the user; ids in lines `Run ID: …` of the step's output are added to `printed`."""
    from mlgate.runner import Hooks
    from mlgate_projects.process import Stream

    quiet, as_json = options["quiet"], options["as_json"]
    # With --json standard output belongs to the JSON object alone.
    targets = {Stream.STDOUT: sys.stderr if as_json else sys.stdout, Stream.STDERR: sys.stderr}

    def output(stream: Stream, data: bytes) -> None:
        target = targets[stream]
        if stream is Stream.STDOUT:
            printed.update(name.decode() for name in re.findall(rb"^Run ID: (\w+)", data, re.MULTILINE))
        try:
            target.buffer.write(data)
            target.buffer.flush()
        except BrokenPipeError:
            cancel.set()

    def say(line: str) -> None:
        if not quiet:
            click.echo(click.style(line, dim=True), err=True)

    def warn(line: str) -> None:
        if not quiet:
            click.echo(f"warning: {line}", err=True)

    return Hooks(progress=say, warn=warn, output=output, cancel=cancel)


def _report(result: StepResult, settings: Settings, options: dict[str, Any], printed: Container[str]) -> None:
    """The summary. A run id that the script has printed is left out: `| grep "Run ID:"` is to find one line."""
    if options["as_json"]:
        click.echo(json.dumps(asdict(result), default=str))
        return
    if options["quiet"]:
        return
    colour = "green" if result.ok else "red"
    lines = [f"{click.style(result.status, fg=colour)} in {result.ended - result.started:.1f} s"]
    if result.reason:
        lines[0] += f": {result.reason}"
    if result.run_id not in printed:
        lines.append(f"Run ID: {result.run_id}")
    metrics = {name: value for name, value in result.metrics.items() if not name.startswith("system/")}
    if metrics:
        shown = [f"{name} {value:.4g}" for name, value in sorted(metrics.items())]
        lines.append("Metrics: " + ", ".join(shown[:12]) + (f" and {len(shown) - 12} more" if len(shown) > 12 else ""))
    lines.append(f"Artifacts: {_artifact_place(result, settings)}")
    lines.append(f"Look at it: mlgate runs show {result.run_id[:8]}")
    click.echo("\n".join(lines))


def _artifact_place(result: StepResult, settings: Settings) -> str:
    if settings.remote or not result.artifact_uri.startswith("mlflow-artifacts:/"):
        return result.artifact_uri
    from mlgate_tracking.client import artifacts_destination_of

    root = artifacts_destination_of(settings.tracking_uri, settings.artifacts_destination)
    return f"{root}/{result.artifact_uri.removeprefix('mlflow-artifacts:/').lstrip('/')}"


def _print_plan(step: Step, settings: Settings, options: dict[str, Any]) -> int:
    from mlgate.resolve import resolve_step

    resolved = resolve_step(step, settings, progress=_hooks(options, threading.Event(), set()).progress)
    key = resolved.environment.key(resolved.spec, resolved.options)
    plan = {
        "project": resolved.project.name or resolved.source.name,
        "source": resolved.source.name,
        "commit": resolved.source.commit,
        "dirty": resolved.source.dirty,
        "directory": str(resolved.source.directory),
        "entry_point": resolved.entry_point.name,
        "parameters": dict(resolved.parameters.logged),
        "command": resolved.command,
        "environment": {"kind": key.kind, "digest": key.digest, "ready": key.hit, "description": key.description},
        "experiment": step.experiment_name or step.experiment_id or "0",
        "store": settings.tracking_uri,
        "warnings": list(resolved.warnings),
    }
    if options["as_json"]:
        click.echo(json.dumps(plan, indent=2, default=str))
        return 0
    commit = f" at {resolved.source.commit[:12]}" if resolved.source.commit else ""
    click.echo(f"project      {plan['project']} from {plan['source']}{commit}{' (changed)' if plan['dirty'] else ''}")
    click.echo(f"entry point  {plan['entry_point']}")
    for name, value in resolved.parameters.logged.items():
        click.echo(f"  {name} = {value[:100]}")
    click.echo(f"command      {resolved.command}")
    state = "ready" if key.hit else "to be built"
    click.echo(f"environment  {key.description} ({key.kind}, {state}) {key.digest[:12]}")
    click.echo(f"experiment   {plan['experiment']} in {settings.tracking_uri}")
    for warning in resolved.warnings:
        click.echo(f"warning: {warning}", err=True)
    return 0


__all__ = ["pairs", "run"]
