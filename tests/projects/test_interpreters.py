from __future__ import annotations

import json
import os
import sys
from pathlib import Path

import pytest

from mlgate_projects import interpreters
from mlgate_projects.errors import EnvironmentUnavailable

OWN = ".".join(map(str, sys.version_info[:3]))
MINOR = ".".join(map(str, sys.version_info[:2]))


def fake(path: Path, version: str, *, virtual_of: Path | None = None) -> Path:
    """A file that answers as the interpreter of some version would (`_ask_fake` reads it)."""
    path.parent.mkdir(parents=True, exist_ok=True)
    answer = {
        "version": version,
        "implementation": "cpython",
        "platform": "linux",
        "prefix": str(path.parent.parent),
        "base": str(virtual_of or path),
        "virtual": virtual_of is not None,
        "site_packages": [],
    }
    path.write_text(f"echo '{json.dumps(answer)}'\n")
    path.chmod(0o755)
    return path


@pytest.fixture
def machine(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> dict[str, str]:
    """Variables of a machine without interpreters but this one; what is asked is noted in `asked`."""
    monkeypatch.setattr(interpreters, "_answer", lambda path: _ask_fake(path, tmp_path))
    monkeypatch.setattr(sys, "_base_executable", str(tmp_path / "none"))
    return {"PATH": str(tmp_path / "bin"), "HOME": str(tmp_path), "PYENV_ROOT": str(tmp_path / "pyenv")}


def _ask_fake(path: str, root: Path) -> dict[str, object] | None:
    if not Path(path).is_relative_to(root):
        return None  # the real interpreters of the machine that runs the tests
    with (root / "asked").open("a") as file:
        file.write(f"{path}\n")
    answer: dict[str, object] = json.loads(Path(path).read_text().partition("'")[2].rpartition("'")[0])
    return answer


def test_the_running_interpreter_is_found_without_a_version(tmp_path: Path) -> None:
    found, warning = interpreters.find(None, remembered=tmp_path / "known.json")
    assert (found.version, warning, found.virtual) == (OWN, None, False)
    assert found.site_packages


def test_this_version_is_found_on_this_machine(tmp_path: Path) -> None:
    for version in (OWN, MINOR, f"python {MINOR}", f"=={OWN}", f"{MINOR}.*"):
        found, warning = interpreters.find(version, remembered=tmp_path / "known.json")
        assert found.minor == MINOR
        assert warning is None


def test_the_exact_version_is_preferred_to_the_newest(tmp_path: Path, machine: dict[str, str]) -> None:
    for version in ("3.10.2", "3.10.13", "3.9.1"):
        fake(tmp_path / f"pyenv/versions/{version}/bin/python", version)
    assert interpreters.find("3.10.2", environ=machine)[0].version == "3.10.2"
    assert interpreters.find("3.10", environ=machine)[0].version == "3.10.13"
    assert interpreters.find("3", environ=machine)[0].version == "3.10.13"


def test_a_missing_patch_version_falls_back_with_a_line_that_says_so(tmp_path: Path, machine: dict[str, str]) -> None:
    used = fake(tmp_path / "pyenv/versions/3.10.13/bin/python", "3.10.13")
    fake(tmp_path / "pyenv/versions/3.10.9/bin/python", "3.10.9")
    found, warning = interpreters.find("3.10.0", environ=machine)
    assert found.path == str(used)
    assert warning == f"python 3.10.0 is not on this machine: using 3.10.13 ({used})"


def test_strictness_refuses_another_patch_version_and_lists_what_is_there(
    tmp_path: Path, machine: dict[str, str]
) -> None:
    used = fake(tmp_path / "pyenv/versions/3.10.13/bin/python", "3.10.13")
    with pytest.raises(EnvironmentUnavailable, match=rf"no python exactly 3.10.0 .* there is 3.10.13 \({used}\)"):
        interpreters.find("3.10.0", strict=True, environ=machine)
    with pytest.raises(EnvironmentUnavailable, match=r"no python 3\.7 on this machine; there is 3\.10\.13"):
        interpreters.find("3.7", environ=machine)


@pytest.mark.parametrize("version", [">=3.8", "three", "3.10.0.1", ""])
def test_what_is_no_version_is_refused(version: str) -> None:
    with pytest.raises(EnvironmentUnavailable, match=r"is not a version; write it as 3\.10 or 3\.10\.13"):
        interpreters.find(version)


def test_shims_are_passed_over(tmp_path: Path, machine: dict[str, str]) -> None:
    shim = fake(tmp_path / "bin/python3.10", "3.10.1")
    shim.write_text("#!/bin/sh\n" + shim.read_text())
    real = fake(tmp_path / "pyenv/versions/3.10.13/bin/python", "3.10.13")
    assert interpreters.find("3.10", environ=machine)[0].path == str(real)


def test_uv_keeps_interpreters_too(tmp_path: Path, machine: dict[str, str]) -> None:
    real = fake(tmp_path / ".local/share/uv/python/cpython-3.12.1-linux/bin/python3", "3.12.1")
    assert interpreters.find("3.12.1", environ=machine)[0].path == str(real)


def test_the_base_of_a_virtual_environment_stands_for_it(tmp_path: Path, machine: dict[str, str]) -> None:
    base = fake(tmp_path / "elsewhere/bin/python3.10", "3.10.4")
    fake(tmp_path / "bin/python3", "3.10.4", virtual_of=base)
    assert interpreters.find("3.10", environ=machine)[0].path == str(base)


def test_each_is_asked_once_until_its_file_changes(tmp_path: Path, machine: dict[str, str]) -> None:
    remembered = tmp_path / "known.json"
    path = fake(tmp_path / "bin/python3", "3.10.4")
    for _ in range(3):
        assert interpreters.find("3.10", environ=machine, remembered=remembered)[0].version == "3.10.4"
    assert len((tmp_path / "asked").read_text().splitlines()) == 1
    fake(path, "3.10.5")
    os.utime(path, (1, 1))
    assert interpreters.find("3.10", environ=machine, remembered=remembered)[0].version == "3.10.5"


def test_a_broken_file_of_answers_is_made_anew(tmp_path: Path, machine: dict[str, str]) -> None:
    remembered = tmp_path / "known.json"
    fake(tmp_path / "bin/python3", "3.10.4")
    for broken in ("", "[]", "{not json"):
        remembered.write_text(broken)
        assert interpreters.find("3.10", environ=machine, remembered=remembered)[0].version == "3.10.4"


def test_a_final_version_is_newer_than_its_candidates(tmp_path: Path, machine: dict[str, str]) -> None:
    for version in ("3.14.0rc2", "3.14.0", "3.14.0b1"):
        fake(tmp_path / f"pyenv/versions/{version}/bin/python", version)
    assert interpreters.find("3.14", environ=machine)[0].version == "3.14.0"


def test_what_does_not_run_is_no_interpreter(tmp_path: Path) -> None:
    (tmp_path / "python").write_text("not a program")
    assert interpreters.ask(tmp_path / "python") is None
    (tmp_path / "python").chmod(0o755)
    assert interpreters.ask(tmp_path / "python") is None
    assert interpreters.ask(tmp_path / "missing") is None


def test_all_interpreters_can_be_listed(tmp_path: Path, machine: dict[str, str]) -> None:
    for version in ("3.10.2", "3.9.1"):
        fake(tmp_path / f"pyenv/versions/{version}/bin/python", version)
    assert [one.version for one in interpreters.known(environ=machine)] == ["3.9.1", "3.10.2"]
