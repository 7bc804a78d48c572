"""Who is at work: the name that runs, verdicts and promotions are recorded under."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from contextvars import ContextVar

_acting: ContextVar[str] = ContextVar("mlgate_user", default="")


def current_user() -> str:
    """Whoever an engine acts for, else the operating system's user; empty for a numeric user without a name."""
    import getpass

    try:
        return _acting.get() or getpass.getuser()
    except (KeyError, OSError):
        return ""


@contextlib.contextmanager
def acting_as(user: str) -> Iterator[None]:
    """Record what happens in here under the name of whoever the engine knows has asked for it.

    Four eyes need it: a worker's own user is never the one who approves.
    """
    token = _acting.set(user)
    try:
        yield
    finally:
        _acting.reset(token)


__all__ = ["acting_as", "current_user"]
