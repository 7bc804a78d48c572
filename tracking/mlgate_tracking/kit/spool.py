"""What a process has logged and the server may not have: append-only files that outlive the process.

One line is one record: kind, run id and a JSON object, as in `m RUN {"key": "loss", "value": 0.1, ...}`. Kinds are
`m` metric, `p` param, `t` tag (objects as the log-batch call takes them), `a` artifact (`path` below the run's
artifacts, `file` in the spool directory) and `e` end of a run (`status`, `end_time`). Beside `NAME.spool`, `NAME.ack`
holds the number of bytes that the server has acknowledged. A line reaches the kernel before the call that logged it
returns, so it survives `kill -9`; sending a line again changes nothing, because the server keeps metrics as a set,
params once and tags by key.
"""

from __future__ import annotations

import json
import os

from mlgate_tracking.kit import log

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any, Protocol

    class Sink(Protocol):
        """Where records go. An error that carries a 4xx `status` is the server's no; any other means `try later`."""

        def log_batch(self, run_id: str, body: bytes) -> None:
            """`body`: the JSON of MLflow's log-batch call."""

        def upload(self, run_id: str, path: str, file: str) -> None:
            """Store a local file at `path` below the run's artifacts."""

        def end_run(self, run_id: str, status: str, end_time: int) -> None:
            """Set the final status of a run that the script began; `end_time` in milliseconds."""


CHUNK = 1 << 18
"""Bytes read at a time."""
METRICS, OTHERS, TOTAL = 1000, 100, 1000
"""Limits of one log-batch call: metrics, params and tags each, all together."""


_KINDS = (b"m", b"p", b"t", b"a", b"e")


class Batch:
    """One log-batch call in the making. Metrics stay the bytes they are; params and tags are unique by key."""

    def __init__(self, run_id: str) -> None:
        self.run_id = run_id
        self.metrics: list[bytes] = []
        self.params: dict[str, Any] = {}
        self.tags: dict[str, Any] = {}

    def __len__(self) -> int:
        return len(self.metrics) + len(self.params) + len(self.tags)

    def full(self) -> bool:
        return len(self.params) >= OTHERS or len(self.tags) >= OTHERS or len(self) >= TOTAL

    def add(self, kind: bytes, payload: bytes) -> None:
        if kind == b"m":
            self.metrics.append(payload)
            return
        item: dict[str, Any] = json.loads(payload)
        if kind == b"p":
            self.params.setdefault(item["key"], item)
        else:
            self.tags[item["key"]] = item

    def body(self) -> bytes:
        parts = [b'{"run_id": ', json.dumps(self.run_id).encode()]
        if self.metrics:
            parts += [b', "metrics": [', b",".join(self.metrics), b"]"]
        if self.params:
            parts += [b', "params": ', json.dumps(list(self.params.values())).encode()]
        if self.tags:
            parts += [b', "tags": ', json.dumps(list(self.tags.values())).encode()]
        return b"".join(parts) + b"}"

    def halves(self) -> list[Batch]:
        """The same records in smaller batches: params and tags apart from metrics, then halves."""
        whole: list[tuple[str, list[Any]]] = [
            ("metrics", list(self.metrics)),
            ("params", list(self.params.items())),
            ("tags", list(self.tags.items())),
        ]
        parts = [(name, items) for name, items in whole if items]
        if len(parts) == 1:
            name, items = parts[0]
            middle = len(items) // 2
            parts = [(name, items[:middle]), (name, items[middle:])]
        made = []
        for name, items in parts:
            batch = Batch(self.run_id)
            setattr(batch, name, items if name == "metrics" else dict(items))
            made.append(batch)
        return made


def is_refusal(error: BaseException) -> bool:
    """Whether the server has said no for good; then sending the same again is pointless.

    Holds for `Refused` of the kit and for errors of `mlgate_tracking.errors` alike: both carry an HTTP `status`.
    """
    status = getattr(error, "status", 0)
    return 400 <= status < 500 and status not in (401, 408, 425, 429)


def concerns_the_run(error: BaseException) -> bool:
    """Whether the no is about the run itself (unknown, deleted, taken over), not about one bad record."""
    return getattr(error, "error_code", "") in ("RESOURCE_DOES_NOT_EXIST", "ABORTED", "PERMISSION_DENIED")


def send_batch(batch: Batch, sink: Sink) -> int:
    """Send what the server accepts and drop the rest with a line in the log; returns how many records went through.

    Raises:
        what the sink raises, unless it is a refusal.
    """
    if not len(batch):
        return 0
    try:
        sink.log_batch(batch.run_id, batch.body())
        return len(batch)
    except Exception as error:
        if not is_refusal(error):
            raise
        if len(batch) == 1 or concerns_the_run(error):
            log.failure("logging %d records to run %s" % (len(batch), batch.run_id), error)
            return 0
    return sum(send_batch(half, sink) for half in batch.halves())


