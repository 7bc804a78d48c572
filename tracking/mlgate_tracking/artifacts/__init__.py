"""Artifact repositories: one protocol, one leaf module per kind of storage, chosen by URI scheme."""

from __future__ import annotations

from collections.abc import Iterator
from typing import BinaryIO, Protocol

from mlgate_tracking.entities import FileInfo, Page


class ArtifactRepository(Protocol):
    """Files below one root. Paths are relative, '/'-separated and already safe (see `paths.safe_path`).

    Nothing is ever held whole in memory; a failed upload leaves no half file under its final name.
    Missing files raise `ResourceDoesNotExist`.
    """

    root_uri: str

    def upload(self, path: str, chunks: Iterator[bytes]) -> int:
        """Write a file from chunks; returns its size in bytes. Parents are created, an existing file is replaced."""
        ...

    def download(self, path: str, start: int = 0, end: int | None = None) -> Iterator[bytes]:
        """Bytes `start` to `end` (exclusive; None: to the end of the file), in chunks."""
        ...

    def stat(self, path: str) -> FileInfo | None:
        """Facts about a file or a directory; None when there is nothing."""
        ...

    def list(self, path: str = "", *, max_results: int | None = None, page_token: str | None = None) -> Page[FileInfo]:
        """One level below `path`, sorted by path; empty for a missing directory or a file."""
        ...

    def delete(self, path: str) -> None:
        """Remove a file or a tree; nothing to remove is fine."""
        ...

    def open(self, path: str) -> BinaryIO:
        """A readable binary stream of one file."""
        ...


__all__ = ["ArtifactRepository"]
