"""`run_step`: the life of one step, the same under every engine.

source → environment → tracked run → process → outputs → close. An operator, a task or the command line only builds
the `Step` and hands the `StepResult` on.
"""

from __future__ import annotations

import contextlib
import json
import signal
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from mlgate.child import child_environment, secret_values
from mlgate.reaper import reap
from mlgate.resolve import ResolvedStep, resolve_step, with_local_files
from mlgate.settings import Settings, load_settings
from mlgate.step import Step, StepResult
from mlgate.system_metrics import SystemMetrics
from mlgate.tags import closing_metrics, closing_tags, opening_tags, own_tags
from mlgate.tracking import Tracking, open_tracking
from mlgate.user import current_user
from mlgate.workspace import Workspace
from mlgate_projects.command import runnable
from mlgate_projects.envs import Prepared
from mlgate_projects.errors import BuildCancelled, EnvironmentBuildError
from mlgate_projects.ledger import Entry, open_entry
from mlgate_projects.process import Cancel, Outcome, ProcessRequest, Stop, Stream
from mlgate_projects.source import Source
from mlgate_projects.spec import ProjectSpec
from mlgate_tracking.entities import Fence, Param, RunStatus, StepRun
from mlgate_tracking.errors import TrackingError

CRASHES = frozenset({signal.SIGSEGV, signal.SIGABRT, signal.SIGBUS, signal.SIGFPE, signal.SIGILL})
"""Signals by which a program fails by itself; any other one came from somebody who meant to end it."""

TIMED_OUT = 124
"""Exit code of a step that ran out of time, as `timeout(1)` has it."""


def _nothing(*_args: Any) -> None:
    return None


@dataclass(frozen=True, slots=True)
class Hooks:
    """How a step talks to whoever started it; each is called from one thread at a time.

    Attributes:
        progress: one line on what a clone or a build is doing.
        warn: one line that the user should see.
        output: a piece of the step's output.
        opened: called once the run is open and before the process starts.
        cancel: set it to stop the step.
    """

    progress: Callable[[str], None] = _nothing
    warn: Callable[[str], None] = _nothing
    output: Callable[[Stream, bytes], None] = _nothing
    opened: Callable[[StepRun], None] = _nothing
    cancel: Cancel = field(default_factory=threading.Event)


def run_step(
    step: Step,
    *,
    settings: Settings | None = None,
    hooks: Hooks | None = None,
    working_directory: Path | None = None,
    tracking: Tracking | None = None,
    source: Source | None = None,
    project: ProjectSpec | None = None,
) -> StepResult:
    """Run one step to its end and return what became of it.

    Args:
        settings: read from the environment when None.
        working_directory: what `path` parameters are relative to; the current directory when None.
        tracking: a store that is open already (many steps of one pipeline share it).
        source, project: the step's source and what its files say, when somebody has looked already.

    Raises:
        ProjectError, UsageError: the project, a value or the environment's specification is wrong; no run was made.
        StaleAttempt: a newer attempt of the step has taken over.
        TrackingError: the store refused or is away.
    """
    settings = settings or load_settings()
    hooks = hooks or Hooks()
    resolved = resolve_step(
        step,
        settings,
        progress=hooks.progress,
        working_directory=working_directory,
        source=source,
        project=project,
    )
    for warning in resolved.warnings:
        hooks.warn(warning)
    with contextlib.ExitStack() as stack:
        if tracking is None:
            tracking = stack.enter_context(open_tracking(settings))
        reap(settings, tracking, key=resolved.step_run_key)
        resolved = with_local_files(resolved, settings, tracking)
        try:
            prepared = resolved.environment.prepare(
                resolved.spec, replace(resolved.options, cancel=hooks.cancel), hooks.progress
            )
        except EnvironmentBuildError as error:
            return _Attempt.open(resolved, None, tracking, settings, hooks).build_failed(error)
        for warning in prepared.warnings:
            hooks.warn(warning)
        return _Attempt.open(resolved, prepared, tracking, settings, hooks).run(prepared)


