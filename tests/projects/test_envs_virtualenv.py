from __future__ import annotations

import concurrent.futures
import json
import os
import queue
import re
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from mlgate_projects import procfs
from mlgate_projects.envs import EnvOptions, Prepared, environment_for, inherited_variables
from mlgate_projects.envs.cache import Cache
from mlgate_projects.errors import BuildCancelled, EnvironmentBuildError, EnvironmentUnavailable
from mlgate_projects.process import Outcome, ProcessRequest, Stream
from mlgate_projects.spec import ExternalSpec, SystemSpec, VirtualenvSpec
from mlgate_projects.testing import project_dir
from tests.support.receiver import wait_until
from tests.support.wheels import HANGING, index, wheel

__all__ = ["index"]

OWN = ".".join(map(str, sys.version_info[:3]))


@pytest.fixture
def options(tmp_path: Path) -> EnvOptions:
    (tmp_path / "project").mkdir()
    return EnvOptions(tmp_path / "envs", tmp_path / "project")


def spec(*dependencies: str, **more: Any) -> VirtualenvSpec:
    return VirtualenvSpec(file="python_env.yaml", python=OWN, dependencies=dependencies, **more)


def prepare(wanted: VirtualenvSpec, options: EnvOptions) -> Prepared:
    return environment_for("virtualenv").prepare(wanted, options, lambda _: None)


def run(
    prepared: Prepared, command: str, env: Mapping[str, str] | None = None, cwd: Path = Path("/")
) -> tuple[Outcome, str]:
    said: list[bytes] = []

    def on_output(stream: Stream, text: bytes) -> None:
        said.append(text)

    request = ProcessRequest((), cwd, inherited_variables(prepared.kind, os.environ) if env is None else env)
    environment = environment_for(prepared.kind)
    outcome = environment.run(prepared, command, request, on_output, threading.Event(), lambda _: None)
    return outcome, b"".join(said).decode()


def versions(prepared: Prepared) -> dict[str, str]:
    return {package.name: package.version for package in prepared.packages}


def test_an_environment_is_made_once_and_its_python_comes_first(index: Path, options: EnvOptions) -> None:
    environment = environment_for("virtualenv")
    key = environment.key(spec("alpha<2"), options)
    assert key.hit is False
    first, second = prepare(spec("alpha<2"), options), prepare(spec("alpha<2"), options)
    assert (first.reused, second.reused) == (False, True)
    assert environment.key(spec("alpha<2"), options) == type(key)("virtualenv", first.digest, True, key.description)
    assert (versions(first)["alpha"], versions(first)["beta"]) == ("1.0", "1.0")
    assert first.python_version == OWN
    outcome, said = run(
        first, "python -c 'import alpha, beta, sys; print(alpha.VERSION, sys.prefix)'; command -v alpha-command"
    )
    assert outcome.ok, said
    assert said.split() == ["1.0", first.location, f"{first.location}/bin/alpha-command"]


def test_only_what_changes_the_environment_changes_its_key(index: Path, options: EnvOptions) -> None:
    environment = environment_for("virtualenv")
    (options.project_directory / "r.txt").write_text("alpha\n")

    def digest(wanted: VirtualenvSpec, **more: Any) -> str:
        return environment.key(wanted, EnvOptions(options.cache_root, options.project_directory, **more)).digest

    base = digest(spec("alpha"))
    assert digest(spec("-r r.txt")) == base
    assert digest(spec("alpha"), offline=True) == base
    assert digest(spec("alpha==1.0")) != base
    assert digest(spec("alpha"), index_policy=("--exclude-newer", "2024-01-01")) != base
    (options.project_directory / "r.txt").write_text("alpha\nbeta\n")
    assert digest(spec("-r r.txt")) != base


def test_pip_and_what_old_packages_count_on_are_there(index: Path, options: EnvOptions) -> None:
    there = versions(prepare(spec("alpha"), options))
    assert "pip" in there
    assert ("setuptools" in there) == (sys.version_info < (3, 12))


