"""Virtual environments from `python_env.yaml`: resolved once to a lock with hashes, installed by uv.

The lock of a request stays in the cache when the environment is collected, so that building it again installs the same.
A `python_env.lock` beside the file (written by `mlgate env lock`) goes with the project instead.
"""

from __future__ import annotations

import concurrent.futures
import contextlib
import hashlib
import os
import re
import tempfile
import threading
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, ClassVar

from mlgate_projects import interpreters, process
from mlgate_projects.envs import EnvKey, EnvOptions, OnThisMachine, Prepared, Progress
from mlgate_projects.envs.cache import Built, Cache, digest_of
from mlgate_projects.envs.installed import canonical_name, installed_packages, site_packages_of, with_python_first
from mlgate_projects.envs.installer import run_uv
from mlgate_projects.envs.locks import Locks
from mlgate_projects.envs.requirements import Requirements, flatten
from mlgate_projects.errors import BuildCancelled, EnvironmentBuildError, EnvironmentUnavailable
from mlgate_projects.interpreters import Interpreter
from mlgate_projects.process import Cancel, OnOutput, OnStart, Outcome, ProcessRequest
from mlgate_projects.spec import EnvSpec, VirtualenvSpec

_LOCK = "mlgate-lock.txt"  # in the environment
_PIN = re.compile(r"^([\w.-]+)(?:\[[^\]]*\])?==(\S+)", re.MULTILINE)
_WITH_SETUPTOOLS = (3, 11)  # newest Python whose own `venv` brings setuptools, so that old packages count on it


@dataclass(frozen=True, slots=True)
class _Request:
    """A specification with everything that decides what gets installed."""

    interpreter: Interpreter
    requirements: Requirements
    options: EnvOptions
    file: str
    warnings: tuple[str, ...]
    project_lock: str | None

    @property
    def digest(self) -> str:
        """Identity of the environment: of this interpreter, on this machine's kind."""
        about = self.interpreter
        python = [about.implementation, about.version, about.platform, about.path]
        lock = None if self.project_lock is None else hashlib.sha256(self.project_lock.encode()).hexdigest()
        return digest_of({"kind": "virtualenv", "python": python, "request": self._content(), "lock": lock})

    @property
    def lock_digest(self) -> str:
        """Identity of the lock: any interpreter of the same minor version and platform may replay it."""
        about = self.interpreter
        python = [about.implementation, about.minor, about.platform]
        return digest_of({"kind": "virtualenv-lock", "python": python, "request": self._content()})

    @property
    def description(self) -> str:
        asked = len(self.requirements.lines)
        return f"python {self.interpreter.version}, {self.file or 'no file'}, {asked} requirements"

    def _content(self) -> dict[str, Any]:
        flat = self.requirements
        return {
            "lines": flat.lines,
            "constraints": flat.constraints,
            "sources": flat.sources,
            "index": self.options.index_policy,
        }


class VirtualenvEnvironment(OnThisMachine):
    kind: ClassVar[str] = "virtualenv"

    def key(self, spec: EnvSpec, options: EnvOptions) -> EnvKey:
        request = _read(spec, options)
        found = Cache(options.cache_root).lookup(self.kind, request.digest)
        return EnvKey(self.kind, request.digest, hit=found is not None, description=request.description)

    def prepare(self, spec: EnvSpec, options: EnvOptions, progress: Progress) -> Prepared:
        try:
            request = _read(spec, options)
        except EnvironmentUnavailable:
            _fetch_missing_python(spec, options, progress)
            request = _read(spec, options)
        cache = Cache(options.cache_root)

        def build(directory: Path) -> Built:
            return _build(request, directory, progress)

        fingerprint, reused = cache.obtain(
            self.kind,
            request.digest,
            build,
            description=request.description,
            progress=progress,
            cancel=options.cancel,
        )
        return cache.prepared(fingerprint, reused=reused, warnings=request.warnings)

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
        env = with_python_first(request.env, location / "bin", location)
        with Cache(location.parents[1]).in_use(prepared.kind, prepared.digest):
            if not location.joinpath("bin/python").exists():
                raise EnvironmentUnavailable(f"environment {location} was removed meanwhile; run the step again")
            return process.run(replace(request, argv=("bash", "-c", command), env=env), on_output, cancel, on_start)

    def lock(self, spec: EnvSpec, options: EnvOptions, progress: Progress) -> Path:
        """Resolve anew and write the project's lock beside its `python_env.yaml`; returns its path."""
        assert isinstance(spec, VirtualenvSpec)
        request = replace(_read(spec, replace(options, locked=False)), project_lock=None)
        progress(f"resolving {len(request.requirements.lines)} requirements")
        with _files(request.requirements) as (wanted, limits):
            return _locks(request).write(_resolve(request, wanted, limits))


