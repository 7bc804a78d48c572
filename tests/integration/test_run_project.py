"""`run-project` does its whole job: what a user types, what is in the store afterwards."""

from __future__ import annotations

import hashlib
import json
import os
import re
import signal
import subprocess
import threading
import time
from pathlib import Path

import pytest

from mlgate_projects.testing import project_dir
from mlgate_tracking.entities import RunStatus
from tests.support.cli import RUN, all_runs, artifact_text, get_run, mlgate, run_json, run_project
from tests.support.git import git, git_http_server, make_repository
from tests.support.receiver import wait_until
from tests.support.wheels import HANGING, index

__all__ = ["index"]

SYSTEM = ("--env-manager", "system")

GREETER = {
    "MLproject": """\
        name: greeter
        entry_points:
          main:
            parameters:
              name: {type: string, default: world}
              times: {type: int, default: 1}
            command: python greet.py {name} {times}
        """,
    "greet.py": """\
        import json, os, sys
        for _ in range(int(sys.argv[2])):
            print("hello", sys.argv[1])
        print("a warning", file=sys.stderr)
        with open(os.environ["MLGATE_OUTPUTS"], "a") as outputs:
            print(json.dumps({"letters": len(sys.argv[1]), "who": sys.argv[1]}), file=outputs)
        """,
}


@pytest.fixture
def greeter(tmp_path: Path) -> Path:
    return project_dir(tmp_path / "greeter", GREETER)


def script_project(tmp_path: Path, script: str) -> Path:
    """A project with one script and no MLproject file."""
    return project_dir(tmp_path / "script", {"main.py": script})


# --- the ordinary run -----------------------------------------------------------------------------------------------


def test_a_run_holds_everything_about_the_step(greeter: Path) -> None:
    done = run_project(greeter, *SYSTEM, "-P", "name=you", "--experiment-name", "greetings", "--run-name", "first")
    assert done.returncode == 0, done.stderr
    assert "hello you\n" in done.stdout
    [run] = all_runs()
    assert f"Run ID: {run.info.run_id}" in done.stdout
    assert f"mlgate runs show {run.info.run_id[:8]}" in done.stdout
    assert (run.info.status, run.info.run_name) == (RunStatus.FINISHED, "first")
    assert {param.key: param.value for param in run.data.params} == {"name": "you", "times": "1"}
    tags = {tag.key: tag.value for tag in run.data.tags}
    assert tags["mlflow.source.type"] == "PROJECT"
    assert tags["mlflow.source.name"] == str(greeter)
    assert tags["mlflow.project.entryPoint"] == "main"
    assert tags["mlgate.command"] == "python greet.py you 1"
    assert tags["mlgate.env.kind"] == "system"
    assert tags["mlgate.engine"] == "local"
    assert tags["mlgate.attempt"] == "1"
    assert tags["mlgate.exit_code"] == "0"
    assert run.info.end_time is not None
    assert run.info.end_time >= run.info.start_time > 0
    assert run.metric("letters") == 3
    assert (run.metric("system/peak_memory_megabytes") or 0) > 1
    assert (run.metric("system/cpu_time_seconds") or 0) > 0
    assert artifact_text(run, "mlgate/stdout.log") == "hello you\n"
    assert artifact_text(run, "mlgate/stderr.log") == "a warning\n"
    assert json.loads(artifact_text(run, "mlgate/outputs.json")) == {"letters": 3, "who": "you"}


def test_json_prints_one_object_on_standard_output_and_all_else_on_standard_error(greeter: Path) -> None:
    done = run_project(greeter, *SYSTEM, "--json")
    result = json.loads(done.stdout)
    assert (result["status"], result["exit_code"], result["outputs"]["who"]) == ("FINISHED", 0, "world")
    assert "hello world" in done.stderr


def test_quiet_prints_what_the_step_prints_and_nothing_else(greeter: Path) -> None:
    done = run_project(greeter, *SYSTEM, "--quiet")
    assert (done.stdout, done.stderr) == ("hello world\n", "a warning\n")


