"""The two commands: `run-project`, and `mlgate` with its groups. A group's module is imported only when it is used."""

from __future__ import annotations

import importlib
import os
import sys
from collections.abc import Callable, Sequence
from typing import Any

import click

from mlgate import __version__

# Command → (module:attribute, one line for --help). One line per group; nothing here is imported to print the help.
_COMMANDS: dict[str, tuple[str, str]] = {
    "approvals": ("mlgate.cli.approvals:approvals", "List and answer what promotions wait for."),
    "audit": ("mlgate.cli.audit:audit", "Check and export the log of everything that promotion did."),
    "gate": ("mlgate.cli.gate:gate", "Judge model versions, replay past promotions, watch over health windows."),
    "lineage": ("mlgate.cli.models:lineage", "Show where a model version comes from."),
    "models": ("mlgate.cli.models:models", "Register, list, show, compare and protect models."),
    "promote": ("mlgate.cli.promote:promote", "Promote a model version through its gates."),
    "rollback": ("mlgate.cli.promote:rollback", "Move a champion back."),
    "users": ("mlgate.cli.users:users", "Add users of a shared server, give them tokens, take them away."),
    "webhooks": ("mlgate.cli.webhooks:webhooks", "Tell others of promotions."),
    "artifacts": ("mlgate.cli.artifacts:artifacts", "List, download and log the files of runs and models."),
    "experiments": (
        "mlgate.cli.experiments:experiments",
        "List, show, create, delete, restore and rename experiments.",
    ),
    "runs": ("mlgate.cli.runs:runs", "List, show, search, export, delete and restore runs."),
    "cache": ("mlgate.cli.cache:cache", "Look at the cache of pipeline steps: which input has changed."),
    "env": ("mlgate.cli.env:env", "List, check, build ahead and collect environments."),
    "completion": ("mlgate.cli.completion:completion", "Print the completion script of a shell."),
    "project": ("mlgate.cli.project:project", "Look at a project: entry points, parameters, environment."),
    "deploy": ("mlgate.cli.deploy:deploy", "Write what an engine needs to run a project, as files."),
    "db": ("mlgate.cli.db:db", "Look after the schema of a database store."),
    "gc": ("mlgate.cli.gc:gc", "Remove for good what was deleted, with its files."),
    "import": ("mlgate.cli.imports:imports", "Bring an MLflow store over."),
    "reap": ("mlgate.cli.reap:reap", "End what killed runners left behind and close its runs."),
    "validate": ("mlgate.cli.validate:validate", "Check a project's files and pipelines; run nothing."),
    "run": ("mlgate.cli.run:run", "Run a project from a path or a git URL (the same command as run-project)."),
    "server": ("mlgate.cli.server:server", "Serve the tracking store to MLflow's clients."),
}


class LazyGroup(click.Group):
    """A group whose commands are named in a table and imported on use."""

    def __init__(self, *args: Any, table: dict[str, tuple[str, str]] | None = None, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.table = table or {}

    def list_commands(self, ctx: click.Context) -> list[str]:
        return sorted({*self.table, *super().list_commands(ctx)})

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        if cmd_name in self.table:
            module, _, attribute = self.table[cmd_name][0].partition(":")
            command = getattr(importlib.import_module(module), attribute)
            assert isinstance(command, click.Command)
            return command
        return super().get_command(ctx, cmd_name)

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        with formatter.section("Commands"):
            formatter.write_dl([(name, help_line) for name, (_, help_line) in sorted(self.table.items())])

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        name = args[0] if args else ""
        if name and not name.startswith("-") and name not in self.list_commands(ctx):
            raise click.UsageError(f"no command '{name}'; known: {', '.join(self.list_commands(ctx))}", ctx)
        return super().resolve_command(ctx, args)


@click.command(
    cls=LazyGroup,
    table=_COMMANDS,
    context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 120},
)
@click.version_option(__version__, prog_name="mlgate")
def cli() -> None:
    """Run MLproject files, look at what was done, and promote models through gates."""


def call(command: Callable[[], Any]) -> int:
    """Run a click command: our own errors become one line and an exit code, anything else keeps its traceback."""
    try:
        result = command()
    except click.exceptions.Exit as exit_:
        return exit_.exit_code
    except click.ClickException as error:
        error.show()
        return error.exit_code
    except (click.Abort, KeyboardInterrupt):
        click.echo("interrupted", err=True)
        return 130
    except BrokenPipeError:
        # The reader of our output (a pager, head) has gone: nothing more to say, and no noise at shutdown.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 141
    except Exception as error:
        exit_code = getattr(error, "exit_code", None)
        if not isinstance(exit_code, int):
            raise
        for line in str(error).splitlines() or [type(error).__name__]:
            click.echo(f"error: {line}", err=True)
        return exit_code
    return result if isinstance(result, int) else 0


def mlgate(argv: Sequence[str] | None = None) -> None:
    """Entry point of `mlgate`."""
    sys.exit(call(lambda: cli.main(argv, prog_name="mlgate", standalone_mode=False)))


def run_project(argv: Sequence[str] | None = None) -> None:
    """Entry point of `run-project`."""
    from mlgate.cli.run import run

    sys.exit(call(lambda: run.main(argv, prog_name="run-project", standalone_mode=False)))


__all__ = ["LazyGroup", "call", "cli", "mlgate", "run_project"]
