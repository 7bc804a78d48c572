"""Requirement lines as pip reads them, laid flat: `-r` and `-c` files opened, local paths made absolute and hashed.

Two sets of lines that would install the same have the same flat form, wherever their files were cut; what a local path
holds is part of it.
"""

from __future__ import annotations

import hashlib
import os
import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from urllib.parse import unquote, urlsplit

from mlgate_projects.envs.installed import canonical_name
from mlgate_projects.errors import InvalidProject, Problem

_FILE_OPTION = re.compile(r"(-r|-c|--requirement|--constraint)(?:\s*=\s*|\s+|(?=[^-\s]))(.+)")
_EDITABLE = re.compile(r"(?:-e|--editable)(?:\s*=\s*|\s+)(.+)")
_FIND_LINKS = re.compile(r"(?:-f|--find-links)(?:\s*=\s*|\s+)(.+)")
_NAMED_URL = re.compile(r"([A-Za-z0-9][\w.-]*(?:\[[^\]]*\])?)\s*@\s*(\S+)(.*)")
_NAME = re.compile(r"[A-Za-z0-9][\w.-]*")
_EXTRAS = re.compile(r"(\[[^\]]*\])?\s*(;.*)?$")
_ARCHIVES = (".whl", ".zip", ".tar.gz", ".tgz", ".tar.bz2")
# What building a project leaves in it does not change what is built from it.
_NOT_SOURCE = {".git", ".hg", ".svn", "__pycache__", ".venv", "venv", "build", "dist", ".tox", ".nox", ".mypy_cache"}
_METADATA = ("pyproject.toml", "setup.py", "setup.cfg", "MANIFEST.in")


@dataclass(frozen=True, slots=True)
class Requirements:
    """Flat requirements.

    Attributes:
        lines: requirements and options, in order, no `-r` or `-c` among them.
        constraints: lines of all constraint files.
        sources: local path -> digest of what it holds.
        hashed: lines carry `--hash`, so that the installer has to demand them.
    """

    lines: tuple[str, ...]
    constraints: tuple[str, ...] = ()
    sources: tuple[tuple[str, str], ...] = ()
    hashed: bool = False

    @property
    def names(self) -> set[str]:
        """Canonical names of the packages that are asked for by name."""
        return {canonical_name(match[0]) for line in self.lines if (match := _NAME.match(line)) is not None}

    @property
    def local(self) -> bool:
        """Whether something comes from a path or a repository, which cannot have a hash."""
        return bool(self.sources) or any(re.search(r"(?:^|[@\s])(?:git|hg|svn|bzr)\+", line) for line in self.lines)

    def refresh(self) -> list[str]:
        """Arguments that make uv build local projects anew.

        It keeps what it built from a directory until the metadata changes, but the code may have changed alone.
        """
        names = {_project_name(Path(path)) for path, _ in self.sources if Path(path).is_dir()}
        if "" in names:
            return ["--refresh"]
        return [part for name in sorted(names) for part in ("--refresh-package", name)]


def _project_name(path: Path) -> str:
    """The name of the project in a directory, empty when its files do not tell."""
    import tomllib

    try:
        about = tomllib.loads((path / "pyproject.toml").read_text(encoding="utf-8"))
    except (OSError, ValueError):
        about = {}
    name = about.get("project", {}).get("name") or about.get("tool", {}).get("poetry", {}).get("name")
    for file in ("setup.cfg", "setup.py"):
        if not name and (path / file).is_file():
            match = re.search(
                r"^\s*name\s*=\s*['\"]?([\w.-]+)", (path / file).read_text(errors="replace"), re.MULTILINE
            )
            name = match[1] if match else ""
    return str(name or "")


@dataclass(slots=True)
class _Reading:
    project: Path
    problems: list[Problem] = field(default_factory=list)
    lines: list[str] = field(default_factory=list)
    constraints: list[str] = field(default_factory=list)
    sources: dict[str, str] = field(default_factory=dict)
    opened: set[tuple[Path, bool]] = field(default_factory=set)


def flatten(groups: Iterable[tuple[str, Sequence[str]]], *, file: str, project: Path) -> Requirements:
    """Lay requirement lines flat.

    Args:
        groups: `(key, lines)` as they stand in the environment file, such as `("dependencies", [...])`.
        file: the environment file, relative to the project; its lines' paths are relative to it, then to the project.
        project: the project's directory.

    Raises:
        InvalidProject: a file or path that is not there; every such problem is in it.
    """
    reading = _Reading(project)
    folder = (project / file).parent
    for key, lines in groups:
        for index, line in enumerate(lines):
            _read_line(reading, line.strip(), folder, place=(file, 0, f"{key}[{index}]"), constraint=False)
    if reading.problems:
        raise InvalidProject(reading.problems)
    lines_ = tuple(reading.lines)
    hashed = any("--hash=" in line or line.startswith("--require-hashes") for line in lines_)
    return Requirements(lines_, tuple(reading.constraints), tuple(sorted(reading.sources.items())), hashed)