def test_a_run_id_that_the_script_has_printed_is_not_printed_again(tmp_path: Path) -> None:
    """So that `run-project … | grep "Run ID:" | awk '{print $3}'` gives one id, whoever says it."""
    line = "echo Run ID: $MLFLOW_RUN_ID"
    project = project_dir(tmp_path / "p", {"MLproject": f"entry_points: {{main: {{command: '{line}'}}}}\n"})
    done = run_project(project, *SYSTEM)
    assert re.findall(r"Run ID: (\S+)", done.stdout) == [all_runs()[0].info.run_id]
    assert "FINISHED in" in done.stdout


def test_a_script_is_an_entry_point_and_extra_parameters_are_appended(tmp_path: Path) -> None:
    project = script_project(tmp_path, "import sys; print(sys.argv[1:])")
    done = run_project(project, *SYSTEM, "-e", "main.py", "-P", "alpha=a b", "--quiet")
    assert done.stdout == "['--alpha', 'a b']\n"


def test_the_exit_code_is_handed_on_and_the_last_line_of_stderr_is_the_reason(tmp_path: Path) -> None:
    project = script_project(tmp_path, "import sys; print('it broke', file=sys.stderr); sys.exit(7)")
    done = run_project(project, *SYSTEM, "-e", "main.py")
    assert done.returncode == 7
    [run] = all_runs()
    assert run.info.status is RunStatus.FAILED
    assert (run.tag("mlgate.exit_code"), run.tag("mlgate.reason")) == ("7", "it broke")


def test_a_step_that_takes_too_long_is_killed(tmp_path: Path) -> None:
    project = script_project(tmp_path, "import time; time.sleep(60)")
    done = run_project(project, *SYSTEM, "-e", "main.py", "--timeout", "0.5s")
    assert done.returncode == 124
    [run] = all_runs()
    assert run.info.status is RunStatus.KILLED
    assert "ran out of time" in (run.tag("mlgate.reason") or "")


def test_plan_prints_what_would_happen_and_changes_nothing(greeter: Path) -> None:
    done = run_project(greeter, "--plan", "-P", "times=2")
    assert done.returncode == 0, done.stderr
    assert "python greet.py world 2" in done.stdout
    assert "to be built" in done.stdout
    plan = json.loads(run_project(greeter, "--plan", "--json").stdout)
    assert plan["environment"]["kind"] == "virtualenv"
    assert plan["parameters"] == {"name": "world", "times": "1"}
    home = Path(os.environ["MLGATE_HOME"])
    assert [path.name for path in home.rglob("*") if path.is_file()] == ["interpreters.json"]  # a cache, nothing else


# --- git ------------------------------------------------------------------------------------------------------------


def test_a_git_project_runs_at_a_branch_tag_or_commit(tmp_path: Path) -> None:
    script = "ml/main.py"
    repo = make_repository(tmp_path / "repo", [{script: "print('one')"}, {script: "print('two')"}])
    first, second = git(repo, "rev-parse", "HEAD~1"), git(repo, "rev-parse", "HEAD")
    git(repo, "tag", "v1", first)
    git(repo, "branch", "next")
    git(repo, "reset", "-q", "--hard", first)
    uri = f"{repo.as_uri()}#ml"
    for version, expected, said in [
        ("v1", first, "one"),
        ("next", second, "two"),
        (second, second, "two"),
        (first[:10], first, "one"),
    ]:
        done = run_project(uri, *SYSTEM, "--version", version, "-e", "main.py", "--quiet")
        assert (done.returncode, done.stdout) == (0, f"{said}\n"), done.stderr
        assert all_runs()[0].tag("mlflow.source.git.commit") == expected
    assert {run.tag("mlflow.source.git.branch") for run in all_runs()} == {None, "next"}
    assert run_project(uri, *SYSTEM, "-e", "main.py", "--quiet").stdout == "one\n"


