"""Git repositories of others, kept here: one bare mirror per URL, one work tree per commit.

Layout below the cache directory, by digest of the URL:

    KEY/lock                 held while anything below changes
    KEY/mirror.git           objects and the refs that were asked for
    KEY/trees/COMMIT/        the files of a commit, used in place by every run of it
    KEY/trees/COMMIT.json    written last: what the tree holds; without it the tree counts as not there

A commit that is here needs no network. What a killed process left half-done is cleared by the next one to take the
lock.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import re
import shutil
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

from mlgate_projects.digest import Entry
from mlgate_projects.errors import SourceError
from mlgate_projects.git import GitFailed, Progress, Remote, run_git
from mlgate_projects.locks import exclusive

_COMMIT = re.compile(r"[0-9a-f]{40}([0-9a-f]{24})?")
_ABBREVIATED = re.compile(r"[0-9a-f]{4,40}")
_SUBMODULE = "160000"
_ANSWER_TIMEOUT = 90.0  # seconds


@dataclass(frozen=True, slots=True)
class Pin:
    """What a version meant when it was asked for: a commit, and the branch if it was the name of one."""

    commit: str
    branch: str | None = None


@dataclass(frozen=True, slots=True)
class Tree:
    """The files of one commit on disk."""

    directory: Path
    files: dict[str, Entry]

    def below(self, subdirectory: str) -> dict[str, Entry]:
        """The files below a subdirectory, by their path in it; all of them when it is empty."""
        prefix = f"{subdirectory}/" if subdirectory else ""
        return {path.removeprefix(prefix): entry for path, entry in self.files.items() if path.startswith(prefix)}


def is_commit(version: str) -> bool:
    """Whether the text is the full id of a commit."""
    return _COMMIT.fullmatch(version) is not None


class Mirror:
    """The mirror of one remote repository."""

    def __init__(self, remote: Remote, cache_root: Path, progress: Progress) -> None:
        self._remote = remote
        self._root = cache_root / hashlib.sha256(remote.url.encode()).hexdigest()[:32]
        self._git_dir = self._root / "mirror.git"
        self._progress = progress

    def pin(self, version: str | None) -> Pin:
        """Resolve a branch, tag or commit (short ones too), or the default branch when None; fetch what it needs.

        Raises:
            SourceError: the repository cannot be reached, or has no such version.
        """
        if version is not None and (version.startswith("-") or re.search(r"[\s~^:?*\[\\\x00-\x1f]|\.\.|@\{", version)):
            raise self._error(f"{version!r} cannot be a version; pass a branch, a tag or a commit")
        if version is not None and is_commit(version):
            if not self._has(version):
                with self._locked():
                    self._fetch_commit(version, version)
            return Pin(version)
        pin = self._ask(version)
        if pin is not None:
            if not self._has(pin.commit) or (pin.branch and not self.branch_at(pin.branch, pin.commit)):
                with self._locked():
                    self._fetch_commit(pin.commit, version)
                    self._remember_branch(pin)
            return pin
        assert version is not None
        with self._locked():
            commit = self._expand(version)
            if commit is None and _ABBREVIATED.fullmatch(version):
                self._fetch_everything()
                commit = self._expand(version)
        if commit is None:
            raise self._error(f"has no branch, tag or commit {version!r}; it has {self._known_versions()}")
        return Pin(commit)

    def branch_at(self, name: str, commit: str) -> bool:
        """Whether `name` was a branch at this commit when it was last pinned here. Needs no network."""
        ref = self._git_dir / "refs" / "heads" / name
        return ".." not in name.split("/") and ref.is_file() and ref.read_text().strip() == commit

    def tree(self, commit: str, *, submodules: bool = False) -> Tree:
        """The files of a commit that has been pinned; files that a run has changed since are put back."""
        name = f"{commit}-submodules" if submodules else commit
        kept = self._kept_tree(name)
        if kept is not None:
            return kept
        if not self._has(commit):
            self.pin(commit)
        with self._locked():
            kept = self._kept_tree(name)
            return kept if kept is not None else self._check_out(commit, name, submodules)

    def kept(self, commit: str) -> Tree | None:
        """The files of a commit that are in the cache already; runs no git and needs no network."""
        return self._kept_tree(commit)

    def _remember_branch(self, pin: Pin) -> None:
        if pin.branch:
            with contextlib.suppress(GitFailed):  # a branch `a` stands in the way of a branch `a/b`
                run_git(["update-ref", f"refs/heads/{pin.branch}", pin.commit], git_dir=self._git_dir)

    # --- refs and objects ---------------------------------------------------------------------------------------

    def _ask(self, version: str | None) -> Pin | None:
        """What the remote says about a name now; None when it knows none such."""
        if version is None:
            wanted = ["HEAD"]
        elif version.startswith("refs/"):
            wanted = [version, f"{version}^{{}}"]
        else:
            wanted = [f"refs/heads/{version}", f"refs/tags/{version}", f"refs/tags/{version}^{{}}"]
        self._progress(f"asking {self._remote.url} for {version or 'its default branch'}")
        try:
            said = run_git(
                ["ls-remote", "--symref", "--", self._remote.url, *wanted], remote=self._remote, timeout=_ANSWER_TIMEOUT
            )
        except GitFailed as error:
            raise self._error(f"cannot be reached: {error}") from None
        found: dict[str, str] = {}
        branch: str | None = None
        for line in said.decode(errors="replace").splitlines():
            value, _, name = line.partition("\t")
            if value.startswith("ref: ") and name == "HEAD":
                branch = value.removeprefix("ref: refs/heads/")
            else:
                found[name] = value
        if version is None:
            if "HEAD" not in found:
                raise self._error("has no default branch; it is empty, or pass --version")
            return Pin(found["HEAD"], branch)
        heads, tags = f"refs/heads/{version}", f"refs/tags/{version}"
        if heads in found:
            return Pin(found[heads], version)
        commit = found.get(f"{tags}^{{}}") or found.get(tags) or found.get(f"{version}^{{}}") or found.get(version)
        return Pin(commit) if commit else None

    def _fetch_commit(self, commit: str, version: str | None) -> None:
        """Fetch one commit without its history where the server lets us, everything where it does not."""
        if self._has(commit):
            return
        self._make()
        try:
            self._fetch("--depth=1", self._remote.url, commit)
        except GitFailed:
            self._fetch_everything()
        if not self._has(commit):
            raise self._error(f"has no commit {version or commit!r}; pass a branch, a tag or a commit that was pushed")

    def _fetch_everything(self) -> None:
        self._make()
        deepen = ["--unshallow"] if (self._git_dir / "shallow").is_file() else []
        refs = ("+refs/heads/*:refs/remotes/origin/*", "+refs/tags/*:refs/tags/*")
        try:
            self._fetch(*deepen, self._remote.url, *refs)
        except GitFailed as error:
            raise self._error(f"cannot be fetched: {error}") from None

    def _fetch(self, *arguments: str) -> None:
        self._progress(f"fetching {self._remote.url}")
        options = ["fetch", "--progress", "--no-tags", "--no-recurse-submodules", "--no-write-fetch-head", "--force"]
        depth = [argument for argument in arguments if argument.startswith("--")]
        rest = [argument for argument in arguments if not argument.startswith("--")]
        run_git([*options, *depth, "--", *rest], git_dir=self._git_dir, remote=self._remote, progress=self._progress)

    def _make(self) -> None:
        if not (self._git_dir / "HEAD").is_file():
            run_git(["init", "--quiet", "--bare", "--template=", str(self._git_dir)])

    def _has(self, commit: str) -> bool:
        return self._expand(commit) == commit

    def _expand(self, version: str) -> str | None:
        """The full id of a commit that is in the mirror, None when there is none (or several)."""
        if not (self._git_dir / "HEAD").is_file() or not _ABBREVIATED.match(version):
            return None
        try:
            said = run_git(["rev-parse", "--verify", "--quiet", f"{version}^{{commit}}"], git_dir=self._git_dir)
        except GitFailed:
            return None
        return said.decode().strip()

    def _known_versions(self) -> str:
        try:
            said = run_git(
                ["ls-remote", "--heads", "--tags", "--refs", "--", self._remote.url],
                remote=self._remote,
                timeout=_ANSWER_TIMEOUT,
            )
        except GitFailed:
            return "versions that cannot be listed"
        names = [re.sub(r"^refs/(heads|tags)/", "", line.partition("\t")[2]) for line in said.decode().splitlines()]
        return ", ".join(names[:10]) + (f" and {len(names) - 10} more" if len(names) > 10 else "") if names else "none"

    # --- trees --------------------------------------------------------------------------------------------------

    def _kept_tree(self, name: str) -> Tree | None:
        """The tree as it was checked out; None when it is not there or its files are no longer what they were."""
        directory = self._root / "trees" / name
        rows = _read_marker(self._root / "trees" / f"{name}.json")
        if rows is None or next(_changed(directory, rows), None) is not None:
            return None
        return Tree(directory, {path: (mode, blob) for path, (mode, blob, _, _) in rows.items()})

    def _check_out(self, commit: str, name: str, submodules: bool) -> Tree:
        trees = self._root / "trees"
        trees.mkdir(exist_ok=True)
        final, marker = trees / name, trees / f"{name}.json"
        self._progress(f"checking out {commit[:12]}")
        # Where some run changed files of the commit, only those are put back: other runs may be at work in the tree.
        target = final if final.exists() else trees / f".partial-{os.getpid()}"
        rows = _read_marker(marker) if target == final else None
        changed = None if rows is None else b"\0".join(os.fsencode(path) for path in _changed(final, rows))
        marker.unlink(missing_ok=True)
        target.mkdir(exist_ok=True)
        index = trees / f".index-{os.getpid()}"
        at = {"GIT_INDEX_FILE": str(index)}
        try:
            run_git(["read-tree", commit], git_dir=self._git_dir, variables=at)
            if submodules and target != final:
                self._clone_with_submodules(commit, target)
            else:
                which = ["--all"] if changed is None else ["-z", "--stdin"]
                check_out = ["checkout-index", "--force", "--quiet", *which]
                in_tree = {**at, "GIT_WORK_TREE": str(target)}
                run_git(check_out, git_dir=self._git_dir, cwd=target, variables=in_tree, stdin=changed)
            listed = run_git(["ls-files", "--stage", "-z"], git_dir=self._git_dir, variables=at)
        except GitFailed as error:
            raise self._error(f"commit {commit[:12]} cannot be checked out: {error}") from None
        finally:
            index.unlink(missing_ok=True)
        files: dict[str, Entry] = {}
        for record in listed.decode("utf-8", "surrogateescape").split("\0"):
            if record:
                entry, _, path = record.partition("\t")
                mode, blob, _ = entry.split(" ")
                files[path] = (mode, blob)
        if target != final:
            target.rename(final)
        _write_marker(marker, final, files)
        return Tree(final, files)

    def _clone_with_submodules(self, commit: str, target: Path) -> None:
        """Make the tree as a clone that borrows the mirror's objects, since submodules need one; keep its files."""
        run_git(["clone", "--quiet", "--shared", "--no-checkout", "--template=", str(self._git_dir), str(target)])
        run_git(["remote", "set-url", "origin", self._remote.url], cwd=target)
        run_git(["checkout", "--quiet", "--detach", commit], cwd=target)
        run_git(["submodule", "update", "--quiet", "--init", "--recursive"], cwd=target, remote=self._remote)
        for pointer in list(target.rglob(".git")):
            if pointer.is_dir():
                shutil.rmtree(pointer)
            else:
                pointer.unlink()

    # --- the lock -----------------------------------------------------------------------------------------------

    @contextlib.contextmanager
    def _locked(self) -> Iterator[None]:
        waiting = f"waiting for another process that is fetching {self._remote.url}"
        with exclusive(self._root / "lock", lambda: self._progress(waiting)):
            try:
                self._clear_leftovers()
                yield
            finally:
                self._clear_leftovers()

    def _clear_leftovers(self) -> None:
        """Only the holder of the lock makes these, so all that are there are left from a process that is gone."""
        for left in (self._root / "trees").glob(".*-*"):
            shutil.rmtree(left) if left.is_dir() else left.unlink(missing_ok=True)
        for left in (self._git_dir / "objects" / "pack").glob("tmp_*"):
            left.unlink(missing_ok=True)
        for left in self._git_dir.glob("*.lock"):
            left.unlink(missing_ok=True)

    def _error(self, message: str) -> SourceError:
        return SourceError(f"{self._remote.url}: {message}", uri=self._remote.url)


def _write_marker(marker: Path, directory: Path, files: Mapping[str, Entry]) -> None:
    """Record each file with its size and modification time, by which `_changed` knows it again."""
    rows = {}
    for path, (mode, blob) in files.items():
        status = (directory / path).lstat()
        rows[path] = (mode, blob, status.st_size, status.st_mtime_ns)
    temporary = marker.with_name(f".index-{os.getpid()}-marker")
    temporary.write_text(json.dumps(rows))
    temporary.replace(marker)


def _read_marker(marker: Path) -> dict[str, tuple[str, str, int, int]] | None:
    try:
        return json.loads(marker.read_bytes())  # type: ignore[no-any-return]  # written by _write_marker
    except (OSError, ValueError):
        return None


def _changed(directory: Path, rows: Mapping[str, tuple[str, str, int, int]]) -> Iterator[str]:
    """The files of a tree that are gone or no longer what they were."""
    for path, (mode, _, size, modified) in rows.items():
        try:
            status = (directory / path).lstat()
        except OSError:
            yield path
            continue
        if mode != _SUBMODULE and (status.st_size != size or status.st_mtime_ns != modified):
            yield path


__all__ = ["Mirror", "Pin", "Tree", "is_commit"]
