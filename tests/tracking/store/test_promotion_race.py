"""Many promoters in many processes on one model, some of them killed: always one champion, one record, one event."""

from __future__ import annotations

import contextlib
import json
import os
import random
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from mlgate_tracking.governance import broken_link
from mlgate_tracking.store.sql import SqlStore
from tests.support import databases
from tests.support.environments import ROOT
from tests.support.promoter import CHAMPION

PER_PROCESS = 8


class Promoters:
    """A process with eight promoters; a killed one is started again."""

    def __init__(self, uri: str, model: str, first: int) -> None:
        self.arguments = [sys.executable, "-m", "tests.support.promoter", uri, model, str(first), str(PER_PROCESS)]
        self.start()

    def start(self) -> None:
        path = os.pathsep.join(str(ROOT / name) for name in (".", "tracking", "projects", "orchestrator"))
        self.process = subprocess.Popen(
            self.arguments,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            cwd=ROOT,
            env={**os.environ, "PYTHONPATH": path},
        )
        assert self.process.stdout is not None
        assert self.process.stdout.readline() == "ready\n"

    def go(self, number: int, expected: int | None) -> None:
        assert self.process.stdin is not None
        self.process.stdin.write(f"{number} {'-' if expected is None else expected}\n")
        self.process.stdin.flush()

    def told(self) -> list[dict[str, Any]] | None:
        """What each promoter was told; None when they died before they could say."""
        assert self.process.stdout is not None
        line = self.process.stdout.readline()
        return json.loads(line) if line.endswith("\n") else None

    def kill(self) -> None:
        self.process.kill()

    def close(self) -> None:
        self.process.kill()
        self.process.communicate()


@contextlib.contextmanager
def crowd(uri: str, model: str, processes: int) -> Iterator[list[Promoters]]:
    everybody: list[Promoters] = []
    try:
        for index in range(processes):
            everybody.append(Promoters(uri, model, 1 + index * PER_PROCESS))  # noqa: PERF401  closed when one fails
        yield everybody
    finally:
        for promoters in everybody:
            promoters.close()


def race(uri: str, *, processes: int, rounds: int, kills: float, seed: int) -> int:
    """Race for some rounds; returns how many processes were killed in them."""
    draw = random.Random(seed)
    killed = seen = 0
    with SqlStore(uri) as store:
        store.create_registered_model("contested")
        for _ in range(processes * PER_PROCESS):
            store.create_model_version("contested", "s3://bucket/model")
        with crowd(uri, "contested", processes) as everybody:
            for number in range(rounds):
                before = store.holder("contested", CHAMPION)
                for promoters in everybody:
                    promoters.go(number, before.version)
                victim = draw.choice(everybody) if draw.random() < kills else None
                if victim is not None:
                    time.sleep(draw.uniform(0, 0.02))
                    victim.kill()
                    killed += 1
                answers = [promoters.told() for promoters in everybody]
                told = [one for answer in answers if answer for one in answer]
                seen = check_round(store, before.revision, seen, told)
                if victim is not None:
                    victim.close()
                    victim.start()
        log = store.audit_log(max_results=10_000)
        assert broken_link(log) is None
        assert len([entry for entry in log if entry.action == "promotion.done"]) == rounds
    return killed


def check_round(store: SqlStore, before: int, seen: int, told: list[dict[str, Any]]) -> int:
    """One record, one event, one champion; the winner knows, and every loser was told who it is.

    Returns: sequence of the last event.
    """
    new = [one for one in store.search_promotions("contested", max_results=3).items if one.revision > before]
    assert len(new) == 1, f"{len(new)} promotions in one round"
    winner = new[0]
    holder = store.holder("contested", CHAMPION)
    assert (holder.version, holder.revision) == (winner.version, winner.revision)
    assert store.get_model_version_by_alias("contested", "champion").version == winner.version
    (event,) = store.events(after=seen, model="contested")
    assert event.event_id == winner.event_id
    assert [one for one in told if "error" in one] == []
    assert all(one["won"] == winner.promotion_id and one["version"] == winner.version for one in told if "won" in one)
    assert all(one["lost_to"] == winner.promotion_id for one in told if "lost_to" in one)
    return event.sequence


def test_sixteen_promoters_and_a_kill(tmp_path: Path) -> None:
    assert race(f"sqlite:///{tmp_path}/store.db", processes=2, rounds=12, kills=0.15, seed=5) > 0


@pytest.mark.slow
@pytest.mark.timeout(600)
def test_thirty_two_promoters_a_thousand_rounds_on_sqlite(tmp_path: Path) -> None:
    assert race(f"sqlite:///{tmp_path}/store.db", processes=4, rounds=1000, kills=0.03, seed=1) > 10


@pytest.mark.slow
@pytest.mark.database
@pytest.mark.timeout(600)
def test_thirty_two_promoters_a_thousand_rounds_on_postgresql(postgresql: databases.PostgreSQL) -> None:
    assert race(postgresql.create(), processes=4, rounds=1000, kills=0.03, seed=2) > 10
