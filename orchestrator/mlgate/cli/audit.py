"""`mlgate audit`: check and export the audit log."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import click

from mlgate.cli.governance import desk
from mlgate.cli.output import json_option, print_json, store_option

if TYPE_CHECKING:
    from mlgate_tracking.contract import Store
    from mlgate_tracking.governance import AuditEntry

_PAGE = 1000


def _pages(store: Store) -> Iterator[tuple[AuditEntry, ...]]:
    last = 0
    while page := store.audit_log(after=last, max_results=_PAGE):
        yield page
        last = page[-1].sequence


@click.group()
def audit() -> None:
    """Check and export the log of everything that promotion did."""


@audit.command()
@click.option("--head", metavar="DIGEST", help="Digest of the last entry as it was noted elsewhere before.")
@store_option
@json_option
def verify(head: str | None, tracking_uri: str | None, as_json: bool) -> int:
    """Check the chain: no entry changed, none missing. Exit code 1 when it is broken.

    What was cut off at the end shows only against a digest that was noted elsewhere (--head).
    """
    from mlgate_tracking.governance import GENESIS, broken_link

    count, previous, problem = 0, GENESIS, None
    seen = head is None or head == GENESIS
    with desk(tracking_uri, None) as at:
        for page in _pages(at.store):
            problem = problem or broken_link(page, previous, count + 1)
            count, previous = page[-1].sequence, page[-1].digest
            seen = seen or any(entry.digest == head for entry in page)
    if problem is None and not seen:
        problem = f"no entry has the digest {head}: the log was cut off or rewritten since it was noted"
    if as_json:
        print_json({"entries": count, "head": previous, "problem": problem})
    else:
        click.echo(problem or f"{count} entries, the chain holds; head {previous}")
    return 0 if problem is None else 1


@audit.command()
@click.option("--output", type=click.Path(dir_okay=False, path_type=Path), help="A file; standard output by default.")
@store_option
def export(output: Path | None, tracking_uri: str | None) -> None:
    """Write the log as JSON lines, oldest first."""
    from mlgate_tracking.governance import encode

    with desk(tracking_uri, None) as at, click.open_file(str(output or "-"), "w", atomic=output is not None) as file:
        for page in _pages(at.store):
            for entry in page:
                file.write(json.dumps(encode(entry)) + "\n")


__all__ = ["audit"]
