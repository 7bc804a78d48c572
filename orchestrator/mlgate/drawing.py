"""Plans as pictures in text: a tree by waves for terminals, Mermaid for documents."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from mlgate.plan import Plan, PlannedStep
from mlgate.references import as_text
from mlgate.units import format_seconds


@dataclass(frozen=True, slots=True)
class Forecast:
    """What is expected of a step: its environment in words, and whether its result is in the cache.

    Attributes:
        cached: `hit`, `miss`, `3 of 5 hit`, `unknown` (it depends on a step that has yet to run); empty without cache.
    """

    environment: str = ""
    cached: str = ""


Forecasts = Mapping[str, Forecast]


def text_tree(plan: Plan, forecasts: Forecasts | None = None) -> str:
    """The plan as a tree: source, parameters, then each wave with its steps, then what runs at the end."""
    forecasts = forecasts or {}
    commit = f" at {plan.commit[:12]}" if plan.commit else ""
    lines = [f"{plan.title} of {plan.project or plan.uri}{commit}"]
    groups: list[tuple[str, list[list[str]]]] = []
    if plan.parameters and plan.pipeline:
        groups.append(("parameters", [[f"{name} = {_short(value)}"] for name, value in plan.parameters.items()]))
    for number, wave in enumerate(plan.waves, 1):
        groups.append((f"wave {number}", [_step_lines(step, forecasts.get(step.name)) for step in wave]))
    final = [step for step in plan.steps if step.final]
    if final:
        groups.append(("finally", [_step_lines(step, forecasts.get(step.name)) for step in final]))
    for index, (title, blocks) in enumerate(groups):
        last = index == len(groups) - 1
        lines.append(f"{'└─' if last else '├─'} {title}")
        lines += [f"{'   ' if last else '│  '}{line}" for line in _branches(blocks)]
    return "\n".join(lines)


def mermaid(plan: Plan) -> str:
    """The plan as a Mermaid flowchart, as Markdown hosts draw it."""
    lines = ["flowchart TD"]
    shapes = {"run": ('["', '"]'), "gate": ('{{"', '"}}'), "promote": ('[["', '"]]')}
    for step in plan.steps:
        begin, end = shapes[step.kind]
        label = (
            step.name if step.entry_point == step.name or step.kind != "run" else f"{step.name}<br/>{step.entry_point}"
        )
        if step.settings:
            label += f"<br/>{len(step.settings)} settings"
        lines.append(f"    {_identifier(step.name)}{begin}{_escaped(label)}{end}")
    for step in plan.steps:
        arrow = "-.->" if step.when else "-->"
        lines += [f"    {_identifier(need)} {arrow} {_identifier(step.name)}" for need in step.needs]
    final = [step for step in plan.steps if step.final]
    if final:
        lines.append('    subgraph finally["finally"]')
        lines += [f"        {_identifier(step.name)}" for step in final]
        lines.append("    end")
    return "\n".join(lines) + "\n"


def _step_lines(step: PlannedStep, forecast: Forecast | None) -> list[str]:
    what = step.entry_point if step.kind == "run" else step.kind
    head = step.name if what == step.name else f"{step.name} ({what})"
    if step.needs:
        head += f" <- {', '.join(step.needs)}"
    return [head, *_details(step, forecast)]


def _details(step: PlannedStep, forecast: Forecast | None) -> Iterator[str]:
    for name, value in step.parameters.items():
        yield f"{name} = {_short(as_text(value))}"
    if step.settings:
        names = ", ".join(step.settings[0])
        yield f"matrix: {len(step.settings)} settings of {names}"
    if step.select:
        yield f"select: {step.select.mode} {step.select.metric}"
    if step.when:
        yield f"when: {step.when}"
    limits = []
    if step.retries.count:
        limits.append(f"{step.retries.count} {'retry' if step.retries.count == 1 else 'retries'}")
    if step.timeout:
        limits.append(f"at most {format_seconds(step.timeout)}")
    if limits:
        yield ", ".join(limits)
    if step.action:
        yield from _action_lines(step)
    if forecast and forecast.environment:
        yield f"environment: {forecast.environment}"
    if forecast and forecast.cached:
        yield f"cache: {forecast.cached}"


def _action_lines(step: PlannedStep) -> Iterator[str]:
    action = step.action
    target = action.get("to") or {}
    places = " and ".join(f"{kind} {name}" for kind, name in target.items())
    yield f"model: {action.get('model')}" + (f" to {places}" if places else "")
    for gate in action.get("gates") or ():
        named: Mapping[str, Any] = gate if isinstance(gate, dict) else {gate: {}}
        name = next((key for key in named if key != "mode"), "")
        settings = named.get(name) or {}
        if name == "approval":
            yield f"approver: {settings.get('role', 'anybody')}"
        else:
            shown = ", ".join(f"{key} {as_text(value)}" for key, value in settings.items())
            yield f"gate: {name}" + (f" ({_short(shown)})" if shown else "")
    if action.get("policy"):
        yield f"policy: {action['policy']}"


def _branches(blocks: list[list[str]]) -> Iterator[str]:
    for index, (head, *details) in enumerate(blocks):
        last = index == len(blocks) - 1
        yield f"{'└─' if last else '├─'} {head}"
        for detail in details:
            yield f"{'   ' if last else '│  '}   {detail}"


def _short(text: str, limit: int = 80) -> str:
    line = " ".join(text.split())
    return line if len(line) <= limit else line[: limit - 1] + "…"


def _identifier(name: str) -> str:
    # Mermaid takes `end` and some other words for its own, so no name is used as it is.
    return "s_" + re.sub(r"[^A-Za-z0-9_]", lambda found: f"_{ord(found[0]):x}_", name)


def _escaped(label: str) -> str:
    return label.replace('"', "&quot;")


__all__ = ["Forecast", "Forecasts", "mermaid", "text_tree"]
