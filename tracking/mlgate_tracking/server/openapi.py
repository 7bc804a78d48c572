"""The API as an OpenAPI 3.1 document, made from the endpoints themselves: it cannot fall behind them."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
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


def document(endpoints: Sequence[Endpoint], version: str) -> Json:
    """The document of these endpoints."""
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
    return {
        "openapi": "3.1.0",
        "info": {
            "title": "mlgate tracking server",
            "version": version,
            "description": "MLflow's REST API (2.0, 3.0) and mlgate's own (3.0/mlgate). Each path also answers under "
            "/ajax-api/. Files are moved with GET, PUT and DELETE on "
            "/api/2.0/mlflow-artifacts/artifacts/{path}.",
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
