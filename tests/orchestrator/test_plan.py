"""Pipelines become plans: frozen data, in order, with every mistake named before anything runs."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from mlgate.errors import InvalidPlan, UsageError
from mlgate.plan import Plan, make_plan, pipeline_problems
from mlgate_projects.errors import ParameterError
from mlgate_projects.parse import load_project
from mlgate_projects.testing import project_dir

ENTRY_POINTS = """\
entry_points:
  prepare: {parameters: {raw: path, out: {type: string, default: d}}, command: "python prepare.py {raw} {out}"}
  train: {parameters: {data: path, depth: int, rate: {type: float, default: 0.1}}, command: "python train.py {depth}"}
  evaluate: {parameters: {model: uri, threshold: {type: float, default: 0.5}}, command: "python evaluate.py {model}"}
  report: {command: "python report.py"}
"""

RETRAIN = """\
pipelines:
  retrain:
    parameters:
      raw: {type: path, default: raw.csv}
      min_accuracy: {type: float, default: 0.9}
      depth: {type: int, default: 5}
    steps:
      evaluate:
        entry_point: evaluate
        parameters: {model: "${{ steps.train.artifacts }}/model", threshold: "${{ params.min_accuracy }}"}
      prepare: {entry_point: prepare, parameters: {raw: "${{ params.raw }}"}, cache: true}
      train:
        needs: [prepare]
        entry_point: train
        parameters: {data: "${{ steps.prepare.artifacts }}/processed", depth: "${{ matrix.depth }}"}
        matrix: {depth: [3, 5, 8]}
        select: {metric: accuracy, mode: max}
        retries: {count: 2, delay: 10s, backoff: 2}
        timeout: 30m
      promote:
        needs: evaluate
        when: steps.evaluate.metrics.accuracy >= params.min_accuracy
        promote:
          model: iris
          source: "${{ steps.train.artifacts }}/model"
          to: {alias: champion, stage: Production}
          gates:
            - metric: {name: accuracy, min: "${{ params.min_accuracy }}"}
            - approval: {role: ml_engineer, expires: 24h}
    finally:
      report: {entry_point: report, env: {STATUS: "${{ run.status }}"}}
"""


def project(directory: Path, pipelines: str, **files: str) -> Path:
    return project_dir(directory, {"MLproject": ENTRY_POINTS + pipelines, "raw.csv": "1", **files})


def planned(directory: Path, pipelines: str = RETRAIN, **values: object) -> Plan:
    spec = load_project(project(directory, pipelines))
    return make_plan(spec, "retrain", values, uri=str(directory), digest="d" * 64, working_directory=directory)


def test_steps_come_in_waves_that_respect_needs_and_references(tmp_path: Path) -> None:
    plan = planned(tmp_path)
    assert [[step.name for step in wave] for wave in plan.waves] == [["prepare"], ["train"], ["evaluate"], ["promote"]]
    assert plan.steps[-1].name == "report"
    assert plan.step("evaluate").needs == ("train",)
    assert plan.step("promote").needs == ("evaluate", "train")
    assert plan.upstream("promote") == {"evaluate", "train", "prepare"}
    assert plan.downstream("train") == {"evaluate", "promote"}


def test_parameters_are_filled_in_and_the_rest_stays_open(tmp_path: Path) -> None:
    plan = planned(tmp_path, min_accuracy="0.95")
    assert plan.parameters == {"raw": "raw.csv", "min_accuracy": "0.95", "depth": "5"}
    assert plan.step("prepare").parameters == {"raw": "raw.csv"}
    assert plan.step("evaluate").parameters["threshold"] == "0.95"
    assert plan.step("train").parameters["depth"] == "${{ matrix.depth }}"
    assert plan.step("train").settings == ({"depth": 3}, {"depth": 5}, {"depth": 8})
    assert plan.step("train").instances == (0, 1, 2)
    assert plan.step("train").retries.wait_before(2) == 40.0
    assert plan.step("train").timeout == 1800.0
    assert plan.step("promote").action["gates"][0] == {"metric": {"name": "accuracy", "min": "0.95"}}


def test_a_passed_path_becomes_absolute(tmp_path: Path) -> None:
    (tmp_path / "mine.csv").touch()
    assert planned(tmp_path / "p", raw=str(tmp_path / "mine.csv")).parameters["raw"] == str(tmp_path / "mine.csv")
    with pytest.raises(
        ParameterError, match=r"MLproject:\d+: pipelines.retrain.parameters.raw: 'no.csv' does not exist"
    ):
        planned(tmp_path / "p", raw="no.csv")


def test_values_are_checked_before_anything(tmp_path: Path) -> None:
    with pytest.raises(ParameterError, match="'high' is not a float"):
        planned(tmp_path, min_accuracy="high")
    with pytest.raises(ParameterError, match="'min_acuracy' is not declared; known: raw, min_accuracy, depth"):
        planned(tmp_path, min_acuracy="1")


def test_json_and_back(tmp_path: Path) -> None:
    plan = planned(tmp_path)
    assert Plan.from_json(plan.to_json()) == plan
    with pytest.raises(UsageError, match="version 99"):
        Plan.from_json(json.dumps({"plan_version": 99}))
    with pytest.raises(UsageError, match="not a plan"):
        Plan.from_json("[]")


def test_a_project_without_pipelines_is_a_plan_of_one_step(tmp_path: Path) -> None:
    spec = load_project(project(tmp_path, ""))
    plan = make_plan(spec, None, {"raw": "x"}, uri=".", entry_point="prepare")
    [step] = plan.steps
    assert (step.name, step.entry_point, step.parameters) == ("prepare", "prepare", {"raw": "x"})
    with pytest.raises(UsageError, match="no pipeline 'retrain'; known: none; add pipelines:"):
        make_plan(spec, "retrain", {}, uri=".")


def test_a_plan_is_the_same_every_time(tmp_path: Path) -> None:
    assert planned(tmp_path).to_json() == planned(tmp_path).to_json()


BAD = sorted((Path(__file__).parents[1] / "samples" / "bad_pipelines").iterdir())


@pytest.mark.parametrize("directory", BAD, ids=lambda path: path.name)
def test_mistakes_name_file_line_key_and_what_is_known(directory: Path) -> None:
    with pytest.raises(InvalidPlan) as caught:
        make_plan(load_project(directory), "retrain", {}, uri=".")
    assert str(caught.value) == (directory / "expected.txt").read_text().strip()
    assert all(problem.column > 0 for problem in caught.value.problems)


def test_problems_are_found_without_values_for_required_parameters(tmp_path: Path) -> None:
    pipelines = """\
