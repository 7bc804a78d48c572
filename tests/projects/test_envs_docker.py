from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from mlgate_projects import ledger
from mlgate_projects.envs import EnvOptions, Prepared, environment_for, remove_containers
from mlgate_projects.envs.docker_arguments import parse_docker_arguments
from mlgate_projects.errors import EnvironmentBuildError, EnvironmentUnavailable
from mlgate_projects.process import Outcome, ProcessRequest, Stop, Stream
from mlgate_projects.spec import DockerSpec
from tests.support.docker_engine import base_image


class Collector:
    def __init__(self) -> None:
        self.pieces: list[tuple[Stream, bytes]] = []

    def __call__(self, stream: Stream, piece: bytes) -> None:
        self.pieces.append((stream, piece))

    def text(self, stream: Stream = Stream.STDOUT) -> str:
        return b"".join(piece for which, piece in self.pieces if which is stream).decode()


@pytest.fixture(scope="session")
def image() -> str:
    return base_image()


@pytest.fixture
def client(image: str) -> Iterator[Any]:
    from mlgate_projects.envs.container import connect

    client = connect()
    yield client
    client.close()


@pytest.fixture
def project(tmp_path: Path) -> Path:
    (tmp_path / "project").mkdir()
    return tmp_path / "project"


@pytest.fixture(scope="session")
def cache_root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """One cache for all tests: what an image holds is looked up once."""
    return tmp_path_factory.mktemp("envs")


@pytest.fixture
def options(cache_root: Path, project: Path) -> EnvOptions:
    return EnvOptions(cache_root=cache_root, project_directory=project)


@pytest.fixture(autouse=True)
def _no_container_left_behind(request: pytest.FixtureRequest) -> Iterator[None]:
    engine = request.node.get_closest_marker("docker") is not None
    client = request.getfixturevalue("client") if engine else None
    yield
    if client is not None:
        assert client.containers(all=True, filters={"label": "mlgate"}) == []


def ready(spec: DockerSpec, options: EnvOptions) -> Prepared:
    return environment_for("docker").prepare(spec, options, lambda _: None)


def run(
    prepared: Prepared, project: Path, command: str, cancel: threading.Event | None = None, **more: Any
) -> tuple[Outcome, Collector]:
    collected = more.pop("collected", Collector())
    request = ProcessRequest((), project, more.pop("env", {}), **more)
    outcome = environment_for("docker").run(
        prepared, command, request, collected, cancel or threading.Event(), lambda _: None
    )
    return outcome, collected


@pytest.mark.parametrize(
    ("arguments", "key", "value"),
    [
        ({"memory": "512m"}, "Memory", 512 << 20),
        ({"m": "2g"}, "MemorySwap", 2 << 30),
        ({"cpus": "1.5"}, "NanoCpus", 1_500_000_000),
        ({"shm-size": "64M"}, "ShmSize", 64 << 20),
        ({"gpus": "all"}, "DeviceRequests", [{"Driver": "", "Capabilities": [["gpu"]], "Options": {}, "Count": -1}]),
        ({"cap-drop": ["ALL", "SYS_ADMIN"]}, "CapDrop", ["ALL", "SYS_ADMIN"]),
        ({"ulimit": "nofile=1024:2048"}, "Ulimits", [{"Name": "nofile", "Soft": 1024, "Hard": 2048}]),
        ({"privileged": True}, "Privileged", True),
    ],
)
def test_docker_arguments_become_the_engines_words(arguments: dict[str, object], key: str, value: object) -> None:
    assert parse_docker_arguments(arguments).host[key] == value


def test_a_gpu_request_names_a_count_or_devices() -> None:
    assert parse_docker_arguments({"gpus": "2"}).host["DeviceRequests"][0]["Count"] == 2
    assert parse_docker_arguments({"gpus": "device=0,1"}).host["DeviceRequests"][0]["DeviceIDs"] == ["0", "1"]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"memroy": "1g"}, "--docker-args memroy: not known here; known are .*memory"),
        ({"memory": "lots"}, "--docker-args memory: 'lots' is not a size"),
        ({"gpus": "some"}, "is no GPU request"),
    ],
)
def test_a_wrong_docker_argument_is_named(arguments: dict[str, object], message: str) -> None:
    with pytest.raises(EnvironmentUnavailable, match=message):
        parse_docker_arguments(arguments)


