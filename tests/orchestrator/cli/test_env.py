from __future__ import annotations

import json
import os
import time
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result

from mlgate.cli.main import cli
from tests.support.wheels import index, wheel

__all__ = ["index"]


def mlgate(*arguments: str | Path) -> Result:
    return CliRunner().invoke(cli, ["env", *map(str, arguments)])


def data(*arguments: str | Path) -> Any:
    done = mlgate(*arguments, "--json")
    assert done.exception is None or done.exit_code == 1, done.output
    return json.loads(done.stdout)


@pytest.fixture
def project(tmp_path: Path, index: Path) -> Path:
    folder = tmp_path / "project"
    folder.mkdir()
    (folder / "MLproject").write_text(
        "name: x\npython_env: python_env.yaml\nentry_points:\n"
        "  main: {command: 'python main.py'}\n"
        "  other: {command: 'python main.py', environment: {python_env: other.yaml}}\n"
    )
    (folder / "python_env.yaml").write_text("dependencies:\n  - alpha==1.0\n")
    (folder / "other.yaml").write_text("dependencies:\n  - alpha==2.0\n")
    return folder


@pytest.fixture
def envs() -> Path:
    return Path(os.environ["MLGATE_HOME"]) / "envs"


def let_go() -> None:
    """Forget the leases of this process, as its end would."""
    from mlgate_projects.envs import cache

    for leases in cache._held.values():
        while leases:
            leases.pop().close()


def test_prewarm_builds_each_environment_of_a_project_once(project: Path) -> None:
    first, second = data("prewarm", project), data("prewarm", project)
    assert [row["state"] for row in first["environments"]] == ["built", "built"]
    assert [row["state"] for row in second["environments"]] == ["ready", "ready"]
    assert len({row["digest"] for row in first["environments"]}) == 2
    assert len(data("list")) == 2


def test_prewarm_builds_what_one_entry_point_needs(project: Path) -> None:
    (row,) = data("prewarm", project, "-e", "other")["environments"]
    shown = data("show", row["digest"][:10])
    assert shown["packages"]["alpha"] == "2.0"
    assert shown["location"] == row["location"]
    assert list(Path(row["location"]).glob("lib/python3*/site-packages/__pycache__/alpha*.pyc"))


def test_an_environment_is_shown_with_its_packages_and_its_lock(project: Path) -> None:
    digest = data("prewarm", project, "-e", "main")["environments"][0]["digest"]
    said = mlgate("show", digest[:8])
    assert "alpha\t1.0\n" in said.stdout
    assert "alpha==1.0 \\\n    --hash=sha256:" in mlgate("show", digest[:8], "--lock").stdout
    missing = mlgate("show", "ffff")
    assert missing.exit_code == 2
    assert "0 environments have a digest that begins with 'ffff'" in missing.output


def test_list_says_what_is_in_use_and_how_old_it_is(project: Path, envs: Path) -> None:
    assert "no environments" in mlgate("list").output
    data("prewarm", project, "-e", "main")
    (file,) = (envs / "virtualenv").glob("*.json")
    os.utime(file, (time.time() - 7300, time.time() - 7300))
    assert "\t2 h ago\tin use\t" in mlgate("list").stdout
    let_go()
    (row,) = data("list")
    assert row["in_use"] is False
    assert data("list", "--kind", "conda") == []


def test_verify_finds_what_was_changed_and_removes_it_on_request(project: Path) -> None:
    data("prewarm", project, "-e", "main")
    let_go()
    (whole,) = data("verify", "--deep")
    assert whole["problems"] == []
    assert mlgate("verify").exit_code == 0
    (module,) = Path(whole["location"]).glob("lib/python3*/site-packages/pip.py")
    module.unlink()
    broken = mlgate("verify")
    assert broken.exit_code == 1
    assert "pip.py is missing" in broken.stdout
    assert [row["removed"] for row in data("verify", "--remove")] == [True]
    assert data("prewarm", project, "-e", "main")["environments"][0]["state"] == "built"


def test_gc_takes_what_is_old_and_leaves_what_is_used(project: Path, envs: Path) -> None:
    rows = data("prewarm", project)["environments"]
    assert data("gc", "--all") == []
    let_go()
    assert data("gc") == []
    old = envs / "virtualenv" / f"{rows[0]['digest'][:20]}.json"
    os.utime(old, (1_000_000_000, 1_000_000_000))
    assert [row["digest"] for row in data("gc", "--unused-for", "7d", "--dry-run")] == [rows[0]["digest"]]
    assert len(data("list")) == 2
    assert [row["digest"] for row in data("gc")] == [rows[0]["digest"]]
    assert [row["digest"] for row in data("gc", "--max-size", "0")] == [rows[1]["digest"]]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("--unused-for", "soon"), "'soon' is not a length of time; write it as"),
        (("--max-size", "much"), "'much' is not a size"),
        (("--all", "--max-size", "1GB"), "--all takes everything"),
    ],
)
def test_gc_says_what_a_limit_looks_like(arguments: tuple[str, ...], message: str) -> None:
    refused = mlgate("gc", *arguments)
    assert refused.exit_code == 2
    assert message in refused.output


def test_a_lock_is_written_beside_the_file_and_replayed(project: Path, index: Path) -> None:
    (project / "python_env.yaml").write_text("dependencies: [alpha]\n")
    assert mlgate("lock", project, "-e", "main").stdout == f"{project}/python_env.lock\n"
    wheel(index, "alpha", "9.0")
    (row,) = data("prewarm", project, "-e", "main", "--locked")["environments"]
    assert data("show", row["digest"])["packages"]["alpha"] == "2.0"


def test_a_project_without_files_to_lock_is_told_so(tmp_path: Path) -> None:
    (tmp_path / "MLproject").write_text("name: x\ndocker_env: {image: y}\n")
    refused = mlgate("lock", tmp_path)
    assert refused.exit_code == 2
    assert "locks are for python_env and conda_env" in refused.output
