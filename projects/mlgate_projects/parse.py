"""MLproject files and the environment files that they name, in; `ProjectSpec`, or every mistake at once, out.

What MLflow's own loader takes, loads here: what is odd about it becomes a warning (`strict` turns warnings into
errors). The keys that only mlgate knows (`pipelines`, and in entry points `environment` and `autolog`) are checked.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any, NoReturn

from mlgate_projects.document import Document, read_document
from mlgate_projects.errors import InvalidProject, Problem
from mlgate_projects.parameters import canonical_type, is_standard_type, mismatch
from mlgate_projects.spec import (
    CondaSpec,
    DockerSpec,
    EntryPoint,
    EnvSpec,
    Parameter,
    ProjectSpec,
    RawPipeline,
    VirtualenvSpec,
)
from mlgate_projects.template import template_mistakes

MLPROJECT = "MLproject"
PYTHON_ENV = "python_env.yaml"
CONDA_ENV = "conda.yaml"

_ENVIRONMENTS = ("python_env", "conda_env", "docker_env")
PROJECT_KEYS = ("name", *_ENVIRONMENTS, "entry_points", "pipelines")
ENTRY_POINT_KEYS = ("parameters", "command", "environment", "autolog")
_PARAMETER_KEYS = ("type", "default")
DOCKER_KEYS = ("image", "volumes", "environment", "dockerfile")
_PYTHON_ENV_KEYS = ("python", "build_dependencies", "dependencies")
_CONDA_KEYS = ("name", "channels", "dependencies", "variables", "prefix")

_KeyPath = tuple[object, ...]


def load_project(directory: Path, *, read_environment: bool = True) -> ProjectSpec:
    """Read the project in `directory`; one without an MLproject file has only its scripts as entry points.

    Args:
        read_environment: False leaves the environment files unread (they must exist all the same): for callers that
            run the project in an environment of their own.

    Raises:
        InvalidProject: with every mistake of the MLproject file and of the environment files that it names.
    """
    name, others = _find_file(directory)
    reader = _Reader(directory, name or "", read_environment)
    if name is None:
        return reader.without_file()
    document, duplicates = read_document(directory / name, name)
    reader.warnings += duplicates
    reader.warnings += [Problem(other, f"not read, because {name} is there too; remove one") for other in others]
    return reader.project(document)


def load_environment(directory: Path, declaration: Mapping[str, Any]) -> EnvSpec:
    """The environment that `{python_env: FILE}`, `{conda_env: FILE}` or `{docker_env: {...}}` declares.

    Raises:
        InvalidProject: with every mistake of the declaration and of the file that it names.
    """
    reader = _Reader(directory, "", read_environment=True)
    environment = reader.environment(Document("", dict(declaration), None), (), declaration)
    reader.raise_if_wrong()
    return environment or VirtualenvSpec()


def strict(spec: ProjectSpec) -> ProjectSpec:
    """The same spec when it has neither warnings nor notices.

    Raises:
        InvalidProject: with both.
    """
    if odd := [*spec.warnings, *spec.notices]:
        raise InvalidProject(_in_order(odd))
    return spec


def _find_file(directory: Path) -> tuple[str | None, list[str]]:
    """The MLproject file in whatever case it is written, the usual one first; and others that also match."""
    if not directory.is_dir():
        what = "is a file, not a project directory" if directory.exists() else "no such directory"
        raise InvalidProject([Problem(str(directory), f"{what}; pass a directory with an MLproject file or a script")])
    names = [path.name for path in directory.iterdir() if path.name.lower() == "mlproject"]
    names.sort(key=lambda name: (name != MLPROJECT, name))
    return (names[0], names[1:]) if names else (None, [])


class _Reader:
    """Reads one project, collecting what is wrong (`problems`) and what is only odd (`warnings`, `notices`)."""

    def __init__(self, directory: Path, file: str, read_environment: bool) -> None:
        self.directory = directory
        self.file = file
        self.read_environment = read_environment
        self.problems: list[Problem] = []
        self.warnings: list[Problem] = []
        self.notices: list[Problem] = []
        self._environment_files: dict[tuple[str, str], EnvSpec] = {}

    # --- the project --------------------------------------------------------------------------------------------

    def without_file(self) -> ProjectSpec:
        environment = self._default_environment()
        self.raise_if_wrong()
        return ProjectSpec(directory=self.directory, environment=environment, warnings=tuple(self.warnings))

    def project(self, document: Document) -> ProjectSpec:
        data = {} if document.data is None else document.data
        if not isinstance(data, dict):
            self._fail(document, (), f"must hold keys such as entry_points, not {_kind(data)}")
        self._unknown_keys(document, (), data, PROJECT_KEYS)
        if "databricks_spark_job" in data:
            self._warn(document, ("databricks_spark_job",), "runs on Databricks only and is ignored here")
        name = self._text(document, ("name",), data.get("name"))
        environment = self.environment(document, (), data) or self._default_environment()
        entry_points = {
            str(key): self._entry_point(document, key, value)
            for key, value in self._mapping(document, ("entry_points",), data.get("entry_points")).items()
        }
        pipelines = {
            str(key): self._pipeline(document, key, value)
            for key, value in self._mapping(document, ("pipelines",), data.get("pipelines")).items()
        }
        self.raise_if_wrong()
        return ProjectSpec(
            directory=self.directory,
            name=name,
            file=self.file,
            entry_points=entry_points,
            environment=environment,
            pipelines=pipelines,
            warnings=_in_order(self.warnings),
            notices=_in_order(self.notices),
        )

    def _entry_point(self, document: Document, key: object, data: object) -> EntryPoint:
        path: _KeyPath = ("entry_points", key)
        name = self._key(document, path, key)
        line, _ = document.place(*path)
        if not isinstance(data, dict):
            self._error(document, path, f"must hold a command and parameters, not {_kind(data)}")
            return EntryPoint(name=name, line=line)
        self._unknown_keys(document, path, data, ENTRY_POINT_KEYS)
        parameters = tuple(
            self._parameter(document, (*path, "parameters", parameter), parameter, value)
            for parameter, value in self._mapping(document, (*path, "parameters"), data.get("parameters")).items()
        )
        entry_point = EntryPoint(
            name=name,
            command=self._command(document, (*path, "command"), data.get("command")),
            parameters=parameters,
            environment=self._entry_point_environment(document, (*path, "environment"), data.get("environment")),
            autolog=self._flag(document, (*path, "autolog"), data.get("autolog", True)),
            line=line,
            command_line=document.place(*path, "command", value=True)[0] if data.get("command") is not None else 0,
        )
        for mistake in template_mistakes(entry_point):
            self._warn(document, (*path, "command"), mistake)
        return entry_point

    def _command(self, document: Document, path: _KeyPath, value: object) -> str | None:
        if value is None:
            self._warn(document, path, 'has no command; add one, such as: command: "python train.py"')
            return None
        if isinstance(value, list | dict):
            self._warn(document, path, f"must be one text, not {_kind(value)}; the entry point cannot run")
            return None
        return self._text(document, path, value)

    def _parameter(self, document: Document, path: _KeyPath, key: object, data: object) -> Parameter:
        name = self._key(document, path, key)
        line, _ = document.place(*path)
        if isinstance(data, str):
            self._type(document, path, data)
            return Parameter(name=name, type=data, line=line)
        if not isinstance(data, dict):
            self._error(
                document, path, f"must be a type such as float, or {{type: float, default: 0.1}}, not {_kind(data)}"
            )
            return Parameter(name=name, line=line)
        self._unknown_keys(document, path, data, _PARAMETER_KEYS)
        written = data.get("type", "string")
        type_name = written if isinstance(written, str) else str(written)
        self._type(document, (*path, "type"), written)
        default = data.get("default")
        if default is None:
            return Parameter(name=name, type=type_name, line=line)
        text = str(default)
        if isinstance(default, list | dict | set | bytes):
            self._warn(document, (*path, "default"), f"is {_kind(default)}, which reaches the command as {text[:60]!r}")
        elif why := mismatch(type_name, text):
            self._warn(document, (*path, "default"), why)
        return Parameter(name=name, type=type_name, default=text, line=line)

    def _type(self, document: Document, path: _KeyPath, value: object) -> None:
        if isinstance(value, str) and is_standard_type(value):
            return
        meaning = canonical_type(value) if isinstance(value, str) else None
        read_as = f"read as {meaning}" if meaning else "values of it are not checked"
        message = f"{value!r} is not a type of MLproject ({read_as}); use string, float, int, bool, path or uri"
        # A usual other name leaves no doubt, so a run does not repeat it for every parameter.
        (self.notices if meaning else self.warnings).append(document.problem(path, message))

    def _pipeline(self, document: Document, key: object, data: object) -> RawPipeline:
        path: _KeyPath = ("pipelines", key)
        name = self._key(document, path, key)
        if not isinstance(data, dict):
            self._error(document, path, f"must hold steps, not {_kind(data)}")
            data = {}
        return RawPipeline(name=name, data=data, lines=document.places(*path), line=document.place(*path)[0])

    # --- environments -------------------------------------------------------------------------------------------

    def environment(self, document: Document, path: _KeyPath, data: Mapping[Any, Any]) -> EnvSpec | None:
        given = [kind for kind in _ENVIRONMENTS if kind in data]
        if len(given) > 1:
            listed = " and ".join(f"{kind} (line {document.place(*path, kind)[0]})" for kind in given)
            self._error(document, (*path, given[1]), f"{listed} exclude each other; keep one")
            return None
        if not given or not data[given[0]]:
            return None
        kind, value = given[0], data[given[0]]
        if kind == "docker_env":
            return self._docker(document, (*path, kind), value)
        if not isinstance(value, str):
            self._error(document, (*path, kind), f"must name a file, not {_kind(value)}")
            return None
        if not (self.directory / value).exists():
            known = ", ".join(sorted(found.name for found in self.directory.glob("*.y*ml"))) or "none"
            self._error(document, (*path, kind), f"no such file: {value!r}; YAML files in the project: {known}")
            return None
        return self._environment_file(kind, value)

    def _entry_point_environment(self, document: Document, path: _KeyPath, data: object) -> EnvSpec | None:
        if data is None:
            return None
        if not isinstance(data, dict) or not any(kind in data for kind in _ENVIRONMENTS):
            self._error(document, path, f"must hold one of {', '.join(_ENVIRONMENTS)}")
            return None
        self._unknown_keys(document, path, data, _ENVIRONMENTS)
        return self.environment(document, path, data)

    def _default_environment(self) -> EnvSpec:
        for kind, name in (("python_env", PYTHON_ENV), ("conda_env", CONDA_ENV)):
            if (self.directory / name).exists():
                return self._environment_file(kind, name) or VirtualenvSpec()
        return VirtualenvSpec()

    def _environment_file(self, kind: str, name: str) -> EnvSpec | None:
        if not self.read_environment:
            return VirtualenvSpec(file=name) if kind == "python_env" else CondaSpec(file=name)
        if (kind, name) not in self._environment_files:
            read = self._python_env if kind == "python_env" else self._conda_env
            try:
                document, duplicates = read_document(self.directory / name, name)
            except InvalidProject as error:
                self.problems += error.problems
                return None
            self.warnings += duplicates
            data = {} if document.data is None else document.data
            if not isinstance(data, dict):
                self._error(document, (), f"must hold keys such as dependencies, not {_kind(data)}")
                return None
            self._environment_files[kind, name] = read(document, data)
        return self._environment_files[kind, name]

    def _python_env(self, document: Document, data: Mapping[Any, Any]) -> VirtualenvSpec:
        self._unknown_keys(document, (), data, _PYTHON_ENV_KEYS)
        python = data.get("python")
        if python is not None and not isinstance(python, str):
            # YAML reads 3.10 as the number 3.1, so take what stands in the file.
            python = document.text("python")
            if python is None:
                self._error(document, ("python",), "must be a version such as '3.11'")
            else:
                self._warn(
                    document, ("python",), f"{python} is a number to YAML (and 3.10 becomes 3.1); write '{python}'"
                )
        return VirtualenvSpec(
            file=document.name,
            python=python,
            build_dependencies=self._texts(document, ("build_dependencies",), data.get("build_dependencies")),
            dependencies=self._texts(document, ("dependencies",), data.get("dependencies")),
        )

    def _conda_env(self, document: Document, data: Mapping[Any, Any]) -> CondaSpec:
        self._unknown_keys(document, (), data, _CONDA_KEYS)
        dependencies: list[str] = []
        pip: list[str] = []
        listed = data.get("dependencies")
        for index, item in enumerate(self._list(document, ("dependencies",), listed)):
            path: _KeyPath = ("dependencies", index)
            if isinstance(item, dict) and set(item) == {"pip"}:
                pip += self._texts(document, (*path, "pip"), item["pip"])
            elif isinstance(item, dict):
                self._error(document, path, "must be a package such as numpy=1.26, or a pip: section")
            elif isinstance(item, str):
                dependencies.append(item)
            else:
                self._error(document, path, f"must be text, not {_kind(item)}; put it in quotes")
        variables = self._mapping(document, ("variables",), data.get("variables"))
        return CondaSpec(
            file=document.name,
            name=self._text(document, ("name",), data.get("name")),
            channels=self._texts(document, ("channels",), data.get("channels")),
            dependencies=tuple(dependencies),
            pip=tuple(pip),
            variables=tuple((str(key), str(value)) for key, value in variables.items()),
        )

    def _docker(self, document: Document, path: _KeyPath, data: object) -> DockerSpec | None:
        if not isinstance(data, dict):
            self._error(document, path, f"must hold an image, such as {{image: python:3.11}}, not {_kind(data)}")
            return None
        self._unknown_keys(document, path, data, DOCKER_KEYS)
        dockerfile = self._text(document, (*path, "dockerfile"), data.get("dockerfile"))
        if dockerfile is not None and not (self.directory / dockerfile).is_file():
            self._error(document, (*path, "dockerfile"), f"no such file: {dockerfile!r}")
        image = self._text(document, (*path, "image"), data.get("image") or None)
        if image is None and dockerfile is None:
            self._error(
                document, path, "needs an image, such as {image: python:3.11}, or a dockerfile to build one from"
            )
        volumes = data.get("volumes") or []
        if not isinstance(volumes, list) or not all(isinstance(volume, str) for volume in volumes):
            self._error(document, (*path, "volumes"), 'must be a list of texts such as "/data:/data:ro"')
            volumes = []
        return DockerSpec(
            image=image or "",
            volumes=tuple(volumes),
            environment=self._docker_environment(document, (*path, "environment"), data.get("environment") or []),
            dockerfile=dockerfile,
        )

    def _docker_environment(
        self, document: Document, path: _KeyPath, data: object
    ) -> tuple[tuple[str, str | None], ...]:
        wanted = 'must be a list of names to copy from here and of pairs to set, such as ["HOME", ["MODE", "fast"]]'
        if not isinstance(data, list) or not all(isinstance(item, str | list) for item in data):
            self._error(document, path, wanted)
            return ()
        pairs: list[tuple[str, str | None]] = []
        for index, item in enumerate(data):
            if isinstance(item, str):
                pairs.append((item, None))
            elif len(item) == 2:
                pairs.append((str(item[0]), "" if item[1] is None else str(item[1])))
            else:
                self._warn(
                    document,
                    (*path, index),
                    f"{item!r} is ignored; the item must be a name to copy from here, or a pair to set",
                )
        return tuple(pairs)

    # --- values -------------------------------------------------------------------------------------------------

    def _key(self, document: Document, path: _KeyPath, key: object) -> str:
        if not isinstance(key, str):
            self._warn(document, path, f"the name is {_kind(key)} to YAML and read as {str(key)!r}; put it in quotes")
        return str(key)

    def _text(self, document: Document, path: _KeyPath, value: object) -> str | None:
        if value is None or isinstance(value, str):
            return value
        text = str(value)
        self._warn(document, path, f"is {_kind(value)}, read as {text[:60]!r}; put it in quotes")
        return text

    def _flag(self, document: Document, path: _KeyPath, value: object) -> bool:
        if not isinstance(value, bool):
            self._error(document, path, f"{value!r} is not a bool; use true or false")
            return True
        return value

    def _mapping(self, document: Document, path: _KeyPath, value: object) -> Mapping[Any, Any]:
        if value is None:
            return {}
        if not isinstance(value, dict):
            self._error(document, path, f"must be a mapping of names, not {_kind(value)}")
            return {}
        return value

    def _list(self, document: Document, path: _KeyPath, value: object) -> list[Any]:
        if value is None:
            return []
        if not isinstance(value, list):
            self._error(document, path, f"must be a list, not {_kind(value)}")
            return []
        return value

    def _texts(self, document: Document, path: _KeyPath, value: object) -> tuple[str, ...]:
        items = []
        for index, item in enumerate(self._list(document, path, value)):
            if isinstance(item, str):
                items.append(item)
            else:
                self._error(document, (*path, index), f"must be text, not {_kind(item)}; put it in quotes")
        return tuple(items)

    def _unknown_keys(
        self, document: Document, path: _KeyPath, data: Mapping[Any, Any], known: tuple[str, ...]
    ) -> None:
        for key in data:
            if key in known or (not path and key == "databricks_spark_job"):
                continue
            import difflib

            close = difflib.get_close_matches(str(key), known, 1)
            hint = f"did you mean {close[0]}?" if close else f"known are {', '.join(known)}"
            self._warn(document, (*path, key), f"unknown key, ignored; {hint}")

    # --- outcome ------------------------------------------------------------------------------------------------

    def _error(self, document: Document, path: _KeyPath, message: str) -> None:
        self.problems.append(document.problem(path, message))

    def _warn(self, document: Document, path: _KeyPath, message: str) -> None:
        self.warnings.append(document.problem(path, message))

    def _fail(self, document: Document, path: _KeyPath, message: str) -> NoReturn:
        self._error(document, path, message)
        raise InvalidProject(self.problems)

    def raise_if_wrong(self) -> None:
        if self.problems:
            raise InvalidProject(
                sorted(self.problems, key=lambda problem: (problem.file, problem.line, problem.column))
            )


def virtualenv_from_conda(spec: CondaSpec) -> tuple[VirtualenvSpec, tuple[str, ...]]:
    """A conda specification as a virtualenv, as far as that goes: its Python, its build tools, its pip section.

    Returns: the spec, and the conda dependencies that have no place in it.
    """
    import re

    python = None
    build: list[str] = []
    left: list[str] = []
    for dependency in spec.dependencies:
        match = re.fullmatch(
            r"(?:[\w.-]+::)?(python|pip|setuptools|wheel)\s*(=|==|[<>!]=?)?\s*([\d.]+)?(?:\.?\*)?", dependency
        )
        if match is None:
            left.append(dependency)
        elif match[1] == "python":
            python = match[3] if match[2] in ("=", "==") else None
        else:
            build.append(match[1] + ({"=": "=="}.get(match[2], match[2]) + match[3] if match[2] and match[3] else ""))
    return replace(
        VirtualenvSpec(), file=spec.file, python=python, build_dependencies=tuple(build), dependencies=spec.pip
    ), tuple(left)


def _in_order(problems: list[Problem]) -> tuple[Problem, ...]:
    return tuple(sorted(problems, key=lambda problem: (problem.file, problem.line, problem.column)))


def _kind(value: object) -> str:
    match value:
        case None:
            return "nothing"
        case bool():
            return f"the bool {str(value).lower()}"
        case int() | float():
            return f"the number {value}"
        case str():
            return f"the text {value[:40]!r}"
        case list() | tuple():
            return "a list"
        case dict():
            return "a mapping"
        case set():
            return "a set"
    return f"a {type(value).__name__}"


__all__ = [
    "CONDA_ENV",
    "MLPROJECT",
    "PYTHON_ENV",
    "load_environment",
    "load_project",
    "strict",
    "virtualenv_from_conda",
]
