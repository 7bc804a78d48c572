"""The documentation names what there is: commands, options, settings, files."""

from __future__ import annotations

import re
import shlex
from collections.abc import Iterator
from pathlib import Path

import click
import pytest

from mlgate import settings
from mlgate.cli.main import cli
from mlgate.cli.run import run

ROOT = Path(__file__).resolve().parents[1]
PAGES = sorted([ROOT / "README.md", *(ROOT / "docs").rglob("*.md")])
_CODE = re.compile(r"```(?:console|bash|sh|shell)\n(.*?)```|`([^`\n]+)`", re.DOTALL)
_LINK = re.compile(r"\]\((?!https?:|mailto:|#)([^)#\s]+)")
_VARIABLE = re.compile(r"\bMLGATE_[A-Z_]+\b")


def commands_in(page: Path) -> Iterator[list[str]]:
    """Words of every `mlgate …` and `run-project …` line in code of the page."""
    for block, inline in _CODE.findall(page.read_text(encoding="utf-8")):
        text = (block or inline).replace("\\\n", " ")
        for raw in text.splitlines():
            line = re.split(r"\s#\s|\s\|\s|\s*&&", raw.strip().removeprefix("$ "))[0].strip()
            if re.match(r"(mlgate|run-project)(\s|$)", line):
                try:
                    yield shlex.split(line.replace("…", "..."))
                except ValueError:
                    yield line.split()


def check(words: list[str]) -> str:
    """What is wrong with a documented command line; empty when every command and option exists."""
    command: click.Command = run if words[0] == "run-project" else cli
    path = [words[0]]
    for word in words[1:]:
        if word.startswith("-") and word != "-":
            option = word.partition("=")[0]
            known = {name for param in command.params for name in (*param.opts, *param.secondary_opts)}
            if option not in {*known, "--help", "-h"}:
                return f"{' '.join(path)}: no option {option}"
        elif isinstance(command, click.Group) and re.fullmatch(r"[a-z][a-z-]*", word):
            found = command.get_command(click.Context(command), word)
            if found is None:
                return f"{' '.join(path)}: no command {word}"
            command = found
            path.append(word)
        elif isinstance(command, click.Group):
            break
    return ""


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_every_documented_command_and_option_exists(page: Path) -> None:
    assert [problem for words in commands_in(page) if (problem := check(words))] == []


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_every_link_to_a_file_leads_somewhere(page: Path) -> None:
    links = _LINK.findall(page.read_text(encoding="utf-8"))
    assert [link for link in links if not (page.parent / link).exists()] == []


def test_every_setting_that_is_read_is_documented_and_every_documented_one_is_known() -> None:
    documented = {name for page in PAGES for name in _VARIABLE.findall(page.read_text(encoding="utf-8"))}
    source = "\n".join(
        file.read_text(encoding="utf-8")
        for folder in ("projects", "tracking", "orchestrator")
        for file in (ROOT / folder).rglob("*.py")
    )
    server = cli.get_command(click.Context(cli), "server")
    assert server is not None
    # Every option of the server can be given as a variable, too.
    read = set(_VARIABLE.findall(source)) | {f"MLGATE_{(param.name or '').upper()}" for param in server.params}
    assert set(_VARIABLE.findall(settings.__doc__ or "")) <= documented
    assert documented <= read


@pytest.mark.parametrize("group", ["runs", "experiments", "artifacts"])
def test_every_command_and_option_to_look_at_things_is_documented(group: str) -> None:
    page = (ROOT / "docs/reference/cli-runs.md").read_text(encoding="utf-8")
    found = cli.get_command(click.Context(cli), group)
    assert isinstance(found, click.Group)
    for name, command in found.commands.items():
        assert f"mlgate {group} {name}" in page
        for option in command.params:
            if isinstance(option, click.Option):
                assert max(option.opts, key=len) in page, f"mlgate {group} {name}: {option.opts}"
