"""The API document agrees with the routes, and the shapes in it with what `wire` writes."""

from __future__ import annotations

import re

import msgspec
import pytest
from hypothesis import given

from mlgate_tracking import wire
from mlgate_tracking.server.app import _routes, endpoints
from mlgate_tracking.server.schemas import SHAPES
from mlgate_tracking.server.settings import ServerSettings
from mlgate_tracking.server.state import ServerState
from tests.tracking import test_wire


@pytest.fixture
def document(client):
    answer = client.get("/openapi.json")
    assert answer.headers["content-type"] == "application/json"
    return answer.json()


@pytest.mark.parametrize("given", [{}, {"artifacts_only": True}, {"serve_artifacts": False}], ids=str)
def test_the_document_names_every_route_that_there_is(serve, store, given):
    settings = ServerSettings(artifacts_destination="x", **given)
    wanted = {(endpoint.method, "/api/" + endpoint.path) for endpoint in endpoints(settings)}
    wanted |= {
        (method, route.path)
        for route in _routes(ServerState(store, settings))
        for method in route.methods - {"HEAD"}
        # The twins for browsers, and what only says that the proxy is off.
        if not route.path.startswith("/ajax-api/2.0/mlflow-artifacts/") and route.endpoint.__name__ != "not_served"
    }
    document = serve(**given).get("/openapi.json").json()
    assert document["openapi"].startswith("3.1")
    found = {(method.upper(), path) for path, operations in document["paths"].items() for method in operations}
    assert found == {(method, path.replace(":rest}", "}")) for method, path in wanted}


def test_operations_have_names_of_their_own(document):
    names = [operation["operationId"] for path in document["paths"].values() for operation in path.values()]
    assert len(names) == len(set(names))


def test_every_reference_leads_somewhere(document):
    references = set(re.findall(r'"#/components/schemas/([^"]+)"', msgspec.json.encode(document).decode()))
    assert references <= set(document["components"]["schemas"])
    assert {"Run", "Experiment", "ModelVersion", "CreateRun"} <= references


def test_path_parameters_are_declared(document):
    for path, operations in document["paths"].items():
        for operation in operations.values():
            declared = {each["name"] for each in operation["parameters"] if each["in"] == "path"}
            assert declared == set(re.findall(r"\{(\w+)\}", path)), path


@given(test_wire.runs)
def test_runs_have_the_documented_shape(run):
    msgspec.convert(wire.run_to_wire(run), SHAPES["Run"])


@given(test_wire.versions)
def test_model_versions_have_the_documented_shape(version):
    msgspec.convert(wire.model_version_to_wire(version), SHAPES["ModelVersion"])


def test_answers_of_the_server_have_the_documented_shape(api):
    run_id = api.run(tags=[{"key": "k", "value": "v"}])
    api.post("registered-models/create", name="m")
    model = api.post("logged-models", experiment_id="0", name="x")["model"]
    shown = {
        "Experiment": api.get("experiments/get", experiment_id="0")["experiment"],
        "Run": api.get("runs/get", run_id=run_id)["run"],
        "RegisteredModel": api.get("registered-models/get", name="m")["registered_model"],
        "LoggedModel": model,
        "StepRun": api.post("/api/3.0/mlgate/step-runs/open", step_run_key="k", experiment_id="0")["step_run"],
    }
    for name, answer in shown.items():
        msgspec.convert(answer, SHAPES[name])
