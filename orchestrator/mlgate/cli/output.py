"""What all commands print with: tables for people, JSON for programs, one style for both."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable, Iterable, Sequence
from typing import Any, TypeVar

import click

_F = TypeVar("_F", bound=Callable[..., Any])


def json_option(function: _F) -> _F:
    """Adds `--json` (parameter `as_json`)."""
    return click.option("--json", "as_json", is_flag=True, help="Print one JSON document instead of a table.")(function)


def store_option(function: _F) -> _F:
    """Adds `--tracking-uri` (parameter `tracking_uri`)."""
    return click.option(
        "--tracking-uri",
        metavar="URI",
        help="The store to use instead of $MLGATE_TRACKING_URI, $MLFLOW_TRACKING_URI or the embedded one.",
    )(function)


def print_json(data: Any) -> None:
    """One JSON document on standard output."""
    click.echo(json.dumps(data, indent=2, default=str, ensure_ascii=False))


def print_table(columns: Sequence[str], rows: Iterable[Sequence[Any]], *, empty: str = "nothing to show") -> None:
    """A table on a terminal, tab-separated lines with a header elsewhere (so that `cut` and `awk` work)."""
    cells = [["" if value is None else str(value) for value in row] for row in rows]
    if not sys.stdout.isatty():
        for line in [list(columns), *cells] if cells else []:
            click.echo("\t".join(cell.replace("\t", " ").replace("\n", " ") for cell in line))
        if not cells:
            click.echo(empty, err=True)
        return
    if not cells:
        click.echo(empty)
        return
    from rich.console import Console
    from rich.table import Table

    table = Table(box=None, header_style="bold", pad_edge=False)
    for column in columns:
        table.add_column(column, overflow="fold")
    for row in cells:
        table.add_row(*(_styled(cell) for cell in row))
    Console().print(table)


_STYLES = {
    "FINISHED": "green",
    "FAILED": "red",
    "KILLED": "magenta",
    "RUNNING": "yellow",
    "passed": "green",
    "rejected": "red",
}


def _styled(cell: str) -> Any:
    from rich.text import Text

    return Text(cell, style=_STYLES.get(cell, ""))


__all__ = ["json_option", "print_json", "print_table", "store_option"]
