"""Remove for good what was deleted: runs, logged models and experiments, first their files, then their rows.

A run or model that a live model version is made of stays, whatever was deleted. A collection that is interrupted has
removed files of things that are deleted anyway; the next one finishes them.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field, replace
from functools import partial

from mlgate_tracking.errors import InvalidParameterValue, TrackingError
from mlgate_tracking.store.model_sources import Place, places_above, without_server
from mlgate_tracking.store.part import StorePart
from mlgate_tracking.store.transaction import Transaction
from mlgate_tracking.store.values import now

_IDEMPOTENCY_KEPT = 7 * 24 * 3600 * 1000
"""Milliseconds for which a request may still be sent again."""

_DEFAULT_EXPERIMENT = 0
"""Where runs go that name no experiment; its row is made with the database and never again."""

_TABLES = {"logged model": "logged_models", "trace": "traces", "experiment": "experiments"}

_KEYS = {"run": "run_pk", "logged model": "logged_model_pk", "trace": "trace_pk", "experiment": "experiment_id"}

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
        stays: why it is kept; None for what goes.
        files: whether any file of it was seen.
    """

    kind: str
    key: int
    name: str
    artifact_uri: str | None
    stays: str | None = None
    files: bool = False


@dataclass(slots=True)
class Collected:
    removed: list[Garbage] = field(default_factory=list)
    kept: list[Garbage] = field(default_factory=list)


def find_garbage(store: StorePart, *, deleted_before: int, experiment_ids: tuple[int, ...] = ()) -> list[Garbage]:
    """What was deleted before a time (milliseconds since the epoch), files-bearing things first.

    Args:
        experiment_ids: look only at these experiments; all when empty.
    """
    chosen = ""
    if experiment_ids:
        chosen = f" AND x.experiment_id IN ({', '.join(map(str, experiment_ids))})"
    return store.read(lambda tx: _find(tx, deleted_before, chosen))


def look_for_files(garbage: list[Garbage], has_files: Callable[[str], bool]) -> list[Garbage]:
    """See which things have files; one whose files cannot be looked for stays, or they would be left behind."""
    found = []
    for item in garbage:
        seen = item
        if item.stays is None and item.artifact_uri is not None:
            try:
                seen = replace(item, files=has_files(item.artifact_uri))
            except TrackingError as error:
                seen = replace(item, stays=f"its files cannot be reached: {error.message}")
        found.append(seen)
    return found


def collect(
    store: StorePart, garbage: list[Garbage], remove_artifacts: Callable[[str], None], deleted_before: int
) -> Collected:
    """Remove what `find_garbage` found, one thing after the other; what is restored or needed by now stays."""
    done = Collected()
    needed = _Needed()
    for item in garbage:
        stays = item.stays
        if stays is None:
            stays = store.write(partial(_remove, item, deleted_before, needed, remove_artifacts))
        if stays is None:
            done.removed.append(item)
        else:
            done.kept.append(replace(item, stays=stays))
    expired = now() - _IDEMPOTENCY_KEPT
    store.write(
        lambda tx: tx.change("DELETE FROM idempotency_keys WHERE creation_time < :expired", {"expired": expired})
    )
    return done