def test_build_dependencies_and_constraints_are_honoured(index: Path, options: EnvOptions) -> None:
    (options.project_directory / "limits.txt").write_text("alpha<2\n")
    there = versions(prepare(spec("alpha", "-c limits.txt", build_dependencies=("pip==25.0",)), options))
    assert (there["alpha"], there["pip"]) == ("1.0", "25.0")


def test_what_does_not_resolve_is_explained_in_one_line_and_leaves_nothing(index: Path, options: EnvOptions) -> None:
    with pytest.raises(EnvironmentBuildError, match=r"resolving python_env.yaml: .*gamma") as failure:
        prepare(spec("gamma"), options)
    assert "\n" not in str(failure.value)
    assert failure.value.output
    assert Cache(options.cache_root).entries() == []


def test_a_missing_patch_version_is_a_warning_or_refused(
    index: Path, options: EnvOptions, monkeypatch: pytest.MonkeyPatch
) -> None:
    wanted = VirtualenvSpec("python_env.yaml", python=f"{sys.version_info[0]}.{sys.version_info[1]}.99")
    prepared = prepare(wanted, options)
    assert re.match(rf"python {wanted.python} is not on this machine: using ", prepared.warnings[0])
    strict = EnvOptions(options.cache_root, options.project_directory, strict_python=True)
    monkeypatch.setenv("UV_PYTHON_INSTALL_MIRROR", f"file://{options.cache_root}/nothing")
    with pytest.raises(EnvironmentUnavailable, match=r"no python exactly .* \(downloading it: .*\)"):
        prepare(wanted, strict)
    monkeypatch.setenv("UV_PYTHON_DOWNLOADS", "never")
    with pytest.raises(EnvironmentUnavailable, match=r"install it or change `python:`$"):
        prepare(wanted, strict)


def test_the_lock_has_hashes_and_a_wrong_one_is_refused(index: Path, options: EnvOptions) -> None:
    prepared = prepare(spec("alpha"), options)
    lock = Path(prepared.location, prepared.extra["lock"]).read_text()
    assert re.search(r"^alpha==2.0 \\\n    --hash=sha256:[0-9a-f]{64}", lock, re.MULTILINE)
    path = environment_lock(spec("alpha"), options)
    path.write_text(re.sub(r"sha256:....", "sha256:0000", path.read_text()))
    with pytest.raises(EnvironmentBuildError, match=r"(?i)hash mismatch"):
        prepare(spec("alpha"), options)


def environment_lock(wanted: VirtualenvSpec, options: EnvOptions) -> Path:
    environment: Any = environment_for("virtualenv")
    path = environment.lock(wanted, options, lambda _: None)
    assert isinstance(path, Path)
    return path


def test_a_lock_in_the_project_is_replayed_and_drift_is_refused(index: Path, options: EnvOptions) -> None:
    locked = EnvOptions(options.cache_root, options.project_directory, locked=True)
    with pytest.raises(EnvironmentUnavailable, match="there is no lock for it; write one with `mlgate env lock`"):
        prepare(spec("alpha"), locked)
    assert environment_lock(spec("alpha"), options) == options.project_directory / "python_env.lock"
    wheel(index, "alpha", "3.0", "beta")
    assert versions(prepare(spec("alpha"), locked))["alpha"] == "2.0"
    with pytest.raises(EnvironmentUnavailable, match="was made for other requirements"):
        prepare(spec("alpha", "beta"), locked)
    assert "it is left out" in prepare(spec("alpha", "beta"), options).warnings[0]


def test_a_collected_environment_is_built_again_from_what_it_was_resolved_to(index: Path, options: EnvOptions) -> None:
    first = prepare(spec("alpha"), options)
    run(first, "true")
    wheel(index, "alpha", "3.0", "beta")
    assert len(Cache(options.cache_root).gc()) == 1
    again = prepare(spec("alpha"), EnvOptions(options.cache_root, options.project_directory, locked=True))
    assert not again.reused
    assert (versions(again)["alpha"], again.lock_digest) == ("2.0", first.lock_digest)


