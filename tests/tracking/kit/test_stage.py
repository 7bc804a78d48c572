"""Staging the kit, and the sitecustomize that it brings: present in every interpreter, in nobody's way."""

from __future__ import annotations

import os
import stat
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from mlgate_tracking import kit
from tests.support.environments import interpreter
from tests.tracking.kit.conftest import RunScript

STEP = {"MLGATE_RUN_ID": "0" * 32, "MLFLOW_RUN_ID": "0" * 32}


def test_the_staged_directory_holds_the_kit_and_nothing_else_of_the_package(staged: Path) -> None:
    assert {path.name for path in staged.iterdir()} - {"__pycache__"} == {"sitecustomize.py", "mlgate_tracking"}
    assert {path.name for path in (staged / "mlgate_tracking").iterdir()} - {"__pycache__"} == {"__init__.py", "kit"}
    assert not list(staged.rglob("*.typed"))


def test_every_user_may_read_it_because_containers_run_as_others(staged: Path) -> None:
    for path in (staged, *staged.rglob("*")):
        mode = path.stat().st_mode
        assert mode & stat.S_IROTH, path
        assert path.is_file() or mode & stat.S_IXOTH, path


def test_staging_again_changes_nothing(tmp_path: Path) -> None:
    first = kit.stage(tmp_path)
    before = first.stat()
    assert kit.stage(tmp_path) == first
    assert first.stat().st_ino == before.st_ino
    assert [path.name for path in tmp_path.iterdir()] == [first.name]


def test_many_stagings_at_once_give_one_directory(tmp_path: Path) -> None:
    with ThreadPoolExecutor(8) as pool:
        found = set(pool.map(lambda _: kit.stage(tmp_path / "deep" / "er"), range(16)))
    assert len(found) == 1
    assert [path.name for path in (tmp_path / "deep" / "er").iterdir()] == [found.pop().name]


@pytest.mark.parametrize("version", ["3.8", "3.9", "3.10", "3.11", "3.12", "3.13"])
def test_every_module_of_the_kit_imports_on_every_python(version: str, run_script: RunScript, staged: Path) -> None:
    modules = [
        ".".join(path.relative_to(staged).with_suffix("").parts)
        for path in sorted((staged / "mlgate_tracking").rglob("*.py"))
    ]
    child = run_script(
        f"""
        import importlib
        for name in {modules!r}:
            importlib.import_module(name.replace(".__init__", ""))
        print(importlib.import_module("sitecustomize").__file__)
        """,
        python=interpreter(version), env=STEP, options=("-W", "error"),
    )  # fmt: skip
    assert (child.exit_code, child.stderr) == (0, "")
    assert child.stdout.strip() == str(staged / "sitecustomize.py")


def test_the_environments_own_sitecustomize_runs_as_if_ours_were_not_there(
    run_script: RunScript, tmp_path: Path
) -> None:
    own = tmp_path / "own"
    own.mkdir()
    (own / "sitecustomize.py").write_text("import builtins\nbuiltins.greeting = 'from ' + __name__\n")
    child = run_script("import sitecustomize; print(greeting, sitecustomize.__file__)", env=STEP, path=(own,))
    assert child.stdout.split() == ["from", "sitecustomize", str(own / "sitecustomize.py")]
    assert child.stderr == ""


def test_a_broken_sitecustomize_of_the_environment_is_reported_by_python_as_ever(
    run_script: RunScript, tmp_path: Path
) -> None:
    own = tmp_path / "own"
    own.mkdir()
    (own / "sitecustomize.py").write_text("raise RuntimeError('on purpose')\n")
    child = run_script("print('still here')", env=STEP, path=(own,))
    assert child.exit_code == 0
    assert child.stdout == "still here\n"
    assert "RuntimeError: on purpose" in child.stderr


def test_a_kit_that_cannot_start_leaves_the_script_alone(tmp_path: Path, run_script: RunScript) -> None:
    broken = kit.stage(tmp_path / "broken")
    (broken / "mlgate_tracking" / "kit" / "hooks.py").write_text("raise SystemError('on purpose')\n")
    child = run_script("print('fine')", env={**STEP, "PYTHONPATH": str(broken)})
    assert (child.exit_code, child.stdout, child.stderr) == (0, "fine\n", "")


def test_outside_a_step_nothing_is_installed(run_script: RunScript) -> None:
    child = run_script(
        "import sys; print([type(f).__module__ for f in sys.meta_path if 'mlgate' in type(f).__module__])"
    )
    assert child.stdout == "[]\n"


def test_switching_on_imports_nothing_heavy(run_script: RunScript) -> None:
    heavy = {"json", "urllib", "threading", "http", "typing", "re", "logging"}
    source = f"import sys; print(sorted({heavy} & set(sys.modules)))"
    bare = run_script(source, options=("-E",))
    with_kit = run_script(source, env=STEP)
    assert with_kit.stdout == bare.stdout


def test_an_mlgate_installed_in_the_environment_stays_importable_behind_the_copy(staged: Path, tmp_path: Path) -> None:
    installed = Path(kit.__file__).parents[2]
    done = subprocess.run(
        [sys.executable, "-c", "import mlgate_tracking.entities, mlgate_tracking.kit as k; print(k.__file__)"],
        env={**os.environ, **STEP, "PYTHONPATH": f"{staged}{os.pathsep}{installed}"},
        cwd=tmp_path, capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.stdout.strip() == str(staged / "mlgate_tracking" / "kit" / "__init__.py"), done.stderr
