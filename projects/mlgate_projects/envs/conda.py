"""Conda environments from `conda.yaml`: made by py-rattler, or by a conda, mamba or micromamba on PATH.

The lock (conda packages with their hashes, then the pip section's) stays in the cache when the environment is
collected, so that building it again installs the same; a `conda.lock` beside the file goes with the project instead.
"""

from __future__ import annotations

import contextlib
import hashlib
import importlib.util
import json
import os
import platform
import re
import shlex
import shutil
import sys
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, ClassVar

from mlgate_projects import process
from mlgate_projects.envs import EnvKey, EnvOptions, OnThisMachine, Package, Prepared, Progress
from mlgate_projects.envs.cache import Built, Cache, digest_of
from mlgate_projects.envs.installed import canonical_name, installed_packages, site_packages_of
from mlgate_projects.envs.installer import run_uv
from mlgate_projects.envs.locks import Locks
from mlgate_projects.envs.requirements import Requirements, flatten
from mlgate_projects.errors import (
    BuildCancelled,
    EnvironmentBuildError,
    EnvironmentUnavailable,
    InvalidProject,
    Problem,
)
from mlgate_projects.process import Cancel, OnOutput, OnStart, Outcome, ProcessRequest, Stream
from mlgate_projects.spec import CondaSpec, EnvSpec

RATTLER = "rattler"
_TOOLS = ("micromamba", "mamba", "conda")
_DEFAULTS = ("main", "r")
"""What conda calls `defaults`: the vendor's channels by name, so that a user's channel alias leads to a mirror."""
_LOCK = "mlgate-lock.txt"  # in the environment
_PIP_PART = "# --- pip ---\n"  # divides a lock: conda packages above, the pip section below
_KEPT_OUTPUT = 8000  # characters of the builder's output that go into an error


@dataclass(frozen=True, slots=True)
class _Request:
    """A specification with everything that decides what gets installed."""

    spec: CondaSpec
    options: EnvOptions
    tool: str
    channels: tuple[str, ...]
    alias: str
    pip: Requirements

    @property
    def lock_digest(self) -> str:
        """Identity of the lock."""
        return digest_of(
            {
                "kind": "conda",
                "tool": self.tool,
                "platform": [sys.platform, platform.machine()],
                "channels": self.channels,
                "dependencies": self.spec.dependencies,
                "pip": [self.pip.lines, self.pip.constraints, self.pip.sources],
                "index": self.options.index_policy,
            }
        )

    def digest(self, lock: str | None) -> str:
        """Identity of the environment."""
        locked = None if lock is None else hashlib.sha256(lock.encode()).hexdigest()
        return digest_of({"request": self.lock_digest, "variables": self.spec.variables, "lock": locked})

    @property
    def description(self) -> str:
        asked = len(self.spec.dependencies) + len(self.spec.pip)
        return f"{self.spec.file}, {asked} requirements, by {self.tool}"


class CondaEnvironment(OnThisMachine):
    kind: ClassVar[str] = "conda"

    def key(self, spec: EnvSpec, options: EnvOptions) -> EnvKey:
        request = _read(spec, options)
        lock, _ = _locks(request).of_project()
        digest = request.digest(lock)
        found = Cache(options.cache_root).lookup(self.kind, digest)
        return EnvKey(self.kind, digest, hit=found is not None, description=request.description)

    def prepare(self, spec: EnvSpec, options: EnvOptions, progress: Progress) -> Prepared:
        request = _read(spec, options)
        lock, warnings = _locks(request).of_project()
        cache = Cache(options.cache_root)
        fingerprint, reused = cache.obtain(
            self.kind,
            request.digest(lock),
            lambda directory: _build(request, lock, directory, progress),
            description=request.description,
            progress=progress,
            cancel=options.cancel,
        )
        return cache.prepared(fingerprint, reused=reused, warnings=warnings)

    def run(
        self,
        prepared: Prepared,
        command: str,
        request: ProcessRequest,
        on_output: OnOutput,
        cancel: Cancel,
        on_start: OnStart,
    ) -> Outcome:
        location = Path(prepared.location)
        with Cache(location.parents[1]).in_use(prepared.kind, prepared.digest):
            if not location.joinpath("conda-meta").is_dir():
                raise EnvironmentUnavailable(f"environment {location} was removed meanwhile; run the step again")
            env = activated(request.env, location, json.loads(prepared.extra.get("variables", "{}")))
            script = "".join(f". {shlex.quote(str(path))}; " for path in _activation_scripts(location))
            asked = replace(request, argv=("bash", "-c", script + command), env=env)
            return process.run(asked, on_output, cancel, on_start)

    def lock(self, spec: EnvSpec, options: EnvOptions, progress: Progress) -> Path:
        """Resolve anew and write the project's lock beside its `conda.yaml`; returns its path."""
        import tempfile

        request = _read(spec, replace(options, locked=False))
        with tempfile.TemporaryDirectory() as scratch:
            directory = Path(scratch, "env")
            directory.mkdir()
            text = _make(request, None, directory, progress)
        return _locks(request).write(text)


