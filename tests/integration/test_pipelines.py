"""Pipelines as a user runs them: real processes, the real store, what is in it afterwards."""

from __future__ import annotations

import contextlib
import json
import os
import re
import signal
import subprocess
import time
from pathlib import Path
from typing import Any

import pytest

from mlgate_projects import procfs
from mlgate_projects.testing import project_dir
from mlgate_tracking.entities import Run, RunStatus
from tests.support.cli import RUN, all_runs, artifact_text, mlgate, run_json, run_project
from tests.support.git import git, make_repository
from tests.support.receiver import wait_until

PROJECT = {
    "MLproject": """\
        name: demo
        entry_points:
          write: {parameters: {text: string}, command: "python write.py {text}"}
          train: {parameters: {data: path, depth: int}, command: "python train.py {data} {depth}"}
          show: {parameters: {text: string}, command: "echo shown {text}"}
          flaky: {parameters: {file: string}, command: "python flaky.py {file}"}
        pipelines:
          retrain:
            parameters: {text: {type: string, default: hello}, fail: {type: string, default: "no"}}
            defaults: {environment: system, cache: true}
            steps:
              prepare:
                entry_point: write
                parameters: {text: "${{ params.text }}"}
                cache: {files: [write.py, log.py]}
              train:
                entry_point: train
                parameters: {data: "${{ steps.prepare.artifacts }}/data/text.txt", depth: "${{ matrix.depth }}"}
                matrix: {depth: [3, 8, 5]}
                select: {metric: accuracy}
                cache: {files: [train.py]}
              evaluate:
                entry_point: show
                parameters: {text: "best ${{ steps.train.outputs.depth }} of ${{ steps.train.run_id }}"}
                when: steps.train.metrics.accuracy > 0.5
                cache: {files: []}
              never: {entry_point: show, parameters: {text: x}, when: steps.train.metrics.accuracy > 100}
              behind: {entry_point: show, parameters: {text: x}, needs: never}
            finally:
              report: {entry_point: show, parameters: {text: "${{ run.status }}"}, cache: false}
        """,
    "log.py": """\
        import os, urllib.request

        def artifact(name, data):
            run = os.environ["MLFLOW_RUN_ID"]
            experiment = os.environ["MLFLOW_EXPERIMENT_ID"]
            server = os.environ["MLFLOW_TRACKING_URI"] + "/api/2.0/mlflow-artifacts/artifacts"
            url = f"{server}/{experiment}/{run}/artifacts/{name}"
            headers = {"Authorization": "Bearer " + os.environ["MLFLOW_TRACKING_TOKEN"]}
            urllib.request.urlopen(urllib.request.Request(url, data=data, method="PUT", headers=headers))
        """,
    "write.py": """\
        import sys, log
        log.artifact("data/text.txt", sys.argv[1].encode())
        """,
    "train.py": """\
        import json, os, sys
        text, depth = open(sys.argv[1]).read(), int(sys.argv[2])
        print("training on", text, "with", depth)
        with open(os.environ["MLGATE_OUTPUTS"], "a") as outputs:
            print(json.dumps({"accuracy": depth / 10, "depth": depth}), file=outputs)
        """,
    "flaky.py": """\
        import os, sys
        with open(sys.argv[1], "a") as file:
            file.write("x")
        sys.exit(0 if os.path.getsize(sys.argv[1]) >= 3 else 1)
        """,
}


@pytest.fixture
def project(tmp_path: Path) -> Path:
    return project_dir(tmp_path / "demo", PROJECT)


def pipeline(directory: Path | str, *args: str | Path) -> dict[str, Any]:
    return run_json(directory, "--pipeline", "retrain", *args)


def tags(run: Run) -> dict[str, str]:
    return {tag.key: tag.value for tag in run.data.tags}


def tree(run_id: str) -> dict[str, Run]:
    """Runs directly below a run, by step and index."""
    found = {}
    for run in all_runs():
        values = tags(run)
        if values.get("mlflow.parentRunId") == run_id:
            found[values["mlgate.step"] + (f"[{index}]" if (index := values.get("mlgate.map_index")) else "")] = run
    return found


def statuses(result: dict[str, Any]) -> dict[str, str]:
    return {name: state["outcome"] for name, state in result["steps"].items()}


ALL_RUN = {
    "prepare": "ran", "train": "ran", "evaluate": "ran", "never": "skipped", "behind": "skipped", "report": "ran",
}  # fmt: skip


