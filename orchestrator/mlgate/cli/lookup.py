"""What the look-at-it commands share: finding what a user means, and showing times and values."""

from __future__ import annotations

import re
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING

from mlgate.errors import UsageError

if TYPE_CHECKING:
    from mlgate.tracking import Tracking
    from mlgate_tracking.contract import Store
    from mlgate_tracking.entities import Experiment, Run

SHORT_ID = 8
"""Characters of a run id that tables show; commands take any beginning that is unique."""

_FULL_ID = 32
_PREFIX = re.compile(r"[A-Za-z0-9][\w-]*")
_SHOWN_CANDIDATES = 5


@contextmanager
def open_store(tracking_uri: str | None) -> Iterator[Tracking]:
    """The store of `--tracking-uri`, the environment, or the embedded one.

    Somebody sits and waits: a server that is away is told after two more tries.
    """
    from mlgate.settings import load_settings
    from mlgate.tracking import open_tracking

    settings, retry = load_settings(tracking_uri=tracking_uri), None
    if settings.remote:
        from mlgate_tracking.transport import RetryPolicy

        retry = RetryPolicy(retries=2)
    with open_tracking(settings, retry=retry) as tracking:
        yield tracking


def all_experiments(store: Store, *, deleted: bool = True) -> list[Experiment]:
    from mlgate_tracking.entities import ViewType

    view = ViewType.ALL if deleted else ViewType.ACTIVE_ONLY
    found: list[Experiment] = []
    token: str | None = None
    while True:
        page = store.search_experiments(view_type=view, max_results=1000, page_token=token)
        found += page.items
        token = page.token
        if token is None:
            return found


def find_experiment(store: Store, reference: str) -> Experiment:
    """An experiment by its name, else by its id.

    Raises:
        ResourceDoesNotExist: neither.
    """
    from mlgate_tracking.errors import ResourceDoesNotExist

    found = store.get_experiment_by_name(reference)
    if found is not None:
        return found
    if reference.isascii() and reference.isdigit():
        return store.get_experiment(reference)
    raise ResourceDoesNotExist(f"no experiment {reference!r}; see mlgate experiments list")


def find_run(store: Store, reference: str) -> Run:
    """A run by its id, or by a beginning of it that only one run has; deleted ones too.

    Raises:
        ResourceDoesNotExist: no run has such an id.
        UsageError: several have; the message names them.
    """
    from mlgate_tracking.errors import ResourceDoesNotExist

    if not _PREFIX.fullmatch(reference):
        raise UsageError(f"'{reference}' is not a run id; see mlgate runs list")
    try:
        return store.get_run(reference)
    except ResourceDoesNotExist:
        if len(reference) >= _FULL_ID:
            raise
    found = _runs_beginning_with(store, reference)
    if not found:
        raise ResourceDoesNotExist(f"no run has an id that begins with {reference!r}; see mlgate runs list")
    if len(found) > 1:
        ids = [run.info.run_id for run in found[:_SHOWN_CANDIDATES]]
        telling = next(length for length in range(SHORT_ID, _FULL_ID + 1) if _differ(ids, length))
        names = ", ".join(run_id[:telling] for run_id in ids)
        more = ", ..." if len(found) > _SHOWN_CANDIDATES else ""
        raise UsageError(f"several runs have an id that begins with '{reference}': {names}{more}; give more of it")
    return found[0]


def _differ(ids: Sequence[str], length: int) -> bool:
    return length == _FULL_ID or len({run_id[:length] for run_id in ids}) == len(ids)


def _runs_beginning_with(store: Store, prefix: str) -> list[Run]:
    from mlgate_tracking.entities import ViewType

    experiments = [experiment.experiment_id for experiment in all_experiments(store)]
    page = store.search_runs(
        experiments,
        filter_string=f"attributes.run_id LIKE '{prefix}%'",
        view_type=ViewType.ALL,
        max_results=100,
    )
    # `_` stands for any character in the filter.
    return [run for run in page.items if run.info.run_id.startswith(prefix)]


def search_all_runs(
    store: Store,
    experiment_ids: Sequence[str],
    *,
    filter_string: str | None = None,
    order_by: Sequence[str] = (),
    deleted: bool = False,
    limit: int | None = None,
) -> Iterator[Run]:
    """Runs page by page, up to `limit`."""
    from mlgate_tracking.entities import ViewType

    left = limit
    token: str | None = None
    while left is None or left > 0:
        page = store.search_runs(
            experiment_ids,
            filter_string=filter_string,
            order_by=order_by,
            view_type=ViewType.ALL if deleted else ViewType.ACTIVE_ONLY,
            max_results=1000 if left is None else min(1000, left),
            page_token=token,
        )
        yield from page.items
        token = page.token
        left = None if left is None else left - len(page.items)
        if token is None:
            return


def shown_id(run_id: str) -> str:
    """Short for people, whole for programs."""
    return run_id[:SHORT_ID] if sys.stdout.isatty() else run_id


def shown_time(milliseconds: int | None) -> str:
    """Local time, to the second."""
    if not milliseconds:
        return ""
    return time.strftime("%Y-%m-%d %H:%M:%S", time.localtime(milliseconds / 1000))


def shown_duration(start: int, end: int | None, *, now: float | None = None) -> str:
    """How long something took, or has taken so far (with an ellipsis); times in milliseconds."""
    if not start:
        return ""
    until = end or (time.time() if now is None else now) * 1000
    seconds = max(0.0, (until - start) / 1000)
    return _duration(seconds) + ("" if end else " ...")


def _duration(seconds: float) -> str:
    if seconds < 1:
        return f"{seconds * 1000:.0f} ms"
    if seconds < 60:
        return f"{seconds:.1f} s"
    whole = round(seconds)
    days, rest = divmod(whole, 86400)
    hours, rest = divmod(rest, 3600)
    minutes, rest = divmod(rest, 60)
    if days:
        return f"{days} d {hours} h"
    return f"{hours} h {minutes} min" if hours else f"{minutes} min {rest} s"


def shown_value(value: float) -> str:
    return f"{value:.6g}"


__all__ = [
    "all_experiments",
    "find_experiment",
    "find_run",
    "open_store",
    "search_all_runs",
    "shown_duration",
    "shown_id",
    "shown_time",
    "shown_value",
]
