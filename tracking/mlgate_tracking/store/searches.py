"""Searches of experiments and runs: a page of row keys, then whole entities in a constant number of statements."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, TypeVar

from mlgate_tracking.entities import Experiment, Page, Run, ViewType
from mlgate_tracking.store.experiments import COLUMNS, experiments_from_rows
from mlgate_tracking.store.keys import KeyTable
from mlgate_tracking.store.part import StorePart
from mlgate_tracking.store.rows import rows_by_key
from mlgate_tracking.store.run_rows import SELECT_RUN, hydrate_runs
from mlgate_tracking.store.transaction import Row, Transaction

T = TypeVar("T")

_SELECT_EXPERIMENT = f"SELECT {', '.join(COLUMNS)} FROM experiments"


class SearchStore(StorePart):
    def search_runs(
        self,
        experiment_ids: Sequence[str],
        *,
        filter_string: str | None = None,
        order_by: Sequence[str] = (),
        view_type: ViewType = ViewType.ACTIVE_ONLY,
        max_results: int = 1000,
        page_token: str | None = None,
    ) -> Page[Run]:
        return self._page_of_runs(
            hydrate_runs,
            experiment_ids,
            filter_string=filter_string,
            order_by=order_by,
            view_type=view_type,
            max_results=max_results,
            page_token=page_token,
        )

    def search_run_documents(
        self,
        experiment_ids: Sequence[str],
        *,
        filter_string: str | None = None,
        order_by: Sequence[str] = (),
        view_type: ViewType = ViewType.ACTIVE_ONLY,
        max_results: int = 1000,
        page_token: str | None = None,
    ) -> Page[Any]:
        # msgspec belongs to servers; a step's own store need not import it.
        from mlgate_tracking.store.run_documents import run_documents

        return self._page_of_runs(
            run_documents,
            experiment_ids,
            filter_string=filter_string,
            order_by=order_by,
            view_type=view_type,
            max_results=max_results,
            page_token=page_token,
        )

    def _page_of_runs(
        self,
        made: Callable[[Transaction, KeyTable, list[Row]], list[T]],
        experiment_ids: Sequence[str],
        **search: Any,
    ) -> Page[T]:
        from mlgate_tracking.store.search.runs import search_runs

        def work(tx: Transaction) -> Page[T]:
            found = search_runs(tx.core, experiment_ids, **search)
            rows = rows_by_key(tx, SELECT_RUN, "run_pk", found.keys)
            return Page(tuple(made(tx, self.keys, rows)), found.token)

        return self.read(work)

    def search_experiments(
        self,
        *,
        filter_string: str | None = None,
        order_by: Sequence[str] = (),
        view_type: ViewType = ViewType.ACTIVE_ONLY,
        max_results: int = 1000,
        page_token: str | None = None,
    ) -> Page[Experiment]:
        from mlgate_tracking.store.search.experiments import search_experiments

        def work(tx: Transaction) -> Page[Experiment]:
            found = search_experiments(
                tx.core,
                filter_string=filter_string,
                order_by=order_by,
                view_type=view_type,
                max_results=max_results,
                page_token=page_token,
            )
            rows = rows_by_key(tx, _SELECT_EXPERIMENT, "experiment_id", found.keys)
            return Page(tuple(experiments_from_rows(tx, rows)), found.token)

        return self.read(work)


__all__ = ["SearchStore"]