def test_a_pipeline_leaves_a_tree_of_runs(project: Path) -> None:
    result = pipeline(project, "-P", "text=it's $(here)", "--jobs", "2")
    assert (result["status"], statuses(result)) == ("FINISHED", ALL_RUN)
    runs = tree(result["run_id"])
    assert set(runs) == {
        "prepare",
        "train[0]",
        "train[1]",
        "train[2]",
        "train",
        "evaluate",
        "never",
        "behind",
        "report",
    }
    assert all(run.info.status is RunStatus.FINISHED for run in runs.values())
    assert artifact_text(runs["train[1]"], "mlgate/stdout.log") == "training on it's $(here) with 8\n"
    assert tags(runs["train"])["mlgate.selected_run_id"] == runs["train[1]"].info.run_id
    assert {param.key: param.value for param in runs["train"].data.params} == {"depth": "8"}
    best = artifact_text(runs["evaluate"], "mlgate/stdout.log")
    assert best == f"shown best 8 of {runs['train[1]'].info.run_id}\n"
    assert artifact_text(runs["report"], "mlgate/stdout.log") == "shown FINISHED\n"
    assert tags(runs["never"])["mlgate.reason"] == "when: steps.train.metrics.accuracy > 100"
    assert tags(runs["behind"])["mlgate.reason"] == "needs never, which was skipped"
    [whole] = [run for run in all_runs() if run.info.run_id == result["run_id"]]
    assert whole.info.status is RunStatus.FINISHED
    assert {param.key: param.value for param in whole.data.params} == {"text": "it's $(here)", "fail": "no"}
    assert json.loads(artifact_text(whole, "mlgate/plan.json"))["pipeline"] == "retrain"


@pytest.mark.slow
def test_what_has_not_changed_is_not_run_again(project: Path) -> None:
    first = pipeline(project)
    again = pipeline(project)
    runs, before = tree(again["run_id"]), tree(first["run_id"])
    for name in ("prepare", "train[0]", "train[1]", "train[2]", "evaluate"):
        assert tags(runs[name])["mlgate.outcome"] == "cached"
        assert tags(runs[name])["mlgate.cached_from"] == before[name].info.run_id
        assert runs[name].info.status is RunStatus.FINISHED
    assert runs["train[1]"].metric("accuracy") == 0.8
    assert tags(runs["report"])["mlgate.outcome"] == "ran"

    (project / "train.py").write_text((project / "train.py").read_text() + "# changed\n")
    explained = mlgate("cache", "explain", "train", project, "-p", "retrain").stdout
    assert explained.count("file train.py: changed") == 3
    assert explained.count("would run") == 3
    assert "in the cache" in mlgate("cache", "explain", "prepare", project, "-p", "retrain").stdout
    changed = tree(pipeline(project)["run_id"])
    ran = {name for name, run in changed.items() if tags(run)["mlgate.outcome"] == "ran"}
    assert ran == {"train[0]", "train[1]", "train[2]", "evaluate", "report"}

    nothing_cached = tree(pipeline(project, "--no-cache")["run_id"])
    assert not [run for run in nothing_cached.values() if tags(run).get("mlgate.outcome") == "cached"]
    other = tree(pipeline(project, "-P", "text=other")["run_id"])
    assert not [run for run in other.values() if tags(run).get("mlgate.outcome") == "cached"]


@pytest.mark.slow
def test_a_deleted_run_is_no_longer_used(project: Path) -> None:
    from mlgate.settings import load_settings
    from mlgate_tracking.client import connect

    first = tree(pipeline(project)["run_id"])
    with connect(load_settings().tracking_uri) as store:
        store.delete_run(first["prepare"].info.run_id)
    again = tree(pipeline(project)["run_id"])
    assert tags(again["prepare"])["mlgate.outcome"] == "ran"


@pytest.mark.slow
def test_the_plan_says_what_will_happen_and_does_nothing(project: Path) -> None:
    done = run_project(project, "--pipeline", "retrain", "--plan")
    assert done.returncode == 0, done.stderr
    assert "matrix: 3 settings of depth" in done.stdout
    assert "cache: miss" in done.stdout
    assert "environment: " in done.stdout
    assert all_runs() == []
    assert not (Path(os.environ["MLGATE_HOME"]) / "mlgate.db").exists()
    pipeline(project)
    planned = json.loads(run_project(project, "--pipeline", "retrain", "--plan", "--json").stdout)
    assert {name: one["cached"] for name, one in planned["forecasts"].items()} == {
        "prepare": "hit", "train": "hit", "evaluate": "hit", "never": "miss", "report": "",
        "behind": "unknown before the steps it needs have run",
    }  # fmt: skip
    graph = run_project(project, "--pipeline", "retrain", "--graph", "mermaid").stdout
    assert graph.startswith("flowchart TD\n")
    assert "s_prepare --> s_train" in graph


