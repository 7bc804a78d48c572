"""One small project in every kind of environment, and Docker steps that end in every way a step can."""

from __future__ import annotations

import hashlib
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from mlgate.api import run_project
from mlgate_tracking.entities import Run, RunStatus
from tests.support.cli import RUN, all_runs, artifact_text, get_run, mlgate, run_json
from tests.support.conda_channel import channel
from tests.support.docker_engine import base_image
from tests.support.wheels import index

__all__ = ["index"]

SCRIPT = """
import json, os, statistics, sys, urllib.request
values = [float(value) ** 2 for value in sys.argv[1:]]
body = {"run_id": os.environ["MLFLOW_RUN_ID"], "key": "mean", "value": statistics.mean(values), "timestamp": 1}
request = urllib.request.Request(
    os.environ["MLFLOW_TRACKING_URI"] + "/api/2.0/mlflow/runs/log-metric", json.dumps(body).encode(),
    {"Content-Type": "application/json", "Authorization": "Bearer " + os.environ["MLFLOW_TRACKING_TOKEN"]})
urllib.request.urlopen(request)
with open(os.environ["MLGATE_OUTPUTS"], "a") as outputs:
    print(json.dumps({"python": sys.prefix}), file=outputs)
open("written.txt", "w").close()
"""
PYTHON = f"{sys.version_info[0]}.{sys.version_info[1]}"


@pytest.fixture
def engine() -> Iterator[Any]:
    """The Docker engine; whatever a test did, no container of ours may be left."""
    base_image()
    from mlgate_projects.envs.container import connect

    client = connect()
    yield client
    assert client.containers(all=True, filters={"label": "mlgate"}) == []
    client.close()


@pytest.fixture
def project(tmp_path: Path) -> Path:
    folder = tmp_path / "project"
    folder.mkdir()
    (folder / "main.py").write_text(SCRIPT)
    return folder


def docker_project(folder: Path, command: str) -> Path:
    (folder / "MLproject").write_text(
        f"name: x\ndocker_env: {{image: '{base_image()}'}}\nentry_points:\n  main:\n    command: |\n      {command}\n"
    )
    return folder


def tags(run: Run) -> dict[str, str]:
    return {tag.key: tag.value for tag in run.data.tags}


def only_run() -> Run:
    (run,) = all_runs()
    return run


@pytest.mark.docker
@pytest.mark.conda
def test_three_kinds_of_environment_give_one_result(project: Path, index: Path, engine: Any) -> None:
    (project / "MLproject").write_text(
        "name: three\nentry_points:\n"
        "  in_virtualenv: {command: python main.py 1 2 3, environment: {python_env: python_env.yaml}}\n"
        "  in_conda: {command: python main.py 1 2 3, environment: {conda_env: conda.yaml}}\n"
        f"  in_docker: {{command: python main.py 1 2 3, environment: {{docker_env: {{image: '{base_image()}'}}}}}}\n"
    )
    (project / "python_env.yaml").write_text(f"python: '{PYTHON}'\ndependencies: [alpha]\n")
    (project / "conda.yaml").write_text(
        f"channels: ['{channel()}']\ndependencies: [python={PYTHON}, pip, greeting, {{pip: [alpha]}}]\n"
    )
    digests = {}
    for kind in ("virtualenv", "conda", "docker"):
        for expected_reuse in (False, True):
            started = time.monotonic()
            result = run_json(project, "-e", f"in_{kind}")
            assert result["metrics"]["mean"] == pytest.approx(14 / 3), result
            run = get_run(result["run_id"])
            about = tags(run)
            assert about["mlgate.env.kind"] == kind
            assert len(about["mlgate.env.lock"]) == 64
            assert digests.setdefault(kind, about["mlgate.env.digest"]) == about["mlgate.env.digest"]
            assert '"pip"' in artifact_text(run, "mlgate/environment.json")
            print(kind, "reused" if expected_reuse else "built", f"{time.monotonic() - started:.2f} s")
    assert len(set(digests.values())) == 3
    assert (project / "written.txt").stat().st_uid == os.geteuid()
    listed = {row["kind"] for row in __import__("json").loads(mlgate("env", "list", "--json").stdout)}
    assert listed == {"virtualenv", "conda", "docker"}


@pytest.mark.docker
def test_a_parameter_too_long_for_a_command_line_reaches_a_docker_step(project: Path, engine: Any) -> None:
    text = "it's $HOME " * 100_000
    (project / "main.py").write_text(
        "import hashlib, json, os, sys\n"
        "with open(os.environ['MLGATE_OUTPUTS'], 'a') as outputs:\n"
        "    told = {'sha256': hashlib.sha256(sys.argv[1].encode()).hexdigest(), 'rest': sys.argv[2:]}\n"
        "    print(json.dumps(told), file=outputs)\n"
    )
    (project / "MLproject").write_text(
        f"name: x\ndocker_env: {{image: '{base_image()}'}}\nentry_points:\n  main:\n"
        "    parameters: {text: string}\n    command: python main.py {text} after\n"
    )
    result = run_project(str(project), parameters={"text": text})
    assert result.outputs == {"sha256": hashlib.sha256(text.encode()).hexdigest(), "rest": ["after"]}


