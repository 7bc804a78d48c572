"""Artifacts through the server: streams in and out, ranges, names, and who may write what."""

from __future__ import annotations

import gzip
import os

import pytest

from mlgate_tracking.artifacts.local import LocalRepository
from tests.tracking.server.conftest import Api

PROXY = "/api/2.0/mlflow-artifacts/artifacts"


def bearer(token: str) -> dict[str, str]:
    return {"authorization": f"Bearer {token}"}


def test_a_file_comes_back_as_it_went_in(client):
    content = os.urandom(3_000_000)
    assert client.put(f"{PROXY}/1/run/artifacts/model.bin", content=content).json() == {}
    answer = client.get(f"{PROXY}/1/run/artifacts/model.bin")
    assert answer.content == content
    assert answer.headers["content-length"] == str(len(content))


@pytest.mark.parametrize("name", ["two words", "Übung 1", "100%25", "line%0Afeed", "line feed at the end%0A"])
def test_names_may_hold_anything_that_does_not_lead_elsewhere(client, name):
    assert client.put(f"{PROXY}/a/{name}", content=b"text").status_code == 200
    assert client.get(f"{PROXY}/a/{name}").content == b"text"
    assert client.delete(f"{PROXY}/a/{name}").status_code == 200
    assert client.get(f"{PROXY}/a/{name}").status_code == 404


def test_an_upload_may_come_in_chunks_or_be_empty(client):
    client.put(f"{PROXY}/a/chunked", content=iter([b"ab", b"", b"cd"]))
    client.put(f"{PROXY}/a/empty", content=iter([]))
    assert client.get(f"{PROXY}/a/chunked").content == b"abcd"
    assert client.get(f"{PROXY}/a/empty").content == b""


def test_a_compressed_upload_is_kept_unpacked(client):
    text = b"a line of text\n" * 200_000
    client.put(f"{PROXY}/a/log.txt", content=gzip.compress(text), headers={"content-encoding": "gzip"})
    assert client.get(f"{PROXY}/a/log.txt").content == text


def test_a_damaged_compressed_upload_leaves_nothing(client):
    answer = client.put(f"{PROXY}/a/x", content=gzip.compress(b"text")[:-3], headers={"content-encoding": "gzip"})
    assert answer.status_code == 400
    assert client.get(f"{PROXY}/a/x").status_code == 404


@pytest.mark.parametrize(
    ("wanted", "got", "status"),
    [
        ("bytes=0-1", b"01", 206),
        ("bytes=8-", b"89", 206),
        ("bytes=-3", b"789", 206),
        ("bytes=5-500", b"56789", 206),
        ("bytes=0-9", b"0123456789", 200),
        ("bytes=0-1,4-5", b"0123456789", 200),
        ("lines=1-2", b"0123456789", 200),
        ("bytes=5-2", b"0123456789", 200),
        (f"bytes={'0' * 5000}8-", b"89", 206),
        (f"bytes=8-{'9' * 5000}", b"89", 206),
        (f"bytes=-{'9' * 5000}", b"0123456789", 200),
    ],
)
def test_a_range_is_served(client, wanted, got, status):
    client.put(f"{PROXY}/a/digits", content=b"0123456789")
    answer = client.get(f"{PROXY}/a/digits", headers={"range": wanted})
    assert (answer.status_code, answer.content) == (status, got)
    if status == 206:
        assert answer.headers["content-range"].endswith("/10")


@pytest.mark.parametrize("wanted", ["bytes=10-", "bytes=10-20", "bytes=-0", f"bytes={'9' * 5000}-"])
def test_a_range_outside_the_file_is_refused_with_its_size(client, wanted):
    client.put(f"{PROXY}/a/digits", content=b"0123456789")
    answer = client.get(f"{PROXY}/a/digits", headers={"range": wanted})
    assert (answer.status_code, answer.headers["content-range"]) == (416, "bytes */10")
    assert answer.json()["error_code"] == "INVALID_PARAMETER_VALUE"


