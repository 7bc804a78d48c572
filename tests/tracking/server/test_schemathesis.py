"""The API document and the server say the same: requests made from the one, answers of the other held against it."""

from __future__ import annotations

from pathlib import Path

import pytest
import schemathesis
from hypothesis import HealthCheck, Phase, given, settings
from schemathesis.checks import not_a_server_error
from schemathesis.specs.openapi.checks import content_type_conformance, response_schema_conformance

from mlgate_tracking.server.app import SERVER_VERSION, create_app, endpoints
from mlgate_tracking.server.openapi import document
from mlgate_tracking.server.settings import ServerSettings
from mlgate_tracking.store.sql import SqlStore

served = {}


async def current_app(scope, receive, send):
    """The operations are collected before there is a store; this is where their requests go."""
    if scope["type"] == "http":
        await served["app"](scope, receive, send)
        return
    for event in ("startup", "shutdown"):  # which comes for every request, and is none of the server's
        await receive()
        await send({"type": f"lifespan.{event}.complete"})


DOCUMENT = schemathesis.openapi.from_dict(document(endpoints(ServerSettings()), SERVER_VERSION))
DOCUMENT.app = current_app
OPERATIONS = {
    f"{operation.method.upper()} {operation.path}": operation
    for operation in (result.ok() for result in DOCUMENT.get_all_operations())
}
CHECKS = [content_type_conformance, response_schema_conformance]


@pytest.fixture(scope="module", autouse=True)
def app(tmp_path_factory: pytest.TempPathFactory):
    directory: Path = tmp_path_factory.mktemp("schemathesis")
    with SqlStore(f"sqlite:///{directory / 'mlgate.db'}?synchronous=normal") as store:
        served["app"] = create_app(
            store, ServerSettings(artifacts_destination=str(directory / "artifacts"), allowed_hosts=("*",))
        )
        yield


@pytest.mark.slow
@pytest.mark.parametrize("name", OPERATIONS)
def test_answers_are_those_of_the_document(name: str):
    @settings(max_examples=8, deadline=None, phases=[Phase.generate], suppress_health_check=list(HealthCheck))
    @given(case=OPERATIONS[name].as_strategy())
    def ask(case):
        answer = case.call()
        # 501: local files have no multipart uploads.
        checks = CHECKS if answer.status_code == 501 else [*CHECKS, not_a_server_error]
        case.validate_response(answer, checks=checks)

    ask()
