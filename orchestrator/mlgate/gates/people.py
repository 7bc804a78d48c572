"""Gates that ask somebody else: members of a role, an entry point, a Python function."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, ClassVar

from mlgate.gates.evidence import CheckRun, Evidence, Need, Side, Unmeasured
from mlgate.gates.reasons import result, stated
from mlgate.units import Seconds
from mlgate_tracking.governance import ApprovalStatus, GateResult, Reason, Value


@dataclass(frozen=True)
class ApprovalGate:
    """Members of a role have approved, not more than `expires` ago.

    Attributes:
        four_eyes: whoever started the run that made the version may not approve it.
        count: how many different members have to approve.
    """

    role: str
    expires: Seconds | None = None
    four_eyes: bool = True
    count: int = 1
    kind: ClassVar[str] = "approval"

    def __post_init__(self) -> None:
        if self.count < 1:
            raise ValueError(f"count {self.count} is less than 1")
        if not self.role:
            raise ValueError("role is empty")

    def needs(self) -> tuple[tuple[Side, Need[Any]], ...]:
        return ()

    def judge(self, evidence: Evidence) -> GateResult:
        ours = [
            approval
            for approval in evidence.approvals
            if approval.role == self.role and approval.version == evidence.candidate.version
        ]
        live = [approval for approval in ours if approval.expires_at is None or approval.expires_at > evidence.now]
        for approval in sorted(live, key=lambda one: one.requested_at, reverse=True):
            names = {decision.user for decision in approval.decisions if decision.approved}
            if approval.status is ApprovalStatus.APPROVED and self._counted(names, approval.starter) >= self.count:
                message = f"approved by {', '.join(sorted(names))} as {self.role}"
                return result(self.kind, [Reason(message, True, self.role, len(names), ">=", self.count)])
            if approval.status is ApprovalStatus.REJECTED:
                said = next(decision for decision in approval.decisions if not decision.approved)
                message = f"rejected by {said.user} as {self.role}" + (f": {said.comment}" if said.comment else "")
                return result(self.kind, [stated(self.role, False, message)])
            if approval.status is ApprovalStatus.PENDING:
                message = f"waits for {self.role}: {len(names)} of {self.count} approved"
                return GateResult(
                    self.kind, False, (Reason(message, False, self.role, len(names), ">=", self.count),), pending=True
                )
        expired = "; an earlier one has expired" if len(live) < len(ours) else ""
        message = f"waits for {self.role}: 0 of {self.count} approved{expired}"
        return GateResult(self.kind, False, (Reason(message, False, self.role, 0, ">=", self.count),), pending=True)

    def _counted(self, names: set[str], starter: str) -> int:
        return len(names - {starter} if self.four_eyes else names)


@dataclass(frozen=True)
class EntryPointGate:
    """An entry point (of the project that made the model, unless another is named) exits with 0.

    `{model_uri}`, `{model}`, `{version}` and `{run_id}` in parameters stand for the candidate's.
    """

    entry_point: str
    parameters: Mapping[str, str] = field(default_factory=dict)
    project: str | None = None
    version: str | None = None
    timeout: Seconds | None = None
    kind: ClassVar[str] = "tests"

    @property
    def check(self) -> CheckRun:
        return CheckRun(
            self.entry_point, self.project, self.version, tuple(sorted(self.parameters.items())), self.timeout
        )

    def needs(self) -> tuple[tuple[Side, Need[Any]], ...]:
        return ((Side.CANDIDATE, self.check),)

    def judge(self, evidence: Evidence) -> GateResult:
        outcome = evidence.of(self.check)
        if isinstance(outcome, Unmeasured):
            return result(self.kind, [stated(self.entry_point, False, f"could not be run: {outcome.reason}")])
        message = f"entry point {self.entry_point} exited with {outcome.exit_code}"
        if outcome.run_id:
            message += f" in run {outcome.run_id}"
        if outcome.reason:
            message += f": {outcome.reason}"
        passed = outcome.exit_code == 0
        return result(self.kind, [Reason(message, passed, self.entry_point, outcome.exit_code, "==", 0)])


@dataclass(frozen=True)
class PythonGate:
    """A function `module:name`, called as `function(evidence, **settings)`, says yes.

    It answers with a `GateResult`, a bool, or a bool with a sentence; whatever it raises is a no that says why.
    """

    call: str
    settings: Mapping[str, Any] = field(default_factory=dict)
    kind: ClassVar[str] = "python"

    def __post_init__(self) -> None:
        module, _, name = self.call.partition(":")
        if not module or not name:
            raise ValueError(f"{self.call!r} does not name a function; write it as module:function")

    def needs(self) -> tuple[tuple[Side, Need[Any]], ...]:
        return ()

    def judge(self, evidence: Evidence) -> GateResult:
        from importlib import import_module

        module, _, name = self.call.partition(":")
        try:
            answer = getattr(import_module(module), name)(evidence, **self.settings)
        except Exception as error:
            return result(self.kind, [stated(self.call, False, f"raised {type(error).__name__}: {error}")])
        if isinstance(answer, GateResult):
            return GateResult(self.kind, answer.passed, answer.reasons, answer.pending)
        if isinstance(answer, bool):
            return result(self.kind, [stated(self.call, answer, f"{self.call} says {'yes' if answer else 'no'}")])
        if isinstance(answer, tuple) and len(answer) == 2 and isinstance(answer[0], bool):
            return result(self.kind, [stated(self.call, answer[0], str(answer[1]))])
        shown: Value = repr(answer)[:200]
        message = f"answered {shown}; a GateResult, a bool or (bool, sentence) is needed"
        return result(self.kind, [stated(self.call, False, message)])


__all__ = ["ApprovalGate", "EntryPointGate", "PythonGate"]
