"""Callers who come together are served together: one of them does the work of all who wait.

The first caller leads at once, so a lone one waits for nobody. Who comes while it works lines up, and the next leader
takes the whole line. This is how databases commit for several clients at the price of one.
"""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Callable
from typing import Any, Generic, TypeVar


class Request:
    """One caller's share of a group; subclasses say what is wanted.

    Attributes:
        result: what the caller gets.
        error: what is raised at the caller instead.
        settled: whether its fate is decided: served, or failed for a reason of its own.
    """

    def __init__(self) -> None:
        self.result: Any = None
        self.error: BaseException | None = None
        self.settled = False
        self._done = False
        self._wakened = threading.Lock()
        self._wakened.acquire()

    def _wait(self) -> None:
        """Until somebody did our work, or it is our turn to lead."""
        self._wakened.acquire()

    def _wake(self) -> None:
        self._wakened.release()


R = TypeVar("R", bound=Request)


class Lineup(Generic[R]):
    """
    Args:
        serve: gives each request of a group its result or error; never called by two callers at once.
        largest: how many requests a group has at most.
        owner: what is closed when the line-up is, for the message.
    """

    def __init__(self, serve: Callable[[list[R]], None], largest: int, owner: str) -> None:
        self._serve = serve
        self._largest = largest
        self._owner = owner
        self._mutex = threading.Lock()
        self._waiting: deque[R] = deque()
        self._led = False
        self._next: R | None = None
        """Who was told to lead and has not begun."""
        self._at_end: Callable[[], None] | None = None

    def enter(self, request: R) -> Any:
        """The result of a request, once it has been served."""
        with self._mutex:
            if self._at_end is not None:
                raise RuntimeError(f"{self._owner} is closed")
            self._waiting.append(request)
            leads, self._led = not self._led, True
        if not leads:
            try:
                request._wait()
            except BaseException:  # interrupted
                self._leave(request)
                raise
        if not request._done:
            self._lead(request)
        if request.error is not None:
            try:
                raise request.error
            finally:
                request.error = None  # no reference cycle through the traceback
        return request.result

    def close(self, at_end: Callable[[], None]) -> None:
        """Let nobody in any more, and call `at_end` once everybody who waits has been served. Safe to call twice."""
        with self._mutex:
            self._at_end = at_end
            if not self._led:  # else whoever leads calls it when the line has gone
                at_end()

    def _leave(self, request: R) -> None:
        with self._mutex:
            if request in self._waiting:  # else it is being served
                self._waiting.remove(request)
                if request is self._next:
                    self._hand_on()

    def _lead(self, own: R) -> None:
        """Serve everybody who waits, then hand the lead on."""
        with self._mutex:
            self._next = None
            group = [self._waiting.popleft() for _ in range(min(len(self._waiting), self._largest))]
        try:
            self._serve(group)
        except BaseException:
            # We were interrupted (control-C, exit). Whoever was not answered yet goes back to the head of the line.
            with self._mutex:
                self._waiting.extendleft(other for other in reversed(group) if other is not own and not other.settled)
            group = [request for request in group if request is own or request.settled]
            raise
        finally:
            for request in group:
                request._done = True
            with self._mutex:
                self._hand_on()
            for request in group:
                if request is not own:
                    request._wake()

    def _hand_on(self) -> None:
        """Wake whoever leads next; call it with the mutex held."""
        self._next = self._waiting[0] if self._waiting else None
        self._led = self._next is not None
        if self._next is not None:
            self._next._wake()
        elif self._at_end is not None:
            self._at_end()


__all__ = ["Lineup", "Request"]
