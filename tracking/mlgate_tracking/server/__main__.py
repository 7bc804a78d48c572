"""A worker process of `mlgate server --workers N`; see `workers`."""

from __future__ import annotations

import sys

from mlgate_tracking.server.workers import run_worker

if __name__ == "__main__":
    run_worker(sys.stdin.buffer)