def test_callers_variables_do_not_leak_into_the_step(
    index: Path, options: EnvOptions, monkeypatch: pytest.MonkeyPatch
) -> None:
    leaks = {
        "PYTHONHOME": "/nowhere", "PYTHONPATH": "/nowhere", "VIRTUAL_ENV": "/v", "CONDA_PREFIX": "/c",
        "UV_CACHE_DIR": os.environ["UV_CACHE_DIR"],
        "AIRFLOW__CORE__FERNET_KEY": "k", "PREFECT_API_KEY": "k",
    }  # fmt: skip
    for name, value in leaks.items():
        monkeypatch.setenv(name, value)
    monkeypatch.setenv("KEPT", "yes")
    prepared = prepare(spec("alpha"), options)
    outcome, said = run(prepared, 'python -c "import os, json; print(json.dumps(dict(os.environ)))"')
    assert outcome.ok, said
    seen = json.loads(said)
    assert seen["KEPT"] == "yes"
    assert seen["VIRTUAL_ENV"] == prepared.location
    assert not {*leaks} - {"VIRTUAL_ENV"} & {*seen}
    assert "PYTHONHOME" not in seen


def test_the_requests_own_python_path_is_kept(index: Path, options: EnvOptions, tmp_path: Path) -> None:
    (tmp_path / "kit").mkdir()
    (tmp_path / "kit/given.py").write_text("")
    env = {"PATH": os.environ["PATH"], "PYTHONPATH": str(tmp_path / "kit")}
    assert run(prepare(spec("alpha"), options), "python -c 'import given'", env)[0].ok


def test_neither_engines_nor_mlgate_are_in_it(index: Path, options: EnvOptions) -> None:
    code = "import importlib.util as u; print([n for n in ('mlgate', 'airflow', 'prefect', 'click') if u.find_spec(n)])"
    assert run(prepare(spec("alpha"), options), f'python -c "{code}"', cwd=options.project_directory)[1] == "[]\n"


def test_a_local_package_is_installed_anew_when_its_code_changes(index: Path, options: EnvOptions) -> None:
    local = options.project_directory / "local"
    local.mkdir()
    (local / "pyproject.toml").write_text(
        '[build-system]\nrequires = []\nbuild-backend = "backend"\nbackend-path = ["."]\n'
        '[project]\nname = "local"\nversion = "1"\n'
    )
    (local / "backend.py").write_text(BACKEND)
    for text in ("first", "second"):
        (local / "local.py").write_text(f"TEXT = {text!r}\n")
        prepared = prepare(spec("alpha", "./local"), options)
        assert not prepared.reused
        assert run(prepared, "python -c 'import local, alpha; print(local.TEXT)'")[1] == f"{text}\n"


BACKEND = """
import zipfile
from pathlib import Path
def build_wheel(directory, config_settings=None, metadata_directory=None):
    name, about = "local-1-py3-none-any.whl", "local-1.dist-info"
    files = {"local.py": Path("local.py").read_text(),
             f"{about}/METADATA": "Metadata-Version: 2.1\\nName: local\\nVersion: 1\\n",
             f"{about}/WHEEL": "Wheel-Version: 1.0\\nRoot-Is-Purelib: true\\nTag: py3-none-any\\n"}
    with zipfile.ZipFile(f"{directory}/{name}", "w") as archive:
        for path, text in files.items():
            archive.writestr(path, text)
        archive.writestr(f"{about}/RECORD", "".join(f"{path},,\\n" for path in files))
    return name
"""


def test_an_environment_that_went_meanwhile_is_told(index: Path, options: EnvOptions) -> None:
    prepared = prepare(spec(), options)
    Path(prepared.location).rename(f"{prepared.location}-gone")
    with pytest.raises(EnvironmentUnavailable, match="was removed meanwhile"):
        run(prepared, "true")


RACER = """
import sys
from pathlib import Path
from mlgate_projects.envs import EnvOptions, environment_for
from mlgate_projects.spec import VirtualenvSpec
root = Path(sys.argv[1])
wanted = VirtualenvSpec("python_env.yaml", dependencies=("alpha",))
prepared = environment_for("virtualenv").prepare(wanted, EnvOptions(root / "envs", root), lambda line: None)
print("reused" if prepared.reused else "built", prepared.location, flush=True)
"""


