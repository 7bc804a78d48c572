"""Whole runs of large plans on the real store; only the door to processes is replaced."""

from __future__ import annotations

import random
import signal
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from mlgate.pipeline_runner import Course, PipelineHooks, PipelineResult, run_plan
from mlgate.plan import Plan
from mlgate.planning import plan_project
from mlgate.records import children, tags_of
from mlgate.schedule import NOT_RUN
from mlgate.settings import load_settings
from mlgate_projects.envs.system import SystemEnvironment
from mlgate_projects.process import Outcome
from mlgate_projects.testing import project_dir
from mlgate_tracking.client import connect
from mlgate_tracking.entities import Run, RunStatus

JOBS = 4


class Door:
    """Stands for the door to processes: notes what runs together, and lets some steps fail."""

    def __init__(self) -> None:
        self.lock = threading.Lock()
        self.running: set[str] = set()
        self.most = 0
        self.started: list[str] = []
        self.failing: set[str] = set()
        self.on_start: Callable[[str], None] = lambda _name: None

    def run(self, _prepared: object, command: str, *_rest: object, **_named: object) -> Outcome:
        name = command.rsplit(maxsplit=1)[-1]
        with self.lock:
            self.running.add(name)
            self.most = max(self.most, len(self.running))
            self.started.append(name)
        self.on_start(name)
        time.sleep(0.002)
        with self.lock:
            self.running.discard(name)
        now = time.time()
        return Outcome(("bash",), 1 if name in self.failing else 0, now, now)


@pytest.fixture
def door(monkeypatch: pytest.MonkeyPatch) -> Door:
    replacement = Door()
    monkeypatch.setattr(SystemEnvironment, "run", lambda _self, *args, **named: replacement.run(*args, **named))
    return replacement


def graph(count: int, seed: int) -> dict[str, list[str]]:
    """Steps and what they need; names say nothing about the order."""
    chance = random.Random(seed)
    names = [f"s{number}" for number in chance.sample(range(count), count)]
    return {
        name: sorted(chance.sample(names[:index], min(index, chance.randint(0, 3)))) for index, name in enumerate(names)
    }


def project(directory: Path, steps: dict[str, list[str]], extra: str = "") -> Path:
    lines = "".join(
        f"      {name}: {{parameters: {{name: {name}}}, needs: [{', '.join(needs)}]}}\n"
        for name, needs in steps.items()
    )
    head = "entry_points: {main: {parameters: {name: string}, command: 'run {name}'}}\n"
    text = f"{head}pipelines:\n  p:\n    defaults: {{environment: system}}\n    steps:\n{lines}{extra}"
    return project_dir(directory, {"MLproject": text})


def run(directory: Path, hooks: PipelineHooks | None = None, **course: Any) -> PipelineResult:
    settings = load_settings()
    planned = plan_project(str(directory), "p", {}, settings=settings, resume=course.get("resume"))
    options = Course(jobs=JOBS, keep_going=True, prewarm=False, **course)
    return run_plan(
        planned.plan, settings=settings, course=options, hooks=hooks, source=planned.source, project=planned.project
    )


def tree(run_id: str) -> dict[str, Run]:
    with connect(load_settings().tracking_uri) as store:
        return {tags_of(run)["mlgate.step"]: run for run in children(store, run_id)}


@pytest.mark.slow
@pytest.mark.parametrize("seed", [1, 2])
def test_two_hundred_steps_with_a_failure_and_a_resume(tmp_path: Path, door: Door, seed: int) -> None:
    steps = graph(200, seed)
    directory = project(tmp_path / "p", steps)
    # A step with a fair number of others behind it.
    plan: Plan = plan_project(str(directory), "p", {}, settings=load_settings()).plan
    failing = next(step.name for step in plan.steps if 5 <= len(plan.downstream(step.name)) <= 60)
    behind = plan.downstream(failing)
    door.failing = {failing}

    first = run(directory)
    assert first.status == "FAILED"
    assert 1 < door.most <= JOBS
    assert len(door.started) == len(set(door.started))
    assert set(door.started) == set(steps) - behind
    position = {name: index for index, name in enumerate(door.started)}
    assert all(position[need] < position[name] for name in door.started for need in steps[name])
    assert {name for name, state in first.steps.items() if state.status == NOT_RUN} == behind
    runs = tree(first.run_id)
    assert set(runs) == set(steps) - behind
    assert {name for name, run in runs.items() if run.info.status is not RunStatus.FINISHED} == {failing}

    door.failing, door.started = set(), []
    second = run(directory, resume=first.run_id)
    assert (second.status, second.run_id) == ("FINISHED", first.run_id)
    assert set(door.started) == behind | {failing}
    runs = tree(first.run_id)
    assert set(runs) == set(steps)
    assert all(run.info.status is RunStatus.FINISHED for run in runs.values())
    assert {name for name, run in runs.items() if tags_of(run)["mlgate.attempt"] == "2"} == {failing}


