"""`matrix:` of a step: which settings it runs with.

    matrix: {max_depth: [3, 5], criterion: [gini, entropy]}          # every combination
    matrix: [{max_depth: 3}, {max_depth: 5, criterion: entropy}]     # exactly these
    matrix: {search_space: config/space.json, samples: 10, seed: 42} # a JSON file; without samples: every combination
    matrix: {random: {max_depth: {low: 2, high: 12}, rate: {low: 1e-4, high: 0.1, log: true}}, samples: 10, seed: 42}

A dimension of a search space is a list of values, or bounds `low` and `high` (whole numbers give whole numbers;
`log: true` draws evenly over magnitudes; `step` makes it a grid; `type: int` or `float` decides in doubt).
"""

from __future__ import annotations

import contextlib
import itertools
import math
import random
from collections.abc import Iterator, Mapping
from typing import Any

LIMIT = 1000
"""Instances that one step may have; a larger matrix is refused."""

Setting = dict[str, Any]
_EXPLICIT = ("random", "grid", "list", "search_space")


class MatrixError(ValueError):
    """What is wrong; `path` is the key path below `matrix`."""

    def __init__(self, message: str, *path: object) -> None:
        super().__init__(message)
        self.path = path


def expand(matrix: Any, read_json: Any) -> tuple[Setting, ...]:
    """All settings of a matrix, in order.

    Args:
        matrix: as in the file, references to parameters already filled in.
        read_json: called with the path of a search space; returns its data or raises `ValueError`.

    Raises:
        MatrixError: it is malformed, empty, or larger than `LIMIT`.
    """
    settings = tuple(_expand(matrix, read_json))
    if not settings:
        raise MatrixError("is empty; give at least one value to each name")
    return settings


def names_of(settings: tuple[Setting, ...]) -> tuple[str, ...]:
    """Names that every setting has."""
    first, *others = settings
    return tuple(name for name in first if all(name in other for other in others))


def _expand(matrix: Any, read_json: Any) -> Iterator[Setting]:
    if isinstance(matrix, list):
        yield from _listed(matrix)
        return
    if not isinstance(matrix, Mapping):
        raise MatrixError("must be names with lists of values, or a list of settings")
    given = [key for key in _EXPLICIT if key in matrix]
    if not given or (all(isinstance(value, list) for value in matrix.values()) and "list" not in matrix):
        yield from _grid(matrix)
        return
    if len(given) > 1:
        raise MatrixError(f"{' and '.join(given)} exclude each other; keep one", given[1])
    kind = given[0]
    options = {"random": ("samples", "seed"), "search_space": ("samples", "seed")}.get(kind, ())
    for key in matrix:
        if key not in (kind, *options):
            raise MatrixError(f"unknown key; known are {', '.join((kind, *options))}", key)
    body = matrix[kind]
    if kind == "list":
        yield from _listed(body)
    elif kind == "grid":
        yield from _grid(body)
    else:
        space = body
        if kind == "search_space":
            try:
                space = read_json(str(body))
            except ValueError as error:
                raise MatrixError(str(error), kind) from None
        samples = matrix.get("samples", None if kind == "search_space" else 10)
        yield from _space(space, samples, matrix.get("seed", 0), kind)


def _listed(settings: Any) -> Iterator[Setting]:
    if not isinstance(settings, list):
        raise MatrixError("must be a list of settings, as in [{max_depth: 3}, {max_depth: 5}]")
    _check_size(len(settings))
    for index, setting in enumerate(settings):
        if not isinstance(setting, Mapping) or not setting:
            raise MatrixError("must be a mapping of names and values, as in {max_depth: 3}", index)
        for name, value in setting.items():
            _check_scalar(value, index, name)
        yield {str(name): value for name, value in setting.items()}


def _grid(dimensions: Any) -> Iterator[Setting]:
    if not isinstance(dimensions, Mapping):
        raise MatrixError("must be names with lists of values, as in {max_depth: [3, 5]}")
    if not dimensions:
        return
    for name, values in dimensions.items():
        if not isinstance(values, list) or not values:
            raise MatrixError("must be a list with at least one value, as in [3, 5]", name)
        for index, value in enumerate(values):
            _check_scalar(value, name, index)
    _check_size(math.prod(len(values) for values in dimensions.values()))
    for combination in itertools.product(*dimensions.values()):
        yield dict(zip(map(str, dimensions), combination, strict=True))