# --- values arrive unchanged ----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "value",
    [
        'it\'s "quoted"',
        "$(touch pwned) `touch pwned` ; touch pwned & | > pwned",
        "two\nlines\n",
        "{braces} {{doubled}} $HOME %s \\n",
        "",
        "snow ☃",
        "-rf",
        pytest.param("some 'quoted' text, $(pwd)\n" * 40_000, id="1 MB"),
    ],
)
def test_parameter_values_arrive_in_the_script_unchanged(tmp_path: Path, value: str) -> None:
    project = project_dir(
        tmp_path / "echo",
        {
            "MLproject": "entry_points: {main: {parameters: {v: string}, command: 'python echo.py {v}'}}",
            "echo.py": """\
                import hashlib, json, os, sys
                digest = hashlib.sha256(os.fsencode(sys.argv[1])).hexdigest()
                with open(os.environ["MLGATE_OUTPUTS"], "w") as outputs:
                    print(json.dumps({"count": len(sys.argv), "digest": digest}), file=outputs)
                """,
        },
    )
    if len(value) < 100_000:
        result = run_json(project, *SYSTEM, "-P", f"v={value}")
    else:
        # One argument of a command line holds 128 KiB at most, so a program hands a large value to the Python API.
        from mlgate import run_project as run_project_api

        result = {"outputs": run_project_api(str(project), parameters={"v": value}, env_manager="system").outputs}
    assert result["outputs"] == {"count": 2, "digest": hashlib.sha256(os.fsencode(value)).hexdigest()}
    assert not (project / "pwned").exists()


# --- bad input ------------------------------------------------------------------------------------------------------

BAD = {
    "no MLproject and no such script": ({}, [], "main"),
    "YAML that does not parse": ({"MLproject": "entry_points: [\n"}, [], "MLproject:"),
    "missing required parameter": (
        {"MLproject": "entry_points: {main: {parameters: {alpha: float}, command: 'echo {alpha}'}}"},
        [],
        "alpha",
    ),
    "value of the wrong type": (
        {"MLproject": "entry_points: {main: {parameters: {alpha: float}, command: 'echo {alpha}'}}"},
        ["-P", "alpha=abc"],
        "'abc' is not a float",
    ),
    "unknown entry point": ({"MLproject": "entry_points: {train: {command: 'true'}}"}, ["-e", "tran"], "train"),
    "environments that exclude each other": (
        {"MLproject": "python_env: a.yaml\nconda_env: b.yaml\n", "a.yaml": "{}", "b.yaml": "{}"},
        [],
        "conda_env",
    ),
    "missing environment file": ({"MLproject": "python_env: gone.yaml\n"}, [], "gone.yaml"),
    "unknown version": ({"MLproject": "name: x\n"}, ["--version", "v9"], "v9"),
}


@pytest.mark.parametrize(("files", "args", "says"), BAD.values(), ids=BAD.keys())
def test_bad_input_is_one_clear_line_and_leaves_nothing_behind(
    tmp_path: Path, files: dict[str, str], args: list[str], says: str
) -> None:
    project = project_dir(tmp_path / "project", files)
    done = run_project(project, *args)
    assert done.returncode == 2, done.stderr
    assert says in done.stderr
    errors = [line for line in done.stderr.splitlines() if line.startswith("error: ")]
    assert len(errors) == 1, done.stderr
    assert "Traceback" not in done.stderr
    assert done.stdout == ""
    assert all_runs() == []


@pytest.mark.parametrize(
    ("uri", "args", "says"),
    [
        ("file:///no/such/repository.git", [], "repository.git"),
        ("https://127.0.0.1:9/team/iris.git", [], "127.0.0.1:9"),
        ("{repo}#../outside", [], "../outside"),
        ("{repo}#nowhere", [], "nowhere"),
        ("{repo}", ["--version", "v9"], "v9"),
        ("ext::sh -c touch% pwned", [], "ext"),
    ],
)
def test_a_bad_source_is_one_clear_line_and_leaves_nothing_behind(
    tmp_path: Path, uri: str, args: list[str], says: str
) -> None:
    repo = make_repository(tmp_path / "repo", [{"main.py": "print(1)"}])
    done = run_project(uri.format(repo=repo.as_uri()), *SYSTEM, "-e", "main.py", *args, cwd=tmp_path)
    assert done.returncode == 2, done.stderr
    errors = [line for line in done.stderr.splitlines() if line.startswith("error: ")]
    assert len(errors) == 1
    assert says in errors[0]
    assert all_runs() == []
    assert not (tmp_path / "pwned").exists()


def test_several_mistakes_are_reported_in_one_go(tmp_path: Path) -> None:
    project = project_dir(
        tmp_path / "project",
        {"MLproject": "entry_points: {main: {parameters: {a: float, b: int, c: path}, command: 'echo {a} {b} {c}'}}"},
    )
    done = run_project(project, *SYSTEM, "-P", "a=x", "-P", "b=1.5")
    assert done.returncode == 2
    errors = [line for line in done.stderr.splitlines() if line.startswith("error: ")]
    assert len(errors) == 3


