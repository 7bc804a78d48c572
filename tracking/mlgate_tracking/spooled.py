"""What a step's process left in its spool, written to the store by the runner (see `kit.spool` for the files).

The process may have run in a container, so what it left must not lead out of the directory: the runner reads, uploads
and removes plain files of that directory only, and the directory is where its parent says.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from pathlib import Path

from mlgate_tracking import wire
from mlgate_tracking.artifacts import ArtifactRepository
from mlgate_tracking.artifacts.paths import is_file_below
from mlgate_tracking.contract import Store
from mlgate_tracking.entities import RunStatus
from mlgate_tracking.errors import InvalidParameterValue
from mlgate_tracking.kit.spool import replay as replay_directory

_CHUNK = 1 << 20


class StoreSink:
    """Takes spooled records straight into a store.

    Args:
        store: fenced, so that a step that was overtaken by a newer attempt writes nothing.
        repository: artifact URI of a run -> its files.
        directory: where files that wait to be uploaded lie.
    """

    def __init__(self, store: Store, repository: Callable[[str], ArtifactRepository], directory: Path) -> None:
        self._store = store
        self._directory = directory
        self._repository = repository

    def log_batch(self, run_id: str, body: bytes) -> None:
        request = json.loads(body)
        self._store.log_batch(
            run_id,
            metrics=wire.metrics_from_wire(request.get("metrics")),
            params=wire.params_from_wire(request.get("params")),
            tags=wire.tags_from_wire(request.get("tags")),
        )

    def upload(self, run_id: str, path: str, file: str) -> None:
        if Path(file).parent != self._directory or not is_file_below(self._directory.parent, Path(file)):
            raise InvalidParameterValue(f"file {file!r} is none that waits in the spool")
        self._store.check_writable(run_id=run_id)
        repository = self._repository(self._store.get_run(run_id).info.artifact_uri)
        repository.upload(path, _chunks(Path(file)))

    def end_run(self, run_id: str, status: str, end_time: int) -> None:
        self._store.update_run(run_id, status=RunStatus(status), end_time=end_time)


def _chunks(file: Path) -> Iterator[bytes]:
    with file.open("rb") as stream:
        while chunk := stream.read(_CHUNK):
            yield chunk


def replay(directory: Path, store: Store, repository: Callable[[str], ArtifactRepository]) -> int:
    """Write what is left in a spool directory to the store; returns the number of records, usually 0.

    Records that the store refuses (a param that has another value by now) are dropped with a line in the kit's log.

    Raises:
        TrackingError: the store is away; the rest stays in the directory.
    """
    sink = StoreSink(store, repository, directory)
    return replay_directory(directory, sink, lambda path: not is_file_below(directory.parent, Path(path)))


__all__ = ["StoreSink", "replay"]
