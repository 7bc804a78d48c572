"""Data as the client sees it: descriptions with digests, tables, pictures. numpy, pandas and matplotlib only if loaded.

What is looked at is bounded (`SAMPLE` rows or elements), so that logging a large table costs milliseconds.
"""

from __future__ import annotations

import hashlib
import json
import os
import sys
from dataclasses import dataclass

from mlgate_tracking.kit.transport import Refused

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from typing import Any

SAMPLE = 10_000
"""Rows of a table, or leading elements of an array, that go into a digest."""


@dataclass(frozen=True)
class Dataset:
    """What is said about data that a run used; `schema` and `profile` are JSON text."""

    name: str
    digest: str
    source_type: str
    source: str
    schema: str = ""
    profile: str = ""


def is_table(data: Any) -> bool:
    """Whether it is a pandas DataFrame; pandas is never imported for the question."""
    pandas = sys.modules.get("pandas")
    return pandas is not None and isinstance(data, pandas.DataFrame)


def is_array(data: Any) -> bool:
    numpy = sys.modules.get("numpy")
    return numpy is not None and isinstance(data, numpy.ndarray)


def digest(data: Any) -> str:
    """32 hex digits over the shape, the names and the first `SAMPLE` rows, the last ones too."""
    hasher = hashlib.sha256()
    if is_table(data):
        rows = data if len(data) <= SAMPLE else data.iloc[: SAMPLE // 2]
        hasher.update(repr((data.shape, [(str(name), str(kind)) for name, kind in data.dtypes.items()])).encode())
        pandas = sys.modules["pandas"]
        for part in (rows, data.iloc[-SAMPLE // 2 :] if len(data) > SAMPLE else data.iloc[:0]):
            try:
                hasher.update(pandas.util.hash_pandas_object(part, index=False).to_numpy().tobytes())
            except TypeError:  # unhashable cells
                hasher.update(part.to_json().encode())
    elif is_array(data):
        numpy = sys.modules["numpy"]
        hasher.update(repr((data.shape, str(data.dtype))).encode())
        flat = data.reshape(-1) if data.flags.c_contiguous else data[:SAMPLE].reshape(-1)
        for part in (flat[:SAMPLE], flat[-SAMPLE:]):
            raw = numpy.ascontiguousarray(part)
            hasher.update(raw.tobytes() if raw.dtype != object else repr(raw.tolist()).encode())
    elif isinstance(data, (str, os.PathLike)) and os.path.isfile(data):
        with open(data, "rb") as file:
            for chunk in iter(lambda: file.read(1 << 20), b""):
                hasher.update(chunk)
    else:
        hasher.update(json.dumps(data, default=repr, sort_keys=True).encode())
    return hasher.hexdigest()[:32]


def _shape(data: Any) -> str:
    """Schema of the columns, or of the tensor, as JSON text; empty when there is none to tell."""
    if is_table(data):
        from mlgate_tracking.kit.models.signature import columns

        return json.dumps({"mlflow_colspec": columns(data)})
    if is_array(data):
        spec = {"type": "tensor", "tensor-spec": {"dtype": str(data.dtype), "shape": [-1, *data.shape[1:]]}}
        return json.dumps({"mlflow_tensorspec": {"features": json.dumps([spec])}})
    return ""


def _profile(data: Any) -> str:
    if is_table(data):
        return json.dumps({"num_rows": len(data), "num_elements": int(data.size)})
    if is_array(data):
        return json.dumps({"features_shape": list(data.shape), "features_size": int(data.size)})
    return ""


def describe(data: Any, source: str | None = None, name: str | None = None, targets: str | None = None) -> Dataset:
    """A `Dataset` for a DataFrame, an array, a path, or plain data."""
    is_path = isinstance(data, (str, os.PathLike))
    where = source or (os.fspath(data) if is_path else "")
    if where:
        kind = "http" if where.startswith(("http://", "https://")) else "s3" if where.startswith("s3:") else "local"
        told = json.dumps({"url" if kind == "http" else "uri": where})
    else:
        script = sys.argv[0] if sys.argv else ""
        kind, told = "code", json.dumps({"tags": {"mlflow.source.name": script}})
    profile = _profile(data)
    if targets is not None:
        profile = json.dumps({**json.loads(profile or "{}"), "targets": targets})
    named = name or (os.path.basename(where) if where else "dataset")
    return Dataset(named, digest(data), kind, told, _shape(data), profile)


def input_record(data: Any, context: str | None, tags: Mapping[str, str] | None) -> dict[str, Any]:
    """One entry of the log-inputs call."""
    if hasattr(data, "to_dict") and hasattr(data, "digest") and not is_table(data):  # an MLflow dataset
        described = {key: value for key, value in data.to_dict().items() if value is not None}
    else:
        made = data if isinstance(data, Dataset) else describe(data)
        described = {key: value for key, value in vars(made).items() if value}
    labels = [{"key": str(key), "value": str(value)} for key, value in (tags or {}).items()]
    if context:
        labels.append({"key": "mlflow.data.context", "value": context})
    return {"dataset": described, "tags": labels}


# --- tables ---------------------------------------------------------------------------------------------------------


def _split(data: Any) -> dict[str, Any]:
    """A table as `{"columns": [...], "data": [[...], ...]}`."""
    if is_table(data):
        made: dict[str, Any] = json.loads(data.to_json(orient="split", index=False, date_format="iso"))
        return {"columns": made["columns"], "data": made["data"]}
    if isinstance(data, dict):
        values = [list(each) if isinstance(each, (list, tuple)) or is_array(each) else [each] for each in data.values()]
        if len({len(each) for each in values}) > 1:
            raise Refused("the columns of a table need the same length, not %s" % [len(each) for each in values])
        return {"columns": [str(name) for name in data], "data": [list(row) for row in zip(*values)]}
    raise Refused("a table is a dictionary of columns or a DataFrame, not %s" % type(data).__name__)


def merged_table(before: bytes, data: Any) -> dict[str, Any]:
    """The rows that are there and the new ones; columns that one side lacks are filled with null."""
    added = _split(data)
    if not before:
        return added
    there: dict[str, Any] = json.loads(before)
    names = list(dict.fromkeys([*there["columns"], *added["columns"]]))
    rows = []
    for part in (there, added):
        place = {name: number for number, name in enumerate(part["columns"])}
        rows += [[row[place[name]] if name in place else None for name in names] for row in part["data"]]
    return {"columns": names, "data": rows}


def table_value(raw: bytes) -> Any:
    """A stored table as a DataFrame where pandas can be imported, else as a dictionary of columns."""
    table = json.loads(raw)
    try:
        import pandas
    except ImportError:
        return {name: [row[number] for row in table["data"]] for number, name in enumerate(table["columns"])}
    return pandas.DataFrame(table["data"], columns=table["columns"])


def runs_table(runs: Sequence[Any]) -> Any:
    """Runs as a DataFrame with MLflow's columns; the list itself where pandas is not installed."""
    try:
        import pandas
    except ImportError:
        return list(runs)
    rows = []
    for run in runs:
        row = {name: getattr(run.info, name) for name in ("run_id", "experiment_id", "status", "artifact_uri")}
        for name in ("start_time", "end_time"):
            row[name] = pandas.to_datetime(getattr(run.info, name), unit="ms", utc=True)
        for kind in ("metrics", "params", "tags"):
            row.update({"%s.%s" % (kind, key): value for key, value in getattr(run.data, kind).items()})
        rows.append(row)
    plain = ["run_id", "experiment_id", "status", "artifact_uri", "start_time", "end_time"]
    more = dict.fromkeys(name for row in rows for name in row if name not in plain)
    return pandas.DataFrame(rows, columns=[*plain, *sorted(more)])


# --- pictures -------------------------------------------------------------------------------------------------------


def figure_bytes(figure: Any, name: str, options: dict[str, Any]) -> bytes:
    """A matplotlib or plotly figure in the format that the name's ending asks for."""
    import io

    ending = os.path.splitext(name)[1].lstrip(".").lower() or "png"
    if hasattr(figure, "savefig"):
        stream = io.BytesIO()
        figure.savefig(stream, format=ending, **options)
        return stream.getvalue()
    if hasattr(figure, "write_html"):
        if ending == "html":
            return str(figure.to_html(include_plotlyjs="cdn", **options)).encode()
        return bytes(figure.to_image(format=ending, **options))
    raise Refused("cannot store a %s as a figure; pass a matplotlib or plotly figure" % type(figure).__name__)


def image_bytes(image: Any, name: str) -> bytes:
    """A PIL image or an array as the bytes of a picture; PNG needs no library, other formats need Pillow."""
    ending = os.path.splitext(name)[1].lstrip(".").lower() or "png"
    if hasattr(image, "save") and hasattr(image, "mode"):
        import io

        stream = io.BytesIO()
        image.save(stream, format={"jpg": "JPEG"}.get(ending, ending.upper()))
        return stream.getvalue()
    pixels, width, height, channels = _pixels(image)
    if ending == "png":
        return _png(pixels, width, height, channels)
    try:
        from PIL import Image
    except ImportError:
        raise Refused("storing %r needs Pillow in the environment; name it .png to do without" % name)
    mode = {1: "L", 3: "RGB", 4: "RGBA"}[channels]
    return image_bytes(Image.frombytes(mode, (width, height), pixels), name)


def _pixels(image: Any) -> tuple[bytes, int, int, int]:
    """(bytes row by row, width, height, channels) of an array-like picture."""
    import numpy

    array = numpy.asarray(image)
    if array.ndim == 2:
        array = array[:, :, None]
    if array.ndim != 3 or array.shape[2] not in (1, 3, 4):
        raise Refused("a picture has shape (height, width[, 1, 3 or 4]), not %s" % (array.shape,))
    if array.dtype == bool:
        array = array.astype("uint8") * 255
    elif array.dtype.kind == "f":
        if array.size and (array.min() < 0 or array.max() > 1):
            raise Refused("a picture of floats holds values from 0 to 1")
        array = (array * 255).round().astype("uint8")
    elif array.size and (array.min() < 0 or array.max() > 255):
        raise Refused("a picture of integers holds values from 0 to 255")
    height, width, channels = array.shape
    return numpy.ascontiguousarray(array.astype("uint8")).tobytes(), width, height, channels


def _png(pixels: bytes, width: int, height: int, channels: int) -> bytes:
    import struct
    import zlib

    def chunk(kind: bytes, body: bytes) -> bytes:
        return struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))

    row = width * channels
    lines = b"".join(b"\0" + pixels[start : start + row] for start in range(0, row * height, row))
    header = struct.pack(">IIBBBBB", width, height, 8, {1: 0, 3: 2, 4: 6}[channels], 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(lines)) + chunk(b"IEND", b"")


__all__ = [
    "Dataset",
    "describe",
    "digest",
    "figure_bytes",
    "image_bytes",
    "input_record",
    "is_array",
    "is_table",
    "merged_table",
    "runs_table",
    "table_value",
]
