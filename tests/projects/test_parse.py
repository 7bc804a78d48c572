"""MLproject files in; specs, warnings, or every mistake at once out."""

from __future__ import annotations

import contextlib
from itertools import pairwise
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from mlgate_projects.errors import InvalidProject
from mlgate_projects.parse import load_project, strict, virtualenv_from_conda
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
    assert "'deep' is not an int" in text
    assert "'banana' is not a type of MLproject (values of it are not checked)" in text
    assert "MLproject:9: entry_points.main.command: given twice, first in line 8" in text
    assert "{missing} is not a declared parameter (declared: depth, kind)" in text
    with pytest.raises(InvalidProject):
        strict(spec)


@pytest.mark.parametrize("name", ["str", "text", "double", "number", "integer", "long", "boolean"])
def test_usual_other_names_of_types_are_told_to_the_strict_only(tmp_path: Path, name: str) -> None:
    content = f"entry_points: {{main: {{parameters: {{a: {name}, b: {{type: {name}}}}}, command: 'ls {{a}} {{b}}'}}}}"
    spec = load_project(project_dir(tmp_path, {"MLproject": content}))
    assert spec.warnings == ()
    with pytest.raises(InvalidProject) as refused:
        strict(spec)
    assert str(refused.value).count(f"'{name}' is not a type of MLproject (read as ") == 2


def test_yaml_that_does_not_parse_is_one_line(tmp_path: Path) -> None:
    [problem] = problems(project_dir(tmp_path, {"MLproject": "name: x\nentry_points: [\n"}))
    assert problem.startswith("MLproject:3: not valid YAML: ")


SAMPLES = Path(__file__).parents[1] / "samples"
BAD = sorted((SAMPLES / "bad").iterdir())
ODD = sorted((SAMPLES / "odd").iterdir())


@pytest.mark.parametrize("directory", BAD, ids=lambda path: path.name)
def test_bad_samples_are_refused_with_every_mistake(directory: Path) -> None:
    assert problems(directory) == (directory / "expected.txt").read_text().splitlines()


@pytest.mark.parametrize("directory", ODD, ids=lambda path: path.name)
def test_odd_samples_load_with_warnings(directory: Path) -> None:
    spec = load_project(directory)
    assert [str(warning) for warning in spec.warnings] == (directory / "expected.txt").read_text().splitlines()
    with pytest.raises(InvalidProject):
        strict(spec)


def test_defaults_reach_the_command_as_yaml_reads_them() -> None:
    main = load_project(SAMPLES / "odd" / "defaults_of_another_type").entry_points["main"]
    defaults = [parameter.default for parameter in main.parameters]
    assert defaults == ["many", "[1, 2]", "perhaps", "1.5", "2024-01-31", "1e-3", "True"]


def test_merge_keys_give_defaults_that_own_keys_override() -> None:
    main = load_project(SAMPLES / "odd" / "duplicates_and_merges").entry_points["main"]
    assert {parameter.name: parameter.default for parameter in main.parameters} == {"alpha": "0.1", "beta": "2"}


def test_an_entry_point_may_have_its_own_environment(tmp_path: Path) -> None:
    content = """
        python_env: train.yaml
        entry_points:
          main: {command: ls}
          report: {command: ls, environment: {python_env: report.yaml}, autolog: false}
          inside: {command: ls, environment: {docker_env: {dockerfile: Dockerfile}}}
        """
    files = {"train.yaml": "dependencies: [a]", "report.yaml": "dependencies: [b]", "Dockerfile": "FROM scratch"}
    spec = load_project(project_dir(tmp_path, {"MLproject": content, **files}))
    assert spec.entry_points["main"].environment is None
    assert spec.entry_points["main"].autolog
    assert spec.entry_points["report"].environment == VirtualenvSpec("report.yaml", dependencies=("b",))
    assert not spec.entry_points["report"].autolog
    assert spec.entry_points["inside"].environment == DockerSpec("", dockerfile="Dockerfile")
    assert spec.warnings == ()


def test_environment_files_are_not_read_for_callers_that_bring_their_own(tmp_path: Path) -> None:
    project_dir(tmp_path, {"MLproject": "conda_env: conda.yaml", "conda.yaml": "- {{ not yaml"})
    assert problems(tmp_path)
    assert load_project(tmp_path, read_environment=False).environment == CondaSpec("conda.yaml")


def test_pipelines_are_kept_as_data_with_the_place_of_every_key(tmp_path: Path) -> None:
    content = """
        entry_points: {main: {command: ls}}
        pipelines:
          retrain:
            steps:
              train: {needs: [prepare], matrix: {depth: [3, 5]}}
        """
    raw = load_project(project_dir(tmp_path, {"MLproject": content})).pipelines["retrain"]
    assert raw.data == {"steps": {"train": {"needs": ["prepare"], "matrix": {"depth": [3, 5]}}}}
    assert raw.line == 3
    assert raw.lines["steps.train"] == (5, 7)
    assert raw.lines["steps.train.needs.0"] == (5, 23)
    assert raw.lines["steps.train.matrix.depth.1"] == (5, 53)


def test_a_conda_file_as_a_virtualenv() -> None:
    spec = CondaSpec("conda.yaml", dependencies=("conda-forge::python=3.10", "pip>=23", "numpy=1.26"), pip=("six",))
    assert virtualenv_from_conda(spec) == (
        VirtualenvSpec("conda.yaml", "3.10", ("pip>=23",), ("six",)),
        ("numpy=1.26",),
    )


@pytest.mark.parametrize(
    "bomb",
    [
        "a: &a [x,x,x,x,x,x,x,x,x,x]\n"
        + "".join(f"{n}: &{n} [{','.join(['*' + p] * 10)}]\n" for p, n in pairwise("abcdefgh")),
        "entry_points: &e\n  main: {command: ls, parameters: {x: {default: *e}}}\n",
        "[" * 50_000,
        "x: " + "{a: " * 5_000,
        "- " * 50_000 + "x",
        "? " * 50_000 + "x",
        "\n".join(" " * depth + "a:" for depth in range(1_200)),
    ],
    ids=["aliases", "recursive", "deep", "deep-mappings", "dashes", "questions", "indentation"],
)
def test_hostile_yaml_neither_hangs_nor_crashes(tmp_path: Path, bomb: str) -> None:
    with contextlib.suppress(InvalidProject):
        load_project(project_dir(tmp_path, {"MLproject": bomb}))


@given(st.binary(max_size=200) | st.text(max_size=200).map(str.encode))
@settings(max_examples=200, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_any_bytes_load_or_are_refused(tmp_path: Path, content: bytes) -> None:
    with contextlib.suppress(InvalidProject):
        load_project(project_dir(tmp_path, {"MLproject": content}))
