"""`run-project --pipeline`: run, plan or draw a pipeline; live on a terminal, plain lines elsewhere."""

from __future__ import annotations

import contextlib
import json
import os
import sys
import threading
from collections.abc import Iterator
from dataclasses import asdict, replace
from typing import TYPE_CHECKING, Any

import click

from mlgate.binding import Overrides, StepState
from mlgate.cli import signals
from mlgate.drawing import mermaid, text_tree
from mlgate.pipeline_runner import Course, PipelineHooks, PipelineResult, run_plan
from mlgate.plan import Plan, PlannedStep
from mlgate.planning import Planned, forecasts, plan_project
from mlgate_projects.process import Stream

if TYPE_CHECKING:
    from mlgate.settings import Settings
    from mlgate.step import StepResult

_COLOURS = {"FINISHED": "green", "FAILED": "red", "KILLED": "magenta", "SKIPPED": "yellow", "NOT_RUN": "bright_black"}


def pipeline_command(options: dict[str, Any], settings: Settings) -> int:
    """What `run-project` does once a pipeline is named; returns the exit code."""
    if options["from_step"] and options["only"]:
        raise click.UsageError("--from and --only exclude each other")
    say = _say if not options["quiet"] else lambda _line: None
    with signals.interrupting():
        planned = plan_project(
            options["uri"],
            options["pipeline"],
            options["parameters"],
            settings=settings,
            version=options["version"],
            entry_point=options["entry_point"],
            experiment=options["experiment_name"],
            resume=options["resume"],
            progress=say,
        )
    for warning in planned.project.warnings:
        say(f"warning: {warning}")
    course = _course(options)
    if options["graph"]:
        click.echo(mermaid(planned.plan) if options["graph"] == "mermaid" else text_tree(planned.plan), nl=False)
        return 0
    if options["plan"]:
        _print_plan(planned, settings, course, as_json=options["as_json"])
        return 0
    cancel, abort = threading.Event(), threading.Event()
    view = _view(planned.plan, options, cancel, abort)
    with signals.setting(cancel, abort), view:
        result = run_plan(
            planned.plan,
            settings=settings,
            course=course,
            hooks=view.hooks(),
            source=planned.source,
            project=planned.project,
        )
    _report(result, settings, options)
    return result.exit_code


def _course(options: dict[str, Any]) -> Course:
    extra = {
        name: options[name]
        for name in ("python", "conda_tool", "strict_python", "locked", "offline", "build_image", "docker_args")
        if options[name]
    }
    return Course(
        jobs=options["jobs"] or min(4, os.cpu_count() or 1),
        keep_going=options["keep_going"],
        use_cache=not options["no_cache"],
        resume=options["resume"],
        from_step=options["from_step"],
        only=options["only"],
        run_name=options["run_name"],
        experiment_id=options["experiment_id"],
        overrides=Overrides(
            env_manager=options["env_manager"],
            env_options=extra,
            storage_dir=options["storage_dir"],
            autolog=False if options["no_autolog"] else None,
            system_metrics=not options["no_system_metrics"],
        ),
    )


def _print_plan(planned: Planned, settings: Settings, course: Course, *, as_json: bool) -> None:
    expected = forecasts(planned, settings, course.overrides)
    if as_json:
        plan = json.loads(planned.plan.to_json())
        plan["forecasts"] = {name: asdict(forecast) for name, forecast in expected.items()}
        click.echo(json.dumps(plan, indent=2))
    else:
        click.echo(text_tree(planned.plan, expected))


# --- while it runs ----------------------------------------------------------------------------------------------------


class _PlainView(contextlib.AbstractContextManager["_PlainView"]):
    """A line for everything that happens; the output of each step with its name in front."""

    def __init__(self, plan: Plan, options: dict[str, Any], cancel: threading.Event, abort: threading.Event) -> None:
        self.plan = plan
        self.quiet = options["quiet"]
        self.as_json = options["as_json"]
        self.cancel = cancel
        self.abort = abort
        self.lock = threading.Lock()
        self.rest: dict[tuple[str, Stream], bytes] = {}

    def __exit__(self, *_: object) -> None:
        for (label, stream), data in self.rest.items():
            if data:
                self.line(label, stream, data)

    def hooks(self) -> PipelineHooks:
        return PipelineHooks(
            started=self.started,
            ended=self.ended,
            settled=self.settled,
            output=self.output,
            say=self.say,
            cancel=self.cancel,
            abort=self.abort,
        )

    def started(self, step: PlannedStep, map_index: int) -> None:
        self.say(step, map_index, "started")

    def ended(self, step: PlannedStep, map_index: int, result: StepResult, how: str) -> None:
        seconds = f" in {result.ended - result.started:.1f} s" if how == "ran" and result.ended else ""
        status = "cached" if how == "cached" else result.status
        self.say(step, map_index, f"{status}{seconds}" + (f": {result.reason}" if result.reason else ""))

    def settled(self, step: PlannedStep, state: StepState) -> None:
        if state.outcome in ("skipped", "reused", "not run"):
            self.say(step, -1, state.outcome + (f": {state.reason}" if state.reason else ""))

    def output(self, step: PlannedStep, map_index: int, stream: Stream, data: bytes) -> None:
        label = _label(step, map_index)
        with self.lock:
            *lines, rest = (self.rest.pop((label, stream), b"") + data).split(b"\n")
            self.rest[label, stream] = rest
            for line in lines:
                self.line(label, stream, line)

    def line(self, label: str, stream: Stream, data: bytes) -> None:
        target = sys.stdout if stream is Stream.STDOUT and not self.as_json else sys.stderr
        try:
            target.buffer.write(f"[{label}] ".encode() + data + b"\n")
            target.buffer.flush()
        except BrokenPipeError:
            self.cancel.set()

    def say(self, step: PlannedStep | None, map_index: int, line: str) -> None:
        if not self.quiet:
            begin = f"[{_label(step, map_index)}] " if step else ""
            with self.lock:
                click.echo(click.style(begin + line, dim=True), err=True)


