from __future__ import annotations

import urllib.error
import urllib.request
from collections.abc import Iterator

import pytest

from mlgate_tracking.artifacts import ArtifactRepository, DirectTransfer, UploadPart, repository_for
from mlgate_tracking.artifacts.azure import AzureRepository, _client
from mlgate_tracking.artifacts.objects import PART_SIZE
from mlgate_tracking.entities import FileInfo
from mlgate_tracking.errors import (
    InternalError,
    InvalidParameterValue,
    PermissionDenied,
    ResourceDoesNotExist,
    TemporarilyUnavailable,
)
from mlgate_tracking.testing.artifacts import ArtifactRepositoryConformance, paths_below, put, read
from tests.support import require
from tests.tracking.artifacts.object_stores import azurite, installed

HOST = "devstoreaccount1.blob.core.windows.net"


@pytest.fixture(scope="module")
def connection(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    with azurite(tmp_path_factory.mktemp("azurite")) as connection:
        from azure.storage.blob import BlobServiceClient

        with BlobServiceClient.from_connection_string(connection) as service:
            service.create_container("artifacts")
        yield connection
    _client.cache_clear()


_counter = iter(range(10_000))


@pytest.fixture
def azure(connection: str, monkeypatch: pytest.MonkeyPatch) -> AzureRepository:
    monkeypatch.setenv("AZURE_STORAGE_CONNECTION_STRING", connection)
    found = repository_for(f"wasbs://artifacts@{HOST}/some/prefix/{next(_counter)}")
    assert isinstance(found, AzureRepository)
    return found


@pytest.mark.objectstore
class TestAzureRepository(ArtifactRepositoryConformance):
    big_size = 3 * PART_SIZE + (1 << 20)

    @pytest.fixture
    def repository(self, azure: AzureRepository) -> ArtifactRepository:
        return azure


@pytest.mark.objectstore
def test_data_lake_uris_name_the_same_blobs(azure: AzureRepository) -> None:
    put(azure, "a.txt")
    lake = repository_for(azure.root_uri.replace("wasbs://", "abfss://").replace(".blob.", ".dfs."))
    assert read(lake, "a.txt") == b"body"


@pytest.mark.objectstore
def test_folders_of_data_lake_accounts_are_folders(azure: AzureRepository) -> None:
    azure.client.upload_blob(f"{azure.prefix}/folder", b"", metadata={"hdi_isfolder": "true"})
    put(azure, "folder/a.txt")
    assert azure.stat("folder") == FileInfo("folder", is_dir=True)
    assert azure.list().items == (FileInfo("folder", is_dir=True),)
    azure.delete("folder")
    assert paths_below(azure) == []


@pytest.mark.objectstore
def test_deleting_a_root_leaves_the_blob_that_is_named_like_it(azure: AzureRepository) -> None:
    azure.client.upload_blob(azure.prefix, b"neighbour")
    put(azure, "a.txt")
    azure.delete("")
    assert azure.client.download_blob(azure.prefix).readall() == b"neighbour"


@pytest.mark.objectstore
def test_a_damaged_file_is_noticed(azure: AzureRepository) -> None:
    from azure.storage.blob import ContentSettings

    put(azure, "a.txt", b"right")
    blob = azure.client.get_blob_client(f"{azure.prefix}/a.txt")
    blob.set_http_headers(ContentSettings(content_md5=bytearray(16)))
    with pytest.raises(InternalError, match="arrived damaged"):
        read(azure, "a.txt")
    assert read(azure, "a.txt", 1, 3) == b"ig"


@pytest.mark.objectstore
def test_a_missing_container_is_told_clearly(azure: AzureRepository) -> None:
    nowhere = AzureRepository(f"wasbs://nothing@{HOST}/x")
    with pytest.raises(ResourceDoesNotExist, match="no such container"):
        put(nowhere, "a.txt")
    with pytest.raises(ResourceDoesNotExist, match="no such container"):
        nowhere.stat("a.txt")


@pytest.mark.objectstore
def test_a_wrong_key_is_told_clearly(connection: str, monkeypatch: pytest.MonkeyPatch) -> None:
    wrong = connection.replace("AccountKey=Eby8", "AccountKey=Abcd")
    monkeypatch.setenv("AZURE_STORAGE_CONNECTION_STRING", wrong)
    with pytest.raises(PermissionDenied, match=r"a\.txt: AuthorizationFailure"):
        put(AzureRepository(f"wasbs://artifacts@{HOST}/x"), "a.txt")


# --- past the server -------------------------------------------------------------------------------------------------


def _http(method: str, url: str, body: bytes | None = None, headers: dict[str, str] | None = None) -> bytes:
    request = urllib.request.Request(url, body, {"Content-Type": "application/octet-stream", **(headers or {})})
    request.method = method
    with urllib.request.urlopen(request, timeout=10) as answer:
        return bytes(answer.read())


@pytest.mark.objectstore
def test_presigned_links_read_and_write_one_file(azure: AzureRepository) -> None:
    assert isinstance(azure, DirectTransfer)
    link = azure.presigned_upload("new é.txt")
    _http("PUT", link.url, b"direct", dict(link.headers))
    link = azure.presigned_download("new é.txt")
    assert (_http("GET", link.url), link.size) == (b"direct", 6)
    with pytest.raises(urllib.error.HTTPError, match="403"):
        _http("PUT", link.url, b"no", {"x-ms-blob-type": "BlockBlob"})
    with pytest.raises(ResourceDoesNotExist):
        azure.presigned_download("nothing.txt")


@pytest.mark.objectstore
def test_a_file_is_put_together_from_parts_that_clients_sent(azure: AzureRepository) -> None:
    begun = azure.create_multipart("big.bin", 2)
    for part, body in zip(begun.parts, [b"first ", b"second"], strict=True):
        _http("PUT", part.url, body)
    azure.complete_multipart("big.bin", begun.upload_id, [UploadPart(2), UploadPart(1)])
    assert read(azure, "big.bin") == b"first second"


@pytest.mark.objectstore
def test_an_aborted_multipart_upload_never_shows(azure: AzureRepository) -> None:
    begun = azure.create_multipart("big.bin", 1)
    _http("PUT", begun.parts[0].url, b"part")
    azure.abort_multipart("big.bin", begun.upload_id)
    assert paths_below(azure) == []


# --- refusals that need no server ------------------------------------------------------------------------------------


@pytest.fixture(autouse=True)
def _no_credentials(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("AZURE_STORAGE_CONNECTION_STRING", "AZURE_STORAGE_ACCESS_KEY", "AZURE_STORAGE_SAS_TOKEN"):
        monkeypatch.delenv(name, raising=False)


@pytest.mark.parametrize("uri", ["wasbs://container/x", "abfss://@account.dfs.core.windows.net", "wasbs://"])
def test_container_and_account_must_be_named(uri: str) -> None:
    with pytest.raises(InvalidParameterValue, match="name container and account"):
        AzureRepository(uri)


@pytest.fixture
def sdk() -> None:
    require(installed("azure.storage.blob"), "mlgate[azure] is not installed")


@pytest.mark.usefixtures("sdk")
def test_a_location_elsewhere_is_never_shown_an_identity(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AZURE_STORAGE_ACCESS_KEY", "a2V5")
    with pytest.raises(InvalidParameterValue, match=r"'account\.evil\.example' is no Azure storage"):
        AzureRepository("wasbs://container@account.evil.example/x")


@pytest.mark.usefixtures("sdk")
def test_a_connection_string_is_used_for_its_own_account_only(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AZURE_STORAGE_CONNECTION_STRING", "AccountName=mine;AccountKey=a2V5")
    with pytest.raises(InvalidParameterValue, match=r"account 'other'.*is for 'mine'"):
        AzureRepository("wasbs://container@other.blob.core.windows.net/x")


@pytest.mark.usefixtures("sdk")
def test_an_account_that_is_away_is_told_clearly(monkeypatch: pytest.MonkeyPatch) -> None:
    away = "AccountName=mine;AccountKey=a2V5;BlobEndpoint=http://127.0.0.1:1/mine"
    monkeypatch.setenv("AZURE_STORAGE_CONNECTION_STRING", away)
    repository = AzureRepository("wasbs://container@mine.blob.core.windows.net/x")
    repository.client._config.retry_policy.total_retries = 0
    with pytest.raises(TemporarilyUnavailable, match="mine"):
        repository.list()
