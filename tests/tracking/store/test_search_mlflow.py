"""Searches find in our store what they find in MLflow's own, in the same order, over the same data."""

from __future__ import annotations

import json
import random
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from mlgate_tracking.entities import (
    LifecycleStage,
    LoggedModelStatus,
    Metric,
    Param,
    Run,
    Tag,
    ViewType,
)
from mlgate_tracking.errors import InvalidParameterValue
from mlgate_tracking.store.sql import SqlStore
from mlgate_tracking.testing.search import draw_filter, draw_order, zoo_of
from tests.support.environments import environment

pytestmark = pytest.mark.mlflow

RUN_SEARCHES = 400


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> Iterator[SqlStore]:
    with SqlStore(f"sqlite:///{tmp_path_factory.mktemp('store')}/store.db") as opened:
        yield opened


def ask_mlflow(directory: Path, given: dict[str, Any]) -> list[Any]:
    """What MLflow's store answers to the searches in `given`."""
    python = environment("mlflow", ["mlflow>=3.10,<4", "psycopg[binary]>=3.1"])
    script = Path(__file__).with_name("mlflow_reference.py")
    done = subprocess.run(
        [python, script],
        input=json.dumps({"directory": str(directory), **given}),
        capture_output=True,
        text=True,
        timeout=280,
        check=False,
    )
    assert done.returncode == 0, done.stderr[-3000:]
    answers: list[Any] = json.loads(done.stdout)
    return answers


# --- the same data, written down --------------------------------------------------------------------------------------


def run_as_data(run: Run) -> dict[str, Any]:
    return {
        "run_id": run.info.run_id,
        "experiment_id": run.info.experiment_id,
        "user_id": run.info.user_id,
        "run_name": run.info.run_name,
        "start_time": run.info.start_time,
        "end_time": run.info.end_time,
        "status": run.info.status.value,
        "deleted": run.info.lifecycle_stage is LifecycleStage.DELETED,
        "metrics": [[point.key, str(point.value), point.timestamp, point.step] for point in run.data.metrics],
        "params": [[param.key, param.value] for param in run.data.params],
        "tags": [[tag.key, tag.value] for tag in run.data.tags if tag.key != "mlflow.runName"],
        "datasets": [
            [given.dataset.name, given.dataset.digest, [[tag.key, tag.value] for tag in given.tags]]
            for given in run.inputs.dataset_inputs
        ],
    }


def add_logged_models(store: SqlStore, dice: random.Random, runs: list[Run]) -> list[dict[str, Any]]:
    """Eight logged models with points of `acc`, some on datasets, each at a time of its own."""
    made = []
    active = [run for run in runs if run.info.lifecycle_stage is LifecycleStage.ACTIVE]
    for number in range(8):
        run = dice.choice(active)
        params = [["depth", str(number % 3)]]
        tags = [["team", "ab"[number % 2]]] if number % 4 else []
        model = store.create_logged_model(
            run.info.experiment_id,
            name=f"Model{number % 5}",
            model_type="kind" if number % 2 else None,
            params=[Param(*pair) for pair in params],
            tags=[Tag(*pair) for pair in tags],
        )
        status = dice.choice((LoggedModelStatus.READY, LoggedModelStatus.UPLOAD_FAILED))
        store.finalize_logged_model(model.model_id, status)
        points = []
        for time in range(dice.choice((0, 1, 3))):
            name, digest = dice.choice((("d1", "1"), ("d2", "1"), (None, None)))
            value = dice.choice((0.25, 0.5, 0.75))
            points.append([run.info.run_id, "acc", str(value), 10 * number + time, time, name, digest])
            point = Metric("acc", value, 10 * number + time, time, model.model_id, name, digest)
            store.log_batch(run.info.run_id, metrics=[point])
        made.append(
            {
                "model_id": model.model_id,
                "experiment_id": model.experiment_id,
                "name": model.name,
                "model_type": model.model_type,
                "status": "READY" if status is LoggedModelStatus.READY else "FAILED",
                "params": params,
                "tags": tags,
                "metrics": points,
            }
        )
    return made


