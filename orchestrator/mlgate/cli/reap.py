"""`mlgate reap`: put in order what killed runners left behind."""

from __future__ import annotations

import click

from mlgate.cli.output import json_option, print_json, print_table, store_option


@click.command()
@store_option
@json_option
def reap(tracking_uri: str | None, as_json: bool) -> None:
    """End orphaned processes and containers of runners that were killed, and close their runs as KILLED."""
    from dataclasses import asdict

    from mlgate.reaper import reap as reap_steps
    from mlgate.settings import load_settings
    from mlgate.tracking import open_tracking

    settings = load_settings(tracking_uri=tracking_uri)
    with open_tracking(settings) as tracking:
        reaped = reap_steps(settings, tracking)
    if as_json:
        print_json([asdict(step) for step in reaped])
        return
    rows = [(step.run_id, step.attempt, step.killed, "KILLED" if step.closed else "left") for step in reaped]
    print_table(["run", "attempt", "processes ended", "status"], rows, empty="nothing was left behind")


__all__ = ["reap"]