@dataclass(frozen=True, slots=True)
class _Attempt:
    """One attempt of a step, from the open run to the closed one."""

    resolved: ResolvedStep
    opened: StepRun
    tracking: Tracking
    settings: Settings
    hooks: Hooks
    workspace: Workspace
    packages: str

    @classmethod
    def open(
        cls, resolved: ResolvedStep, prepared: Prepared | None, tracking: Tracking, settings: Settings, hooks: Hooks
    ) -> _Attempt:
        """Create or reopen the tracked run."""
        step = resolved.step
        opened = tracking.store.open_step_run(
            resolved.step_run_key,
            experiment_id=tracking.experiment_id(step.experiment_name, step.experiment_id),
            attempt=step.attempt,
            user_id=current_user(),
            run_name=step.run_name,
            start_time=int(time.time() * 1000),
            parent_run_id=step.parent_run_id,
            params=[Param(name, value) for name, value in resolved.parameters.logged.items()],
            tags=opening_tags(resolved, prepared),
        )
        workspace = Workspace.create(settings.home, opened.run.info.run_id, opened.attempt)
        packages = environment_json(prepared) if prepared is not None and prepared.packages else ""
        return cls(resolved, opened, tracking, settings, hooks, workspace, packages)

    def build_failed(self, error: EnvironmentBuildError) -> StepResult:
        """A build that failed is a failure of the run: whoever looks at the schedule must see it there."""
        if error.output:
            self.tracking.log_text(self.opened.run, "mlgate/environment.log", error.output)
        status = RunStatus.KILLED if isinstance(error, BuildCancelled) else RunStatus.FAILED
        return self._close(status, error.exit_code, str(error), time.time())

    def run(self, prepared: Prepared) -> StepResult:
        """Start the process, follow it to its end, close the run."""
        run_id, attempt = self.opened.run.info.run_id, self.opened.attempt
        self.hooks.opened(self.opened)
        info = {"tracking_uri": self.settings.tracking_uri, "workspace": str(self.workspace.directory)}
        started = time.time()
        with open_entry(
            self.settings.ledger,
            run_id=run_id,
            key=self.opened.step_run_key,
            attempt=attempt,
            kind=prepared.kind,
            info=info,
        ) as entry:
            try:
                outcome = self._follow(prepared, entry)
            except BaseException as error:
                # The process never ran, or we were interrupted in between: the run must not stay RUNNING.
                killed = not isinstance(error, Exception)
                status, exit_code = (RunStatus.KILLED, 130) if killed else (RunStatus.FAILED, 1)
                with contextlib.suppress(TrackingError):
                    self._close(status, exit_code, f"{type(error).__name__}: {error}", started)
                raise
            status, exit_code, reason = judge(outcome, self.workspace.last_line(Stream.STDERR))
            return self._close(status, exit_code, reason, outcome.started, outcome)

    def _follow(self, prepared: Prepared, entry: Entry) -> Outcome:
        step, run_id = self.resolved.step, self.opened.run.info.run_id

        def on_output(stream: Stream, data: bytes) -> None:
            self.workspace.write(stream, data)
            self.hooks.output(stream, data)

        with contextlib.ExitStack() as stack:
            host = self.resolved.environment.tracking_host(prepared)
            endpoint = stack.enter_context(self.tracking.endpoint(self.opened, host=host))
            if step.system_metrics:
                store = self.tracking.store
                stack.enter_context(SystemMetrics(lambda metrics: store.log_batch(run_id, metrics=metrics)))
            env = child_environment(
                self.resolved, self.opened, endpoint, settings=self.settings, workspace=self.workspace
            )
            request = ProcessRequest(
                argv=(),
                cwd=self.resolved.source.directory,
                env=env,
                timeout=step.timeout,
                secrets=secret_values(env, step.secrets, endpoint.token),
                labels={"run_id": run_id, "attempt": str(self.opened.attempt), "step": step.name},
                paths=(self.workspace.inside, *self.resolved.local_paths),
                read_only_paths=(self.settings.kit,),
                token=entry.token,
            )
            command = runnable(self.resolved.command, self.workspace.arguments)
            return self.resolved.environment.run(
                prepared, command, request, on_output, self.hooks.cancel, entry.started
            )

    def _close(
        self, status: RunStatus, exit_code: int, reason: str, started: float, outcome: Outcome | None = None
    ) -> StepResult:
        """Collect what the process left, write it to the run and close it, all under this attempt's number."""
        ended = outcome.ended if outcome else time.time()
        outputs = self._save_files()
        run = self.tracking.store.close_step_run(
            self.opened.run.info.run_id,
            self.opened.attempt,
            status=status,
            end_time=int(ended * 1000),
            metrics=closing_metrics(outcome, outputs, int(ended * 1000)),
            tags=closing_tags(exit_code, reason),
        )
        self.workspace.discard()
        return StepResult(
            run_id=run.info.run_id,
            experiment_id=run.info.experiment_id,
            step_run_key=self.opened.step_run_key,
            attempt=self.opened.attempt,
            status=status.value,
            exit_code=exit_code,
            artifact_uri=run.info.artifact_uri,
            name=self.resolved.step.name,
            started=started,
            ended=ended,
            commit=self.resolved.source.commit,
            metrics={metric.key: metric.value for metric in run.data.metrics},
            params={param.key: param.value for param in run.data.params},
            outputs=outputs,
            reason=reason,
            tags=own_tags(run.data.tags),
        )

    def _save_files(self) -> dict[str, Any]:
        """Logs, packages and named outputs become artifacts; returns the outputs."""
        run, tracking = self.opened.run, self.tracking
        outputs, problems = self.workspace.outputs()
        for problem in problems:
            self.hooks.warn(problem)
        late = tracking.replay_spool(Fence(run.info.run_id, self.opened.attempt), self.workspace.spool)
        if late:
            self.hooks.warn(f"{late} records that the process had not sent yet were written to its run")
        for path, file in self.workspace.artifacts():
            tracking.log_file(run, path, file)
        if self.packages:
            tracking.log_text(run, "mlgate/environment.json", self.packages)
        if outputs:
            tracking.log_text(run, "mlgate/outputs.json", json.dumps(outputs, indent=2))
        return outputs


