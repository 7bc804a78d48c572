"""What is installed in an environment, read from its files; no Python is started."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from pathlib import Path

from mlgate_projects.envs import Package

_DIST_INFO = re.compile(r"(?P<name>[^-]+)-(?P<version>[^-]+)(?:-.*)?\.(?:dist|egg)-info")


def installed_packages(site_packages: Iterable[str | Path]) -> tuple[Package, ...]:
    """Packages in these directories, sorted by name; an earlier directory wins, as it does on import."""
    found: dict[str, Package] = {}
    for folder in site_packages:
        try:
            entries = list(Path(folder).iterdir())
        except OSError:
            continue
        for entry in entries:
            match = _DIST_INFO.fullmatch(entry.name)
            if match is not None:
                package = Package(_written_name(entry, match["name"]), match["version"])
                found.setdefault(canonical_name(package.name), package)
    return tuple(found[name] for name in sorted(found))


def canonical_name(name: str) -> str:
    """`Scikit_Learn` and `scikit-learn` are one package."""
    return re.sub(r"[-_.]+", "-", name).lower()


def with_python_first(env: Mapping[str, str], folder: Path, prefix: Path) -> dict[str, str]:
    """What activation does: `folder` first on PATH, and `prefix` as the active virtual environment."""
    path = env.get("PATH", "/usr/local/bin:/usr/bin:/bin")
    return {**env, "PATH": f"{folder}:{path}", "VIRTUAL_ENV": str(prefix)}


def site_packages_of(prefix: Path) -> list[Path]:
    """The directories of an environment on Linux or macOS that hold packages."""
    return sorted([*prefix.glob("lib/python3*/site-packages"), *prefix.glob("lib64/python3*/site-packages")])[:2]


def _written_name(entry: Path, otherwise: str) -> str:
    """The name as its author writes it (`scikit-learn`), which the name of the directory may not keep."""
    try:
        with entry.joinpath("METADATA").open(encoding="utf-8", errors="replace") as file:
            for line in file:
                if line.startswith("Name:"):
                    return line[5:].strip()
                if not line.strip():
                    break
    except OSError:
        pass
    return otherwise


__all__ = ["canonical_name", "installed_packages", "site_packages_of", "with_python_first"]
