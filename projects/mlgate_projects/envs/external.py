"""Steps that run with an interpreter that somebody else built and keeps (`--env-manager external --python PATH`)."""

from __future__ import annotations

import hashlib
import os
from dataclasses import replace
from pathlib import Path
from typing import ClassVar

from mlgate_projects import interpreters, process
from mlgate_projects.envs import EnvKey, EnvOptions, OnThisMachine, Prepared, Progress
from mlgate_projects.envs.installed import installed_packages, with_python_first
from mlgate_projects.errors import EnvironmentUnavailable
from mlgate_projects.process import Cancel, OnOutput, OnStart, Outcome, ProcessRequest
from mlgate_projects.spec import EnvSpec, ExternalSpec


class ExternalEnvironment(OnThisMachine):
    """The packages in it are its owner's business; they are recorded, and its key follows what is installed."""

    kind: ClassVar[str] = "external"

    def key(self, spec: EnvSpec, options: EnvOptions) -> EnvKey:
        prepared = self.prepare(spec, options, lambda _: None)
        return EnvKey(self.kind, prepared.digest, hit=True, description=f"{prepared.python} {prepared.python_version}")

    def prepare(self, spec: EnvSpec, options: EnvOptions, progress: Progress) -> Prepared:
        assert isinstance(spec, ExternalSpec)
        python = Path(os.path.abspath(options.project_directory / spec.python))  # noqa: PTH100 - links must stay
        if not python.is_file() or not os.access(python, os.X_OK):
            raise EnvironmentUnavailable(f"--python {spec.python}: not an executable file; name an interpreter")
        about = interpreters.ask(python, options.cache_root / "interpreters.json")
        if about is None:
            raise EnvironmentUnavailable(f"--python {spec.python}: does not run as a Python interpreter")
        packages = installed_packages(about.site_packages)
        lines = [
            f"{about.implementation} {about.version} {about.platform}",
            *(f"{p.name}=={p.version}" for p in packages),
        ]
        return Prepared(
            kind=self.kind,
            digest=hashlib.sha256("\n".join(lines).encode()).hexdigest(),
            location=str(about.prefix),
            python=str(python),
            python_version=about.version,
            packages=packages,
            reused=True,
        )

    def run(
        self,
        prepared: Prepared,
        command: str,
        request: ProcessRequest,
        on_output: OnOutput,
        cancel: Cancel,
        on_start: OnStart,
    ) -> Outcome:
        assert prepared.python is not None
        env = with_python_first(request.env, Path(prepared.python).parent, Path(prepared.location))
        return process.run(replace(request, argv=("bash", "-c", command), env=env), on_output, cancel, on_start)


__all__ = ["ExternalEnvironment"]
