"""Small writes of metrics from several clients at once, as the statements of one.

A metric that is logged alone is five exchanges with the database. Sixteen clients who log one each get by with the same
five: their runs are looked up together, their points and latest values are written together, and one commit makes
all of it durable. Each of them still hears of its own mistakes only.
"""

from __future__ import annotations

from collections.abc import Sequence

from mlgate_tracking.entities import Fence, Metric
from mlgate_tracking.errors import TrackingError
from mlgate_tracking.store.database import Database
from mlgate_tracking.store.keys import KeyTable
from mlgate_tracking.store.lineup import Lineup, Request
from mlgate_tracking.store.metrics import write_metrics
from mlgate_tracking.store.part import check_attempt
from mlgate_tracking.store.run_rows import RunRow, check_writable, find_runs
from mlgate_tracking.store.transaction import Transaction

SMALL = 50
"""Points of a write that lines up; larger ones are worth a transaction and a connection of their own."""
LARGEST_GROUP = 256


class _Write(Request):
    def __init__(self, run_id: str, fence: Fence | None, points: Sequence[Metric]) -> None:
        super().__init__()
        self.run_id = run_id
        self.fence = fence
        self.points = points


class PointWriter:
    """Shared by all views of a store."""

    def __init__(self, database: Database, keys: KeyTable) -> None:
        self._database = database
        self._keys = keys
        self._lineup: Lineup[_Write] = Lineup(self._serve, LARGEST_GROUP, "the store")

    @staticmethod
    def takes(points: Sequence[Metric]) -> bool:
        """Whether these points may go with those of others: they are few, and belong to their run alone."""
        return len(points) <= SMALL and not any(point.model_id for point in points)

    def write(self, run_id: str, fence: Fence | None, points: Sequence[Metric]) -> None:
        """Add checked points to a run; they are durable when this returns.

        Args:
            fence: the attempt that the caller writes for, if any.

        Raises:
            StaleAttempt: that attempt is not the current one.
            ResourceDoesNotExist: there is no such run.
            InvalidParameterValue: the run is deleted.
            PermissionDenied: the run is not one of the attempt's own.
        """
        self._lineup.enter(_Write(run_id, fence, points))

    def _serve(self, group: list[_Write]) -> None:
        try:
            self._database.write(lambda tx: self._write(tx, group), streamed=True)
        except Exception as error:
            if len(group) > 1 and not isinstance(error, TrackingError):
                for request in group:  # one of them holds what the database refuses; each goes alone
                    self._serve([request])
                return
            for request in group:
                request.error = error
        for request in group:
            request.settled = True

    def _write(self, tx: Transaction, group: Sequence[_Write]) -> None:
        attempts = _attempts(tx, {request.fence.run_id for request in group if request.fence is not None})
        rows = find_runs(tx, {request.run_id for request in group})
        accepted: list[tuple[RunRow, Sequence[Metric]]] = []
        for request in group:
            request.error = None  # of a transaction that is run again
            try:
                if request.fence is not None:
                    check_attempt(request.fence, attempts.get(request.fence.run_id, 0))
                row = check_writable(rows.get(request.run_id), request.run_id, request.fence)
            except TrackingError as error:
                request.error = error
            else:
                accepted.append((row, request.points))
        write_metrics(tx, self._keys, accepted)


def _attempts(tx: Transaction, run_ids: set[str]) -> dict[str, int]:
    """The current attempts of steps' runs, which nobody can raise until the transaction ends."""
    if not run_ids:
        return {}
    among, params = tx.dialect.among("run_id", sorted(run_ids))
    lock = tx.dialect.for_share  # in one order everywhere, so that two who hold several do not deadlock
    return dict(tx.rows(f"SELECT run_id, attempt FROM runs WHERE {among} ORDER BY run_id{lock}", params))


__all__ = ["LARGEST_GROUP", "SMALL", "PointWriter"]