def _fetch_missing_python(spec: EnvSpec, options: EnvOptions, progress: Progress) -> None:
    """Have uv download the interpreter when this machine has none that will do, unless that is switched off."""
    assert isinstance(spec, VirtualenvSpec)
    remembered = options.cache_root / "interpreters.json"
    try:
        interpreters.find(spec.python, strict=options.strict_python, remembered=remembered)
    except EnvironmentUnavailable as missing:
        switched_off = os.environ.get("UV_PYTHON_DOWNLOADS", "").lower() in ("never", "manual", "false", "0")
        if options.offline or switched_off or spec.python is None or not interpreters.is_version(spec.python):
            raise
        progress(f"downloading python {spec.python}")
        try:
            number = ".".join(re.findall(r"\d+", spec.python))
            arguments = ["python", "install", "--no-bin", number]
            run_uv(
                arguments,
                cwd=options.project_directory,
                progress=progress,
                what="downloading it",
                cancel=options.cancel,
                downloads=True,
            )
        except BuildCancelled:
            raise
        except EnvironmentBuildError as failure:
            raise EnvironmentUnavailable(f"{missing} ({failure})") from None


def _read(spec: EnvSpec, options: EnvOptions) -> _Request:
    assert isinstance(spec, VirtualenvSpec)
    remembered = options.cache_root / "interpreters.json"
    interpreter, warning = interpreters.find(spec.python, strict=options.strict_python, remembered=remembered)
    groups = (("build_dependencies", spec.build_dependencies), ("dependencies", spec.dependencies))
    requirements = flatten(groups, file=spec.file, project=options.project_directory)
    warnings = [] if warning is None else [warning]
    request = _Request(interpreter, _with_seeds(requirements, interpreter), options, spec.file, (), None)
    lock, drifted = _locks(request).of_project()
    return replace(request, warnings=(*warnings, *drifted), project_lock=lock)


def _with_seeds(requirements: Requirements, interpreter: Interpreter) -> Requirements:
    """Add what Python's own virtual environments bring, unless the file says otherwise: pip, and once setuptools."""
    if requirements.hashed:  # every line must have its hash; ours would have none
        return requirements
    seeds = ["pip"]
    if interpreter.numbers[:2] <= _WITH_SETUPTOOLS:
        seeds.append("setuptools<81")  # the last ones with pkg_resources, for which old packages want it
    missing = [seed for seed in seeds if canonical_name(re.split(r"[<=>]", seed)[0]) not in requirements.names]
    return replace(requirements, lines=(*requirements.lines, *missing))


def _locks(request: _Request) -> Locks:
    options = request.options
    return Locks(
        kept=options.cache_root / "virtualenv" / "locks",
        project=(options.project_directory / (request.file or "python_env.yaml")).with_suffix(".lock"),
        digest=request.lock_digest,
        locked=options.locked,
    )


def _build(request: _Request, directory: Path, progress: Progress) -> Built:
    about = request.interpreter
    progress(f"creating a virtual environment with python {about.version}")
    run_uv(
        ["venv", "--no-project", "--no-config", "--python", about.path, "--allow-existing", str(directory)],
        cwd=directory,
        progress=lambda _: None,
        what="creating the virtual environment",
        token=directory.name,
        cancel=request.options.cancel,
    )
    locks = _locks(request)
    path = directory / _LOCK
    lock = request.project_lock or locks.kept_before()
    if lock is None:
        locks.refuse_to_resolve(request.file or "python_env.yaml")
        lock = locks.keep(_install_and_resolve(request, directory, progress))
        path.write_text(lock, encoding="utf-8")
        if not _is_installed(lock, directory, request.requirements):
            _install(request, directory, path, progress)
    else:
        path.write_text(lock, encoding="utf-8")
        _install(request, directory, path, progress)
    return Built(
        python="bin/python",
        python_version=about.version,
        packages=installed_packages(site_packages_of(directory)),
        lock_digest=hashlib.sha256(lock.encode()).hexdigest(),
        extra={"lock": _LOCK, "requirements": "\n".join(map(_without_credentials, request.requirements.lines))},
    )


