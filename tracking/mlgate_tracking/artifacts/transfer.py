"""Whole trees in and out of a repository, several files at once."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import FIRST_EXCEPTION, Future, ThreadPoolExecutor, wait
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

from mlgate_tracking.artifacts import ArtifactRepository
from mlgate_tracking.artifacts.paths import join_path, safe_path
from mlgate_tracking.entities import FileInfo
from mlgate_tracking.errors import InvalidParameterValue, ResourceDoesNotExist

THREADS = 4
PAGE = 1000

T = TypeVar("T")

Progress = Callable[[str, int], None]
"""Told the path and the size in bytes of each file that is through."""


@dataclass(frozen=True, slots=True)
class Transferred:
    files: int
    size: int
    """bytes"""


def walk(repository: ArtifactRepository, path: str = "") -> Iterator[FileInfo]:
    """All files below a directory, or the file itself; sorted within each directory, nothing when there is nothing."""
    info = repository.stat(path)
    if info is None:
        return
    if info.is_dir:
        yield from _walk_directory(repository, path)
    else:
        yield info


def _walk_directory(repository: ArtifactRepository, path: str) -> Iterator[FileInfo]:
    token: str | None = None
    while True:
        page = repository.list(path, max_results=PAGE, page_token=token)
        for entry in page.items:
            if entry.is_dir:
                yield from _walk_directory(repository, entry.path)
            else:
                yield entry
        token = page.token
        if token is None:
            return


def download_tree(
    repository: ArtifactRepository,
    path: str,
    directory: Path,
    *,
    threads: int = THREADS,
    progress: Progress | None = None,
) -> Transferred:
    """Copy a file or a tree into a local directory; each file appears there whole or not at all.

    A tree keeps its layout below `path`; a file keeps its name.

    Raises:
        ResourceDoesNotExist: there is nothing at `path`.
    """
    root = safe_path(path)
    info = repository.stat(root)
    if info is None:
        raise ResourceDoesNotExist(f"no artifact {root!r} in {repository.root_uri}")
    above = root if info.is_dir else root.rpartition("/")[0]

    def one(entry: FileInfo) -> int:
        # Checked again, because the names come from a storage that others write to.
        relative = safe_path(entry.path)[len(above) :].lstrip("/")
        target = directory / relative
        target.parent.mkdir(parents=True, exist_ok=True)
        size = repository.download_file(entry.path, target)
        if progress is not None:
            progress(entry.path, size)
        return size

    directory.mkdir(parents=True, exist_ok=True)
    return _each(walk(repository, root), one, threads)


def upload_tree(
    repository: ArtifactRepository,
    source: Path,
    path: str = "",
    *,
    threads: int = THREADS,
    progress: Progress | None = None,
) -> Transferred:
    """Copy a local file or directory into a repository below `path`; a file keeps its name.

    Links to directories are not followed. Every name is checked before the first byte is sent.

    Raises:
        InvalidParameterValue: there is no such file, or a name that no repository takes.
    """
    root = safe_path(path)
    if not source.exists():
        raise InvalidParameterValue(f"{source}: there is no such file or directory")
    files = sorted(_files_below(source)) if source.is_dir() else [source]
    base = source if source.is_dir() else source.parent
    targets = {file: join_path(root, safe_path(file.relative_to(base).as_posix())) for file in files}

    def one(file: Path) -> int:
        size = repository.upload_file(targets[file], file)
        if progress is not None:
            progress(targets[file], size)
        return size

    return _each(files, one, threads)


def _files_below(directory: Path) -> Iterator[Path]:
    for folder, _, names in os.walk(directory):
        for name in names:
            file = Path(folder, name)
            if file.is_file():  # neither a pipe nor a link to nowhere
                yield file


def _each(items: Iterable[T], work: Callable[[T], int], threads: int) -> Transferred:
    """Do the work for every item, `threads` at once; after the first failure nothing new is begun."""
    sizes: list[int] = []
    with ThreadPoolExecutor(threads, thread_name_prefix="mlgate-transfer") as pool:
        running: set[Future[int]] = set()

        def collect(most: int) -> None:
            while len(running) > most:
                done, _ = wait(running, return_when=FIRST_EXCEPTION if most == 0 else "FIRST_COMPLETED")
                for future in done:
                    running.discard(future)
                    sizes.append(future.result())

        try:
            for item in items:
                collect(threads * 4 - 1)
                running.add(pool.submit(work, item))
            collect(0)
        except BaseException:
            pool.shutdown(cancel_futures=True)
            raise
    return Transferred(len(sizes), sum(sizes))


__all__ = ["Progress", "Transferred", "download_tree", "upload_tree", "walk"]
