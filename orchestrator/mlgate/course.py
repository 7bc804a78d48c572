"""How a plan is run, and what became of it: settings, hooks and result of `pipeline_runner.run_plan`, as data."""

from __future__ import annotations

import threading
from collections.abc import Callable, Mapping
from concurrent.futures import Future
from dataclasses import dataclass, field
from typing import Any

from mlgate.binding import FINISHED, KILLED, Overrides, StepState
from mlgate.plan import Plan, PlannedStep
from mlgate.step import StepResult
from mlgate_projects.process import Cancel, Stream


def _nothing(*_args: Any) -> None:
    return None


Work = Callable[[], StepResult]
Submit = Callable[[PlannedStep, Mapping[int, Work]], Mapping[int, "Future[StepResult]"]]
"""Starts all instances of a step (their work by map index) somewhere; a future's result is that of the last attempt."""


@dataclass(frozen=True, slots=True)
class PipelineHooks:
    """How a running plan talks to whoever started it. Calls come from several threads, one at a time each.

    Attributes:
        started: step, map index (-1 for a step that runs once).
        ended: step, map index, result of one instance, how it came about (`ran`, `cached`).
        settled: the state of a whole step, whenever one is known.
        output: step, map index, stream, a piece of its output.
        say: step, map index, one line on what goes on.
        opened: run id of the pipeline.
        submit: how the instances of a step are started; in a pool of `Course.jobs` threads when None. An engine gives
            its own, which sees to `jobs` and to retries by its own means.
        cancel: set it to end the running steps; what stands under `finally` still runs.
        abort: set it to end everything at once.
    """

    started: Callable[[PlannedStep, int], None] = _nothing
    ended: Callable[[PlannedStep, int, StepResult, str], None] = _nothing
    settled: Callable[[PlannedStep, StepState], None] = _nothing
    output: Callable[[PlannedStep, int, Stream, bytes], None] = _nothing
    say: Callable[[PlannedStep | None, int, str], None] = _nothing
    opened: Callable[[str], None] = _nothing
    submit: Submit | None = None
    cancel: Cancel = field(default_factory=threading.Event)
    abort: Cancel = field(default_factory=threading.Event)


@dataclass(frozen=True, slots=True)
class Course:
    """How a plan is to be run.

    Attributes:
        jobs: steps at a time; instances of a matrix count each.
        keep_going: after a failure, go on with what does not need the failed step.
        use_cache: whether results of earlier runs may be used again.
        resume: id of a pipeline run to continue: what it finished does not run again.
        from_step: run this step and all behind it; what is before comes from the run in `resume`, or the last one.
        only: run this step alone, in the same way.
        prewarm: make the environments of later steps while earlier ones run.
    """

    jobs: int = 4
    keep_going: bool = False
    use_cache: bool = True
    resume: str | None = None
    from_step: str | None = None
    only: str | None = None
    prewarm: bool = True
    overrides: Overrides = field(default_factory=Overrides)
    run_name: str | None = None
    experiment_id: str | None = None


@dataclass(frozen=True, slots=True)
class PipelineResult:
    """What became of a plan. `status` is FINISHED, FAILED or KILLED."""

    run_id: str
    experiment_id: str
    status: str
    plan: Plan
    steps: Mapping[str, StepState]
    started: float
    ended: float
    reason: str = ""

    @property
    def ok(self) -> bool:
        return self.status == FINISHED

    @property
    def exit_code(self) -> int:
        return {FINISHED: 0, KILLED: 130}.get(self.status, 1)


def summary(result: PipelineResult) -> dict[str, Any]:
    """What an engine keeps of a result: ids and words, small enough for XCom and Prefect results."""
    return {
        "run_id": result.run_id,
        "status": result.status,
        "steps": {
            name: {"status": state.status, "outcome": state.outcome, "run_ids": [each.run_id for each in state.results]}
            for name, state in result.steps.items()
        },
    }


__all__ = ["Course", "PipelineHooks", "PipelineResult", "Submit", "Work", "summary"]