def activated(env: Mapping[str, str], prefix: Path, variables: Mapping[str, str]) -> dict[str, str]:
    """What `conda activate` sets: the path, the prefix, variables of packages, of the state file and of the project."""
    path = env.get("PATH", "/usr/local/bin:/usr/bin:/bin")
    result = {
        **env,
        "PATH": f"{prefix / 'bin'}:{path}",
        "CONDA_PREFIX": str(prefix),
        "CONDA_DEFAULT_ENV": prefix.name,
        "CONDA_SHLVL": "1",
    }
    for file in sorted((prefix / "etc/conda/env_vars.d").glob("*.json")):
        with contextlib.suppress(OSError, ValueError):
            result |= {str(name): str(value) for name, value in json.loads(file.read_text()).items()}
    with contextlib.suppress(OSError, ValueError):
        state = json.loads((prefix / "conda-meta/state").read_text())
        result |= {str(name): str(value) for name, value in state.get("env_vars", {}).items()}
    return result | dict(variables)


def _activation_scripts(prefix: Path) -> list[Path]:
    return sorted((prefix / "etc/conda/activate.d").glob("*.sh"))


def _read(spec: EnvSpec, options: EnvOptions) -> _Request:
    assert isinstance(spec, CondaSpec)
    pip = flatten((("dependencies.pip", spec.pip),), file=spec.file, project=options.project_directory)
    settings = _condarc()
    problems = [
        Problem(spec.file, f"{text!r}: environment markers are pip's; write the condition into the pip: section", key)
        for key, text in ((f"dependencies[{i}]", text) for i, text in enumerate(spec.dependencies))
        if ";" in text
    ]
    if problems:
        raise InvalidProject(problems)
    return _Request(
        spec=spec,
        options=options,
        tool=_tool(options.extra.get("conda_tool")),
        channels=tuple(_channels(spec, options.project_directory / spec.file, settings)),
        alias=str(settings.get("channel_alias") or ""),
        pip=pip,
    )


def _tool(wanted: object) -> str:
    """Who solves: the one asked for, else py-rattler, else the first that is on PATH."""
    if wanted not in (None, RATTLER, *_TOOLS):
        raise EnvironmentUnavailable(f"--conda-tool {wanted}: not known; choose one of {', '.join((RATTLER, *_TOOLS))}")
    if wanted in (None, RATTLER) and importlib.util.find_spec("rattler") is not None:
        return RATTLER
    if wanted == RATTLER:
        raise EnvironmentUnavailable("--conda-tool rattler: py-rattler is not installed: install mlgate[conda]")
    for tool in _TOOLS if wanted is None else (str(wanted),):
        if shutil.which(tool):
            return tool
    if wanted is not None:
        raise EnvironmentUnavailable(f"--conda-tool {wanted}: there is no {wanted} on PATH")
    raise EnvironmentUnavailable("conda_env: install mlgate[conda], or put conda, mamba or micromamba on PATH")


def _condarc() -> Mapping[str, Any]:
    """The user's conda settings: `$CONDARC`, else `~/.condarc`."""
    import yaml

    file = Path(os.environ.get("CONDARC") or "~/.condarc").expanduser()
    with contextlib.suppress(OSError, yaml.YAMLError):
        settings = yaml.safe_load(file.read_text(encoding="utf-8"))
        return settings if isinstance(settings, dict) else {}
    return {}


def _channels(spec: CondaSpec, file: Path, settings: Mapping[str, Any]) -> Iterable[str]:
    """The file's channels in conda's words: `defaults` spelled out, `nodefaults` gone, folders as URLs."""
    for name in spec.channels or settings.get("channels") or ("defaults",):
        if name == "defaults":
            yield from settings.get("default_channels") or _DEFAULTS
        elif str(name).startswith((".", "/", "~")):
            yield Path(os.path.abspath(file.parent / Path(str(name)).expanduser())).as_uri()  # noqa: PTH100
        elif name != "nodefaults":
            yield str(name)


