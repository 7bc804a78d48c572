from __future__ import annotations

from collections.abc import Iterator

import pytest

from mlgate_tracking.artifacts import ArtifactRepository, DirectTransfer, repository_for
from mlgate_tracking.artifacts.gcs import GcsRepository, _client
from mlgate_tracking.artifacts.objects import PART_SIZE
from mlgate_tracking.errors import (
    InternalError,
    InvalidParameterValue,
    NotImplementedByStore,
    PermissionDenied,
    ResourceDoesNotExist,
    TemporarilyUnavailable,
)
from mlgate_tracking.testing.artifacts import ArtifactRepositoryConformance, paths_below, put, read
from tests.support import require
from tests.tracking.artifacts.object_stores import fake_gcs, installed


@pytest.fixture(scope="module")
def emulator(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    with fake_gcs(tmp_path_factory.mktemp("gcs")) as address:
        with pytest.MonkeyPatch.context() as patch:
            patch.setenv("STORAGE_EMULATOR_HOST", address)
            GcsRepository("gs://artifacts").client.create_bucket("artifacts")
        yield address
    _client.cache_clear()


_counter = iter(range(10_000))


@pytest.fixture
def gcs(emulator: str, monkeypatch: pytest.MonkeyPatch) -> GcsRepository:
    monkeypatch.setenv("STORAGE_EMULATOR_HOST", emulator)
    found = repository_for(f"gs://artifacts/some/prefix/{next(_counter)}")
    assert isinstance(found, GcsRepository)
    return found


@pytest.mark.objectstore
class TestGcsRepository(ArtifactRepositoryConformance):
    big_size = 3 * PART_SIZE + (1 << 20)

    @pytest.fixture
    def repository(self, gcs: GcsRepository) -> ArtifactRepository:
        return gcs

    def test_list_pages_without_gaps_or_repeats(self, repository: ArtifactRepository) -> None:
        """Files only: this emulator repeats all folders on every page, which the service does not."""
        names = [f"many/{index:03}.txt" for index in range(10)]
        for name in names:
            put(repository, name)
        seen: list[str] = []
        token: str | None = None
        for _ in range(4):
            page = repository.list("many", max_results=3, page_token=token)
            seen += [entry.path for entry in page.items]
            token = page.token
        assert (seen, token) == (names, None)


@pytest.mark.objectstore
def test_a_file_that_is_replaced_while_it_is_read_is_noticed(gcs: GcsRepository) -> None:
    gcs.upload("a.bin", iter([b"x" * (PART_SIZE + 10)]))
    chunks = gcs.download("a.bin")
    next(chunks)
    gcs.upload("a.bin", iter([b"y" * (PART_SIZE + 10)]))
    # By its generation in the service; this emulator does not look at that, and the checksum tells.
    with pytest.raises((TemporarilyUnavailable, ResourceDoesNotExist, InternalError)):
        list(chunks)


@pytest.mark.objectstore
def test_a_damaged_file_is_noticed(gcs: GcsRepository, monkeypatch: pytest.MonkeyPatch) -> None:
    from google.cloud.storage import Blob

    put(gcs, "a.txt", b"right")
    monkeypatch.setattr(Blob, "download_as_bytes", lambda *_arguments, **_options: b"wrong")
    with pytest.raises(InternalError, match="arrived damaged"):
        read(gcs, "a.txt")


@pytest.mark.objectstore
def test_a_missing_bucket_is_told_clearly(gcs: GcsRepository) -> None:
    nowhere = GcsRepository("gs://no-such-bucket/x")
    with pytest.raises(ResourceDoesNotExist, match="no such"):
        nowhere.list()


@pytest.mark.objectstore
def test_links_need_credentials_that_can_sign(gcs: GcsRepository) -> None:
    assert isinstance(gcs, DirectTransfer)
    put(gcs, "a.txt")
    with pytest.raises(NotImplementedByStore, match="cannot sign links"):
        gcs.presigned_download("a.txt")
    with pytest.raises(NotImplementedByStore, match="Multipart upload is not supported"):
        gcs.create_multipart("a.txt", 2)


@pytest.mark.objectstore
def test_an_upload_that_is_given_up_never_shows(gcs: GcsRepository) -> None:
    writer = gcs.writer("big.bin")
    writer.write(b"x" * (2 * PART_SIZE + 1))
    writer.abort()
    assert paths_below(gcs) == []


def test_a_bucket_must_be_named() -> None:
    with pytest.raises(InvalidParameterValue, match="name a bucket"):
        GcsRepository("gs:///prefix")


def test_missing_credentials_are_told_clearly(monkeypatch: pytest.MonkeyPatch) -> None:
    require(installed("google.cloud.storage"), "mlgate[gcs] is not installed")
    monkeypatch.delenv("STORAGE_EMULATOR_HOST", raising=False)
    monkeypatch.setenv("GOOGLE_APPLICATION_CREDENTIALS", "/no/such/file.json")
    _client.cache_clear()
    with pytest.raises(PermissionDenied, match="set GOOGLE_APPLICATION_CREDENTIALS"):
        GcsRepository("gs://bucket/x")
