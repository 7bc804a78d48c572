from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

from mlgate_projects.envs import EnvOptions, Prepared, environment_for
from mlgate_projects.envs.cache import Cache
from mlgate_projects.envs.conda import activated
from mlgate_projects.errors import EnvironmentBuildError, EnvironmentUnavailable, InvalidProject
from mlgate_projects.process import Outcome, ProcessRequest, Stream
from mlgate_projects.spec import CondaSpec
from tests.support.conda_channel import channel

PYTHON = f"python={sys.version_info[0]}.{sys.version_info[1]}"


@pytest.fixture(scope="session")
def channel_path() -> Path:
    return channel()


@pytest.fixture
def options(tmp_path: Path) -> EnvOptions:
    (tmp_path / "project").mkdir()
    return EnvOptions(tmp_path / "envs", tmp_path / "project")


def spec(channel_path: Path, *dependencies: str, **more: Any) -> CondaSpec:
    return CondaSpec("conda.yaml", channels=(str(channel_path), "nodefaults"), dependencies=dependencies, **more)


def prepare(wanted: CondaSpec, options: EnvOptions) -> Prepared:
    return environment_for("conda").prepare(wanted, options, lambda _: None)


def run(prepared: Prepared, command: str, env: Mapping[str, str] | None = None) -> tuple[Outcome, str]:
    said: list[bytes] = []

    def on_output(stream: Stream, text: bytes) -> None:
        said.append(text)

    request = ProcessRequest((), Path("/"), env or {"PATH": os.environ["PATH"]})
    outcome = environment_for("conda").run(prepared, command, request, on_output, threading.Event(), lambda _: None)
    return outcome, b"".join(said).decode()


def versions(prepared: Prepared) -> dict[str, str]:
    return {package.name: package.version for package in prepared.packages}


def test_activation_sets_path_prefix_and_variables(tmp_path: Path) -> None:
    (tmp_path / "conda-meta").mkdir()
    (tmp_path / "conda-meta/state").write_text(json.dumps({"env_vars": {"STATE": "1", "BOTH": "state"}}))
    (tmp_path / "etc/conda/env_vars.d").mkdir(parents=True)
    (tmp_path / "etc/conda/env_vars.d/a.json").write_text('{"FILE": "2"}')
    env = activated({"PATH": "/usr/bin", "KEPT": "k"}, tmp_path, {"BOTH": "project"})
    assert env["PATH"] == f"{tmp_path}/bin:/usr/bin"
    assert env["CONDA_PREFIX"] == str(tmp_path)
    assert (env["STATE"], env["FILE"], env["BOTH"], env["KEPT"]) == ("1", "2", "project", "k")


def test_channels_are_spelled_out_as_conda_does(options: EnvOptions, monkeypatch: pytest.MonkeyPatch) -> None:
    condarc = options.project_directory / ".condarc"
    condarc.write_text("default_channels: [https://mirror.example/main]\nchannels: [internal]\n")
    monkeypatch.setenv("CONDARC", str(condarc))
    monkeypatch.setenv("PATH", str(options.project_directory))
    tool = options.project_directory / "micromamba"
    tool.write_text("#!/bin/sh\n")
    tool.chmod(0o755)
    from mlgate_projects.envs.conda import _read

    def spelled(*names: str) -> tuple[str, ...]:
        return _read(CondaSpec("conda.yaml", channels=names), options).channels

    assert spelled("defaults", "nodefaults", "conda-forge") == ("https://mirror.example/main", "conda-forge")
    assert spelled("./channel") == (f"file://{options.project_directory}/channel",)
    assert spelled() == ("internal",)


