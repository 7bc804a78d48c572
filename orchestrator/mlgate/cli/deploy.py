"""`mlgate deploy`: what an engine needs to run a project's pipelines, as files to keep with the rest of the code."""

from __future__ import annotations

import click

from mlgate.cli.deploy_airflow import airflow
from mlgate.cli.deploy_prefect import prefect


@click.group()
def deploy() -> None:
    """Write what an engine needs to run a project."""


deploy.add_command(airflow)
deploy.add_command(prefect)

__all__ = ["deploy"]
