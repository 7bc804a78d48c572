"""What the commands of promotion share: options, who is asking, the open store, tables of reasons."""

from __future__ import annotations

import contextlib
import sys
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import click

from mlgate.cli.output import print_table
from mlgate.errors import UsageError

if TYPE_CHECKING:
    from mlgate.promotion import Measure
    from mlgate.settings import Settings
    from mlgate.tracking import Tracking
    from mlgate_tracking.contract import Store
    from mlgate_tracking.governance import GateResult
    from mlgate_tracking.server.settings import ServerSettings

_F = TypeVar("_F", bound=Callable[..., Any])

PASSED, REJECTED, PENDING = 0, 1, 3
"""Exit codes of gates; 2 is bad input."""


def user_option(function: _F) -> _F:
    """Adds `--user` (parameter `user`)."""
    return click.option(
        "--user",
        metavar="NAME",
        help="In whose name; by default the user of this machine. A server with users goes by the token.",
    )(function)


def measure_options(function: _F) -> _F:
    """Adds `--env-manager` and `--directory`: how and from where models and data are measured."""
    function = click.option(
        "--env-manager",
        type=click.Choice(["local"]),
        help="local: measure models with this Python instead of the environment that they came with.",
    )(function)
    return click.option(
        "--directory",
        type=click.Path(exists=True, file_okay=False, path_type=Path),
        default=".",
        help="What relative paths in a policy are relative to.",
    )(function)


@dataclass(frozen=True)
class Desk:
    """An open store, who sits before it, and how they measure."""

    tracking: Tracking
    store: Store
    user: str
    measure: Measure

    def deliver(self) -> None:
        """Tell the webhooks of an embedded store; with a server, the server does."""
        if self.tracking.settings.remote:
            return
        from typing import cast

        from mlgate_tracking.contract import ServerStore
        from mlgate_tracking.server.delivery import flush

        store = cast("ServerStore", self.store)
        if store.next_delivery_at() is not None:
            flush(store, webhook_settings(self.tracking.settings))


@contextlib.contextmanager
def desk(
    tracking_uri: str | None, user: str | None, *, directory: Path | None = None, env_manager: str | None = None
) -> Iterator[Desk]:
    """Open the store that the options name."""
    from mlgate.evidence import Measurer
    from mlgate.settings import load_settings
    from mlgate.tracking import open_tracking
    from mlgate.user import current_user

    with open_tracking(load_settings(tracking_uri=tracking_uri)) as tracking:
        base = (directory or Path.cwd()).absolute()
        with (
            _importable(base),
            Measurer(
                tracking, base=base, env_manager=env_manager, progress=lambda line: click.echo(line, err=True)
            ) as measurer,
        ):
            if user is not None:
                _require_name(tracking, user)
            yield Desk(tracking, tracking.store, user or current_user(), measurer.measure)


def _require_name(tracking: Tracking, user: str) -> None:
    """Refuse a name that the server would not go by.

    Raises:
        UsageError: the server knows the caller by another name.
    """
    known = tracking.store.whoami() if tracking.settings.remote else None
    if known is not None and known.acting(user).user != user:
        raise UsageError(f"--user {user}: the server knows you as {known.user!r} by your token; leave --user out")


@contextlib.contextmanager
def _importable(folder: Path) -> Iterator[None]:
    """Functions that a policy names stand beside it, where an installed command does not look by itself."""
    sys.path.insert(0, str(folder))
    try:
        yield
    finally:
        with contextlib.suppress(ValueError):
            sys.path.remove(str(folder))


def webhook_settings(settings: Settings) -> ServerSettings:
    """Where an embedded store's webhooks may go: the variables that a server reads too."""
    import os

    from mlgate_tracking.server.settings import ServerSettings

    schemes = os.environ.get("MLFLOW_WEBHOOK_ALLOWED_SCHEMES", "https")
    private = os.environ.get("MLFLOW_WEBHOOK_ALLOW_PRIVATE_IPS", "").lower() in ("1", "true", "yes", "on")
    return ServerSettings(
        webhook_schemes=tuple(scheme.strip() for scheme in schemes.split(",") if scheme.strip()),
        webhook_private_addresses=private,
        smtp_url=settings.smtp_url,
    )


def print_results(results: Sequence[GateResult]) -> None:
    """A line for each reason."""
    rows = []
    for result in results:
        said = "passed" if result.passed else "pending" if result.pending else "rejected"
        if not result.enforced:
            said = f"{said} (dry run)"
        for number, reason in enumerate(result.reasons):
            rows.append([result.gate if number == 0 else "", said if number == 0 else "", reason.message])
        if not result.reasons:
            rows.append([result.gate, said, ""])
    print_table(["gate", "verdict", "reason"], rows, empty="no gates")


def when(milliseconds: int | None) -> str:
    """Local time without fractions; empty for None."""
    from datetime import datetime

    if milliseconds is None:
        return ""
    return datetime.fromtimestamp(milliseconds / 1000).astimezone().strftime("%Y-%m-%d %H:%M:%S")


__all__ = [
    "PASSED",
    "PENDING",
    "REJECTED",
    "Desk",
    "desk",
    "measure_options",
    "print_results",
    "user_option",
    "webhook_settings",
    "when",
]
