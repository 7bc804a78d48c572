"""uv, which resolves and installs: how it is found, what it takes from the user's settings, how it is run."""

from __future__ import annotations

import configparser
import contextlib
import functools
import os
import re
import shutil
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path

from mlgate_projects import process
from mlgate_projects.envs import Progress
from mlgate_projects.errors import BuildCancelled, EnvironmentBuildError, EnvironmentUnavailable
from mlgate_projects.process import Cancel, ProcessRequest, Stream

_KEPT_OUTPUT = 8000  # characters of the builder's output that go into an error
# Variables that would point the installer at another environment than the one being built.
_DROPPED = ("VIRTUAL_ENV", "CONDA_", "PYTHONHOME", "PYTHONPATH", "UV_PYTHON", "UV_PROJECT", "UV_SYSTEM", "UV_TARGET")
_PIP_SETTINGS = {
    "index-url": "UV_DEFAULT_INDEX",
    "extra-index-url": "UV_INDEX",
    "find-links": "UV_FIND_LINKS",
    "cert": "SSL_CERT_FILE",
    "trusted-host": "UV_INSECURE_HOST",
    "timeout": "UV_HTTP_TIMEOUT",
}
_LISTS = {"extra-index-url", "find-links", "trusted-host"}
_ON = ("1", "true", "yes", "on")


@functools.cache
def uv_path() -> str:
    """The uv that was installed with this program, else the one on PATH."""
    beside = Path(sys.executable).with_name("uv")
    if beside.is_file():
        return str(beside)
    with contextlib.suppress(ImportError, FileNotFoundError):
        from uv import find_uv_bin

        return find_uv_bin()
    found = shutil.which("uv")
    if found is None:
        raise EnvironmentUnavailable("uv is not here: install it with `pip install uv`")
    return found


def builder_variables(environ: Mapping[str, str]) -> dict[str, str]:
    """Variables for uv: the user's own, and pip's settings (`PIP_*`, `pip.conf`) in uv's words where uv has none yet.

    People who set an index, a certificate or a folder of wheels for pip expect every installer to go there.
    """
    env = {name: value for name, value in environ.items() if not name.startswith(_DROPPED)}
    pip = _pip_settings(environ)
    for setting, variable in _PIP_SETTINGS.items():
        value = pip.get(setting)
        if value is None or _uv_has(env, variable) or (setting == "cert" and not Path(value).is_file()):
            continue
        separator = "," if setting == "find-links" else " "
        env[variable] = separator.join(value.replace(",", " ").split()) if setting in _LISTS else value
        if setting == "extra-index-url":
            env.setdefault("UV_INDEX_STRATEGY", "unsafe-best-match")  # pip looks at all indexes for the best version
    if pip.get("pre", "").lower() in _ON:
        env.setdefault("UV_PRERELEASE", "allow")
    return env | {"UV_NO_PROGRESS": "1", "UV_PYTHON_DOWNLOADS": "never"}


def _pip_arguments(environ: Mapping[str, str]) -> list[str]:
    """pip's settings that uv takes as arguments only."""
    pip = _pip_settings(environ)
    arguments = ["--no-index"] if pip.get("no-index", "").lower() in _ON else []
    return arguments + [part for file in pip.get("constraint", "").split() for part in ("--constraints", file)]


def run_uv(
    arguments: Sequence[str],
    *,
    cwd: Path,
    progress: Progress,
    what: str,
    environ: Mapping[str, str] | None = None,
    token: str = "",
    cancel: Cancel | None = None,
    downloads: bool = False,
) -> str:
    """Run uv to its end, telling its messages line by line; returns what it wrote to standard output.

    Args:
        what: is being done, for the error.
        token: marks the process (the name of the directory that is being built).
        cancel: stops it when set.
        downloads: uv may download interpreters.

    Raises:
        BuildCancelled: it was stopped.
        EnvironmentBuildError: it failed; the message is uv's own, the error holds the end of its output.
    """
    told: list[str] = []
    answer: list[bytes] = []

    def on_output(stream: Stream, text: bytes) -> None:
        if stream is Stream.STDOUT:
            answer.append(text)
            return
        for line in text.decode(errors="replace").splitlines():
            told.append(line)
            if line.strip():
                progress(line.strip())

    variables = os.environ if environ is None else environ
    env = builder_variables(variables)
    if downloads:
        del env["UV_PYTHON_DOWNLOADS"]
    own = _pip_arguments(variables) if arguments[0] == "pip" else []
    request = ProcessRequest((uv_path(), *arguments, *own), cwd, env, secrets=tuple(_credentials(env)), token=token)
    outcome = process.run(request, on_output, cancel)
    if outcome.stopped is not None:
        raise BuildCancelled
    if not outcome.ok:
        output = "\n".join(told)[-_KEPT_OUTPUT:]
        raise EnvironmentBuildError(f"{what}: {_reason(told, outcome.exit_code)}", output=output)
    return b"".join(answer).decode(errors="replace")


def _reason(lines: Sequence[str], code: int) -> str:
    """uv's own explanation as one line, without the frame that it draws around it."""
    plain = [re.sub(r"^[^\w`'\"(./-]+", "", line).strip() for line in lines]
    framed = (i for i, line in enumerate(lines) if re.match(r"\s*(?:error\b|\N{MULTIPLICATION SIGN} )", line))
    start = next(framed, max(0, len(lines) - 6))
    text = " ".join(line for line in plain[start:] if line)
    return text.removeprefix("error: ") or f"uv ended with {code}"


def _uv_has(env: Mapping[str, str], variable: str) -> bool:
    older = {"UV_DEFAULT_INDEX": "UV_INDEX_URL", "UV_INDEX": "UV_EXTRA_INDEX_URL"}
    return bool(env.get(variable) or env.get(older.get(variable, variable)))


def _pip_settings(environ: Mapping[str, str]) -> dict[str, str]:
    """pip's settings: its configuration files in pip's order, then `PIP_*`; keys as in `pip.conf`."""
    home = Path(environ.get("HOME") or Path.home())
    own = environ.get("PIP_CONFIG_FILE")
    files = [
        Path("/etc/pip.conf"),
        home / ".pip/pip.conf",
        Path(environ.get("XDG_CONFIG_HOME") or home / ".config") / "pip/pip.conf",
        Path(sys.prefix) / "pip.conf",
    ]
    settings: dict[str, str] = {}
    if own != os.devnull:
        for file in [*files, *([Path(own)] if own else [])]:
            parser = configparser.RawConfigParser()
            try:
                parser.read_string(file.read_text(encoding="utf-8"))
            except (OSError, configparser.Error, UnicodeDecodeError):
                continue
            for section in ("global", "install"):
                if parser.has_section(section):
                    settings |= {key.replace("_", "-"): value for key, value in parser.items(section)}
    prefix = "PIP_"
    settings |= {
        name[len(prefix) :].lower().replace("_", "-"): value
        for name, value in environ.items()
        if name.startswith(prefix) and value
    }
    return settings


def _credentials(env: Mapping[str, str]) -> set[str]:
    """Passwords in index URLs, which must not show in any message."""
    found = set()
    for name, value in env.items():
        if name.startswith(("UV_", "PIP_")):
            found |= {match[1] for match in re.finditer(r"://[^/@\s:]*:([^/@\s]+)@", value)}
            if name.endswith("_PASSWORD"):
                found.add(value)
    return found


__all__ = ["builder_variables", "run_uv", "uv_path"]
