"""Step runs: one run per step whatever the attempt, and only the newest attempt writes."""

from __future__ import annotations

from collections.abc import Sequence

from mlgate_tracking.entities import Metric, Param, Run, RunStatus, StepRun, Tag
from mlgate_tracking.errors import InvalidParameterValue, StaleAttempt
from mlgate_tracking.store import validate
from mlgate_tracking.store.metrics import write_metrics
from mlgate_tracking.store.part import StorePart
from mlgate_tracking.store.run_data import RUN_NAME_TAG, write_params, write_tags
from mlgate_tracking.store.run_rows import SELECT_RUN, RunRow, find_run, hydrate_runs, require_active
from mlgate_tracking.store.runs import fresh_run, insert_run, name_for, new_run
from mlgate_tracking.store.transaction import Transaction
from mlgate_tracking.store.values import new_id

STEP_RUN_KEY_TAG = "mlgate.step_run_key"
ATTEMPT_TAG = "mlgate.attempt"
PARENT_TAG = "mlflow.parentRunId"
_MAX_KEY = 128


class StepRunStore(StorePart):
    def open_step_run(
        self,
        step_run_key: str,
        *,
        experiment_id: str,
        attempt: int | None = None,
        user_id: str = "",
        run_name: str | None = None,
        start_time: int = 0,
        parent_run_id: str | None = None,
        params: Sequence[Param] = (),
        tags: Sequence[Tag] = (),
    ) -> StepRun:
        if not step_run_key:
            raise InvalidParameterValue("step_run_key is empty: it names the step")
        validate.text(step_run_key, _MAX_KEY, "step_run_key")
        if attempt is not None and attempt < 1:
            raise InvalidParameterValue(f"attempt {attempt} is not positive: the first one is 1")
        self.require_owner(None, "the run of another step")
        new_params = validate.params(params)
        new_tags = validate.tags(tags) | {STEP_RUN_KEY_TAG: step_run_key}
        if parent_run_id:
            new_tags[PARENT_TAG] = parent_run_id
        wanted = new_run(
            new_id(),
            validate.experiment_id(experiment_id),
            name_for(run_name, new_tags),
            self.acting(user_id).user,
            start_time,
            step_run_key=step_run_key,
        )
        named = run_name is not None or RUN_NAME_TAG in new_tags

        def work(tx: Transaction) -> StepRun:
            found = tx.row(
                f"{SELECT_RUN} WHERE step_run_key = :step_run_key{tx.dialect.for_update}",
                {"step_run_key": step_run_key},
            )
            # When two callers create it at once, the unique key lets one through; the other's transaction runs again
            # and finds the run.
            before = RunRow._make(found) if found is not None else None
            row = _reopen(tx, before, attempt) if before else insert_run(tx, wanted._replace(attempt=attempt or 1))
            values = {**new_tags, ATTEMPT_TAG: str(row.attempt)}
            if before is None or named:
                values[RUN_NAME_TAG] = wanted.name
            write_params(tx, self.keys, row, new_params, ignore_changed=True)
            write_tags(tx, self.keys, row, values)
            if before is None:
                return StepRun(fresh_run(row, new_params, values), step_run_key, row.attempt, created=True)
            run = hydrate_runs(tx, self.keys, [row._replace(name=values.get(RUN_NAME_TAG, row.name))])[0]
            return StepRun(run, step_run_key, row.attempt, created=False, previous_status=RunStatus(before.status))

        return self.write(work)

    def find_step_run(self, step_run_key: str) -> StepRun | None:
        def work(tx: Transaction) -> StepRun | None:
            found = tx.row(f"{SELECT_RUN} WHERE step_run_key = :step_run_key", {"step_run_key": step_run_key})
            if found is None:
                return None
            row = RunRow._make(found)
            run = hydrate_runs(tx, self.keys, [row])[0]
            return StepRun(run, step_run_key, row.attempt, created=False, previous_status=run.info.status)

        return self.read(work)

    def close_step_run(
        self,
        run_id: str,
        attempt: int,
        *,
        status: RunStatus,
        end_time: int,
        metrics: Sequence[Metric] = (),
        tags: Sequence[Tag] = (),
    ) -> Run:
        if not status.terminal:
            raise InvalidParameterValue(f"status {status.value} does not close a run: use FINISHED, FAILED or KILLED")
        self.require_owner(None, f"the status of run {run_id!r}")
        for point in metrics:
            validate.metric(point)
        new_tags = validate.tags(tags)

        def work(tx: Transaction) -> Run:
            row = find_run(tx, run_id, tx.dialect.for_update)
            require_active(row)
            _require_attempt(row, attempt)
            write_metrics(tx, self.keys, [(row, metrics)])
            write_tags(tx, self.keys, row, new_tags)
            tx.change(
                "UPDATE runs SET status = :status, end_time = :end_time WHERE run_pk = :run_pk",
                {"status": status.value, "end_time": end_time, "run_pk": row.run_pk},
            )
            name = new_tags.get(RUN_NAME_TAG, row.name)
            closed = row._replace(status=status.value, end_time=end_time, name=name)
            return hydrate_runs(tx, self.keys, [closed])[0]

        return self.write(work)


def _reopen(tx: Transaction, row: RunRow, attempt: int | None) -> RunRow:
    require_active(row)
    if attempt is not None and attempt < row.attempt:
        raise _stale(row, attempt)
    row = row._replace(attempt=attempt or row.attempt + 1, status=RunStatus.RUNNING.value, end_time=None)
    tx.change(
        "UPDATE runs SET attempt = :attempt, status = :status, end_time = NULL WHERE run_pk = :run_pk",
        {"attempt": row.attempt, "status": row.status, "run_pk": row.run_pk},
    )
    return row


def _require_attempt(row: RunRow, attempt: int) -> None:
    if row.step_run_key is None:
        raise InvalidParameterValue(f"run {row.run_id!r} is not the run of a step: update it instead")
    if attempt > row.attempt:
        raise InvalidParameterValue(
            f"attempt {attempt} of run {row.run_id!r} was never opened, {row.attempt} is current"
        )
    if attempt < row.attempt:
        raise _stale(row, attempt)


def _stale(row: RunRow, attempt: int) -> StaleAttempt:
    return StaleAttempt(
        f"attempt {attempt} of run {row.run_id!r} is too late: attempt {row.attempt} has taken over",
        run_id=row.run_id,
        attempt=attempt,
        current_attempt=row.attempt,
    )


__all__ = ["ATTEMPT_TAG", "PARENT_TAG", "STEP_RUN_KEY_TAG", "StepRunStore"]
