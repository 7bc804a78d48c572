"""Counts and latencies of requests, in the text format that Prometheus reads."""

from __future__ import annotations

import bisect
import threading
from dataclasses import dataclass, field

BUCKETS = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 10.0)
"""Upper bounds of the latency histogram, in seconds."""


@dataclass(slots=True)
class _Histogram:
    counts: list[int] = field(default_factory=lambda: [0] * (len(BUCKETS) + 1))
    total: float = 0.0


class Measurements:
    """Safe to read from any thread; written from the event loop only."""

    def __init__(self) -> None:
        self.in_flight = 0
        self._lock = threading.Lock()
        self._requests: dict[tuple[str, str, int], int] = {}
        self._seconds: dict[tuple[str, str], _Histogram] = {}

    def observe(self, method: str, route: str, status: int, seconds: float) -> None:
        """Note one finished request. `route` is the endpoint's template, so that labels stay few."""
        with self._lock:
            key = (method, route, status)
            self._requests[key] = self._requests.get(key, 0) + 1
            histogram = self._seconds.get((method, route))
            if histogram is None:
                histogram = self._seconds[method, route] = _Histogram()
            histogram.counts[bisect.bisect_left(BUCKETS, seconds)] += 1
            histogram.total += seconds

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
            for (method, route, status), count in sorted(self._requests.items()):
                lines.append(f'mlgate_http_requests_total{{{_labels(method, route)},status="{status}"}} {count}')
            lines += [
                "# HELP mlgate_http_request_seconds Time from a request's head to its answer's end.",
                "# TYPE mlgate_http_request_seconds histogram",
            ]
            for (method, route), histogram in sorted(self._seconds.items()):
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