def _read_file(reading: _Reading, path: Path, *, constraint: bool) -> None:
    resolved = path.resolve()
    if (resolved, constraint) in reading.opened:  # a file that includes itself says nothing new
        return
    reading.opened.add((resolved, constraint))
    shown = os.path.relpath(path, reading.project)
    for number, line in _logical_lines(path.read_text(encoding="utf-8-sig")):
        _read_line(reading, line, path.parent, place=(shown, number, ""), constraint=constraint)


def _logical_lines(text: str) -> Iterable[tuple[int, str]]:
    """Lines with their number: continued ones joined, comments and blank ones left out."""
    joined, first = "", 0
    for number, line in enumerate(text.splitlines(), 1):
        first = first or number
        stripped = re.sub(r"(^|\s)#.*$", "", line)
        if stripped.endswith("\\"):
            joined += stripped[:-1]
            continue
        whole, start = (joined + stripped).strip(), first
        joined, first = "", 0
        if whole:
            yield start, whole
    if joined.strip():
        yield first, joined.strip()


def _read_line(reading: _Reading, line: str, folder: Path, *, place: tuple[str, int, str], constraint: bool) -> None:
    file, number, key = place
    into = reading.constraints if constraint else reading.lines
    if match := _FILE_OPTION.fullmatch(line):
        name = match[2].strip().strip("'\"")
        if re.match(r"[a-z]+://", name):
            reading.problems.append(Problem(file, f"{name!r}: only files are read; download it first", key, number))
            return
        found = _existing(name, folder, reading.project)
        if found is None or not found.is_file():
            reading.problems.append(Problem(file, f"{line!r}: there is no file {name!r}", key, number))
            return
        _read_file(reading, found, constraint=constraint or match[1] in ("-c", "--constraint"))
    elif match := _EDITABLE.fullmatch(line):
        into.append(f"-e {_local(reading, match[1].strip(), folder, place, editable=True) or match[1].strip()}")
    elif match := _FIND_LINKS.fullmatch(line):
        found = _existing(match[1].strip(), folder, reading.project)
        into.append(f"--find-links {found or match[1].strip()}")
    elif line.startswith("-"):
        into.append(line)
    elif match := _NAMED_URL.fullmatch(line):
        path = _local(reading, match[2], folder, place) if match[2].startswith(("file:", ".", "/")) else None
        into.append(f"{match[1]} @ {Path(path).as_uri()}{match[3]}" if path else line)
    else:
        into.append(_local(reading, line, folder, place) or line)


def _local(
    reading: _Reading, text: str, folder: Path, place: tuple[str, int, str], *, editable: bool = False
) -> str | None:
    """The absolute form of a local path, whose content is noted; None when the text is no local path."""
    file, number, key = place
    bare = text[: match.start()] if (match := _EXTRAS.search(text)) else text
    tail = text[len(bare) :]
    name = unquote(urlsplit(bare).path) if bare.startswith("file:") else bare
    explicit = bare.startswith((".", "/", "file:", "~")) or (bare.endswith(_ARCHIVES) and "://" not in bare)
    found = _existing(name, folder, reading.project)
    if found is None or (found.is_dir() and not explicit and not any((found / known).is_file() for known in _METADATA)):
        if explicit or (editable and not re.match(r"\w+\+|\w+://", bare)):
            reading.problems.append(Problem(file, f"{text!r}: there is no {name!r}", key, number))
        return None
    reading.sources[str(found)] = _digest(found, metadata_only=editable)
    return f"{found}{tail}"


def _existing(name: str, folder: Path, project: Path) -> Path | None:
    for base in (folder, project):
        path = Path(os.path.abspath(base / Path(name).expanduser()))  # noqa: PTH100 - links must stay
        if path.exists():
            return path
    return None


def _digest(path: Path, *, metadata_only: bool) -> str:
    """sha256 of a file or of a tree (names and contents); of its metadata alone when the code stays in place."""
    digest = hashlib.sha256()
    if path.is_file():
        files = [path]
    elif metadata_only:
        files = [path / name for name in _METADATA if (path / name).is_file()]
    else:
        files = sorted(_source_files(path))
    for one in files:
        content = hashlib.sha256(one.read_bytes()).digest()
        digest.update(os.fsencode(one.relative_to(path)) + b"\0" + content)
    return digest.hexdigest()


def _source_files(root: Path) -> Iterable[Path]:
    for folder, folders, names in os.walk(root):
        folders[:] = [name for name in folders if name not in _NOT_SOURCE and not name.endswith(".egg-info")]
        for name in names:
            if not name.endswith((".pyc", ".pyo")):
                path = Path(folder, name)
                if path.is_file():
                    yield path


__all__ = ["Requirements", "flatten"]
