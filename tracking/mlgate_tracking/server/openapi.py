"""The API as an OpenAPI 3.1 document, made from the endpoints themselves: it cannot fall behind them.

Routes that move files or text have no request to be described from; what they are is written here.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import get_type_hints

import msgspec

from mlgate_tracking import governance, users
from mlgate_tracking.server.decode import Request
from mlgate_tracking.server.endpoints import Endpoint
from mlgate_tracking.server.schemas import SHAPES
from mlgate_tracking.wire import Json

_PLAIN: Mapping[str, Json] = {name: {"type": name} for name in ("string", "integer", "boolean", "number", "object")}
_PATH_PARAMETER = re.compile(r"\{(\w+)(?::rest)?\}")
_REFERENCE = "#/components/schemas/{name}"


@dataclass(frozen=True, slots=True)
class _Plain:
    """A route whose body or answer is not the API's JSON.

    Attributes:
        query: its parameters; all are required.
        sends, answers: media types.
    """

    summary: str
    query: tuple[str, ...] = ()
    sends: str | None = None
    answers: str = "application/octet-stream"


_TEXT, _JSON, _BYTES = "text/plain", "application/json", "application/octet-stream"
_PROXIED = "/api/2.0/mlflow-artifacts/artifacts/{path}"
_PLAIN_ROUTES: Mapping[tuple[str, str], _Plain] = {
    ("GET", "/health"): _Plain("Whether the server is up; needs no credentials.", answers=_TEXT),
    ("GET", "/version"): _Plain("The server's version.", answers=_TEXT),
    ("GET", "/metrics"): _Plain("Counts and latencies for Prometheus.", answers=_TEXT),
    ("GET", "/openapi.json"): _Plain("This document.", answers=_JSON),
    ("GET", "/get-artifact"): _Plain("Download an artifact of a run.", ("run_id", "path")),
    ("GET", "/model-versions/get-artifact"): _Plain(
        "Download an artifact of a model version.", ("name", "version", "path")
    ),
    ("GET", "/ajax-api/2.0/mlflow/logged-models/{model_id}/artifacts/files"): _Plain(
        "Download an artifact of a logged model.", ("artifact_file_path",)
    ),
    ("POST", "/ajax-api/2.0/mlflow/upload-artifact"): _Plain(
        "Upload a small file to the artifacts of a run.", ("run_id", "path"), sends=_BYTES, answers=_TEXT
    ),
    ("GET", _PROXIED): _Plain("Download a proxied artifact, or a part of it (Range)."),
    ("PUT", _PROXIED): _Plain("Upload a proxied artifact.", sends=_BYTES, answers=_JSON),
    ("DELETE", _PROXIED): _Plain("Delete a proxied artifact, or all below it.", answers=_JSON),
}


def document(endpoints: Sequence[Endpoint], version: str, routes: Iterable[tuple[str, str]] = ()) -> Json:
    """The document of these endpoints, and of the files and texts among `routes`, pairs of method and path."""
    answers = {_shape_name(shape) for endpoint in endpoints for shape in endpoint.answers.values()} - set(_PLAIN)
    shapes = {
        name: SHAPES.get(name) or getattr(governance, name, None) or getattr(users, name) for name in sorted(answers)
    }
    requests = list(dict.fromkeys(endpoint.request for endpoint in endpoints if endpoint.method != "GET"))
    types = [*requests, *shapes.values(), SHAPES["Error"]]
    references, components = msgspec.json.schema_components(types, ref_template=_REFERENCE)
    by_type = dict(zip(types, references, strict=True))
    paths: dict[str, Json] = {}
    for endpoint in endpoints:
        operation = _operation(endpoint, by_type, {name: by_type[shape] for name, shape in shapes.items()})
        path = "/api/" + _PATH_PARAMETER.sub(r"{\1}", endpoint.path)
        paths.setdefault(path, {})[endpoint.method.lower()] = operation
    for method, route in routes:
        path = _PATH_PARAMETER.sub(r"{\1}", route)
        plain = _PLAIN_ROUTES.get((method, path))
        if plain is not None:
            paths.setdefault(path, {})[method.lower()] = _plain_operation(method, path, plain, by_type[SHAPES["Error"]])
    return {
        "openapi": "3.1.0",
        "info": {
            "title": "mlgate tracking server",
            "version": version,
            "description": "MLflow's REST API (2.0, 3.0) and mlgate's own (3.0/mlgate). What stands under /api/ also "
            "answers under /ajax-api/.",
        },
        "paths": dict(sorted(paths.items())),
        "components": {
            "schemas": components,
            "securitySchemes": {
                "token": {
                    "type": "http",
                    "scheme": "bearer",
                    "description": "a user's token, the access token or a step token",
                },
                "password": {
                    "type": "http",
                    "scheme": "basic",
                    "description": "name and token of a user, or the access token",
                },
            },
        },
        "security": [{}, {"token": []}, {"password": []}],
    }


def _operation(endpoint: Endpoint, by_type: Mapping[type, Json], shapes: Mapping[str, Json]) -> Json:
    in_path = _PATH_PARAMETER.findall(endpoint.path)
    operation: Json = {
        "operationId": _operation_id(endpoint),
        "summary": endpoint.summary,
        "tags": [_tag(endpoint.path)],
        "parameters": list(_parameters(endpoint.request, in_path, everything=endpoint.method == "GET")),
        "responses": {
            "200": _content("The answer.", _answer_schema(endpoint.answers, shapes)),
            "default": _content("Why not.", by_type[SHAPES["Error"]]),
        },
    }
    if endpoint.method != "GET":
        operation["requestBody"] = {"content": {"application/json": {"schema": by_type[endpoint.request]}}}
    return operation


def _plain_operation(method: str, path: str, plain: _Plain, error: Json) -> Json:
    in_path = _PATH_PARAMETER.findall(path)
    operation: Json = {
        "operationId": "_".join(word for word in re.findall(r"\w+", f"{method.lower()} {path}") if word != "mlflow"),
        "summary": plain.summary,
        "tags": ["artifacts" if "artifact" in path else "server"],
        "parameters": [
            {"name": name, "in": place, "required": True, "schema": _PLAIN["string"]}
            for place, names in (("path", in_path), ("query", plain.query))
            for name in names
        ],
        "responses": {
            "200": {"description": "The answer.", "content": {plain.answers: {}}},
            "default": _content("Why not.", error),
        },
    }
    if plain.sends:
        operation["requestBody"] = {"required": True, "content": {plain.sends: {}}}
    return operation


def _operation_id(endpoint: Endpoint) -> str:
    words = re.findall(r"\w+", f"{endpoint.method.lower()} {endpoint.path}")
    return "_".join(word for word in words if word not in ("mlflow", "path"))


def _tag(path: str) -> str:
    return path.split("/")[2].partition("{")[0] if not path.startswith("2.0/mlflow-artifacts") else "artifacts"


def _parameters(request: type[Request], in_path: Sequence[str], *, everything: bool) -> Iterable[Json]:
    hints = get_type_hints(request, include_extras=True)
    for field in msgspec.structs.fields(request):
        inside = field.name in in_path
        if inside or everything:
            yield {
                "name": field.encode_name,
                "in": "path" if inside else "query",
                "required": inside or field.required,
                "schema": msgspec.json.schema(hints[field.name]),
            }


def _answer_schema(answers: Mapping[str, str], shapes: Mapping[str, Json]) -> Json:
    return {"type": "object", "properties": {key: _schema(shape, shapes) for key, shape in answers.items()}}


def _schema(shape: str, shapes: Mapping[str, Json]) -> Json:
    name = _shape_name(shape)
    schema = _PLAIN.get(name) or shapes[name]
    return schema if name == shape else {"type": "array", "items": schema}


def _shape_name(shape: str) -> str:
    return shape.removesuffix("[]").strip("[]")


def _content(description: str, schema: Json) -> Json:
    return {"description": description, "content": {"application/json": {"schema": schema}}}


__all__ = ["document"]