def test_without_an_engine_the_error_says_so(options: EnvOptions, monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("docker")
    monkeypatch.setenv("DOCKER_HOST", f"unix://{options.cache_root}/no.sock")
    with pytest.raises(EnvironmentUnavailable, match=r"no Docker engine answers .* start it, or set DOCKER_HOST"):
        ready(DockerSpec("python:3.11"), options)
    assert remove_containers("any") == 0


def test_what_is_wrong_in_docker_env_is_told_before_the_engine_is_asked(
    options: EnvOptions, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("DOCKER_HOST", "unix:///nowhere")
    with pytest.raises(EnvironmentUnavailable, match="'NOT_SET_HERE' is to be copied, but is not set here"):
        ready(DockerSpec("x", environment=(("NOT_SET_HERE", None),)), options)
    with pytest.raises(EnvironmentUnavailable, match="'data' is not HOST:CONTAINER"):
        ready(DockerSpec("x", volumes=("data",)), options)


@pytest.mark.docker
def test_a_step_runs_in_the_image_with_the_project_in_its_place(image: str, options: EnvOptions, project: Path) -> None:
    (project / "main.py").write_text("import os, sys; print(os.getcwd()); print('err', file=sys.stderr); sys.exit(3)")
    outcome, said = run(ready(DockerSpec(image), options), project, "python main.py")
    assert outcome.exit_code == 3
    assert outcome.container_id
    assert said.text() == f"{project}\n"
    assert said.text(Stream.STDERR) == "err\n"


@pytest.mark.docker
def test_the_image_is_recorded_with_its_packages_and_reused(image: str, project: Path, tmp_path: Path) -> None:
    options = EnvOptions(tmp_path / "envs", project)
    environment = environment_for("docker")
    assert environment.key(DockerSpec(image), options).hit is False
    first, second = ready(DockerSpec(image), options), ready(DockerSpec(image), options)
    assert (first.reused, second.reused) == (False, True)
    assert first.digest == second.digest == environment.key(DockerSpec(image), options).digest
    assert environment.key(DockerSpec(image), options).hit is True
    assert "pip" in {package.name for package in first.packages}
    assert first.python_version == ".".join(map(str, sys.version_info[:3]))
    assert first.extra["image_id"].startswith("sha256:")
    assert first.lock_digest == first.extra["image_id"].removeprefix("sha256:")


@pytest.mark.docker
def test_files_of_a_step_belong_to_the_caller(image: str) -> None:
    root = Path(tempfile.mkdtemp())
    try:
        root.chmod(0o755)
        prepared = ready(DockerSpec(image), EnvOptions(root / "envs", root))
        run(prepared, root, "true")  # so that everything is imported before this process gives up its rights
        uid = os.geteuid() or 12345
        os.chown(root, uid, -1)
        child = os.fork()
        if child == 0:
            if os.geteuid() == 0:
                os.setgroups([Path("/var/run/docker.sock").stat().st_gid])
                os.setgid(uid)
                os.setuid(uid)
            outcome, _ = run(prepared, root, "touch made && touch $HOME/also && [ $(id -u) = " + str(uid) + " ]")
            os._exit(outcome.exit_code)
        assert os.waitpid(child, 0)[1] == 0
        assert (root / "made").stat().st_uid == uid
    finally:
        shutil.rmtree(root)


@pytest.mark.docker
def test_a_container_sees_only_what_it_is_given(
    image: str, options: EnvOptions, project: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COPIED", "from outside")
    monkeypatch.setenv("SECRET_OF_THE_HOST", "hidden")
    spec = DockerSpec(image, environment=(("COPIED", None), ("SET", "a b")))
    outcome, said = run(ready(spec, options), project, "env", env={"GIVEN": "x"})
    names = {line.partition("=")[0] for line in said.text().splitlines()}
    assert outcome.ok
    assert {"COPIED", "SET", "GIVEN", "PATH", "HOME", "USER"} <= names
    assert "SECRET_OF_THE_HOST" not in names
    assert "SET=a b\n" in said.text()
    assert "COPIED=***\n" in said.text()  # copied by name: a secret, as likely as not


@pytest.mark.docker
def test_volumes_and_paths_are_mounted(image: str, options: EnvOptions, project: Path, tmp_path: Path) -> None:
    (project / "data").mkdir()
    (project / "data/in.csv").write_text("1,2\n")
    for name in ("outputs", "kit"):
        (tmp_path / name).mkdir()
    spec = DockerSpec(image, volumes=("./data:/input:ro",))
    command = f"cat /input/in.csv; touch {tmp_path}/outputs/x; touch /input/x; touch {tmp_path}/kit/x; true"
    outcome, said = run(
        ready(spec, options),
        project,
        command,
        paths=(tmp_path / "outputs", project / "data"),
        read_only_paths=(tmp_path / "kit",),
    )
    assert outcome.ok
    assert said.text() == "1,2\n"
    assert said.text(Stream.STDERR).count("Read-only file system") == 2
    assert (tmp_path / "outputs/x").exists()


@pytest.mark.docker
def test_a_step_that_is_cancelled_says_goodbye_and_goes(image: str, options: EnvOptions, project: Path) -> None:
    cancel, collected = threading.Event(), Collector()

    def on_output(stream: Stream, piece: bytes) -> None:
        collected(stream, piece)
        cancel.set()

    script = "trap 'echo goodbye; exit 7' TERM; echo ready; while :; do sleep 0.1; done"
    outcome, _ = run(ready(DockerSpec(image), options), project, script, cancel, collected=on_output)
    assert (outcome.stopped, outcome.exit_code) == (Stop.CANCELLED, 7)
    assert collected.text() == "ready\ngoodbye\n"


@pytest.mark.docker
def test_a_step_that_ignores_term_is_gone_in_less_than_five_seconds(
    image: str, options: EnvOptions, project: Path
) -> None:
    script = "trap '' TERM; (trap '' TERM; sleep 60) & while :; do sleep 1; done"
    outcome, _ = run(ready(DockerSpec(image), options), project, script, timeout=0.5)
    assert outcome.stopped is Stop.TIMEOUT
    assert outcome.exit_code == 128 + signal.SIGKILL
    assert outcome.ended - outcome.started < 0.5 + 1 + 5


@pytest.mark.docker
def test_running_out_of_memory_is_told(image: str, project: Path, cache_root: Path) -> None:
    options = EnvOptions(cache_root, project, extra={"docker_args": {"memory": "64m"}})
    outcome, _ = run(ready(DockerSpec(image), options), project, "exec python -c \"x = b'x' * 400_000_000\"")
    assert outcome.oom_killed
    assert outcome.exit_code == 137


@pytest.mark.docker
def test_a_lot_of_output_arrives_whole(image: str, options: EnvOptions, project: Path) -> None:
    size = 0

    def count(stream: Stream, piece: bytes) -> None:
        nonlocal size
        size += len(piece)

    script = "python -c \"import os\nfor i in range(1000): os.write(1, b'x' * 99999 + b'\\n')\""
    outcome, _ = run(ready(DockerSpec(image), options), project, script, collected=count)
    assert outcome.ok
    assert size == 100_000_000


@pytest.mark.docker
def test_memory_and_cpu_time_are_measured(image: str, options: EnvOptions, project: Path) -> None:
    script = "python -c \"import time; x = b'x' * 100_000_000\nwhile time.process_time() < 1.5: pass\""
    outcome, _ = run(ready(DockerSpec(image), options), project, script)
    assert outcome.peak_memory is not None
    assert outcome.cpu_time is not None
    assert outcome.peak_memory > 100_000_000
    assert 0.1 < outcome.cpu_time < 5  # as of the last look, which is not the end


@pytest.mark.docker
def test_a_command_that_is_not_in_the_image(image: str, options: EnvOptions, project: Path) -> None:
    assert run(ready(DockerSpec(image), options), project, "no-such-command")[0].exit_code == 127
    bad = EnvOptions(options.cache_root, project, extra={"docker_args": {"entrypoint": "/no/such/file"}})
    outcome, said = run(ready(DockerSpec(image), bad), project, "true")
    assert outcome.exit_code == 127
    assert "no such file" in said.text(Stream.STDERR).lower()


@pytest.mark.docker
def test_an_image_that_cannot_be_had(options: EnvOptions, client: Any) -> None:
    with pytest.raises(EnvironmentUnavailable, match="'mlgate-test/none:1' is not here and cannot be pulled"):
        ready(DockerSpec("mlgate-test/none:1"), options)
    with pytest.raises(EnvironmentUnavailable, match="offline nothing is pulled"):
        ready(DockerSpec("mlgate-test/none:1"), EnvOptions(options.cache_root, options.project_directory, offline=True))
    with pytest.raises(EnvironmentUnavailable, match="is not an image name"):
        ready(DockerSpec("Not A Name"), options)


@pytest.mark.docker
def test_a_dockerfile_is_built_once_for_its_content(
    image: str, options: EnvOptions, project: Path, client: Any
) -> None:
    (project / "Dockerfile").write_text(f"FROM {image}\nCOPY greeting /greeting\nENV BUILT=yes\n")
    (project / "greeting").write_text("hello")
    spec = DockerSpec("mlgate-test/built", dockerfile="Dockerfile")
    first = ready(spec, options)
    try:
        assert first.extra["image"].startswith("mlgate-test/built:")
        assert run(first, project, "cat /greeting; echo $BUILT")[1].text() == "helloyes\n"
        assert ready(spec, options).reused
        (project / "greeting").write_text("hi")
        second = ready(spec, options)
        assert (second.reused, second.digest == first.digest) == (False, False)
        assert run(second, project, "cat /greeting")[1].text() == "hi"
    finally:
        for found in client.images("mlgate-test/built", quiet=True):
            client.remove_image(found, force=True)


@pytest.mark.docker
def test_a_dockerfile_that_does_not_build_is_an_error_with_its_output(
    image: str, options: EnvOptions, project: Path, client: Any
) -> None:
    (project / "Dockerfile").write_text(f"FROM {image}\nRUN echo about to fail; exit 9\n")
    with pytest.raises(EnvironmentBuildError, match="returned a non-zero code: 9") as failure:
        ready(DockerSpec("mlgate-test/broken", dockerfile="Dockerfile"), options)
    assert "about to fail" in failure.value.output


@pytest.mark.docker
def test_the_project_can_be_baked_into_the_image(image: str, project: Path, tmp_path: Path, client: Any) -> None:
    (project / "code.py").write_text("print('baked')")
    (project / ".dockerignore").write_text("secret*\n")
    (project / "secret.txt").write_text("password")
    options = EnvOptions(tmp_path / "envs", project, extra={"build_image": True})
    prepared = ready(DockerSpec(image), options)
    try:
        (project / "code.py").write_text("print('changed since')")
        outcome, said = run(prepared, project, "python code.py; ls -A; pwd")
        assert outcome.ok
        assert said.text().splitlines() == ["baked", ".dockerignore", "code.py", "/mlflow/projects/code"]
    finally:
        client.remove_image(prepared.extra["image"], force=True)


@pytest.mark.docker
def test_a_server_of_the_runner_is_reached_from_inside(image: str, options: EnvOptions, project: Path) -> None:
    import http.server

    prepared = ready(DockerSpec(image), options)
    fetch = "python -c \"import os, urllib.request as u; print(u.urlopen(os.environ['MLFLOW_TRACKING_URI']).status)\""
    hosts = [environment_for("docker").tracking_host(prepared), "127.0.0.1"]
    for host in hosts:
        with http.server.HTTPServer((host, 0), http.server.SimpleHTTPRequestHandler) as server:
            thread = threading.Thread(target=server.handle_request, daemon=True)
            thread.start()
            uri = f"http://{host}:{server.server_address[1]}/"
            outcome, said = run(prepared, project, fetch, env={"MLFLOW_TRACKING_URI": uri})
            assert (outcome.exit_code, said.text()) == (0, "200\n"), said.text(Stream.STDERR)


KILLED = """
import sys, threading
from tests.projects.test_envs_docker import *
root, image = Path(sys.argv[1]), sys.argv[2]
options = EnvOptions(root / "envs", root / "project")
prepared = ready(DockerSpec(image), options)
with ledger.open_entry(root / "ledger", run_id="r", key="k", kind="docker") as entry:
    request = ProcessRequest((), root / "project", {}, token=entry.token)
    environment_for("docker").run(
        prepared, "echo up; sleep 60", request, lambda *_: print("up", flush=True), threading.Event(), entry.started
    )
"""


@pytest.mark.docker
def test_the_container_of_a_killed_runner_is_removed(image: str, project: Path, tmp_path: Path, client: Any) -> None:
    root = Path(__file__).parents[2]
    runner = subprocess.Popen(
        [sys.executable, "-c", KILLED, str(tmp_path), image],
        stdout=subprocess.PIPE,
        text=True,
        cwd=root,
        env={**os.environ, "PYTHONPATH": os.pathsep.join([str(root), *sys.path])},
    )
    assert runner.stdout is not None
    assert runner.stdout.readline() == "up\n"
    runner.kill()
    runner.communicate()
    assert len(client.containers(filters={"label": "mlgate=step"})) == 1
    started = time.monotonic()
    (reaped,) = ledger.reap(tmp_path / "ledger", remove_containers=remove_containers)
    assert (reaped.run_id, reaped.killed) == ("r", 1)
    assert time.monotonic() - started < 5


@pytest.mark.docker
def test_ctrl_c_removes_the_container(image: str, options: EnvOptions, project: Path) -> None:
    def on_output(stream: Stream, piece: bytes) -> None:
        os.kill(os.getpid(), signal.SIGINT)

    with pytest.raises(KeyboardInterrupt):
        run(ready(DockerSpec(image), options), project, "echo up; sleep 60", collected=on_output)


RACER = """
import sys
from pathlib import Path
from mlgate_projects.envs import EnvOptions, environment_for
from mlgate_projects.spec import DockerSpec
root = Path(sys.argv[1])
wanted = DockerSpec("mlgate-test/raced", dockerfile="Dockerfile")
options = EnvOptions(root / "envs", root / "project")
prepared = environment_for("docker").prepare(wanted, options, lambda line: None)
print("reused" if prepared.reused else "built", prepared.location, flush=True)
"""


def racer(tmp_path: Path) -> subprocess.Popen[str]:
    return subprocess.Popen([sys.executable, "-c", RACER, str(tmp_path)], stdout=subprocess.PIPE, text=True)


@pytest.fixture
def raced(image: str, project: Path, client: Any) -> Iterator[None]:
    (project / "Dockerfile").write_text(f"FROM {image}\nRUN sleep 0.3\nENV MADE={time.time()}\n")
    yield
    for found in client.images("mlgate-test/raced", quiet=True):
        client.remove_image(found, force=True)


@pytest.mark.docker
def test_eight_processes_build_one_image(raced: None, tmp_path: Path, client: Any) -> None:
    racers = [racer(tmp_path) for _ in range(8)]
    said = [one.communicate(timeout=120)[0].splitlines()[-1] for one in racers]
    assert sorted(line.split()[0] for line in said) == ["built"] + ["reused"] * 7
    assert len({line.split()[1] for line in said}) == 1
    assert len(client.images("mlgate-test/raced")) == 1


@pytest.mark.docker
def test_image_builds_killed_at_any_moment_are_done_again(raced: None, tmp_path: Path, client: Any) -> None:
    for moment in (0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.8, 1.0, 1.2, 1.4):
        killed = racer(tmp_path)
        time.sleep(moment)
        killed.send_signal(signal.SIGKILL)
        killed.communicate()
    said = racer(tmp_path).communicate(timeout=120)[0].splitlines()[-1]
    assert client.inspect_image(said.split()[1])["RepoTags"]
