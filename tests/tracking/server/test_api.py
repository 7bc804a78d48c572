"""The JSON API's manners: paths, methods, bodies, errors."""

from __future__ import annotations

import gzip
import json

import pytest

import mlgate


@pytest.mark.parametrize("family", ["/api", "/ajax-api"])
@pytest.mark.parametrize("version", ["2.0", "2.0/preview"])
def test_every_family_of_paths_answers(client, family, version):
    answer = client.get(f"{family}/{version}/mlflow/experiments/get", params={"experiment_id": "0"})
    assert answer.json()["experiment"]["name"] == "Default"


def test_an_unknown_route_is_answered_in_plain_text_so_that_clients_fall_back(client):
    answer = client.post("/api/2.0/mlflow/datasets/create", json={})
    assert answer.status_code == 404
    assert answer.headers["content-type"].startswith("text/plain")


def test_a_wrong_method_is_refused_in_plain_text(client):
    answer = client.get("/api/2.0/mlflow/runs/create")
    assert (answer.status_code, answer.headers["allow"]) == (405, "POST")
    assert answer.headers["content-type"].startswith("text/plain")


def test_errors_have_mlflows_shape(client):
    answer = client.get("/api/2.0/mlflow/runs/get", params={"run_id": "0" * 32})
    assert answer.status_code == 404
    assert answer.json()["error_code"] == "RESOURCE_DOES_NOT_EXIST"


@pytest.mark.parametrize("content_type", [None, "text/plain"])
def test_posts_must_be_json(client, content_type):
    headers = {"content-type": content_type} if content_type else {}
    answer = client.post("/api/2.0/mlflow/experiments/create", content=b'{"name": "x"}', headers=headers)
    assert (answer.status_code, answer.json()["error_code"]) == (400, "INVALID_PARAMETER_VALUE")
    assert "Content-Type" in answer.json()["message"]


def test_a_charset_in_the_content_type_is_fine(client):
    headers = {"content-type": "application/json; charset=utf-8"}
    answer = client.post("/api/2.0/mlflow/experiments/create", content=b'{"name": "x"}', headers=headers)
    assert answer.status_code == 200


def test_a_compressed_body_is_unpacked(client):
    headers = {"content-type": "application/json", "content-encoding": "gzip"}
    answer = client.post("/api/2.0/mlflow/experiments/create", content=gzip.compress(b'{"name": "x"}'), headers=headers)
    assert answer.status_code == 200


@pytest.mark.parametrize("body", [b"not gzip", gzip.compress(b'{"name": "x"}')[:-4]], ids=["no gzip", "cut off"])
def test_a_damaged_compressed_body_is_refused(client, body):
    headers = {"content-type": "application/json", "content-encoding": "gzip"}
    answer = client.post("/api/2.0/mlflow/experiments/create", content=body, headers=headers)
    assert (answer.status_code, answer.json()["error_code"]) == (400, "INVALID_PARAMETER_VALUE")


@pytest.mark.parametrize("packed", [False, True])
def test_a_body_over_the_limit_is_refused_before_it_is_read_whole(serve, packed):
    client = serve(max_body_bytes=1000)
    body = json.dumps({"name": "x" * 100_000}).encode()
    headers = {"content-type": "application/json", **({"content-encoding": "gzip"} if packed else {})}
    answer = client.post(
        "/api/2.0/mlflow/experiments/create", content=gzip.compress(body) if packed else body, headers=headers
    )
    assert answer.status_code == 400
    assert "longer than 1000 bytes" in answer.json()["message"]


def test_long_answers_are_compressed_on_request(serve, store):
    store.create_experiment("x" * 400, tags=())
    client = serve(gzip=True)
    for name in range(50):
        store.create_experiment(f"experiment {name}")
    answer = client.post(
        "/api/2.0/mlflow/experiments/search", json={"max_results": 100}, headers={"accept-encoding": "gzip"}
    )
    assert answer.headers["content-encoding"] == "gzip"
    assert len(answer.json()["experiments"]) == 52


def test_a_static_prefix_goes_in_front_of_every_path(serve):
    client = serve(static_prefix="/team/")
    for path in ("/team/health", "/team/api/2.0/mlflow/experiments/get?experiment_id=0", "/health"):
        assert client.get(path).status_code == 200


def test_health_and_version_are_plain_text(client):
    assert client.get("/health").text == "OK"
    version = client.get("/version").text
    assert version == mlgate.__version__
    assert int(version.split(".")[0]) < 3  # 3.4 and later would promise OTLP


def test_an_internal_failure_shows_nothing_of_itself(client, store, monkeypatch):
    def broken(*_args, **_kwargs):
        raise RuntimeError("password=hunter2")

    monkeypatch.setattr(store, "get_run", broken)
    answer = client.get("/api/2.0/mlflow/runs/get", params={"run_id": "0" * 32})
    assert (answer.status_code, answer.json()["error_code"]) == (500, "INTERNAL_ERROR")
    assert "hunter2" not in answer.text


def test_metrics_are_exposed_for_prometheus(client):
    client.get("/api/2.0/mlflow/experiments/get", params={"experiment_id": "0"})
    text = client.get("/metrics").text
    assert 'mlgate_http_requests_total{method="GET",route="2.0/mlflow/experiments/get",status="200"} 1' in text
    client.get("/made/up/by/a/caller")
    text = client.get("/metrics").text
    assert 'route="metrics"' in text
    assert "made/up" not in text
    assert 'mlgate_http_request_seconds_bucket{method="GET",route="2.0/mlflow/experiments/get",le="+Inf"} 1' in text