def test_an_unknown_or_missing_tool_is_named(options: EnvOptions, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", "/nowhere")
    environment = environment_for("conda")
    for tool, message in (("pixi", "not known; choose one of"), ("mamba", "there is no mamba on PATH")):
        with pytest.raises(EnvironmentUnavailable, match=message):
            environment.key(
                CondaSpec("conda.yaml"),
                EnvOptions(options.cache_root, options.project_directory, extra={"conda_tool": tool}),
            )


def test_a_marker_in_a_conda_dependency_is_refused(options: EnvOptions) -> None:
    with pytest.raises(InvalidProject, match=r"conda.yaml: dependencies\[0\]: .*environment markers are pip's"):
        environment_for("conda").key(CondaSpec("conda.yaml", dependencies=("numpy; python_version<'3.9'",)), options)


@pytest.mark.conda
def test_an_environment_is_made_once_and_runs_activated(channel_path: Path, options: EnvOptions) -> None:
    wanted = spec(channel_path, PYTHON, "greeting<2", "activated", variables=(("MINE", "m"),))
    environment = environment_for("conda")
    assert environment.key(wanted, options).hit is False
    first, second = prepare(wanted, options), prepare(wanted, options)
    assert (first.reused, second.reused) == (False, True)
    assert environment.key(wanted, options).digest == first.digest
    assert versions(first)["greeting"] == "1.0"
    assert first.python_version == versions(first)["python"]
    code = "import greeting, os, sys; print(greeting.VERSION, sys.prefix, *map(os.environ.get, sys.argv[1:]))"
    outcome, said = run(first, f'python -c "{code}" ACTIVATED ACTIVATED_BY_FILE MINE CONDA_PREFIX')
    assert outcome.ok, said
    assert said.split() == ["1.0", first.location, "from", first.location, "yes", "m", first.location]


@pytest.mark.conda
@pytest.mark.parametrize(
    ("dependency", "version"),
    [
        ("greeting", "2.0"),
        ("greeting=1", "1.0"),
        ("greeting==1.0", "1.0"),
        ("greeting>=1,<2", "1.0"),
        ("greeting=2.0=py_0", "2.0"),
    ],
)
def test_versions_and_build_strings_are_read_as_conda_does(
    channel_path: Path, options: EnvOptions, dependency: str, version: str
) -> None:
    assert versions(prepare(spec(channel_path, dependency), options))["greeting"] == version


@pytest.mark.conda
def test_a_channel_can_be_named_for_one_package(channel_path: Path, options: EnvOptions) -> None:
    wanted = spec(channel_path, f"file://{channel_path}::greeting=1.0")
    assert versions(prepare(wanted, options))["greeting"] == "1.0"


@pytest.mark.conda
def test_what_cannot_be_solved_is_explained(channel_path: Path, options: EnvOptions) -> None:
    with pytest.raises(EnvironmentBuildError, match=r"conda.yaml: .*greeting.*9") as failure:
        prepare(spec(channel_path, "greeting>=9"), options)
    assert "\n" not in str(failure.value)
    with pytest.raises(EnvironmentBuildError, match=r"conda.yaml: .*no-such-channel"):
        prepare(CondaSpec("conda.yaml", channels=("/no-such-channel",), dependencies=("x",)), options)
    assert Cache(options.cache_root).entries() == []


@pytest.mark.conda
def test_the_pip_section_is_installed_over_what_conda_brought(channel_path: Path, options: EnvOptions) -> None:
    local = options.project_directory / "local"
    local.mkdir()
    (local / "pyproject.toml").write_text(
        '[build-system]\nrequires = []\nbuild-backend = "backend"\nbackend-path = ["."]\n'
        '[project]\nname = "local"\nversion = "3"\n'
    )
    (local / "backend.py").write_text(BACKEND)
    (options.project_directory / "more.txt").write_text("./local\n")
    prepared = prepare(spec(channel_path, PYTHON, "pip", "greeting", pip=("-r more.txt",)), options)
    assert versions(prepared)["local"] == "3"
    assert run(prepared, "python -c 'import local, greeting'")[0].ok


BACKEND = """
import zipfile
def build_wheel(directory, config_settings=None, metadata_directory=None):
    name = "local-3-py3-none-any.whl"
    files = {"local.py": "", "local-3.dist-info/METADATA": "Metadata-Version: 2.1\\nName: local\\nVersion: 3\\n",
             "local-3.dist-info/WHEEL": "Wheel-Version: 1.0\\nRoot-Is-Purelib: true\\nTag: py3-none-any\\n"}
    with zipfile.ZipFile(f"{directory}/{name}", "w") as archive:
        for path, text in files.items():
            archive.writestr(path, text)
        archive.writestr("local-3.dist-info/RECORD", "".join(f"{path},,\\n" for path in files))
    return name
"""


@pytest.mark.conda
def test_a_pip_section_without_python_is_refused(channel_path: Path, options: EnvOptions) -> None:
    with pytest.raises(EnvironmentBuildError, match="the pip: section needs python among the dependencies"):
        prepare(spec(channel_path, "activated", pip=("six",)), options)


@pytest.mark.conda
def test_a_collected_environment_is_made_again_from_its_lock_offline(channel_path: Path, options: EnvOptions) -> None:
    wanted = spec(channel_path, PYTHON, "greeting")
    script = (
        "import sys, json; from pathlib import Path\n"
        "from mlgate_projects.envs import *; from mlgate_projects.spec import *\n"
        "a = json.loads(sys.argv[1]); o = EnvOptions(Path(a['root']), Path(a['project']), **a['flags'])\n"
        "s = CondaSpec('conda.yaml', channels=(a['channel'],), dependencies=tuple(a['dependencies']))\n"
        "print(environment_for('conda').prepare(s, o, lambda _: None).lock_digest)"
    )

    def in_process(**flags: bool) -> str:
        arguments = {
            "root": str(options.cache_root), "project": str(options.project_directory), "flags": flags,
            "channel": str(channel_path), "dependencies": wanted.dependencies,
        }  # fmt: skip
        command = [sys.executable, "-c", script, json.dumps(arguments)]
        done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=120)
        assert done.returncode == 0, done.stderr
        return done.stdout

    first = in_process()
    assert len(Cache(options.cache_root).gc()) == 1
    assert in_process(locked=True, offline=True) == first