FINALLY = "    finally:\n      end: {parameters: {name: '${{ run.status }}'}}\n"


def test_a_cancelled_run_starts_finally_steps_only_and_is_killed(tmp_path: Path, door: Door) -> None:
    cancel, said = threading.Event(), []
    door.on_start = lambda name: cancel.set() if name == "b" else None
    directory = project(tmp_path / "p", {"a": [], "b": ["a"], "c": ["b"]}, FINALLY)
    result = run(directory, PipelineHooks(cancel=cancel, say=lambda _step, _index, line: said.append(line)))
    assert result.status == "KILLED"
    assert door.started == ["a", "b", "KILLED"]
    assert {name for name, state in result.steps.items() if state.status == NOT_RUN} == {"c"}
    assert result.steps["end"].ok
    assert [line for line in said if "cancelled" in line] == [
        "cancelled; steps under finally still run, cancel again to end them too"
    ]


@pytest.mark.parametrize("when", ["b", "KILLED"])
def test_an_aborted_run_starts_nothing_more(tmp_path: Path, door: Door, when: str) -> None:
    cancel, abort = threading.Event(), threading.Event()

    def on_start(name: str) -> None:
        if name == "b":
            cancel.set()
        if name == when:
            abort.set()

    door.on_start = on_start
    extra = FINALLY + "      last: {parameters: {name: last}, needs: [end]}\n"
    directory = project(tmp_path / "p", {"a": [], "b": ["a"], "c": ["b"]}, extra)
    result = run(directory, PipelineHooks(cancel=cancel, abort=abort))
    assert result.status == "KILLED"
    assert door.started == (["a", "b"] if when == "b" else ["a", "b", "KILLED"])
    assert result.steps["last"].status == NOT_RUN


def test_ctrl_c_in_a_program_of_ones_own_cancels_and_comes_out_at_the_end(tmp_path: Path, door: Door) -> None:
    def on_start(name: str) -> None:
        if name == "b":
            signal.raise_signal(signal.SIGINT)

    door.on_start = on_start
    directory = project(tmp_path / "p", {"a": [], "b": ["a"], "c": ["b"]}, FINALLY)
    opened: list[str] = []
    with pytest.raises(KeyboardInterrupt):
        run(directory, PipelineHooks(opened=opened.append))
    assert door.started == ["a", "b", "KILLED"]
    with connect(load_settings().tracking_uri) as store:
        assert store.get_run(opened[0]).info.status is RunStatus.KILLED


def test_whatever_breaks_the_run_itself_closes_it(tmp_path: Path, door: Door) -> None:
    def broken(*_: object) -> None:
        raise RuntimeError("the hook is broken")

    directory = project(tmp_path / "p", {"a": [], "b": ["a"]})
    opened: list[str] = []
    with pytest.raises(RuntimeError, match="the hook is broken"):
        run(directory, PipelineHooks(settled=broken, opened=opened.append))
    with connect(load_settings().tracking_uri) as store:
        assert store.get_run(opened[0]).info.status is RunStatus.KILLED


def test_a_step_that_cannot_start_has_a_run_that_says_why(tmp_path: Path, door: Door) -> None:
    text = """
        entry_points:
          main: {parameters: {name: string}, command: "run {name}"}
        pipelines:
          p:
            defaults: {environment: system}
            steps:
              a: {parameters: {name: a}}
              b: {parameters: {name: "${{ steps.a.metrics.missing }}"}}
        """
    result = run(project_dir(tmp_path / "p", {"MLproject": text}))
    assert result.status == "FAILED"
    assert "steps.a.metrics.missing: the step has no such metric; it has none" in result.steps["b"].reason
    assert tree(result.run_id)["b"].info.status is RunStatus.FAILED
    assert "no such metric" in tags_of(tree(result.run_id)["b"])["mlgate.reason"]
