"""Callers who come together are served together."""

from __future__ import annotations

import threading
from collections.abc import Callable

import pytest

from mlgate_tracking.store.lineup import Lineup, Request


class Number(Request):
    def __init__(self, value: int) -> None:
        super().__init__()
        self.value = value


class Doubling:
    """Serves numbers by doubling them; 13 is an error, and 0 waits for `go_on`, so that others line up."""

    def __init__(self, largest: int = 100) -> None:
        self.groups: list[list[int]] = []
        self.patience = -1.0
        self.entered, self.go_on = threading.Event(), threading.Event()
        self.interrupt: Callable[[list[Number]], None] = lambda _group: None
        self.lineup = Lineup(self.serve, largest, "the doubling")
        self.outcomes: dict[int, object] = {}
        self.threads: list[threading.Thread] = []

    def serve(self, group: list[Number]) -> None:
        self.groups.append([request.value for request in group])
        if group[0].value == 0:
            self.entered.set()
            assert self.go_on.wait(10)
        self.interrupt(group)
        for request in group:
            request.error = ValueError("unlucky") if request.value == 13 else None
            request.result = 2 * request.value
            request.settled = True

    def call(self, value: int) -> None:
        try:
            number = Number(value)
            self.outcomes[value] = number.result if self.lineup.enter(number, self.patience) else "left"
        except BaseException as error:
            self.outcomes[value] = error

    def start(self, *values: int) -> None:
        """Call in threads, one after the other, until each one waits."""
        for value in values:
            waiting = len(self.lineup._waiting)
            self.threads.append(threading.Thread(target=self.call, args=(value,)))
            self.threads[-1].start()
            if value == 0:
                assert self.entered.wait(10)
            else:
                while len(self.lineup._waiting) == waiting:
                    pass

    def finish(self) -> None:
        self.go_on.set()
        for thread in self.threads:
            thread.join(10)
            assert not thread.is_alive()


def test_a_lone_caller_is_served_at_once_in_its_own_thread() -> None:
    doubling = Doubling()
    number = Number(4)
    assert doubling.lineup.enter(number)
    assert number.result == 8
    assert doubling.groups == [[4]]


def test_those_who_come_meanwhile_are_one_group_and_each_hears_of_its_own_error() -> None:
    doubling = Doubling()
    doubling.start(0, 1, 13, 3)
    doubling.finish()
    assert doubling.groups == [[0], [1, 13, 3]]
    assert isinstance(doubling.outcomes.pop(13), ValueError)
    assert doubling.outcomes == {0: 0, 1: 2, 3: 6}


def test_a_group_is_not_larger_than_it_may_be() -> None:
    doubling = Doubling(largest=2)
    doubling.start(0, 1, 2, 3)
    doubling.finish()
    assert doubling.groups == [[0], [1, 2], [3]]


def test_when_a_leader_is_interrupted_the_unserved_are_served_by_the_next() -> None:
    doubling = Doubling()

    def interrupt(group: list[Number]) -> None:
        if group[0].value == 1 and len(group) > 1:
            group[1].settled, group[1].result = True, "in time"
            raise KeyboardInterrupt

    doubling.interrupt = interrupt
    doubling.start(0, 1, 2, 3, 4)
    doubling.finish()
    assert isinstance(doubling.outcomes.pop(1), KeyboardInterrupt)
    assert doubling.outcomes == {0: 0, 2: "in time", 3: 6, 4: 8}


@pytest.mark.parametrize("told_to_lead", [False, True])
def test_who_leaves_the_line_holds_nobody_up(monkeypatch, told_to_lead: bool) -> None:
    doubling = Doubling()
    doubling.start(0)
    leaver, wait = Number(7), Number._wait

    def interrupted(request: Number, patience: float) -> bool:
        if request is leaver:
            if told_to_lead:
                doubling.start(2)
                doubling.go_on.set()
                wait(request, patience)
            raise KeyboardInterrupt
        return wait(request, patience)

    monkeypatch.setattr(Number, "_wait", interrupted)
    with pytest.raises(KeyboardInterrupt):
        doubling.lineup.enter(leaver)
    if not told_to_lead:
        doubling.start(2)
    doubling.finish()
    assert doubling.outcomes == {0: 0, 2: 4}
    assert doubling.groups == [[0], [2]]
    assert doubling.lineup.enter(Number(5))


def test_it_closes_once_everybody_who_waits_has_been_served() -> None:
    doubling = Doubling()
    closed: list[int] = []
    doubling.start(0, 1)
    doubling.lineup.close(lambda: closed.append(len(doubling.outcomes)))
    assert not closed
    with pytest.raises(RuntimeError, match="the doubling is closed"):
        doubling.lineup.enter(Number(2))
    doubling.finish()
    assert doubling.outcomes == {0: 0, 1: 2}
    assert len(closed) == 1


def test_who_loses_patience_leaves_and_is_not_served() -> None:
    doubling = Doubling()
    doubling.start(0)
    doubling.patience = 0.05
    doubling.call(1)
    assert doubling.outcomes == {1: "left"}
    doubling.finish()
    assert doubling.groups == [[0]]


def test_who_is_being_served_does_not_leave(monkeypatch) -> None:
    doubling = Doubling()
    wait = Number._wait

    def impatient(request: Number, patience: float) -> bool:
        if request.value != 2 or patience == -1:
            return wait(request, -1)
        while doubling.groups[-1] != [1, 2]:
            pass
        return False

    monkeypatch.setattr(Number, "_wait", impatient)
    doubling.patience = 1
    doubling.start(0, 1, 2)
    doubling.finish()
    assert doubling.groups == [[0], [1, 2]]
    assert doubling.outcomes == {0: 0, 1: 2, 2: 4}


def test_who_went_while_it_was_served_is_not_told_to_lead(monkeypatch) -> None:
    doubling = Doubling()
    ghost, wait = Number(7), Number._wait
    gone = threading.Event()

    def interrupted(request: Number, patience: float) -> bool:
        if request is ghost:
            while doubling.groups[-1] != [1, 7, 2]:
                pass
            raise KeyboardInterrupt
        return wait(request, patience)

    def interrupt(group: list[Number]) -> None:
        if len(group) > 1:
            assert gone.wait(10)
            raise KeyboardInterrupt

    def enter() -> None:
        with pytest.raises(KeyboardInterrupt):
            doubling.lineup.enter(ghost)
        gone.set()

    monkeypatch.setattr(Number, "_wait", interrupted)
    doubling.interrupt = interrupt
    doubling.start(0, 1)
    doubling.threads.append(threading.Thread(target=enter))
    doubling.threads[-1].start()
    while len(doubling.lineup._waiting) < 2:
        pass
    doubling.start(2)
    doubling.finish()
    assert isinstance(doubling.outcomes.pop(1), KeyboardInterrupt)
    assert doubling.outcomes == {0: 0, 2: 4}
    assert doubling.groups == [[0], [1, 7, 2], [2]]


def test_a_failure_at_the_end_keeps_nobody_waiting() -> None:
    doubling = Doubling()

    def fail() -> None:
        raise OSError("cannot close")

    doubling.start(0, 1, 2)
    doubling.lineup.close(fail)
    doubling.finish()
    assert (doubling.outcomes[0], doubling.outcomes[2]) == (0, 4)
    assert isinstance(doubling.outcomes[1], OSError)
