"""What every store must find: searches over a small zoo of runs, compared with a plain-Python reading of each filter.

Give `SearchConformance` a fixture `store`, which all tests may share: a search finds what its own experiments hold.
"""

from __future__ import annotations

import math
import random
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any
from weakref import WeakKeyDictionary

import pytest

from mlgate_tracking.contract import Store
from mlgate_tracking.entities import (
    Dataset,
    DatasetInput,
    LifecycleStage,
    Metric,
    Param,
    Run,
    RunStatus,
    Tag,
    ViewType,
)
from mlgate_tracking.errors import InvalidParameterValue
from mlgate_tracking.store.search.parser import MAX_COMPARISONS, MAX_EXPERIMENTS, MAX_LISTED, MAX_ORDERINGS
from mlgate_tracking.testing.stores import fresh

CASES = 60
"""Searches that one test draws."""


# --- the zoo ----------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Zoo:
    """Runs of three experiments, with every kind of value that searches treat differently."""

    experiment_ids: tuple[str, ...]
    runs: tuple[Run, ...]


_TEXTS = ("a", "A", "ab", "a%b", "a_b", "x*y[z]?", "", "it's", 'say "x"', "back\\slash", "9", "10", "caf\u00e9")
_METRICS = (0.0, -1.5, 0.5, 0.5, 1.0, 2.25, math.nan, math.inf, -math.inf, 1e-300, 1e300)


def zoo_of(store: Store) -> Zoo:
    """The zoo of a store, filled on the first call."""
    found = _zoos.get(store)
    if found is None:
        found = _zoos[store] = _fill(store, random.Random(7))  # noqa: S311 - the same zoo every time
    return found


_zoos: WeakKeyDictionary[Store, Zoo] = WeakKeyDictionary()


def _fill(store: Store, dice: random.Random) -> Zoo:
    experiments = tuple(store.create_experiment(fresh("zoo")) for _ in range(3))
    run_ids = []
    for number in range(60):
        run = store.create_run(
            experiments[dice.choice((0, 0, 0, 1, 2))],
            user_id=dice.choice(("ann", "Bob", "")),
            run_name=dice.choice(_TEXTS[:6]) + str(number % 7),
            start_time=1_000 + dice.randrange(12),  # many at the same time, so that the run id decides
        )
        run_ids.append(run.info.run_id)
        store.log_batch(
            run.info.run_id,
            metrics=[Metric(key, dice.choice(_METRICS), number, 0) for key in ("m", "val/loss") if dice.random() < 0.7],
            params=[Param(key, dice.choice(_TEXTS)) for key in ("p", "p q") if dice.random() < 0.6],
            tags=[Tag(key, dice.choice(_TEXTS)) for key in ("t", "mlflow.x.y") if dice.random() < 0.6],
        )
        if dice.random() < 0.4:
            store.log_inputs(run.info.run_id, datasets=[_dataset(dice) for _ in range(dice.choice((1, 2)))])
        if dice.random() < 0.6:
            status = dice.choice((RunStatus.FINISHED, RunStatus.FAILED, RunStatus.KILLED))
            store.update_run(run.info.run_id, status=status, end_time=2_000 + dice.randrange(5))
        if dice.random() < 0.2:
            store.delete_run(run.info.run_id)
    return Zoo(experiments, tuple(store.get_run(run_id) for run_id in run_ids))


def _dataset(dice: random.Random) -> DatasetInput:
    dataset = Dataset(dice.choice(("iris", "Iris", "wine")), dice.choice(("1", "2")), "local", "{}")
    context = dice.choice(("train", "test", None))
    return DatasetInput(dataset, (Tag("mlflow.data.context", context),) if context else ())


# --- reading a search in plain Python ---------------------------------------------------------------------------------


@dataclass(frozen=True)
class Clause:
    """A comparison: its text, and which runs it matches."""

    text: str
    matches: Callable[[Run], bool]


def draw_filter(dice: random.Random, zoo: Zoo) -> list[Clause]:
    drawers = (_metric_clause, _attribute_clause, _keyed_clause, _keyed_clause, _dataset_clause, _time_clause)
    return [dice.choice(drawers)(dice, zoo) for _ in range(dice.choice((0, 1, 1, 2, 3)))]