FAILING = """\
name: failing
entry_points:
  ok: {command: "echo fine"}
  bad: {parameters: {file: string}, command: "test -e {file}"}
pipelines:
  retrain:
    defaults: {environment: system}
    steps:
      first: {entry_point: ok}
      broken: {entry_point: bad, parameters: {file: fixed}, needs: first}
      behind: {entry_point: ok, needs: broken}
      beside: {entry_point: ok, needs: first, env: {A: b}}
      beside2: {entry_point: ok, needs: beside}
    finally:
      always: {entry_point: ok}
"""


@pytest.mark.slow
def test_a_failure_stops_what_needs_it_and_resume_runs_the_rest(tmp_path: Path) -> None:
    project = project_dir(tmp_path / "p", {"MLproject": FAILING})
    done = run_project(project, "--pipeline", "retrain", "--keep-going")
    assert done.returncode == 1
    assert "[behind] not run: needs broken, which did not succeed" in done.stderr
    [whole] = [run for run in all_runs() if tags(run).get("mlgate.kind") == "pipeline"]
    run_id = whole.info.run_id
    assert f"--resume {run_id}" in done.stdout
    assert whole.info.status is RunStatus.FAILED
    assert set(tree(run_id)) == {"first", "broken", "beside", "beside2", "always"}
    assert tree(run_id)["broken"].info.status is RunStatus.FAILED

    (project / "fixed").touch()
    result = pipeline(project, "--resume", run_id)
    assert result["run_id"] == run_id
    ran = {name for name, how in statuses(result).items() if how == "ran"}
    assert ran == {"broken", "behind", "always"}
    runs = tree(run_id)
    assert {name: tags(run)["mlgate.attempt"] for name, run in runs.items()} == {
        "first": "1", "broken": "2", "behind": "1", "beside": "1", "beside2": "1", "always": "2",
    }  # fmt: skip
    assert all(run.info.status is RunStatus.FINISHED for run in runs.values())


@pytest.mark.slow
def test_from_and_only_take_the_rest_over(project: Path) -> None:
    first = pipeline(project)
    partial = pipeline(project, "--from", "evaluate", "--no-cache")
    assert statuses(partial)["evaluate"] == "ran"
    runs = tree(partial["run_id"])
    assert tags(runs["prepare"])["mlgate.outcome"] == "reused"
    assert tags(runs["train[1]"])["mlgate.cached_from"] == tree(first["run_id"])["train[1]"].info.run_id
    alone = pipeline(project, "--only", "train", "--no-cache", "--resume", first["run_id"])
    assert {name for name, how in statuses(alone).items() if how == "ran"} == {"train"}


def test_partial_runs_need_something_to_go_on_from(project: Path) -> None:
    nothing = run_project(project, "--pipeline", "retrain", "--from", "train")
    assert (nothing.returncode, nothing.stderr.count("\n")) == (2, 1)
    assert "has not run yet" in nothing.stderr
    unknown = run_project(project, "--pipeline", "retrain", "--only", "nope")
    assert "no step 'nope' in pipeline retrain; known: prepare, train" in unknown.stderr
    assert all_runs() == []


@pytest.mark.slow
def test_retries_wait_and_reopen_the_same_run(tmp_path: Path) -> None:
    text = PROJECT["MLproject"].split("pipelines:")[0] + (
        "pipelines:\n          retrain:\n            steps:\n              flaky:\n"
        "                {entry_point: flaky, parameters: {file: count}, environment: system,"
        " retries: {count: 3, delay: 0.1, backoff: 2}}\n"
    )
    project = project_dir(tmp_path / "p", {**PROJECT, "MLproject": text})
    result = pipeline(project)
    assert result["status"] == "FINISHED"
    assert (project / "count").read_text() == "xxx"
    assert tags(tree(result["run_id"])["flaky"])["mlgate.attempt"] == "3"