def _locks(request: _Request) -> Locks:
    return Locks(
        kept=request.options.cache_root / "conda" / "locks",
        project=(request.options.project_directory / request.spec.file).with_suffix(".lock"),
        digest=request.lock_digest,
        locked=request.options.locked,
    )


def _build(request: _Request, project_lock: str | None, directory: Path, progress: Progress) -> Built:
    locks = _locks(request)
    known = project_lock or locks.kept_before()
    if known is None:
        locks.refuse_to_resolve(request.spec.file)
    text = _make(request, known, directory, progress)
    if known is None:
        text = locks.keep(text)
    (directory / _LOCK).write_text(text, encoding="utf-8")
    packages = _installed(directory)
    python = "bin/python" if (directory / "bin/python").exists() else None
    version = next((package.version for package in packages if package.name == "python"), "")
    extra = {"lock": _LOCK, "tool": request.tool, "channels": " ".join(map(_without_credentials, request.channels))}
    if request.spec.variables:
        extra["variables"] = json.dumps(dict(request.spec.variables))
    return Built(
        python=python,
        python_version=version,
        packages=packages,
        lock_digest=hashlib.sha256(text.encode()).hexdigest(),
        extra=extra,
    )


def _make(request: _Request, lock: str | None, directory: Path, progress: Progress) -> str:
    """Create the environment, from its lock if there is one; returns the lock's text."""
    conda_part, _, pip_part = (None, "", None) if lock is None else lock.partition(_PIP_PART)
    install = _install_by_rattler if request.tool == RATTLER else _install_by_tool
    conda_lock = install(request, conda_part, directory, progress)
    pip_lock = _install_pip(request, pip_part, directory, progress)
    return f"{conda_lock.rstrip()}\n{_PIP_PART}{pip_lock}"


def _install_by_rattler(request: _Request, lock: str | None, directory: Path, progress: Progress) -> str:
    job_file, lock_file = directory / ".mlgate-job.json", directory / ".mlgate-conda.lock"
    job = {
        "channels": request.channels,
        "channel_alias": request.alias,
        "specs": request.spec.dependencies,
        "prefix": str(directory),
        "cache": str(request.options.cache_root / "conda" / "cache"),
        "offline": request.options.offline,
        "lock": lock,
        "lock_file": str(lock_file),
    }
    job_file.write_text(json.dumps(job), encoding="utf-8")
    child = Path(__file__).with_name("rattler_child.py")
    _run([sys.executable, "-I", str(child), str(job_file)], request, progress, token=directory.name)
    text = lock_file.read_text(encoding="utf-8")
    job_file.unlink()
    lock_file.unlink()
    return text


def _install_by_tool(request: _Request, lock: str | None, directory: Path, progress: Progress) -> str:
    tool = shutil.which(request.tool) or request.tool
    progress(f"creating a conda environment with {tool}")
    directory.rmdir()  # some tools refuse a directory that is there already
    create = [tool, "create", "--yes", "--prefix", str(directory)]
    if request.options.offline:
        create.append("--offline")
    if lock is None:
        channels = [part for channel in request.channels for part in ("--channel", channel)]
        _run(
            [*create, "--override-channels", *channels, *request.spec.dependencies],
            request,
            progress,
            token=directory.name,
        )
    else:
        explicit = directory.with_suffix(".explicit.txt")
        explicit.write_text(lock, encoding="utf-8")
        try:
            _run([*create, "--file", str(explicit)], request, progress, token=directory.name)
        finally:
            explicit.unlink()
    return "@EXPLICIT\n" + "".join(f"{line}\n" for line in sorted(_explicit(directory)))


def _explicit(prefix: Path) -> Iterable[str]:
    """URL and md5 of every package, as `conda list --explicit --md5` prints them and every tool reads them."""
    for file in (prefix / "conda-meta").glob("*.json"):
        record = json.loads(file.read_text(encoding="utf-8"))
        yield record["url"] + (f"#{record['md5']}" if record.get("md5") else "")


