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
        self._left = False
        self._wakened = threading.Lock()
        self._wakened.acquire()

    def _wait(self, patience: float) -> bool:
        """Until somebody did our work, or it is our turn to lead; whether it was within so many seconds (-1: any)."""
        return self._wakened.acquire(timeout=patience)

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
        self._leader: R | None = None
        """Who leads, or was told to and has not begun."""
        self._at_end: Callable[[], None] | None = None

    def enter(self, request: R, patience: float = -1) -> bool:
        """Have a request served, and raise its error if it has one.

        Args:
            patience: seconds after which a caller leaves whose turn has not come; -1: it stays.

        Returns:
            Whether the request was served; False if its caller has left the line.
        """
        try:
            with self._mutex:
                if self._at_end is not None:
                    raise RuntimeError(f"{self._owner} is closed")
                self._waiting.append(request)
                leads = self._leader is None
                if leads:
                    self._leader = request
            if not leads and not request._wait(patience):
                if self._leave(request, gone=False):
                    return False
                request._wait(-1)
            if not request._done:
                self._lead(request)
        except BaseException:  # interrupted, most likely
            self._leave(request, gone=True)
            raise
        if request.error is not None:
            try:
                raise request.error
            finally:
                request.error = None  # no reference cycle through the traceback
        return True

    def close(self, at_end: Callable[[], None]) -> None:
        """Let nobody in any more, and call `at_end` once everybody who waits has been served. Safe to call twice."""
        with self._mutex:
            self._at_end = at_end
            if self._leader is None:  # else whoever leads calls it when the line has gone
                at_end()

    def _leave(self, request: R, *, gone: bool) -> bool:
        """Go without being served; False if that is too late, because somebody is at it.

        Args:
            gone: the caller goes in any case.
        """
        with self._mutex:
            request._left = gone
            waits = request in self._waiting
            if waits:
                self._waiting.remove(request)
            if request is self._leader:
                self._hand_on()
            return waits

    def _lead(self, own: R) -> None:
        """Serve everybody who waits, then hand the lead on."""
        group: list[R] = []
        try:
            with self._mutex:
                group.extend(self._waiting.popleft() for _ in range(min(len(self._waiting), self._largest)))
            self._serve(group)
        except BaseException:
            # We were interrupted (control-C, exit). Whoever was not answered yet goes back to the head of the line.
            with self._mutex:
                again = [each for each in group if each is not own and not each.settled and not each._left]
                self._waiting.extendleft(reversed(again))
            group = [each for each in group if each not in again]
            raise
        finally:
            for request in group:
                request._done = True
            try:
                with self._mutex:
                    self._hand_on()
            finally:
                for request in group:
                    if request is not own:
                        request._wake()

    def _hand_on(self) -> None:
        """Wake whoever leads next; call it with the mutex held."""
        self._leader = self._waiting[0] if self._waiting else None
        if self._leader is not None:
            self._leader._wake()
        elif self._at_end is not None:
            self._at_end()


__all__ = ["Lineup", "Request"]
