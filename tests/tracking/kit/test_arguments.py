"""Oversized arguments: tokens on the command line, values in files."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from mlgate_tracking.kit.arguments import expand


@pytest.fixture
def directory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("MLGATE_ARGUMENT_FILES", str(tmp_path))
    (tmp_path / "argument.Ab1").write_bytes(b"a long \xff value\n")
    return tmp_path


def test_a_token_becomes_the_value_in_its_file(directory: Path) -> None:
    argv = ["train.py", "--text", "@mlgate-argument:argument.Ab1", "x"]
    expand(argv)
    assert argv == ["train.py", "--text", os.fsdecode(b"a long \xff value\n"), "x"]


@pytest.mark.parametrize(
    "argument",
    [
        "@mlgate-argument:argument.missing",
        "@mlgate-argument:../argument.Ab1",
        "@mlgate-argument:argument.Ab1 ",
        "--text=@mlgate-argument:argument.Ab1",
    ],
)
def test_anything_else_is_left_alone(directory: Path, argument: str) -> None:
    argv = ["train.py", argument]
    expand(argv)
    assert argv == ["train.py", argument]


def test_nothing_is_replaced_without_a_directory(directory: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("MLGATE_ARGUMENT_FILES")
    argv = ["train.py", "@mlgate-argument:argument.Ab1"]
    expand(argv)
    assert argv[1].startswith("@mlgate")
