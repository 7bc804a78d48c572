"""The API document agrees with the routes, and the shapes in it with what `wire` writes."""

from __future__ import annotations

import re

import msgspec
import pytest
from hypothesis import given

from mlgate_tracking import wire
from mlgate_tracking.server.app import endpoints
from mlgate_tracking.server.schemas import SHAPES
from mlgate_tracking.server.settings import ServerSettings
from tests.tracking import test_wire


@pytest.fixture
def document(client):
    answer = client.get("/openapi.json")
    assert answer.headers["content-type"] == "application/json"
    return answer.json()


def test_every_endpoint_is_in_the_document(document):
    assert document["openapi"].startswith("3.1")
    found = {(method.upper(), path) for path, operations in document["paths"].items() for method in operations}
    wanted = {
        (endpoint.method, "/api/" + endpoint.path.replace(":rest}", "}")) for endpoint in endpoints(ServerSettings())
    }
    assert found == wanted


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
