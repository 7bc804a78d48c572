"""Where a store keeps its files: one option, one set of variables, for every command that moves or removes them."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeVar

import click

_F = TypeVar("_F", bound=Callable[..., Any])


def destination_option(function: _F) -> _F:
    """Adds `--artifacts-destination` (parameter `artifacts_destination`); its default: `artifacts_destination_of`."""
    return click.option(
        "--artifacts-destination",
        envvar=["MLGATE_ARTIFACTS_DESTINATION", "MLFLOW_ARTIFACTS_DESTINATION", "MLGATE_ARTIFACTS"],
        metavar="URI",
        help="Where served artifacts lie: a directory, s3://, abfss://, wasbs:// or gs://.",
    )(function)


__all__ = ["destination_option"]
