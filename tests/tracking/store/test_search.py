"""Searches over a real SQLite file, both ways to a page of runs, and the statements that they send."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
import sqlalchemy as sa

from mlgate_tracking.entities import Metric, Param, Tag, ViewType
from mlgate_tracking.store.pooled import driver_url
from mlgate_tracking.store.rows import rows_by_key
from mlgate_tracking.store.run_rows import SELECT_RUN, hydrate_runs
from mlgate_tracking.store.search import runs as run_search
from mlgate_tracking.store.sql import SqlStore
from mlgate_tracking.store.sqlite import SQLiteDatabase
from mlgate_tracking.store.transaction import Transaction
from mlgate_tracking.testing.search import SearchConformance, zoo_of
from tests.support.databases import PostgreSQL


@pytest.fixture(scope="module")
def shared(tmp_path_factory: pytest.TempPathFactory) -> Iterator[SqlStore]:
    with SqlStore(f"sqlite:///{tmp_path_factory.mktemp('store')}/store.db") as opened:
        yield opened


@pytest.fixture(params=["collect", "scan"])
def store(shared: SqlStore, request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> SqlStore:
    """The store, made to collect whatever a comparison allows, or to walk an index wherever there is one."""
    monkeypatch.setattr(run_search, "scan_is_shorter", lambda *_rows: request.param == "scan")
    return shared


class TestSQLiteSearch(SearchConformance):
    pass


# --- what SQLite does with the statements -----------------------------------------------------------------------------


def plans(store: SqlStore, experiments: list[str], **search: Any) -> list[str]:
    """How SQLite means to run the statements that find a page, a line each step."""
    steps: list[str] = []

    def explain(raw: Any, _cursor: Any, statement: str, parameters: Any, *_rest: Any) -> None:
        if "count(*)" in statement:  # weighing which way to go
            return
        found = raw.connection.dbapi_connection.execute(f"EXPLAIN QUERY PLAN {statement}", parameters)
        steps.extend(row[3] for row in found.fetchall())

    assert isinstance(store.database, SQLiteDatabase)
    engine = sa.create_engine(f"sqlite:///{store.database.path}")
    sa.event.listen(engine, "before_cursor_execute", explain)
    with engine.connect() as connection:
        run_search.search_runs(connection, experiments, **search)
    engine.dispose()
    return steps


def walks(steps: list[str], table: str) -> list[str]:
    return [step for step in steps if step.split()[1:2] == [table] and "COVERING" not in step]


@pytest.fixture
def scanned(shared: SqlStore, monkeypatch: pytest.MonkeyPatch) -> SqlStore:
    monkeypatch.setattr(run_search, "scan_is_shorter", lambda *_rows: True)
    zoo_of(shared)
    return shared


@pytest.mark.parametrize(
    ("search", "index"),
    [
        ({}, "ix_runs_newest"),
        ({"filter_string": "tags.t = 'a' AND metrics.m > 0"}, "ix_runs_newest"),
        ({"filter_string": "run_name != 'a' AND end_time > 0 AND status = 'FAILED'"}, "ix_runs_newest"),
        ({"order_by": ["start_time ASC"]}, "ix_runs_newest"),
        ({"order_by": ["run_name"]}, "ix_runs_name"),
        ({"order_by": ["end_time DESC"]}, "ix_runs_end_time"),
    ],
)
def test_a_scan_walks_the_index_of_its_order(scanned: SqlStore, search: dict[str, Any], index: str) -> None:
    steps = plans(scanned, list(zoo_of(scanned).experiment_ids[:1]), **search)
    walked = walks(steps, "runs")
    assert f"SEARCH runs USING INDEX {index} (experiment_id=?" in walked[0]
    assert "USE TEMP B-TREE FOR ORDER BY" not in steps


def test_an_order_by_metric_walks_the_metric(scanned: SqlStore) -> None:
    experiments = list(zoo_of(scanned).experiment_ids[:1])
    steps = plans(scanned, experiments, order_by=["metrics.m DESC"], filter_string="metrics.m > 0", max_results=1)
    walked = [step for step in steps if "ix_latest_metrics_value" in step]
    assert any("(experiment_id=? AND key_id=? AND is_nan=? AND value>?)" in step for step in walked)
    assert walks(steps, "runs") == ["SEARCH runs USING INTEGER PRIMARY KEY (rowid=?)"]
    assert "USE TEMP B-TREE FOR ORDER BY" not in steps


def test_a_collection_starts_from_the_comparison(shared: SqlStore, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(run_search, "scan_is_shorter", lambda *_rows: False)
    steps = plans(shared, list(zoo_of(shared).experiment_ids[:1]), filter_string="tags.t = 'a' AND metrics.m > 0")
    assert walks(steps, "runs") == ["SEARCH runs USING INTEGER PRIMARY KEY (rowid=?)"]


@pytest.mark.parametrize(
    ("collected", "scanned", "scan"), [(10, 1e6, False), (5_000, 200.0, True), (run_search.FEW, 1e9, True)]
)
def test_the_shorter_way_is_taken(collected: int, scanned: float, scan: bool) -> None:
    assert run_search.scan_is_shorter(collected, scanned, run_search.FEW) is scan


@pytest.mark.database
@pytest.mark.parametrize("order_by", [[], ["metrics.m DESC"]])
def test_postgresql_looks_up_what_a_walk_passes(postgresql: PostgreSQL, monkeypatch, order_by: list[str]) -> None:
    monkeypatch.setattr(run_search, "scan_is_shorter", lambda *_rows: True)
    uri = postgresql.create()
    with SqlStore(uri) as store:
        for number in range(300):
            run_id = store.create_run("0", tags=[Tag("t", "ab"[number % 2])], start_time=number).info.run_id
            store.log_batch(run_id, metrics=[Metric("m", number, 1)], params=[Param("p", str(number % 3))])
    steps: list[str] = []

    def explain(raw: Any, _cursor: Any, statement: str, parameters: Any, *_rest: Any) -> None:
        if "count(*)" not in statement:  # which weighs which way to go
            found = raw.connection.dbapi_connection.execute(f"EXPLAIN {statement}", parameters)
            steps.extend(row[0].strip() for row in found.fetchall())

    engine = sa.create_engine(driver_url(uri))
    with engine.connect() as connection:
        connection.exec_driver_sql("ANALYZE")
        connection.exec_driver_sql("SET enable_seqscan = off")  # it is quicker for so few runs
        sa.event.listen(engine, "before_cursor_execute", explain)
        clauses = "tags.t = 'a' AND params.p = '1' AND metrics.m > 3"
        found = run_search.search_runs(connection, ["0"], filter_string=clauses, order_by=order_by, max_results=10)
    engine.dispose()
    assert len(found.keys) == 10
    walked = "ix_latest_metrics_value" if order_by else "ix_runs_newest"
    assert any(walked in step for step in steps)
    assert any("(SubPlan" in step for step in steps)
    assert not any("hashed SubPlan" in step or "Hash Join" in step for step in steps)


def test_a_larger_page_takes_no_more_statements(shared: SqlStore) -> None:
    assert statements_of_page(shared, 20) == statements_of_page(shared, 40) <= 10


def statements_of_page(store: SqlStore, size: int) -> int:
    """How many statements one page of whole runs takes."""
    assert isinstance(store.database, SQLiteDatabase)
    statements: list[str] = []
    raw = store.database.connect()
    raw.set_trace_callback(statements.append)
    with store.database.wrap(raw) as core:
        tx = Transaction(raw, store.database.dialect, lambda: core)
        found = run_search.search_runs(core, zoo_of(store).experiment_ids, view_type=ViewType.ALL, max_results=size)
        assert len(hydrate_runs(tx, store.keys, rows_by_key(tx, SELECT_RUN, "run_pk", found.keys))) == size
    raw.close()
    return len(statements)
