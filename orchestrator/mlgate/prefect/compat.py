"""What differs between versions of Prefect, or is not offered by it; nothing else here looks under its cover."""

from __future__ import annotations

import asyncio
import contextlib
import functools
import threading
from collections.abc import Callable, Coroutine, Iterator
from contextvars import ContextVar
from typing import Any, ParamSpec, TypeVar

from prefect.client.schemas.objects import ConcurrencyLeaseHolder
from prefect.concurrency._sync import concurrency
from prefect.context import FlowRunContext, TaskRunContext

from mlgate_projects.process import Cancel

_P = ParamSpec("_P")
_R = TypeVar("_R")
_loop: ContextVar[asyncio.AbstractEventLoop | None] = ContextVar("mlgate_loop", default=None)
_cancel: ContextVar[threading.Event | None] = ContextVar("mlgate_cancel", default=None)


def cancel_of_this_run() -> Cancel:
    """Set as soon as the task or flow that is running is to end.

    In the main thread Prefect raises an exception, so nothing has to be asked. A thread of the task runner is told by
    an event of its own, which Prefect looks at only before a task starts.
    """
    given = _cancel.get()
    if given is not None:
        return given
    runner = getattr(FlowRunContext.get(), "task_runner", None)
    task = TaskRunContext.get()
    events: dict[Any, threading.Event] = getattr(runner, "_cancel_events", {})
    return (events.get(task.task_run.id) if task is not None else None) or threading.Event()


def in_thread(function: Callable[_P, _R]) -> Callable[_P, Coroutine[Any, Any, _R]]:
    """The same function as a coroutine; when that is cancelled, `cancel_of_this_run` is set within."""

    @functools.wraps(function)
    async def call(*args: _P.args, **kwargs: _P.kwargs) -> _R:
        event = threading.Event()
        token, loop = _cancel.set(event), _loop.set(asyncio.get_running_loop())
        try:
            return await asyncio.to_thread(function, *args, **kwargs)
        except BaseException:
            event.set()
            raise
        finally:
            _cancel.reset(token)
            _loop.reset(loop)

    return call


def interrupt(how: Callable[..., Any], how_async: Callable[..., Coroutine[Any, Any, Any]], **kwargs: Any) -> Any:
    """Call Prefect's `pause_flow_run` or `suspend_flow_run`, from a sync flow or from a thread of an async one.

    The sync function cannot be used in an async flow, whatever the thread: what it calls looks at the flow.
    """
    loop = _loop.get()
    if loop is None:
        return how(**kwargs, _sync=True)
    return asyncio.run_coroutine_threadsafe(how_async(**kwargs), loop).result()


@contextlib.contextmanager
def slot_for(tag: str) -> Iterator[None]:
    """A slot of the concurrency limit for a tag, where there is one, as for a task that carries the tag.

    The public function asks the server each time and warns where there is no limit; as a task run, as Prefect itself
    asks for the tags of a task, the answer is kept for some seconds and nothing is said.
    """
    task = TaskRunContext.get()
    holder = ConcurrencyLeaseHolder(type="task_run", id=task.task_run.id) if task is not None else None
    with concurrency([f"tag:{tag}"], occupy=1, holder=holder, suppress_warnings=True):
        yield


__all__ = ["cancel_of_this_run", "in_thread", "interrupt", "slot_for"]
