"""Runs as the server sends them, against `wire.run_to_wire` of the same runs."""

from __future__ import annotations

import math

import msgspec
import pytest

from mlgate_tracking import wire
from mlgate_tracking.entities import Dataset, DatasetInput, Metric, ModelOutput, Param, RunStatus, Tag
from mlgate_tracking.store.sql import SqlStore


def sent(value: object) -> object:
    return msgspec.json.decode(msgspec.json.encode(value))


@pytest.fixture
def filled(store: SqlStore) -> SqlStore:
    full = store.create_run("0", tags=[Tag("t", "ü"), Tag("a", "")], start_time=5).info.run_id
    odd = [("nan", math.nan), ("high", math.inf), ("low", -math.inf), ("zero", 0.0), ("third", 1 / 3)]
    store.log_batch(
        full, metrics=[Metric(key, value, 7, -3) for key, value in odd], params=[Param("p", "x" * 500), Param("a", "1")]
    )
    model = store.create_logged_model("0", name="model", source_run_id=full).model_id
    dataset = DatasetInput(Dataset("iris", "d1", "local", "file.csv"), (Tag("mlflow.data.context", "training"),))
    store.log_inputs(full, datasets=[dataset], model_ids=[model])
    store.log_outputs(full, [ModelOutput(model, 3)])
    store.update_run(full, status=RunStatus.FINISHED, end_time=9)
    store.create_run("0", start_time=6)
    return store


def test_documents_are_what_the_wire_functions_make(filled: SqlStore) -> None:
    page = filled.search_run_documents(["0"])
    runs = filled.search_runs(["0"])
    assert len(runs.items) == 2
    assert sent(page.items) == sent([wire.run_to_wire(run) for run in runs.items])


def test_what_a_run_lacks_is_left_out(filled: SqlStore) -> None:
    newest = sent(filled.search_run_documents(["0"]).items[0])
    assert isinstance(newest, dict)
    assert newest["data"] == {"tags": [{"key": "mlflow.runName", "value": newest["info"]["run_name"]}]}
    assert (newest["inputs"], newest["outputs"]) == ({}, {})
    assert "end_time" not in newest["info"]
