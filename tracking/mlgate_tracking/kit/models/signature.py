"""What goes into a model and what comes out, in MLflow's JSON: columns of a table, or tensors."""

from __future__ import annotations

import json
import sys

from mlgate_tracking.kit.data import is_array, is_table

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

EXAMPLE_ROWS = 5
"""Rows of the training data that are kept as an input example."""


def columns(table: Any) -> list[dict[str, Any]]:
    """One column object for each column of a DataFrame."""
    found = []
    for number, name in enumerate(table.columns):
        column = table.iloc[:, number]
        found.append({"type": _column_type(column), "name": str(name)})
    return found


def _column_type(column: Any) -> str:
    kind, size = getattr(column.dtype, "kind", "O"), getattr(column.dtype, "itemsize", 8)
    if kind == "b":
        return "boolean"
    if kind == "i":
        return "integer" if size <= 4 else "long"
    if kind == "u":
        return "integer" if size <= 2 else "long"
    if kind == "f":
        return "float" if size <= 4 else "double"
    if kind == "M":
        return "datetime"
    filled = column.dropna()
    first = filled.iloc[0] if len(filled) else ""
    if isinstance(first, bytes):
        return "binary"
    if isinstance(first, bool):
        return "boolean"
    return "string"


def _tensor(array: Any, name: str | None = None) -> dict[str, Any]:
    kind = array.dtype if array.dtype.kind != "U" else "str"
    spec: dict[str, Any] = {
        "type": "tensor",
        "tensor-spec": {"dtype": str(kind), "shape": [-1, *array.shape[1:]] if array.ndim else [-1]},
    }
    if name:
        spec["name"] = name
    return spec


def schema(data: Any) -> list[dict[str, Any]] | None:
    """Column or tensor objects of a DataFrame, Series, array or dictionary of arrays; None for anything else."""
    pandas = sys.modules.get("pandas")
    if is_table(data):
        return columns(data)
    if pandas is not None and isinstance(data, pandas.Series):
        only = columns(data.to_frame("0"))[0]
        return [{key: value for key, value in only.items() if key != "name"}]
    if is_array(data):
        return [_tensor(data)] if data.dtype != object else None
    if hasattr(data, "toarray") and hasattr(data, "dtype"):  # a sparse matrix
        return [{"type": "tensor", "tensor-spec": {"dtype": str(data.dtype), "shape": [-1, data.shape[1]]}}]
    if isinstance(data, dict) and data and all(is_array(value) for value in data.values()):
        return [_tensor(value, str(name)) for name, value in data.items()]
    return None


def infer_signature(inputs: Any, outputs: Any = None) -> dict[str, Any] | None:
    """`{"inputs": JSON text, "outputs": JSON text or None, "params": None}`; None when the inputs have no schema."""
    into = schema(inputs)
    if into is None:
        return None
    out = schema(outputs) if outputs is not None else None
    return {"inputs": json.dumps(into), "outputs": json.dumps(out) if out is not None else None, "params": None}


def as_text(signature: Any) -> dict[str, Any] | None:
    """A signature as the MLmodel file has it, from ours or from an MLflow `ModelSignature`."""
    if signature is None or isinstance(signature, dict):
        return signature
    if hasattr(signature, "to_dict"):
        found: dict[str, Any] = signature.to_dict()
        return found
    raise TypeError("a signature comes from infer_signature, not from a %s" % type(signature).__name__)


def head(data: Any, rows: int = EXAMPLE_ROWS) -> Any:
    """The first rows of a table or an array, copied; None for what has no rows."""
    if is_table(data):
        return data.iloc[:rows].copy()
    if is_array(data) and data.ndim:
        return data[:rows].copy()
    return None


def example_files(example: Any) -> tuple[dict[str, Any], dict[str, str]] | None:
    """(`saved_input_example_info`, {file name: content}) for an example; None when it cannot be written as JSON."""
    if is_table(example):
        split = json.loads(example.to_json(orient="split", index=False, date_format="iso"))
        body: Any = {"columns": split["columns"], "data": split["data"]}
        info = {"artifact_path": "input_example.json", "pandas_orient": "split", "type": "dataframe"}
        serving: Any = {"dataframe_split": body}
    elif is_array(example) and example.dtype.kind in "biufU":
        body = example.tolist()
        info = {"artifact_path": "input_example.json", "format": "tf-serving", "type": "ndarray"}
        serving = {"inputs": body}
        body = serving
    elif isinstance(example, (dict, list)):
        body, serving = example, {"inputs": example}
        info = {"artifact_path": "input_example.json", "type": "json_object"}
    else:
        return None
    try:
        files = {
            "input_example.json": json.dumps(body),
            "serving_input_example.json": json.dumps(serving, indent=2),
        }
    except (TypeError, ValueError):
        return None
    return {**info, "serving_input_path": "serving_input_example.json"}, files


__all__ = ["EXAMPLE_ROWS", "as_text", "columns", "example_files", "head", "infer_signature", "schema"]
