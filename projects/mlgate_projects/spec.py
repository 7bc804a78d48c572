"""An MLproject as typed, frozen data. Made by `parse`, read by everyone; nothing here does I/O."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, ClassVar

from mlgate_projects.errors import Problem


@dataclass(frozen=True, slots=True)
class Parameter:
    """A declared parameter of an entry point.

    Attributes:
        type: as written in the file; `string`, `float`, `int`, `bool`, `path` and `uri` (and their usual other
            spellings, see `parameters.canonical_type`) are checked, any other type takes any text.
        default: text as it is passed to the command; None makes the parameter required.
    """

    name: str
    type: str = "string"
    default: str | None = None
    line: int = 0

    @property
    def required(self) -> bool:
        return self.default is None


@dataclass(frozen=True, slots=True)
class SystemSpec:
    """Run with whatever is on PATH (MLflow's `--env-manager local`)."""

    kind: ClassVar[str] = "system"


@dataclass(frozen=True, slots=True)
class ExternalSpec:
    """Run with an interpreter that somebody else built and keeps."""

    python: Path
    kind: ClassVar[str] = "external"


@dataclass(frozen=True, slots=True)
class VirtualenvSpec:
    """A `python_env.yaml`, or nothing at all (an empty environment on the running Python's version).

    Attributes:
        file: the file it came from, relative to the project; empty for the empty environment.
        python: version wanted (`3.10.0`, `3.10`), None for the version that runs mlgate.
        build_dependencies, dependencies: requirement lines in order, `-r FILE` and `-c FILE` left as written.
    """

    kind: ClassVar[str] = "virtualenv"
    file: str = ""
    python: str | None = None
    build_dependencies: tuple[str, ...] = ()
    dependencies: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class CondaSpec:
    """A `conda.yaml`: match specs in order, and the lines of its `pip:` section."""

    kind: ClassVar[str] = "conda"
    file: str
    name: str | None = None
    channels: tuple[str, ...] = ()
    dependencies: tuple[str, ...] = ()
    pip: tuple[str, ...] = ()
    variables: tuple[tuple[str, str], ...] = ()


@dataclass(frozen=True, slots=True)
class DockerSpec:
    """A `docker_env`.

    Attributes:
        image: name with or without registry, tag and digest.
        volumes: `host:container[:mode]` as written.
        environment: `(name, value)` sets a variable, `(name, None)` copies it from the caller's environment.
        dockerfile: a Dockerfile in the project to build `image` from, relative to the project.
    """

    kind: ClassVar[str] = "docker"
    image: str
    volumes: tuple[str, ...] = ()
    environment: tuple[tuple[str, str | None], ...] = ()
    dockerfile: str | None = None


EnvSpec = SystemSpec | ExternalSpec | VirtualenvSpec | CondaSpec | DockerSpec


@dataclass(frozen=True, slots=True)
class EntryPoint:
    """A named command of a project.

    Attributes:
        command: template with `{parameter}` placeholders; None when the file gives none (an error once it is run).
        environment: overrides the project's environment for this entry point.
        autolog: False switches auto-logging off in this entry point.
        script: True for a script that was named instead of a declared entry point (`-e train.py`).
        line, command_line: where the entry point and its command stand in the file; 0 when they stand in none.
    """

    name: str
    command: str | None = None
    parameters: tuple[Parameter, ...] = ()
    environment: EnvSpec | None = None
    autolog: bool = True
    script: bool = False
    line: int = 0
    command_line: int = 0

    def parameter(self, name: str) -> Parameter | None:
        return next((parameter for parameter in self.parameters if parameter.name == name), None)


@dataclass(frozen=True, slots=True)
class RawPipeline:
    """One entry of `pipelines:` as plain data, with the line of every key; `mlgate.plan` gives it meaning.

    Attributes:
        data: YAML mappings, lists and scalars.
        lines: dotted key path below the pipeline (list items by index: `steps.train.needs.0`) → (line, column).
    """

    name: str
    data: Mapping[str, Any]
    lines: Mapping[str, tuple[int, int]] = field(default_factory=dict)
    line: int = 0


@dataclass(frozen=True, slots=True)
class ProjectSpec:
    """Everything that an MLproject file says.

    Attributes:
        file: name of the file in the directory, None for a project without one.
        warnings: what loads but should not stay (unknown keys, types nobody defined); `--strict` makes them errors.
        notices: what is clear, but not in the documented words (`str` for `string`); only `--strict` speaks of them.
    """

    directory: Path
    name: str | None = None
    file: str | None = None
    entry_points: Mapping[str, EntryPoint] = field(default_factory=dict)
    environment: EnvSpec = field(default_factory=VirtualenvSpec)
    pipelines: Mapping[str, RawPipeline] = field(default_factory=dict)
    warnings: tuple[Problem, ...] = ()
    notices: tuple[Problem, ...] = ()


__all__ = [
    "CondaSpec",
    "DockerSpec",
    "EntryPoint",
    "EnvSpec",
    "ExternalSpec",
    "Parameter",
    "ProjectSpec",
    "RawPipeline",
    "SystemSpec",
    "VirtualenvSpec",
]
