"""A step as data: its identity, and which failures are worth another attempt."""

from __future__ import annotations

from itertools import product

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mlgate.step import StepResult, step_run_key


def result(status: str, exit_code: int) -> StepResult:
    return StepResult(
        run_id="r",
        experiment_id="0",
        step_run_key="k",
        attempt=1,
        status=status,
        exit_code=exit_code,
        artifact_uri="mlflow-artifacts:/0/r/artifacts",
    )


def test_key_is_the_same_for_every_attempt_and_differs_in_each_part() -> None:
    keys = {
        step_run_key(engine, digest, name, index)
        for engine, digest, name, index in product(("e1", "e2"), ("d1", "d2"), ("train", "test"), (-1, 0, 1))
    }
    assert len(keys) == 2 * 2 * 2 * 3
    assert step_run_key("e1", "d1", "train") == step_run_key("e1", "d1", "train", -1)


@given(st.tuples(st.text(), st.text(), st.text()), st.tuples(st.text(), st.text(), st.text()))
def test_keys_are_equal_only_for_equal_parts(one: tuple[str, str, str], other: tuple[str, str, str]) -> None:
    assert (step_run_key(*one) == step_run_key(*other)) == (one == other)


@pytest.mark.parametrize(
    ("status", "exit_code", "retryable"),
    [
        ("FINISHED", 0, False),
        ("FAILED", 1, True),
        ("FAILED", 63, True),
        ("FAILED", 64, False),
        ("FAILED", 78, False),
        ("FAILED", 79, True),
        ("KILLED", 137, False),
    ],
)
def test_failures_are_retried_unless_the_exit_code_says_that_the_input_is_wrong(
    status: str, exit_code: int, retryable: bool
) -> None:
    assert result(status, exit_code).retryable is retryable
