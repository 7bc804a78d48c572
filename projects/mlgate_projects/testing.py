"""Help for tests of projects, also those of plugin authors."""

from __future__ import annotations

import textwrap
from collections.abc import Mapping
from pathlib import Path


def project_dir(directory: Path, files: Mapping[str, str | bytes]) -> Path:
    """Make a project in `directory` from file names and contents; text is dedented. Returns the directory."""
    for name, content in files.items():
        path = directory / name
        path.parent.mkdir(parents=True, exist_ok=True)
        if isinstance(content, bytes):
            path.write_bytes(content)
        else:
            path.write_text(textwrap.dedent(content).lstrip("\n"), encoding="utf-8")
    directory.mkdir(parents=True, exist_ok=True)
    return directory


__all__ = ["project_dir"]