pipelines:
  retrain:
    parameters: {values: string, depth: {type: int, default: 1}}
    steps:
      a: {entry_point: train, parameters: {depth: "${{ params.depth }}"}, matrix: {d: "${{ params.values }}"}}
"""
    spec = load_project(project(tmp_path, pipelines))
    assert [problem.message for problem in pipeline_problems(spec)] == ["entry point train needs a value for 'data'"]
    with pytest.raises(ParameterError, match="no value given for missing parameters: 'values'"):
        make_plan(spec, "retrain", {}, uri=".")


@st.composite
def graphs(draw: st.DrawFn) -> dict[str, list[str]]:
    count = draw(st.integers(1, 200))
    names = [f"s{number}" for number in range(count)]
    needs = {
        name: draw(st.lists(st.sampled_from(names[:index]), max_size=3, unique=True)) if index else []
        for index, name in enumerate(names)
    }
    shuffled = draw(st.permutations(names))
    return {name: needs[name] for name in shuffled}


@given(graphs())
@settings(
    max_examples=10, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow]
)
def test_any_graph_without_circles_is_ordered(tmp_path: Path, graph: dict[str, list[str]]) -> None:
    body = "".join(
        f"      {name}: {{entry_point: report, needs: {json.dumps(needs)}}}\n" for name, needs in graph.items()
    )
    plan = planned(tmp_path, "pipelines:\n  retrain:\n    steps:\n" + body)
    position = {step.name: index for index, step in enumerate(plan.steps)}
    for step in plan.steps:
        assert sorted(step.needs) == sorted(graph[step.name])
        assert all(position[need] < position[step.name] and plan.step(need).wave < step.wave for need in step.needs)
        assert step.wave == max((plan.step(need).wave + 1 for need in step.needs), default=0)
    assert len(plan.steps) == len(graph)
    assert Plan.from_json(plan.to_json()) == plan


def test_a_pipeline_with_every_key_is_planned_without_a_word() -> None:
    directory = Path(__file__).parents[1] / "samples" / "fine" / "everything"
    spec = load_project(directory)
    assert (spec.warnings, pipeline_problems(spec)) == ((), [])
    plan = make_plan(spec, "all", {}, uri=str(directory))
    assert {step.name: len(step.instances) for step in plan.steps if step.settings} == {
        "grid": 2, "listed": 2, "drawn": 3, "space": 2,
    }  # fmt: skip
    assert plan.step("judge").needs == ("listed", "grid")
    assert Plan.from_json(plan.to_json()) == plan
