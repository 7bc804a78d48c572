"""Remove for good what was deleted: runs, logged models and experiments, first their files, then their rows.

A run or model that a live model version is made of stays, whatever was deleted. A collection that is interrupted has
removed files of things that are deleted anyway; the next one finishes them.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from functools import partial

from mlgate_tracking.store.part import StorePart
from mlgate_tracking.store.transaction import Transaction
from mlgate_tracking.store.values import now

_IDEMPOTENCY_KEPT = 7 * 24 * 3600 * 1000
"""Milliseconds for which a request may still be sent again."""

_RUN_TABLES = (
    "latest_metrics",
    "metrics",
    "params",
    "tags",
    "dataset_input_tags",
    "dataset_inputs",
    "model_inputs",
    "model_outputs",
    "runs",
)


@dataclass(frozen=True, slots=True)
class Garbage:
    """One deleted thing.

    Attributes:
        kind: `run`, `logged model`, `trace` or `experiment`.
        key: the surrogate key; an experiment's id.
        name: what users call it.
        artifact_uri: its files; None for an experiment, whose runs and models have them.
        needed_by: the live model version that is made of it, which keeps it.
    """

    kind: str
    key: int
    name: str
    artifact_uri: str | None
    needed_by: str | None = None


@dataclass(slots=True)
class Collected:
    removed: list[Garbage] = field(default_factory=list)
    kept: list[Garbage] = field(default_factory=list)


def find_garbage(store: StorePart, *, deleted_before: int, experiment_ids: tuple[str, ...] = ()) -> list[Garbage]:
    """What was deleted before a time (milliseconds since the epoch), files-bearing things first.

    Args:
        experiment_ids: look only at these experiments; all when empty.
    """
    chosen = ""
    if experiment_ids:
        chosen = f" AND x.experiment_id IN ({', '.join(str(int(number)) for number in experiment_ids)})"
    return store.read(lambda tx: _find(tx, deleted_before, chosen))


def collect(
    store: StorePart, garbage: list[Garbage], remove_artifacts: Callable[[str], None], deleted_before: int
) -> Collected:
    """Remove what `find_garbage` found, one thing after the other; what was restored meanwhile stays."""
    done = Collected()
    for item in garbage:
        if item.needed_by is not None or not store.read(partial(_is_garbage, item=item, before=deleted_before)):
            done.kept.append(item)
            continue
        if item.artifact_uri is not None:
            remove_artifacts(item.artifact_uri)
        store.write(partial(_remove, item=item))
        done.removed.append(item)
    expired = now() - _IDEMPOTENCY_KEPT
    store.write(
        lambda tx: tx.change("DELETE FROM idempotency_keys WHERE creation_time < :expired", {"expired": expired})
    )
    return done


def _find(tx: Transaction, before: int, chosen: str) -> list[Garbage]:
    limit = {"before": before}
    runs = tx.rows(
        "SELECT x.run_pk, x.run_id, x.artifact_uri FROM runs x "
        f"WHERE x.deleted_time < :before{chosen} ORDER BY x.run_pk",
        limit,
    )
    # Models and traces of an experiment go with it.
    models = tx.rows(
        "SELECT x.logged_model_pk, x.model_id, x.artifact_uri FROM logged_models x "
        "JOIN experiments e ON e.experiment_id = x.experiment_id "
        f"WHERE (x.deleted_time < :before OR e.deleted_time < :before){chosen} ORDER BY x.logged_model_pk",
        limit,
    )
    traces = tx.rows(
        "SELECT x.trace_pk, x.trace_id, e.artifact_location FROM traces x "
        "JOIN experiments e ON e.experiment_id = x.experiment_id "
        f"WHERE e.deleted_time < :before{chosen} ORDER BY x.trace_pk",
        limit,
    )
    experiments = tx.rows(
        "SELECT x.experiment_id, x.name FROM experiments x "
        f"WHERE x.deleted_time < :before{chosen} ORDER BY x.experiment_id",
        limit,
    )
    needed = _needed_locations(tx)
    return [
        *(Garbage("run", pk, run_id, uri, _needed_by(uri, needed)) for pk, run_id, uri in runs),
        *(Garbage("logged model", pk, model_id, uri, _needed_by(uri, needed)) for pk, model_id, uri in models),
        *(Garbage("trace", pk, trace_id, f"{uri}/traces/{trace_id}/artifacts") for pk, trace_id, uri in traces),
        *(Garbage("experiment", number, name, None) for number, name in experiments),
    ]


def _needed_locations(tx: Transaction) -> dict[str, str]:
    """Files of live model versions -> the version."""
    rows = tx.rows(
        "SELECT v.storage_location, m.name, v.version FROM model_versions v "
        "JOIN registered_models m ON m.registered_model_pk = v.registered_model_pk WHERE v.deleted_time IS NULL"
    )
    found = {}
    for location, name, version in rows:
        path = (location or "").rstrip("/")
        if path.startswith("runs:/"):
            run_id, _, below = path.removeprefix("runs:/").partition("/")
            row = tx.row("SELECT artifact_uri FROM runs WHERE run_id = :run_id", {"run_id": run_id})
            path = f"{row[0]}/{below}" if row is not None else path
        found[path] = f"{name} version {version}"
    return found


def _needed_by(uri: str, needed: dict[str, str]) -> str | None:
    root = uri.rstrip("/")
    return next((who for path, who in needed.items() if path == root or path.startswith(f"{root}/")), None)


_STILL_DELETED = {
    "run": "SELECT 1 FROM runs WHERE run_pk = :key AND deleted_time < :before",
    "logged model": "SELECT 1 FROM logged_models x JOIN experiments e ON e.experiment_id = x.experiment_id "
    "WHERE logged_model_pk = :key AND (x.deleted_time < :before OR e.deleted_time < :before)",
    "trace": "SELECT 1 FROM traces x JOIN experiments e ON e.experiment_id = x.experiment_id "
    "WHERE trace_pk = :key AND e.deleted_time < :before",
    # An experiment goes last, and only when nothing is left in it.
    "experiment": "SELECT 1 FROM experiments e WHERE experiment_id = :key AND deleted_time < :before "
    "AND NOT EXISTS (SELECT 1 FROM runs r WHERE r.experiment_id = e.experiment_id) "
    "AND NOT EXISTS (SELECT 1 FROM logged_models m WHERE m.experiment_id = e.experiment_id)",
}


def _is_garbage(tx: Transaction, item: Garbage, before: int) -> bool:
    return tx.row(_STILL_DELETED[item.kind], {"key": item.key, "before": before}) is not None


def _remove(tx: Transaction, item: Garbage) -> None:
    key = {"key": item.key}
    if item.kind == "run":
        for table in _RUN_TABLES:
            tx.change(f"DELETE FROM {table} WHERE run_pk = :key", key)
        return
    table, column = {
        "logged model": ("logged_models", "logged_model_pk"),
        "trace": ("traces", "trace_pk"),
        "experiment": ("experiments", "experiment_id"),
    }[item.kind]
    tx.change(f"DELETE FROM {table} WHERE {column} = :key", key)


__all__ = ["Collected", "Garbage", "collect", "find_garbage"]
