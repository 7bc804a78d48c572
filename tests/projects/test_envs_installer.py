from __future__ import annotations

import os
from pathlib import Path

import pytest

from mlgate_projects.envs import Package
from mlgate_projects.envs.installed import canonical_name, installed_packages, with_python_first
from mlgate_projects.envs.installer import builder_variables, run_uv, uv_path
from mlgate_projects.errors import EnvironmentBuildError


@pytest.fixture
def home(tmp_path: Path) -> dict[str, str]:
    return {"HOME": str(tmp_path), "PATH": os.environ["PATH"], "PIP_CONFIG_FILE": str(tmp_path / "pip.conf")}


def test_pips_settings_are_uvs_where_it_has_none(home: dict[str, str], tmp_path: Path) -> None:
    (tmp_path / "pip.conf").write_text(
        "[global]\nindex-url = https://i.example/simple\nfind-links =\n    /wheels\n    /more\n[install]\npre = true\n"
    )
    env = builder_variables({**home, "PIP_EXTRA_INDEX_URL": "https://a.example https://b.example"})
    assert env["UV_DEFAULT_INDEX"] == "https://i.example/simple"
    assert env["UV_FIND_LINKS"] == "/wheels,/more"
    assert env["UV_INDEX"] == "https://a.example https://b.example"
    assert env["UV_INDEX_STRATEGY"] == "unsafe-best-match"
    assert env["UV_PRERELEASE"] == "allow"


def test_uvs_own_settings_win(home: dict[str, str], tmp_path: Path) -> None:
    (tmp_path / "pip.conf").write_text("[global]\nindex-url = https://pip.example/simple\n")
    assert "UV_DEFAULT_INDEX" not in builder_variables({**home, "UV_INDEX_URL": "https://uv.example/simple"})


def test_a_variable_wins_over_a_file_and_the_file_can_be_switched_off(home: dict[str, str], tmp_path: Path) -> None:
    (tmp_path / "pip.conf").write_text("[global]\nindex-url = https://file.example\n")
    assert builder_variables({**home, "PIP_INDEX_URL": "https://v.example"})["UV_DEFAULT_INDEX"] == "https://v.example"
    assert "UV_DEFAULT_INDEX" not in builder_variables({**home, "PIP_CONFIG_FILE": os.devnull})


def test_the_builder_is_not_led_to_another_environment(home: dict[str, str]) -> None:
    leaking = {"VIRTUAL_ENV": "/v", "CONDA_PREFIX": "/c", "PYTHONPATH": "/p", "PYTHONHOME": "/h", "UV_PYTHON": "3.8"}
    assert not set(leaking) & set(builder_variables(home | leaking))
    assert builder_variables(home | {"SSL_CERT_FILE": "/ca"})["SSL_CERT_FILE"] == "/ca"


def test_what_uv_says_comes_as_one_line_without_credentials(tmp_path: Path) -> None:
    told: list[str] = []
    with pytest.raises(EnvironmentBuildError) as failure:
        run_uv(
            ["pip", "install", "--python", str(tmp_path / "none"), "--index-url", "http://u:pass-word@[::1]:1/", "six"],
            cwd=tmp_path,
            progress=told.append,
            what="installing",
            environ={**os.environ, "UV_DEFAULT_INDEX": "http://u:pass-word@127.0.0.1:1/"},
        )
    assert str(failure.value).startswith("installing: ")
    assert "\n" not in str(failure.value)
    assert "pass-word" not in failure.value.output
    assert told


def test_uv_answers_on_standard_output(tmp_path: Path) -> None:
    assert run_uv(["--version"], cwd=tmp_path, progress=lambda _: None, what="x").startswith("uv ")
    assert Path(uv_path()).is_file()


def test_packages_are_read_from_their_files(tmp_path: Path) -> None:
    for name, metadata in (
        ("scikit_learn-1.3.0.dist-info", "Metadata-Version: 2.1\nName: scikit-learn\nVersion: 1.3.0\n\nName: no\n"),
        ("old-0.1.dist-info", None),
        ("egg-2.0-py3.11.egg-info", None),
        ("numpy", None),
    ):
        (tmp_path / name).mkdir()
        if metadata:
            (tmp_path / name / "METADATA").write_text(metadata)
    assert installed_packages([tmp_path, tmp_path / "missing"]) == (
        Package("egg", "2.0"),
        Package("old", "0.1"),
        Package("scikit-learn", "1.3.0"),
    )


def test_the_earlier_directory_wins(tmp_path: Path) -> None:
    (tmp_path / "a/x-1.dist-info").mkdir(parents=True)
    (tmp_path / "b/X-2.dist-info").mkdir(parents=True)
    assert installed_packages([tmp_path / "a", tmp_path / "b"]) == (Package("x", "1"),)


def test_names_are_compared_in_their_canonical_form() -> None:
    assert canonical_name("Ruamel.YAML__clib") == "ruamel-yaml-clib"


def test_activation_puts_the_environment_first(tmp_path: Path) -> None:
    env = with_python_first({"PATH": "/usr/bin", "X": "1"}, tmp_path / "bin", tmp_path)
    assert env == {"PATH": f"{tmp_path}/bin:/usr/bin", "VIRTUAL_ENV": str(tmp_path), "X": "1"}
