"""Python interpreters on this machine: found on PATH, among pyenv's and uv's, and where this program's own came from.

Each is asked about itself once; the answer is kept by path, time and size of the file, so that a warm look starts no
process. Scripts that stand in for an interpreter (pyenv's and asdf's shims) are passed over: what they start depends on
the directory they are started in.
"""

from __future__ import annotations

import contextlib
import json
import os
import re
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path

from mlgate_projects.errors import EnvironmentUnavailable

_ASK = """
import json, platform, sys, sysconfig
site = []
for name in ("purelib", "platlib"):
    if sysconfig.get_path(name) not in site:
        site.append(sysconfig.get_path(name))
print(json.dumps({
    "version": platform.python_version(),
    "implementation": sys.implementation.name,
    "platform": sysconfig.get_platform() + "/" + str(sysconfig.get_config_var("SOABI")),
    "prefix": sys.prefix,
    "base": getattr(sys, "_base_executable", sys.executable) or sys.executable,
    "virtual": sys.prefix != sys.base_prefix,
    "site_packages": site,
}))
"""
_VERSION = re.compile(r"\s*(?:python)?\s*={0,2}\s*(\d+(?:\.\d+){0,2})(?:\.\*)?\s*")
_ASK_WITHIN = 20.0  # seconds; a cold disk is slow, a hanging wrapper must not hold everybody up
_NEWEST_MINOR = 20  # names python3.6 to python3.20 are looked for


@dataclass(frozen=True, slots=True)
class Interpreter:
    """What an interpreter says about itself.

    Attributes:
        path: the file that was asked.
        version: full, such as `3.10.13` or `3.14.0rc1`.
        platform: what compiled packages have to match.
        base: the interpreter that a virtual environment was made from; itself otherwise.
        site_packages: directories that hold its packages.
    """

    path: str
    version: str
    implementation: str
    platform: str
    prefix: str
    base: str
    virtual: bool
    site_packages: tuple[str, ...]

    @property
    def numbers(self) -> tuple[int, ...]:
        """Major, minor and patch version."""
        return tuple(int(number) for number in re.findall(r"\d+", self.version)[:3])

    @property
    def order(self) -> tuple[tuple[int, ...], bool]:
        """Sorts by version, final ones after their release candidates."""
        return self.numbers, re.fullmatch(r"[\d.]+\+?", self.version) is not None

    @property
    def minor(self) -> str:
        return ".".join(map(str, self.numbers[:2]))


def ask(path: Path, remembered: Path | None = None) -> Interpreter | None:
    """What the interpreter at `path` says; None when it does not run. `remembered` is the file of kept answers."""
    return _Answers(remembered).ask(str(path))


def find(
    version: str | None,
    *,
    strict: bool = False,
    remembered: Path | None = None,
    environ: Mapping[str, str] | None = None,
) -> tuple[Interpreter, str | None]:
    """The interpreter for `python: VERSION`, and a line for the user when it is not exactly that version.

    Args:
        version: `3`, `3.10` or `3.10.13`; None for the version that runs this program.
        strict: refuse another patch version; without it the newest one of the same minor version will do.

    Raises:
        EnvironmentUnavailable: there is none; the message lists what there is.
    """
    answers = _Answers(remembered)
    env = os.environ if environ is None else environ
    if version is None:
        own = answers.ask(getattr(sys, "_base_executable", "") or sys.executable) or answers.ask(sys.executable)
        if own is None:
            raise EnvironmentUnavailable(f"{sys.executable}: does not run as a Python interpreter")
        return own, None
    wanted = _parse(version)
    found = [one for path in _candidates(env) if _may_be(path, wanted) and (one := answers.base_of(path)) is not None]
    fitting = [one for one in found if one.numbers[: len(wanted)] == wanted]
    if fitting:
        return _newest(fitting), None
    same_minor = [one for one in found if one.numbers[:2] == wanted[:2]] if len(wanted) > 2 else []
    if same_minor and not strict:
        best = _newest(same_minor)
        return best, f"python {version} is not on this machine: using {best.version} ({best.path})"
    raise EnvironmentUnavailable(_not_found(version, strict=strict, answers=answers, environ=env))


def known(remembered: Path | None = None, environ: Mapping[str, str] | None = None) -> list[Interpreter]:
    """Every interpreter on this machine, oldest version first."""
    answers = _Answers(remembered)
    found = {
        one.path: one
        for path in _candidates(os.environ if environ is None else environ)
        if (one := answers.base_of(path))
    }
    return sorted(found.values(), key=lambda one: (one.order, one.path))


def _newest(found: list[Interpreter]) -> Interpreter:
    """The newest version; of equal ones the first that was found."""
    return max(found, key=lambda one: one.order)


def is_version(text: str) -> bool:
    """Whether `find` takes it for a version; any other text is a mistake."""
    return _VERSION.fullmatch(text) is not None


