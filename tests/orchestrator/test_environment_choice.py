from __future__ import annotations

from pathlib import Path

import pytest

from mlgate.errors import UsageError
from mlgate.resolve import choose_environment
from mlgate.step import Engine, Step
from mlgate_projects.parse import load_project
from mlgate_projects.spec import CondaSpec, EnvSpec, ExternalSpec, SystemSpec, VirtualenvSpec


def chosen(folder: Path, manager: str | None, entry_point: str = "main", **options: object) -> EnvSpec:
    project = load_project(folder)
    step = Step(str(folder), Engine("local", "1"), env_manager=manager, env_options=options)
    return choose_environment(step, project, project.entry_points[entry_point])


@pytest.fixture
def project(tmp_path: Path) -> Path:
    (tmp_path / "MLproject").write_text(
        "conda_env: conda.yaml\nentry_points:\n  main: {command: x}\n"
        "  other: {command: x, environment: {python_env: python_env.yaml}}\n"
    )
    (tmp_path / "conda.yaml").write_text("dependencies: [python=3.11, pip, {pip: [six]}]\n")
    (tmp_path / "python_env.yaml").write_text("dependencies: [tomli]\n")
    return tmp_path


def test_an_entry_points_own_environment_goes_before_the_projects(project: Path) -> None:
    assert isinstance(chosen(project, None), CondaSpec)
    other = chosen(project, None, "other")
    assert isinstance(other, VirtualenvSpec)
    assert other.dependencies == ("tomli",)


def test_system_and_external_need_no_declaration(project: Path) -> None:
    assert chosen(project, "local") == chosen(project, "system") == SystemSpec()
    assert chosen(project, "external", python="/opt/python") == ExternalSpec(Path("/opt/python"))
    with pytest.raises(UsageError, match=r"no interpreter is named; add --python"):
        chosen(project, "external")


def test_a_conda_file_that_only_pip_is_needed_for_makes_a_virtualenv(project: Path) -> None:
    spec = chosen(project, "virtualenv")
    assert isinstance(spec, VirtualenvSpec)
    assert (spec.python, spec.dependencies) == ("3.11", ("six",))


def test_what_only_conda_can_install_is_named(project: Path) -> None:
    (project / "conda.yaml").write_text("dependencies: [python=3.11, r-base, libblas=3]\n")
    with pytest.raises(UsageError, match=r"conda\.yaml wants r-base, libblas=3, which only conda can install"):
        chosen(project, "virtualenv")


def test_a_manager_that_does_not_fit_is_refused(project: Path) -> None:
    with pytest.raises(UsageError, match=r"the project declares a conda environment in conda\.yaml"):
        chosen(project, "docker")
    with pytest.raises(UsageError, match="'poetry' is not known; choose one of local, system"):
        chosen(project, "poetry")
