"""Environment kinds: where one step's command runs. One module per kind, chosen by `environment_for`.

A kind makes a key from a spec without side effects (`key`), makes the environment ready or reuses it (`prepare`), and
runs a command in it (`run`). Keys, locks, markers and leases are the same for all kinds and live in `cache`.
"""

from __future__ import annotations

import importlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import ClassVar, Protocol, cast

from mlgate_projects.errors import EnvironmentUnavailable
from mlgate_projects.process import Cancel, OnOutput, OnStart, Outcome, ProcessRequest
from mlgate_projects.spec import EnvSpec

Progress = Callable[[str], None]
"""Told one line at a time what a build is doing."""


@dataclass(frozen=True, slots=True)
class EnvOptions:
    """What the caller may ask of every kind.

    Attributes:
        cache_root: directory that holds all environments (`$MLGATE_HOME/envs` by default).
        project_directory: what relative files in the spec are relative to.
        strict_python: refuse another patch version than the one asked for.
        locked: refuse to resolve anew when a lock exists and the specification has drifted from it.
        offline: use only what is cached.
        index_policy: index URLs and flags that change what gets installed; part of the key, never holds credentials.
        extra: settings of one kind only (`docker_args`, `build_image`, `conda_tool`, …).
        cancel: asked while a build runs; once it is set the build ends with `BuildCancelled`.
    """

    cache_root: Path
    project_directory: Path
    strict_python: bool = False
    locked: bool = False
    offline: bool = False
    index_policy: tuple[str, ...] = ()
    extra: Mapping[str, object] = field(default_factory=dict)
    cancel: Cancel | None = field(default=None, compare=False)


@dataclass(frozen=True, slots=True)
class EnvKey:
    """Identity of an environment: equal keys mean the same environment. `hit` tells whether it is ready already."""

    kind: str
    digest: str
    hit: bool
    description: str


@dataclass(frozen=True, slots=True)
class Package:
    name: str
    version: str


@dataclass(frozen=True, slots=True)
class Prepared:
    """An environment that is ready to run commands.

    Attributes:
        location: directory of the environment, or the image id; empty for `system`.
        python: the interpreter in it, None when it has none or it is not ours to know.
        python_version: full version, empty when unknown.
        packages: what is installed, sorted by name; empty when unknown.
        lock_digest: sha256 of the lock, empty when there is none.
        reused: it was there already.
        warnings: lines that the user should see (a patch version that had to fall back, …).
    """

    kind: str
    digest: str
    location: str = ""
    python: str | None = None
    python_version: str = ""
    packages: tuple[Package, ...] = ()
    lock_digest: str = ""
    reused: bool = False
    warnings: tuple[str, ...] = ()
    extra: Mapping[str, str] = field(default_factory=dict)


class Environment(Protocol):
    """A kind of environment. Instances hold no state besides their settings and may be shared between threads."""

    kind: ClassVar[str]

    def key(self, spec: EnvSpec, options: EnvOptions) -> EnvKey:
        """The identity and whether it is ready; reads files, changes nothing, needs no network."""
        ...

    def prepare(self, spec: EnvSpec, options: EnvOptions, progress: Progress) -> Prepared:
        """Build or reuse. One build per key whoever asks; raises `EnvironmentUnavailable`, `EnvironmentBuildError`."""
        ...

    def run(
        self,
        prepared: Prepared,
        command: str,
        request: ProcessRequest,
        on_output: OnOutput,
        cancel: Cancel,
        on_start: OnStart,
    ) -> Outcome:
        """Run a shell command in it.

        `request.argv` is ignored: the kind makes it from `command` (`bash -c` with its own activation). `on_start` is
        called with what identifies the process (`pid`, `session`, `start_ticks`, or `container_id`), for the ledger.
        The environment is leased while the command runs, so that `gc` leaves it alone.
        """
        ...

    def tracking_host(self, prepared: Prepared) -> str:
        """The address of this machine that a server has to listen on for a command in there to reach it."""
        ...


