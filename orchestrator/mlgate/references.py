"""References in a pipeline: `${{ steps.train.metrics.accuracy }}`, found, checked and filled in.

A name with other characters than letters, digits, `_` and `-` is written in brackets:
`${{ steps.train.metrics['val/accuracy'] }}`. A text that is one reference and nothing else keeps the type of what it
stands for; a reference inside longer text becomes text.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Final

_MARKED = re.compile(r"\$\{\{((?:(?!\}\}).)*)\}\}", re.DOTALL)
_PATH = re.compile(r"\s*([A-Za-z_][\w-]*)((?:\.[\w-]+|\[\s*(?:'[^']*'|\"[^\"]*\")\s*\])*)\s*")
_PART = re.compile(r"\.([\w-]+)|\[\s*(?:'([^']*)'|\"([^\"]*)\")\s*\]")

ROOTS = ("params", "matrix", "steps", "run")
STEP_FIELDS = ("run_id", "artifacts", "status", "model_version", "params", "metrics", "tags", "outputs")
RUN_FIELDS = ("id", "engine_id", "name", "pipeline", "commit", "version", "digest", "experiment_id", "status")
_NAMED_FIELDS = ("params", "metrics", "tags", "outputs")


class Unknown:
    """What a lookup returns for a reference that is filled in later."""


LATER: Final = Unknown()


@dataclass(frozen=True, slots=True)
class Reference:
    """The path of one reference: `("steps", "train", "metrics", "accuracy")`."""

    path: tuple[str, ...]

    def __str__(self) -> str:
        plain = [part if re.fullmatch(r"[\w-]+", part) else f"['{part}']" for part in self.path]
        return ".".join(plain).replace(".[", "[")

    @property
    def step(self) -> str | None:
        """Name of the step that it is about, None for the other roots."""
        return self.path[1] if self.path[0] == "steps" and len(self.path) > 1 else None


Lookup = Callable[[Reference], Any]


def parse_reference(text: str) -> Reference:
    """The reference that `text` (what stands between the braces) spells.

    Raises:
        ValueError: it spells none; the message says what would.
    """
    match = _PATH.fullmatch(text)
    if match is None:
        raise ValueError(f"'{text.strip()}' is not a reference; write one such as params.alpha or steps.train.run_id")
    parts = [first or second or third for first, second, third in _PART.findall(match[2])]
    path = (match[1], *parts)
    match path:
        case ("params" | "matrix", _):
            return Reference(path)
        case ("run", field):
            if field not in RUN_FIELDS:
                raise ValueError(
                    f"run.{field} is not known; known are {', '.join(f'run.{name}' for name in RUN_FIELDS)}"
                )
            return Reference(path)
        case ("steps", _, field, *rest):
            if field not in STEP_FIELDS:
                raise ValueError(f"'{field}' is nothing that a step has; known are {', '.join(STEP_FIELDS)}")
            if field in _NAMED_FIELDS and len(rest) != 1:
                raise ValueError(f"'{Reference(path)}' needs one name, as in steps.{path[1]}.{field}.NAME")
            if field not in _NAMED_FIELDS and rest:
                raise ValueError(f"'{Reference(path)}' goes too deep; {field} holds nothing below it")
            return Reference(path)
    roots = "params.NAME, matrix.NAME, steps.NAME.FIELD and run.FIELD"
    raise ValueError(f"'{text.strip()}' is not a known reference; known are {roots}")


def references_in(value: Any) -> Iterator[tuple[tuple[object, ...], Reference | ValueError]]:
    """Every reference in nested plain data with the key path of the text it stands in; what is none, as its error."""
    if isinstance(value, str):
        for match in _MARKED.finditer(value):
            try:
                yield (), parse_reference(match[1])
            except ValueError as error:
                yield (), error
        if "${{" in _MARKED.sub("", value):
            yield (), ValueError("'${{' without '}}'; close the reference")
    elif isinstance(value, Mapping):
        for key, inner in value.items():
            for path, found in references_in(inner):
                yield (key, *path), found
    elif isinstance(value, list | tuple):
        for index, inner in enumerate(value):
            for path, found in references_in(inner):
                yield (index, *path), found


def only_reference(value: Any) -> Reference | None:
    """The reference that the text consists of, None when it is anything else."""
    match = _MARKED.fullmatch(value.strip()) if isinstance(value, str) else None
    return parse_reference(match[1]) if match else None


def has_references(value: Any) -> bool:
    return next(references_in(value), None) is not None


def fill_in(value: Any, lookup: Lookup) -> Any:
    """Nested data with every reference replaced; those for which `lookup` returns `LATER` stay as they are."""
    if isinstance(value, str):
        whole = only_reference(value)
        if whole is not None:
            found = lookup(whole)
            return value if found is LATER else found

        def replaced(match: re.Match[str]) -> str:
            found = lookup(parse_reference(match[1]))
            return match[0] if found is LATER else as_text(found)

        return _MARKED.sub(replaced, value)
    if isinstance(value, Mapping):
        return {key: fill_in(inner, lookup) for key, inner in value.items()}
    if isinstance(value, list | tuple):
        return [fill_in(inner, lookup) for inner in value]
    return value


def as_text(value: Any) -> str:
    """A value as it is passed to a command: text as it is, lists and mappings as JSON, anything else as `str` does."""
    if isinstance(value, list | tuple | Mapping):
        import json

        return json.dumps(value)
    return str(value)


__all__ = [
    "LATER",
    "ROOTS",
    "RUN_FIELDS",
    "STEP_FIELDS",
    "Lookup",
    "Reference",
    "as_text",
    "fill_in",
    "has_references",
    "only_reference",
    "parse_reference",
    "references_in",
]