def test_the_end_of_an_empty_file_is_all_of_it(client):
    client.put(f"{PROXY}/a/empty", content=b"")
    answer = client.get(f"{PROXY}/a/empty", headers={"range": "bytes=-5"})
    assert (answer.status_code, answer.content) == (200, b"")


@pytest.mark.parametrize("version", ["x", "-1", "9" * 5000, str(2**31), "1_0"])
def test_a_version_that_is_no_number_is_refused(client, version):
    answer = client.get("/model-versions/get-artifact", params={"name": "m", "version": version, "path": "x"})
    assert (answer.status_code, answer.json()["error_code"]) == (400, "INVALID_PARAMETER_VALUE")
    assert "parameter 'version'" in answer.json()["message"]


def test_a_failure_is_answered_in_json_and_logged(client, monkeypatch, caplog):
    def stat(_repository, _path):
        raise ValueError("broken inside")

    monkeypatch.setattr(LocalRepository, "stat", stat)
    answer = client.get(f"{PROXY}/a/x")
    assert (answer.status_code, answer.json()["error_code"]) == (500, "INTERNAL_ERROR")
    assert "broken inside" not in answer.text
    assert "broken inside" in caplog.text


@pytest.mark.parametrize("name", ["é x.txt", "50% done", "日本/名.txt", "a&b=c?d"])
def test_names_round_trip(client, name):
    from urllib.parse import quote

    assert client.put(f"{PROXY}/names/{quote(name)}", content=b"x").status_code == 200
    directory, _, last = name.rpartition("/")
    listing = client.get(PROXY, params={"path": f"names/{directory}".rstrip("/")}).json()
    assert listing["files"] == [{"path": last, "is_dir": False, "file_size": 1}]
    assert client.get(f"{PROXY}/names/{quote(name)}").content == b"x"


@pytest.mark.parametrize(
    "path", ["%2e%2e/x", "a/%2e%2e/%2e%2e/x", "a%5c..%5cx", "%252e%252e/x", "a%23b", "/etc/passwd"]
)
@pytest.mark.parametrize("method", ["GET", "PUT", "DELETE"])
def test_a_path_that_leaves_the_root_is_refused(client, method, path):
    answer = client.request(method, f"{PROXY}/{path}")
    assert (answer.status_code, answer.json()["error_code"]) == (400, "INVALID_PARAMETER_VALUE")


def test_a_missing_file_is_404_and_a_missing_directory_is_empty(client):
    answer = client.get(f"{PROXY}/no/such")
    assert (answer.status_code, answer.json()["error_code"]) == (404, "RESOURCE_DOES_NOT_EXIST")
    assert client.get(PROXY, params={"path": "no"}).json() == {}


def test_a_directory_cannot_be_downloaded(client):
    client.put(f"{PROXY}/a/b", content=b"x")
    assert client.get(f"{PROXY}/a").status_code == 400


def test_deleting_is_repeatable_but_never_everything(client):
    client.put(f"{PROXY}/a/b/c", content=b"x")
    for _ in range(2):
        assert client.delete(f"{PROXY}/a/b").json() == {}
    assert client.get(PROXY, params={"path": "a"}).json() == {}
    assert client.delete(f"{PROXY}/").status_code == 400


def test_pages_among_the_artifacts_are_downloads(client):
    client.put(f"{PROXY}/a/page.html", content=b"<script>")
    headers = client.get(f"{PROXY}/a/page.html").headers
    assert headers["content-disposition"].startswith("attachment")
    assert headers["x-content-type-options"] == "nosniff"


def test_local_files_offer_no_multipart_upload(client):
    answer = client.post("/api/2.0/mlflow-artifacts/mpu/create/a/b", json={"path": "f", "num_parts": 2})
    assert (answer.status_code, answer.json()["error_code"]) == (501, "NOT_IMPLEMENTED")
    assert answer.json()["message"].startswith("Multipart upload is not supported")
    assert client.get("/api/2.0/mlflow-artifacts/presigned/a/b").json()["message"].startswith("Multipart download is")


def test_the_proxy_can_be_turned_off(serve):
    assert serve(serve_artifacts=False).get(f"{PROXY}/a").status_code == 503


