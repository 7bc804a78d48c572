"""Errors of the projects package.

ProjectError
├── InvalidProject          the MLproject file or an environment file is wrong; holds every problem found
├── ParameterError          a value that was passed (or is missing) does not fit its declaration; holds every problem
├── EntryPointNotFound      no such entry point and no such script; names the known ones
├── SourceError             a URI, version or subdirectory that cannot be had
├── EnvironmentUnavailable  a tool, engine, interpreter or file that the environment needs is not there
└── EnvironmentBuildError   building the environment failed; holds the end of the builder's output

All of them are the user's to mend: the command line prints each as one line (a line per problem) and exits with 2,
except `EnvironmentBuildError`, which is a failure of the run (exit code 1).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Problem:
    """One mistake at one place: `MLproject:14: entry_points.train.parameters.alpha: 'abc' is not a float; …`.

    Attributes:
        file: as the user knows it (relative to the project); empty when the problem is not in a file.
        line, column: 1-based; 0 when unknown.
        key: dotted path of the key.
        message: value, what is wrong, and what would work.
    """

    file: str
    message: str
    key: str = ""
    line: int = 0
    column: int = 0

    def __str__(self) -> str:
        place = self.file
        if self.file and self.line:
            place += f":{self.line}"
        return ": ".join(part for part in (place, self.key, self.message) if part)


class ProjectError(Exception):
    """Root of all errors that this package raises on purpose. `exit_code` is what the command line ends with."""

    exit_code = 2


class _WithProblems(ProjectError):
    def __init__(self, problems: Sequence[Problem]) -> None:
        super().__init__("\n".join(str(problem) for problem in problems))
        self.problems = tuple(problems)


class InvalidProject(_WithProblems):
    """`problems` holds every mistake of the file."""


class ParameterError(_WithProblems):
    """`problems` holds every value that does not fit."""


class EntryPointNotFound(ProjectError):
    def __init__(self, message: str, *, name: str, known: Sequence[str]) -> None:
        super().__init__(message)
        self.name = name
        self.known = tuple(known)


class SourceError(ProjectError):
    def __init__(self, message: str, *, uri: str) -> None:
        super().__init__(message)
        self.uri = uri


class EnvironmentUnavailable(ProjectError):
    """The message names what is missing and how to get it."""


class EnvironmentBuildError(ProjectError):
    exit_code = 1

    def __init__(self, message: str, *, output: str = "") -> None:
        super().__init__(message)
        self.output = output


class BuildCancelled(EnvironmentBuildError):
    """Somebody wanted the end while the environment was being made."""

    exit_code = 130

    def __init__(self) -> None:
        super().__init__("cancelled while the environment was made")


__all__ = [
    "BuildCancelled",
    "EntryPointNotFound",
    "EnvironmentBuildError",
    "EnvironmentUnavailable",
    "InvalidProject",
    "ParameterError",
    "Problem",
    "ProjectError",
    "SourceError",
]
