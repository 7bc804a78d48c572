"""Tables from files: CSV, JSON lines and JSON by the standard library, Parquet by pyarrow if it is there."""

from __future__ import annotations

import csv
import json
import math
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from mlgate.errors import UsageError

Table = Mapping[str, list[Any]]
"""Column name → values, all of one length; None stands for a missing value."""

_MISSING = frozenset({"", "na", "n/a", "nan", "null", "none"})


def read_table(path: Path) -> Table:
    """Read a table by its file's suffix; columns whose every value is a number hold numbers.

    Raises:
        UsageError: a suffix nobody knows, a file that is not what its suffix says, or a reader that is not installed.
    """
    suffix = path.suffix.lower()
    if suffix not in _READERS:
        raise UsageError(f"{path}: tables are read from {', '.join(sorted(_READERS))}, not from '{suffix}'")
    try:
        table = _READERS[suffix](path)
    except (OSError, ValueError, csv.Error) as error:
        raise UsageError(f"{path}: cannot be read as a table: {error}") from error
    if not table:
        raise UsageError(f"{path}: has no columns")
    return table


def _read_csv(path: Path) -> Table:
    with path.open(newline="", encoding="utf-8-sig") as file:
        reader = csv.reader(file, delimiter="\t" if path.suffix.lower() == ".tsv" else ",", strict=True)
        header = next(reader, None)
        if header is None:
            return {}
        rows = [row for row in reader if row]
    short = next((number for number, row in enumerate(rows, 2) if len(row) != len(header)), None)
    if short is not None:
        raise ValueError(f"row {short} has not {len(header)} values")
    return {name: _typed([row[index] for row in rows]) for index, name in enumerate(header)}


def _typed(texts: Iterable[str]) -> list[Any]:
    """Numbers if everything is one, else the texts; missing values are None."""
    values = [None if text.strip().lower() in _MISSING else text for text in texts]
    try:
        return [None if value is None else _number(value) for value in values]
    except ValueError:
        return list(values)


def _number(text: str) -> float:
    try:
        return int(text)
    except ValueError:
        return float(text)


def _read_json_lines(path: Path) -> Table:
    with path.open(encoding="utf-8") as file:
        return _from_records([json.loads(line) for line in file if line.strip()])


def _read_json(path: Path) -> Table:
    data = json.loads(path.read_text(encoding="utf-8"))
    if isinstance(data, dict) and isinstance(data.get("columns"), list) and isinstance(data.get("data"), list):
        return {name: [_clean(row[index]) for row in data["data"]] for index, name in enumerate(data["columns"])}
    if not isinstance(data, list):
        raise ValueError("neither a list of records nor {columns, data}")  # noqa: TRY004  the caller names the file
    return _from_records(data)


def _from_records(records: list[Any]) -> Table:
    if not all(isinstance(record, dict) for record in records):
        raise ValueError("holds something other than records")
    names = list(dict.fromkeys(name for record in records for name in record))
    return {name: [_clean(record.get(name)) for record in records] for name in names}


def _read_parquet(path: Path) -> Table:
    try:
        from pyarrow import parquet
    except ModuleNotFoundError:
        raise UsageError(f"{path}: Parquet is read by pyarrow, which is missing; install mlgate[quality]") from None
    return {
        str(name): [_clean(value) for value in values] for name, values in parquet.read_table(path).to_pydict().items()
    }


def _clean(value: Any) -> Any:
    return None if isinstance(value, float) and math.isnan(value) else value


_READERS = {
    ".csv": _read_csv,
    ".tsv": _read_csv,
    ".json": _read_json,
    ".jsonl": _read_json_lines,
    ".ndjson": _read_json_lines,
    ".parquet": _read_parquet,
}

__all__ = ["Table", "read_table"]