@pytest.mark.conda
def test_a_lock_in_the_project_is_replayed_and_drift_is_refused(channel_path: Path, options: EnvOptions) -> None:
    environment: Any = environment_for("conda")
    locked = EnvOptions(options.cache_root, options.project_directory, locked=True)
    with pytest.raises(EnvironmentUnavailable, match="there is no lock for it; write one with `mlgate env lock`"):
        prepare(spec(channel_path, "greeting"), locked)
    path = environment.lock(spec(channel_path, "greeting"), options, lambda _: None)
    assert path == options.project_directory / "conda.lock"
    assert versions(prepare(spec(channel_path, "greeting"), locked))["greeting"] == "2.0"
    with pytest.raises(EnvironmentUnavailable, match=r"conda\.lock was made for other requirements"):
        prepare(spec(channel_path, "greeting=1"), locked)
    drifted = prepare(spec(channel_path, "greeting=1"), options)
    assert versions(drifted)["greeting"] == "1.0"
    assert "it is left out" in drifted.warnings[0]


@pytest.mark.conda
def test_a_conda_on_the_path_is_used_on_request(
    channel_path: Path, options: EnvOptions, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    # No conda is to be had as a package, so a stand-in takes conda's arguments and makes the environment.
    (tmp_path / "bin").mkdir()
    tool = tmp_path / "bin/micromamba"
    tool.write_text(f"#!{sys.executable}\n{STAND_IN}")
    tool.chmod(0o755)
    monkeypatch.setenv("PATH", f"{tool.parent}:{os.environ['PATH']}")
    monkeypatch.setenv("STAND_IN_SAYS", str(tmp_path / "said"))
    asked = EnvOptions(options.cache_root, options.project_directory, extra={"conda_tool": "micromamba"})
    wanted = spec(channel_path, PYTHON, "greeting=1.0")
    prepared = prepare(wanted, asked)
    assert run(prepared, "python -c 'import greeting'")[0].ok
    assert prepared.extra["tool"] == "micromamba"
    said = (tmp_path / "said").read_text().split()
    assert said == ["create", "--yes", "--prefix", prepared.location, "--override-channels", "--channel",
                    f"file://{channel_path}", PYTHON, "greeting=1.0"]  # fmt: skip
    assert prepared.digest != prepare(wanted, options).digest
    lock = Path(prepared.location, "mlgate-lock.txt").read_text()
    assert lock.startswith("@EXPLICIT\n")
    assert "greeting-1.0-py_0.conda#" in lock


STAND_IN = """
import asyncio, os, sys
from pathlib import Path
from rattler import Channel, MatchSpec, VirtualPackage, install, solve
arguments = sys.argv[1:]
Path(os.environ["STAND_IN_SAYS"]).write_text(" ".join(arguments))
prefix = arguments[arguments.index("--prefix") + 1]
assert not os.path.exists(prefix)
channels = [Channel(b) for a, b in zip(arguments, arguments[1:]) if a == "--channel"]
specs = [MatchSpec(a) for a in arguments[1:] if not a.startswith("-") and a != prefix and "://" not in a]
async def main():
    await install(await solve(channels, specs, virtual_packages=VirtualPackage.detect()), prefix, show_progress=False)
asyncio.run(main())
os._exit(0)
"""


RACER = """
import json, sys
from pathlib import Path
from mlgate_projects.envs import EnvOptions, environment_for
from mlgate_projects.spec import CondaSpec
root, channel, python = Path(sys.argv[1]), sys.argv[2], sys.argv[3]
wanted = CondaSpec("conda.yaml", channels=(channel,), dependencies=(python, "greeting"))
options = EnvOptions(root / "envs", root)
prepared = environment_for("conda").prepare(wanted, options, lambda line: print(line, flush=True))
assert Path(prepared.location, "bin/python").exists()
print("reused" if prepared.reused else "built", prepared.location, flush=True)
"""


def racer(tmp_path: Path, channel_path: Path) -> subprocess.Popen[str]:
    command = [sys.executable, "-c", RACER, str(tmp_path), str(channel_path), PYTHON]
    return subprocess.Popen(command, stdout=subprocess.PIPE, text=True)


@pytest.mark.conda
def test_eight_processes_make_one_environment(channel_path: Path, tmp_path: Path) -> None:
    said = [
        racer.communicate(timeout=120)[0].splitlines()[-1]
        for racer in [racer(tmp_path, channel_path) for _ in range(8)]
    ]
    assert sorted(line.split()[0] for line in said) == ["built"] + ["reused"] * 7
    assert len({line.split()[1] for line in said}) == 1


@pytest.mark.conda
def test_builds_killed_at_any_moment_are_done_again(channel_path: Path, tmp_path: Path) -> None:
    for moment in (0.05, 0.2, 0.3, 0.35, 0.4, 0.45, 0.5, 0.6, 0.7, 0.9):
        killed = racer(tmp_path, channel_path)
        time.sleep(moment)
        killed.send_signal(signal.SIGKILL)
        killed.communicate()
    last = racer(tmp_path, channel_path).communicate(timeout=120)[0].splitlines()[-1].split()
    assert subprocess.run([f"{last[1]}/bin/python", "-c", "import greeting, ssl"], check=False).returncode == 0
    Cache(tmp_path / "envs").gc(unused_for=3600)
    assert [path.name for path in (tmp_path / "envs/conda").glob("*-????????")] == [Path(last[1]).name]