def send_lines(lines: list[bytes], sink: Sink) -> int:
    """Send complete lines in as few calls as the limits allow; a torn line is skipped. Returns records sent."""
    sent = 0
    batches: dict[bytes, Batch] = {}
    for line in lines:
        kind, _, rest = line.partition(b" ")
        run_id, _, payload = rest.partition(b" ")
        if kind not in _KINDS or not payload.endswith(b"}"):
            continue
        if kind == b"a":
            sent += _send_artifact(run_id.decode(), json.loads(payload), sink)
            continue
        batch = batches.get(run_id)
        if batch is None:
            batch = batches[run_id] = Batch(run_id.decode())
        if kind == b"e":  # after everything that came before it
            sent += send_batch(batches.pop(run_id), sink) + _send_end(run_id.decode(), json.loads(payload), sink)
            continue
        batch.add(kind, payload)
        if batch.full():
            sent += send_batch(batches.pop(run_id), sink)
    return sent + sum(send_batch(batch, sink) for batch in batches.values())


def _send_artifact(run_id: str, item: dict[str, Any], sink: Sink) -> int:
    try:
        sink.upload(run_id, item["path"], item["file"])
    except FileNotFoundError:  # sent before, and the acknowledgement was lost
        return 0
    except Exception as error:
        if not is_refusal(error):
            raise
        log.failure("uploading %s to run %s" % (item["path"], run_id), error)
        return 0
    try:
        os.unlink(item["file"])
    except OSError:
        pass
    return 1


def _send_end(run_id: str, item: dict[str, Any], sink: Sink) -> int:
    try:
        sink.end_run(run_id, item["status"], item["end_time"])
    except Exception as error:
        if not is_refusal(error):
            raise
        log.failure("ending run %s" % run_id, error)
        return 0
    return 1


class Segment:
    """One spool file on the reading side: knows how far the server has acknowledged it."""

    def __init__(self, path: str) -> None:
        self.path = path
        self._ack = path[: -len(".spool")] + ".ack"
        self.offset = 0
        try:
            with open(self._ack, "rb") as file:
                self.offset = int(file.read() or b"0")
        except (OSError, ValueError):
            pass

    def drain(self, sink: Sink) -> int:
        """Send everything that is there; what was sent is acknowledged on disk. Returns records sent.

        Raises:
            what the sink raises when the server is away; the rest stays for the next time.
            OSError: the file cannot be read.
        """
        sent = 0
        with open(self.path, "rb") as file:
            while True:
                file.seek(self.offset)
                chunk = file.read(CHUNK)
                complete = chunk.rfind(b"\n") + 1
                if not complete:
                    if len(chunk) < CHUNK:
                        return sent
                    chunk += file.readline()  # a record longer than a chunk (a long tag)
                    complete = chunk.rfind(b"\n") + 1
                    if not complete:
                        return sent
                sent += send_lines(chunk[:complete].split(b"\n"), sink)
                self._acknowledge(self.offset + complete)

    def _acknowledge(self, offset: int) -> None:
        self.offset = offset
        try:
            handle = os.open(self._ack, os.O_WRONLY | os.O_CREAT, 0o600)
            try:
                os.write(handle, b"%020d" % offset)
            finally:
                os.close(handle)
        except OSError:  # then it may be sent twice, which changes nothing
            pass

    def remove(self) -> None:
        for path in (self.path, self._ack):
            try:
                os.unlink(path)
            except OSError:
                pass


def replay(directory: str | os.PathLike[str], sink: Sink, skip: Callable[[str], bool] | None = None) -> int:
    """Send what processes that are gone have left in a spool directory, and remove what was sent.

    Args:
        sink: takes the records; when it fails for another reason than a refusal, the rest stays in place.
        skip: whether to leave a spool file alone, by its path.

    Returns:
        number of records sent.

    Raises:
        what the sink raises, unless it is a refusal.
    """
    sent = 0
    try:
        names = sorted(name for name in os.listdir(directory) if name.endswith(".spool"))
    except OSError:
        return 0
    for name in names:
        path = os.path.join(os.fspath(directory), name)
        if skip is not None and skip(path):
            continue
        segment = Segment(path)
        try:
            sent += segment.drain(sink)
        except FileNotFoundError:  # another replay was faster
            continue
        segment.remove()
    return sent


__all__ = ["Batch", "Segment", "is_refusal", "replay", "send_batch", "send_lines"]