def _space(space: Any, samples: Any, seed: Any, kind: str) -> Iterator[Setting]:
    if not isinstance(space, Mapping) or not space:
        raise MatrixError("must be names with lists of values or bounds, as in {max_depth: {low: 2, high: 12}}", kind)
    if samples is None:
        grid = {name: _grid_values(dimension, kind, name) for name, dimension in space.items()}
        yield from _grid(grid)
        return
    samples = _whole(samples, "samples", "a number of samples; write a whole number such as 10")
    seed = _whole(seed, "seed", "a seed; write a whole number such as 42")
    if samples < 1:
        raise MatrixError(f"{samples} is not a number of samples; write a whole number such as 10", "samples")
    _check_size(samples)
    for name, dimension in space.items():
        _draw(dimension, random.Random(seed), kind, name)  # noqa: S311  # finds mistakes; no secret is made here
    source = random.Random(seed)  # noqa: S311  # sampling, reproducible on purpose
    seen: list[Setting] = []
    for _ in range(samples * 20):
        setting = {str(name): _draw(dimension, source, kind, name) for name, dimension in space.items()}
        if setting not in seen:
            seen.append(setting)
            yield setting
        if len(seen) == samples:
            return


def _draw(dimension: Any, source: random.Random, *path: object) -> Any:
    if isinstance(dimension, list) and dimension:
        return source.choice(dimension)
    low, high, whole, log, step = _bounds(dimension, *path)
    if step is not None:
        return source.choice(_steps(low, high, whole, step))
    if log:
        drawn = math.exp(source.uniform(math.log(low), math.log(high)))
    elif whole:
        return source.randint(int(low), int(high))
    else:
        drawn = source.uniform(low, high)
    return min(int(high), max(int(low), round(drawn))) if whole else drawn


def _grid_values(dimension: Any, *path: object) -> list[Any]:
    if isinstance(dimension, list) and dimension:
        return dimension
    low, high, whole, _, step = _bounds(dimension, *path)
    if step is None and not whole:
        raise MatrixError("has no end of values between its bounds; add samples to the matrix, or step here", *path)
    values = _steps(low, high, whole, step or 1)
    _check_size(len(values))
    return values


def _steps(low: float, high: float, whole: bool, step: float) -> list[Any]:
    count = min(int((high - low) / step + 1e-9) + 1, LIMIT + 1)
    values = [low + index * step for index in range(count)]
    return [round(value) for value in values] if whole else values


def _bounds(dimension: Any, *path: object) -> tuple[float, float, bool, bool, float | None]:
    """low, high, whole numbers or not, logarithmic or not, step."""
    if not isinstance(dimension, Mapping) or "low" not in dimension or "high" not in dimension:
        raise MatrixError("must be a list of values, or bounds as in {low: 2, high: 12}", *path)
    for key in dimension:
        if key not in ("low", "high", "log", "step", "type"):
            raise MatrixError("unknown key; known are low, high, log, step, type", *path, key)
    low, high = _number(dimension["low"], *path, "low"), _number(dimension["high"], *path, "high")
    step = None if dimension.get("step") is None else _number(dimension["step"], *path, "step")
    log = bool(dimension.get("log", False))
    if low > high or (log and low <= 0) or (step is not None and step <= 0):
        raise MatrixError("low must not be above high, and with log or step they must be above zero", *path)
    wanted = dimension.get("type", "int" if isinstance(low, int) and isinstance(high, int) else "float")
    if wanted not in ("int", "float"):
        raise MatrixError(f"{wanted!r} is not int or float", *path, "type")
    return low, high, wanted == "int" and not isinstance(step, float), log, step


def _whole(value: Any, key: str, wanted: str) -> int:
    if isinstance(value, str) and value.strip().lstrip("+-").isdecimal():  # a parameter that was filled in is text
        return int(value)
    if not isinstance(value, int) or isinstance(value, bool):
        raise MatrixError(f"{value!r} is not {wanted}", key)
    return value


def _number(value: Any, *path: object) -> int | float:
    if isinstance(value, str):  # YAML takes 1e-4 for text
        with contextlib.suppress(ValueError):
            value = float(value)
    if not isinstance(value, int | float) or isinstance(value, bool) or not math.isfinite(value):
        raise MatrixError(f"{value!r} is not a number", *path)
    return value


def _check_size(size: int) -> None:
    if size > LIMIT:
        raise MatrixError(f"has {size:,} settings, at most {LIMIT:,} can run; sample: {{random: ..., samples: 50}}")


def _check_scalar(value: Any, *path: object) -> None:
    if value is None or isinstance(value, list | Mapping):
        raise MatrixError(f"{value!r} is not a single value; write text, a number, true or false", *path)


__all__ = ["LIMIT", "MatrixError", "Setting", "expand", "names_of"]
