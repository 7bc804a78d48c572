"""Where a project comes from: a URI in, a directory at a known state out.

Local directories are used in place. Git URLs (and local repositories, once a version is asked for) come through a
mirror cache, zip files through an unpacked copy; neither leaves anything outside the cache directory.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from urllib.parse import unquote, urlsplit

from mlgate_projects.digest import Entry, digest_of, walk
from mlgate_projects.errors import SourceError
from mlgate_projects.git import (
    SCHEMES,
    GitFailed,
    Progress,
    checkout_at,
    git_directory,
    is_git_url,
    remote_of,
    without_credentials,
    work_tree_top,
)


@dataclass(frozen=True, slots=True)
class Source:
    """A project's directory and what is known about its state.

    Attributes:
        uri: what to record: credentials removed, local paths absolute, `#subdirectory` included.
        directory: the project's directory, subdirectory applied.
        kind: `local`, `git` or `zip`.
        subdirectory: as asked for in the URI; empty for none.
        commit: full id; None outside git, and before a repository's first commit.
        branch: the version, where that is a branch; the branch checked out, for a local directory.
        dirty: the directory differs from the commit.
        digest: sha256 over the project's files; equal for equal files, wherever they came from.
        repo_url: of the repository, or of a local one's `origin`; without credentials.
        repo_subdirectory: the project's directory relative to its repository's top; empty for the top itself.
        files: what the digest is made of: relative path -> (mode, id of the content).
    """

    uri: str
    directory: Path
    kind: str
    subdirectory: str = ""
    commit: str | None = None
    branch: str | None = None
    dirty: bool = False
    digest: str = ""
    repo_url: str | None = None
    repo_subdirectory: str = ""
    files: Mapping[str, Entry] = field(default_factory=dict, repr=False, compare=False)

    @property
    def name(self) -> str:
        """What a run records as its source: `<repository URL>#<subdirectory>` where there is one, else the URI."""
        if self.repo_url is None:
            return self.uri
        return f"{self.repo_url}#{self.repo_subdirectory}" if self.repo_subdirectory else self.repo_url


def resolve_source(
    uri: str,
    version: str | None = None,
    *,
    cache_root: Path,
    commit: str | None = None,
    progress: Progress = lambda _: None,
    submodules: bool = False,
) -> Source:
    """Make the project at `uri` available in a directory.

    Args:
        uri: directory, `file://` URI, git URL (`https://`, `ssh://`, `git@host:path`, …) or zip file, with an optional
            `#subdirectory`.
        version: branch, tag or commit (short ones too) of a git source.
        cache_root: holds the mirrors, their work trees and unpacked zip files.
        commit: what `version` was pinned to; needs no network when it is in the cache.
        submodules: fetch a git source's submodules as well.

    Raises:
        SourceError: it does not exist, cannot be reached, has no such version, or leads outside itself.
    """
    place = _locate(uri, version)
    if place.kind == "local":
        return _local_source(place)
    if place.kind == "zip":
        return _zip_source(place, cache_root, progress)
    from mlgate_projects.mirror import Mirror, Pin, is_commit

    remote = remote_of(place.location)
    mirror = Mirror(remote, cache_root, progress)
    if commit is None and version is not None and is_commit(version):
        commit = version
    if commit is None:
        pin = mirror.pin(version)
    else:
        pin = Pin(commit, version if version and mirror.branch_at(version, commit) else None)
    tree = mirror.tree(pin.commit, submodules=submodules)
    files = tree.below(place.subdirectory)
    return Source(
        uri=remote.url + (f"#{place.subdirectory}" if place.subdirectory else ""),
        directory=_inside(tree.directory, place.subdirectory, remote.url),
        kind="git",
        subdirectory=place.subdirectory,
        commit=pin.commit,
        branch=pin.branch,
        digest=digest_of(files),
        repo_url=remote.url,
        repo_subdirectory=place.subdirectory,
        files=files,
    )


def pin(uri: str, version: str | None = None, *, cache_root: Path, progress: Progress = lambda _: None) -> str | None:
    """The commit that a git source means now, None for sources that have no versions. Raises `SourceError`."""
    place = _locate(uri, version)
    if place.kind != "git":
        return None
    from mlgate_projects.mirror import Mirror

    return Mirror(remote_of(place.location), cache_root, progress).pin(version).commit


def directory_at_hand(uri: str, commit: str | None, *, cache_root: Path) -> Path | None:
    """Where a project's files are without fetching any: a local directory, or a commit that is in the cache.

    Raises:
        SourceError: a local directory that does not exist, or leads outside itself.
    """
    place = _locate(uri, None)
    if place.kind == "local":
        return _inside(Path(place.location), place.subdirectory, place.location)
    if place.kind != "git" or commit is None:
        return None
    from mlgate_projects.mirror import Mirror

    remote = remote_of(place.location)
    tree = Mirror(remote, cache_root, lambda _: None).kept(commit)
    return None if tree is None else _inside(tree.directory, place.subdirectory, remote.url)


@dataclass(frozen=True, slots=True)
class _Place:
    """A URI taken apart: `kind`, the directory, URL or file, and the subdirectory in it."""

    kind: str
    location: str
    subdirectory: str


def _locate(uri: str, version: str | None) -> _Place:
    text = uri.strip().strip("'\"")
    location, _, subdirectory = text.partition("#")
    if "#" in text and "://" not in text and Path(text).exists():
        location, subdirectory = text, ""  # a directory with a # in its name
    subdirectory = subdirectory.strip("/")
    shown = without_credentials(text)
    if not location:
        raise SourceError("no project given; pass a directory or a git URL", uri=uri)
    if ".." in subdirectory.split("/"):
        raise SourceError(f"{shown}: the subdirectory must stay inside the project, so without '..'", uri=shown)
    path = _local_path(location)
    if path is not None and path.exists():
        return _locate_local(path.absolute(), subdirectory, version, shown)
    if location.startswith("-"):
        raise SourceError(f"{shown}: cannot be a project; pass a directory or a git URL", uri=shown)
    if re.match(r"https?://[^?]*\.zip$", location, re.IGNORECASE):
        _refuse_version(version, shown, "a zip file")
        return _Place("zip", location, subdirectory)
    if is_git_url(location) and not location.lower().startswith("file:"):
        return _Place("git", location, subdirectory)
    if re.match(r"(?!file:)[A-Za-z][\w+.-]*:", location, re.IGNORECASE):
        allowed = ", ".join(SCHEMES)
        raise SourceError(
            f"{shown}: cannot be fetched from there; git sources may be {allowed} or git@host:path", uri=shown
        )
    raise SourceError(f"{shown}: no such directory; pass a directory with an MLproject file, or a git URL", uri=shown)


def _locate_local(path: Path, subdirectory: str, version: str | None, shown: str) -> _Place:
    if path.is_file():
        if path.suffix.lower() != ".zip":
            raise SourceError(
                f"{shown}: is a file; pass the project's directory, and a script by -e {path.name}", uri=shown
            )
        _refuse_version(version, shown, "a zip file")
        return _Place("zip", str(path), subdirectory)
    repository = git_directory(path)
    if repository == path:
        return _Place("git", path.as_uri(), subdirectory)
    if version is None:
        return _Place("local", str(path), subdirectory)
    top = work_tree_top(path)
    if top is None:
        _refuse_version(version, shown, "a directory that is not in a git repository")
        raise AssertionError
    within = path.resolve().relative_to(top).as_posix()
    parts = [part for part in ("" if within == "." else within, subdirectory) if part]
    return _Place("git", top.as_uri(), "/".join(parts))


def _refuse_version(version: str | None, shown: str, what: str) -> None:
    if version is not None:
        raise SourceError(f"{shown}: --version {version} needs a git repository, and this is {what}", uri=shown)


def _local_path(location: str) -> Path | None:
    """The path that a location without a scheme, or with `file:`, names; None for other schemes."""
    if location.lower().startswith("file:"):
        parts = urlsplit(location)
        return Path(unquote(parts.path)) if parts.netloc in ("", "localhost") else None
    if "://" in location:
        return None
    path = Path(location).expanduser()
    return None if is_git_url(location) and not path.exists() else path


def _inside(root: Path, subdirectory: str, shown: str) -> Path:
    directory = root / subdirectory
    if not directory.is_dir():
        known = ", ".join(sorted(path.name for path in root.iterdir() if path.is_dir() and path.name != ".git"))
        message = f"{shown}: no directory {subdirectory!r} in it; it has {known or 'none'}"
        raise SourceError(message, uri=shown)
    if not directory.resolve().is_relative_to(root.resolve()):
        raise SourceError(f"{shown}: the subdirectory {subdirectory!r} leads outside the project", uri=shown)
    return directory


def _local_source(place: _Place) -> Source:
    root = Path(place.location)
    directory = _inside(root, place.subdirectory, place.location)
    uri = place.location + (f"#{place.subdirectory}" if place.subdirectory else "")
    try:
        checkout = checkout_at(directory)
    except GitFailed:
        checkout = None  # git is not there or will not read somebody else's repository: then files are just files
    if checkout is None or not checkout.files:  # git ignores the directory: then it is no part of the commit either
        files = walk(directory)
        return Source(uri, directory, "local", place.subdirectory, digest=digest_of(files), files=files)
    within = directory.resolve().relative_to(checkout.top).as_posix()
    return Source(
        uri=uri,
        directory=directory,
        kind="local",
        subdirectory=place.subdirectory,
        commit=checkout.commit,
        branch=checkout.branch,
        dirty=checkout.dirty,
        digest=digest_of(checkout.files),
        repo_url=checkout.repo_url,
        repo_subdirectory="" if within == "." else within,
        files=checkout.files,
    )


def _zip_source(place: _Place, cache_root: Path, progress: Progress) -> Source:
    from mlgate_projects.archive import unpacked

    shown = without_credentials(place.location)
    root = unpacked(place.location, shown, cache_root, progress)
    directory = _inside(root, place.subdirectory, shown)
    uri = shown + (f"#{place.subdirectory}" if place.subdirectory else "")
    files = walk(directory)
    return Source(uri, directory, "zip", place.subdirectory, digest=digest_of(files), files=files)


__all__ = ["Source", "directory_at_hand", "pin", "resolve_source"]
