"""Python environments that tests run other people's code in: made once by uv, kept in a cache directory, reused."""

from __future__ import annotations

import functools
import hashlib
import os
import re
import shutil
import subprocess
from pathlib import Path

from filelock import FileLock

from tests.support import require

ROOT = Path(__file__).parents[2]


def environments_directory() -> Path:
    return Path(os.environ.get("MLGATE_TEST_ENVS") or ROOT / ".envs")


@functools.cache
def interpreters() -> dict[str, Path]:
    """CPythons of this machine, `major.minor` -> executable: on PATH, and those that pyenv keeps."""
    found: dict[str, Path] = {}
    pyenv = Path(os.environ.get("PYENV_ROOT") or Path("~/.pyenv").expanduser()) / "versions"
    candidates = sorted(pyenv.glob("3.*/bin/python"))
    candidates += [Path(folder) / f"python3.{minor}" for folder in os.get_exec_path() for minor in range(8, 15)]
    for candidate in candidates:
        if not candidate.exists() or "shims" in candidate.parts:
            continue
        said = subprocess.run(
            [candidate, "-c", "import sys; print('%d.%d' % sys.version_info[:2])"],
            capture_output=True, text=True, check=False,
        )  # fmt: skip
        if said.returncode == 0:
            found.setdefault(said.stdout.strip(), candidate)
    return found


def interpreter(version: str) -> Path:
    """The interpreter of that version; skips the test (or fails in strict mode) where there is none."""
    require(version in interpreters(), f"no CPython {version} here (found: {', '.join(sorted(interpreters()))})")
    return interpreters()[version]


def environment(name: str, requirements: list[str], *, python: str = "3.11") -> Path:
    """The interpreter of an environment that holds `requirements`; built on first use, under a lock.

    Args:
        name: a readable part of the directory's name; the rest is a digest of what is asked for.
    """
    base = interpreter(python)
    digest = hashlib.sha256("\n".join([str(base), *requirements]).encode()).hexdigest()[:12]
    target = environments_directory() / f"{re.sub(r'[^a-z0-9.]+', '-', name.lower())}-{digest}"
    executable = target / "bin" / "python"
    if (target / ".complete").exists():
        return executable
    target.parent.mkdir(parents=True, exist_ok=True)
    uv = _uv()
    with FileLock(f"{target}.lock"):
        if not (target / ".complete").exists():
            shutil.rmtree(target, ignore_errors=True)
            subprocess.run([uv, "venv", "-q", "-p", base, target], check=True, timeout=120)
            local = [option for folder in _find_links() for option in ("--find-links", folder)]
            subprocess.run(
                [uv, "pip", "install", "-q", "--compile-bytecode", "-p", executable, *local, *requirements],
                check=True, timeout=900,
            )  # fmt: skip
            (target / ".complete").touch()
    return executable


def _find_links() -> list[str]:
    """Local wheel folders that pip is told about; uv knows the variable under its own name only."""
    return os.environ.get("PIP_FIND_LINKS", "").split()


def _uv() -> str:
    from uv import find_uv_bin

    return os.fsdecode(find_uv_bin())


__all__ = ["environment", "interpreter", "interpreters"]
