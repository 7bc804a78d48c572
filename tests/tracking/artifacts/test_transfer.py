from __future__ import annotations

import os
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from mlgate_tracking.artifacts.local import LocalRepository
from mlgate_tracking.artifacts.transfer import Transferred, download_tree, upload_tree, walk
from mlgate_tracking.entities import FileInfo, Page
from mlgate_tracking.errors import InvalidParameterValue, ResourceDoesNotExist, TemporarilyUnavailable
from mlgate_tracking.testing.artifacts import put


@pytest.fixture
def repository(tmp_path: Path) -> LocalRepository:
    found = LocalRepository(tmp_path / "artifacts")
    for path in ("a.txt", "model/MLmodel", "model/data/model.bin", "model/été.txt", "models.txt"):
        put(found, path, path.encode())
    return found


def files_in(directory: Path) -> list[str]:
    return sorted(path.relative_to(directory).as_posix() for path in directory.rglob("*") if path.is_file())


def test_walk_finds_every_file_below(repository: LocalRepository) -> None:
    assert [entry.path for entry in walk(repository, "model")] == [
        "model/MLmodel",
        "model/data/model.bin",
        "model/été.txt",
    ]
    assert [entry.path for entry in walk(repository, "a.txt")] == ["a.txt"]
    assert list(walk(repository, "nothing")) == []


def test_walk_turns_every_page(repository: LocalRepository, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("mlgate_tracking.artifacts.transfer.PAGE", 1)
    assert len(list(walk(repository))) == 5


def test_a_tree_keeps_its_layout_below_the_path(repository: LocalRepository, tmp_path: Path) -> None:
    told: dict[str, int] = {}
    done = download_tree(repository, "model", tmp_path / "out", progress=told.__setitem__)
    assert files_in(tmp_path / "out") == ["MLmodel", "data/model.bin", "été.txt"]
    assert (tmp_path / "out/data/model.bin").read_bytes() == b"model/data/model.bin"
    assert done == Transferred(3, sum(told.values()))
    assert sorted(told) == ["model/MLmodel", "model/data/model.bin", "model/été.txt"]


def test_everything_or_one_file_can_be_downloaded(repository: LocalRepository, tmp_path: Path) -> None:
    assert download_tree(repository, "", tmp_path / "all").files == 5
    assert download_tree(repository, "model/MLmodel", tmp_path / "one").files == 1
    assert files_in(tmp_path / "one") == ["MLmodel"]


def test_downloading_nothing_is_an_error_and_makes_no_folder(repository: LocalRepository, tmp_path: Path) -> None:
    with pytest.raises(ResourceDoesNotExist, match="'nothing'"):
        download_tree(repository, "nothing", tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_a_download_that_fails_leaves_only_whole_files(repository: LocalRepository, tmp_path: Path) -> None:
    class Failing(LocalRepository):
        def download(self, path: str, start: int = 0, end: int | None = None) -> Iterator[bytes]:
            if path.endswith("model.bin"):
                return self._half()
            return super().download(path, start, end)

        def _half(self) -> Iterator[bytes]:
            yield b"half"
            raise TemporarilyUnavailable("scripted")

    with pytest.raises(TemporarilyUnavailable, match="scripted"):
        download_tree(Failing(repository.root), "", tmp_path / "out", threads=1)
    assert "model/data/model.bin" not in files_in(tmp_path / "out")
    assert [name for name in files_in(tmp_path / "out") if "partial" in name] == []


def test_a_listing_that_lies_cannot_write_elsewhere(repository: LocalRepository, tmp_path: Path) -> None:
    class Lying(LocalRepository):
        def list(
            self, path: str = "", *, max_results: int | None = None, page_token: str | None = None
        ) -> Page[FileInfo]:
            return Page((FileInfo("../../outside.txt", is_dir=False, size=1),))

    with pytest.raises(InvalidParameterValue, match="Invalid path"):
        download_tree(Lying(repository.root), "", tmp_path / "deep/er/out")
    assert not (tmp_path / "deep/outside.txt").exists()


def test_uploading_a_folder_keeps_its_layout(tmp_path: Path) -> None:
    source = tmp_path / "plots"
    (source / "deep").mkdir(parents=True)
    (source / "deep/a b.svg").write_text("<svg/>")
    (source / "b.svg").write_text("<svg/>")
    os.mkfifo(source / "pipe")
    (source / "broken").symlink_to("nowhere")
    target = LocalRepository(tmp_path / "artifacts")
    assert upload_tree(target, source, "figures") == Transferred(2, 12)
    assert files_in(tmp_path / "artifacts") == ["figures/b.svg", "figures/deep/a b.svg"]
    assert upload_tree(target, source / "b.svg").files == 1
    assert "b.svg" in files_in(tmp_path / "artifacts")


def test_every_name_is_checked_before_the_first_byte_is_sent(tmp_path: Path) -> None:
    (tmp_path / "plots").mkdir()
    for name in ("a.svg", "plot#1.svg"):
        (tmp_path / "plots" / name).touch()
    with pytest.raises(InvalidParameterValue, match=r"plot#1\.svg"):
        upload_tree(LocalRepository(tmp_path / "artifacts"), tmp_path / "plots")
    with pytest.raises(InvalidParameterValue, match="no such file"):
        upload_tree(LocalRepository(tmp_path / "artifacts"), tmp_path / "nothing")
    assert not (tmp_path / "artifacts").exists()


def test_several_files_travel_at_once_but_not_more_than_asked(tmp_path: Path) -> None:
    at_once = threading.Semaphore(3)
    together = threading.Barrier(3, timeout=10)

    class Slow(LocalRepository):
        def upload_file(self, path: str, file: str | os.PathLike[str]) -> int:
            assert at_once.acquire(blocking=False), "more than three at once"
            together.wait()
            at_once.release()
            return super().upload_file(path, file)

    source = tmp_path / "many"
    source.mkdir()
    for number in range(9):
        (source / str(number)).touch()
    assert upload_tree(Slow(tmp_path / "artifacts"), source, threads=3).files == 9
