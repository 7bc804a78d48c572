"""Samples of the machine while a step runs: CPU, memory, disk, network and, with NVML, GPUs.

Names and units are the ones that MLflow's own system metrics use (`system/cpu_utilization_percentage`, megabytes of
2**20 bytes), so that existing dashboards read them. Read from /proc; a machine without it gives no samples.
"""

from __future__ import annotations

import contextlib
import importlib
import shutil
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

from mlgate_tracking.entities import Metric

_MEGABYTE = 2**20
FIRST_SAMPLE = 5.0
INTERVAL = 10.0


class SystemMetrics:
    """A thread that samples until it is stopped; a step that ends within `first` seconds costs nothing but the thread.

    Args:
        log: called with the metrics of one sample; what it raises is swallowed, sampling must never end a step.
        first, interval: seconds to the first sample and between samples.
    """

    def __init__(
        self, log: Callable[[Sequence[Metric]], None], *, first: float = FIRST_SAMPLE, interval: float = INTERVAL
    ) -> None:
        self._log = log
        self._first = first
        self._interval = interval
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._work, name="system-metrics", daemon=True)

    def __enter__(self) -> SystemMetrics:
        self._thread.start()
        return self

    def __exit__(self, *_exc: object) -> None:
        self._stop.set()
        self._thread.join(timeout=5)

    def _work(self) -> None:
        if self._stop.wait(self._first):
            return
        before = _counters()
        step = 0
        while not self._stop.wait(self._interval if step else min(1.0, self._interval)):
            now = _counters()
            if now is None or before is None:
                return
            stamp = int(time.time() * 1000)
            sample = {**_rates(before, now), **_levels(), **dict(_gpus())}
            # A store that is away must not end the step; the next sample tries again.
            with contextlib.suppress(Exception):
                self._log([Metric(f"system/{key}", value, stamp, step) for key, value in sample.items()])
            before, step = now, step + 1


def _counters() -> tuple[float, float, float, float] | None:
    """(busy ticks, all ticks, bytes received, bytes sent) since boot."""
    try:
        cpu = [int(field) for field in Path("/proc/stat").read_text().split("\n", 1)[0].split()[1:9]]
        received = sent = 0
        for line in Path("/proc/net/dev").read_text().splitlines()[2:]:
            name, _, numbers = line.partition(":")
            if name.strip() != "lo":
                fields = numbers.split()
                received, sent = received + int(fields[0]), sent + int(fields[8])
    except (OSError, ValueError, IndexError):
        return None
    idle = cpu[3] + cpu[4]
    return sum(cpu) - idle, sum(cpu), received, sent


def _rates(before: tuple[float, float, float, float], now: tuple[float, float, float, float]) -> dict[str, float]:
    ticks = now[1] - before[1]
    return {
        "cpu_utilization_percentage": 100 * (now[0] - before[0]) / ticks if ticks else 0.0,
        "network_receive_megabytes": (now[2] - before[2]) / _MEGABYTE,
        "network_transmit_megabytes": (now[3] - before[3]) / _MEGABYTE,
    }


def _levels() -> dict[str, float]:
    memory = dict(line.split(":", 1) for line in Path("/proc/meminfo").read_text().splitlines())
    total, free = (int(memory[key].split()[0]) * 1024 for key in ("MemTotal", "MemAvailable"))
    disk = shutil.disk_usage("/")
    return {
        "system_memory_usage_megabytes": (total - free) / _MEGABYTE,
        "system_memory_usage_percentage": 100 * (total - free) / total,
        "disk_usage_megabytes": disk.used / _MEGABYTE,
        "disk_usage_percentage": 100 * disk.used / disk.total,
        "disk_available_megabytes": disk.free / _MEGABYTE,
    }


def _gpus() -> Iterator[tuple[str, float]]:
    """Utilisation, memory and power of each NVIDIA GPU; nothing without NVML."""
    try:
        nvml: Any = importlib.import_module("pynvml")
        nvml.nvmlInit()
        count = nvml.nvmlDeviceGetCount()
    except Exception:
        return
    for index in range(count):
        try:
            device = nvml.nvmlDeviceGetHandleByIndex(index)
            memory = nvml.nvmlDeviceGetMemoryInfo(device)
            yield f"gpu_{index}_utilization_percentage", float(nvml.nvmlDeviceGetUtilizationRates(device).gpu)
            yield f"gpu_{index}_memory_usage_megabytes", memory.used / _MEGABYTE
            yield f"gpu_{index}_memory_usage_percentage", 100 * memory.used / memory.total
            yield f"gpu_{index}_power_usage_watts", nvml.nvmlDeviceGetPowerUsage(device) / 1000
        except Exception:  # noqa: S112 - one device that does not answer leaves the others
            continue


__all__ = ["FIRST_SAMPLE", "INTERVAL", "SystemMetrics"]