class OnThisMachine:
    """For kinds whose commands are ordinary processes of this machine."""

    def tracking_host(self, prepared: Prepared) -> str:
        return "127.0.0.1"


_KINDS = {
    "system": "mlgate_projects.envs.system:SystemEnvironment",
    "external": "mlgate_projects.envs.external:ExternalEnvironment",
    "virtualenv": "mlgate_projects.envs.virtualenv:VirtualenvEnvironment",
    "conda": "mlgate_projects.envs.conda:CondaEnvironment",
    "docker": "mlgate_projects.envs.docker:DockerEnvironment",
}
_ALIASES = {"local": "system", "uv": "virtualenv"}
_ENTRY_POINTS = "mlgate.environments"


def environment_for(kind: str) -> Environment:
    """The environment of a kind (`local` is `system`, `uv` is `virtualenv`).

    Other distributions add kinds with an entry point in the group `mlgate.environments`; on a clash ours wins.
    """
    name = _ALIASES.get(kind, kind)
    if name in _KINDS:
        module, _, attribute = _KINDS[name].partition(":")
        return cast("Environment", getattr(importlib.import_module(module), attribute)())
    from importlib.metadata import entry_points

    others = {entry.name: entry for entry in entry_points(group=_ENTRY_POINTS)}
    if name in others:
        return cast("Environment", others[name].load()())
    known = ", ".join(sorted({*_KINDS, *_ALIASES, *others}))
    raise EnvironmentUnavailable(f"no environment kind {kind!r}; known are {known}")


def remove_containers(token: str) -> int:
    """Remove what containers carry a ledger row's token; returns how many. For `ledger.reap`."""
    from mlgate_projects.envs.container import remove_leftovers

    return remove_leftovers(token)


def inherited_variables(kind: str, environ: Mapping[str, str]) -> dict[str, str]:
    """What a step's process takes over from the variables of whoever starts it.

    `system` takes all but the engine's own credentials; `docker` takes nothing; the others also lose whatever would
    reach into their Python (`PYTHONHOME`, `PYTHONPATH`, `VIRTUAL_ENV`, `PIP_*`, `UV_*`, `CONDA_*`, ...).
    """
    name = _ALIASES.get(kind, kind)
    if name == "docker":
        return {}
    dropped: tuple[str, ...] = _ENGINE_VARIABLES
    if name != "system":
        dropped += _PYTHON_VARIABLES
    return {key: value for key, value in environ.items() if not key.startswith(dropped)}


# Prefixes. What an engine trusts its own process with is not the step's to see.
_ENGINE_VARIABLES = (
    "AIRFLOW__",
    "AIRFLOW_CONN_",
    "AIRFLOW_VAR_",
    "_AIRFLOW_",
    "__AIRFLOW_",
    "PREFECT_API_KEY",
    "PREFECT_API_AUTH_STRING",
    "PREFECT_API_DATABASE_",
    "PREFECT_SERVER_",
    "MLGATE_SERVER_TOKEN",
)
_PYTHON_VARIABLES = (
    "PYTHONHOME",
    "PYTHONPATH",
    "PYTHONEXECUTABLE",
    "PYTHONSTARTUP",
    "PYTHONUSERBASE",
    "PYTHONPLATLIBDIR",
    "__PYVENV_LAUNCHER__",
    "VIRTUAL_ENV",
    "PIP_",
    "PIPENV_",
    "POETRY_",
    "UV_",
    "CONDA_",
    "_CONDA_",
    "_CE_",
    "MAMBA_",
    "PYENV_VERSION",
    "PYENV_DIR",
    "PYENV_VIRTUAL_ENV",
)


__all__ = [
    "EnvKey",
    "EnvOptions",
    "Environment",
    "OnThisMachine",
    "Package",
    "Prepared",
    "Progress",
    "environment_for",
    "inherited_variables",
    "remove_containers",
]