_COMPARE: dict[str, Callable[[float, float], bool]] = {
    "=": lambda left, right: left == right,
    "!=": lambda left, right: left != right,
    "<": lambda left, right: left < right,
    "<=": lambda left, right: left <= right,
    ">": lambda left, right: left > right,
    ">=": lambda left, right: left >= right,
}


def _metric_clause(dice: random.Random, _zoo: Zoo) -> Clause:
    key, operator = dice.choice(("m", "val/loss", "nothing")), dice.choice(list(_COMPARE))
    written = dice.choice(("0", "0", "0.5", "1", "-1.5", "1e300"))
    number = float(written)

    def matches(run: Run) -> bool:
        value = run.metric(key)
        if value is None:
            return False
        return operator == "!=" if math.isnan(value) else _COMPARE[operator](value, number)

    return Clause(f"metrics.`{key}` {operator} {written}", matches)


def _text_test(dice: random.Random, values: Sequence[str], *, listed: bool, null: bool) -> tuple[str, Any]:
    """(operator and value as text, test of a value or None)."""
    operators = ["=", "!=", "LIKE", "ILIKE", *(["IN", "NOT IN"] if listed else []), *(["NULL"] if null else [])]
    operator = dice.choice(operators)
    if operator == "NULL":
        absent = dice.random() < 0.5
        return "IS NULL" if absent else "IS NOT NULL", lambda value: (value is None) == absent
    text = dice.choice(values)
    if operator in {"IN", "NOT IN"}:
        chosen = {text, dice.choice(values)}
        written = ", ".join(_quoted(each) for each in sorted(chosen))
        return f"{operator} ({written})", lambda value: value is not None and (value in chosen) == (operator == "IN")
    if operator in {"LIKE", "ILIKE"}:
        text = dice.choice((text, f"{text[:1]}%", f"%{text[-1:]}", "_", "%", "a_b", "A%", "%*%", "%\\%"))
        pattern = "".join(".*" if each == "%" else "." if each == "_" else re.escape(each) for each in text)
        compiled = re.compile(pattern, re.DOTALL | (re.IGNORECASE if operator == "ILIKE" else 0))
        return f"{operator} {_quoted(text)}", lambda value: value is not None and bool(compiled.fullmatch(value))
    return f"{operator} {_quoted(text)}", lambda value: value is not None and (value == text) == (operator == "=")


def _quoted(text: str) -> str:
    return f'"{text}"' if "'" in text else f"'{text}'"


def _keyed_clause(dice: random.Random, _zoo: Zoo) -> Clause:
    which, key = dice.choice(
        (("params", "p"), ("params", "p q"), ("tags", "t"), ("tags", "mlflow.x.y"), ("tags", "nothing"))
    )
    written, test = _text_test(dice, _TEXTS, listed=False, null=True)
    read = Run.param if which == "params" else Run.tag
    return Clause(f"{which}.`{key}` {written}", lambda run: test(read(run, key)))


_ATTRIBUTES: dict[str, Callable[[Run], str]] = {
    "run_id": lambda run: run.info.run_id,
    "run_name": lambda run: run.info.run_name,
    "attributes.status": lambda run: run.info.status.value,
    "user_id": lambda run: run.info.user_id,
    "run.artifact_uri": lambda run: run.info.artifact_uri,
}


def _attribute_clause(dice: random.Random, zoo: Zoo) -> Clause:
    name = dice.choice(list(_ATTRIBUTES))
    read = _ATTRIBUTES[name]
    values = sorted({read(run) for run in zoo.runs})
    written, test = _text_test(dice, values, listed=name == "run_id", null=False)
    return Clause(f"{name} {written}", lambda run: test(read(run)))


def _time_clause(dice: random.Random, _zoo: Zoo) -> Clause:
    name, operator, number = dice.choice(("start_time", "end_time")), dice.choice(list(_COMPARE)), dice.choice((0, 0.5))
    number += 1_005 if name == "start_time" else 2_002

    def matches(run: Run) -> bool:
        value = run.info.start_time if name == "start_time" else run.info.end_time
        return value is not None and _COMPARE[operator](value, number)

    return Clause(f"{name} {operator} {number}", matches)


