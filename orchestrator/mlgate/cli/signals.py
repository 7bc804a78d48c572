"""What Ctrl-C, TERM and a lost terminal do to commands that run something. What is ignored (`nohup`) stays ignored."""

from __future__ import annotations

import signal
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import FrameType

_SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)


@contextmanager
def interrupting() -> Iterator[None]:
    """All of them raise `KeyboardInterrupt`: as long as there is no run, going back is all that is to be done."""

    def interrupt() -> None:
        raise KeyboardInterrupt

    with _handled_by(interrupt):
        yield


@contextmanager
def setting(*events: threading.Event) -> Iterator[None]:
    """Each of them sets the next event; what comes after the last changes nothing."""

    def set_next() -> None:
        for event in events:
            if not event.is_set():
                event.set()
                return

    with _handled_by(set_next):
        yield


@contextmanager
def _handled_by(handle: Callable[[], None]) -> Iterator[None]:
    def handler(_number: int, _frame: FrameType | None) -> None:
        handle()

    heeded = [number for number in _SIGNALS if signal.getsignal(number) is not signal.SIG_IGN]
    before = {number: signal.signal(number, handler) for number in heeded}
    try:
        yield
    finally:
        for number, old in before.items():
            signal.signal(number, old)


__all__ = ["interrupting", "setting"]
