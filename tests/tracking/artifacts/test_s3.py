from __future__ import annotations

import hashlib
import json
import urllib.error
import urllib.request
from collections.abc import Iterator
from typing import Any

import pytest

from mlgate_tracking.artifacts import ArtifactRepository, DirectTransfer, UploadPart, repository_for
from mlgate_tracking.artifacts.objects import PART_SIZE
from mlgate_tracking.artifacts.s3 import S3Repository, _client
from mlgate_tracking.entities import FileInfo
from mlgate_tracking.errors import (
    InternalError,
    InvalidParameterValue,
    PermissionDenied,
    ResourceDoesNotExist,
    TemporarilyUnavailable,
)
from mlgate_tracking.testing.artifacts import ArtifactRepositoryConformance, paths_below, put, read
from tests.tracking.artifacts.object_stores import moto, seaweedfs

pytestmark = pytest.mark.objectstore

ACCESS_KEY, SECRET_KEY = "test", "testsecret"


@pytest.fixture(scope="module")
def moto_endpoint(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    with moto(tmp_path_factory.mktemp("moto")) as endpoint:
        yield endpoint


@pytest.fixture(scope="module")
def seaweedfs_endpoint(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    with seaweedfs(tmp_path_factory.mktemp("weed"), ACCESS_KEY, SECRET_KEY) as endpoint:
        yield endpoint


@pytest.fixture(autouse=True)
def _credentials(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", ACCESS_KEY)
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", SECRET_KEY)
    monkeypatch.setenv("AWS_DEFAULT_REGION", "us-east-1")
    monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")
    for name in ("AWS_PROFILE", "AWS_ENDPOINT_URL", "http_proxy", "HTTP_PROXY"):
        monkeypatch.delenv(name, raising=False)


@pytest.fixture
def new_client() -> Iterator[None]:
    """For tests that change credentials: the process's shared client would go on with the old ones."""
    _client.cache_clear()
    yield
    _client.cache_clear()


_counter = iter(range(10_000))


def fresh(endpoint: str, monkeypatch: pytest.MonkeyPatch, prefix: str = "some/prefix") -> S3Repository:
    """A repository with a prefix of its own, in a bucket that is there."""
    monkeypatch.setenv("MLFLOW_S3_ENDPOINT_URL", endpoint)
    repository = repository_for(f"s3://artifacts/{prefix}/{next(_counter)}")
    assert isinstance(repository, S3Repository)
    if endpoint not in _buckets:
        repository.client.create_bucket(Bucket="artifacts")
        _buckets.add(endpoint)
    return repository


_buckets: set[str] = set()


class TestS3Repository(ArtifactRepositoryConformance):
    big_size = 3 * PART_SIZE + (1 << 20)

    @pytest.fixture
    def repository(self, moto_endpoint: str, monkeypatch: pytest.MonkeyPatch) -> ArtifactRepository:
        return fresh(moto_endpoint, monkeypatch)


class TestS3RepositoryOnDisk(ArtifactRepositoryConformance):
    big_size = 3 * PART_SIZE

    @pytest.fixture
    def repository(self, seaweedfs_endpoint: str, monkeypatch: pytest.MonkeyPatch) -> ArtifactRepository:
        return fresh(seaweedfs_endpoint, monkeypatch)


@pytest.fixture
def s3(moto_endpoint: str, monkeypatch: pytest.MonkeyPatch) -> S3Repository:
    return fresh(moto_endpoint, monkeypatch)


@pytest.fixture
def real(seaweedfs_endpoint: str, monkeypatch: pytest.MonkeyPatch) -> S3Repository:
    return fresh(seaweedfs_endpoint, monkeypatch)


# --- names -----------------------------------------------------------------------------------------------------------


def test_a_whole_bucket_can_be_the_root(moto_endpoint: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MLFLOW_S3_ENDPOINT_URL", moto_endpoint)
    root = repository_for("s3://whole")
    assert isinstance(root, S3Repository)
    root.client.create_bucket(Bucket="whole")
    put(root, "a/b.txt")
    assert root.root_uri == "s3://whole"
    assert [entry.path for entry in root.list().items] == ["a"]
    assert read(repository_for("mlflow-artifacts:/a", destination="s3://whole"), "b.txt") == b"body"
    root.delete("")
    assert paths_below(root) == []


def test_keys_that_this_api_cannot_spell_are_left_out(s3: S3Repository) -> None:
    put(s3, "good.txt")
    for key in ("../escape.txt", "a//b.txt", "back\\slash", "folder/", "hash#tag"):
        s3.client.put_object(Bucket=s3.bucket, Key=f"{s3.prefix}/{key}", Body=b"x")
    assert [entry for entry in s3.list().items if not entry.is_dir] == [FileInfo("good.txt", is_dir=False, size=4)]
    assert s3.list("folder").items == ()


def test_a_bucket_must_be_named() -> None:
    with pytest.raises(InvalidParameterValue, match="name a bucket"):
        S3Repository("s3:///prefix")


# --- parts and checksums ---------------------------------------------------------------------------------------------


def _unfinished(repository: S3Repository) -> list[Any]:
    answer = repository.client.list_multipart_uploads(Bucket=repository.bucket, Prefix=repository.prefix)
    return list(answer.get("Uploads", ()))


def test_a_failed_upload_leaves_no_parts_that_cost_money(s3: S3Repository) -> None:
    writer = s3.writer("big.bin")
    for _ in range(3):
        writer.write(b"x" * PART_SIZE)
    assert len(_unfinished(s3)) == 1
    writer.abort()
    assert _unfinished(s3) == []
    assert paths_below(s3) == []


@pytest.mark.parametrize("size", [1000, 2 * PART_SIZE + 5])
def test_a_damaged_file_is_noticed(s3: S3Repository, size: int, monkeypatch: pytest.MonkeyPatch) -> None:
    s3.upload("a.bin", iter([b"x" * size]))
    assert len(read(s3, "a.bin")) == size
    ask = s3.client.get_object

    def damaging(**arguments: Any) -> Any:
        found = ask(**arguments)
        body = bytearray(found["Body"].read())
        body[-1] ^= 1
        return {**found, "Body": _Body(bytes(body))}

    monkeypatch.setattr(s3.client, "get_object", damaging)
    with pytest.raises(InternalError, match="arrived damaged: its checksum"):
        read(s3, "a.bin")


class _Body:
    def __init__(self, content: bytes, breaks_at: int | None = None) -> None:
        self._content = content
        self._breaks_at = breaks_at

    def iter_chunks(self, size: int) -> Iterator[bytes]:
        for start in range(0, len(self._content), size):
            if self._breaks_at is not None and start >= self._breaks_at:
                raise ConnectionResetError("scripted")
            yield self._content[start : start + size]


def test_a_download_goes_on_where_it_broke_off(s3: S3Repository, monkeypatch: pytest.MonkeyPatch) -> None:
    content = b"".join(bytes([number]) * (1 << 20) for number in range(5))
    s3.upload("a.bin", iter([content]))
    ask = s3.client.get_object
    asked: list[dict[str, Any]] = []

    def breaking(**arguments: Any) -> Any:
        asked.append(arguments)
        found = ask(**arguments)
        return {**found, "Body": _Body(found["Body"].read(), breaks_at=2 << 20 if len(asked) == 1 else None)}

    monkeypatch.setattr(s3.client, "get_object", breaking)
    assert hashlib.sha256(read(s3, "a.bin")).digest() == hashlib.sha256(content).digest()
    assert asked[1]["Range"] == f"bytes={2 << 20}-"
    assert asked[1]["IfMatch"], "never continued with another version of the file"


def test_a_download_that_breaks_off_again_and_again_ends(s3: S3Repository, monkeypatch: pytest.MonkeyPatch) -> None:
    put(s3, "a.bin", b"x" * 100)
    ask = s3.client.get_object
    monkeypatch.setattr(
        s3.client, "get_object", lambda **arguments: {**ask(**arguments), "Body": _Body(b"x" * 100, breaks_at=0)}
    )
    with pytest.raises(TemporarilyUnavailable, match="again and again"):
        read(s3, "a.bin")


# --- options and refusals --------------------------------------------------------------------------------------------


def test_encryption_and_other_options_are_sent(moto_endpoint: str, monkeypatch: pytest.MonkeyPatch) -> None:
    options = {"ServerSideEncryption": "aws:kms", "SSEKMSKeyId": "key-1", "StorageClass": "STANDARD_IA"}
    monkeypatch.setenv("MLFLOW_S3_UPLOAD_EXTRA_ARGS", json.dumps(options))
    s3 = fresh(moto_endpoint, monkeypatch)
    for name, size in [("small", 10), ("big", PART_SIZE + 1)]:
        s3.upload(name, iter([b"x" * size]))
        head = s3.client.head_object(Bucket=s3.bucket, Key=f"{s3.prefix}/{name}")
        assert (head["ServerSideEncryption"], head["SSEKMSKeyId"]) == ("aws:kms", "key-1")
        assert head["StorageClass"] == "STANDARD_IA"
        assert len(read(s3, name)) == size


@pytest.mark.parametrize(
    ("text", "message"),
    [("{", "not JSON"), ("[1]", "not a JSON object"), ('{"Bucket": "other"}', "unknown option 'Bucket'")],
)
def test_options_that_make_no_sense_are_refused(monkeypatch: pytest.MonkeyPatch, text: str, message: str) -> None:
    monkeypatch.setenv("MLFLOW_S3_UPLOAD_EXTRA_ARGS", text)
    with pytest.raises(InvalidParameterValue, match=message):
        S3Repository("s3://bucket")


@pytest.mark.usefixtures("new_client")
def test_a_wrong_secret_is_told_clearly(seaweedfs_endpoint: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "wrong")
    monkeypatch.setenv("MLFLOW_S3_ENDPOINT_URL", seaweedfs_endpoint)
    repository = S3Repository("s3://artifacts/x")
    with pytest.raises(PermissionDenied, match=r"s3://artifacts/x/a\.txt: SignatureDoesNotMatch"):
        put(repository, "a.txt")


@pytest.mark.usefixtures("new_client")
def test_missing_credentials_are_told_clearly(moto_endpoint: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("AWS_ACCESS_KEY_ID")
    monkeypatch.delenv("AWS_SECRET_ACCESS_KEY")
    monkeypatch.setenv("AWS_SHARED_CREDENTIALS_FILE", "/no/such/file")
    monkeypatch.setenv("MLFLOW_S3_ENDPOINT_URL", moto_endpoint)
    with pytest.raises(PermissionDenied, match="set AWS_ACCESS_KEY_ID"):
        put(S3Repository("s3://artifacts/x"), "a.txt")


def test_a_missing_bucket_is_told_clearly(s3: S3Repository) -> None:
    nowhere = S3Repository("s3://no-such-bucket/x")
    with pytest.raises(ResourceDoesNotExist, match="no such bucket"):
        put(nowhere, "a.txt")
    with pytest.raises(ResourceDoesNotExist, match="no such bucket"):
        nowhere.list()


@pytest.mark.usefixtures("new_client")
def test_a_store_that_is_away_is_told_clearly(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MLFLOW_S3_ENDPOINT_URL", "http://127.0.0.1:1")
    monkeypatch.setenv("AWS_MAX_ATTEMPTS", "1")
    with pytest.raises(TemporarilyUnavailable, match=r"127\.0\.0\.1:1"):
        S3Repository("s3://artifacts").list()


# --- past the server -------------------------------------------------------------------------------------------------


def _http(method: str, url: str, body: bytes | None = None) -> tuple[bytes, str]:
    with urllib.request.urlopen(urllib.request.Request(url, body, method=method), timeout=10) as answer:
        return answer.read(), answer.headers.get("ETag", "")


def test_presigned_links_read_and_write_one_file(real: S3Repository) -> None:
    assert isinstance(real, DirectTransfer)
    link = real.presigned_upload("new é.txt")
    _http("PUT", link.url, b"direct")
    assert read(real, "new é.txt") == b"direct"
    link = real.presigned_download("new é.txt", expires=60)
    assert (_http("GET", link.url)[0], link.size) == (b"direct", 6)
    with pytest.raises(urllib.error.HTTPError, match="403"):
        _http("GET", link.url.replace("new", "old"))
    with pytest.raises(ResourceDoesNotExist):
        real.presigned_download("nothing.txt")


def test_a_file_is_put_together_from_parts_that_clients_sent(real: S3Repository) -> None:
    begun = real.create_multipart("big.bin", 2)
    assert [part.number for part in begun.parts] == [1, 2]
    bodies = [b"a" * (5 << 20), b"b" * 10]
    etags = [_http("PUT", part.url, body)[1] for part, body in zip(begun.parts, bodies, strict=True)]
    parts = [UploadPart(number, etag) for number, etag in enumerate(etags, 1)]
    real.complete_multipart("big.bin", begun.upload_id, parts[::-1])
    assert read(real, "big.bin") == b"".join(bodies)


def test_an_aborted_multipart_upload_is_gone(real: S3Repository) -> None:
    begun = real.create_multipart("big.bin", 1)
    real.abort_multipart("big.bin", begun.upload_id)
    with pytest.raises((InvalidParameterValue, ResourceDoesNotExist)):
        real.complete_multipart("big.bin", begun.upload_id, [UploadPart(1, '"x"')])
    assert paths_below(real) == []
