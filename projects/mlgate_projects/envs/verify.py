"""Whether an environment in the cache is still what was built: its interpreter, its packages, their files."""

from __future__ import annotations

import base64
import csv
import hashlib
import json
from collections.abc import Iterator
from pathlib import Path

from mlgate_projects.envs.cache import Entry
from mlgate_projects.envs.installed import installed_packages, site_packages_of


def verify(entry: Entry, *, deep: bool = False) -> list[str]:
    """What is wrong with an environment, one line each; empty when it is whole.

    Args:
        deep: compare the content of every file with its hash, too, not only its size.
    """
    if entry.fingerprint.kind == "docker":
        return _image_problems(entry)
    return [*_interpreter_problems(entry), *_package_problems(entry), *_file_problems(entry.path, deep=deep)]


def _image_problems(entry: Entry) -> list[str]:
    from docker import errors

    from mlgate_projects.envs.container import connect

    client = connect()
    try:
        client.inspect_image(entry.fingerprint.location)
    except errors.NotFound:
        return [f"image {entry.fingerprint.extra.get('image')} ({entry.fingerprint.location}) is not here any more"]
    finally:
        client.close()
    return []


def _interpreter_problems(entry: Entry) -> Iterator[str]:
    python = entry.fingerprint.python
    if python and not (entry.path / python).exists():
        target = (entry.path / python).readlink() if (entry.path / python).is_symlink() else entry.path / python
        yield f"its interpreter is gone: {target}"


def _package_problems(entry: Entry) -> Iterator[str]:
    there = {package.name: package.version for package in installed_packages(site_packages_of(entry.path))}
    for file in (entry.path / "conda-meta").glob("*.json"):
        record = json.loads(file.read_text(encoding="utf-8"))
        there.setdefault(record["name"], record["version"])
    built = {package.name: package.version for package in entry.fingerprint.packages}
    for name in sorted({*there, *built}):
        if there.get(name) != built.get(name):
            yield f"{name} was built as {built.get(name, 'absent')} and is {there.get(name, 'absent')}"


def _file_problems(directory: Path, *, deep: bool) -> Iterator[str]:
    for site in site_packages_of(directory):
        for record in sorted(site.glob("*.dist-info/RECORD")):
            with record.open(encoding="utf-8", newline="") as rows:
                for row in csv.reader(rows):
                    if len(row) == 3 and not row[0].endswith(".pyc"):
                        yield from _one_file(site / row[0], row[1], row[2], deep=deep)
    for record in sorted((directory / "conda-meta").glob("*.json")):
        for path in json.loads(record.read_text(encoding="utf-8")).get("files") or ():
            if not (directory / path).exists() and not (directory / path).is_symlink():
                yield f"{path} is missing"


def _one_file(path: Path, digest: str, size: str, *, deep: bool) -> Iterator[str]:
    """A line of a wheel's RECORD against the file; only what has a hash there is compared."""
    if not path.exists():
        yield f"{path} is missing"
    elif digest and size and path.stat().st_size != int(size):
        yield f"{path} has {path.stat().st_size} bytes instead of {size}"
    elif digest and deep:
        algorithm, _, expected = digest.partition("=")
        with path.open("rb") as file:
            found = hashlib.file_digest(file, algorithm).digest()
        if base64.urlsafe_b64encode(found).rstrip(b"=").decode() != expected:
            yield f"{path} was changed"


__all__ = ["verify"]
