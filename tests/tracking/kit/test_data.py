"""Data, tables and pictures, with the libraries that the environment has and without those that it has not."""

from __future__ import annotations

import json
import struct
import zlib
from pathlib import Path

import pytest

from mlgate_tracking.kit.data import describe, input_record, merged_table, table_value
from mlgate_tracking.kit.transport import TrackingError
from tests.support.environments import environment
from tests.tracking.kit.conftest import MLFLOW3, RunScript, Step


def test_equal_content_has_equal_digests_and_other_content_others() -> None:
    first, again, other = (describe(data, name="d") for data in ([1, 2], [1, 2], [1, 3]))
    assert first == again
    assert first.digest != other.digest
    assert len(first.digest) <= 36  # what servers keep


def test_a_file_is_described_by_its_path_and_content(tmp_path: Path) -> None:
    file = tmp_path / "raw.csv"
    file.write_text("a,b\n1,2\n")
    found = describe(str(file))
    assert (found.name, found.source_type, json.loads(found.source)["uri"]) == ("raw.csv", "local", str(file))
    file.write_text("a,b\n1,3\n")
    assert describe(str(file)).digest != found.digest
    assert describe([1], source="https://host/x.csv").source_type == "http"


def test_the_context_travels_as_mlflows_tag() -> None:
    record = input_record([1], "training", {"split": "a"})
    assert record["tags"] == [{"key": "split", "value": "a"}, {"key": "mlflow.data.context", "value": "training"}]


def test_rows_are_added_to_a_table_whatever_its_columns() -> None:
    before = json.dumps(merged_table(b"", {"a": [1, 2]})).encode()
    merged = merged_table(before, {"b": ["x"], "a": [3]})
    assert merged == {"columns": ["a", "b"], "data": [[1, None], [2, None], [3, "x"]]}
    assert table_value(json.dumps(merged).encode()) == {"a": [1, 2, 3], "b": [None, None, "x"]}


@pytest.mark.parametrize("data", [[1], {"a": [1], "b": [1, 2]}, "text"])
def test_what_is_no_table_is_refused(data: object) -> None:
    with pytest.raises(TrackingError, match="table"):
        merged_table(b"", data)


@pytest.mark.frameworks
def test_frames_arrays_and_pictures(run_script: RunScript, step: Step) -> None:
    child = run_script(
        """
        import numpy, pandas, mlgate_tracking as tracking
        frame = pandas.DataFrame({"n": [1, 2], "f": [0.5, None], "s": ["x", "y"]})
        frame["t"] = pandas.to_datetime(["2024", "2025"])
        with tracking.start_run() as run:
            tracking.log_input(frame, context="training")
            tracking.log_input(tracking.dataset(numpy.ones((3, 2), "float32"), name="array", targets="y"))
            tracking.log_table(frame[["n", "s"]], "t.json")
            print(tracking.load_table("t.json").equals(frame[["n", "s"]]))
            tracking.log_image(numpy.arange(12, dtype="uint8").reshape(2, 2, 3), "p.png")
            tracking.log_image(numpy.eye(4), key="masks/one", step=3, timestamp=7)
            try:
                tracking.log_image(numpy.eye(4) * 2, "bad.png")
            except tracking.TrackingError as error:
                print(error)
            tracking.log_metric("m", numpy.float32(0.5))
            tracking.log_drift(frame[["n", "f"]], frame[["n", "f"]])
        table = tracking.search_runs()
        print(table.loc[0, "metrics.m"], table.loc[0, "run_id"] == run.info.run_id)
        """,
        python=environment("mlflow3-frameworks", MLFLOW3), env=step.env,
    )  # fmt: skip
    assert child.exit_code == 0, child.stderr
    assert child.stdout.splitlines() == ["True", "a picture of floats holds values from 0 to 1", "0.5 True"]
    first, second = sorted((each.dataset for each in step.run.inputs.dataset_inputs), key=lambda each: each.name)
    assert json.loads(first.profile or "")["targets"] == "y"
    columns = json.loads(second.schema or "")["mlflow_colspec"]
    assert [column["type"] for column in columns] == ["long", "double", "string", "datetime"]
    assert any(file.startswith("images/masks~one+step+3+timestamp+7+") for file in step.files())
    picture = step.file("p.png")
    assert struct.unpack(">II", picture[16:24]) == (2, 2)
    start = picture.index(b"IDAT") + 4
    pixels = zlib.decompress(picture[start : picture.index(b"IEND") - 8])
    assert pixels == b"\x00" + bytes(range(6)) + b"\x00" + bytes(range(6, 12))
