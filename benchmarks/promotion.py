"""Promotions per second with 1 and 16 promoters, and what judging costs.

    python benchmarks/promotion.py [--quick] [--store postgresql://...]

The floor for a promotion is one transaction of the same database that reads one row and inserts one; the floor for a
gate is a comparison of two numbers. Both sides are measured in turn in one run; medians and their ratios are printed.
Promoters race on one model with compare-and-swap: what counts is promotions that happened.
"""

from __future__ import annotations

import argparse
import random
import statistics
import tempfile
import threading
import time
from collections.abc import Callable

from mlgate.gates import Evidence, ModelFacts, Side
from mlgate.gates.data import DriftGate
from mlgate.gates.evidence import ColumnPair, Evaluation, EvaluationResult
from mlgate.gates.thresholds import ChampionGate, MetricGate
from mlgate.policy import parse_policy
from mlgate.promotion import check
from mlgate_tracking.errors import Conflict
from mlgate_tracking.governance import PromotionRequest, Target, broken_link
from mlgate_tracking.store.sql import SqlStore
from mlgate_tracking.store.transaction import Transaction
from mlgate_tracking.store.values import new_id

CHAMPION = Target(alias="champion", stage="Production")


def alternate(rounds: int, sides: dict[str, Callable[[], float]]) -> dict[str, float]:
    """Median of each side; one warm-up each, then in turn."""
    for side in sides.values():
        side()
    values: dict[str, list[float]] = {name: [] for name in sides}
    for _ in range(rounds):
        for name, side in sides.items():
            values[name].append(side())
    return {name: statistics.median(seen) for name, seen in values.items()}


def per_second(store: SqlStore, threads: int, seconds: float, work: Callable[[int], bool]) -> float:
    """How often `work` said yes in a second, called from so many threads."""
    stop, done = time.perf_counter() + seconds, [0] * threads

    def run(index: int) -> None:
        while time.perf_counter() < stop:
            done[index] += work(index)

    workers = [threading.Thread(target=run, args=(index,)) for index in range(threads)]
    started = time.perf_counter()
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join()
    return sum(done) / (time.perf_counter() - started)


def promoter(store: SqlStore, model: str, versions: int) -> Callable[[int], bool]:
    def work(index: int) -> bool:
        current = store.holder(model, CHAMPION).version
        wanted = random.randint(1, versions)
        if wanted == current:
            return False
        try:
            return not store.promote(PromotionRequest(model, wanted, CHAMPION, expect=current)).replayed
        except Conflict:
            return False

    return work


def floor(store: SqlStore) -> Callable[[int], bool]:
    """The smallest durable write: read a row, insert a row."""

    def transaction(tx: Transaction) -> None:
        tx.row("SELECT entry, digest FROM audit_head WHERE head = 1")
        row = {"idempotency_key": new_id(), "resource": "floor", "creation_time": 0}
        tx.insert("idempotency_keys", row)

    def work(_index: int) -> bool:
        store.database.write(transaction)
        return True

    return work


def prepare(store: SqlStore, model: str, versions: int) -> None:
    store.create_registered_model(model)
    for _ in range(versions):
        store.create_model_version(model, "s3://bucket/model")
    store.promote(PromotionRequest(model, 1, CHAMPION))


def promotions(uri: str, rounds: int, seconds: float) -> None:
    with SqlStore(uri) as store:
        prepare(store, "contested", 32)
        sides = {}
        for threads in (1, 16):
            sides[f"promotions, {threads} promoters"] = lambda threads=threads: per_second(
                store, threads, seconds, promoter(store, "contested", 32)
            )
            sides[f"bare transactions, {threads} writers"] = lambda threads=threads: per_second(
                store, threads, seconds, floor(store)
            )
        found = alternate(rounds, sides)
        print(f"{'per second':<36}{'median':>12}")
        for name, value in found.items():
            print(f"{name:<36}{value:>12,.0f}")
        for threads in (1, 16):
            ratio = found[f"bare transactions, {threads} writers"] / found[f"promotions, {threads} promoters"]
            print(f"a promotion costs {ratio:.1f} bare transactions with {threads} at once")
        assert broken_link(store.audit_log(max_results=100_000)) is None


def timed(work: Callable[[], object], times: int) -> float:
    """Milliseconds a call."""
    started = time.perf_counter()
    for _ in range(times):
        work()
    return (time.perf_counter() - started) / times * 1000


def gates(uri: str, rounds: int, rows: int) -> None:
    draw = random.Random(0)
    truth = tuple(draw.choice("abc") for _ in range(rows))
    guess = tuple(one if draw.random() < 0.9 else "a" for one in truth)
    numbers = [tuple(draw.gauss(0, 1) for _ in range(rows)) for _ in range(2)]
    facts = ModelFacts("iris", 2, metrics={"accuracy": 0.95})
    metric, better = MetricGate("accuracy", min=0.9), ChampionGate("accuracy")
    sure = ChampionGate("accuracy", dataset="d", target="t", confidence=0.95, resamples=1000)
    drift = DriftGate("old", "new")
    measured = {(side, Evaluation("d", "t")): EvaluationResult({}, truth, guess) for side in Side}
    measured[Side.CANDIDATE, drift.pairs] = {f"c{index}": ColumnPair(*numbers) for index in range(4)}
    evidence = Evidence(facts, ModelFacts("iris", 1, metrics={"accuracy": 0.9}), CHAMPION, measured)
    policy = parse_policy(
        {
            "to": {"alias": "champion"},
            "gates": [{"metric": {"name": "accuracy", "min": 0.5}}, {"champion": {"metric": "accuracy"}}],
        }
    )
    with SqlStore(uri) as store:
        prepare(store, "judged", 2)
        found = alternate(
            rounds,
            {
                "comparison of two numbers": lambda: timed(lambda: facts.metrics["accuracy"] >= 0.9, 10_000),
                "gate metric": lambda: timed(lambda: metric.judge(evidence), 1000),
                "gate champion": lambda: timed(lambda: better.judge(evidence), 1000),
                f"gate champion, bootstrap of {rows} rows": lambda: timed(lambda: sure.judge(evidence), 1),
                f"gate drift, 4 columns of {rows} rows": lambda: timed(lambda: drift.judge(evidence), 1),
                "check of two gates, verdict recorded": lambda: timed(lambda: check(store, "judged", 2, policy), 20),
            },
        )
    print(f"\n{'milliseconds':<52}{'median':>12}")
    for name, value in found.items():
        print(f"{name:<52}{value:>12.4f}")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="fewer and shorter rounds")
    parser.add_argument("--store", help="database to use instead of a SQLite file of its own")
    options = parser.parse_args()
    rounds, seconds, rows = (1, 0.5, 300) if options.quick else (5, 2.0, 1000)
    with tempfile.TemporaryDirectory() as folder:
        promotions(options.store or f"sqlite:///{folder}/promotions.db", rounds, seconds)
        gates(f"sqlite:///{folder}/gates.db", rounds, rows)


if __name__ == "__main__":
    main()
