"""Who a task run is: names that another attempt of the same flow run finds again.

Prefect gives every task run of a retried or resumed flow run a new id, so the id names nothing that lasts. What lasts
is what was asked for: the flow run, the kind of work, its parameters, and the how-manieth equal call this is.
"""

from __future__ import annotations

import hashlib
import json
import threading
from typing import TYPE_CHECKING, Any

from prefect.context import FlowRunContext
from prefect.runtime import flow_run, task_run

if TYPE_CHECKING:
    from mlgate.step import Engine

_lock = threading.Lock()


def identity(kind: str, asked: Any) -> str:
    """`kind-DIGEST`, the same for every attempt of one call; equal calls of a flow run are numbered as they begin.

    Equal calls that run at once are therefore told apart only as long as they begin in the same order again: a retry
    finds the same results, but may hand them out the other way round.

    Args:
        asked: the parameters; anything that turns into JSON (or text).
    """
    digest = hashlib.sha256(json.dumps(asked, sort_keys=True, default=str).encode()).hexdigest()[:10]
    name, context = f"{kind}-{digest}", FlowRunContext.get()
    if context is None:
        return name
    # Made anew for each attempt of the flow run, and there to tell equal task calls apart.
    counts: dict[str, Any] = context.task_run_dynamic_keys
    with _lock:
        mine = f"mlgate/{name}/{task_run.id}"
        if mine not in counts:
            counts[mine] = counts.get(f"mlgate/{name}", 0)
            counts[f"mlgate/{name}"] = counts[mine] + 1
        number = counts[mine]
    return f"{name}-{number}" if number else name


def began_before() -> bool:
    """Whether this flow run has run before: it is retried, or it is resumed, which Prefect does not count."""
    context = FlowRunContext.get()
    if context is None or context.flow_run is None:
        return False
    return context.flow_run.run_count > 1 or bool(context.flow_run.empirical_policy.pause_keys)


def engine_of_this_run() -> Engine:
    """The flow run as the engine's run; a task run without a flow stands for itself."""
    from mlgate.step import Engine

    ids = {
        "flow_run_id": str(flow_run.id or ""),
        "flow_run_name": str(flow_run.name or ""),
        "flow_name": str(flow_run.flow_name or ""),
        "task_run_id": str(task_run.id or ""),
    }
    return Engine("prefect", str(flow_run.id or task_run.id), {name: value for name, value in ids.items() if value})


def user() -> str:
    return f"prefect:{flow_run.flow_name or 'task'}"


__all__ = ["began_before", "engine_of_this_run", "identity", "user"]
