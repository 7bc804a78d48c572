from __future__ import annotations

import errno
import os
from pathlib import Path

import pytest

from mlgate_tracking.artifacts import ArtifactRepository
from mlgate_tracking.artifacts.local import PARTIAL_PREFIX, LocalRepository
from mlgate_tracking.errors import (
    InvalidParameterValue,
    PermissionDenied,
    ResourceDoesNotExist,
    TemporarilyUnavailable,
)
from mlgate_tracking.testing.artifacts import ArtifactRepositoryConformance, paths_below, put, read


@pytest.fixture
def root(tmp_path: Path) -> Path:
    return tmp_path / "artifacts"


class TestLocalRepository(ArtifactRepositoryConformance):
    @pytest.fixture
    def repository(self, root: Path) -> ArtifactRepository:
        return LocalRepository(root)


class TestFlushedLocalRepository(ArtifactRepositoryConformance):
    @pytest.fixture
    def repository(self, root: Path) -> ArtifactRepository:
        return LocalRepository(root, "3/run/artifacts", fsync=True)


def test_the_root_may_be_a_link_of_the_users_own(tmp_path: Path) -> None:
    (tmp_path / "disk").mkdir()
    (tmp_path / "link").symlink_to(tmp_path / "disk")
    put(LocalRepository(tmp_path / "link"), "a.txt")
    assert (tmp_path / "disk/a.txt").read_bytes() == b"body"


def test_links_that_stay_inside_are_followed(root: Path) -> None:
    repository = LocalRepository(root)
    put(repository, "real/a.txt", b"inside")
    (root / "alias").symlink_to("real")
    assert read(repository, "alias/a.txt") == b"inside"
    assert paths_below(repository) == ["alias", "real"]


@pytest.mark.parametrize("target", ["/etc", "../outside"])
def test_links_that_leave_the_root_are_refused_and_unlisted(tmp_path: Path, root: Path, target: str) -> None:
    (tmp_path / "outside").mkdir()
    (tmp_path / "outside/passwd").write_text("secret")
    root.mkdir()
    (root / "way-out").symlink_to(target)
    repository = LocalRepository(root)
    for attempt in (
        lambda: repository.download("way-out/passwd"),
        lambda: repository.open("way-out/passwd"),
        lambda: repository.upload("way-out/new.txt", iter([b"x"])),
        lambda: repository.stat("way-out/passwd"),
        lambda: repository.list("way-out"),
        lambda: repository.delete("way-out/passwd"),
    ):
        with pytest.raises(InvalidParameterValue, match="symbolic link leads out"):
            attempt()
    assert paths_below(repository) == []
    assert (tmp_path / "outside/passwd").read_text() == "secret"
    assert list((tmp_path / "outside").iterdir()) == [tmp_path / "outside/passwd"]


def test_a_link_to_another_runs_files_leaves_the_sub_root(root: Path) -> None:
    put(LocalRepository(root, "1/other/artifacts"), "secret.txt")
    mine = LocalRepository(root, "1/mine/artifacts")
    put(mine, "a.txt")
    (mine.root / "peek").symlink_to(root / "1/other/artifacts/secret.txt")
    with pytest.raises(InvalidParameterValue, match="symbolic link"):
        mine.download("peek")


def test_a_sub_root_that_is_a_link_out_is_refused(tmp_path: Path, root: Path) -> None:
    root.mkdir()
    (tmp_path / "outside").mkdir()
    (root / "1").symlink_to(tmp_path / "outside")
    with pytest.raises(InvalidParameterValue, match="symbolic link"):
        put(LocalRepository(root, "1/run/artifacts"), "a.txt")
    assert list((tmp_path / "outside").iterdir()) == []


def test_deleting_a_link_leaves_its_target(tmp_path: Path, root: Path) -> None:
    (tmp_path / "outside.txt").write_text("kept")
    root.mkdir()
    (root / "link").symlink_to(tmp_path / "outside.txt")
    LocalRepository(root).delete("link")
    assert not (root / "link").is_symlink()
    assert (tmp_path / "outside.txt").read_text() == "kept"


def test_unfinished_uploads_are_neither_listed_nor_reachable(root: Path) -> None:
    repository = LocalRepository(root)
    writer = repository.writer("a.txt")
    writer.write(b"half")
    partial = next(root.iterdir()).name
    assert partial.startswith(PARTIAL_PREFIX)
    assert paths_below(repository) == []
    with pytest.raises(InvalidParameterValue, match="are taken"):
        repository.download(partial)
    writer.abort()
    assert list(root.iterdir()) == []


def test_a_forgotten_writer_cleans_up(root: Path) -> None:
    writer = LocalRepository(root).writer("a.txt")
    writer.write(b"half")
    del writer
    assert list(root.iterdir()) == []


def test_a_file_where_a_directory_is_needed(root: Path) -> None:
    repository = LocalRepository(root)
    put(repository, "a")
    with pytest.raises(InvalidParameterValue, match="a file is where a directory is needed"):
        put(repository, "a/b.txt")
    put(repository, "d/x")
    with pytest.raises(InvalidParameterValue, match="is a directory"):
        put(repository, "d")


def test_names_that_the_file_system_cannot_hold(root: Path) -> None:
    with pytest.raises(InvalidParameterValue, match="too long"):
        put(LocalRepository(root), "n" * 300)


def test_a_pipe_is_no_artifact_and_holds_nobody_up(root: Path) -> None:
    root.mkdir()
    os.mkfifo(root / "pipe")
    with pytest.raises(InvalidParameterValue, match="not a regular file"):
        LocalRepository(root).download("pipe")


def test_a_full_disk_is_told_clearly_and_leaves_nothing(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    repository = LocalRepository(root)
    put(repository, "old.txt")

    def full(_descriptor: int, _data: object) -> int:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(os, "write", full)
    with pytest.raises(TemporarilyUnavailable, match=r"new\.txt.*No space left on device; nothing was written"):
        put(repository, "new.txt")
    assert [entry.name for entry in root.iterdir()] == ["old.txt"]


def test_a_directory_that_may_not_be_written_is_told_clearly() -> None:
    with pytest.raises(PermissionDenied, match="check owner and mode"):  # nobody makes directories there, not even root
        put(LocalRepository("/sys/kernel/artifacts"), "a.txt")


def test_local_path_names_the_real_file(root: Path) -> None:
    repository = LocalRepository(root)
    put(repository, "a/b.txt")
    assert repository.local_path("a/b.txt") == (root / "a/b.txt").resolve()
    with pytest.raises(ResourceDoesNotExist):
        repository.local_path("a/none.txt")
    with pytest.raises(InvalidParameterValue):
        repository.local_path("a")


def test_a_foreign_page_token_is_refused(root: Path) -> None:
    with pytest.raises(InvalidParameterValue, match="page token"):
        LocalRepository(root).list(page_token="!!")
