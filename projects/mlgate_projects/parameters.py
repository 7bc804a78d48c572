"""Values for an entry point's parameters: check them against their types, fill in defaults, find their files.

Resolving changes nothing and needs no network. A `path` parameter that names something remote stays in
`ResolvedParameters.remote` until `localize` is called with a way to fetch it.
"""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path

from mlgate_projects.errors import ParameterError, Problem
from mlgate_projects.spec import EntryPoint, Parameter

LOGGED_LIMIT = 6000
"""Characters of a value that are logged as a param (the tracking protocol's limit)."""

_CANONICAL = {
    "string": "string",
    "str": "string",
    "text": "string",
    "float": "float",
    "double": "float",
    "number": "float",
    "int": "int",
    "integer": "int",
    "long": "int",
    "bool": "bool",
    "boolean": "bool",
    "path": "path",
    "uri": "uri",
}
_STANDARD = ("string", "float", "int", "bool", "path", "uri")
_INTEGER = re.compile(r"[+-]?[0-9]+")
_SCHEME = re.compile(r"([A-Za-z][A-Za-z0-9+.-]*):")
_TRUE = ("true", "yes", "on", "1")
_FALSE = ("false", "no", "off", "0")

Fetch = Callable[[str, Path], Path]
"""Called with a URI and a directory that exists; downloads into it and returns the local path."""


@dataclass(frozen=True, slots=True)
class ResolvedParameters:
    """Values ready for the command.

    Attributes:
        declared: name → text, in the order of the declaration, defaults filled in, local paths made absolute.
        extras: values for names that the entry point does not declare, in the order given.
        logged: what is recorded as params of the run: the values as the user gave them, unquoted, declared ones first.
        remote: `path` parameters that must be downloaded first: name → URI.
    """

    declared: Mapping[str, str] = field(default_factory=dict)
    extras: Mapping[str, str] = field(default_factory=dict)
    logged: Mapping[str, str] = field(default_factory=dict)
    remote: Mapping[str, str] = field(default_factory=dict)

    def localize(self, fetch: Fetch, storage: Path) -> ResolvedParameters:
        """Download what is remote into `storage/param_<position>` and put the local paths in its place."""
        declared = dict(self.declared)
        for position, name in enumerate(self.declared):
            if name in self.remote:
                directory = storage / f"param_{position}"
                directory.mkdir(parents=True, exist_ok=True)
                declared[name] = str(fetch(self.remote[name], directory))
        return replace(self, declared=declared, remote={})


def canonical_type(type_name: str) -> str | None:
    """`string`, `float`, `int`, `bool`, `path` or `uri` for any usual spelling; None for a type that nobody defined."""
    return _CANONICAL.get(type_name.strip().lower())


def is_standard_type(type_name: str) -> bool:
    """Whether MLproject defines the type under exactly this name."""
    return type_name in _STANDARD


def mismatch(type_name: str, text: str) -> str:
    """Why `text` is no value of the type, with what would be; empty when it is one. Looks at no files."""
    match canonical_type(type_name):
        case "float":
            return "" if _is_float(text) else f"{_shown(text)} is not a float; pass a number such as 0.5"
        case "int":
            return "" if _INTEGER.fullmatch(text) else f"{_shown(text)} is not an int; pass a whole number such as 5"
        case "bool":
            known = text.lower() in _TRUE or text.lower() in _FALSE
            return "" if known else f"{_shown(text)} is not a bool; pass true or false"
        case "uri":
            known = _SCHEME.match(text) is not None
            return (
                ""
                if known
                else f"{_shown(text)} is not a URI; pass one with a scheme, such as file:///data or s3://b/k"
            )
    return ""


