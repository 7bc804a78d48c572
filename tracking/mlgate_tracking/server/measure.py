"""Counts and latencies of requests, in the text format that Prometheus reads.

Workers that share a port share a directory too: each writes its numbers there soon after they have changed, and
whichever is scraped adds them up. The numbers of a worker that has died stay, so that no counter ever falls.
"""

from __future__ import annotations

import asyncio
import bisect
import os
import threading
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path

import msgspec

BUCKETS = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 10.0)
"""Upper bounds of the latency histogram, in seconds."""


SHARE_AFTER = 1.0
"""Seconds after a change in which the other workers get to know of it."""


@dataclass(slots=True)
class _Histogram:
    counts: list[int] = field(default_factory=lambda: [0] * (len(BUCKETS) + 1))
    total: float = 0.0


@dataclass(slots=True)
class _Numbers:
    """`requests`: method, route, status and count; `seconds`: method, route and histogram."""

    requests: list[tuple[str, str, int, int]]
    seconds: list[tuple[str, str, _Histogram]]


class Measurements:
    """Safe to read from any thread; written from the event loop only.

    Args:
        directory: where workers of one server share their numbers; None for a server of one process.
    """

    def __init__(self, directory: str | None = None) -> None:
        self.in_flight = 0
        self._lock = threading.Lock()
        self._requests: dict[tuple[str, str, int], int] = {}
        self._seconds: dict[tuple[str, str], _Histogram] = {}
        self._directory = Path(directory) if directory else None
        self._sharing = False

    def observe(self, method: str, route: str, status: int, seconds: float) -> None:
        """Note one finished request. `route` is the endpoint's template, so that labels stay few."""
        with self._lock:
            self._add(method, route, status, 1)
            histogram = self._histogram(method, route)
            histogram.counts[bisect.bisect_left(BUCKETS, seconds)] += 1
            histogram.total += seconds
        if self._directory is not None and not self._sharing:
            self._sharing = True
            asyncio.get_running_loop().call_later(SHARE_AFTER, self._share)

    def _add(self, method: str, route: str, status: int, count: int) -> None:
        key = (method, route, status)
        self._requests[key] = self._requests.get(key, 0) + count

    def _histogram(self, method: str, route: str) -> _Histogram:
        histogram = self._seconds.get((method, route))
        if histogram is None:
            histogram = self._seconds[method, route] = _Histogram()
        return histogram

    def _share(self) -> None:
        assert self._directory is not None
        self._sharing = False
        with self._lock:
            numbers = _Numbers(
                [(*key, count) for key, count in self._requests.items()],
                [(*key, histogram) for key, histogram in self._seconds.items()],
            )
            content = msgspec.json.encode(numbers)
        draft = self._directory / f"{os.getpid()}.draft"
        with suppress(OSError):  # the supervisor has gone and taken the directory along
            draft.write_bytes(content)
            draft.replace(draft.with_suffix(".json"))

    def _with_the_others(self) -> Measurements:
        """These numbers and those that other workers have shared, added up."""
        whole = Measurements()
        whole.in_flight = self.in_flight
        whole._merge(
            _Numbers(
                [(*key, count) for key, count in self._requests.items()],
                [(*key, histogram) for key, histogram in self._seconds.items()],
            )
        )
        if self._directory is not None:
            for path in self._directory.glob("*.json"):
                if path.stem != str(os.getpid()):
                    with suppress(OSError, msgspec.MsgspecError):
                        whole._merge(msgspec.json.decode(path.read_bytes(), type=_Numbers))
        return whole

    def _merge(self, numbers: _Numbers) -> None:
        for method, route, status, count in numbers.requests:
            self._add(method, route, status, count)
        for method, route, other in numbers.seconds:
            histogram = self._histogram(method, route)
            histogram.counts = [mine + more for mine, more in zip(histogram.counts, other.counts, strict=True)]
            histogram.total += other.total

    def render(self, version: str) -> str:
        """The exposition format, version 0.0.4."""
        lines = [
            "# HELP mlgate_server_info Version of the server.",
            "# TYPE mlgate_server_info gauge",
            f'mlgate_server_info{{version="{version}"}} 1',
            "# HELP mlgate_http_requests_in_flight Requests being answered now.",
            "# TYPE mlgate_http_requests_in_flight gauge",
            f"mlgate_http_requests_in_flight {self.in_flight}",
            "# HELP mlgate_http_requests_total Requests answered.",
            "# TYPE mlgate_http_requests_total counter",
        ]
        with self._lock:
            whole = self._with_the_others()
        for (method, route, status), count in sorted(whole._requests.items()):
            lines.append(f'mlgate_http_requests_total{{{_labels(method, route)},status="{status}"}} {count}')
        lines += [
            "# HELP mlgate_http_request_seconds Time from a request's head to its answer's end.",
            "# TYPE mlgate_http_request_seconds histogram",
        ]
        for (method, route), histogram in sorted(whole._seconds.items()):
            labels, running = _labels(method, route), 0
            for bound, count in zip((*BUCKETS, "+Inf"), histogram.counts, strict=True):
                running += count
                lines.append(f'mlgate_http_request_seconds_bucket{{{labels},le="{bound}"}} {running}')
            lines.append(f"mlgate_http_request_seconds_sum{{{labels}}} {histogram.total:.6f}")
            lines.append(f"mlgate_http_request_seconds_count{{{labels}}} {running}")
        return "\n".join(lines) + "\n"


def _labels(method: str, route: str) -> str:
    return f'method="{method}",route="{route}"'


__all__ = ["BUCKETS", "Measurements"]
