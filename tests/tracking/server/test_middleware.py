"""Credentials, and what a page in a browser may not do."""

from __future__ import annotations

import base64
import json
import logging

import pytest

from mlgate_tracking.entities import Fence
from mlgate_tracking.server.tokens import StepTokens
from tests.tracking.server.conftest import SECRET, Api

EXPERIMENTS = "/api/2.0/mlflow/experiments/get?experiment_id=0"


def basic(user: str, password: str) -> dict[str, str]:
    return {"authorization": "Basic " + base64.b64encode(f"{user}:{password}".encode()).decode()}


def bearer(token: str) -> dict[str, str]:
    return {"authorization": f"Bearer {token}"}


@pytest.mark.parametrize("headers", [{}, bearer("wrong"), basic("me", "wrong"), {"authorization": "Basic ###"}])
def test_a_server_with_an_access_token_refuses_others(serve, headers):
    answer = serve(access_token="right").get(EXPERIMENTS, headers=headers)
    assert (answer.status_code, answer.json()["error_code"]) == (401, "UNAUTHENTICATED")
    assert answer.headers["www-authenticate"].startswith("Basic")


@pytest.mark.parametrize("headers", [bearer("right"), basic("anybody", "right")])
def test_the_access_token_comes_as_bearer_token_or_password(serve, headers):
    assert serve(access_token="right").get(EXPERIMENTS, headers=headers).status_code == 200


@pytest.mark.parametrize("path", ["/health", "/api/3.0/mlflow/server-info"])
def test_probes_need_no_credentials(serve, path):
    assert serve(access_token="right").get(path).status_code == 200


def test_an_open_server_ignores_foreign_credentials(client):
    assert client.get(EXPERIMENTS, headers=bearer("of another server")).status_code == 200


def opened_step(client) -> dict[str, str]:
    answer = Api(client).post("/api/3.0/mlgate/step-runs/open", step_run_key="key", experiment_id="0")["step_run"]
    return {"token": answer["token"], "run_id": answer["run"]["info"]["run_id"]}


def test_a_step_writes_to_its_own_run_and_to_no_other(client):
    step, other = opened_step(client), Api(client).run()
    for run_id, status in ((step["run_id"], 200), (other, 403)):
        answer = client.post(
            "/api/2.0/mlflow/runs/set-tag",
            json={"run_id": run_id, "key": "k", "value": "v"},
            headers=bearer(step["token"]),
        )
        assert answer.status_code == status, answer.text


def test_the_token_of_an_older_attempt_is_worthless(client):
    first = opened_step(client)
    opened_step(client)
    answer = client.post(
        "/api/2.0/mlflow/runs/set-tag", json={"run_id": first["run_id"], "key": "k"}, headers=bearer(first["token"])
    )
    assert (answer.status_code, answer.json()["error_code"]) == (409, "ABORTED")
    assert answer.json()["details"]["current_attempt"] == 2


def test_a_forged_step_token_is_refused_even_by_an_open_server(client):
    token = StepTokens(b"somebody else's secret", 60).mint(Fence("0" * 32, 1))
    assert client.get(EXPERIMENTS, headers=bearer(token)).status_code == 401


def test_a_server_for_steps_takes_nothing_but_step_tokens(serve):
    client = serve(step_tokens_only=True)
    token = StepTokens(SECRET, 60).mint(Fence("0" * 32, 1))
    assert client.get(EXPERIMENTS).status_code == 401
    assert client.get(EXPERIMENTS, headers=bearer(token)).status_code == 200


def test_a_step_cannot_ask_for_the_token_of_another(client):
    step, other = opened_step(client), Api(client).run()
    answer = client.post(
        "/api/3.0/mlgate/step-runs/token", json={"run_id": other, "attempt": 1}, headers=bearer(step["token"])
    )
    assert answer.status_code == 403


@pytest.mark.parametrize("host", ["localhost:5000", "127.0.0.1", "[::1]:5000", "10.1.2.3", "host.docker.internal:1"])
def test_local_and_private_hosts_are_served(client, host):
    assert client.get(EXPERIMENTS, headers={"host": host}).status_code == 200


@pytest.mark.parametrize("host", ["evil.example", "8.8.8.8", "127.0.0.1.evil.example", "[", "a:b:c"])
def test_a_foreign_host_name_is_refused(client, host):
    answer = client.get(EXPERIMENTS, headers={"host": host})
    assert (answer.status_code, answer.text[:19]) == (403, "Invalid Host header")
    assert client.get("/health", headers={"host": host}).status_code == 200


def test_hosts_can_be_allowed_by_name(serve):
    client = serve(allowed_hosts=("ml.example",))
    assert client.get(EXPERIMENTS, headers={"host": "ml.example:443"}).status_code == 200


@pytest.mark.parametrize(("origin", "status"), [("http://localhost:3000", 200), ("https://evil.example", 403)])
def test_pages_of_other_origins_may_not_write(client, origin, status):
    answer = client.post("/api/2.0/mlflow/experiments/create", json={"name": "x"}, headers={"origin": origin})
    assert answer.status_code == status


def test_origins_can_be_allowed_by_name(serve):
    client = serve(allowed_origins=("https://ml.example",))
    answer = client.post(
        "/api/2.0/mlflow/experiments/create", json={"name": "x"}, headers={"origin": "https://ml.example"}
    )
    assert answer.status_code == 200


def test_each_request_is_one_line_of_json_in_the_access_log(serve, caplog):
    client = serve(access_log=True)
    with caplog.at_level(logging.INFO, logger="mlgate_tracking.access"):
        client.get(EXPERIMENTS, headers={"user-agent": "tests\n1"})
    line = json.loads(caplog.records[-1].getMessage())
    assert (line["method"], line["path"], line["status"]) == ("GET", "/api/2.0/mlflow/experiments/get", 200)
    assert line["bytes"] > 0