def _find(tx: Transaction, before: int, chosen: str) -> list[Garbage]:
    limit = {"before": before}
    needed = _Needed()
    needed.read(tx)
    runs = tx.rows(
        "SELECT x.run_pk, x.run_id, x.artifact_uri, x.experiment_id FROM runs x "
        f"WHERE x.deleted_time < :before{chosen} ORDER BY x.run_pk",
        limit,
    )
    # Models and traces of an experiment go with it.
    models = tx.rows(
        "SELECT x.logged_model_pk, x.model_id, x.artifact_uri, x.experiment_id FROM logged_models x "
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
    found, occupied = [], {_DEFAULT_EXPERIMENT: "every store has it"}
    for kind, rows in (("run", runs), ("logged model", models)):
        for pk, name, uri, experiment_id in rows:
            stays = needed.by(name, uri)
            if stays is not None:
                occupied.setdefault(experiment_id, f"{kind} {name}")
            found.append(Garbage(kind, pk, name, uri, stays))
    return [
        *found,
        *(Garbage("trace", pk, trace_id, f"{uri}/traces/{trace_id}/artifacts") for pk, trace_id, uri in traces),
        *(Garbage("experiment", number, name, None, occupied.get(number)) for number, name in experiments),
    ]


class _Needed:
    """What live model versions are made of: their files, and the runs and logged models they name."""

    def __init__(self) -> None:
        self._versions: frozenset[int] = frozenset()
        self._found: dict[str | Place, str] = {}

    def by(self, name: str, artifact_uri: str) -> str | None:
        """The version that a run or logged model is needed by."""
        return self._found.get(name) or next((self._found.get(root) for root in _places(artifact_uri)[:1]), None)

    def read(self, tx: Transaction) -> None:
        """Look again if versions have come or gone; what one is made of never changes."""
        versions = frozenset(
            pk for (pk,) in tx.rows("SELECT model_version_pk FROM model_versions WHERE deleted_time IS NULL")
        )
        if versions == self._versions:
            return
        rows = tx.rows(
            "SELECT COALESCE(v.storage_location, v.source), v.run_id, v.model_id, m.name, v.version "
            "FROM model_versions v JOIN registered_models m ON m.registered_model_pk = v.registered_model_pk "
            "WHERE v.deleted_time IS NULL ORDER BY v.model_version_pk"
        )
        logged: dict[tuple[str, str], list[str]] = {}
        for run_id, name, model_id in tx.rows("SELECT source_run_id, name, model_id FROM logged_models"):
            logged.setdefault((run_id, name), []).append(model_id)
        found: dict[str | Place, str] = {}
        for location, run_id, model_id, name, version in rows:
            keys: list[str | Place | None] = [run_id, model_id, *_places(location)]
            if location.startswith("runs:/"):
                # Below a run's name may lie a logged model, which is kept apart from the run.
                owner, _, below = location.removeprefix("runs:/").lstrip("/").partition("/")
                keys += [owner, *logged.get((owner, below.rstrip("/")), ())]
            elif location.startswith("models:/"):
                keys.append(location.removeprefix("models:/"))
            for key in keys:
                if key:
                    found.setdefault(key, f"{name} version {version}")
        self._versions, self._found = versions, found


def _places(uri: str) -> list[Place]:
    """The place of a URI, whichever server it names, and all above it; none for what is no URI."""
    try:
        return list(places_above(without_server(uri)))
    except InvalidParameterValue:
        return []


_STILL_DELETED = {
    "run": "SELECT 1 FROM runs WHERE run_pk = :key AND deleted_time < :before",
    "logged model": "SELECT 1 FROM logged_models WHERE logged_model_pk = :key AND (deleted_time < :before "
    "OR experiment_id IN (SELECT e.experiment_id FROM experiments e WHERE e.deleted_time < :before))",
    "trace": "SELECT 1 FROM traces WHERE trace_pk = :key "
    "AND experiment_id IN (SELECT e.experiment_id FROM experiments e WHERE e.deleted_time < :before)",
    # An experiment goes last, and only when nothing is left in it.
    "experiment": "SELECT 1 FROM experiments e WHERE experiment_id = :key AND deleted_time < :before "
    "AND NOT EXISTS (SELECT 1 FROM runs r WHERE r.experiment_id = e.experiment_id) "
    "AND NOT EXISTS (SELECT 1 FROM logged_models m WHERE m.experiment_id = e.experiment_id)",
}


def _remove(
    item: Garbage, before: int, needed: _Needed, remove_artifacts: Callable[[str], None], tx: Transaction
) -> str | None:
    """Remove one thing, or say why it stays.

    Its files go while its row is held: whoever restores it waits, and then finds nothing.
    """
    key = {"key": item.key, "before": before}
    if tx.row(_STILL_DELETED[item.kind] + tx.dialect.for_update, key) is None:
        return "in use"
    if item.kind in ("run", "logged model"):
        needed.read(tx)
        version = needed.by(item.name, item.artifact_uri or "")
        if version is not None:
            return version
    if item.artifact_uri is not None:
        remove_artifacts(item.artifact_uri)
    for table in _RUN_TABLES if item.kind == "run" else (_TABLES[item.kind],):
        tx.change(f"DELETE FROM {table} WHERE {_KEYS[item.kind]} = :key", {"key": item.key})
    return None


__all__ = ["Collected", "Garbage", "collect", "find_garbage", "look_for_files"]
