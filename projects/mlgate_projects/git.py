"""git as we use it: no prompts, no hooks, no helpers that run commands, only transports that are allowed."""

from __future__ import annotations

import contextlib
import os
import re
import signal
import subprocess
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import urlsplit, urlunsplit

from mlgate_projects.digest import Entry, entry_of, is_made

SCHEMES = ("https", "http", "ssh", "git", "file")
"""Transports that git may use; among those it may not is `ext::`, which runs a command of the URL's choice."""

_SCP = re.compile(r"(?:[\w.+-]+@)?[\w.-]+:(?![/\\]{2}).+")
_SETTINGS = {
    "core.hooksPath": os.devnull,
    "core.fsmonitor": "false",
    "gc.auto": "0",
    "advice.detachedHead": "false",
    "http.lowSpeedLimit": "1000",
    "http.lowSpeedTime": "60",
    "protocol.version": "2",
}

Progress = Callable[[str], None]


class GitFailed(Exception):
    """git ended with an error; the message is what it said, in one line and without credentials."""


@dataclass(frozen=True, slots=True)
class Remote:
    """Where a repository is, with the credentials kept apart.

    Attributes:
        url: without password (and, for http, without user); safe to log.
        secret_url: as the user gave it.
    """

    url: str
    secret_url: str


def is_git_url(uri: str) -> bool:
    """Whether the URI is one that git fetches from (`https://…`, `ssh://…`, `git@host:path`), whatever is there."""
    scheme, separator, _ = uri.partition("://")
    if separator:
        return scheme.lower() in SCHEMES
    return "::" not in uri and not uri.startswith("-") and _SCP.fullmatch(uri) is not None


def remote_of(uri: str) -> Remote:
    return Remote(url=without_credentials(uri), secret_url=uri)


def without_credentials(uri: str) -> str:
    """The URI without password, and without user name unless ssh needs it."""
    if "://" not in uri:
        return uri
    parts = urlsplit(uri)
    user, at, host = parts.netloc.rpartition("@")
    if not at:
        return uri
    name = user.partition(":")[0]
    keep = f"{name}@" if parts.scheme == "ssh" and name else ""
    return urlunsplit(parts._replace(netloc=keep + host))


def run_git(
    arguments: Sequence[str],
    *,
    git_dir: Path | None = None,
    cwd: Path | None = None,
    remote: Remote | None = None,
    settings: Mapping[str, str] | None = None,
    variables: Mapping[str, str] | None = None,
    stdin: bytes | None = None,
    timeout: float | None = None,
    progress: Progress | None = None,
) -> bytes:
    """Run git and return what it wrote to standard output.

    Args:
        remote: the repository whose clean URL the arguments name; the credentials reach git through the environment,
            where other users of the machine cannot see them.
        progress: told what git says on standard error while it works.

    Raises:
        GitFailed: it ended with an error, took longer than `timeout` seconds, or is not installed.
    """
    argv = ["git", *([f"--git-dir={git_dir}"] if git_dir else []), *arguments]
    env = _environment(remote, {**_SETTINGS, **(settings or {})}) | dict(variables or {})
    try:
        if progress is not None:
            return _run_with_progress(argv, cwd, env, remote, progress)
        with _started(argv, cwd, env, subprocess.PIPE) as process:
            output, said = process.communicate(stdin or b"", timeout)
    except FileNotFoundError:
        raise GitFailed("git is not installed (or the directory is gone); install git") from None
    except subprocess.TimeoutExpired:
        raise GitFailed(f"no answer within {timeout:.0f} s") from None
    if process.returncode:
        raise GitFailed(_said(said, remote))
    return output


@contextlib.contextmanager
def _started(
    argv: list[str], cwd: Path | None, env: Mapping[str, str], pipes: int
) -> Iterator[subprocess.Popen[bytes]]:
    """git in a process group of its own: whatever ends this block early ends the helpers that it talks through, too."""
    with subprocess.Popen(
        argv, cwd=cwd, env=env, stdin=pipes, stdout=pipes, stderr=subprocess.PIPE, process_group=0
    ) as process:
        try:
            yield process
        except BaseException:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGTERM)
            raise