SLOW = """\
name: slow
entry_points:
  quick: {parameters: {name: string}, command: "echo {name} >> done.txt"}
  wait: {parameters: {name: string}, command: "python wait.py {name}"}
pipelines:
  retrain:
    defaults: {environment: system}
    steps:
      a: {entry_point: quick, parameters: {name: a}}
      b: {entry_point: quick, parameters: {name: b}, needs: a}
      c: {entry_point: wait, parameters: {name: c}, needs: b}
      d: {entry_point: wait, parameters: {name: d}, needs: b}
      e: {entry_point: quick, parameters: {name: e}, needs: [c, d]}
"""
WAIT = """\
import os, signal, sys, time
signal.signal(signal.SIGTERM, signal.SIG_IGN)
open(f"started.{sys.argv[1]}", "w").write(str(os.getpid()))
while not os.path.exists("go"):
    time.sleep(0.02)
open("done.txt", "a").write(sys.argv[1] + "\\n")
"""


def start(project: Path, *args: str) -> subprocess.Popen[str]:
    """Start the slow pipeline and wait until both slow steps run."""
    argv = [*RUN, str(project), "--pipeline", "retrain", "--jobs", "2", *args]
    process = subprocess.Popen(argv, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
    end = time.monotonic() + 60
    while not all((project / f"started.{name}").exists() for name in "cd"):
        assert process.poll() is None, process.communicate()
        assert time.monotonic() < end
        time.sleep(0.02)
    return process


def is_gone(project: Path, name: str) -> bool:
    """Whether the step's process has ended; once its runner is dead, init takes its exit status when init sees fit."""
    found = procfs.process(int((project / f"started.{name}").read_text()))
    return found is None or found.ended


@pytest.mark.slow
def test_ctrl_c_ends_all_steps(tmp_path: Path) -> None:
    project = project_dir(tmp_path / "p", {"MLproject": SLOW, "wait.py": WAIT})
    process = start(project)
    began = time.monotonic()
    process.send_signal(signal.SIGINT)
    process.communicate(timeout=30)
    assert time.monotonic() - began < 15
    assert process.returncode == 130
    assert is_gone(project, "c")
    assert is_gone(project, "d")
    [whole] = [run for run in all_runs() if tags(run).get("mlgate.kind") == "pipeline"]
    assert whole.info.status is RunStatus.KILLED
    below = {name: run.info.status for name, run in tree(whole.info.run_id).items()}
    assert below == {"a": "FINISHED", "b": "FINISHED", "c": "KILLED", "d": "KILLED"}


@pytest.mark.slow
def test_after_ctrl_c_finally_steps_run_until_the_next_one(tmp_path: Path) -> None:
    text = SLOW + "    finally:\n      clean: {entry_point: wait, environment: system, parameters: {name: f}}\n"
    project = project_dir(tmp_path / "p", {"MLproject": text, "wait.py": WAIT})
    process = start(project)
    process.send_signal(signal.SIGINT)
    wait_until((project / "started.f").exists)
    assert is_gone(project, "c")
    assert process.poll() is None
    began = time.monotonic()
    process.send_signal(signal.SIGINT)
    output, _ = process.communicate(timeout=30)
    assert time.monotonic() - began < 15
    assert "steps under finally still run" in output
    assert process.returncode == 130
    assert is_gone(project, "f")

    for name in "cdf":
        (project / f"started.{name}").unlink()
    process = start(project)
    process.send_signal(signal.SIGTERM)
    wait_until((project / "started.f").exists)
    (project / "go").touch()
    output, _ = process.communicate(timeout=30)
    assert process.returncode == 130, output
    assert (project / "done.txt").read_text().split()[-1] == "f"


@pytest.mark.slow
def test_a_killed_runner_is_resumed_without_running_anything_twice(tmp_path: Path) -> None:
    project = project_dir(tmp_path / "p", {"MLproject": SLOW, "wait.py": WAIT})
    process = start(project)
    process.kill()
    process.communicate(timeout=30)
    [whole] = [run for run in all_runs() if tags(run).get("mlgate.kind") == "pipeline"]
    assert whole.info.status is RunStatus.RUNNING
    assert mlgate("reap").returncode == 0
    assert is_gone(project, "c")
    [whole] = [run for run in all_runs() if tags(run).get("mlgate.kind") == "pipeline"]
    assert whole.info.status is RunStatus.KILLED

    (project / "go").touch()
    result = pipeline(project, "--resume", whole.info.run_id)
    assert result["status"] == "FINISHED"
    assert sorted((project / "done.txt").read_text().split()) == ["a", "b", "c", "d", "e"]
    runs = tree(whole.info.run_id)
    assert {name: tags(run)["mlgate.attempt"] for name, run in runs.items()} == {
        "a": "1", "b": "1", "c": "2", "d": "2", "e": "1",
    }  # fmt: skip


@pytest.mark.slow
def test_from_a_git_url_with_one_command(tmp_path: Path) -> None:
    work = make_repository(tmp_path / "work", [PROJECT])
    git(tmp_path, "clone", "-q", "--bare", str(work), "demo.git")
    url = (tmp_path / "demo.git").as_uri()
    first = pipeline(url, "--version", "main")
    assert first["commit"] == git(work, "rev-parse", "HEAD")
    assert {tags(run).get("mlflow.source.git.commit") for run in tree(first["run_id"]).values()} == {first["commit"]}
    # The same files from a directory: the cache does not care where they come from.
    local = tree(pipeline(work)["run_id"])
    assert tags(local["prepare"])["mlgate.outcome"] == "cached"


@pytest.mark.parametrize("name", ["circle", "matrix_too_large", "unknown_references"])
def test_mistakes_end_with_2_and_leave_nothing(name: str) -> None:
    directory = Path(__file__).parents[1] / "samples" / "bad_pipelines" / name
    done = run_project(directory, "--pipeline", "retrain")
    assert done.returncode == 2
    expected = (directory / "expected.txt").read_text().splitlines()
    assert [line.removeprefix("error: ") for line in done.stderr.splitlines() if line.startswith("error: ")] == expected
    assert all_runs() == []


def test_validate_lists_every_mistake_with_its_column() -> None:
    samples = Path(__file__).parents[1] / "samples"
    done = mlgate("validate", samples / "bad_pipelines" / "unknown_references")
    assert done.returncode == 2
    assert (
        "error: MLproject:13:11: pipelines.retrain.steps.a.env.A: ${{ params.q }}: the pipeline has no" in done.stdout
    )
    assert "6 mistakes, 0 warnings" in done.stderr
    bad = mlgate("validate", samples / "bad" / "many_mistakes", "--json")
    assert len(json.loads(bad.stdout)["mistakes"]) == 10
    odd = mlgate("validate", samples / "odd" / "unknown_keys")
    assert odd.returncode == 0
    assert "0 mistakes, 11 warnings" in odd.stderr
    assert mlgate("validate", samples / "odd" / "unknown_keys", "--strict").returncode == 2


def test_the_python_api_returns_typed_results(project: Path) -> None:
    import mlgate as api
    from mlgate.errors import PipelineFailed

    result = api.run_pipeline(str(project), "retrain", {"text": 7}, jobs=2)
    assert result.ok
    assert result.steps["train"].chosen is not None
    assert result.steps["train"].chosen.metrics["accuracy"] == 0.8
    failing = project_dir(project.parent / "failing", {"MLproject": FAILING})
    with pytest.raises(PipelineFailed) as caught:
        api.run_pipeline(str(failing), "retrain")
    assert caught.value.result.steps["broken"].status == "FAILED"


@pytest.mark.slow
def test_on_a_terminal_the_steps_are_a_live_tree(tmp_path: Path) -> None:
    """Standard error is a terminal here: the tree is drawn there, with output above it and a summary at the end."""
    project = project_dir(tmp_path / "p", {"MLproject": FAILING, "fixed": ""})
    ours, theirs = os.openpty()
    env = {**os.environ, "TERM": "xterm", "COLUMNS": "100", "LINES": "40"}
    process = subprocess.Popen(
        [*RUN, str(project), "--pipeline", "retrain"], stdout=subprocess.PIPE, stderr=theirs, env=env, text=True
    )
    os.close(theirs)
    drawn = b""
    with contextlib.suppress(OSError):  # how Linux says that the other end is closed
        while piece := os.read(ours, 65536):
            drawn += piece
    os.close(ours)
    stdout, _ = process.communicate(timeout=60)
    assert process.returncode == 0, drawn.decode()
    screen = re.sub(r"\x1b\[[0-9;?]*[A-Za-z]", "", drawn.decode())
    assert "✓ first" in screen
    assert "✓ beside2" in screen
    assert "[first] fine" in screen
    assert "6 finished" in stdout
