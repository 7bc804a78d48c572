"""Where locks are: in the project, beside its environment file, or kept in the cache for the next build."""

from __future__ import annotations

import contextlib
import os
from dataclasses import dataclass
from pathlib import Path

from mlgate_projects.errors import EnvironmentUnavailable

_MADE_FROM = "# mlgate-lock: "


@dataclass(frozen=True, slots=True)
class Locks:
    """The locks of one request. A lock's first line names the digest of the request that it answers.

    Attributes:
        kept: directory of locks in the cache.
        project: the project's own lock file, which need not exist.
        digest: of the request.
        locked: refuse to resolve.
    """

    kept: Path
    project: Path
    digest: str
    locked: bool

    def of_project(self) -> tuple[str | None, tuple[str, ...]]:
        """The project's lock, None when there is none or it answers another request; and what the user should know.

        Raises:
            EnvironmentUnavailable: it answers another request, and `locked`.
        """
        try:
            text = self.project.read_text(encoding="utf-8")
        except FileNotFoundError:
            return None, ()
        first, _, rest = text.partition("\n")
        if first == f"{_MADE_FROM}{self.digest}":
            return rest, ()
        drifted = f"{self.project.name} was made for other requirements, another python or another platform"
        if self.locked:
            raise EnvironmentUnavailable(f"{drifted}; write it anew with `mlgate env lock`")
        return None, (f"{drifted}; it is left out",)

    def kept_before(self) -> str | None:
        """What the same request was resolved to before."""
        with contextlib.suppress(FileNotFoundError):
            return self._file.read_text(encoding="utf-8")
        return None

    def refuse_to_resolve(self, file: str) -> None:
        """Called before anything is resolved; raises `EnvironmentUnavailable` when `locked`."""
        if self.locked:
            raise EnvironmentUnavailable(f"{file}: there is no lock for it; write one with `mlgate env lock`")

    def keep(self, text: str) -> str:
        """Keep what the request was resolved to, for the next build."""
        self.kept.mkdir(parents=True, exist_ok=True)
        partial = self._file.with_suffix(f".{os.getpid()}.partial")
        partial.write_text(text, encoding="utf-8")
        partial.replace(self._file)
        return text

    def write(self, text: str) -> Path:
        """Write the project's lock."""
        self.project.write_text(f"{_MADE_FROM}{self.digest}\n{text}", encoding="utf-8")
        return self.project

    @property
    def _file(self) -> Path:
        return self.kept / f"{self.digest}.txt"


__all__ = ["Locks"]
