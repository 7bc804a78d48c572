"""YAML files with their places: what `yaml.safe_load` gives, and the line and column of every key.

Reading goes through libyaml where it is there. Places are looked up only when somebody asks, so a file without
mistakes costs no more than loading it.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from mlgate_projects.errors import InvalidProject, Problem

MAX_NODES = 200_000
"""Largest number of nodes that a file may expand to; aliases can make a small file mean an endless one."""

MAX_DEPTH = 1000
"""Deepest nesting that is read: libyaml's binding recurses in C, where too deep means a crash, not an error."""

_BRACKETS = re.compile(rb"[\[\]{}]")
_DEEP_BLOCK = re.compile(rb"^[ ?:-]{%d}" % MAX_DEPTH, re.MULTILINE)

Place = tuple[int, int]
"""1-based line and column; (0, 0) when unknown."""


@dataclass(frozen=True, slots=True)
class Document:
    """One YAML file.

    Attributes:
        name: the file as the user knows it, for messages.
        data: plain data; None for an empty file.
        root: the composed node tree, None for an empty file.
    """

    name: str
    data: Any
    root: Any

    def place(self, *path: object, value: bool = False) -> Place:
        """Where the key at `path` stands (or its value); the nearest parent that is known when it does not exist."""
        found: Place = (1, 1)
        node = self.root
        for part in path:
            key_node, node = _child(node, part)
            if node is None:
                return found
            mark = (key_node or node).start_mark
            found = (mark.line + 1, mark.column + 1)
        if value and node is not None:
            return (node.start_mark.line + 1, node.start_mark.column + 1)
        return found

    def text(self, *path: object) -> str | None:
        """The scalar at `path` as it stands in the file (`3.10`, not 3.1); None when it is no scalar."""
        import yaml

        node = self.root
        for part in path:
            _, node = _child(node, part)
            if node is None:
                return None
        return str(node.value) if isinstance(node, yaml.ScalarNode) else None

    def problem(self, path: tuple[object, ...], message: str) -> Problem:
        line, column = self.place(*path)
        return Problem(
            file=self.name, key=".".join(str(part) for part in path), message=message, line=line, column=column
        )

    def places(self, *path: object) -> dict[str, Place]:
        """The places of everything below `path`, by dotted key (list items by index)."""
        node = self.root
        for part in path:
            _, node = _child(node, part)
        return dict(_places(node, "")) if node is not None else {}


def read_document(path: Path, name: str) -> tuple[Document, tuple[Problem, ...]]:
    """Read a YAML file.

    Returns: the document, and one problem for each key that is given twice (the last one counts, as YAML readers do).

    Raises:
        InvalidProject: it cannot be read, or is not one YAML document of plain data.
    """
    import yaml

    try:
        raw = path.read_bytes()
    except OSError as error:
        raise InvalidProject([Problem(name, f"cannot be read: {error.strerror or error}")]) from None
    if _nests_too_deeply(raw):
        raise InvalidProject([Problem(name, f"nested more than {MAX_DEPTH:,} levels deep; no project file needs that")])
    fast = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
    try:
        return _load(raw, name, fast)
    except (yaml.YAMLError, ValueError, RecursionError, OverflowError) as error:
        if fast is not yaml.SafeLoader:
            # libyaml refuses a few files that the pure Python reader (MLflow's) takes.
            try:
                return _load(raw, name, yaml.SafeLoader)
            except (yaml.YAMLError, ValueError, RecursionError, OverflowError):
                pass
        raise InvalidProject([_syntax_problem(name, error)]) from None


def _nests_too_deeply(raw: bytes) -> bool:
    """Whether brackets, or indentation and dashes, go deeper than `MAX_DEPTH`; brackets in texts count, too."""
    if len(raw) < MAX_DEPTH:
        return False
    depth = 0
    for bracket in _BRACKETS.finditer(raw):
        depth += 1 if bracket[0] in b"[{" else -1
        if depth > MAX_DEPTH:
            return True
    return _DEEP_BLOCK.search(raw) is not None


