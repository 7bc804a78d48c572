"""Small writes of metrics from several clients at once, as the statements of one.

A metric that is logged alone is five exchanges with the database. Sixteen clients who log one each get by with the same
five: their runs are looked up together, their points and latest values are written together, and one commit makes all
of it durable. Each of them still hears of its own mistakes only, and nobody waits long for a row that concerns another.
"""

from __future__ import annotations

import threading
from collections.abc import Sequence

from mlgate_tracking.entities import Fence, Metric
from mlgate_tracking.errors import TrackingError
from mlgate_tracking.store.database import Database
from mlgate_tracking.store.dialects import Trouble, driver_error
from mlgate_tracking.store.keys import KeyTable
from mlgate_tracking.store.lineup import Lineup, Request
from mlgate_tracking.store.metrics import write_metrics
from mlgate_tracking.store.part import check_attempt, current_attempts
from mlgate_tracking.store.run_rows import RunRow, check_writable, find_runs
from mlgate_tracking.store.transaction import Transaction

SMALL = 50
"""Points of a write that lines up; larger ones are worth a transaction and a connection of their own."""
LARGEST_GROUP = 256
TURN = 1.0
"""Seconds after which a write that is still in the line goes alone: somebody ahead may be waiting for a lock."""

_SHARED = frozenset({Trouble.AWAY, Trouble.FULL, Trouble.REFUSED})
"""What goes wrong for a whole group and would for each one alone."""


class _Write(Request):
    def __init__(self, run_id: str, fence: Fence | None, points: Sequence[Metric]) -> None:
        super().__init__()
        self.run_id = run_id
        self.fence = fence
        self.points = points
        self.alone = False
        """The group failed for what may be somebody else's reason: to be written in a transaction of its own."""


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
        request = _Write(run_id, fence, points)
        if not self._lineup.enter(request, TURN) or request.alone:
            self._database.write(lambda tx: self._write(tx, [request]), streamed=True)
            if request.error is not None:
                raise request.error

    def close(self) -> None:
        """Let nobody in any more, and wait until everybody who came has been served."""
        served = threading.Event()
        self._lineup.close(served.set)
        served.wait()

    def _serve(self, group: list[_Write]) -> None:
        try:
            self._database.write(lambda tx: self._write_together(tx, group), streamed=True)
        except Exception as error:
            for request in group:
                request.error = None
                if len(group) == 1:
                    request.error = error
                elif isinstance(error, TrackingError) and self._trouble(error) in _SHARED:
                    request.error = type(error)(error.message)  # each its own: a traceback belongs to one thread
                else:
                    request.alone = True
        for request in group:
            request.settled = True

    def _trouble(self, error: TrackingError) -> Trouble:
        return self._database.dialect.trouble(driver_error(error.__cause__ or error))

    def _write_together(self, tx: Transaction, group: Sequence[_Write]) -> None:
        if len(group) == 1:
            self._write(tx, group)
            return
        with tx.short_waits():  # for a row that somebody holds, nobody else need wait
            self._write(tx, group)

    def _write(self, tx: Transaction, group: Sequence[_Write]) -> None:
        attempts = current_attempts(tx, {request.fence.run_id for request in group if request.fence is not None})
        rows = find_runs(tx, {request.run_id for request in group})
        accepted: list[tuple[RunRow, Sequence[Metric]]] = []
        for request in group:
            request.error = None  # of a transaction that is run again
            try:
                if request.fence is not None:
                    check_attempt(request.fence, attempts)
                row = check_writable(rows.get(request.run_id), request.run_id, request.fence)
            except TrackingError as error:
                request.error = error
            else:
                accepted.append((row, request.points))
        accepted.sort(key=lambda each: each[0].run_pk)  # in one order everywhere, for the same reason as below
        write_metrics(tx, self._keys, accepted)


__all__ = ["LARGEST_GROUP", "SMALL", "TURN", "PointWriter"]
