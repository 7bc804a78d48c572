"""Metric points: written once each, the latest of each key kept at hand, histories read in order."""

from __future__ import annotations

import base64
import binascii
import json
import struct
from collections.abc import Iterable, Sequence
from typing import Any

from mlgate_tracking.entities import Metric, Page, Point
from mlgate_tracking.errors import InvalidParameterValue, ResourceDoesNotExist
from mlgate_tracking.store.dialects import in_list
from mlgate_tracking.store.keys import KeyTable
from mlgate_tracking.store.part import StorePart
from mlgate_tracking.store.run_rows import RunRow
from mlgate_tracking.store.transaction import Transaction
from mlgate_tracking.store.values import double_columns, double_from, text_hash

MAX_SAMPLES = 2500
_POINT = ("timestamp", "step", "value", "is_nan")
_RANK = ("step", "timestamp", "value")


def write_metrics(tx: Transaction, keys: KeyTable, writes: Sequence[tuple[RunRow, Sequence[Metric]]]) -> None:
    """Add checked points to runs, each to its own, and to the logged models that they name."""
    ids = keys.intern(tx, {point.key for _, points in writes for point in points})
    rows: list[dict[str, Any]] = []
    latest: dict[tuple[int, int], dict[str, Any]] = {}
    experiments: dict[int, int] = {}
    for run, points in writes:
        experiments[run.run_pk] = run.experiment_id
        first = len(rows)
        for point in points:
            key_id = ids[point.key]
            value, is_nan = double_columns(point.value)
            row = {
                "run_pk": run.run_pk,
                "key_id": key_id,
                "timestamp": point.timestamp,
                "step": point.step,
                "value": value,
                "is_nan": is_nan,
            }
            rows.append(row)
            best = latest.setdefault((run.run_pk, key_id), row)
            if best is not row and _rank(row) > _rank(best):
                latest[run.run_pk, key_id] = row
        attached = [(point, row) for point, row in zip(points, rows[first:], strict=True) if point.model_id]
        if attached:
            _attach_to_models(tx, run, attached)
    tx.insert_missing("metrics", rows, ["run_pk", "key_id", *_POINT])
    # In one order everywhere, so that two writers do not deadlock.
    newest = [{**latest[at], "experiment_id": experiments[at[0]]} for at in sorted(latest)]
    tx.upsert_greater("latest_metrics", newest, ["run_pk", "key_id"], _RANK)


def _rank(row: dict[str, Any]) -> tuple[int, int, float]:
    return row["step"], row["timestamp"], row["value"]


def _attach_to_models(tx: Transaction, run: RunRow, attached: Sequence[tuple[Metric, dict[str, Any]]]) -> None:
    wanted = sorted({str(point.model_id) for point, _ in attached})
    part, params = in_list(wanted, "model")
    pks: dict[str | None, int] = dict(
        tx.rows(
            f"SELECT model_id, logged_model_pk FROM logged_models WHERE deleted_time IS NULL AND model_id IN {part}",
            params,
        )
    )
    for model_id in wanted:
        if model_id not in pks:
            raise ResourceDoesNotExist(f"there is no logged model with id {model_id!r}")
    rows = [
        {
            "logged_model_pk": pks[point.model_id],
            "key_id": row["key_id"],
            "dataset_hash": dataset_hash(point.dataset_name, point.dataset_digest),
            "step": row["step"],
            "timestamp": row["timestamp"],
            "value": row["value"],
            "is_nan": row["is_nan"],
            "run_id": run.run_id,
            "dataset_name": point.dataset_name,
            "dataset_digest": point.dataset_digest,
        }
        for point, row in attached
    ]
    conflict = ["logged_model_pk", "key_id", "dataset_hash", "step", "timestamp", "value", "is_nan", "run_id"]
    tx.insert_missing("logged_model_metrics", rows, conflict)


def dataset_hash(name: str | None, digest: str | None) -> int:
    """What stands for a dataset in the key of `logged_model_metrics`; 0 is none."""
    return text_hash(f"{name or ''}\n{digest or ''}") if name or digest else 0