def _install(request: _Request, directory: Path, lock: Path, progress: Progress) -> None:
    """Install exactly what the lock says."""
    arguments = ["sync", "--allow-empty-requirements", str(lock)]
    if not request.requirements.local:
        arguments.append("--require-hashes")
    _pip(request, [*arguments, *_how_to_install(request, directory)], "installing", progress, token=directory.name)


def _install_and_resolve(request: _Request, directory: Path, progress: Progress) -> str:
    """Install the request and resolve it to a lock with a hash for every file, both at once; returns the lock."""
    flat = request.requirements
    progress(f"resolving {len(flat.lines)} requirements")
    cancel = threading.Event()
    with (
        _files(flat) as (wanted, limits),
        concurrent.futures.ThreadPoolExecutor(1, "mlgate-resolve") as resolver,
    ):
        resolving = resolver.submit(_resolve, request, wanted, limits, cancel)
        try:
            arguments = ["install", "--requirements", str(wanted), "--constraints", str(limits)]
            arguments += _how_to_install(request, directory)
            _pip(request, arguments, "installing", progress, token=directory.name)
        except BuildCancelled:
            cancel.set()
            raise
        except EnvironmentBuildError:
            resolving.result()  # when it cannot be resolved, this says so better
            raise
        except BaseException:
            cancel.set()
            raise
        return resolving.result()


@contextlib.contextmanager
def _files(flat: Requirements) -> Iterator[tuple[Path, Path]]:
    """The requirements and the constraints as files for uv."""
    with tempfile.TemporaryDirectory(prefix="mlgate-") as scratch:
        wanted, limits = Path(scratch, "requirements.in"), Path(scratch, "constraints.txt")
        wanted.write_text("".join(f"{line}\n" for line in flat.lines), encoding="utf-8")
        limits.write_text("".join(f"{line}\n" for line in flat.constraints), encoding="utf-8")
        yield wanted, limits


def _resolve(request: _Request, wanted: Path, limits: Path, cancel: Cancel | None = None) -> str:
    arguments = ["compile", "--generate-hashes", "--no-header", "--no-annotate", "--emit-index-url"]
    arguments += ["--emit-find-links", "--no-strip-extras", "--python", request.interpreter.path]
    return _pip(request, [*arguments, "--constraints", str(limits), str(wanted)], "resolving", cancel=cancel)


def _is_installed(lock: str, directory: Path, requirements: Requirements) -> bool:
    """Whether what was installed is what the lock says; the index may have changed between the two."""
    there = {
        canonical_name(package.name): package.version for package in installed_packages(site_packages_of(directory))
    }
    pins = {canonical_name(name): version for name, version in _PIN.findall(lock)}
    return pins.items() <= there.items() and (requirements.local or len(pins) == len(there))


def _how_to_install(request: _Request, directory: Path) -> list[str]:
    arguments = ["--python", str(directory / "bin/python")]
    # Code is compiled when it is first imported, unless the caller's steps are told not to write what they compile.
    if request.options.extra.get("compile_bytecode") or os.environ.get("PYTHONDONTWRITEBYTECODE"):
        arguments.append("--compile-bytecode")
    if not request.options.offline:
        arguments += request.requirements.refresh()
    return arguments


def _pip(
    request: _Request,
    arguments: Sequence[str],
    doing: str,
    progress: Progress = lambda _: None,
    *,
    cancel: Cancel | None = None,
    token: str = "",
) -> str:
    options = request.options
    offline = ["--offline"] if options.offline else []
    return run_uv(
        ["pip", *arguments, *offline, *options.index_policy],
        cwd=options.project_directory,
        progress=progress,
        what=f"{doing} {request.file or 'the environment'}",
        token=token,
        cancel=cancel or options.cancel,
    )


def _without_credentials(line: str) -> str:
    return re.sub(r"://[^/@\s]+@", "://***@", line)


__all__ = ["VirtualenvEnvironment"]