def _dataset_clause(dice: random.Random, _zoo: Zoo) -> Clause:
    what = dice.choice(("name", "digest", "context"))
    values = {"name": ("iris", "Iris", "wine"), "digest": ("1", "2"), "context": ("train", "test")}[what]
    written, test = _text_test(dice, values, listed=True, null=False)

    def read(given: DatasetInput) -> str | None:
        if what == "context":
            return next((tag.value for tag in given.tags), None)
        return given.dataset.name if what == "name" else given.dataset.digest

    return Clause(f"dataset.{what} {written}", lambda run: any(test(read(each)) for each in run.inputs.dataset_inputs))


@dataclass(frozen=True)
class Order:
    """A sort key: its text, how a run's value is read (None is missing) and its direction."""

    text: str
    read: Callable[[Run], Any]
    ascending: bool


def draw_order(dice: random.Random) -> list[Order]:
    fields: list[tuple[str, Callable[[Run], Any]]] = [
        ("metrics.m", lambda run: run.metric("m")),
        ("metrics.`val/loss`", lambda run: run.metric("val/loss")),
        ("params.p", lambda run: run.param("p")),
        ("tags.t", lambda run: run.tag("t")),
        ("start_time", lambda run: run.info.start_time),
        ("end_time", lambda run: run.info.end_time),
        ("run_name", lambda run: run.info.run_name),
        ("status", lambda run: run.info.status.value),
        ("run_id", lambda run: run.info.run_id),
    ]
    chosen = dice.sample(fields, dice.choice((0, 1, 1, 2)))
    orders = []
    for name, read in chosen:
        ascending = dice.random() < 0.5
        orders.append(Order(f"{name} {'ASC' if ascending else 'DESC'}", read, ascending))
    return orders


def in_order(runs: Sequence[Run], orders: Sequence[Order]) -> list[Run]:
    """Runs as a search must list them: missing values last in both directions, NaN before them."""
    found = sorted(runs, key=lambda run: run.info.run_id)
    if not any(order.text.startswith("start_time") for order in orders):
        found.sort(key=lambda run: -run.info.start_time)
    for order in reversed(orders):
        known = [run for run in found if _rank(order.read(run)) == 0]
        known.sort(key=order.read, reverse=not order.ascending)  # reversed or not, equals keep their order
        found = known + sorted((run for run in found if _rank(order.read(run))), key=lambda run: _rank(order.read(run)))
    return found


def _rank(value: Any) -> int:
    if value is None:
        return 2
    return 1 if isinstance(value, float) and math.isnan(value) else 0


# --- the tests --------------------------------------------------------------------------------------------------------