class MetricStore(StorePart):
    def metric_history(
        self, run_id: str, key: str, *, max_results: int | None = None, page_token: str | None = None
    ) -> Page[Metric]:
        page = self.metric_points(run_id, key, max_results=max_results, page_token=page_token)
        return Page(tuple(Metric(key, value, timestamp, step) for timestamp, step, value in page.items), page.token)

    def metric_points(
        self, run_id: str, key: str, *, max_results: int | None = None, page_token: str | None = None
    ) -> Page[Point]:
        if max_results is not None and max_results < 1:
            raise InvalidParameterValue(f"max_results {max_results} is not positive")
        after = _read_token(page_token) if page_token else None

        def work(tx: Transaction) -> Page[Point]:
            found = tx.row(
                "SELECT run_pk, (SELECT key_id FROM attribute_keys WHERE name = :name) "
                "FROM runs WHERE run_id = :run_id",
                {"run_id": run_id, "name": key},
            )
            if found is None or found[1] is None:
                return Page(())
            params: dict[str, Any] = {"run_pk": found[0], "key_id": found[1]}
            sql = "SELECT timestamp, step, value, is_nan FROM metrics WHERE run_pk = :run_pk AND key_id = :key_id"
            if after is not None:
                sql += f" AND ({', '.join(_POINT)}) > (:after_timestamp, :after_step, :after_value, :after_is_nan)"
                params |= after
            sql += f" ORDER BY {', '.join(_POINT)}"
            if max_results is not None:
                sql += f" LIMIT {max_results + 1}"
            rows = tx.rows(sql, params)
            token = None
            if max_results is not None and len(rows) > max_results:
                del rows[max_results:]
                token = _write_token(rows[-1])
            return Page(
                tuple((timestamp, step, double_from(value, nan)) for timestamp, step, value, nan in rows), token
            )

        return self.read(work)

    def metric_history_sampled(
        self,
        run_ids: Sequence[str],
        key: str,
        *,
        start_step: int | None = None,
        end_step: int | None = None,
        max_results: int = MAX_SAMPLES,
    ) -> list[Metric]:
        if not 1 <= max_results <= MAX_SAMPLES:
            raise InvalidParameterValue(f"max_results {max_results} is out of range: 1 to {MAX_SAMPLES}")
        if (start_step is None) != (end_step is None):
            raise InvalidParameterValue("give both start_step and end_step, or neither")
        if start_step is not None and end_step is not None and start_step > end_step:
            raise InvalidParameterValue(f"start_step {start_step} is greater than end_step {end_step}")

        def work(tx: Transaction) -> list[Metric]:
            key_id = self.keys.find(tx, [key]).get(key)
            if key_id is None or not run_ids:
                return []
            part, params = in_list(list(run_ids), "run")
            runs = {
                pk: run_id for run_id, pk in tx.rows(f"SELECT run_id, run_pk FROM runs WHERE run_id IN {part}", params)
            }
            if not runs:
                return []
            return _sampled(tx, runs, key, key_id, (start_step, end_step), max_results)

        points: dict[str, list[Metric]] = {}
        for point in self.read(work):
            points.setdefault(str(point.run_id), []).append(point)
        return [point for run_id in dict.fromkeys(run_ids) for point in points.get(run_id, ())]


def _sampled(
    tx: Transaction,
    runs: dict[int, str],
    key: str,
    key_id: int,
    steps: tuple[int | None, int | None],
    count: int,
) -> list[Metric]:
    # Of n points numbered 0 to n-1, those where number * (count-1) / (n-1) reaches a new integer: `count` of them,
    # evenly spread, first and last among them.
    among, params = tx.dialect.among("run_pk", list(runs))
    between = "AND step BETWEEN :start AND :end_" if steps[0] is not None else ""
    rows = tx.rows(
        "SELECT run_pk, step, timestamp, value, is_nan FROM ("
        "SELECT run_pk, step, timestamp, value, is_nan, "
        "ROW_NUMBER() OVER (PARTITION BY run_pk ORDER BY step, timestamp, value, is_nan) - 1 AS number, "
        "COUNT(*) OVER (PARTITION BY run_pk) - 1 AS last_number "
        f"FROM metrics WHERE {among} AND key_id = :key_id {between}) numbered "
        "WHERE number = last_number OR (CASE WHEN last_number < :gaps + 1 THEN 1 "
        "WHEN (number * :gaps) % last_number < :gaps THEN 1 ELSE 0 END) = 1 "
        "ORDER BY run_pk, step, timestamp, value, is_nan",
        {**params, "key_id": key_id, "gaps": count - 1, "start": steps[0], "end_": steps[1]},
    )
    return [
        Metric(key, double_from(value, is_nan), timestamp, step, run_id=runs[run_pk])
        for run_pk, step, timestamp, value, is_nan in rows
    ]


def _write_token(row: Iterable[Any]) -> str:
    return base64.urlsafe_b64encode(json.dumps(list(row)).encode()).decode()


def _read_token(token: str) -> dict[str, Any]:
    try:
        timestamp, step, value, is_nan = json.loads(base64.urlsafe_b64decode(token.encode()))
        whole = {"after_timestamp": int(timestamp), "after_step": int(step), "after_is_nan": int(is_nan)}
        struct.pack("qqq", *whole.values())  # what no column holds
        return {**whole, "after_value": float(value)}
    except (ValueError, TypeError, OverflowError, RecursionError, struct.error, binascii.Error) as error:
        raise InvalidParameterValue(f"page token {token!r} is not one of ours: start again without it") from error


__all__ = ["MetricStore", "dataset_hash", "write_metrics"]