def _run_with_progress(
    argv: list[str], cwd: Path | None, env: Mapping[str, str], remote: Remote | None, progress: Progress
) -> bytes:
    with _started(argv, cwd, env, subprocess.DEVNULL) as process:
        assert process.stderr is not None
        said = b""
        last = 0.0
        while piece := os.read(process.stderr.fileno(), 4096):
            said = (said + piece)[-20_000:]
            lines = [line.strip() for line in re.split(rb"[\r\n]", piece) if line.strip()]
            if lines and time.monotonic() - last > 0.5:
                last = time.monotonic()
                progress(_masked(lines[-1].decode(errors="replace"), remote))
    if process.returncode:
        raise GitFailed(_said(said, remote))
    return b""


def _environment(remote: Remote | None, settings: dict[str, str]) -> dict[str, str]:
    # What a hook or another git put into our environment (GIT_DIR, GIT_INDEX_FILE, …) is not about this repository.
    kept = (
        "GIT_SSH",
        "GIT_SSH_COMMAND",
        "GIT_ASKPASS",
        "GIT_SSL_",
        "GIT_CONFIG_",
        "GIT_TRACE",
        "GIT_PROXY",
        "GIT_HTTP_",
    )
    env = {name: value for name, value in os.environ.items() if not name.startswith("GIT_") or name.startswith(kept)}
    env["LC_ALL"] = "C"
    env["GIT_TERMINAL_PROMPT"] = "0"
    env["GIT_OPTIONAL_LOCKS"] = "0"
    env["GIT_ALLOW_PROTOCOL"] = ":".join(SCHEMES)
    env["SSH_ASKPASS_REQUIRE"] = "never"
    env.setdefault("GIT_ASKPASS", "")
    if remote is not None:
        if "GIT_SSH" not in env:
            ssh = env.get("GIT_SSH_COMMAND") or _configured_ssh() or "ssh"
            env["GIT_SSH_COMMAND"] = f"{ssh} -o BatchMode=yes -o ConnectTimeout=30"
        if remote.secret_url != remote.url:
            settings[f"url.{remote.secret_url}.insteadOf"] = remote.url
    count = int(env.get("GIT_CONFIG_COUNT", "0"))
    for name, value in settings.items():
        env[f"GIT_CONFIG_KEY_{count}"], env[f"GIT_CONFIG_VALUE_{count}"] = name, value
        count += 1
    env["GIT_CONFIG_COUNT"] = str(count)
    return env


def _configured_ssh() -> str:
    asked = subprocess.run(["git", "config", "core.sshCommand"], capture_output=True, text=True, check=False)
    return asked.stdout.strip()


def _masked(text: str, remote: Remote | None) -> str:
    if remote is not None and remote.secret_url != remote.url:
        text = text.replace(remote.secret_url, remote.url)
        secret = urlsplit(remote.secret_url).netloc.rpartition("@")[0]
        for part in (secret, secret.partition(":")[2]):
            if part:
                text = text.replace(part, "***")
    return text


def _said(stderr: bytes, remote: Remote | None) -> str:
    lines = [line.strip() for line in re.split(r"[\r\n]", stderr.decode(errors="replace")) if line.strip()]
    telling = [line for line in lines if line.startswith(("fatal:", "error:", "ERROR:", "remote: ", "ssh:"))] or lines[
        -1:
    ]
    text = "; ".join(dict.fromkeys(re.sub(r"^(fatal|error): ", "", line) for line in telling[:3]))
    return _masked(text, remote) or "git ended with an error and said nothing"


# --- a directory of the user that is in a repository ------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Checkout:
    """A directory in a work tree, as it is now.

    Attributes:
        top: top directory of the work tree.
        commit, branch: None before the first commit, or when no branch is checked out.
        dirty: files below the directory differ from the commit, or are new and not ignored.
        files: every file below the directory that is tracked, or new and not ignored.
    """

    top: Path
    repo_url: str | None
    commit: str | None
    branch: str | None
    dirty: bool
    files: Mapping[str, Entry]


