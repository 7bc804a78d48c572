"""Requests into typed structs: strict about types, and errors in the words that MLflow's clients know.

The happy path is one pass of msgspec over the body. Only when that fails is the body looked at again: `null` counts as
absent, a body that is a JSON string holding JSON is decoded twice, and the error names the parameter and its value.
NUL characters are refused wherever they stand, since PostgreSQL cannot store them.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Annotated, Any, Generic, TypeVar, get_origin
from urllib.parse import parse_qsl

import msgspec

from mlgate_tracking.errors import InvalidParameterValue


class Request(msgspec.Struct, frozen=True, kw_only=True):
    """Base of every request: fields by name, unknown ones ignored."""


class Empty(Request, frozen=True):
    """A request without fields."""


Text = Annotated[str, msgspec.Meta(min_length=1)]
"""Required text: empty counts as missing."""
Int64 = Annotated[int, msgspec.Meta(ge=-(2**63), le=2**63 - 1)]
Natural = Annotated[int, msgspec.Meta(ge=0, le=2**63 - 1)]
Version = Annotated[int, msgspec.Meta(ge=0, le=2**31 - 1)]

R = TypeVar("R", bound=Request)

_MISSING = re.compile(r"Object missing required field `(?P<field>[^`]+)`(?: - at `\$\.?(?P<where>[^`]*)`)?$")
_WRONG = re.compile(r"(?P<problem>.*?)(?: - at `\$\.?(?P<where>[^`]*)`)?$", re.DOTALL)
_STEP = re.compile(r"([^.\[\]]+)|\[(\d+)\]")
_ABSENT = object()
_NUL = b"\\u0000"
"""How JSON writes it; as such it stands in no valid JSON."""


class RequestDecoder(Generic[R]):
    """Decodes the body, query and path parameters of one endpoint into its request struct."""

    def __init__(self, kind: type[R]) -> None:
        self._kind = kind
        # Numbers and booleans may come as text, in bodies (64-bit integers) as in queries.
        self._json = msgspec.json.Decoder(kind, strict=False)
        self._lists = frozenset(
            field.encode_name for field in msgspec.structs.fields(kind) if get_origin(field.type) is tuple
        )

    def from_body(self, body: bytes, path_parameters: Mapping[str, str] | None = None) -> R:
        """Raises `InvalidParameterValue` naming the parameter that is missing or wrong."""
        if not path_parameters and _NUL not in body:
            try:
                return self._json.decode(body or b"{}")
            except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError):
                pass
        return self._convert({**_object(body), **_without_nul(path_parameters or {})})

    def from_query(self, query: bytes, path_parameters: Mapping[str, str] | None = None) -> R:
        values: dict[str, Any] = {}
        try:
            pairs = parse_qsl(query.decode("ascii"), keep_blank_values=True, errors="strict", max_num_fields=10_000)
        except ValueError as error:
            raise InvalidParameterValue(f"the query string is not valid: {error}") from None
        for key, value in pairs:
            if key in self._lists:
                values.setdefault(key, []).append(value)
            else:
                values[key] = value
        return self._convert(_without_nul({**values, **(path_parameters or {})}))

    def _convert(self, values: Mapping[str, Any]) -> R:
        try:
            return msgspec.convert(values, self._kind, strict=False)
        except msgspec.ValidationError as error:
            if "got `null`" not in str(error):
                raise _explained(error, values) from None
        values = _without_nulls(values)
        try:
            return msgspec.convert(values, self._kind, strict=False)
        except msgspec.ValidationError as error:
            raise _explained(error, values) from None


def _object(body: bytes) -> Mapping[str, Any]:
    try:
        value = msgspec.json.decode(body or b"{}")
        if isinstance(value, str):
            body = value.encode()
            value = msgspec.json.decode(body or b"{}")
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError) as error:
        raise InvalidParameterValue(f"the request body is not valid JSON: {error}") from None
    if not isinstance(value, dict):
        raise InvalidParameterValue(f"the request body must be a JSON object, not {_short(value)}")
    return _without_nul(value) if _NUL in body else value


def _without_nul(values: Mapping[str, Any]) -> Mapping[str, Any]:
    """The values, if no text or name among them holds a NUL."""
    rest: list[tuple[str, Any]] = [("", values)]
    while rest:
        where, value = rest.pop()
        if isinstance(value, str):
            if "\0" in value:
                shown = where.replace("\0", r"\u0000")
                raise InvalidParameterValue(
                    f"Invalid value {_short(value)} for parameter '{shown}' supplied: "
                    "it holds a NUL character, which not every database can store; leave it out"
                )
        elif isinstance(value, Mapping):
            for name, entry in value.items():
                inner = f"{where}.{name}" if where else name
                rest += [(inner, name), (inner, entry)]
        elif isinstance(value, list):
            rest += [(f"{where}[{index}]", entry) for index, entry in enumerate(value)]
    return values


def _without_nulls(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _without_nulls(entry) for key, entry in value.items() if entry is not None}
    if isinstance(value, list):
        return [_without_nulls(entry) for entry in value]
    return value


def _explained(error: msgspec.ValidationError, values: Mapping[str, Any]) -> InvalidParameterValue:
    text = str(error)
    missing = _MISSING.match(text)
    if missing:
        where = missing["where"]
        return _missing(f"{where}.{missing['field']}" if where else missing["field"])
    wrong = _WRONG.match(text)
    where = (wrong["where"] if wrong else None) or ""
    found = _lookup(values, where)
    if found == "":
        return _missing(where)
    shown = "" if found is _ABSENT else f"{_short(found)} "
    problem = wrong["problem"] if wrong else text
    return InvalidParameterValue(f"Invalid value {shown}for parameter '{where}' supplied: {problem}")


def _missing(name: str) -> InvalidParameterValue:
    return InvalidParameterValue(f"Missing value for required parameter '{name}'.")


def _lookup(values: Any, where: str) -> Any:
    for key, index in _STEP.findall(where):
        try:
            values = values[key] if key else values[int(index)]
        except (KeyError, IndexError, TypeError):
            return _ABSENT
    return values


def _short(value: Any) -> str:
    text = msgspec.json.encode(value).decode("utf-8", "replace")
    return text if len(text) <= 120 else text[:117] + "..."


def required(value: str, name: str) -> str:
    """The value of a required text that may come under several names; empty raises `InvalidParameterValue`."""
    if not value:
        raise _missing(name)
    return value


__all__ = ["Empty", "Int64", "Natural", "Request", "RequestDecoder", "Text", "Version", "required"]
