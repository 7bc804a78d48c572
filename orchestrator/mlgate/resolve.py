"""From a `Step` to everything that is known before anything runs: source, entry point, values, command, environment.

Resolving may fill the caches (a git mirror), and has no other effect: every mistake of the user's comes to light here.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path

from mlgate.errors import UsageError
from mlgate.settings import Settings
from mlgate.step import Step, step_run_key
from mlgate.tracking import Tracking
from mlgate_projects.command import find_entry_point, render
from mlgate_projects.envs import Environment, EnvOptions, environment_for
from mlgate_projects.parameters import ResolvedParameters, canonical_type, resolve
from mlgate_projects.parse import load_environment, load_project, virtualenv_from_conda
from mlgate_projects.source import Source, resolve_source
from mlgate_projects.spec import (
    CondaSpec,
    DockerSpec,
    EntryPoint,
    EnvSpec,
    ExternalSpec,
    ProjectSpec,
    SystemSpec,
    VirtualenvSpec,
)

ENV_MANAGERS = ("local", "system", "virtualenv", "uv", "conda", "docker", "external")

_NO_FILES = ("local", "system", "external")
"""Managers that do not look at the project's environment files."""


@dataclass(frozen=True, slots=True)
class ResolvedStep:
    """A step that can run: nothing in it is unknown any more."""

    step: Step
    source: Source
    project: ProjectSpec
    entry_point: EntryPoint
    parameters: ResolvedParameters
    command: str
    environment: Environment
    spec: EnvSpec
    options: EnvOptions

    @property
    def step_run_key(self) -> str:
        step = self.step
        return step_run_key(step.engine.run_id, step.digest or self.source.digest, step.name, step.map_index)

    @property
    def local_paths(self) -> tuple[Path, ...]:
        """What `path` parameters name on this machine; a container needs them under the same path."""
        declared = self.parameters.declared.items()
        types = ((self.entry_point.parameter(name), Path(value)) for name, value in declared)
        return tuple(
            path
            for parameter, path in types
            if parameter is not None and canonical_type(parameter.type) == "path" and path.is_absolute()
        )

    @property
    def warnings(self) -> tuple[str, ...]:
        return tuple(str(warning) for warning in self.project.warnings)


def resolve_step(
    step: Step,
    settings: Settings,
    *,
    progress: Callable[[str], None],
    working_directory: Path | None = None,
    source: Source | None = None,
    project: ProjectSpec | None = None,
) -> ResolvedStep:
    """Find the project and check everything that the caller said against it.

    Args:
        source, project: the step's source and what its files say, when somebody has looked already (all steps of a
            pipeline share them).

    Raises:
        ProjectError: what `mlgate_projects.errors` lists; every problem with its file, line, key and value.
        UsageError: an environment manager that does not fit the project.
    """
    if source is None:
        source = resolve_source(step.uri, step.version, commit=step.commit, cache_root=settings.git, progress=progress)
    if project is None:
        project = load_project(source.directory, read_environment=step.env_manager not in _NO_FILES)
    entry_point = find_entry_point(project, step.entry_point)
    file = project.file or "MLproject"
    parameters = resolve(entry_point, step.parameters, working_directory or Path.cwd(), source.directory, file=file)
    command = render(entry_point, parameters, file=file)
    environment, chosen, options = _environment(step, settings, project, entry_point)
    return ResolvedStep(
        step=step,
        source=source,
        project=project,
        entry_point=entry_point,
        parameters=parameters,
        command=command,
        environment=environment,
        spec=chosen,
        options=options,
    )


def resolve_environment(
    step: Step, settings: Settings, project: ProjectSpec
) -> tuple[Environment, EnvSpec, EnvOptions]:
    """The environment of a step, without looking at its parameters. Raises as `resolve_step` does."""
    return _environment(step, settings, project, find_entry_point(project, step.entry_point))


def _environment(
    step: Step, settings: Settings, project: ProjectSpec, entry_point: EntryPoint
) -> tuple[Environment, EnvSpec, EnvOptions]:
    spec = choose_environment(step, project, entry_point)
    options = EnvOptions(
        cache_root=settings.envs,
        project_directory=project.directory,
        strict_python=bool(step.env_options.get("strict_python")),
        locked=bool(step.env_options.get("locked")),
        offline=settings.offline or bool(step.env_options.get("offline")),
        extra=step.env_options,
    )
    return environment_for(spec.kind), spec, options


def with_local_files(resolved: ResolvedStep, settings: Settings, tracking: Tracking) -> ResolvedStep:
    """Fetch `path` parameters that name something remote (`runs:/`, `models:/`, `s3://`, `https://`, …)."""
    if not resolved.parameters.remote:
        return resolved
    # A directory of its own for each step: several may fetch at once.
    storage = Path(resolved.step.storage_dir or settings.home / "downloads") / resolved.step_run_key[:16]
    parameters = resolved.parameters.localize(tracking.fetch, storage)
    command = render(resolved.entry_point, parameters, file=resolved.project.file or "MLproject")
    return replace(resolved, parameters=parameters, command=command)


def choose_environment(step: Step, project: ProjectSpec, entry_point: EntryPoint) -> EnvSpec:
    """The environment that the step asks for, or what the entry point or project declares."""
    declared = entry_point.environment or project.environment
    if step.environment is not None:
        declared = load_environment(project.directory, step.environment)
    manager = step.env_manager
    match manager:
        case None:
            return declared
        case "local" | "system":
            return SystemSpec()
        case "external":
            python = step.env_options.get("python")
            if not python:
                raise UsageError("--env-manager external: no interpreter is named; add --python /path/to/python")
            return ExternalSpec(python=Path(str(python)).expanduser().absolute())
        case "virtualenv" | "uv":
            wanted: type[EnvSpec] = VirtualenvSpec
        case "conda":
            wanted = CondaSpec
        case "docker":
            wanted = DockerSpec
        case _:
            raise UsageError(f"--env-manager: '{manager}' is not known; choose one of {', '.join(ENV_MANAGERS)}")
    if wanted is VirtualenvSpec and isinstance(declared, CondaSpec):
        return _without_conda(declared)
    if not isinstance(declared, wanted):
        raise UsageError(
            f"--env-manager {manager}: the project declares a {declared.kind} environment"
            f"{' in ' + declared.file if isinstance(declared, CondaSpec | VirtualenvSpec) and declared.file else ''};"
            f" leave the option away, or use --env-manager system"
        )
    return declared


def _without_conda(declared: CondaSpec) -> VirtualenvSpec:
    """A conda file as a virtualenv: its Python and its pip section, if that is all there is in it."""
    spec, left = virtualenv_from_conda(declared)
    if left:
        raise UsageError(
            f"--env-manager virtualenv: {declared.file} wants {', '.join(left)}, which only conda can install;"
            f" move them into its pip: section, or leave the option away"
        )
    return spec


__all__ = [
    "ENV_MANAGERS",
    "ResolvedStep",
    "choose_environment",
    "resolve_environment",
    "resolve_step",
    "with_local_files",
]