def checkout_at(directory: Path) -> Checkout | None:
    """What git knows about the directory; None when it is in no work tree (found out without starting git).

    Raises:
        GitFailed: it is in one, but git cannot or will not read it.
    """
    top = _top(directory)
    if top is None:
        return None
    status = run_git(
        ["status", "--porcelain=v2", "--branch", "-z", "--untracked-files=all", "--no-renames", "--", "."],
        cwd=directory,
    )
    tracked = run_git(["ls-files", "--stage", "-z", "--full-name", "--", "."], cwd=directory)
    prefix = _prefix(directory, top)
    files: dict[str, Entry] = {}
    for record in tracked.decode("utf-8", "surrogateescape").split("\0"):
        if record:
            entry, _, path = record.partition("\t")
            mode, blob, _ = entry.split(" ")
            files[path.removeprefix(prefix)] = (mode, blob)
    headers: dict[str, str] = {}
    dirty = False
    for record in status.decode("utf-8", "surrogateescape").split("\0"):
        if record.startswith("# "):
            name, _, value = record[2:].partition(" ")
            headers[name] = value
            continue
        path = _changed_path(record).removeprefix(prefix)
        if not path or (record.startswith("?") and is_made(path)):
            continue
        dirty = True
        files.pop(path, None)
        now = entry_of(directory / path)
        if now is not None:
            files[path] = now
    commit = headers.get("branch.oid", "(initial)")
    branch = headers.get("branch.head", "(detached)")
    return Checkout(
        top=top,
        repo_url=_origin(top),
        commit=None if commit == "(initial)" else commit,
        branch=None if branch == "(detached)" else branch,
        dirty=dirty,
        files=files,
    )


def git_directory(directory: Path) -> Path | None:
    """The repository that a directory belongs to: its own bare one, or that of the work tree around it."""
    if (directory / "HEAD").is_file() and (directory / "objects").is_dir() and (directory / "refs").is_dir():
        return directory
    top = _top(directory)
    if top is None:
        return None
    pointer = top / ".git"
    if pointer.is_dir():
        return pointer
    return (top / pointer.read_text().removeprefix("gitdir:").strip()).resolve()


def work_tree_top(directory: Path) -> Path | None:
    """Top of the work tree that the directory is in, None when it is in none. Starts no process."""
    return _top(directory)


def _top(directory: Path) -> Path | None:
    resolved = directory.resolve()
    for candidate in (resolved, *resolved.parents):
        if (candidate / ".git").exists():
            return candidate
    return None


def _prefix(directory: Path, top: Path) -> str:
    relative = directory.resolve().relative_to(top).as_posix()
    return "" if relative == "." else f"{relative}/"


def _changed_path(record: str) -> str:
    """The path of one record of `git status --porcelain=v2`; empty for what is none."""
    fields = {"1": 8, "u": 10, "?": 1}.get(record[:1])
    return record.split(" ", fields)[-1] if fields else ""


def _origin(top: Path) -> str | None:
    """URL of the remote `origin`, or of the first remote, read from the repository's own configuration."""
    repository = git_directory(top)
    if repository is None:
        return None
    common = repository / "commondir"
    if common.is_file():
        repository = (repository / common.read_text().strip()).resolve()
    try:
        text = (repository / "config").read_text(encoding="utf-8", errors="replace")
    except OSError:
        return None
    urls: dict[str, str] = {}
    section = ""
    for raw in text.splitlines():
        line = raw.strip()
        if line.startswith("["):
            section = line
        elif section.startswith('[remote "') and re.match(r"url\s*=", line):
            urls.setdefault(section[9:].partition('"')[0], line.partition("=")[2].strip().strip('"'))
    url = urls.get("origin") or next(iter(urls.values()), None)
    return without_credentials(url) if url else None


__all__ = [
    "SCHEMES",
    "Checkout",
    "GitFailed",
    "Progress",
    "Remote",
    "checkout_at",
    "git_directory",
    "is_git_url",
    "remote_of",
    "run_git",
    "without_credentials",
    "work_tree_top",
]
