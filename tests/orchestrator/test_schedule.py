"""What may start when: on any graph, with any failures, resumed anywhere."""

from __future__ import annotations

import random

from hypothesis import given, settings
from hypothesis import strategies as st

from mlgate.binding import FAILED, FINISHED, SKIPPED, StepState
from mlgate.plan import Plan, PlannedStep
from mlgate.schedule import NOT_RUN, Schedule


@st.composite
def plans(draw: st.DrawFn, largest: int = 200) -> Plan:
    """A plan of up to 200 steps whose names say nothing about their order; some of them under `finally`."""
    count = draw(st.integers(1, largest))
    order = [f"s{number}" for number in draw(st.permutations(range(count)))]
    finals = draw(st.integers(0, min(3, count - 1)))
    steps = []
    for index, name in enumerate(order):
        final = index >= count - finals
        before = order[: min(index, count - finals)] if not final else order[:index]
        needs = draw(st.lists(st.sampled_from(before), max_size=3, unique=True)) if before else []
        steps.append(PlannedStep(name=name, needs=tuple(needs), final=final))
    return Plan(uri=".", pipeline="p", steps=tuple(steps))


def run(plan: Plan, schedule: Schedule, failing: set[str], chance: random.Random, jobs: int = 4) -> list[str]:
    """Run a schedule with a pool of `jobs`; gives the names in the order in which they started."""
    queue: list[PlannedStep] = []
    running: list[str] = []
    started: list[str] = []
    while True:
        for step in schedule.ready():
            schedule.start(step.name)
            queue.append(step)
        while queue and len(running) < jobs:
            name = queue.pop(0).name
            for need in plan.step(name).needs:
                assert plan.step(name).final or schedule.states[need].status in (FINISHED, SKIPPED)
            running.append(name)
            started.append(name)
        if not running:
            assert schedule.over
            return started
        name = running.pop(chance.randrange(len(running)))
        schedule.finish(StepState(name, FAILED if name in failing else FINISHED))


@given(plans(), st.randoms(use_true_random=False))
@settings(max_examples=15, deadline=None)
def test_everything_runs_once_after_what_it_needs(plan: Plan, chance: random.Random) -> None:
    started = run(plan, Schedule(plan), set(), chance)
    assert sorted(started) == sorted(step.name for step in plan.steps)
    position = {name: index for index, name in enumerate(started)}
    for step in plan.steps:
        assert all(position[need] < position[step.name] for need in step.needs)
        if step.final:
            assert all(position[other.name] < position[step.name] for other in plan.steps if not other.final)


@given(plans(), st.randoms(use_true_random=False), st.data())
@settings(max_examples=15, deadline=None)
def test_a_failure_stops_exactly_what_needs_it(plan: Plan, chance: random.Random, data: st.DataObject) -> None:
    ordinary = [step.name for step in plan.steps if not step.final]
    failing = data.draw(st.sampled_from(ordinary))
    schedule = Schedule(plan, keep_going=True)
    started = run(plan, schedule, {failing}, chance)
    stopped = {name for name in plan.downstream(failing) if not plan.step(name).final}
    assert set(started) == {step.name for step in plan.steps} - stopped
    assert {name for name, state in schedule.states.items() if state.status == NOT_RUN} == stopped
    assert [state.name for state in schedule.failed] == [failing]

    resumed = Schedule(plan, {name: state for name, state in schedule.states.items() if state.ok})
    again = run(plan, resumed, set(), chance)
    assert set(again) == stopped | {failing}
    assert all(state.ok for state in resumed.states.values())


@given(plans(40), st.randoms(use_true_random=False), st.data())
@settings(max_examples=15, deadline=None)
def test_without_keep_going_nothing_starts_after_a_failure_but_finally_steps(
    plan: Plan, chance: random.Random, data: st.DataObject
) -> None:
    failing = data.draw(st.sampled_from([step.name for step in plan.steps if not step.final]))
    schedule = Schedule(plan)
    started = run(plan, schedule, {failing}, chance, jobs=1)
    after = started[started.index(failing) + 1 :]
    assert {name for name in after if not plan.step(name).final} <= {
        step.name for step in plan.steps if plan.step(step.name).wave == plan.step(failing).wave
    }
    assert {step.name for step in plan.steps if step.final} <= set(started)


@given(plans(60), st.randoms(use_true_random=False), st.data())
@settings(max_examples=15, deadline=None)
def test_after_a_stop_only_finally_steps_start(plan: Plan, chance: random.Random, data: st.DataObject) -> None:
    schedule = Schedule(plan)
    before: list[str] = []
    for _ in range(data.draw(st.integers(0, len(plan.steps)))):
        ready = [step.name for step in schedule.ready() if not step.final]
        if not ready:
            break
        before.append(chance.choice(ready))
        schedule.start(before[-1])
        if chance.random() < 0.7:
            schedule.finish(StepState(before[-1], FINISHED))
    still_running = [name for name in before if name not in schedule.states]
    assert schedule.stop()
    assert not schedule.stop()
    final = {step.name for step in plan.steps if step.final}
    assert not still_running or schedule.ready() == []
    for name in still_running:
        schedule.finish(StepState(name, "KILLED"))
    assert set(run(plan, schedule, set(), chance)) == final
    assert {name for name, state in schedule.states.items() if state.status == NOT_RUN} == {
        step.name for step in plan.steps
    } - final - set(before)


def test_a_run_stopped_for_good_starts_nothing_more() -> None:
    plan = Plan(uri=".", steps=(PlannedStep("a"), PlannedStep("b", needs=("a",)), PlannedStep("c", final=True)))
    schedule = Schedule(plan)
    [first] = schedule.ready()
    schedule.start(first.name)
    schedule.stop(final_too=True)
    assert schedule.ready() == []
    schedule.finish(StepState("a", "KILLED"))
    assert schedule.over
    assert {name: state.status for name, state in schedule.states.items()} == {
        "a": "KILLED", "b": NOT_RUN, "c": NOT_RUN,
    }  # fmt: skip


def test_a_partial_run_runs_only_what_was_asked() -> None:
    plan = Plan(uri=".", steps=(PlannedStep("a"), PlannedStep("b", needs=("a",)), PlannedStep("c", needs=("b",))))
    schedule = Schedule(plan, {"a": StepState("a", FINISHED)}, only=frozenset({"b"}))
    assert run(plan, schedule, set(), random.Random(0)) == ["b"]
    assert "c" not in schedule.states
