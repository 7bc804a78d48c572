"""What a process's outcome means for its run."""

from __future__ import annotations

import pytest

from mlgate.runner import judge
from mlgate_projects.process import Outcome, Stop
from mlgate_tracking.entities import RunStatus


def outcome(exit_code: int, **more: object) -> Outcome:
    return Outcome(argv=("true",), exit_code=exit_code, started=10.0, ended=13.0, **more)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("ended", "status", "exit_code", "reason"),
    [
        (outcome(0), RunStatus.FINISHED, 0, ""),
        (outcome(3), RunStatus.FAILED, 3, "ValueError: no"),
        (outcome(143, signal=15), RunStatus.KILLED, 143, "killed by SIGTERM"),
        (outcome(137), RunStatus.KILLED, 137, "killed by SIGKILL"),
        (outcome(139, signal=11), RunStatus.FAILED, 139, "crashed with SIGSEGV"),
        (outcome(137, oom_killed=True), RunStatus.FAILED, 137, "out of memory"),
        (outcome(143, stopped=Stop.TIMEOUT), RunStatus.KILLED, 124, "ran out of time after 3 s"),
        (outcome(130, stopped=Stop.CANCELLED), RunStatus.KILLED, 130, "cancelled"),
        (outcome(0, stopped=Stop.CANCELLED), RunStatus.KILLED, 130, "cancelled"),
        (outcome(255), RunStatus.FAILED, 255, "ValueError: no"),
    ],
)
def test_an_outcome_has_one_status_exit_code_and_reason(
    ended: Outcome, status: RunStatus, exit_code: int, reason: str
) -> None:
    judged = judge(ended, "ValueError: no")
    assert judged[:2] == (status, exit_code)
    assert judged[2].startswith(reason)


def test_a_failure_without_a_word_is_named_by_its_exit_code() -> None:
    assert judge(outcome(7), "") == (RunStatus.FAILED, 7, "exit code 7")
