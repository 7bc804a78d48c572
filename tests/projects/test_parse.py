"""MLproject files in; specs, warnings, or every mistake at once out."""

from __future__ import annotations

from pathlib import Path

import pytest

from mlgate_projects.errors import InvalidProject
from mlgate_projects.parse import load_project, strict
from mlgate_projects.spec import CondaSpec, DockerSpec, Parameter, VirtualenvSpec
from mlgate_projects.testing import project_dir


def problems(directory: Path) -> list[str]:
    with pytest.raises(InvalidProject) as caught:
        load_project(directory)
    return [str(problem) for problem in caught.value.problems]


def test_reads_a_whole_project(tmp_path: Path) -> None:
    spec = load_project(
        project_dir(
            tmp_path,
            {
                "MLproject": """
                    name: wine
                    python_env: python_env.yaml
                    entry_points:
                      main:
                        parameters:
                          alpha: float
                          ratio: {type: float, default: 0.1}
                          data: {type: path, default: data.csv}
                        command: "python train.py {alpha} {ratio} {data}"
                      check: {command: ls}
                    """,
                "python_env.yaml": """
                    python: "3.10.0"
                    build_dependencies: [pip]
                    dependencies: ["scikit-learn==1.3.0", "-r requirements.txt"]
                    """,
            },
        )
    )
    assert spec.name == "wine"
    assert spec.file == "MLproject"
    assert list(spec.entry_points) == ["main", "check"]
    main = spec.entry_points["main"]
    assert main.parameters == (
        Parameter("alpha", "float", None, 6),
        Parameter("ratio", "float", "0.1", 7),
        Parameter("data", "path", "data.csv", 8),
    )
    assert (main.line, main.command_line) == (4, 9)
    assert spec.environment == VirtualenvSpec(
        "python_env.yaml", "3.10.0", ("pip",), ("scikit-learn==1.3.0", "-r requirements.txt")
    )
    assert strict(spec) is spec


def test_a_directory_without_a_file_is_a_project(tmp_path: Path) -> None:
    spec = load_project(project_dir(tmp_path, {"train.py": ""}))
    assert (spec.file, spec.entry_points, spec.environment) == (None, {}, VirtualenvSpec())


def test_the_file_name_may_be_in_any_case(tmp_path: Path) -> None:
    assert load_project(project_dir(tmp_path, {"mlProject": "name: x"})).name == "x"
    both = load_project(project_dir(tmp_path, {"MLproject": "name: y"}))
    assert both.name == "y"
    assert "mlProject: not read, because MLproject is there too" in str(both.warnings[0])


@pytest.mark.parametrize("content", ["", "# nothing\n", "---\n", "entry_points:\n", "pipelines:\n"])
def test_an_empty_file_is_an_empty_project(tmp_path: Path, content: str) -> None:
    assert load_project(project_dir(tmp_path, {"MLproject": content})).entry_points == {}


def test_default_environment_files_are_found(tmp_path: Path) -> None:
    project_dir(tmp_path, {"MLproject": "name: x", "conda.yaml": "dependencies: [python=3.10, pip, {pip: [six]}]"})
    expected = CondaSpec("conda.yaml", dependencies=("python=3.10", "pip"), pip=("six",))
    assert load_project(tmp_path).environment == expected
    project_dir(tmp_path, {"python_env.yaml": "dependencies: [six]"})
    assert load_project(tmp_path).environment == VirtualenvSpec("python_env.yaml", dependencies=("six",))


def test_docker_environment_in_full(tmp_path: Path) -> None:
    content = """
        docker_env:
          image: registry.example:5000/team/base:1.0
          volumes: ["/data:/data:ro"]
          environment: [["MODE", "fast"], "TOKEN"]
        entry_points: {main: {command: ls}}
        """
    assert load_project(project_dir(tmp_path, {"MLproject": content})).environment == DockerSpec(
        "registry.example:5000/team/base:1.0", ("/data:/data:ro",), (("MODE", "fast"), ("TOKEN", None))
    )


def test_every_mistake_is_reported_at_once_with_its_line(tmp_path: Path) -> None:
    content = """
        python_env: missing.yaml
        docker_env: {image: x}
        entry_points:
          main:
            parameters: [alpha]
            command: ls
          other: ls
        """
    assert problems(project_dir(tmp_path, {"MLproject": content})) == [
        "MLproject:2: docker_env: python_env (line 1) and docker_env (line 2) exclude each other; keep one",
        "MLproject:5: entry_points.main.parameters: must be a mapping of names, not a list",
        "MLproject:7: entry_points.other: must hold a command and parameters, not the text 'ls'",
    ]


def test_oddities_that_mlflow_takes_are_warnings(tmp_path: Path) -> None:
    content = """
        owner: me
        entry_points:
          main:
            parameters:
              depth: {type: integer, default: deep}
              kind: banana
            comand: ls
            command: ls {other}
            command: ls {missing}
        """
    spec = load_project(project_dir(tmp_path, {"MLproject": content}))
    text = "\n".join(map(str, spec.warnings))
    assert "MLproject:1: owner: unknown key, ignored; known are name" in text
    assert "MLproject:7: entry_points.main.comand: unknown key, ignored; did you mean command?" in text
    assert "'integer' is not a type of MLproject (read as int)" in text
    assert "'deep' is not an int" in text
    assert "'banana' is not a type of MLproject (values of it are not checked)" in text
    assert "MLproject:9: entry_points.main.command: given twice, first in line 8" in text
    assert "{missing} is not a declared parameter (declared: depth, kind)" in text
    with pytest.raises(InvalidProject):
        strict(spec)


def test_yaml_that_does_not_parse_is_one_line(tmp_path: Path) -> None:
    [problem] = problems(project_dir(tmp_path, {"MLproject": "name: x\nentry_points: [\n"}))
    assert problem.startswith("MLproject:3: not valid YAML: ")