class SearchConformance:
    @pytest.mark.parametrize("seed", range(3))
    def test_searches_find_what_a_plain_reading_finds(self, store: Store, seed: int) -> None:
        zoo = zoo_of(store)
        dice = random.Random(seed)  # noqa: S311 - the same searches every time
        for _ in range(CASES):
            clauses, orders = draw_filter(dice, zoo), draw_order(dice)
            experiments = dice.sample(zoo.experiment_ids, dice.choice((1, 1, 2, 3)))
            view = dice.choice((ViewType.ACTIVE_ONLY, ViewType.ACTIVE_ONLY, ViewType.DELETED_ONLY, ViewType.ALL))
            search = {
                "filter_string": " AND ".join(clause.text for clause in clauses),
                "order_by": [order.text for order in orders],
                "view_type": view,
            }
            wanted = [run for run in zoo.runs if run.info.experiment_id in experiments and _shown(run, view)]
            wanted = in_order([run for run in wanted if all(clause.matches(run) for clause in clauses)], orders)
            found = self._all(store, experiments, dice.choice((3, 7, 1000)), **search)
            assert [run.info.run_id for run in found] == [run.info.run_id for run in wanted], search

    def test_nan_is_unequal_to_everything(self, store: Store) -> None:
        experiment_id = store.create_experiment(fresh("nan"))
        run_id = store.create_run(experiment_id).info.run_id
        store.log_batch(run_id, metrics=[Metric("m", math.nan, 1)])
        for operator in _COMPARE:
            found = store.search_runs([experiment_id], filter_string=f"metrics.m {operator} 0").items
            assert bool(found) == (operator == "!="), operator

    def test_found_runs_are_whole(self, store: Store) -> None:
        zoo = zoo_of(store)
        found = store.search_runs(zoo.experiment_ids, view_type=ViewType.ALL).items
        by_id = {run.info.run_id: run for run in zoo.runs}
        for run in found:
            expected = by_id[run.info.run_id]
            assert run.info == expected.info
            assert (run.data.params, run.data.tags) == (expected.data.params, expected.data.tags)
            assert repr(run.data.metrics) == repr(expected.data.metrics)  # NaN is unequal to itself
            assert run.inputs.dataset_inputs == expected.inputs.dataset_inputs

    def test_pages_stay_right_while_runs_arrive(self, store: Store) -> None:
        experiment_id = store.create_experiment(fresh("growing"))
        old = [store.create_run(experiment_id, start_time=time).info.run_id for time in (10, 20, 30, 40, 50)]
        first = store.search_runs([experiment_id], max_results=2)
        store.create_run(experiment_id, start_time=60)
        late = store.create_run(experiment_id, start_time=15).info.run_id
        rest = store.search_runs([experiment_id], page_token=first.token).items
        assert [run.info.run_id for run in first.items] == [old[4], old[3]]
        assert [run.info.run_id for run in rest] == [old[2], old[1], late, old[0]]

    def test_a_token_belongs_to_its_search(self, store: Store) -> None:
        zoo = zoo_of(store)
        token = store.search_runs(zoo.experiment_ids, max_results=2).token
        assert token is not None
        others: tuple[dict[str, Any], ...] = (
            {"filter_string": "metrics.m > 0"},
            {"order_by": ["metrics.m"]},
            {"view_type": ViewType.ALL},
        )
        for other in others:
            with pytest.raises(InvalidParameterValue, match="another search"):
                store.search_runs(zoo.experiment_ids, page_token=token, **other)
        for bad in ("nonsense", token[:-4], "W10=", "\u00e9"):
            with pytest.raises(InvalidParameterValue, match="page_token"):
                store.search_runs(zoo.experiment_ids, page_token=bad)

    @pytest.mark.parametrize("number", [0, -1, 50_001])
    def test_a_page_has_limits(self, store: Store, number: int) -> None:
        with pytest.raises(InvalidParameterValue, match="max_results"):
            store.search_runs(["0"], max_results=number)

    def test_no_experiment_no_runs(self, store: Store) -> None:
        assert store.search_runs([]).items == ()
        assert store.search_runs(["999999999"]).items == ()

    def test_a_bad_filter_is_refused_by_position(self, store: Store) -> None:
        with pytest.raises(InvalidParameterValue, match="character 11"):
            store.search_runs(["0"], filter_string="metrics.m == 1")

    @pytest.mark.parametrize("comparison", ["metrics.m > 1", "tags.t = 'a'", "params.p IS NULL"])
    def test_as_many_comparisons_as_allowed(self, store: Store, comparison: str) -> None:
        experiments = zoo_of(store).experiment_ids
        one = store.search_runs(experiments, filter_string=comparison).items
        many = store.search_runs(experiments, filter_string=" AND ".join([comparison] * MAX_COMPARISONS)).items
        assert [run.info.run_id for run in many] == [run.info.run_id for run in one]

    @pytest.mark.parametrize("order", ["metrics.m{}", "tags.t{}"])
    def test_as_many_orders_as_allowed(self, store: Store, order: str) -> None:
        experiments = zoo_of(store).experiment_ids
        newest = [run.info.run_id for run in store.search_runs(experiments).items]
        orders = [order.format(number) for number in range(100, 100 + MAX_ORDERINGS)]
        found = store.search_runs(experiments, order_by=orders, max_results=3)
        rest = store.search_runs(experiments, order_by=orders, page_token=found.token)
        assert [run.info.run_id for run in (*found.items, *rest.items)] == newest
        with pytest.raises(InvalidParameterValue, match=f"at most {MAX_ORDERINGS} are allowed"):
            store.search_runs(experiments, order_by=[*orders, "start_time"])

    @pytest.mark.parametrize("comparisons", [0, 12])
    def test_as_many_experiments_as_allowed(self, store: Store, comparisons: int) -> None:
        own = zoo_of(store).experiment_ids
        others = [str(number) for number in range(10**9, 10**9 + MAX_EXPERIMENTS - len(own))]
        filter_string = " AND ".join(["tags.t = 'a'"] * comparisons)
        found = store.search_runs([*own, *others], filter_string=filter_string).items
        expected = store.search_runs(own, filter_string=filter_string).items
        assert [run.info for run in found] == [run.info for run in expected]
        with pytest.raises(InvalidParameterValue, match=f"at most {MAX_EXPERIMENTS} are allowed"):
            store.search_runs([*own, *others, "1" * 12])

    def test_as_many_listed_values_as_allowed(self, store: Store) -> None:
        experiments = zoo_of(store).experiment_ids
        listed = ",".join(f"'{number}'" for number in range(MAX_LISTED))
        assert store.search_runs(experiments, filter_string=f"run_id IN ({listed})").items == ()
        assert store.search_runs(experiments, filter_string=f"run_id NOT IN ({listed})").items

    # --- experiments --------------------------------------------------------------------------------------------

    def test_experiments_are_found_by_name_tag_and_time(self, store: Store) -> None:
        prefix = fresh("Lab")
        names = [f"{prefix}-{letter}" for letter in "abc"]
        ids = [store.create_experiment(name, tags=[Tag("team", name[-1])]) for name in names]
        gone = store.create_experiment(f"{prefix}-gone")
        store.delete_experiment(gone)
        mine = f"name LIKE '{prefix}%'"

        def found(filter_string: str, **options: Any) -> list[str]:
            return [
                each.experiment_id for each in store.search_experiments(filter_string=filter_string, **options).items
            ]

        assert sorted(found(mine)) == sorted(ids)
        assert found(mine, order_by=["name DESC"]) == ids[::-1]
        assert found(mine, view_type=ViewType.DELETED_ONLY) == [gone]
        assert sorted(found(mine, view_type=ViewType.ALL)) == sorted([*ids, gone])
        assert found(f"name ILIKE '{prefix.lower()}-A'") == [ids[0]]
        assert found(f"{mine} AND tags.team = 'b'") == [ids[1]]
        assert found(f"{mine} AND tags.team IS NULL") == []
        assert found(f"experiment_id IN ('{ids[2]}', 'x', '99999999999999999999')") == [ids[2]]
        assert found(f"{mine} AND experiment_id != '{ids[0]}'", order_by=["experiment_id"]) == ids[1:]
        assert found(f"{mine} AND creation_time > 0 AND last_update_time < 1.5") == []
        pages, token = [], None
        for _ in range(3):
            page = store.search_experiments(filter_string=mine, order_by=["name"], max_results=1, page_token=token)
            pages += [each.experiment_id for each in page.items]
            token = page.token
        assert (pages, token) == (ids, None)

    # --- helpers ------------------------------------------------------------------------------------------------

    @staticmethod
    def _all(store: Store, experiments: Sequence[str], size: int, **search: Any) -> list[Run]:
        """Every page of a search."""
        found: list[Run] = []
        token = None
        while True:
            page = store.search_runs(experiments, max_results=size, page_token=token, **search)
            assert len(page.items) <= size
            found += page.items
            token = page.token
            if token is None:
                return found
            assert len(page.items) == size


def _shown(run: Run, view: ViewType) -> bool:
    deleted = run.info.lifecycle_stage is LifecycleStage.DELETED
    return view is ViewType.ALL or deleted == (view is ViewType.DELETED_ONLY)


__all__ = ["SearchConformance", "Zoo", "draw_filter", "draw_order", "in_order", "zoo_of"]