def _parse(version: str) -> tuple[int, ...]:
    match = _VERSION.fullmatch(version)
    if match is None:
        raise EnvironmentUnavailable(f"python: {version!r} is not a version; write it as 3.10 or 3.10.13")
    return tuple(int(number) for number in match[1].split("."))


def _not_found(version: str, *, strict: bool, answers: _Answers, environ: Mapping[str, str]) -> str:
    there = {one.path: one for path in _candidates(environ) if (one := answers.base_of(path)) is not None}
    listed = ", ".join(f"{one.version} ({one.path})" for one in sorted(there.values(), key=lambda one: one.order))
    exactly = "exactly " if strict else ""
    return f"no python {exactly}{version} on this machine; there is {listed or 'none'}; install it or change `python:`"


def _candidates(environ: Mapping[str, str]) -> Iterator[str]:
    """Files that may be interpreters, each once, the likeliest first."""
    home = Path(environ.get("HOME") or Path.home())
    data = Path(environ.get("XDG_DATA_HOME") or home / ".local/share")
    folders = [Path(folder) for folder in environ.get("PATH", os.defpath).split(os.pathsep) if folder]
    folders += [Path("/usr/local/bin"), Path("/usr/bin")]
    names = ["python3", "python", *(f"python3.{minor}" for minor in range(6, _NEWEST_MINOR + 1))]
    paths = [getattr(sys, "_base_executable", sys.executable)]
    paths += [f"{folder}/{name}" for folder in folders for name in names]
    for root, below in (
        (Path(environ.get("PYENV_ROOT") or home / ".pyenv") / "versions", "bin/python"),
        (Path(environ.get("UV_PYTHON_INSTALL_DIR") or data / "uv/python"), "bin/python3"),
    ):
        with contextlib.suppress(OSError):
            paths += [f"{entry.path}/{below}" for entry in sorted(os.scandir(root), key=lambda entry: entry.name)]
    seen: set[str] = set()
    for path in paths:
        try:
            real = os.path.realpath(path, strict=True)
        except OSError:
            continue
        # A virtual environment's python is a link to its base, and the base is as good.
        if real not in seen and os.access(real, os.X_OK):
            seen.add(real)
            if not _is_script(real):
                yield real


def _is_script(path: str) -> bool:
    try:
        with open(path, "rb") as file:  # noqa: PTH123 - hundreds of times
            return file.read(2) == b"#!"
    except OSError:
        return True


def _may_be(path: str, wanted: tuple[int, ...]) -> bool:
    """Whether the name of the file leaves open that it is of the wanted minor version."""
    match = re.search(r"python(\d+)\.(\d+)t?$", path)
    return match is None or (int(match[1]), int(match[2]))[: len(wanted)] == wanted[:2]


class _Answers:
    """What interpreters said, kept in a JSON file: path -> [mtime in ns, size, answer or null]."""

    def __init__(self, file: Path | None) -> None:
        self._file = file
        self._kept: dict[str, list[object]] = {}
        if file is not None:
            with contextlib.suppress(OSError, ValueError):
                kept = json.loads(file.read_bytes())
                self._kept = kept if isinstance(kept, dict) else {}

    def ask(self, path: str) -> Interpreter | None:
        try:
            status = os.stat(path)  # noqa: PTH116 - called for every interpreter at every start
        except OSError:
            return None
        stamp = [status.st_mtime_ns, status.st_size]
        kept = self._kept.get(path)
        if kept is None or kept[:2] != stamp:
            kept = [*stamp, _answer(path)]
            self._keep(path, kept)
        answer = kept[2]
        if not isinstance(answer, dict):
            return None
        return Interpreter(**{**answer, "path": path, "site_packages": tuple(answer["site_packages"])})

    def base_of(self, path: str) -> Interpreter | None:
        """The answer of the interpreter that `path` stands for: of its base, when it is a virtual environment's."""
        answer = self.ask(path)
        return self.ask(answer.base) if answer is not None and answer.virtual else answer

    def _keep(self, path: str, kept: list[object]) -> None:
        self._kept[path] = kept
        if self._file is None:
            return
        with contextlib.suppress(OSError):  # a read-only home: it is asked again next time
            self._file.parent.mkdir(parents=True, exist_ok=True)
            descriptor, partial = tempfile.mkstemp(dir=self._file.parent, prefix=".interpreters-")
            with os.fdopen(descriptor, "w") as file:
                json.dump(self._kept, file)
            Path(partial).replace(self._file)


def _answer(path: str) -> dict[str, object] | None:
    try:
        done = subprocess.run(
            [path, "-I", "-c", _ASK],
            capture_output=True,
            timeout=_ASK_WITHIN,
            check=True,
            cwd="/",
            stdin=subprocess.DEVNULL,
        )
        answer = json.loads(done.stdout)
    except (OSError, subprocess.SubprocessError, ValueError):
        return None
    expected = set(asdict(Interpreter("", "", "", "", "", "", virtual=False, site_packages=()))) - {"path"}
    return answer if isinstance(answer, dict) and set(answer) == expected else None


__all__ = ["Interpreter", "ask", "find", "is_version", "known"]