def test_options_that_exclude_each_other_are_refused(greeter: Path) -> None:
    done = run_project(greeter, "--experiment-name", "a", "--experiment-id", "1")
    assert done.returncode == 2
    assert "exclude each other" in done.stderr


# --- the end comes from outside -------------------------------------------------------------------------------------

STUBBORN = """\
    import os, signal, subprocess, sys, time
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    if len(sys.argv) < 3:
        subprocess.Popen([sys.executable, __file__, "child", "1"])
        subprocess.Popen([sys.executable, __file__, "child", "2"], start_new_session=True)
    os.write(1, b"%d\\n" % os.getpid())  # in one piece: three processes write to one pipe
    time.sleep(120)
    """


def start_stubborn(tmp_path: Path) -> tuple[subprocess.Popen[str], list[int]]:
    """`run-project` on a step that ignores TERM, with a child and one in a session of its own; and their pids."""
    project = script_project(tmp_path, STUBBORN)
    runner = subprocess.Popen(
        [*RUN, str(project), *SYSTEM, "-e", "main.py", "--quiet"], stdout=subprocess.PIPE, text=True
    )
    assert runner.stdout is not None
    return runner, [int(runner.stdout.readline()) for _ in range(3)]


def alive(pid: int) -> bool:
    try:
        return "\nState:\tZ" not in Path(f"/proc/{pid}/status").read_text()
    except OSError:
        return False


def test_ctrl_c_ends_the_whole_tree_and_the_run_is_killed(tmp_path: Path) -> None:
    runner, pids = start_stubborn(tmp_path)
    runner.send_signal(signal.SIGINT)
    runner.communicate(timeout=30)
    assert runner.returncode != 0
    assert [pid for pid in pids if alive(pid)] == []
    [run] = all_runs()
    assert run.info.status is RunStatus.KILLED
    assert run.tag("mlgate.reason") == "cancelled"
    assert artifact_text(run, "mlgate/stdout.log").split() == [str(pid) for pid in pids]


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_ends_a_fetch_from_a_server_that_does_not_answer(tmp_path: Path, number: signal.Signals) -> None:
    work = make_repository(tmp_path / "work", [{"main.py": "print(1)"}])
    (tmp_path / "served").mkdir()
    git(tmp_path, "clone", "-q", "--bare", str(work), "served/team.git")
    with git_http_server(tmp_path / "served", hold=threading.Event()) as (url, requests):
        argv = [*RUN, f"{url}/team.git", "-e", "main.py", *SYSTEM]
        process = subprocess.Popen(argv, stderr=subprocess.PIPE, text=True, start_new_session=True)
        assert requests.wait_for(3, 60)
        process.send_signal(number)
        _, said = process.communicate(timeout=20)
        wait_until(lambda: not [pid for pid in session(process.pid) if alive(pid)])  # the server still holds its answer
    assert process.returncode == 130, said
    assert said.endswith("interrupted\n")
    assert all_runs() == []


def session(leader: int) -> list[int]:
    """The processes of a session."""
    found = subprocess.run(["ps", "-eo", "pid=,sid="], capture_output=True, text=True, check=True).stdout.split()
    return [int(pid) for pid, sid in zip(found[::2], found[1::2], strict=True) if int(sid) == leader]


def test_under_nohup_a_lost_terminal_changes_nothing(tmp_path: Path) -> None:
    project = script_project(tmp_path, "import time; print('up', flush=True); time.sleep(1)")
    argv = ["nohup", *RUN, str(project), *SYSTEM, "-e", "main.py"]
    process = subprocess.Popen(argv, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True)
    assert process.stdout is not None
    assert process.stdout.readline() == "up\n"
    process.send_signal(signal.SIGHUP)
    said, _ = process.communicate(timeout=60)
    assert process.returncode == 0, said
    assert all_runs()[0].info.status is RunStatus.FINISHED


