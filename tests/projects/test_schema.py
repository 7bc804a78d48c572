"""The schema that editors use says the same as the readers: about samples, examples and every key."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import yaml
from jsonschema import Draft202012Validator

from mlgate import pipeline
from mlgate_projects import parse

ROOT = Path(__file__).parents[2]
SCHEMA: dict[str, Any] = json.loads((ROOT / "docs" / "reference" / "mlproject.schema.json").read_text())
SAMPLES = ROOT / "tests" / "samples"
FINE = sorted([*(ROOT / "examples").glob("*/MLproject"), *SAMPLES.glob("fine/*/MLproject")])


def valid(file: Path) -> bool:
    return Draft202012Validator(SCHEMA).is_valid(yaml.safe_load(file.read_text()))


def test_the_schema_itself_is_valid() -> None:
    Draft202012Validator.check_schema(SCHEMA)


@pytest.mark.parametrize("file", FINE, ids=lambda file: file.parent.name)
def test_what_the_readers_take_without_a_word_is_valid(file: Path) -> None:
    spec = parse.load_project(file.parent)
    assert spec.warnings == ()
    errors = [error.message for error in Draft202012Validator(SCHEMA).iter_errors(yaml.safe_load(file.read_text()))]
    assert errors == []


@pytest.mark.parametrize(
    "name", ["two_environments", "a_list_at_the_top", "many_mistakes", "docker_environment", "docker_without_image"]
)
def test_bad_files_are_not_valid(name: str) -> None:
    assert not valid(SAMPLES / "bad" / name / "MLproject")


@pytest.mark.parametrize(
    "name", ["keys_and_values_that_do_not_exist", "promotions_and_gates_half_said", "matrix_without_settings"]
)
def test_bad_pipelines_are_not_valid(name: str) -> None:
    assert not valid(SAMPLES / "bad_pipelines" / name / "MLproject")


@pytest.mark.parametrize("name", ["unknown_keys", "docker_details"])
def test_odd_files_are_not_valid(name: str) -> None:
    assert not valid(SAMPLES / "odd" / name / "MLproject")


def test_the_schema_knows_the_same_keys_as_the_readers() -> None:
    known = SCHEMA["$defs"]

    def keys(*path: str) -> set[str]:
        here: Any = SCHEMA
        for part in path:
            here = here[int(part)] if isinstance(here, list) else here[part]
        return set(here["properties"])

    run, promote, gate = known["step"]["oneOf"]
    assert keys() == set(parse.PROJECT_KEYS)
    assert keys("$defs", "entry_point") == set(parse.ENTRY_POINT_KEYS)
    assert keys("$defs", "docker_env") == set(parse.DOCKER_KEYS)
    assert keys("$defs", "pipeline") == set(pipeline.PIPELINE_KEYS)
    assert keys("$defs", "pipeline", "properties", "defaults") == set(pipeline.DEFAULT_KEYS)
    assert set(run["properties"]) == {*pipeline.COMMON_KEYS, *pipeline.RUN_KEYS}
    assert set(promote["properties"]) == {*pipeline.COMMON_KEYS, "promote"}
    assert set(gate["properties"]) == {*pipeline.COMMON_KEYS, "gate"}
    assert keys("$defs", "promote") == set(pipeline.PROMOTE_KEYS)
    assert keys("$defs", "gate") == set(pipeline.GATE_KEYS)
    assert keys("$defs", "retries", "oneOf", "1") == set(pipeline.RETRY_KEYS)
    assert keys("$defs", "cache", "oneOf", "1") == set(pipeline.CACHE_KEYS)
    assert keys("$defs", "select") == set(pipeline.SELECT_KEYS)
    assert keys("$defs", "step_environment", "oneOf", "1") == set(pipeline.ENVIRONMENT_KEYS)
    assert set(known["step_environment"]["oneOf"][0]["enum"]) == set(pipeline.MANAGERS)
