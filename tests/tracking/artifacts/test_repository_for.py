from __future__ import annotations

import sys
from pathlib import Path

import pytest

from mlgate_tracking.artifacts import check_destination, is_proxied, repository_for
from mlgate_tracking.errors import InvalidParameterValue, MissingExtra
from mlgate_tracking.testing.artifacts import put, read


@pytest.mark.parametrize("form", ["{}", "file:{}", "file://{}", "file://localhost{}"])
def test_local_directories_go_by_path_or_file_uri(tmp_path: Path, form: str) -> None:
    put(repository_for(form.format(tmp_path / "a")), "x.txt")
    assert (tmp_path / "a/x.txt").read_bytes() == b"body"


def test_file_uris_are_percent_decoded(tmp_path: Path) -> None:
    put(repository_for((tmp_path / "with space é").as_uri()), "x.txt")
    assert (tmp_path / "with space é/x.txt").exists()


@pytest.mark.parametrize("as_uri", [False, True])
def test_proxied_uris_are_sub_roots_of_the_destination(tmp_path: Path, as_uri: bool) -> None:
    destination = tmp_path.as_uri() if as_uri else str(tmp_path)
    repository = repository_for("mlflow-artifacts:/3/run%20one/artifacts", destination=destination)
    put(repository, "x.txt", b"1")
    assert (tmp_path / "3/run one/artifacts/x.txt").read_bytes() == b"1"
    assert read(repository_for("mlflow-artifacts:/", destination=destination), "3/run one/artifacts/x.txt") == b"1"


@pytest.mark.parametrize(
    ("uri", "message"),
    [
        ("ftp://host/x", "unknown scheme 'ftp'.*mlflow-artifacts:"),
        ("file://elsewhere/x", "host 'elsewhere'"),
        ("mlflow-artifacts:/../x", "Invalid path"),
        ("mlflow-artifacts:/%2e%2e/x", "Invalid path"),
        ("mlflow-artifacts://host:5000/x", "belongs to server 'host:5000'"),
    ],
)
def test_locations_that_lead_nowhere_are_refused(tmp_path: Path, uri: str, message: str) -> None:
    with pytest.raises(InvalidParameterValue, match=message):
        repository_for(uri, destination=str(tmp_path))


def test_a_proxied_uri_needs_a_destination_or_a_client() -> None:
    with pytest.raises(InvalidParameterValue, match="give the server's client or its destination"):
        repository_for("mlflow-artifacts:/1")


def test_a_destination_must_be_a_storage() -> None:
    with pytest.raises(InvalidParameterValue, match="is no storage"):
        repository_for("mlflow-artifacts:/1", destination="mlflow-artifacts:/")


def test_passwords_in_uris_are_not_shown() -> None:
    with pytest.raises(InvalidParameterValue) as caught:
        repository_for("ftp://user:hunter2@host/x")
    assert "hunter2" not in str(caught.value)


def test_is_proxied() -> None:
    assert is_proxied("mlflow-artifacts:/1")
    assert not is_proxied("s3://bucket/1")


@pytest.mark.parametrize(
    ("uri", "library", "extra"),
    [
        ("s3://bucket/folder", "boto3", "s3"),
        ("wasbs://box@account.blob.core.windows.net/folder", "azure.storage.blob", "azure"),
        ("gs://bucket/folder", "google.api_core.exceptions", "gcs"),
    ],
)
def test_a_missing_library_is_named_with_its_extra(
    monkeypatch: pytest.MonkeyPatch, uri: str, library: str, extra: str
) -> None:
    monkeypatch.setenv("MLFLOW_S3_ENDPOINT_URL", "http://another.client.example")  # not one that is there already
    monkeypatch.setitem(sys.modules, library, None)
    with pytest.raises(MissingExtra, match=rf"install mlgate\[{extra}\]"):
        repository_for(uri)


@pytest.mark.parametrize("destination", ["", "ftp://host", "http://host", "mlflow-artifacts:/", "dbfs:/x"])
def test_what_is_no_storage_is_refused_as_destination(destination: str) -> None:
    with pytest.raises(InvalidParameterValue, match="is no storage"):
        check_destination(destination)


@pytest.mark.parametrize("destination", ["relative/path", "/data", "file:///data", "s3://b", "gs://b", "abfss://c@a.x"])
def test_storages_are_taken_as_destination_without_a_look_at_them(destination: str) -> None:
    check_destination(destination)
