"""Who is at work: the name that runs, verdicts and promotions are recorded under."""

from __future__ import annotations


def current_user() -> str:
    """The operating system's user; empty for a numeric user without a name, as in containers."""
    import getpass

    try:
        return getpass.getuser()
    except (KeyError, OSError):
        return ""


__all__ = ["current_user"]
