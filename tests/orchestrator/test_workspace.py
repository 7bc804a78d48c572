"""The live files of a step."""

from __future__ import annotations

from pathlib import Path

from mlgate.workspace import Workspace
from mlgate_projects.process import Stream


def test_a_workspace_is_private_and_goes_when_it_is_discarded(tmp_path: Path) -> None:
    workspace = Workspace.create(tmp_path, "run", 1)
    assert workspace.directory.stat().st_mode & 0o077 == 0
    workspace.discard()
    assert not workspace.directory.exists()


def test_output_is_on_file_at_once_and_only_streams_that_said_something_become_artifacts(tmp_path: Path) -> None:
    workspace = Workspace.create(tmp_path, "run", 1)
    workspace.write(Stream.STDERR, b"Traceback\nValueError: no\n\n")
    assert [path for path, _ in workspace.artifacts()] == ["mlgate/stderr.log"]
    assert workspace.last_line(Stream.STDERR) == "ValueError: no"
    assert workspace.last_line(Stream.STDOUT) == ""
    workspace.close()


def test_named_outputs_are_json_objects_and_later_ones_win(tmp_path: Path) -> None:
    workspace = Workspace.create(tmp_path, "run", 1)
    workspace.outputs_file.write_text('{"rows": 10, "path": "a"}\n\n{"rows": 12}\n')
    assert workspace.outputs() == ({"rows": 12, "path": "a"}, ())


def test_a_line_that_is_no_object_is_named_in_a_warning_and_the_others_count(tmp_path: Path) -> None:
    workspace = Workspace.create(tmp_path, "run", 1)
    workspace.outputs_file.write_bytes(b'rows=10\n[1]\n{"rows": 12}\n\xff\n')
    outputs, warnings = workspace.outputs()
    assert outputs == {"rows": 12}
    assert [warning.split(": ")[0] for warning in warnings] == [f"MLGATE_OUTPUTS:{line}" for line in (1, 2, 4)]


def test_another_attempt_starts_with_empty_files(tmp_path: Path) -> None:
    first = Workspace.create(tmp_path, "run", 2)
    first.write(Stream.STDOUT, b"old")
    first.close()
    assert list(Workspace.create(tmp_path, "run", 2).artifacts()) == []


def test_only_what_the_step_writes_to_is_open_to_others_and_lies_in_a_private_directory(tmp_path: Path) -> None:
    workspace = Workspace.create(tmp_path, "run", 1)
    modes = {
        path.relative_to(workspace.directory).as_posix(): path.stat().st_mode & 0o777 for path in all_of(workspace)
    }
    assert modes == {".": 0o700, "step": 0o777, "step/spool": 0o777, "step/outputs.jsonl": 0o666}


def all_of(workspace: Workspace) -> list[Path]:
    return [workspace.directory, *workspace.directory.rglob("*")]


def test_links_and_pipes_in_the_place_of_files_are_not_followed(tmp_path: Path) -> None:
    secret = tmp_path / "secret"
    secret.write_text('{"password": "open sesame"}\n')
    workspace = Workspace.create(tmp_path, "run", 1)
    workspace.outputs_file.unlink()
    workspace.outputs_file.symlink_to(secret)
    (workspace.spool / "kit.log").symlink_to(secret)
    named, (warning,) = workspace.outputs()
    assert named == {}
    assert "sesame" not in warning
    assert list(workspace.artifacts()) == []
    workspace.spool.rename(tmp_path / "elsewhere")
    (tmp_path / "elsewhere" / "kit.log").unlink()
    (tmp_path / "elsewhere" / "kit.log").write_text("log")
    workspace.spool.symlink_to(tmp_path / "elsewhere")
    assert list(workspace.artifacts()) == []
