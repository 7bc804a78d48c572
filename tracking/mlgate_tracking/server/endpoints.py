"""What an endpoint is: a method, a path, a request struct, and a function from the request to JSON.

Handlers are plain functions `(call, request) -> dict`, run in a thread; they know the store's contract and the wire
format, nothing of HTTP.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, TypeVar

from starlette.convertors import Convertor, register_url_convertor

from mlgate_tracking.contract import ServerStore
from mlgate_tracking.entities import Fence
from mlgate_tracking.server.decode import Request
from mlgate_tracking.users import Identity
from mlgate_tracking.wire import Json

if TYPE_CHECKING:
    from mlgate_tracking.server.state import ServerState

R = TypeVar("R", bound=Request)


class _Rest(Convertor[str]):
    """`{name:rest}` in a route: whatever is left of the path. Starlette's own `path` stops at a line feed."""

    regex = "(?s:.*)"

    def convert(self, value: str) -> str:
        return value

    def to_string(self, value: str) -> str:
        return value


register_url_convertor("rest", _Rest())


@dataclass(frozen=True, slots=True)
class Call:
    """One request as a handler sees it.

    Attributes:
        store: the store, or the view that the caller's token allows.
        fence: whose step token the caller sent, if any.
        identity: which user's token the caller sent, if any.
        idempotency_key: header `Idempotency-Key`: the same key again must not create a second thing.
    """

    store: ServerStore
    server: ServerState
    fence: Fence | None = None
    identity: Identity | None = None
    idempotency_key: str | None = None


@dataclass(frozen=True, slots=True)
class Endpoint:
    """A JSON endpoint; `path` is relative to `/api/` and may hold `{parameters}`."""

    method: str
    path: str
    request: type[Request]
    handler: Callable[[Call, Any], Json]
    answers: Mapping[str, str]
    """Keys of the answer and what they hold, for the API document."""

    @property
    def summary(self) -> str:
        return (self.handler.__doc__ or self.handler.__name__.replace("_", " ")).strip().splitlines()[0]


def endpoint(method: str, path: str, request: type[R], handler: Callable[[Call, R], Json], **answers: str) -> Endpoint:
    return Endpoint(method, path, request, handler, answers)


PAGED = {"next_page_token": "string"}
"""The key that a page of a longer answer has."""

__all__ = ["PAGED", "Call", "Endpoint", "endpoint"]
