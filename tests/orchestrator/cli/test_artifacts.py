from __future__ import annotations

from pathlib import Path

import pytest

from tests.orchestrator.cli.looking import CommandLine


def test_list_shows_one_level_or_everything(mlgate: CommandLine, run_ids: dict[str, str]) -> None:
    assert mlgate("artifacts", "list", run_ids["first"][:12]).rows() == [["model/", ""], ["notes é.txt", "6 B"]]
    everything = mlgate("artifacts", "list", run_ids["first"], "model", "-r").rows()
    assert everything == [["model/MLmodel", "12 B"], ["model/data/model.bin", "1.5 KB"]]
    assert mlgate("artifacts", "list", run_ids["first"], "notes é.txt").rows() == [["notes é.txt", "6 B"]]
    assert mlgate("artifacts", "list", f"runs:/{run_ids['first']}/model", "data", "--json").json() == [
        {"path": "model/data/model.bin", "is_dir": False, "file_size": 1500}
    ]
    assert mlgate("artifacts", "list", run_ids["second"]).err == "no files\n"


def test_download_copies_a_file_a_folder_or_all(mlgate: CommandLine, run_ids: dict[str, str], tmp_path: Path) -> None:
    said = mlgate("artifacts", "download", run_ids["first"], "notes é.txt", "-o", str(tmp_path / "a"))
    assert said.out == f"1 file, 6 B, in {tmp_path / 'a'}\n"
    assert (tmp_path / "a/notes é.txt").read_text() == "hello\n"

    mlgate("artifacts", "download", run_ids["first"], "model", "-o", str(tmp_path / "b"))
    assert (tmp_path / "b/model/data/model.bin").stat().st_size == 1500

    said = mlgate("artifacts", "download", f"runs:/{run_ids['first']}", "-o", str(tmp_path / "c"), "--json")
    assert said.json() == {"files": 3, "size": 1518, "path": str(tmp_path / "c")}
    assert (tmp_path / "c/model/MLmodel").exists()


def test_a_file_can_be_printed(mlgate: CommandLine, run_ids: dict[str, str]) -> None:
    assert mlgate("artifacts", "download", run_ids["first"], "notes é.txt", "-o", "-").out == "hello\n"


def test_log_adds_files_and_folders(mlgate: CommandLine, run_ids: dict[str, str], tmp_path: Path) -> None:
    (tmp_path / "plots/deep").mkdir(parents=True)
    (tmp_path / "plots/deep/a.svg").write_text("<svg/>")
    (tmp_path / "plots/b.svg").write_text("<svg/>")
    said = mlgate("artifacts", "log", run_ids["second"][:12], str(tmp_path / "plots"), "-p", "figures")
    assert said.out == f"2 files, 12 B, in run {run_ids['second']}\n"
    mlgate("artifacts", "log", run_ids["second"], str(tmp_path / "plots/b.svg"))
    assert mlgate("artifacts", "list", run_ids["second"], "-r").rows() == [
        ["b.svg", "6 B"],
        ["figures/b.svg", "6 B"],
        ["figures/deep/a.svg", "6 B"],
    ]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["list", "zzz"], "no run has an id that begins with 'zzz'"),
        (["list", "FIRST", "nothing"], "no artifact 'nothing'"),
        (["list", "FIRST", "../x"], "Invalid path: '../x'"),
        (["download", "FIRST", "nothing"], "no artifact 'nothing'"),
        (["download", "FIRST", "model", "-o", "-"], "is a directory"),
        (["download", "ftp://host/x"], "unknown scheme 'ftp'"),
        (["download", "models:/nobody/1"], "nobody"),
        (["log", "GONE", "FILE"], "is deleted; mlgate runs restore brings it back"),
        (["log", "FIRST", "FILE", "-p", "/etc"], "Invalid path: '/etc'"),
    ],
)
def test_mistakes_are_one_line_and_exit_code_2(
    mlgate: CommandLine, run_ids: dict[str, str], tmp_path: Path, arguments: list[str], message: str
) -> None:
    (tmp_path / "file").touch()
    words = {"FIRST": run_ids["first"], "GONE": run_ids["gone"], "FILE": str(tmp_path / "file")}
    said = mlgate("artifacts", *(words.get(argument, argument) for argument in arguments))
    assert (said.exit_code, said.out) == (2, "")
    assert message in said.err
    assert said.err.count("\n") == 1