def add_models(store: SqlStore, runs: list[Run]) -> list[dict[str, Any]]:
    """Registered models with versions; one prompt."""
    made = []
    for number, name in enumerate(("Iris", "iris", "wine_a", "wine%a", "prompt")):
        tags = [["mlflow.prompt.is_prompt", "true"]] if name == "prompt" else [["team", "ab"[number % 2]]]
        store.create_registered_model(name, tags=[Tag(*pair) for pair in tags])
        versions = []
        for version in range(number + 1):
            run_id = runs[version].info.run_id if version % 2 else None
            given = {
                "source": f"s3://Bucket/{name}/{version}",
                # Over REST, which is how clients write, an absent run id arrives as an empty text.
                "run_id": run_id or "",
                "tags": [["k", str(version)]] if version != 2 else [],
            }
            if name == "prompt":
                given["tags"] = [*given["tags"], ["mlflow.prompt.is_prompt", "true"]]  # type: ignore[misc]
            store.create_model_version(
                name, str(given["source"]), run_id=run_id, tags=[Tag(*pair) for pair in given["tags"]]
            )
            versions.append(given)
        made.append({"name": name, "tags": tags, "versions": versions})
    return made


# --- the searches -----------------------------------------------------------------------------------------------------


def draw_run_searches(store: SqlStore, dice: random.Random) -> list[dict[str, Any]]:
    zoo = zoo_of(store)
    return [
        {
            "experiment_ids": dice.sample(zoo.experiment_ids, dice.choice((1, 2, 3))),
            "filter_string": " AND ".join(clause.text for clause in draw_filter(dice, zoo)),
            "order_by": [order.text for order in draw_order(dice)],
            "view_type": dice.choice(("ACTIVE_ONLY", "DELETED_ONLY", "ALL")),
        }
        for _ in range(RUN_SEARCHES)
    ]


EXPERIMENT_SEARCHES: list[dict[str, Any]] = [
    {"filter_string": text, "order_by": order, "view_type": "ALL"}
    for text in (
        "",
        "name LIKE 'zoo%'",
        "name ILIKE 'ZOO%'",
        "name LIKE 'ZOO%'",
        "experiment_id = '2'",
        "experiment_id IN ('1', '3')",
        "experiment_id NOT IN ('1')",
        "attribute.name != 'Default' AND creation_time > 0",
    )
    for order in (["experiment_id"], ["name DESC"], ["experiment_id DESC"])
]

MODEL_SEARCHES: list[dict[str, Any]] = [
    {"filter_string": text, "order_by": order, "max_results": 100}
    for text in (
        "",
        "name = 'iris'",
        "name LIKE 'I%'",
        "name ILIKE 'I%'",
        "name LIKE 'wine_a'",
        "name LIKE 'wine\\_a'",
        "name != 'iris'",
        "name IN ('iris', 'Iris', 'prompt')",
        "tags.team = 'a'",
        "tags.team != 'a'",
        "tag.`mlflow.prompt.is_prompt` != 'true'",
        "tag.`mlflow.prompt.is_prompt` = 'true'",
        "tag.`mlflow.prompt.is_prompt` = 'false'",
        "tags.nothing != 'x'",
    )
    for order in ([], ["name DESC"])
]