@pytest.mark.docker
def test_a_docker_step_as_another_user_writes_outputs_takes_long_parameters_and_is_logged(
    project: Path, engine: Any
) -> None:
    (project / "main.py").write_text(
        "import json, os, sys\n"
        "sys.path.insert(0, os.environ['PYTHONPATH'].split(os.pathsep)[0])\n"
        "from mlgate_tracking.kit import log\n"
        "log.write('told by somebody else')\n"
        "with open(os.environ['MLGATE_OUTPUTS'], 'a') as outputs:\n"
        "    print(json.dumps({'uid': os.getuid(), 'length': len(sys.argv[1])}), file=outputs)\n"
        "with open(os.path.join(os.environ['MLGATE_SPOOL'], 'x.spool'), 'w') as spool:\n"
        "    point = {'key': 'late', 'value': 0.5, 'timestamp': 1, 'step': 0}\n"
        "    print('m', os.environ['MLGATE_RUN_ID'], json.dumps(point), file=spool)\n"
    )
    (project / "MLproject").write_text(
        f"name: x\ndocker_env: {{image: '{base_image()}'}}\nentry_points:\n  main:\n"
        "    parameters: {text: string}\n    command: python main.py {text}\n"
    )
    result = run_json(project, "-A", "user=12345:12345", "-P", f"text={'long ' * 20_000}")
    assert result["outputs"] == {"uid": 12345, "length": 100_000}, result
    run = get_run(result["run_id"])
    assert run.metric("late") == 0.5
    assert "told by somebody else" in artifact_text(run, "mlgate/kit.log")


@pytest.mark.docker
def test_a_container_cannot_make_the_runner_hand_over_files_of_this_machine(
    project: Path, engine: Any, tmp_path: Path
) -> None:
    secret = tmp_path / "secret"
    secret.write_text('{"password": "open sesame"}\n')
    (project / "main.py").write_text(
        "import json, os, sys\n"
        "outputs, spool, secret = os.environ['MLGATE_OUTPUTS'], os.environ['MLGATE_SPOOL'], sys.argv[1]\n"
        "os.unlink(outputs)\n"
        "for link in (outputs, os.path.join(spool, 'kit.log'), os.path.join(spool, 'link.spool')):\n"
        "    os.symlink(secret, link)\n"
        "os.mkfifo(os.path.join(spool, 'pipe.spool'))\n"
        "with open(os.path.join(spool, 'x.spool'), 'w') as records:\n"
        "    print('a', os.environ['MLGATE_RUN_ID'], json.dumps({'path': 'stolen', 'file': secret}), file=records)\n"
    )
    (project / "MLproject").write_text(
        f"name: x\ndocker_env: {{image: '{base_image()}'}}\nentry_points:\n  main:\n"
        "    parameters: {secret: string}\n    command: python main.py {secret}\n"
    )
    result = run_json(project, "-P", f"secret={secret}")
    assert result["status"] == "FINISHED", result
    assert result["outputs"] == {}
    listed = mlgate("artifacts", "list", result["run_id"], "--json").stdout
    assert "stolen" not in listed
    assert "kit.log" not in listed
    assert secret.exists()


@pytest.mark.docker
def test_a_docker_step_that_fails_runs_out_of_time_or_memory_is_told_so(project: Path, engine: Any) -> None:
    for command, options, status, reason in (
        ("touch made; echo no such data >&2; exit 3", (), RunStatus.FAILED, "no such data"),
        ("sleep 60", ("--timeout", "1s"), RunStatus.KILLED, "ran out of time"),
        ("exec python -c \"x = b'x' * 400_000_000\"", ("-A", "memory=64m"), RunStatus.FAILED, "out of memory"),
    ):
        done = mlgate("run", docker_project(project, command), *options)
        assert done.returncode != 0, done.stderr
        run = max(all_runs(), key=lambda run: run.info.start_time)
        assert run.info.status is status
        assert reason in tags(run)["mlgate.reason"]
        assert engine.containers(all=True, filters={"label": "mlgate"}) == []
    assert (project / "made").stat().st_uid == os.geteuid()


@pytest.mark.docker
def test_ctrl_c_ends_a_docker_step_and_its_run_is_killed(project: Path, engine: Any) -> None:
    runner = start(docker_project(project, "trap '' TERM; echo up; while :; do sleep 0.2; done"))
    asked = time.monotonic()
    runner.send_signal(signal.SIGINT)
    runner.communicate(timeout=30)
    assert time.monotonic() - asked < 6
    assert only_run().info.status is RunStatus.KILLED


@pytest.mark.docker
def test_what_a_killed_runner_left_in_docker_is_reaped(project: Path, engine: Any) -> None:
    runner = start(docker_project(project, "echo up; sleep 60"))
    runner.kill()
    runner.communicate()
    assert len(engine.containers(filters={"label": "mlgate=step"})) == 1
    assert only_run().info.status is RunStatus.RUNNING
    done = mlgate("reap")
    assert done.returncode == 0, done.stderr
    assert only_run().info.status is RunStatus.KILLED
    assert engine.containers(all=True, filters={"label": "mlgate"}) == []


def start(project: Path) -> subprocess.Popen[str]:
    """`mlgate run` of a project whose first output is `up`, once it has said so."""
    runner = subprocess.Popen([*RUN, str(project)], stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
    assert runner.stdout is not None
    for line in runner.stdout:
        if line.strip() == "up":
            return runner
    raise AssertionError(f"the step did not start; exit code {runner.wait()}")
