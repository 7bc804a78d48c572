"""A project as it was written for MLflow in 2023, with everything pinned, and the shell script around it."""

from __future__ import annotations

import os
import subprocess
import sys
import textwrap
from pathlib import Path

import pytest

from mlgate.settings import load_settings
from mlgate_projects.testing import project_dir
from mlgate_tracking.client import connect
from mlgate_tracking.entities import Run
from tests.support.cli import all_runs, artifact_text
from tests.support.environments import interpreter

pytestmark = [pytest.mark.venv, pytest.mark.mlflow, pytest.mark.slow, pytest.mark.usefixtures("shared_environments")]

HEAD = """\
import argparse, json, os
import mlflow
import pandas as pd
from sklearn.datasets import load_iris
from sklearn.ensemble import RandomForestClassifier

def values(*names):
    parser = argparse.ArgumentParser()
    for name in names:
        parser.add_argument(name, required=True)
    return vars(parser.parse_args())
"""

PROJECT = {
    "MLproject": """
        name: pinned

        python_env: python_env.yaml
        # OR: conda_env: conda.yaml

        entry_points:
          main:
            parameters:
              n_estimators: {type: int, default: 20}
              max_depth: {type: int, default: 5}
            command: "python train.py --n-estimators {n_estimators} --max-depth {max_depth}"
          evaluate:
            parameters:
              model_uri: {type: str}
              data_path: {type: str, default: "data/processed/iris.csv"}
            command: "python evaluate.py --model-uri {model_uri} --data-path {data_path}"
          hyperparameter_tuning:
            parameters:
              search_space: {type: str, default: "config/search_space.json"}
              n_trials: {type: int, default: 50}
            command: "python tune.py --search-space {search_space} --n-trials {n_trials}"
          data_preparation:
            parameters:
              raw_data_path: {type: str}
              output_path: {type: str, default: "data/processed"}
            command: "python prepare.py --raw-data-path {raw_data_path} --output-path {output_path}"
        """,
    "python_env.yaml": """
        python: "3.10.0"
        build_dependencies:
          - pip
        dependencies:
          - scikit-learn==1.3.0
          - pandas==2.0.0
          - numpy==1.24.0
          - matplotlib==3.7.0
          - seaborn==0.12.0
          - mlflow==2.8.0
          - optuna==3.4.0  # tuning
          - click==8.1.0
        """,
    "config/search_space.json": '{"n_estimators": {"low": 5, "high": 20}, "max_depth": {"low": 1, "high": 6}}',
    "train.py": """
        given = values("--n-estimators", "--max-depth")
        mlflow.set_experiment("iris_classification")
        with mlflow.start_run() as run:
            mlflow.log_params({"n_estimators": int(given["n_estimators"]), "max_depth": int(given["max_depth"])})
            X, y = load_iris(return_X_y=True)
            model = RandomForestClassifier(int(given["n_estimators"]), max_depth=int(given["max_depth"])).fit(X, y)
            mlflow.log_metric("accuracy", model.score(X, y))
            mlflow.sklearn.log_model(
                model, "iris_model", signature=mlflow.models.infer_signature(X, model.predict(X)), input_example=X[:5]
            )
            print(f"Run ID: {run.info.run_id}")
        """,
    "tune.py": """
        import optuna
        given = values("--search-space", "--n-trials")
        space = json.load(open(given["search_space"]))
        X, y = load_iris(return_X_y=True)
        mlflow.set_experiment("iris_hyperparameter_tuning")

        def objective(trial):
            with mlflow.start_run(nested=True):
                params = {name: trial.suggest_int(name, **bounds) for name, bounds in space.items()}
                mlflow.log_params(params)
                score = RandomForestClassifier(**params).fit(X[::2], y[::2]).score(X[1::2], y[1::2])
                mlflow.log_metric("score", score)
                return score

        with mlflow.start_run():
            study = optuna.create_study(direction="maximize")
            study.optimize(objective, n_trials=int(given["n_trials"]))
            mlflow.log_params(study.best_params)
            mlflow.log_metric("best_score", study.best_value)
        """,
    "prepare.py": """
        given = values("--raw-data-path", "--output-path")
        os.makedirs(given["output_path"], exist_ok=True)
        table = pd.read_csv(given["raw_data_path"]).dropna()
        table.to_csv(os.path.join(given["output_path"], "iris.csv"), index=False)
        mlflow.log_metric("rows", len(table))
        """,
    "evaluate.py": """
        given = values("--model-uri", "--data-path")
        mlflow.set_experiment("iris_evaluation")
        with mlflow.start_run():
            table = pd.read_csv(given["data_path"])
            found = mlflow.sklearn.load_model(given["model_uri"]).predict(table.iloc[:, :4].to_numpy())
            mlflow.log_metric("accuracy", float((found == table["target"]).mean()))
        """,
    # What people had around `mlflow run`: the word before `run` is all that changes.
    "pipeline.sh": """
        set -e
        mlgate run . -e data_preparation -P raw_data_path=data/raw/iris.csv -P output_path=data/processed
        TUNING_RUN=$(mlgate run . -e hyperparameter_tuning -P n_trials=2 | grep "Run ID:" | awk '{print $3}')
        TRAIN_RUN=$(mlgate run . -e main -P n_estimators=15 -P max_depth=8 | grep "Run ID:" | awk '{print $3}')
        mlgate run . -e evaluate -P model_uri="runs:/${TRAIN_RUN}/iris_model"
        echo "$TUNING_RUN $TRAIN_RUN" > ids.txt
        """,
}
DATA = "a,b,c,d,target\n5.1,3.5,1.4,0.2,0\n4.9,,1.4,0.2,0\n7.0,3.2,4.7,1.4,1\n6.3,3.3,6.0,2.5,2\n"


def experiments() -> dict[str, list[Run]]:
    """The runs of each experiment, by its name."""
    found: dict[str, list[Run]] = {}
    with connect(load_settings().tracking_uri) as store:
        for run in all_runs():
            found.setdefault(store.get_experiment(run.info.experiment_id).name, []).append(run)
    return found


def test_a_pinned_project_runs_as_it_is_and_so_does_the_shell_script_around_it(tmp_path: Path) -> None:
    interpreter("3.10")
    files = {name: HEAD + textwrap.dedent(text) if name.endswith(".py") else text for name, text in PROJECT.items()}
    project = project_dir(tmp_path / "pinned", {**files, "data/raw/iris.csv": DATA})
    env = {**os.environ, "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}"}
    done = subprocess.run(
        ["bash", "pipeline.sh"],
        cwd=project,
        env=env,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    runs = experiments()
    assert set(runs) == {"Default", "iris_hyperparameter_tuning", "iris_classification", "iris_evaluation"}
    assert all(run.info.status == "FINISHED" for each in runs.values() for run in each)

    tuning, training = (project / "ids.txt").read_text().split()
    [trained] = runs["iris_classification"]
    assert trained.info.run_id == training
    assert (trained.param("n_estimators"), trained.param("max_depth")) == ("15", "8")
    assert (trained.metric("accuracy") or 0) > 0.9
    assert '"mlflow": "2.8.0"' in artifact_text(trained, "mlgate/environment.json")
    assert "python_function" in artifact_text(trained, "iris_model/MLmodel")
    parents = {run.info.run_id: run.tag("mlflow.parentRunId") for run in runs["iris_hyperparameter_tuning"]}
    assert parents.pop(tuning) is None
    assert list(parents.values()) == [tuning, tuning]
    assert [run.metric("rows") for run in runs["Default"]] == [3.0]
    assert [run.metric("accuracy") for run in runs["iris_evaluation"]] == [1.0]
