"""Multipart uploads and presigned links: bytes that go past the server, straight to an object store."""

from __future__ import annotations

import urllib.request
from collections.abc import Iterator

import pytest

from tests.tracking.artifacts.object_stores import moto
from tests.tracking.server.conftest import Api

pytestmark = pytest.mark.objectstore

PROXY = "/api/2.0/mlflow-artifacts"
PART = 5 * 1024 * 1024


@pytest.fixture(scope="module")
def endpoint(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    with moto(tmp_path_factory.mktemp("moto")) as running:
        yield running


@pytest.fixture
def bucket(endpoint: str, monkeypatch: pytest.MonkeyPatch) -> str:
    import boto3

    for name, value in {
        "AWS_ACCESS_KEY_ID": "key",
        "AWS_SECRET_ACCESS_KEY": "secret",
        "AWS_DEFAULT_REGION": "us-east-1",
        "AWS_EC2_METADATA_DISABLED": "true",
        "MLFLOW_S3_ENDPOINT_URL": endpoint,
    }.items():
        monkeypatch.setenv(name, value)
    boto3.client("s3", endpoint_url=endpoint).create_bucket(Bucket="bucket")
    return "s3://bucket/server"


@pytest.fixture
def on_s3(serve, bucket) -> Api:
    return Api(serve(artifacts_destination=bucket))


def put(url: str, content: bytes, headers: dict[str, str]) -> str:
    typed = {"Content-Type": "application/octet-stream", **headers}  # urllib would call it a form
    request = urllib.request.Request(url, data=content, headers=typed, method="PUT")
    with urllib.request.urlopen(request, timeout=20) as answer:
        return answer.headers["ETag"]


def read(url: str) -> bytes:
    with urllib.request.urlopen(url, timeout=20) as answer:
        return answer.read()


def test_clients_are_told_that_they_may_go_past_the_server(on_s3):
    told = on_s3.get("/api/3.0/mlflow/server-info")
    assert (told["multipart_uploads_enabled"], told["multipart_downloads_enabled"]) == (True, True)


def test_a_multipart_upload_is_put_together(on_s3):
    content = [b"a" * PART, b"b" * 1000]
    begun = on_s3.post(f"{PROXY}/mpu/create/0/run/artifacts", path="C:\\models\\big.bin", num_parts=2)
    parts = [
        {"part_number": part["part_number"], "etag": put(part["url"], piece, part["headers"]), "url": part["url"]}
        for part, piece in zip(begun["credentials"], content, strict=True)
    ]
    on_s3.post(f"{PROXY}/mpu/complete/0/run/artifacts", path="big.bin", upload_id=begun["upload_id"], parts=parts)
    path = f"{PROXY}/artifacts/0/run/artifacts/big.bin"
    assert on_s3.client.get(path).content == b"".join(content)
    assert on_s3.client.get(path, headers={"range": f"bytes={PART - 1}-{PART}"}).content == b"ab"


def test_an_abandoned_multipart_upload_leaves_nothing(on_s3):
    begun = on_s3.post(f"{PROXY}/mpu/create/0/run/artifacts", path="gone.bin", num_parts=1)
    put(begun["credentials"][0]["url"], b"x", {})
    on_s3.post(f"{PROXY}/mpu/abort/0/run/artifacts", path="gone.bin", upload_id=begun["upload_id"])
    assert on_s3.client.get(f"{PROXY}/artifacts/0/run/artifacts/gone.bin").status_code == 404


def test_a_proxied_artifact_is_downloaded_by_a_link(on_s3):
    on_s3.client.put(f"{PROXY}/artifacts/0/run/artifacts/x y.txt", content=b"hello")
    link = on_s3.get(f"{PROXY}/presigned/0/run/artifacts/x%20y.txt")
    assert (read(link["url"]), link["file_size"]) == (b"hello", 5)


def test_runs_with_a_location_of_their_own_get_links_both_ways(on_s3, bucket):
    experiment_id = on_s3.post("experiments/create", name="direct", artifact_location=f"{bucket}/direct")[
        "experiment_id"
    ]
    run_id = on_s3.run(experiment_id=experiment_id)
    link = on_s3.post("artifacts/presigned-upload-url", run_id=run_id, path="model/MLmodel")
    put(link["presigned_url"], b"flavors: {}", link["headers"])
    back = on_s3.post("artifacts/presigned-download-url", run_id=run_id, path="model/MLmodel")
    assert read(back["presigned_url"]) == b"flavors: {}"
    assert on_s3.get("artifacts/list", run_id=run_id)["files"] == [{"path": "model", "is_dir": True}]


def test_runs_behind_the_proxy_get_no_links_and_their_callers_a_reason(on_s3):
    refused = on_s3.refused("POST", "artifacts/presigned-upload-url", run_id=on_s3.run(), path="x")
    assert refused == (400, "INVALID_PARAMETER_VALUE")
    assert on_s3.refused("POST", "artifacts/presigned-upload-url", path="x") == (400, "INVALID_PARAMETER_VALUE")


def test_a_step_begins_multipart_uploads_below_its_own_run_only(on_s3):
    step = on_s3.post("/api/3.0/mlgate/step-runs/open", step_run_key="k", experiment_id="0")["step_run"]
    headers = {"authorization": f"Bearer {step['token']}"}
    for run_id, status in ((step["run"]["info"]["run_id"], 200), (on_s3.run(), 403)):
        answer = on_s3.client.post(
            f"{PROXY}/mpu/create/0/{run_id}/artifacts", json={"path": "f", "num_parts": 1}, headers=headers
        )
        assert answer.status_code == status
