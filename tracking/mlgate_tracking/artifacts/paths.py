"""Artifact paths: the one gate between what a client names and what a storage is asked for.

A path that came through `safe_path` is relative, '/'-separated and has no segment that means "elsewhere", however often
a storage or a proxy in between percent-decodes it.
"""

from __future__ import annotations

import posixpath
import re
import stat
from pathlib import Path
from urllib.parse import unquote

from mlgate_tracking.errors import InvalidParameterValue

_DECODINGS = 8
"""No honest name is percent-encoded more often than this; a hostile one may cost no more work."""

_WINDOWS_ABSOLUTE = re.compile(r"[A-Za-z]:/")
_CONTROL = re.compile(r"[\x01-\x1f\x7f]")


def safe_path(path: str) -> str:
    """The normal form of a relative artifact path; '' is the root.

    Spaces and letters of any script pass unchanged; control characters become `%XX`, so that a name never breaks a
    log line or a header.

    Raises:
        InvalidParameterValue: the path is absolute (POSIX or Windows), has a `..` segment, a backslash, `#` or NUL,
            also when these only appear after percent-decoding.
    """
    decoded = path
    for _ in range(_DECODINGS):
        _refuse_unsafe(decoded, path)
        again = unquote(decoded)
        if again == decoded:
            break
        decoded = again
    else:
        raise _invalid(path, "it is percent-encoded too often")
    parts = [part for part in path.split("/") if part not in ("", ".")]
    return _CONTROL.sub(lambda match: f"%{ord(match.group()):02X}", "/".join(parts))


def join_path(*parts: str) -> str:
    """Join safe paths; empty ones fall away."""
    return "/".join(part for part in parts if part)


def split_path(path: str) -> tuple[str, str]:
    """Directory and name of a safe path; the directory is '' at the root."""
    return posixpath.split(path)


def _refuse_unsafe(decoded: str, path: str) -> None:
    if "\0" in decoded:
        raise _invalid(path, "it contains NUL")
    if "\\" in decoded:
        raise _invalid(path, "it contains a backslash; separate folders by '/'")
    if "#" in decoded:
        raise _invalid(path, "it contains '#'")
    if decoded.startswith("/") or _WINDOWS_ABSOLUTE.match(decoded):
        raise _invalid(path, "it is absolute; give a path relative to the artifact root")
    if ".." in decoded.split("/"):
        raise _invalid(path, "it contains '..'")
    try:
        decoded.encode()
    except UnicodeEncodeError:
        raise _invalid(path, "it is not valid Unicode text") from None


def _invalid(path: str, reason: str) -> InvalidParameterValue:
    shown = path if len(path) <= 200 else path[:200] + "..."
    return InvalidParameterValue(f"Invalid path: {shown!r}: {reason}")


def is_file_below(root: Path, file: Path) -> bool:
    """Whether a plain file lies there, and no link on the way from `root` leads anywhere else."""
    try:
        return file.parent.resolve() == root.resolve() / file.parent.relative_to(root) and stat.S_ISREG(
            file.lstat().st_mode
        )
    except OSError:
        return False


__all__ = ["is_file_below", "join_path", "safe_path", "split_path"]