def _run(argv: Sequence[str], request: _Request, progress: Progress, *, token: str) -> None:
    told: list[str] = []

    def on_output(stream: Stream, text: bytes) -> None:
        for line in text.decode(errors="replace").splitlines():
            if line.strip():
                told.append(line)
                progress(line.strip())

    dropped = ("PYTHONHOME", "PYTHONPATH", "VIRTUAL_ENV", "CONDA_PREFIX", "CONDA_DEFAULT_ENV", "CONDA_SHLVL")
    env = {name: value for name, value in os.environ.items() if name not in dropped}
    asked = ProcessRequest(tuple(argv), request.options.project_directory, env, token=token)
    outcome = process.run(asked, on_output, request.options.cancel)
    if outcome.stopped is not None:
        raise BuildCancelled
    if not outcome.ok:
        errors = [line.removeprefix("error: ") for line in told if line.startswith("error: ")]
        reason = " ".join(errors or told[-5:]) or f"{Path(argv[0]).name} ended with {outcome.exit_code}"
        raise EnvironmentBuildError(f"{request.spec.file}: {reason}", output="\n".join(told)[-_KEPT_OUTPUT:])


def _install_pip(request: _Request, lock: str | None, directory: Path, progress: Progress) -> str:
    """Install the pip section over what conda installed; returns its lock, empty when there is no such section."""
    if not request.pip.lines:
        return ""
    if not (directory / "bin/python").exists():
        raise EnvironmentBuildError(f"{request.spec.file}: the pip: section needs python among the dependencies")
    if lock is None:
        lock = _resolve_pip(request, directory, progress)
    file = directory / ".mlgate-pip.txt"
    file.write_text(lock, encoding="utf-8")
    arguments = ["pip", "install", "--python", str(directory / "bin/python"), "--no-deps", "--requirements", str(file)]
    if not request.pip.local:
        arguments.append("--require-hashes")
    if not request.options.offline:
        arguments += request.pip.refresh()
    _uv(request, arguments, progress, f"{request.spec.file}: installing the pip: section", token=directory.name)
    file.unlink()
    return lock


def _resolve_pip(request: _Request, directory: Path, progress: Progress) -> str:
    """Resolve the pip section, keeping what conda installed as it is if that is possible at all."""
    there = installed_packages(site_packages_of(directory))
    asked = request.pip.names
    kept = [package for package in there if canonical_name(package.name) not in asked]
    wanted, limits = directory / ".mlgate-pip.in", directory / ".mlgate-pip.limits"
    wanted.write_text("".join(f"{line}\n" for line in request.pip.lines), encoding="utf-8")
    what = f"{request.spec.file}: resolving the pip: section"
    arguments = ["pip", "compile", "--generate-hashes", "--no-header", "--no-annotate", "--no-strip-extras"]
    arguments += ["--emit-index-url", "--emit-find-links", "--python", str(directory / "bin/python"), str(wanted)]
    own = [*request.pip.constraints]
    try:
        limits.write_text("".join(f"{line}\n" for line in [*own, *(f"{p.name}=={p.version}" for p in kept)]))
        left_out = [part for package in kept for part in ("--no-emit-package", package.name)]
        return _uv(request, [*arguments, "--constraints", str(limits), *left_out], lambda _: None, what)
    except EnvironmentBuildError:
        # The pip section wants other versions than conda chose: as with pip itself, the pip section has the last word.
        limits.write_text("".join(f"{line}\n" for line in own))
        return _uv(request, [*arguments, "--constraints", str(limits)], progress, what)
    finally:
        wanted.unlink()
        limits.unlink(missing_ok=True)


def _uv(request: _Request, arguments: list[str], progress: Callable[[str], None], what: str, token: str = "") -> str:
    options = request.options
    offline = ["--offline"] if options.offline else []
    return run_uv(
        [*arguments, *offline, *options.index_policy],
        cwd=options.project_directory,
        progress=progress,
        what=what,
        token=token,
        cancel=options.cancel,
    )


def _installed(prefix: Path) -> tuple[Package, ...]:
    """Packages that conda installed and those that pip added."""
    found = {canonical_name(package.name): package for package in installed_packages(site_packages_of(prefix))}
    for file in (prefix / "conda-meta").glob("*.json"):
        with contextlib.suppress(OSError, ValueError, KeyError):
            record = json.loads(file.read_text(encoding="utf-8"))
            found.setdefault(canonical_name(record["name"]), Package(record["name"], record["version"]))
    return tuple(found[name] for name in sorted(found))


def _without_credentials(url: str) -> str:
    """A channel's URL without user, password or token."""
    return re.sub(r"/t/[^/]+/", "/t/***/", re.sub(r"://[^/@\s]+@", "://***@", url))


__all__ = ["CondaEnvironment", "activated"]
