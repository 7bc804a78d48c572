"""What object stores share, shown on one in memory; the real ones run the same conformance where they are there."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from typing import Any

import pytest

from mlgate_tracking.artifacts import ArtifactRepository
from mlgate_tracking.artifacts.objects import (
    PARALLEL_PARTS,
    PART_SIZE,
    Listing,
    ObjectRepository,
    ObjectWriter,
    Parts,
    part_size,
    resuming,
)
from mlgate_tracking.errors import TemporarilyUnavailable
from mlgate_tracking.testing.artifacts import ArtifactRepositoryConformance, paths_below, put, read

STEP = 1 << 16


class MemoryRepository(ObjectRepository):
    """A bucket as a dictionary; counts what an upload does."""

    def __init__(self, objects: dict[str, bytes], prefix: str = "some/prefix") -> None:
        super().__init__(prefix, "")
        self.objects = objects
        self.root_uri = f"memory://{self.prefix}"
        self.calls: list[str] = []
        self.most_at_once = 0
        self.broken_part: int | None = None

    def writer(self, path: str) -> ObjectWriter:
        return ObjectWriter(MemoryParts(self, self.key(self._file_path(path))))

    def _size(self, key: str) -> int | None:
        return len(self.objects[key]) if key in self.objects else None

    def _read(self, key: str, start: int, end: int | None) -> Iterator[bytes] | None:
        if key not in self.objects:
            return None
        body = self.objects[key][start:end]
        return (body[position : position + STEP] for position in range(0, len(body), STEP))

    def _page(self, prefix: str, limit: int | None, token: str | None) -> Listing:
        names = sorted(
            {prefix + rest.partition("/")[0] + ("/" if "/" in rest else "") for rest in self._below(prefix) if rest}
        )
        names = [name for name in names if name > (token or "")]
        shown = names[:limit] if limit else names
        files = tuple((name, len(self.objects[name])) for name in shown if not name.endswith("/"))
        folders = tuple(name.removesuffix("/") for name in shown if name.endswith("/"))
        return Listing(files, folders, shown[-1] if len(shown) < len(names) else None)

    def _below(self, prefix: str) -> Iterator[str]:
        return (key.removeprefix(prefix) for key in self.objects if key.startswith(prefix))

    def _keys(self, prefix: str) -> Iterator[str]:
        return iter([key for key in self.objects if key.startswith(prefix)])

    def _delete(self, keys: list[str]) -> None:
        assert len(keys) <= 1000
        for key in keys:
            self.objects.pop(key, None)


class MemoryParts(Parts):
    def __init__(self, repository: MemoryRepository, key: str) -> None:
        self._repository = repository
        self._key = key
        self._running = 0
        self._lock = threading.Lock()

    def put(self, body: bytes) -> None:
        self._repository.calls.append("put")
        self._repository.objects[self._key] = body

    def begin(self) -> None:
        self._repository.calls.append("begin")

    def put_part(self, number: int, body: bytes) -> Any:
        with self._lock:
            self._running += 1
            self._repository.most_at_once = max(self._repository.most_at_once, self._running)
        try:
            if number == self._repository.broken_part:
                raise TemporarilyUnavailable("scripted: the part was lost")
            return number, body
        finally:
            with self._lock:
                self._running -= 1

    def finish(self, parts: list[Any]) -> None:
        self._repository.calls.append(f"finish {len(parts)}")
        assert [number for number, _ in parts] == list(range(1, len(parts) + 1))
        self._repository.objects[self._key] = b"".join(body for _, body in parts)

    def abort(self) -> None:
        self._repository.calls.append("abort")


class TestObjectRepository(ArtifactRepositoryConformance):
    big_size = 3 * PART_SIZE + (1 << 20)

    @pytest.fixture
    def repository(self) -> ArtifactRepository:
        return MemoryRepository({})


@pytest.fixture
def memory() -> MemoryRepository:
    return MemoryRepository({})


def test_short_files_go_out_at_once_and_long_ones_in_parts(memory: MemoryRepository) -> None:
    memory.upload("short", iter([b"x" * PART_SIZE]))
    assert memory.calls == ["put"]
    memory.calls.clear()
    memory.upload("long", iter([b"x" * (1 << 20)] * 25))
    assert memory.calls == ["begin", "finish 4"]
    assert len(memory.objects["some/prefix/long"]) == 25 << 20
    assert memory.most_at_once <= PARALLEL_PARTS


def test_a_part_that_is_lost_ends_the_upload(memory: MemoryRepository) -> None:
    memory.broken_part = 2
    with pytest.raises(TemporarilyUnavailable, match="the part was lost"):
        memory.upload("long", iter([b"x" * PART_SIZE] * 12))
    assert memory.calls == ["begin", "abort"]
    assert memory.objects == {}


def test_a_writer_that_is_forgotten_gives_its_parts_back(memory: MemoryRepository) -> None:
    writer = memory.writer("long")
    writer.write(b"x" * (PART_SIZE + 1))
    del writer
    assert memory.calls == ["begin", "abort"]


def test_parts_grow_so_that_ten_thousand_reach_terabytes() -> None:
    assert part_size(1) == part_size(1000) == PART_SIZE
    assert part_size(1001) == 2 * PART_SIZE
    assert sum(part_size(number) for number in range(1, 10_001)) > 5 * 10**12


def test_neighbours_with_the_same_beginning_stay_apart(memory: MemoryRepository) -> None:
    put(memory, "a.txt")
    neighbour = MemoryRepository(memory.objects, "some/prefix-other")
    put(neighbour, "b.txt")
    memory.delete("")
    assert paths_below(neighbour) == ["b.txt"]


def test_keys_that_this_api_cannot_spell_are_left_out(memory: MemoryRepository) -> None:
    put(memory, "good.txt")
    for key in ("../escape.txt", "a//b.txt", "back\\slash", "hash#tag", "new\nline"):
        memory.objects[f"some/prefix/{key}"] = b"x"
    assert [entry.path for entry in memory.list().items if not entry.is_dir] == ["good.txt"]


def test_a_page_of_nothing_but_such_keys_is_not_the_end(memory: MemoryRepository) -> None:
    memory.objects.update({f"some/prefix/#{number}": b"x" for number in range(5)})
    put(memory, "z.txt")
    assert [entry.path for entry in memory.list(max_results=2).items] == ["z.txt"]


def test_large_trees_are_deleted_in_batches(memory: MemoryRepository) -> None:
    memory.objects.update({f"some/prefix/tree/{number}/x": b"" for number in range(2500)})
    put(memory, "kept.txt")
    memory.delete("tree")
    assert list(memory.objects) == ["some/prefix/kept.txt"]


# --- downloads that break off ----------------------------------------------------------------------------------------


def _breaking(body: bytes, position: int, chunks: int) -> Iterator[bytes]:
    for start in range(position, len(body), 2):
        if chunks == 0:
            raise ConnectionResetError("scripted")
        chunks -= 1
        yield body[start : start + 2]


def test_a_download_goes_on_where_it_broke_off() -> None:
    body = b"0123456789"
    opened: list[int] = []

    def open_at(position: int) -> Iterator[bytes]:
        opened.append(position)
        return _breaking(body, position, 1)

    got = b"".join(resuming(_breaking(body, 2, 1), 2, open_at, (ConnectionError,)))
    assert (got, opened) == (body[2:], [4, 6, 8])


def test_a_download_that_breaks_off_again_and_again_ends() -> None:
    chunks = resuming(_breaking(b"x" * 100, 0, 0), 0, lambda position: _breaking(b"x" * 100, position, 0), (OSError,))
    with pytest.raises(TemporarilyUnavailable, match="again and again: scripted"):
        list(chunks)


def test_other_errors_are_not_waited_out() -> None:
    def failing() -> Iterator[bytes]:
        raise ValueError("scripted")
        yield b""

    with pytest.raises(ValueError, match="scripted"):
        list(resuming(failing(), 0, lambda _position: iter([b"never"]), (OSError,)))


def test_a_range_is_read_without_asking_for_the_size_first(
    memory: MemoryRepository, monkeypatch: pytest.MonkeyPatch
) -> None:
    put(memory, "digits", b"0123456789")
    monkeypatch.setattr(memory, "_size", lambda _key: pytest.fail("asked twice"))
    assert read(memory, "digits", 3, 5) == b"34"
