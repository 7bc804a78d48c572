"""Values for parameters: types, defaults, files, what is missing, what is recorded."""

from __future__ import annotations

from pathlib import Path

import pytest

from mlgate_projects.errors import ParameterError
from mlgate_projects.parameters import LOGGED_LIMIT, ResolvedParameters, canonical_type, mismatch, resolve
from mlgate_projects.spec import EntryPoint, Parameter


def entry_point(*parameters: Parameter) -> EntryPoint:
    return EntryPoint("main", "ls", parameters)


@pytest.mark.parametrize(
    ("type_name", "good", "bad"),
    [
        ("float", ["1", "-0.5", "1e-3", "nan", "-inf", ".5"], ["", "abc", "1_0", " 1", "0x1", "1,5", "1e999"]),
        ("int", ["1", "-5", "+7", "0012"], ["", "1.0", "1e3", "five", "1_000", "٣"]),
        ("bool", ["true", "False", "YES", "no", "on", "0"], ["", "maybe", "2", "t"]),
        ("uri", ["s3://b/k", "models:/m/1", "file:///x", "runs:/x"], ["", "data.csv", "/data", "1:x"]),
        ("string", ["", "anything", "a\nb"], []),
        ("integer", ["1"], ["x"]),
        ("double", ["0.1"], ["x"]),
        ("banana", ["anything"], []),
    ],
)
def test_text_is_checked_against_the_type(type_name: str, good: list[str], bad: list[str]) -> None:
    assert [text for text in good if mismatch(type_name, text)] == []
    assert [text for text in bad if not mismatch(type_name, text)] == []


def test_other_spellings_of_types_are_known() -> None:
    assert [canonical_type(name) for name in ("str", "Integer", "double", "boolean", "path", "x")] == [
        "string", "int", "float", "bool", "path", None,
    ]  # fmt: skip


def test_declared_first_then_extras_in_the_order_given(tmp_path: Path) -> None:
    main = entry_point(Parameter("a", "float", "0.1"), Parameter("b", "int"))
    resolved = resolve(main, {"z": "1", "b": 2, "y": True}, tmp_path)
    assert resolved == ResolvedParameters(
        declared={"a": "0.1", "b": "2"},
        extras={"z": "1", "y": "True"},
        logged={"a": "0.1", "b": "2", "z": "1", "y": "True"},
    )
    assert list(resolved.logged) == ["a", "b", "z", "y"]


def test_everything_wrong_is_named_at_once(tmp_path: Path) -> None:
    main = entry_point(
        Parameter("a", "float", line=4), Parameter("b", "int", "1", line=5), Parameter("c", "path"), Parameter("d")
    )
    place = "MLproject:4: entry_points.main.parameters"
    missing_file = f"MLproject: entry_points.main.parameters.c: 'none.csv' does not exist in {tmp_path}"
    with pytest.raises(ParameterError) as caught:
        resolve(main, {"b": "x", "c": "none.csv", "e f": "1", "g": "\0"}, tmp_path)
    assert [str(problem) for problem in caught.value.problems] == [
        f"{place}: no value given for missing parameters: 'a', 'd'; pass -P a=0.5 -P d=VALUE",
        "'e f' is not a parameter name; names hold no spaces, '=' or control characters",
        "g: holds a NUL character, which no command can be given",
        "MLproject:5: entry_points.main.parameters.b: 'x' is not an int; pass a whole number such as 5",
        f"{missing_file}; pass an existing file or directory, or a URI",
    ]


def test_an_odd_default_is_passed_on_as_mlflow_does(tmp_path: Path) -> None:
    assert resolve(entry_point(Parameter("a", "int", "many")), {}, tmp_path).declared == {"a": "many"}
    with pytest.raises(ParameterError, match="'many' is not an int"):
        resolve(entry_point(Parameter("a", "int", "many")), {"a": "many"}, tmp_path)


class TestPaths:
    def test_a_passed_path_is_relative_to_the_caller(self, tmp_path: Path) -> None:
        (tmp_path / "here").mkdir()
        (tmp_path / "here" / "a b.csv").touch()
        main = entry_point(Parameter("data", "path"))
        resolved = resolve(main, {"data": "a b.csv"}, tmp_path / "here", tmp_path)
        assert resolved.declared == {"data": str(tmp_path / "here" / "a b.csv")}
        assert resolved.logged == {"data": "a b.csv"}
        by_uri = resolve(main, {"data": (tmp_path / "here" / "a b.csv").as_uri()}, tmp_path)
        assert by_uri.declared == resolved.declared

    def test_a_default_is_looked_for_in_the_project_first_then_at_the_caller(self, tmp_path: Path) -> None:
        for name in ("caller/data.csv", "caller/only.csv", "project/data.csv"):
            (tmp_path / name).parent.mkdir(exist_ok=True)
            (tmp_path / name).touch()
        main = entry_point(Parameter("a", "path", "data.csv"), Parameter("b", "path", "only.csv"))
        resolved = resolve(main, {}, tmp_path / "caller", tmp_path / "project")
        assert resolved.declared == {
            "a": str(tmp_path / "project" / "data.csv"),
            "b": str(tmp_path / "caller" / "only.csv"),
        }

    def test_remote_paths_are_fetched_only_when_asked(self, tmp_path: Path) -> None:
        main = entry_point(Parameter("a"), Parameter("data", "path"))
        resolved = resolve(main, {"a": "1", "data": "s3://bucket/key.csv"}, tmp_path)
        assert resolved.remote == {"data": "s3://bucket/key.csv"}
        assert list(tmp_path.iterdir()) == []

        def fetch(uri: str, directory: Path) -> Path:
            assert uri == "s3://bucket/key.csv"
            (directory / "key.csv").write_text("x")
            return directory / "key.csv"

        local = resolved.localize(fetch, tmp_path / "storage")
        assert local.declared == {"a": "1", "data": str(tmp_path / "storage" / "param_1" / "key.csv")}
        assert (local.remote, local.logged) == ({}, {"a": "1", "data": "s3://bucket/key.csv"})

    def test_a_name_too_long_for_a_file_is_a_missing_file(self, tmp_path: Path) -> None:
        with pytest.raises(ParameterError, match="does not exist"):
            resolve(entry_point(Parameter("data", "path")), {"data": "x" * 100_000}, tmp_path)


def test_what_is_recorded_fits_the_protocol_and_names_the_rest(tmp_path: Path) -> None:
    resolved = resolve(entry_point(Parameter("text")), {"text": "x" * 1_000_000, "odd": "\udcff"}, tmp_path)
    assert resolved.declared["text"] == "x" * 1_000_000
    assert len(resolved.logged["text"]) == LOGGED_LIMIT
    assert "[1000000 characters, sha256 " in resolved.logged["text"]
    assert resolved.logged["odd"] == "?"
