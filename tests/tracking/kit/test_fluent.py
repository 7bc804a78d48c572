"""`import mlgate_tracking as tracking`: what a script logs is in the store, on every Python, whatever happens."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from mlgate_tracking import kit
from tests.support.environments import interpreter
from tests.tracking.kit.conftest import RunScript, Step

PYTHONS = ["3.8", "3.9", "3.10", "3.12", "3.13"]


@pytest.mark.parametrize("version", PYTHONS)
def test_the_short_calls_log_to_the_steps_run(run_script: RunScript, step: Step, version: str) -> None:
    child = run_script(
        """
        import mlgate_tracking as tracking
        with tracking.start_run(run_name="mine", tags={"team": "a"}) as run:
            tracking.log_params({"depth": 3, "name": "x y"})
            for i in range(1500):
                tracking.log_metric("loss", 1 / (i + 1), step=i)
            tracking.log_metrics({"a": 1, "nan": float("nan")}, step=7)
            tracking.set_tag("owner", "me")
            tracking.log_text("hello", "notes/a.txt")
            tracking.log_dict({"k": [1, None]}, "config.yaml")
            tracking.log_table({"x": [1], "y": ["a"]}, "t.json")
            tracking.log_table({"x": [2]}, "t.json")
            tracking.log_input([1, 2, 3], context="training")
            with tracking.start_run(nested=True, run_name="child"):
                tracking.log_metric("inner", 2)
        print(run.info.run_id)
        """,
        python=interpreter(version), env=step.env, options=("-W", "error"),
    )  # fmt: skip
    assert (child.exit_code, child.stdout, child.stderr) == (0, step.run_id + "\n", "")
    assert step.params == {"depth": "3", "name": "x y"}
    assert step.history("loss") == [(number, 1 / (number + 1)) for number in range(1500)]
    assert step.history("a") == [(7, 1.0)]
    assert (step.tags["team"], step.tags["owner"], step.run.info.run_name) == ("a", "me", "mine")
    assert step.file("notes/a.txt") == b"hello"
    assert step.file("config.yaml") == b"k:\n- 1\n- null\n"
    assert json.loads(step.file("t.json")) == {"columns": ["x", "y"], "data": [[1, "a"], [2, None]]}
    assert [each.dataset.name for each in step.run.inputs.dataset_inputs] == ["dataset"]
    (inner,) = step.children
    assert (inner.info.run_name, inner.metric("inner"), inner.info.status) == ("child", 2.0, "FINISHED")
    assert step.run.info.status == "RUNNING"  # the runner closes it
    assert list(step.spool.iterdir()) == []


def test_importing_it_loads_next_to_nothing(run_script: RunScript) -> None:
    child = run_script(
        """
        import sys
        before = set(sys.modules)
        import mlgate_tracking
        print(sorted(set(sys.modules) - before))
        """
    )
    assert child.stdout == "['mlgate_tracking']\n"


def test_a_second_run_of_a_step_is_a_run_of_its_own(run_script: RunScript, step: Step) -> None:
    child = run_script(
        """
        import mlgate_tracking as tracking
        for _ in range(2):
            with tracking.start_run() as run:
                tracking.log_metric("m", 1)
            print(run.info.run_id)
        """,
        env=step.env,
    )
    first, second = child.stdout.split()
    assert first == step.run_id
    assert step.store.get_run(second).info.status == "FINISHED"


def test_set_experiment_takes_the_steps_run_along(run_script: RunScript, step: Step) -> None:
    child = run_script(
        """
        import mlgate_tracking as tracking
        tracking.set_experiment("elsewhere")
        with tracking.start_run() as run:
            print(run.info.run_id, run.info.experiment_id)
        """,
        env=step.env,
    )
    experiment = step.store.get_experiment_by_name("elsewhere")
    assert experiment is not None
    assert child.stdout.split() == [step.run_id, experiment.experiment_id]
    assert step.run.info.experiment_id == experiment.experiment_id


def test_runs_end_as_their_block_ends(run_script: RunScript, step: Step) -> None:
    child = run_script(
        """
        import sys
        import mlgate_tracking as tracking
        tracking.start_run()
        for error in (ValueError("x"), KeyboardInterrupt(), SystemExit(0), SystemExit(3)):
            try:
                with tracking.start_run(nested=True):
                    raise error
            except BaseException:
                pass
        """,
        env=step.env,
    )
    assert (child.exit_code, child.stderr) == (0, "")
    assert sorted(run.info.status for run in step.children) == ["FAILED", "FAILED", "FINISHED", "KILLED"]


def test_threads_have_runs_of_their_own(run_script: RunScript, step: Step) -> None:
    run_script(
        """
        from concurrent.futures import ThreadPoolExecutor
        import mlgate_tracking as tracking
        def trial(number):
            with tracking.start_run(nested=True):
                for i in range(50):
                    tracking.log_metric("value", number, step=i)
        with tracking.start_run():
            with ThreadPoolExecutor(4) as pool:
                list(pool.map(trial, range(8)))
            tracking.log_metric("all", 8)
        """,
        env=step.env,
    )
    values = sorted(step.history("value", run.info.run_id)[-1][1] for run in step.children)
    assert values == list(range(8))
    assert all(len(step.history("value", run.info.run_id)) == 50 for run in step.children)
    assert step.metrics == {"all": 8.0}


def test_forked_children_log_to_the_same_run(run_script: RunScript, step: Step) -> None:
    run_script(
        """
        import os
        import mlgate_tracking as tracking
        with tracking.start_run():
            tracking.log_metric("parent", 1)
            for child in range(3):
                if os.fork() == 0:
                    tracking.log_metric("child", 1, step=child)
                    tracking.flush()
                    os._exit(0)
            for _ in range(3):
                os.wait()
        """,
        env=step.env,
    )
    assert [number for number, _ in sorted(step.history("child"))] == [0, 1, 2]
    assert step.history("parent") == [(0, 1.0)]


def test_a_param_that_changes_is_refused_where_it_is_changed(run_script: RunScript, step: Step) -> None:
    child = run_script(
        """
        import mlgate_tracking as tracking
        tracking.log_param("depth", 3)
        tracking.log_param("depth", 3)
        try:
            tracking.log_param("depth", 4)
        except tracking.TrackingError as error:
            print(error)
        """,
        env=step.env,
    )
    assert child.stdout == (
        f"param 'depth' of run {step.run_id} is '3' and cannot become '4'; params are written once\n"
    )
    assert step.params == {"depth": "3"}


def test_pictures_need_no_library(run_script: RunScript, step: Step, tmp_path: object) -> None:
    child = run_script(
        """
        import mlgate_tracking as tracking
        from mlgate_tracking.kit.data import _png
        with tracking.start_run():
            pixels = bytes(range(256)) * 3
            open("p.png", "wb").write(_png(pixels, 16, 16, 3))
            tracking.log_artifact("p.png", "pictures")
        """,
        env=step.env,
    )
    assert child.exit_code == 0, child.stderr
    assert step.file("pictures/p.png").startswith(b"\x89PNG\r\n")


def test_artifacts_come_back_as_they_went(run_script: RunScript, step: Step) -> None:
    child = run_script(
        """
        import os, pathlib
        import mlgate_tracking as tracking
        folder = pathlib.Path("out dir"); (folder / "deep").mkdir(parents=True)
        (folder / "a b.txt").write_text("1"); (folder / "deep" / "\\u00e9.bin").write_bytes(bytes(3_000_000))
        (folder / "empty").write_bytes(b"")
        with tracking.start_run() as run:
            tracking.log_artifacts("out dir", "data")
            tracking.log_artifact("out dir")
        here = tracking.download_artifacts(run_id=run.info.run_id, artifact_path="data")
        for name in sorted(os.listdir(here)):
            print(name)
        print(os.path.getsize(os.path.join(here, "deep", "\\u00e9.bin")), tracking.get_tracking_uri() != "")
        """,
        env=step.env,
    )
    assert child.stdout.split("\n")[:4] == ["a b.txt", "deep", "empty", "3000000 True"], child.stderr
    assert "out dir/deep/é.bin" in step.files()


def test_questions_are_answered_with_what_was_just_logged(run_script: RunScript, step: Step) -> None:
    child = run_script(
        """
        import mlgate_tracking as tracking
        with tracking.start_run() as run:
            tracking.log_metric("m", 4); tracking.log_param("p", "v")
            found = tracking.get_run(run.info.run_id)
            print(found.data.metrics, found.data.params)
            print(len(tracking.search_runs(filter_string="metrics.m > 3", output_format="list")))
            print([e.name for e in tracking.search_experiments()], tracking.get_experiment_by_name("none"))
            client = tracking.TrackingClient()
            print([(p.step, p.value) for p in client.get_metric_history(run.info.run_id, "m")])
        print(tracking.last_active_run().info.run_id == run.info.run_id, tracking.active_run())
        """,
        env=step.env,
    )
    assert child.stdout.splitlines() == [
        "{'m': 4.0} {'p': 'v'}", "1", "['Default'] None", "[(0, 4.0)]", "True None",
    ], child.stderr  # fmt: skip


def test_without_a_server_it_says_what_to_set(run_script: RunScript) -> None:
    child = run_script("import mlgate_tracking as t\nt.start_run()")
    assert child.exit_code == 1
    assert "set MLFLOW_TRACKING_URI" in child.stderr.splitlines()[-1]


def test_every_public_name_is_there_and_listed() -> None:
    import mlgate_tracking
    from mlgate_tracking.kit import fluent

    assert sorted(mlgate_tracking.__all__) == sorted(fluent.__all__)
    assert set(mlgate_tracking.__all__) <= set(dir(mlgate_tracking))
    for name in mlgate_tracking.__all__:
        assert getattr(mlgate_tracking, name) is getattr(fluent, name)
    with pytest.raises(AttributeError, match="no attribute 'log_everything'"):
        mlgate_tracking.log_everything  # noqa: B018


def test_a_database_is_tracking_uri_enough_where_mlgate_is_installed(run_script: RunScript, tmp_path: Path) -> None:
    from mlgate_tracking.client import connect

    uri = f"sqlite:///{tmp_path / 'own.db'}"
    child = run_script(
        f"""
        import mlgate_tracking as tracking
        tracking.set_tracking_uri({uri!r})
        with tracking.start_run() as run:
            tracking.log_metric("m", 4)
            tracking.log_text("hello", "a.txt")
        print(run.info.run_id)
        """,
        path=(Path(kit.__file__).parents[2],),
        env={"MLGATE_SPOOL": str(tmp_path / "spool")},
    )
    assert (child.exit_code, child.stderr) == (0, "")
    with connect(uri) as store:
        run = store.get_run(child.stdout.strip())
        assert (run.metric("m"), run.info.status) == (4.0, "FINISHED")
    assert (tmp_path / "artifacts" / "0" / run.info.run_id / "artifacts" / "a.txt").read_text() == "hello"


def test_a_database_without_mlgate_is_refused_with_what_to_do(run_script: RunScript) -> None:
    child = run_script(
        "import mlgate_tracking as t\nt.set_tracking_uri('sqlite:///x.db')", python=interpreter("3.9"), options=("-s",)
    )
    assert child.exit_code == 1
    assert "start `mlgate server` and set its http:// address" in child.stderr.splitlines()[-1]
