"""What MLflow's own loader takes, loads here and means the same: both are fed the same files."""

from __future__ import annotations

import itertools
import json
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from mlgate_projects.command import find_entry_point, render
from mlgate_projects.errors import InvalidProject, ProjectError
from mlgate_projects.parameters import ResolvedParameters
from mlgate_projects.parse import load_project
from mlgate_projects.spec import ProjectSpec
from tests.support.environments import environment

pytestmark = pytest.mark.mlflow

SAMPLES = Path(__file__).parents[1] / "samples"
EXAMPLES = Path(__file__).parents[2] / "examples"

ASK = """
import json, sys
from mlflow.projects._project_spec import load_project
def text(value):
    return None if value is None else str(value)

print("ready", flush=True)
for line in sys.stdin:
    directory, values = json.loads(line)
    try:
        project = load_project(directory)
    except Exception as error:
        print(json.dumps({"error": repr(error)}), flush=True)
        continue
    entry_points = {}
    for name, entry in project._entry_points.items():
        parameters = [[str(p.name), str(p.type), text(p.default)] for p in entry.parameters.values()]
        try:
            command = entry.compute_command(values, None)
        except Exception as error:
            command = None
        entry_points[str(name)] = {"parameters": parameters, "command": command}
    answer = {"kind": project.env_type, "name": text(project.name), "entry_points": entry_points}
    print(json.dumps(answer), flush=True)
"""

Ask = Callable[[Path, dict[str, str]], dict[str, Any]]


@pytest.fixture(scope="module")
def mlflow_loader() -> Iterator[Ask]:
    """MLflow's loader in a process of its own: a directory in, what it made of it out."""
    python = environment("mlflow-projects", ["mlflow-skinny>=3.1,<4"])
    with subprocess.Popen(
        [python, "-W", "ignore", "-c", ASK], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as process:
        assert process.stdin is not None
        assert process.stdout is not None
        assert process.stdout.readline() == "ready\n"

        def ask(directory: Path, values: dict[str, str]) -> dict[str, Any]:
            process.stdin.write(json.dumps([str(directory), values]) + "\n")
            process.stdin.flush()
            answer: dict[str, Any] = json.loads(process.stdout.readline())
            return answer

        yield ask
        process.stdin.close()


def compare(ask: Ask, directory: Path, values: dict[str, str]) -> bool:
    """Whether MLflow takes the project; if so, ours must mean the same."""
    theirs = ask(directory, values)
    if "error" in theirs:
        return False
    ours = load_project(directory, read_environment=False)
    if theirs["kind"] is not None:  # None for Databricks jobs
        kinds = {"virtualenv": "python_env", "conda": "conda_env", "docker": "docker_env"}
        assert kinds[ours.environment.kind] == theirs["kind"]
    assert ours.name == theirs["name"]
    assert list(ours.entry_points) == list(theirs["entry_points"])
    for name, entry in theirs["entry_points"].items():
        ours_too = ours.entry_points[name]
        assert [[p.name, p.type, p.default] for p in ours_too.parameters] == entry["parameters"]
        command = our_command(ours, name, values)
        if entry["command"] is not None:
            assert command == entry["command"]
    return True


def our_command(spec: ProjectSpec, name: str, values: dict[str, str]) -> str | None:
    entry_point = find_entry_point(spec, name)
    declared = {p.name: values.get(p.name, p.default) for p in entry_point.parameters}
    given_ = {name: value for name, value in declared.items() if value is not None}
    if len(given_) < len(declared):
        return None
    extras = {name: value for name, value in values.items() if name not in declared}
    try:
        return render(entry_point, ResolvedParameters(declared=given_, extras=extras))
    except ProjectError:
        return None


@pytest.mark.parametrize(
    "directory", [*(SAMPLES / "odd").iterdir(), *(SAMPLES / "bad").iterdir()], ids=lambda path: path.name
)
def test_samples_mean_the_same(mlflow_loader: Ask, directory: Path) -> None:
    taken = compare(mlflow_loader, directory, {"alpha": "it's", "gamma": "1", "extra key": "$(x)"})
    if directory.parent.name == "odd":
        assert taken
    elif not taken:
        with pytest.raises(InvalidProject):
            load_project(directory)


@pytest.mark.parametrize(
    "directory",
    [*(SAMPLES / "fine").iterdir(), *(SAMPLES / "bad_pipelines").iterdir(), *EXAMPLES.iterdir()],
    ids=lambda path: path.name,
)
def test_files_with_pipelines_still_run_under_mlflow(mlflow_loader: Ask, directory: Path) -> None:
    assert compare(mlflow_loader, directory, {"alpha": "1"})


def test_quoting_is_the_same(mlflow_loader: Ask, tmp_path: Path) -> None:
    (tmp_path / "MLproject").write_text(
        "entry_points: {main: {parameters: {a: x}, command: 'p {a} {{}} {a!r:>20} {a:.3}'}}"
    )
    for value in ["", "a b", "it's", '"', "$(ls)", "a\nb", "é", "-x", "~", "\\", "*", "{a}"]:
        assert compare(mlflow_loader, tmp_path, {"a": value, "key": value, "--odd key": value})


texts = ["", "float", "int", "path", "yes", "1e3", "0.10", "2024-01-31", "12:30", "a b", "{alpha}", "{{}}", "p {beta}"]
numbers = st.integers(-9, 99) | st.floats(allow_nan=False, width=16)
scalars = st.none() | st.booleans() | numbers | st.sampled_from(texts)
values = st.recursive(
    scalars, lambda inner: st.lists(inner, max_size=2) | st.dictionaries(scalars, inner, max_size=2), max_leaves=4
)
parameter = st.sampled_from(["float", "int", "string", "banana", "uri"]) | st.fixed_dictionaries(
    {}, optional={"type": scalars, "default": values, "help": values}
)
names = st.sampled_from(["alpha", "beta", "a-b", "a.b", "x y", 7, True, None, 1.5])
entry = st.fixed_dictionaries(
    {},
    optional={
        "parameters": st.dictionaries(names, parameter | values, max_size=3) | values,
        "command": values,
        "extra": values,
    },
)
docker = st.fixed_dictionaries({}, optional={"image": values, "volumes": values, "environment": values})
document = st.fixed_dictionaries(
    {},
    optional={
        "name": values,
        "entry_points": st.dictionaries(names, entry | values, max_size=3) | values,
        "python_env": scalars,
        "conda_env": scalars,
        "docker_env": docker | scalars,
        "databricks_spark_job": values,
        "other": values,
    },
) | values  # fmt: skip


@given(data=document, directory_number=st.just(itertools.count()))
@settings(max_examples=400, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_generated_files_mean_the_same(
    mlflow_loader: Ask, tmp_path: Path, data: Any, directory_number: Iterator[int]
) -> None:
    directory = tmp_path / str(next(directory_number))
    directory.mkdir(exist_ok=True)
    (directory / "MLproject").write_text(yaml.safe_dump(data, allow_unicode=True))
    compare(mlflow_loader, directory, {"alpha": "it's"})