def judge(outcome: Outcome, last_line: str) -> tuple[RunStatus, int, str]:
    """Status, exit code and reason that an outcome stands for."""
    if outcome.stopped is Stop.TIMEOUT:
        return RunStatus.KILLED, TIMED_OUT, f"ran out of time after {outcome.ended - outcome.started:.0f} s"
    if outcome.stopped is Stop.CANCELLED:
        return RunStatus.KILLED, outcome.exit_code or 130, "cancelled"
    if outcome.oom_killed:
        return RunStatus.FAILED, outcome.exit_code, "out of memory: the process was killed by the kernel"
    if outcome.exit_code == 0:
        return RunStatus.FINISHED, 0, ""
    # A shell reports the death of its last command as 128 + signal.
    number = outcome.signal or (outcome.exit_code - 128 if outcome.exit_code > 128 else 0)
    name = signal.Signals(number).name if number in {member.value for member in signal.Signals} else ""
    if name and number not in CRASHES:
        return RunStatus.KILLED, outcome.exit_code, f"killed by {name}"
    if name:
        return RunStatus.FAILED, outcome.exit_code, f"crashed with {name}"
    return RunStatus.FAILED, outcome.exit_code, last_line or f"exit code {outcome.exit_code}"


def environment_json(prepared: Prepared) -> str:
    """What the environment was, for the run's artifact `mlgate/environment.json`."""
    return json.dumps(
        {
            "kind": prepared.kind,
            "digest": prepared.digest,
            "python": prepared.python_version,
            "location": prepared.location,
            "lock": prepared.lock_digest,
            "packages": {package.name: package.version for package in prepared.packages},
        },
        indent=2,
    )


__all__ = ["CRASHES", "TIMED_OUT", "Hooks", "environment_json", "judge", "run_step"]