@pytest.mark.slow
def test_ctrl_c_ends_a_build_and_the_run_is_killed(tmp_path: Path, index: Path) -> None:
    files = {
        "MLproject": "python_env: env.yaml\nentry_points: {main: {command: 'true'}}\n",
        "env.yaml": "dependencies: [./hang]\n",
    }
    project = project_dir(tmp_path / "p", {**HANGING, **files})
    process = subprocess.Popen([*RUN, str(project)], stderr=subprocess.PIPE, text=True)
    wait_until((project / "hanging").exists, 60)
    process.send_signal(signal.SIGINT)
    _, said = process.communicate(timeout=30)
    assert process.returncode == 130, said
    assert not alive(int((project / "hanging").read_text()))
    [run] = all_runs()
    assert (run.info.status, run.tag("mlgate.exit_code")) == (RunStatus.KILLED, "130")
    assert run.tag("mlgate.reason") == "cancelled while the environment was made"


def test_reap_ends_what_a_killed_runner_left_and_closes_its_run(tmp_path: Path) -> None:
    runner, pids = start_stubborn(tmp_path)
    runner.kill()
    runner.communicate(timeout=30)
    assert [alive(pid) for pid in pids] == [True, True, True]
    assert [run.info.status for run in all_runs()] == [RunStatus.RUNNING]
    reaped = json.loads(mlgate("reap", "--json").stdout)
    assert [alive(pid) for pid in pids] == [False, False, False]
    [run] = all_runs()
    assert [entry["run_id"] for entry in reaped] == [run.info.run_id]
    assert run.info.status is RunStatus.KILLED
    assert artifact_text(run, "mlgate/stdout.log").split() == [str(pid) for pid in pids]
    assert json.loads(mlgate("reap", "--json").stdout) == []


def test_output_is_streamed_as_it_comes(tmp_path: Path) -> None:
    project = script_project(tmp_path, "import time; print('first'); time.sleep(20)")
    runner = subprocess.Popen(
        [*RUN, str(project), *SYSTEM, "-e", "main.py", "--quiet"], stdout=subprocess.PIPE, text=True
    )
    started = time.monotonic()
    assert runner.stdout is not None
    assert runner.stdout.readline() == "first\n"
    early = time.monotonic() - started < 15 and runner.poll() is None
    runner.send_signal(signal.SIGTERM)
    runner.communicate(timeout=30)
    assert early


# --- secrets --------------------------------------------------------------------------------------------------------


def test_secrets_are_masked_in_output_and_credentials_of_the_caller_stay_out(tmp_path: Path) -> None:
    project = script_project(
        tmp_path,
        """\
        import os
        print("password is", os.environ["DATABASE_PASSWORD"])
        print("token is", os.environ["MLFLOW_TRACKING_TOKEN"])
        print("leaked", [name for name in os.environ if name.startswith(("AIRFLOW", "PREFECT"))])
        """,
    )
    env = {"DATABASE_PASSWORD": "correct horse", "AIRFLOW__CORE__FERNET_KEY": "k", "PREFECT_API_KEY": "k"}
    done = run_project(project, *SYSTEM, "-e", "main.py", "--quiet", env=env)
    assert done.stdout.splitlines() == ["password is ***", "token is ***", "leaked []"]
    [run] = all_runs()
    assert artifact_text(run, "mlgate/stdout.log") == done.stdout


def test_runs_are_found_by_id(greeter: Path) -> None:
    run_id = run_json(greeter, *SYSTEM)["run_id"]
    assert get_run(run_id).info.run_id == run_id


def test_parameters_of_any_length_come_from_a_file(tmp_path: Path) -> None:
    script = "import hashlib, sys; print(hashlib.sha256(sys.argv[2].encode()).hexdigest(), sys.argv[3:])"
    project = script_project(tmp_path, script)
    text = "it's $(touch pwned) `x`\n" * 50_000
    values = tmp_path / "values.json"
    values.write_text(json.dumps({"text": text, "rate": 0.1, "depth": 3}))
    done = run_project(project, "-e", "main.py", *SYSTEM, "--param-file", values, "-P", "depth=5", "--quiet")
    assert done.returncode == 0, done.stderr
    assert done.stdout == f"{hashlib.sha256(text.encode()).hexdigest()} ['--rate', '0.1', '--depth', '5']\n"
    assert not (project / "pwned").exists()
    values.write_text("[1, 2]")
    refused = run_project(project, "-e", "main.py", "--param-file", values)
    assert refused.returncode == 2
    assert "must hold names and single values" in refused.stderr
