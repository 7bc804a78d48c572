"""What a model version may be registered from."""

from __future__ import annotations

import contextlib

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mlgate_tracking.errors import InvalidParameterValue
from mlgate_tracking.store.model_sources import (
    Inside,
    OfLoggedModel,
    OfRun,
    OfVersion,
    Source,
    Stored,
    contains,
    read_source,
)


@pytest.mark.parametrize(
    ("source", "expected"),
    [
        ("s3://bucket/a/b", Stored("s3://bucket/a/b")),
        ("dbfs:/models/x", Stored("dbfs:/models/x")),
        ("runs:/abc/model", OfRun("runs:/abc/model", "abc")),
        ("runs:/abc", OfRun("runs:/abc", "abc")),
        ("models:/m-1", OfLoggedModel("models:/m-1", "m-1")),
        ("models:/iris/3", OfVersion("models:/iris/3", "iris", version=3)),
        ("models:/iris/Production", OfVersion("models:/iris/Production", "iris", stage="Production")),
        ("models:/iris@best", OfVersion("models:/iris@best", "iris", alias="best")),
        ("models:/my%20iris/3", OfVersion("models:/my%20iris/3", "my iris", version=3)),
        ("mlflow-artifacts:/1/a", Inside("mlflow-artifacts:/1/a")),
        ("https://host/a", Inside("https://host/a")),
        ("abfss://c@account/a", Inside("abfss://c@account/a")),
        ("/a/b", Inside("/a/b")),
        ("file:///a/b", Inside("file:///a/b")),
    ],
)
def test_a_source_is_read(source: str, expected: Source) -> None:
    assert read_source(source) == expected


@pytest.mark.parametrize(
    "source",
    [
        *("", "a\0b", "a/%00", "../a", "a\\..\\b", "s3://b/../c", "s3://b/%2e%2e/c", "%" + "25" * 12 + "2e"),
        *("mlflow-artifacts://h/1", "runs:/", "runs://h/a", "s3://[b/a"),
        *("models://h/a/1", "models:/", "models:/a/b/c", "models:/a/"),
    ],
)
def test_a_source_that_could_lead_elsewhere_is_refused(source: str) -> None:
    with pytest.raises(InvalidParameterValue, match="Invalid model version source"):
        read_source(source)


@settings(deadline=None)
@given(st.text())
def test_no_text_raises_anything_else(source: str) -> None:
    with contextlib.suppress(InvalidParameterValue):
        assert read_source(source).source == source


@pytest.mark.parametrize(
    ("root", "source", "inside"),
    [
        ("mlflow-artifacts:/1/r/artifacts", "mlflow-artifacts:/1/r/artifacts", True),
        ("mlflow-artifacts:/1/r/artifacts", "mlflow-artifacts:/1/r/artifacts/model", True),
        ("mlflow-artifacts:/1/r/artifacts", "mlflow-artifacts:/1/r/artifacts-2/model", False),
        ("mlflow-artifacts:/1/r/artifacts", "mlflow-artifacts:/1/other/artifacts", False),
        ("/data/r", "file:///data/r/model", True),
        ("file:///data/r", "/data/r/./model/", True),
        ("mlflow-artifacts:/1/r", "mlflow-artifacts:///1/r/model", True),
        ("https://Host/1/r", "https://host/1/r/model", True),
        ("file://localhost/data/r", "/data/r/model", True),
        ("//data/r", "/data/r/model", True),
        ("/data/r", "/data/secret", False),
        ("s3://bucket/r", "s3://bucket/r/model", True),
        ("s3://bucket/r", "s3://other/r/model", False),
        ("abfss://c@account/r", "abfss://c@account/r/model", True),
        ("abfss://c@account/r", "abfss://c@other/r/model", False),
        ("mlflow-artifacts:/1/r", "http://evil/api/2.0/mlflow-artifacts/artifacts/1/r", False),
        ("/", "/anything", True),
    ],
)
def test_a_place_contains_what_lies_below_it(root: str, source: str, inside: bool) -> None:
    assert contains(root, source) is inside