def _load(raw: bytes, name: str, loader_class: Any) -> tuple[Document, tuple[Problem, ...]]:
    loader = loader_class(raw)
    try:
        root = loader.get_single_node()
        if root is None:
            return Document(name, None, None), ()
        if _size(root, {}) > MAX_NODES:
            raise InvalidProject([Problem(name, f"expands to more than {MAX_NODES:,} values; use fewer aliases")])
        duplicates = tuple(_duplicates(root, name, (), set()))
        # Constructing also writes merge keys (<<) out into the nodes, so it must come before places are asked for.
        return Document(name, loader.construct_document(root), root), duplicates
    finally:
        loader.dispose()


def _syntax_problem(name: str, error: Exception) -> Problem:
    mark = getattr(error, "problem_mark", None)
    what = getattr(error, "problem", None) or getattr(error, "reason", None) or str(error)
    if isinstance(error, RecursionError):
        what = "nested too deeply"
    context = getattr(error, "context", None)
    return Problem(
        file=name,
        message=f"not valid YAML: {what}" + (f" ({context})" if context else ""),
        line=mark.line + 1 if mark else 0,
        column=mark.column + 1 if mark else 0,
    )


def _child(node: Any, part: object) -> tuple[Any, Any]:
    """The (key node, value node) of one step down; (None, None) when there is none."""
    if node is None:
        return None, None
    if node.id == "mapping":
        wanted = str(part)
        for key_node, value_node in reversed(node.value):
            if key_node.id == "scalar" and key_node.value == wanted:
                return key_node, value_node
    elif node.id == "sequence" and isinstance(part, int) and part < len(node.value):
        return None, node.value[part]
    return None, None


def _size(node: Any, known: dict[int, int]) -> int:
    """Number of values that the node expands to, aliases counted each time; a node inside itself counts once."""
    if node.id == "scalar":
        return 1
    if id(node) in known:
        return known[id(node)]
    known[id(node)] = 1
    children = node.value if node.id == "sequence" else [part for pair in node.value for part in pair]
    known[id(node)] = min(1 + sum(_size(child, known) for child in children), MAX_NODES + 1)
    return known[id(node)]


def _duplicates(node: Any, name: str, path: tuple[str, ...], seen: set[int]) -> Iterator[Problem]:
    if node.id == "scalar" or id(node) in seen:
        return
    seen.add(id(node))
    if node.id == "sequence":
        for index, child in enumerate(node.value):
            yield from _duplicates(child, name, (*path, str(index)), seen)
        return
    first: dict[str, int] = {}
    for key_node, value_node in node.value:
        if key_node.id != "scalar":
            continue
        key, line = str(key_node.value), key_node.start_mark.line + 1
        if key in first and key != "<<":
            column = key_node.start_mark.column + 1
            message = f"given twice, first in line {first[key]}; only this last one counts, remove one"
            yield Problem(name, message, ".".join((*path, key)), line, column)
        first.setdefault(key, line)
        yield from _duplicates(value_node, name, (*path, key), seen)


def _places(node: Any, prefix: str, ancestors: tuple[int, ...] = ()) -> Iterator[tuple[str, Place]]:
    if node.id == "scalar" or id(node) in ancestors:
        return
    ancestors = (*ancestors, id(node))
    if node.id == "sequence":
        children = [(str(index), child, child) for index, child in enumerate(node.value)]
    else:
        children = [(str(key.value), key, value) for key, value in node.value if key.id == "scalar"]
    for part, marked, child in children:
        dotted = f"{prefix}.{part}" if prefix else part
        yield dotted, (marked.start_mark.line + 1, marked.start_mark.column + 1)
        yield from _places(child, dotted, ancestors)


__all__ = ["MAX_NODES", "Document", "Place", "read_document"]
