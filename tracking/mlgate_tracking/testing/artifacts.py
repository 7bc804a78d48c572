"""What every artifact repository must do: one test class, run over each kind of storage.

A plug-in's author subclasses `ArtifactRepositoryConformance` and gives it a fixture `repository`, empty and fresh for
every test.
"""

from __future__ import annotations

import contextlib
import hashlib
import random
import threading
from collections.abc import Iterator

import pytest

from mlgate_tracking.artifacts import ArtifactRepository
from mlgate_tracking.entities import FileInfo
from mlgate_tracking.errors import InvalidParameterValue, ResourceDoesNotExist

UNSAFE_PATHS = (
    "..",
    "../secret",
    "a/../../secret",
    "/etc/passwd",
    "%2e%2e/secret",
    "a/%2E%2E/secret",
    "%252e%252e/secret",
    "..%2fsecret",
    "%2fetc%2fpasswd",
    "C:/secret",
    "..\\secret",
    "a\\b",
    "%5c..%5csecret",
    "a#b",
    "a%23b",
    "nul\0byte",
    "nul%00byte",
    "\udcff",
)

ODD_NAMES = (
    "with space.txt",
    "\u00e9t\u00e9/\u6a21\u578b \u2713.txt",
    "percent%sign%20.txt",
    "plus+and&question?.txt",
    "semi;colon:equals=.txt",
    ".hidden",
    "quote'and\"double.txt",
    "tilde~!@$^(),[]{}.txt",
    "..dots..in..name",
    "l" * 200 + ".txt",
)


def read(repository: ArtifactRepository, path: str, start: int = 0, end: int | None = None) -> bytes:
    return b"".join(repository.download(path, start, end))


def put(repository: ArtifactRepository, path: str, body: bytes = b"body") -> None:
    repository.upload(path, iter([body]))


def paths_below(repository: ArtifactRepository, path: str = "") -> list[str]:
    return [entry.path for entry in repository.list(path).items]


