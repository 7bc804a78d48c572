"""`mlgate completion SHELL`: completion for both commands."""

from __future__ import annotations

import click
from click.shell_completion import get_completion_class

from mlgate.cli.main import cli
from mlgate.cli.run import run


@click.command()
@click.argument("shell", type=click.Choice(["bash", "zsh", "fish"]))
def completion(shell: str) -> None:
    """Print the completion script for SHELL; for bash: eval "$(mlgate completion bash)"."""
    completer = get_completion_class(shell)
    assert completer is not None
    for command, name in ((cli, "mlgate"), (run, "run-project")):
        variable = f"_{name.replace('-', '_').upper()}_COMPLETE"
        click.echo(completer(command, {}, name, variable).source())


__all__ = ["completion"]