def resolve(
    entry_point: EntryPoint,
    values: Mapping[str, object],
    working_directory: Path,
    project_directory: Path | None = None,
    *,
    file: str = "MLproject",
) -> ResolvedParameters:
    """Check and complete the values for an entry point.

    Args:
        values: what the user passed, by name; anything but text is turned into text as `str` does.
        working_directory: where a relative path that the user passed is looked for first, and a default second.
        project_directory: where a default of type `path` is looked for first, and a passed one second.
        file: name of the MLproject file, for messages.

    Raises:
        ParameterError: with every missing value and every value that does not fit.
    """
    texts = {str(name): str(value) for name, value in values.items()}
    problems = [
        Problem("", f"{_shown(name)} is not a parameter name; names hold no spaces, '=' or control characters")
        for name in texts
        if not re.fullmatch(r"[^\s=\x00-\x1f]+", name)
    ]
    problems += [
        Problem("", "holds a NUL character, which no command can be given", name)
        for name, text in texts.items()
        if "\0" in text
    ]
    declared: dict[str, str] = {}
    logged: dict[str, str] = {}
    remote: dict[str, str] = {}
    missing: list[Parameter] = []
    for parameter in entry_point.parameters:
        passed = parameter.name in texts
        text = texts[parameter.name] if passed else parameter.default
        if text is None:
            missing.append(parameter)
            continue
        logged[parameter.name] = declared[parameter.name] = text
        key = f"entry_points.{entry_point.name}.parameters.{parameter.name}"
        if why := mismatch(parameter.type, text):
            # A default of the wrong type was reported when the file was read; MLflow passes it on, and so do we.
            if passed or canonical_type(parameter.type) == "uri":
                problems.append(Problem(file, why, key, parameter.line))
        elif canonical_type(parameter.type) == "path":
            if _is_remote(text):
                remote[parameter.name] = text
                continue
            roots = [working_directory, *([project_directory] if project_directory else [])]
            if not passed:
                roots.reverse()
            found = _existing(text, roots)
            if found is None:
                looked = " or ".join(str(root) for root in dict.fromkeys(roots))
                why = f"{_shown(text)} does not exist in {looked}; pass an existing file or directory, or a URI"
                problems.append(Problem(file, why, key, parameter.line))
            else:
                declared[parameter.name] = str(found)
    if missing:
        names = ", ".join(f"'{parameter.name}'" for parameter in missing)
        example = " ".join(
            f"-P {parameter.name}={_EXAMPLES.get(canonical_type(parameter.type) or '', 'VALUE')}"
            for parameter in missing
        )
        why = f"no value given for missing parameters: {names}; pass {example}"
        problems.insert(0, Problem(file, why, f"entry_points.{entry_point.name}.parameters", missing[0].line))
    if problems:
        raise ParameterError(problems)
    extras = {name: text for name, text in texts.items() if entry_point.parameter(name) is None}
    return ResolvedParameters(
        declared=declared,
        extras=extras,
        logged={name: loggable(text) for name, text in (logged | extras).items()},
        remote=remote,
    )


_EXAMPLES = {"float": "0.5", "int": "5", "bool": "true", "path": "FILE", "uri": "URI"}


def _is_float(text: str) -> bool:
    if "_" in text or text != text.strip():
        return False
    try:
        value = float(text)
    except ValueError:
        return False
    return math.isfinite(value) or text.lower().lstrip("+-") in ("nan", "inf", "infinity")


def _is_remote(text: str) -> bool:
    scheme = _SCHEME.match(text)
    if scheme is None:
        return False
    return scheme.group(1).lower() != "file" or re.match(r"file://[^/]", text, re.IGNORECASE) is not None


def _existing(text: str, roots: list[Path]) -> Path | None:
    if text.lower().startswith("file:"):
        from urllib.parse import unquote

        text = unquote(re.sub(r"(?i)^file:(//(?=/))?", "", text))
    for root in roots:
        candidate = Path(root, text).absolute()
        try:
            if candidate.exists():
                return candidate
        except OSError:  # a name that is too long cannot exist
            continue
    return None


def _shown(text: str) -> str:
    return repr(text) if len(text) <= 80 else f"{text[:60]!r}… ({len(text):,} characters)"


def loggable(text: str) -> str:
    """The text as a param is recorded: what is too long is cut, with its length and digest in place of the rest."""
    text = text.encode("utf-8", "replace").decode()  # bytes of an argument that are no UTF-8 cannot be stored as text
    if len(text) <= LOGGED_LIMIT:
        return text
    import hashlib

    digest = hashlib.sha256(text.encode()).hexdigest()
    note = f"… [{len(text)} characters, sha256 {digest}]"
    return text[: LOGGED_LIMIT - len(note)] + note


__all__ = [
    "LOGGED_LIMIT",
    "Fetch",
    "ResolvedParameters",
    "canonical_type",
    "is_standard_type",
    "loggable",
    "mismatch",
    "resolve",
]
