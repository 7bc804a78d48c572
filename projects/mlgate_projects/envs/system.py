"""Steps that run with whatever is on PATH (MLflow's `--env-manager local`): nothing is built, nothing is activated."""

from __future__ import annotations

from dataclasses import replace
from typing import ClassVar

from mlgate_projects import process
from mlgate_projects.envs import EnvKey, EnvOptions, OnThisMachine, Prepared, Progress
from mlgate_projects.process import Cancel, OnOutput, OnStart, Outcome, ProcessRequest
from mlgate_projects.spec import EnvSpec


class SystemEnvironment(OnThisMachine):
    kind: ClassVar[str] = "system"

    def key(self, spec: EnvSpec, options: EnvOptions) -> EnvKey:
        return EnvKey(self.kind, self.kind, hit=True, description="whatever is on PATH")

    def prepare(self, spec: EnvSpec, options: EnvOptions, progress: Progress) -> Prepared:
        return Prepared(self.kind, self.kind, reused=True)

    def run(
        self,
        prepared: Prepared,
        command: str,
        request: ProcessRequest,
        on_output: OnOutput,
        cancel: Cancel,
        on_start: OnStart,
    ) -> Outcome:
        return process.run(replace(request, argv=("bash", "-c", command)), on_output, cancel, on_start)


__all__ = ["SystemEnvironment"]
