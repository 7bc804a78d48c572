"""Entities survive the wire, and the wire keeps MLflow's presence rules."""

from __future__ import annotations

import json

from hypothesis import given
from hypothesis import strategies as st

from mlgate_tracking import wire
from mlgate_tracking.entities import (
    Dataset,
    DatasetInput,
    Experiment,
    FileInfo,
    LoggedModel,
    LoggedModelStatus,
    Metric,
    ModelAlias,
    ModelOutput,
    ModelVersion,
    Param,
    RegisteredModel,
    Run,
    RunData,
    RunInfo,
    RunInputs,
    RunStatus,
    StepRun,
    Tag,
)

words = st.text(min_size=1, max_size=8)
optional_words = st.none() | words
times = st.integers(0, 2**53)
tags = st.builds(Tag, words, st.text(max_size=8))
params = st.builds(Param, words, st.text(max_size=8))
metrics = st.builds(
    Metric, words, st.floats(allow_nan=False), times, st.integers(-(2**63), 2**63 - 1), *[optional_words] * 4
)


def many(strategy):
    return st.lists(strategy, max_size=3).map(tuple)


infos = st.builds(
    RunInfo, words, words, words, st.text(), st.sampled_from(RunStatus), times, words, st.none() | st.integers(1, 2**53)
)
datasets = st.builds(DatasetInput, st.builds(Dataset, words, words, words, words), many(tags))
runs = st.builds(
    Run,
    infos,
    st.builds(RunData, many(metrics), many(params), many(tags)),
    st.builds(RunInputs, many(datasets), many(words)),
    many(st.builds(ModelOutput, words, st.integers(0, 9))),
)
versions = st.builds(
    ModelVersion, words, st.integers(1, 99), times, times, words, words, *[optional_words] * 6, words, optional_words,
    many(tags), many(words),
)  # fmt: skip


def there_and_back(to_wire, from_wire, entity):
    return from_wire(json.loads(json.dumps(to_wire(entity), allow_nan=False)))


@given(runs)
def test_runs_survive_the_wire(run):
    assert there_and_back(wire.run_to_wire, wire.run_from_wire, run) == run


@given(st.builds(StepRun, runs, words, st.integers(1, 9), st.booleans(), st.none() | st.sampled_from(RunStatus)))
def test_step_runs_survive_the_wire(step_run):
    assert there_and_back(wire.step_run_to_wire, wire.step_run_from_wire, step_run) == step_run


@given(st.builds(Experiment, words, words, words, creation_time=times, last_update_time=times, tags=many(tags)))
def test_experiments_survive_the_wire(experiment):
    assert there_and_back(wire.experiment_to_wire, wire.experiment_from_wire, experiment) == experiment


@given(
    st.builds(
        LoggedModel, words, words, words, words, st.sampled_from(LoggedModelStatus), times, times,
        optional_words, optional_words, optional_words, many(tags), many(params), many(metrics),
    )
)  # fmt: skip
def test_logged_models_survive_the_wire(model):
    assert there_and_back(wire.logged_model_to_wire, wire.logged_model_from_wire, model) == model


@given(
    st.builds(
        RegisteredModel, words, times, times, optional_words, optional_words,
        many(versions), many(tags), many(st.builds(ModelAlias, words, st.integers(1, 9))),
    )
)  # fmt: skip
def test_registered_models_survive_the_wire(model):
    assert there_and_back(wire.registered_model_to_wire, wire.registered_model_from_wire, model) == model


def test_numbers_that_json_lacks_travel_as_text():
    values = [wire.metric_to_wire(Metric("m", value, 0))["value"] for value in (float("nan"), float("inf"), 1.5)]
    assert values == ["NaN", "Infinity", 1.5]
    assert wire.metric_from_wire({"key": "m", "value": "-Infinity"}).value == float("-inf")


def test_a_running_run_has_no_end_time_but_keeps_empty_text():
    info = RunInfo("r", "name", "1", "", RunStatus.RUNNING, 0, "mlflow-artifacts:/1/r/artifacts")
    body = wire.run_info_to_wire(info)
    assert "end_time" not in body
    assert body["user_id"] == ""
    assert body["run_uuid"] == body["run_id"] == "r"


def test_empty_lists_are_left_out():
    body = wire.experiment_to_wire(Experiment("1", "name", "mlflow-artifacts:/1"))
    assert "tags" not in body


def test_a_version_number_is_text_and_unset_texts_are_empty():
    body = wire.model_version_to_wire(ModelVersion("m", 3, 1, 1))
    assert (body["version"], body["run_id"], body["run_link"], body["description"]) == ("3", "", "", "")


def test_an_empty_file_without_size_has_size_zero():
    assert wire.file_info_from_wire({"path": "empty.txt", "is_dir": False}) == FileInfo("empty.txt", False, 0)
    assert wire.file_info_to_wire(FileInfo("plots", True)) == {"path": "plots", "is_dir": True}
