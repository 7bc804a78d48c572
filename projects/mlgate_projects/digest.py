"""What a project consists of, as one digest: file paths, modes and contents.

Contents are named as git names them, so a clean checkout has the same digest however it came to be here, and a file
that git already knows need not be read.
"""

from __future__ import annotations

import hashlib
import os
import stat
from collections.abc import Iterable, Mapping
from pathlib import Path

CONTENT_LIMIT = 4 * 1024 * 1024
"""Bytes; a larger file that git does not know is identified by its size and modification time, not read."""

FILES_LIMIT = 20_000
"""Files of a directory without git that are looked at; a project in somebody's home directory must not cost minutes."""

_MADE_DIRECTORIES = frozenset(
    {
        ".git",
        ".hg",
        ".svn",
        "__pycache__",
        ".venv",
        ".mlgate",
        "mlruns",
        "mlartifacts",
        "node_modules",
        ".pytest_cache",
        ".mypy_cache",
        ".ruff_cache",
        ".ipynb_checkpoints",
        ".tox",
        ".nox",
    }
)
_MADE_SUFFIXES = (".pyc", ".pyo", ".egg-info", "~", ".swp")

Entry = tuple[str, str]
"""Mode as git writes it (`100644`, `100755`, `120000`, `160000`) and id of the content."""


def digest_of(files: Mapping[str, Entry]) -> str:
    """Hex sha256 over all files (relative path → entry), whatever order they come in."""
    digest = hashlib.sha256()
    for path in sorted(files):
        mode, content = files[path]
        digest.update(f"{mode} {content} {path}\0".encode("utf-8", "surrogateescape"))
    return digest.hexdigest()


def entry_of(path: Path) -> Entry | None:
    """The entry of one file or link on disk; None when it is gone or is neither."""
    try:
        status = path.lstat()
        if stat.S_ISLNK(status.st_mode):
            return "120000", _blob(os.fsencode(path.readlink()))
        if not stat.S_ISREG(status.st_mode):
            return None
        mode = "100755" if status.st_mode & stat.S_IXUSR else "100644"
        if status.st_size > CONTENT_LIMIT:
            return mode, f"size:{status.st_size}:{status.st_mtime_ns}"
        return mode, _blob(path.read_bytes())
    except OSError:
        return None


def walk(directory: Path) -> dict[str, Entry]:
    """Every file below the directory that is not the product of a tool, with its entry."""
    found: dict[str, Entry] = {}
    for relative in _paths(directory):
        entry = entry_of(directory / relative)
        if entry is not None:
            found[relative] = entry
        if len(found) >= FILES_LIMIT:
            break
    return found


def is_made(path: str) -> bool:
    """Whether a relative path is the product of a tool (caches, environments, run records), not part of the project."""
    parts = path.split("/")
    return path.endswith(_MADE_SUFFIXES) or not _MADE_DIRECTORIES.isdisjoint(parts)


def _paths(directory: Path) -> Iterable[str]:
    pending = [""]
    while pending:
        prefix = pending.pop()
        try:
            with os.scandir(directory / prefix) as entries:
                children = sorted(entries, key=lambda entry: entry.name)
        except OSError:
            continue
        names = {child.name for child in children}
        if prefix and ("pyvenv.cfg" in names or "CACHEDIR.TAG" in names):
            continue
        below = []
        for child in children:
            relative = prefix + child.name
            if child.is_dir(follow_symlinks=False):
                if child.name not in _MADE_DIRECTORIES and not child.name.endswith(_MADE_SUFFIXES):
                    below.append(relative + "/")
            elif not child.name.endswith(_MADE_SUFFIXES):
                yield relative
        pending += reversed(below)


def _blob(content: bytes) -> str:
    digest = hashlib.sha1(b"blob %d\0" % len(content), usedforsecurity=False)
    digest.update(content)
    return digest.hexdigest()


__all__ = ["CONTENT_LIMIT", "FILES_LIMIT", "Entry", "digest_of", "entry_of", "is_made", "walk"]