class _LiveView(_PlainView):
    """A tree of the steps below the output, redrawn as they go on."""

    def __init__(self, plan: Plan, options: dict[str, Any], cancel: threading.Event, abort: threading.Event) -> None:
        from rich.console import Console
        from rich.live import Live

        super().__init__(plan, options, cancel, abort)
        self.status: dict[str, tuple[str, str]] = {step.name: ("waiting", "") for step in plan.steps}
        self.done: dict[str, int] = dict.fromkeys(self.status, 0)
        self.note = ""
        self.console = Console(stderr=True)
        self.live = Live(console=self.console, refresh_per_second=8, get_renderable=self.tree)

    def __enter__(self) -> _LiveView:
        self.live.start()
        return self

    def __exit__(self, *exception: object) -> None:
        super().__exit__(*exception)
        self.live.stop()

    def tree(self) -> Any:
        from rich.console import Group
        from rich.spinner import Spinner
        from rich.table import Table
        from rich.text import Text

        table = Table.grid(padding=(0, 1))
        signs = {"FINISHED": ("✓", "green"), "FAILED": ("✗", "red"), "KILLED": ("✗", "magenta"),
                 "SKIPPED": ("-", "yellow"), "NOT_RUN": ("-", "dim"), "waiting": ("·", "dim")}  # fmt: skip
        for step in self.plan.steps:
            status, note = self.status[step.name]
            sign = Spinner("dots") if status == "running" else Text(*signs.get(status, ("?", "")))
            total = len(step.settings)
            progress = f"{self.done[step.name]}/{total}" if total and status == "running" else ""
            table.add_row("  " * step.wave, sign, step.name, Text(f"{progress} {note}".strip(), style="dim"))
        return Group(table, Text(self.note, style="dim")) if self.note else table

    def started(self, step: PlannedStep, map_index: int) -> None:
        self.status[step.name] = ("running", "")

    def ended(self, step: PlannedStep, map_index: int, result: StepResult, how: str) -> None:
        self.done[step.name] += 1
        if not result.ok:
            super().ended(step, map_index, result, how)

    def settled(self, step: PlannedStep, state: StepState) -> None:
        self.status[step.name] = (state.status, state.reason or ("" if state.outcome == "ran" else state.outcome))

    def line(self, label: str, stream: Stream, data: bytes) -> None:
        from rich.text import Text

        self.console.print(Text(f"[{label}] {data.decode(errors='replace')}"))

    def say(self, step: PlannedStep | None, map_index: int, line: str) -> None:
        if step is None:
            self.note = line[:100]
        elif self.status[step.name][0] == "running":
            self.status[step.name] = ("running", line[:100])


def _view(plan: Plan, options: dict[str, Any], cancel: threading.Event, abort: threading.Event) -> _PlainView:
    live = sys.stderr.isatty() and not options["quiet"] and not options["as_json"]
    return (_LiveView if live else _PlainView)(plan, options, cancel, abort)


def _label(step: PlannedStep, map_index: int) -> str:
    return f"{step.name}[{map_index}]" if map_index >= 0 else step.name


def _say(line: str) -> None:
    click.echo(click.style(line, dim=True), err=True)


# --- at the end -------------------------------------------------------------------------------------------------------


def result_data(result: PipelineResult) -> dict[str, Any]:
    """The result as plain data, as `--json` prints it."""
    return {
        "run_id": result.run_id,
        "experiment_id": result.experiment_id,
        "status": result.status,
        "reason": result.reason,
        "pipeline": result.plan.pipeline,
        "parameters": dict(result.plan.parameters),
        "commit": result.plan.commit,
        "started": result.started,
        "ended": result.ended,
        "steps": {name: asdict(replace(state, chosen=None)) for name, state in result.steps.items()},
    }


def _report(result: PipelineResult, settings: Settings, options: dict[str, Any]) -> None:
    if options["as_json"]:
        click.echo(json.dumps(result_data(result), default=str))
        return
    if options["quiet"]:
        return
    counts: dict[str, int] = {}
    for state in result.steps.values():
        how = state.outcome if state.outcome != "ran" else state.status.lower()
        if state.ok and state.results and all(_is_cached(one, result) for one in state.results):
            how = "cached"
        counts[how] = counts.get(how, 0) + 1
    summary = ", ".join(f"{count} {how}" for how, count in counts.items())
    colour = _COLOURS.get(result.status, "")
    head = f"{click.style(result.status, fg=colour)} in {result.ended - result.started:.1f} s: {summary}"
    lines = [head, *(f"  {line}" for line in _failures(result)), f"Run ID: {result.run_id}"]
    if result.status != "FINISHED":
        lines.append(
            f"Go on with: run-project {options['uri']} --pipeline {result.plan.pipeline} --resume {result.run_id}"
        )
    lines.append(f"Look at it: mlgate runs show {result.run_id[:8]}")
    click.echo("\n".join(lines))


def _is_cached(one: StepResult, result: PipelineResult) -> bool:
    return 0 < one.ended < result.started


def _failures(result: PipelineResult) -> Iterator[str]:
    for name, state in result.steps.items():
        if not state.ok and state.reason:
            yield f"{name}: {state.outcome}: {state.reason}"


__all__ = ["pipeline_command", "result_data"]
