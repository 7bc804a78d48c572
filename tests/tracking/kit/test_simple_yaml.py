"""The YAML subset: what PyYAML writes is read alike, what we write every reader understands."""

from __future__ import annotations

import pytest
import yaml
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from mlgate_tracking.kit.simple_yaml import dump, load

TEXT = (
    st.text(max_size=30)
    | st.text(alphabet="ab :-#\"'[]{},|>\n.0123456789\\ ", max_size=160)
    | st.text(alphabet="abcdef  \"'{}[]:,\\", min_size=70, max_size=250)
)
KEY = st.text(alphabet="ab_:-#\"'[]{},| 01.", min_size=1, max_size=20)
SCALAR = st.none() | st.booleans() | st.integers(-(10**18), 10**18) | st.floats(allow_nan=False) | TEXT
VALUE = st.recursive(
    SCALAR, lambda inner: st.lists(inner, max_size=4) | st.dictionaries(KEY, inner, max_size=4), max_leaves=12
)


@settings(suppress_health_check=[HealthCheck.too_slow], deadline=None)
@given(VALUE)
def test_what_pyyaml_writes_is_read_alike(value: object) -> None:
    assert load(yaml.safe_dump(value, sort_keys=False).removesuffix("...\n")) == value


@settings(suppress_health_check=[HealthCheck.too_slow], deadline=None)
@given(VALUE)
def test_what_we_write_is_read_alike_by_pyyaml_and_by_us(value: object) -> None:
    text = dump(value)
    assert yaml.safe_load(text) == value
    assert load(text) == value


def test_an_mlmodel_file_as_mlflow_writes_it() -> None:
    text = """\
artifact_path: model
flavors:
  python_function:
    env:
      conda: conda.yaml
      virtualenv: python_env.yaml
    loader_module: mlflow.sklearn
  sklearn:
    code: null
    skops_trusted_types: []
signature:
  inputs: '[{"type": "double", "name": "it''s a very long name that makes the line break somewhere
    in here"}, {"type": "long", "name": "b"}]'
  outputs: "[{\\"type\\": \\"tensor\\"}]"   # a comment
  params: null
utc_time_created: '2026-11-24 12:49:02.000000'
"""
    assert load(text) == yaml.safe_load(text)


def test_conda_files_with_nested_lists() -> None:
    text = "channels:\n- conda-forge\ndependencies:\n- python=3.11.7\n- pip:\n  - mlflow==2.8.0\n  - a\nname: env\n"
    assert load(text) == yaml.safe_load(text)


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("a: &anchor 1", "line 1: anchors"),
        ("a: 1\nb: !tag x", "line 2: anchors, aliases and tags"),
        ("a: 'never ends", "has no end"),
        ("a: 1\n   b: 2", "line 2"),
        ("a: [1, 2", "has no end"),
        ("a: b: c", "a second `:`"),
    ],
)
def test_what_is_outside_the_subset_is_refused_with_its_line(text: str, said: str) -> None:
    with pytest.raises(ValueError, match=said):
        load(text)