def test_a_server_for_artifacts_keeps_no_runs(serve):
    client = serve(artifacts_only=True)
    assert client.put(f"{PROXY}/a", content=b"x").status_code == 200
    assert client.post("/api/2.0/mlflow/runs/create", json={}).status_code == 404


def test_a_runs_artifacts_are_listed_and_read_by_run(client, api):
    run_id = api.run()
    client.put(f"{PROXY}/0/{run_id}/artifacts/plots/é.png", content=b"png")
    listing = api.get("artifacts/list", run_id=run_id)
    assert listing == {
        "root_uri": f"mlflow-artifacts:/0/{run_id}/artifacts",
        "files": [{"path": "plots", "is_dir": True}],
    }
    assert api.get("artifacts/list", run_uuid=run_id, path="plots")["files"][0]["path"] == "plots/é.png"
    answer = client.get("/get-artifact", params={"run_uuid": run_id, "path": "plots/é.png"})
    assert (answer.content, answer.headers["content-type"]) == (b"png", "image/png")
    assert "filename*=UTF-8''%C3%A9.png" in answer.headers["content-disposition"]
    assert client.get("/get-artifact", params={"run_id": run_id}).status_code == 400


def test_a_page_uploads_small_files(client, api):
    run_id = api.run()
    upload = "/ajax-api/2.0/mlflow/upload-artifact"
    assert client.post(upload, params={"run_uuid": run_id, "path": "note.md"}, content=b"x").text == ""
    assert client.get("/get-artifact", params={"run_id": run_id, "path": "note.md"}).content == b"x"
    assert client.post(upload, params={"run_uuid": run_id, "path": "e"}, content=b"").status_code == 400
    assert client.post(upload, params={"run_uuid": run_id, "path": "l"}, content=bytes(10_485_761)).status_code == 400
    assert len(api.get("artifacts/list", run_id=run_id)["files"]) == 1


def test_files_outside_the_servers_roots_are_not_read(client, api, tmp_path):
    (tmp_path / "secret").mkdir()
    location = str(tmp_path / "secret")
    experiment_id = api.post("experiments/create", name="x", artifact_location=location)["experiment_id"]
    run_id = api.run(experiment_id=experiment_id)
    answer = client.get("/get-artifact", params={"run_id": run_id, "path": "file"})
    assert (answer.status_code, answer.json()["error_code"]) == (403, "PERMISSION_DENIED")


def test_a_step_writes_below_its_own_run_only(client):
    api = Api(client)
    step = api.post("/api/3.0/mlgate/step-runs/open", step_run_key="key", experiment_id="0")["step_run"]
    run_id, headers = step["run"]["info"]["run_id"], bearer(step["token"])
    other = api.run()
    for path, status in (
        (f"0/{run_id}/artifacts/mine.txt", 200),
        (f"0/{other}/artifacts/theirs.txt", 403),
        (f"1/{run_id}/artifacts/elsewhere.txt", 403),
        ("0/loose.txt", 403),
    ):
        assert client.put(f"{PROXY}/{path}", content=b"x", headers=headers).status_code == status, path
        assert client.delete(f"{PROXY}/{path}", headers=headers).status_code == status, path
    api.post("/api/3.0/mlgate/step-runs/open", step_run_key="key", experiment_id="0")
    answer = client.put(f"{PROXY}/0/{run_id}/artifacts/late.txt", content=b"x", headers=headers)
    assert (answer.status_code, answer.json()["error_code"]) == (409, "ABORTED")


def test_a_step_writes_below_its_own_logged_models(client):
    step = Api(client).post("/api/3.0/mlgate/step-runs/open", step_run_key="key", experiment_id="0")["step_run"]
    headers = bearer(step["token"])
    mine = client.post("/api/2.0/mlflow/logged-models", json={"experiment_id": "0"}, headers=headers).json()
    theirs = Api(client).post("logged-models", experiment_id="0")
    for model, status in ((mine, 200), (theirs, 403)):
        path = model["model"]["info"]["artifact_uri"].removeprefix("mlflow-artifacts:/")
        assert client.put(f"{PROXY}/{path}/MLmodel", content=b"x", headers=headers).status_code == status