class ArtifactRepositoryConformance:
    """Subclasses provide the fixture `repository`."""

    @pytest.fixture
    def repository(self) -> ArtifactRepository:
        raise AssertionError("give the subclass a fixture `repository`")

    big_size = 12 << 20
    """Large enough for several parts of a multipart upload (bytes)."""

    def test_what_was_uploaded_comes_back(self, repository: ArtifactRepository) -> None:
        assert repository.upload("model/data.bin", iter([b"one ", b"two ", b"three"])) == 13
        assert read(repository, "model/data.bin") == b"one two three"

    def test_upload_replaces_an_existing_file(self, repository: ArtifactRepository) -> None:
        put(repository, "a.txt", b"a longer first text")
        put(repository, "a.txt", b"second")
        assert read(repository, "a.txt") == b"second"

    def test_an_empty_file_is_a_file(self, repository: ArtifactRepository) -> None:
        assert repository.upload("empty", iter([])) == 0
        assert read(repository, "empty") == b""
        assert repository.stat("empty") == FileInfo("empty", is_dir=False, size=0)
        assert repository.list().items == (FileInfo("empty", is_dir=False, size=0),)

    def test_a_large_file_keeps_every_byte(self, repository: ArtifactRepository) -> None:
        generator = random.Random(7)  # noqa: S311 - test data
        chunk = generator.randbytes(1 << 20)
        count = self.big_size // len(chunk)
        expected = hashlib.sha256(chunk * count).hexdigest()
        assert repository.upload("big.bin", iter([chunk] * count)) == self.big_size

        digest = hashlib.sha256()
        largest = 0
        for piece in repository.download("big.bin"):
            digest.update(piece)
            largest = max(largest, len(piece))
        assert digest.hexdigest() == expected
        assert largest <= 8 << 20, "a download hands out pieces, not the whole file"
        offset = len(chunk) + 17
        assert read(repository, "big.bin", offset, offset + 5) == chunk[17:22]

    def test_download_takes_ranges(self, repository: ArtifactRepository) -> None:
        put(repository, "digits", b"0123456789")
        assert read(repository, "digits", 3) == b"3456789"
        assert read(repository, "digits", 0, 4) == b"0123"
        assert read(repository, "digits", 3, 5) == b"34"
        assert read(repository, "digits", 8, 99) == b"89"
        assert read(repository, "digits", 4, 4) == b""
        assert read(repository, "digits", 10) == b""
        assert read(repository, "digits", 50, 60) == b""

    @pytest.mark.parametrize(("start", "end"), [(-1, None), (5, 2)])
    def test_download_refuses_impossible_ranges(
        self, repository: ArtifactRepository, start: int, end: int | None
    ) -> None:
        put(repository, "digits", b"0123456789")
        with pytest.raises(InvalidParameterValue, match="byte range"):
            repository.download("digits", start, end)

    def test_a_missing_file_is_reported_before_the_first_chunk(self, repository: ArtifactRepository) -> None:
        with pytest.raises(ResourceDoesNotExist, match=r"nothing/here\.txt"):
            repository.download("nothing/here.txt")
        with pytest.raises(ResourceDoesNotExist):
            repository.open("nothing/here.txt")
        assert repository.stat("nothing/here.txt") is None

    def test_a_directory_is_not_a_file(self, repository: ArtifactRepository) -> None:
        put(repository, "folder/a.txt")
        for path in ("folder", ""):
            with pytest.raises(InvalidParameterValue, match="directory"):
                repository.download(path)
        with pytest.raises(InvalidParameterValue, match="directory"):
            repository.upload("", iter([b"x"]))

    def test_stat_tells_files_from_directories(self, repository: ArtifactRepository) -> None:
        put(repository, "folder/a.txt", b"12345")
        assert repository.stat("folder/a.txt") == FileInfo("folder/a.txt", is_dir=False, size=5)
        assert repository.stat("folder") == FileInfo("folder", is_dir=True)
        assert repository.stat("fold") is None

    def test_list_shows_one_level_sorted_by_path(self, repository: ArtifactRepository) -> None:
        for path in ("b.txt", "a/deep/er.txt", "a/x.txt", "a.txt", "a-z"):
            put(repository, path, b"123")
        assert repository.list().items == (
            FileInfo("a", is_dir=True),
            FileInfo("a-z", is_dir=False, size=3),
            FileInfo("a.txt", is_dir=False, size=3),
            FileInfo("b.txt", is_dir=False, size=3),
        )
        assert repository.list("a").items == (
            FileInfo("a/deep", is_dir=True),
            FileInfo("a/x.txt", is_dir=False, size=3),
        )

    def test_listing_a_missing_directory_or_a_file_is_empty(self, repository: ArtifactRepository) -> None:
        put(repository, "a.txt")
        assert repository.list("nothing").items == ()
        assert repository.list("a.txt").items == ()
        assert repository.list("a").items == (), "a name's beginning is no directory"

    def test_list_pages_without_gaps_or_repeats(self, repository: ArtifactRepository) -> None:
        names = [f"{index:03}.txt" for index in range(10)] + ["sub"]
        for name in names[:10]:
            put(repository, f"many/{name}")
        put(repository, "many/sub/one.txt")
        put(repository, "many/sub/two.txt")

        seen: list[str] = []
        token: str | None = None
        for _ in range(20):
            page = repository.list("many", max_results=3, page_token=token)
            assert len(page.items) <= 3
            seen += [entry.path for entry in page.items]
            token = page.token
            if token is None:
                break
        assert sorted(seen) == [f"many/{name}" for name in names]

    def test_delete_removes_files_and_trees_and_forgives(self, repository: ArtifactRepository) -> None:
        for path in ("keep.txt", "tree/a.txt", "tree/b/c.txt", "tree-house.txt"):
            put(repository, path)
        repository.delete("tree")
        repository.delete("tree")
        repository.delete("never/was")
        assert paths_below(repository) == ["keep.txt", "tree-house.txt"]
        repository.delete("keep.txt")
        assert paths_below(repository) == ["tree-house.txt"]

    def test_delete_of_the_root_removes_everything(self, repository: ArtifactRepository) -> None:
        put(repository, "a.txt")
        put(repository, "tree/b.txt")
        repository.delete("")
        assert paths_below(repository) == []
        put(repository, "again.txt")
        assert paths_below(repository) == ["again.txt"]

    def test_a_failed_upload_leaves_nothing(self, repository: ArtifactRepository) -> None:
        put(repository, "kept.txt", b"before")

        def broken() -> Iterator[bytes]:
            yield b"x" * (6 << 20)
            raise ConnectionError("the sender went away")

        for path in ("new.txt", "kept.txt"):
            with pytest.raises(ConnectionError, match="went away"):
                repository.upload(path, broken())
        assert paths_below(repository) == ["kept.txt"]
        assert read(repository, "kept.txt") == b"before"

    def test_a_writer_commits_at_the_end_and_aborts_on_errors(self, repository: ArtifactRepository) -> None:
        with repository.writer("good.txt") as writer:
            writer.write(b"go")
            assert repository.stat("good.txt") is None, "a file appears whole or not at all"
            writer.write(b"od")
        assert read(repository, "good.txt") == b"good"

        with contextlib.suppress(ValueError), repository.writer("bad.txt") as writer:
            writer.write(b"bad")
            raise ValueError
        assert paths_below(repository) == ["good.txt"]

    def test_abort_after_commit_changes_nothing(self, repository: ArtifactRepository) -> None:
        writer = repository.writer("a.txt")
        writer.write(b"a")
        assert writer.commit() == 1
        writer.abort()
        assert read(repository, "a.txt") == b"a"

    def test_open_gives_a_seekable_stream(self, repository: ArtifactRepository) -> None:
        put(repository, "lines.txt", b"first\nsecond\nthird\n")
        with repository.open("lines.txt") as stream:
            assert stream.readline() == b"first\n"
            stream.seek(-6, 2)
            assert stream.read() == b"third\n"
            stream.seek(0)
            assert stream.readlines() == [b"first\n", b"second\n", b"third\n"]

    @pytest.mark.parametrize("path", ODD_NAMES)
    def test_odd_names_round_trip(self, repository: ArtifactRepository, path: str) -> None:
        put(repository, path, b"odd")
        assert read(repository, path) == b"odd"
        folder = path.rpartition("/")[0]
        assert paths_below(repository, folder) == [path]
        repository.delete(path)
        assert repository.stat(path) is None

    @pytest.mark.parametrize("path", UNSAFE_PATHS)
    def test_unsafe_paths_are_refused_everywhere(self, repository: ArtifactRepository, path: str) -> None:
        for attempt in (
            lambda: repository.upload(path, iter([b"x"])),
            lambda: repository.download(path),
            lambda: repository.open(path),
            lambda: repository.stat(path),
            lambda: repository.list(path),
            lambda: repository.delete(path),
        ):
            with pytest.raises(InvalidParameterValue, match="Invalid path"):
                attempt()

    def test_control_characters_become_printable(self, repository: ArtifactRepository) -> None:
        put(repository, "two\nlines.txt", b"x")
        assert paths_below(repository) == ["two%0Alines.txt"]
        assert read(repository, "two\nlines.txt") == b"x"

    def test_many_threads_may_write_at_once(self, repository: ArtifactRepository) -> None:
        failures: list[BaseException] = []

        def work(number: int) -> None:
            try:
                put(repository, f"shared/{number}.txt", str(number).encode())
                put(repository, "shared/same.txt", str(number).encode() * 100)
            except BaseException as error:
                failures.append(error)

        threads = [threading.Thread(target=work, args=(number,)) for number in range(8)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert failures == []
        assert len(repository.list("shared").items) == 9
        assert read(repository, "shared/same.txt") in {str(number).encode() * 100 for number in range(8)}


__all__ = ["ODD_NAMES", "UNSAFE_PATHS", "ArtifactRepositoryConformance", "paths_below", "put", "read"]
