"""Making reasons: one comparison, its values and the sentence that says it."""

from __future__ import annotations

import math
import operator
from collections.abc import Callable, Sequence

from mlgate_tracking.governance import GateResult, Reason

_COMPARISONS: dict[str, Callable[[float, float], bool]] = {
    ">=": operator.ge,
    "<=": operator.le,
    ">": operator.gt,
    "<": operator.lt,
    "==": operator.eq,
}


def number(value: float) -> str:
    return f"{value:.6g}"


def compared(subject: str, actual: float, comparison: str, expected: float, note: str = "") -> Reason:
    """A reason from two numbers; NaN never passes (and is no JSON number, so it travels in the message only)."""
    passed = not math.isnan(actual) and _COMPARISONS[comparison](actual, expected)
    message = f"{subject} {number(actual)} {'' if passed else 'not '}{comparison} {number(expected)}"
    return Reason(
        message=f"{message} ({note})" if note else message,
        passed=passed,
        subject=subject,
        actual=actual if math.isfinite(actual) else None,
        comparison=comparison,
        expected=expected if math.isfinite(expected) else None,
    )


def stated(subject: str, passed: bool, message: str) -> Reason:
    """A reason that is a fact rather than a comparison of numbers."""
    return Reason(message=message, passed=passed, subject=subject)


def result(gate: str, reasons: Sequence[Reason]) -> GateResult:
    """Passed when every reason did; no reason at all speaks for nothing, so it does not pass."""
    return GateResult(gate, bool(reasons) and all(reason.passed for reason in reasons), tuple(reasons))


def known(names: Sequence[str]) -> str:
    """`known: a, b, c` for messages; short when there are many."""
    if not names:
        return "there are none"
    shown = ", ".join(sorted(names)[:8])
    return f"known: {shown}" + (f" and {len(names) - 8} more" if len(names) > 8 else "")


__all__ = ["compared", "known", "number", "result", "stated"]
