"""How the parts of `RestStore` ask the server: one question, one JSON answer, or the error that it stands for."""

from __future__ import annotations

import json
import os
from abc import ABC, abstractmethod
from collections.abc import Sequence
from typing import Any

from mlgate_tracking.errors import InvalidParameterValue, TrackingError
from mlgate_tracking.transport import Request, Response, error_from
from mlgate_tracking.wire import Json

MLFLOW = "/api/2.0/mlflow/"
MLGATE = "/api/3.0/mlgate/"


class RestCalls(ABC):
    """
    Attributes:
        uri: the server, for messages.
    """

    uri: str

    @abstractmethod
    def send(self, request: Request) -> Response:
        """Ask the server; any status is an answer."""

    def _get(self, path: str, **query: object) -> Json:
        pairs = []
        for key, value in query.items():
            if isinstance(value, (list, tuple)):
                pairs += [(key, str(entry)) for entry in value]
            elif value is not None:
                pairs.append((key, str(value)))
        return self._answer(Request("GET", path, tuple(pairs)))

    def _write(self, method: str, path: str, body: Json, *, key: str | None = None, repeatable: bool = True) -> Json:
        return self._answer(_json_request(method, path, body, key, repeatable))

    def _once(self, method: str, path: str, body: Json, settled: type[TrackingError]) -> Json | None:
        """Write something that cannot be written twice; None when an earlier try turns out to have done it already."""
        request = _json_request(method, path, body, None, True)
        response = self.send(request)
        try:
            return self._body(request, response)
        except settled:
            if not response.repeated:
                raise
            return None

    def _answer(self, request: Request) -> Json:
        return self._body(request, self.send(request))

    def _body(self, request: Request, response: Response) -> Json:
        if response.status != 200:
            raise error_from(response, f"{request.method} {self.uri}{request.path}")
        try:
            body = json.loads(response.read() or b"{}")
        except ValueError:
            body = None
        if not isinstance(body, dict):
            raise InvalidParameterValue(f"{self.uri} did not answer with JSON; is it a tracking server?")
        return body


def _json_request(method: str, path: str, body: Json, key: str | None, repeatable: bool) -> Request:
    headers = {"Content-Type": "application/json"}
    if key:
        headers["Idempotency-Key"] = key
    encoded = json.dumps(body, separators=(",", ":"), allow_nan=False).encode()
    return Request(method, path, headers=headers, body=encoded, repeatable=repeatable)


def given(**fields: Any) -> Json:
    return {key: value for key, value in fields.items() if value is not None and value != []}


def search(
    filter_string: str | None, order_by: Sequence[str], max_results: int, page_token: str | None, **more: str
) -> Json:
    return given(filter=filter_string, order_by=list(order_by), max_results=max_results, page_token=page_token, **more)


def new_key() -> str:
    return os.urandom(16).hex()


__all__ = ["MLFLOW", "MLGATE", "RestCalls", "given", "new_key", "search"]