def version_searches(runs: list[Run]) -> list[dict[str, Any]]:
    return [
        {"filter_string": text, "order_by": order, "max_results": 100}
        for text in (
            "",
            "name = 'wine_a'",
            "name ILIKE 'IRIS'",
            "version_number > 1",
            "version_number = '2'",
            "version_number != 2 AND name LIKE 'wine%'",
            f"run_id = '{runs[1].info.run_id}'",
            f"run_id != '{runs[1].info.run_id}'",
            f"run_id IN ('{runs[1].info.run_id}', '{runs[3].info.run_id}')",
            "source_path LIKE 's3://Bucket/I%'",
            "source_path ILIKE 's3://bucket/i%'",
            "tags.k = '1'",
            "tags.k != '1'",
            "tag.`mlflow.prompt.is_prompt` = 'true'",
        )
        for order in (["name", "version_number"], ["version_number DESC"], ["name DESC"])
    ]


LOGGED_MODEL_SEARCHES: list[dict[str, Any]] = [
    {"experiment_ids": ["1", "2", "3"], "filter_string": text, "order_by": [*order, {"field_name": "model_id"}]}
    for text in (
        "",
        "metrics.acc > 0.3",
        "metrics.acc = 0.5",
        "metrics.acc != 0.5",
        "params.depth = '1'",
        "params.depth IN ('1', '2')",
        "params.depth NOT IN ('1')",
        "tags.team != 'a'",
        "name LIKE 'Model%' AND creation_time > 0",
        "name ILIKE 'model1'",
        "model_type = 'kind'",
        "model_type != 'other'",
        "experiment_id = '1'",
    )
    for order in (
        [],
        [{"field_name": "name", "ascending": False}],
        [{"field_name": "metrics.acc"}],
        [{"field_name": "metrics.acc", "ascending": False, "dataset_name": "d1"}],
        [{"field_name": "model_type"}],
    )
]


def our_answer(store: SqlStore, kind: str, options: dict[str, Any]) -> Any:
    given = dict(options)
    if "view_type" in given:
        given["view_type"] = ViewType(given["view_type"])
    try:
        if kind == "runs":
            return [run.info.run_id for run in store.search_runs(given.pop("experiment_ids"), **given).items]
        if kind == "experiments":
            return [each.experiment_id for each in store.search_experiments(**given).items]
        if kind == "logged models":
            found = store.search_logged_models(given.pop("experiment_ids"), **given)
            return [model.model_id for model in found.items]
        if kind == "models":
            return [model.name for model in store.search_registered_models(**given).items]
        return [[version.name, version.version] for version in store.search_model_versions(**given).items]
    except InvalidParameterValue as error:
        return {"error": error.message}


def test_searches_answer_like_mlflow(store: SqlStore, tmp_path: Path) -> None:
    dice = random.Random(11)  # the same data and searches every time
    zoo = zoo_of(store)
    runs = [store.get_run(run.info.run_id) for run in zoo.runs]
    experiments = [store.get_experiment(experiment_id) for experiment_id in zoo.experiment_ids]
    given = {
        "experiments": [
            {"experiment_id": each.experiment_id, "name": each.name, "artifact_location": each.artifact_location}
            for each in experiments
        ],
        "runs": [run_as_data(run) for run in runs],
        "logged_models": add_logged_models(store, dice, runs),
        "models": add_models(store, runs),
    }
    searches = [
        *({"kind": "runs", "options": options} for options in draw_run_searches(store, dice)),
        *({"kind": "experiments", "options": options} for options in EXPERIMENT_SEARCHES),
        *({"kind": "models", "options": options} for options in MODEL_SEARCHES),
        *({"kind": "versions", "options": options} for options in version_searches(runs)),
        *({"kind": "logged models", "options": options} for options in LOGGED_MODEL_SEARCHES),
    ]
    theirs = ask_mlflow(tmp_path, {**given, "searches": searches})
    differences = []
    for search, expected in zip(searches, theirs, strict=True):
        found = our_answer(store, search["kind"], search["options"])
        if found != expected:
            differences.append({"search": search, "mlflow": expected, "mlgate": found})
    assert not differences, json.dumps(differences[:5], indent=1) + f"\n{len(differences)} of {len(searches)} differ"
    assert sum(bool(answer) for answer in theirs) > len(searches) / 3
