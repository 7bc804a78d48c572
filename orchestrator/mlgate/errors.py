"""Errors of the orchestrator.

OrchestratorError
├── UsageError        arguments that cannot be what the user meant; exit code 2
├── InvalidPlan       a pipeline, reference or policy that does not hold together; holds every problem; exit code 2
├── StepFailed        a step ended badly; holds its result; `retryable` tells whether another attempt makes sense
├── StepKilled        a step was stopped: signal, time-out, cancel
└── PipelineFailed    a pipeline did not finish; holds its result
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from mlgate_projects.errors import Problem

if TYPE_CHECKING:
    from mlgate.pipeline_runner import PipelineResult
    from mlgate.step import StepResult


class OrchestratorError(Exception):
    """Root of all errors that this package raises on purpose."""

    exit_code = 1


class UsageError(OrchestratorError):
    exit_code = 2


class InvalidPlan(OrchestratorError):
    exit_code = 2

    def __init__(self, problems: Sequence[Problem]) -> None:
        super().__init__("\n".join(str(problem) for problem in problems))
        self.problems = tuple(problems)


class StepFailed(OrchestratorError):
    def __init__(self, message: str, result: StepResult) -> None:
        super().__init__(message)
        self.result = result

    @property
    def retryable(self) -> bool:
        return self.result.retryable


class PipelineFailed(OrchestratorError):
    def __init__(self, message: str, result: PipelineResult) -> None:
        super().__init__(message)
        self.result = result


class StepKilled(StepFailed):
    """Never retried by itself: whoever stopped it meant it."""


__all__ = ["InvalidPlan", "OrchestratorError", "PipelineFailed", "StepFailed", "StepKilled", "UsageError"]
