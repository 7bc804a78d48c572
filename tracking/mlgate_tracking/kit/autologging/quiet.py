"""Work of ours in the script's process that leaves no trace in it: random numbers, warnings and output as before."""

from __future__ import annotations

import random
import sys
import threading
import warnings
from contextlib import contextmanager

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator
    from typing import Any


class _OtherThreadsOnly:
    """A stream that swallows what the muted thread writes; other threads write as ever."""

    def __init__(self, stream: Any) -> None:
        self._stream = stream
        self._muted = threading.get_ident()

    def write(self, text: Any) -> Any:
        return len(text) if threading.get_ident() == self._muted else self._stream.write(text)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._stream, name)


@contextmanager
def quietly() -> Iterator[None]:
    """Nothing that happens inside prints, warns, or draws from the script's random numbers.

    `warnings.catch_warnings` would make Python forget which warnings it has shown already, so the functions
    themselves are put out of action, for this thread only.
    """
    states = _random_states()
    stdout, stderr = sys.stdout, sys.stderr
    warn, warn_explicit = warnings.warn, warnings.warn_explicit
    thread = threading.get_ident()

    def mute(original: Any) -> Any:
        def maybe(*args: Any, **kwargs: Any) -> None:
            if threading.get_ident() != thread:
                original(*args, **kwargs)

        return maybe

    numpy = sys.modules.get("numpy")
    floating = numpy.seterr(all="ignore") if numpy is not None else None
    sys.stdout, sys.stderr = _OtherThreadsOnly(stdout), _OtherThreadsOnly(stderr)
    warnings.warn, warnings.warn_explicit = mute(warn), mute(warn_explicit)
    try:
        yield
    finally:
        warnings.warn, warnings.warn_explicit = warn, warn_explicit
        sys.stdout, sys.stderr = stdout, stderr
        if numpy is not None and floating is not None:
            numpy.seterr(**floating)
        for restore, state in states:
            restore(state)


def _random_states() -> list[tuple[Any, Any]]:
    """(function that restores, state) of every global generator that is loaded."""
    found: list[tuple[Any, Any]] = [(random.setstate, random.getstate())]
    numpy_random = sys.modules.get("numpy.random")
    if numpy_random is not None:
        found.append((numpy_random.set_state, numpy_random.get_state()))
    torch_random = sys.modules.get("torch.random")
    if torch_random is not None:
        found.append((torch_random.set_rng_state, torch_random.get_rng_state()))
    return found


__all__ = ["quietly"]
