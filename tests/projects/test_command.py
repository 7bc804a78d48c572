"""Entry points, templates, quoting, and lines of any length."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from mlgate_projects.command import find_entry_point, render, runnable
from mlgate_projects.errors import EntryPointNotFound, InvalidProject
from mlgate_projects.parameters import ResolvedParameters, resolve
from mlgate_projects.parse import load_project
from mlgate_projects.spec import EntryPoint, Parameter
from mlgate_projects.testing import project_dir

HOSTILE = 'it\'s "quoted" $(touch pwned) `touch pwned` \\ ; & | > x\n$HOME *\té'


def entry_point(command: str | None, *names: str) -> EntryPoint:
    return EntryPoint("main", command, tuple(Parameter(name) for name in names), line=3, command_line=7)


def bash(line: str, cwd: Path) -> bytes:
    return subprocess.run(["bash", "-c", line], cwd=cwd, check=True, capture_output=True, timeout=60).stdout


def test_values_arrive_unchanged_whatever_they_hold(tmp_path: Path) -> None:
    line = render(entry_point("printf %s {text}", "text"), ResolvedParameters(declared={"text": HOSTILE}))
    assert bash(line, tmp_path).decode() == HOSTILE
    assert list(tmp_path.iterdir()) == []


def test_extra_parameters_are_appended_and_quoted(tmp_path: Path) -> None:
    parameters = resolve(entry_point("printf '%s|'"), {"--evil;x": "1", "name": HOSTILE}, tmp_path)
    arrived = bash(render(entry_point("printf '%s|'"), parameters), tmp_path).decode().split("|")
    assert arrived[:3] == ["----evil;x", "1", "--name"]


def test_double_braces_are_literal() -> None:
    line = render(entry_point("awk '{{print $1}}' {file}", "file"), ResolvedParameters(declared={"file": "a b"}))
    assert line == "awk '{print $1}' 'a b'"


@pytest.mark.parametrize(
    ("command", "what"),
    [
        ("python train.py {gamma}", "{gamma} is not a declared parameter (declared: alpha)"),
        ("echo ${HOME}", "for a shell variable write ${{HOME}}"),
        ("echo {}", "{} is not a declared parameter"),
        ("echo {alpha.__class__}", "{alpha.__class__} is not a declared parameter"),
        ("echo {alpha", "the template does not parse"),
        ("echo {alpha:d}", "format that text cannot take"),
        ("echo {alpha!x}", "unknown conversion !x"),
        (None, "has no command"),
    ],
)
def test_template_mistakes_are_found_before_anything_runs(command: str | None, what: str) -> None:
    with pytest.raises(InvalidProject) as caught:
        render(entry_point(command, "alpha"), ResolvedParameters(declared={"alpha": "1"}))
    assert what in str(caught.value)
    assert str(caught.value).startswith(("MLproject:7: entry_points.main.command: ", "MLproject:3: "))


def test_scripts_are_entry_points(tmp_path: Path) -> None:
    files = {"train.py": "import sys; print(sys.argv[1:])", "sub/a {b}.sh": 'echo "$@"'}
    spec = load_project(project_dir(tmp_path, files))
    parameters = resolve(find_entry_point(spec, "sub/a {b}.sh"), {"x": "1 2"}, tmp_path)
    assert bash(render(find_entry_point(spec, "sub/a {b}.sh"), parameters), tmp_path) == b"--x 1 2\n"
    assert find_entry_point(spec, "train.py").command == "python train.py"
    assert find_entry_point(spec, "train.py").script


def test_unknown_entry_point_names_the_known_ones_and_the_scripts(tmp_path: Path) -> None:
    spec = load_project(project_dir(tmp_path, {"MLproject": "entry_points: {train: {command: ls}}", "x.py": ""}))
    for name in ("main", "y.py", "../x.py", "train.rb"):
        with pytest.raises(EntryPointNotFound, match=r"declared are train; scripts are x\.py") as caught:
            find_entry_point(spec, name)
        assert caught.value.known == ("train", "x.py")


def test_a_line_of_ordinary_length_stays_as_it_is(tmp_path: Path) -> None:
    assert runnable("echo hello", tmp_path / "arguments") == "echo hello"
    assert not (tmp_path / "arguments").exists()


def test_a_megabyte_reaches_shell_commands_unchanged(tmp_path: Path) -> None:
    text = HOSTILE * 20_000
    line = render(entry_point("printf %s {text} > out", "text"), ResolvedParameters(declared={"text": text}))
    bash(runnable(line, tmp_path / "it's here"), tmp_path)
    assert (tmp_path / "out").read_bytes() == text.encode()


@pytest.mark.parametrize("size", [100_000, 1_000_000])
@pytest.mark.parametrize("interpreter", ["python", "python3"])
def test_a_long_value_reaches_a_python_script_unchanged(tmp_path: Path, size: int, interpreter: str) -> None:
    """Linux takes no argument of more than 128 KiB, so the step kit puts the value back; here in its simplest form."""
    files = {
        "kit/sitecustomize.py": "import mlgate_tracking.kit.arguments as a; a.expand()\n",
        "show.py": "import sys; open('out', 'wb').write('|'.join(sys.argv[1:]).encode('utf-8', 'surrogateescape'))\n",
        f"bin/{interpreter}": f'#!/bin/sh\nexec {sys.executable} "$@"\n',
    }
    project = project_dir(tmp_path, files)
    (project / "bin" / interpreter).chmod(0o755)
    text = (HOSTILE * (size // len(HOSTILE) + 1))[:size]
    line = render(entry_point(interpreter + " show.py --a {text} -b", "text"), ResolvedParameters({"text": text}))
    env = {"PATH": f"{project}/bin:{os.environ['PATH']}", "PYTHONPATH": os.pathsep.join(["kit", *sys.path])}
    done = subprocess.run(
        ["bash", "-c", runnable(line, tmp_path / "private")],
        cwd=project,
        env=env,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert (done.returncode, done.stderr) == (0, "")
    assert (project / "out").read_text() == f"--a|{text}|-b"


def test_other_programs_say_that_an_argument_is_too_long(tmp_path: Path) -> None:
    line = runnable(render(entry_point("env echo {a}", "a"), ResolvedParameters({"a": "x" * 200_000})), tmp_path / "p")
    done = subprocess.run(["bash", "-c", line], cwd=tmp_path, capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 126
    assert "Argument list too long" in done.stderr
