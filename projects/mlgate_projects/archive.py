"""Projects in zip files: unpacked once per content, never outside their directory."""

from __future__ import annotations

import hashlib
import shutil
import stat
import tempfile
import urllib.error
import urllib.request
import zipfile
from pathlib import Path
from typing import IO

from mlgate_projects.errors import SourceError
from mlgate_projects.git import Progress
from mlgate_projects.locks import exclusive

UNPACKED_LIMIT = 4 * 1024**3
"""Bytes that a zip file may unpack to."""

_ANSWER_TIMEOUT = 60.0  # seconds


def unpacked(location: str, shown: str, cache_root: Path, progress: Progress) -> Path:
    """The directory with the contents of a zip file, which is a path or an http(s) URL.

    A file of the same content is unpacked once. When all of it lies in one directory, that directory is returned.

    Raises:
        SourceError: it cannot be had, is no zip file, is too large, or holds paths that lead outside.
    """
    cache = cache_root / "zip"
    cache.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryFile(dir=cache) as stream:
        try:
            _copy(location, stream, shown, progress)
        except (OSError, urllib.error.URLError) as error:
            reason = getattr(error, "reason", None) or getattr(error, "strerror", None) or error
            raise SourceError(f"{shown}: cannot be read: {reason}", uri=shown) from None
        stream.seek(0)
        digest = hashlib.file_digest(stream, "sha256").hexdigest()
        final = cache / digest
        if not final.is_dir():
            with exclusive(cache / "lock"):
                for left in cache.glob(".partial-*"):  # of a process that was killed: we hold the lock
                    shutil.rmtree(left)
                if not final.is_dir():
                    _unpack(stream, final, shown)
    children = list(final.iterdir())
    return children[0] if len(children) == 1 and children[0].is_dir() else final


def _copy(location: str, stream: IO[bytes], shown: str, progress: Progress) -> None:
    if "://" in location:
        progress(f"downloading {shown}")
        with urllib.request.urlopen(location, timeout=_ANSWER_TIMEOUT) as response:  # noqa: S310  # http and https only
            shutil.copyfileobj(response, stream)
    else:
        with Path(location).open("rb") as file:
            shutil.copyfileobj(file, stream)


def _unpack(stream: IO[bytes], final: Path, shown: str) -> None:
    partial = Path(tempfile.mkdtemp(prefix=".partial-", dir=final.parent))
    try:
        with zipfile.ZipFile(stream) as archive:
            members = archive.infolist()
            if sum(member.file_size for member in members) > UNPACKED_LIMIT:
                raise SourceError(f"{shown}: unpacks to more than {UNPACKED_LIMIT:,} bytes", uri=shown)
            for member in members:
                parts = member.filename.split("/")
                if member.filename.startswith("/") or ".." in parts or "\\" in member.filename:
                    raise SourceError(f"{shown}: holds {member.filename!r}, which leads outside", uri=shown)
                # extract writes links as plain files with the target as text, so nothing can be reached through them
                path = archive.extract(member, partial)
                if not member.is_dir() and member.external_attr >> 16 & stat.S_IXUSR:
                    Path(path).chmod(0o755)
        partial.rename(final)
    except (zipfile.BadZipFile, RuntimeError) as error:
        raise SourceError(f"{shown}: cannot be unpacked: {error}", uri=shown) from None
    finally:
        if partial.exists():
            shutil.rmtree(partial)


__all__ = ["UNPACKED_LIMIT", "unpacked"]
