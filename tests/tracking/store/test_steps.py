"""One run per step whatever happens: a model of attempts against the store, and processes that race."""

from __future__ import annotations

import json
import subprocess
import sys
from contextlib import ExitStack
from pathlib import Path
from typing import ClassVar

import pytest
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import Bundle, RuleBasedStateMachine, consumes, initialize, invariant, rule

from mlgate_tracking.entities import Fence, Metric, Param, RunStatus
from mlgate_tracking.errors import InvalidParameterValue, StaleAttempt
from mlgate_tracking.store.sql import SqlStore
from mlgate_tracking.testing.stores import fresh
from tests.support import databases


class Attempts(RuleBasedStateMachine):
    """What the store must answer, kept in plain dictionaries."""

    store: ClassVar[SqlStore]
    experiment_id: ClassVar[str]
    fences = Bundle("fences")

    @initialize()
    def begin(self) -> None:
        self.prefix = fresh("step")
        self.runs: dict[str, str] = {}
        self.current: dict[str, int] = {}
        self.status: dict[str, RunStatus] = {}
        self.steps: dict[str, int] = {}
        self.params: dict[str, str] = {}

    @rule(target=fences, name=st.sampled_from("ab"), attempt=st.none() | st.integers(1, 6), param=st.sampled_from("xy"))
    def open(self, name: str, attempt: int | None, param: str) -> tuple[str, int]:
        def ask():
            return self.store.open_step_run(
                f"{self.prefix}-{name}",
                experiment_id=self.experiment_id,
                attempt=attempt,
                params=[Param("p", param)],
            )

        current = self.current.get(name, 0)
        if attempt is not None and attempt < current:
            with pytest.raises(StaleAttempt):
                ask()
            return name, attempt
        opened = ask()
        assert opened.created == (name not in self.runs)
        assert opened.previous_status == self.status.get(name)
        assert opened.run.info.run_id == self.runs.setdefault(name, opened.run.info.run_id)
        assert opened.attempt == (attempt or current + 1)
        self.current[name] = opened.attempt
        self.status[name] = RunStatus.RUNNING
        self.params.setdefault(name, param)
        return name, opened.attempt

    @rule(fence=fences)
    def write(self, fence: tuple[str, int]) -> None:
        name, attempt = fence
        step = self.steps.get(name, 0) + 1
        view = self.store.fenced(Fence(self.runs[name], attempt))
        point = Metric("m", float(step), 1, step)
        if attempt == self.current[name]:
            view.log_batch(self.runs[name], metrics=[point])
            self.steps[name] = step
        else:
            with pytest.raises(StaleAttempt):
                view.log_batch(self.runs[name], metrics=[point])

    @rule(fence=consumes(fences), status=st.sampled_from([RunStatus.FINISHED, RunStatus.FAILED, RunStatus.KILLED]))
    def close(self, fence: tuple[str, int], status: RunStatus) -> None:
        name, attempt = fence
        if attempt == self.current[name]:
            self.store.close_step_run(self.runs[name], attempt, status=status, end_time=5)
            self.status[name] = status
        else:
            with pytest.raises((StaleAttempt, InvalidParameterValue)):
                self.store.close_step_run(self.runs[name], attempt, status=status, end_time=5)

    @invariant()
    def the_store_agrees(self) -> None:
        for name, run_id in getattr(self, "runs", {}).items():
            found = self.store.find_step_run(f"{self.prefix}-{name}")
            assert found is not None
            assert (found.run.info.run_id, found.attempt) == (run_id, self.current[name])
            assert found.run.info.status is self.status[name]
            assert found.run.param("p") == self.params[name]
            assert found.run.metric("m") == self.steps.get(name)
            assert (found.run.info.end_time is not None) == self.status[name].terminal


def test_attempts_follow_the_model(store: SqlStore) -> None:
    Attempts.store = store
    Attempts.experiment_id = store.create_experiment("attempts")
    case = Attempts.TestCase
    case.settings = settings(
        max_examples=40, stateful_step_count=20, deadline=None, suppress_health_check=list(HealthCheck)
    )
    case("runTest").runTest()


OPENER = """
import json, sys
from mlgate_tracking.store.sql import SqlStore
uri, key, experiment_id, count = sys.argv[1:]
with SqlStore(uri) as store:
    print("ready", flush=True)
    sys.stdin.readline()
    opened = [store.open_step_run(key, experiment_id=experiment_id) for _ in range(int(count))]
print(json.dumps([[step.run.info.run_id, step.attempt, step.created] for step in opened]))
"""


def race(uri: str, processes: int, count: int) -> None:
    with SqlStore(uri) as store:
        experiment_id = store.create_experiment(fresh())
    command = [sys.executable, "-c", OPENER, uri, "the step", experiment_id, str(count)]
    with ExitStack() as stack:
        openers = [
            stack.enter_context(subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True))
            for _ in range(processes)
        ]
        for opener in openers:
            assert opener.stdout is not None
            assert opener.stdout.readline() == "ready\n"
        for opener in openers:
            assert opener.stdin is not None
            opener.stdin.write("go\n")
            opener.stdin.flush()
        opened = [step for opener in openers for step in json.loads(opener.communicate(timeout=60)[0])]
    assert len({run_id for run_id, _, _ in opened}) == 1
    assert sorted(attempt for _, attempt, _ in opened) == list(range(1, processes * count + 1))
    assert [created for _, _, created in opened].count(True) == 1


def test_processes_that_open_one_step_count_its_attempts_apart(tmp_path: Path) -> None:
    race(f"sqlite:///{tmp_path}/store.db", processes=4, count=15)


@pytest.mark.database
def test_servers_on_one_database_count_attempts_apart(server: databases.PostgreSQL | databases.MariaDB) -> None:
    race(server.create(), processes=3, count=10)