def racer(tmp_path: Path) -> subprocess.Popen[str]:
    return subprocess.Popen([sys.executable, "-c", RACER, str(tmp_path)], stdout=subprocess.PIPE, text=True)


def test_eight_processes_make_one_environment(index: Path, tmp_path: Path) -> None:
    racers = [racer(tmp_path) for _ in range(8)]
    said = [one.communicate(timeout=120)[0].splitlines()[-1] for one in racers]
    assert sorted(line.split()[0] for line in said) == ["built"] + ["reused"] * 7
    assert len({line.split()[1] for line in said}) == 1


def test_a_build_that_is_cancelled_ends_with_all_its_processes(index: Path, options: EnvOptions) -> None:
    """Its compiler ignores TERM; somebody else waits for the same environment and gives up, too."""
    project_dir(options.project_directory, HANGING)
    started = options.project_directory / "hanging"
    wanted, cancel = VirtualenvSpec("python_env.yaml", dependencies=("./hang",)), threading.Event()
    asked, said = replace(options, cancel=cancel), queue.SimpleQueue[str]()

    def build() -> None:
        environment_for("virtualenv").prepare(wanted, asked, said.put)

    with concurrent.futures.ThreadPoolExecutor(2) as pool:
        building = pool.submit(build)
        try:
            wait_until(started.exists, 60)
            waiting = pool.submit(build)
            while "waiting for another" not in said.get(timeout=60):
                pass
        finally:
            cancel.set()
        for future in (building, waiting):
            with pytest.raises(BuildCancelled):
                future.result(30)
    compiler = procfs.process(int(started.read_text()))
    assert compiler is None or compiler.ended
    assert list((options.cache_root / "virtualenv").glob("*-????????")) == []


def test_builds_killed_at_any_moment_are_done_again(index: Path, tmp_path: Path) -> None:
    for moment in (0.05, 0.1, 0.15, 0.2, 0.25, 0.3, 0.35, 0.4, 0.45, 0.5):
        killed = racer(tmp_path)
        time.sleep(moment)
        killed.send_signal(signal.SIGKILL)
        killed.communicate()
    location = racer(tmp_path).communicate(timeout=120)[0].splitlines()[-1].split()[1]
    assert subprocess.run([f"{location}/bin/python", "-c", "import alpha, beta"], check=False).returncode == 0
    Cache(tmp_path / "envs").gc(unused_for=3600)
    assert [path.name for path in (tmp_path / "envs/virtualenv").glob("*-????????")] == [Path(location).name]


def test_an_external_interpreter_is_used_as_it_is(index: Path, options: EnvOptions) -> None:
    built = prepare(spec("alpha==1.0"), options)
    environment = environment_for("external")
    prepared = environment.prepare(ExternalSpec(Path(str(built.python))), options, lambda _: None)
    assert versions(prepared) == versions(built)
    assert prepared.digest == environment.key(ExternalSpec(Path(str(built.python))), options).digest
    assert run(prepared, "python -c 'import alpha; print(alpha.VERSION)'")[1] == "1.0\n"
    for wrong in ("/no/such/python", "/etc/passwd", "/bin/true"):
        with pytest.raises(EnvironmentUnavailable, match=f"--python {wrong}: "):
            environment.prepare(ExternalSpec(Path(wrong)), options, lambda _: None)


def test_the_system_environment_is_whatever_is_on_the_path(options: EnvOptions) -> None:
    environment = environment_for("local")
    prepared = environment.prepare(SystemSpec(), options, lambda _: None)
    assert (prepared.kind, prepared.reused, environment.key(SystemSpec(), options).hit) == ("system", True, True)
    assert run(prepared, "echo $FROM_CALLER", {"PATH": os.environ["PATH"], "FROM_CALLER": "x"})[1] == "x\n"
    assert environment.tracking_host(prepared) == "127.0.0.1"


def test_an_unknown_kind_names_the_known_ones() -> None:
    with pytest.raises(EnvironmentUnavailable, match="kind 'nix'; known are conda, docker, external, local"):
        environment_for("nix")
