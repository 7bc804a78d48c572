"""Which steps of a plan may start now: a small state machine, told what starts and what ends.

It knows nothing of time, threads or stores, so it can be tested on any graph.
"""

from __future__ import annotations

from mlgate.binding import SKIPPED, States, StepState
from mlgate.plan import Plan, PlannedStep

NOT_RUN = "NOT_RUN"
"""Status of a step that never started: a step that it needs failed, or the run was stopped before."""


class Schedule:
    """The course of one run of a plan.

    Args:
        done: steps that need not run (a run that is resumed has finished them).
        only: names of the steps that may run at all; all when None.
        keep_going: after a failure, go on with what does not need the failed step; else nothing more is started.
    """

    def __init__(
        self, plan: Plan, done: States | None = None, *, only: frozenset[str] | None = None, keep_going: bool = False
    ) -> None:
        self.plan = plan
        self.states: dict[str, StepState] = dict(done or {})
        self._waiting = {
            step.name: step
            for step in plan.steps
            if step.name not in self.states and (only is None or step.name in only)
        }
        self._running: set[str] = set()
        self._final = frozenset(step.name for step in plan.steps if step.final)
        self._keep_going = keep_going
        self._stopped = False

    def ready(self) -> list[PlannedStep]:
        """Steps that may start, in the plan's order. `finally` steps come when nothing else can happen any more."""
        self._give_up_hopeless()
        ordinary = (
            [] if self._halted else [step for step in self._waiting.values() if not step.final and self._met(step)]
        )
        if ordinary:
            return ordinary
        if self._running or (not self._halted and any(not step.final for step in self._waiting.values())):
            return []
        for step in [step for step in self._waiting.values() if not step.final]:
            self._give_up(step, "a step failed before")
        return [step for step in self._waiting.values() if all(self._ended(name) for name in step.needs)]

    def start(self, name: str) -> None:
        del self._waiting[name]
        self._running.add(name)

    def finish(self, state: StepState) -> None:
        self._running.discard(state.name)
        self._waiting.pop(state.name, None)
        self.states[state.name] = state

    def stop(self, *, final_too: bool = False) -> bool:
        """Start nothing more, for somebody wants the end; but `finally` steps still come, unless they are meant too.

        Returns:
            Whether that is news.
        """
        news = not self._stopped
        self._stopped = True
        for step in list(self._waiting.values()):
            if final_too or not step.final:
                self._give_up(step, "the run was stopped before")
        return news

    @property
    def over(self) -> bool:
        return not self._running and not self.ready()

    @property
    def failed(self) -> list[StepState]:
        return [state for state in self.states.values() if state.status not in ("FINISHED", SKIPPED, NOT_RUN)]

    @property
    def _halted(self) -> bool:
        return not self._keep_going and any(state.name not in self._final for state in self.failed)

    def _met(self, step: PlannedStep) -> bool:
        return all(
            name in self.states and (self.states[name].ok or self.states[name].status == SKIPPED) for name in step.needs
        )

    def _ended(self, name: str) -> bool:
        return name in self.states or (name not in self._waiting and name not in self._running)

    def _give_up_hopeless(self) -> None:
        """Steps behind a failure (or behind a step that is not to run) will not run; nor will what is behind them."""
        for step in list(self._waiting.values()):
            if step.final:
                continue
            broken = [
                name
                for name in step.needs
                if (name in self.states and not self.states[name].ok and self.states[name].status != SKIPPED)
                or (name not in self.states and name not in self._waiting and name not in self._running)
            ]
            if broken:
                self._give_up(step, f"needs {', '.join(broken)}, which did not succeed")

    def _give_up(self, step: PlannedStep, reason: str) -> None:
        self._waiting.pop(step.name, None)
        self.states[step.name] = StepState(step.name, NOT_RUN, outcome="not run", reason=reason)


__all__ = ["NOT_RUN", "Schedule"]
