"""Search for good settings of the random forest; every trial is a run of its own below this one."""

import argparse
import json

import mlflow
import mlflow.sklearn
import optuna
from mlflow.models import infer_signature
from sklearn.ensemble import RandomForestClassifier
from sklearn.model_selection import cross_val_score
from src import data


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--search-space", required=True)
    parser.add_argument("--n-trials", type=int, default=10)
    parser.add_argument("--data-path", default="data/raw/iris.csv")
    options = parser.parse_args()

    with open(options.search_space) as file:
        space = json.load(file)
    frame = data.load(options.data_path)
    x, y = frame[data.FEATURES], frame[data.TARGET]

    def objective(trial):
        settings = {name: trial.suggest_int(name, bounds["low"], bounds["high"]) for name, bounds in space.items()}
        with mlflow.start_run(run_name=f"trial-{trial.number}", nested=True):
            mlflow.log_params(settings)
            scores = cross_val_score(RandomForestClassifier(**settings, random_state=42), x, y, cv=5)
            mlflow.log_metrics({"cv_accuracy": scores.mean(), "cv_accuracy_std": scores.std()})
        return scores.mean()

    optuna.logging.set_verbosity(optuna.logging.WARNING)
    mlflow.set_experiment("iris_hyperparameter_tuning")
    with mlflow.start_run():
        study = optuna.create_study(direction="maximize", sampler=optuna.samplers.TPESampler(seed=42))
        study.optimize(objective, n_trials=options.n_trials)
        mlflow.log_params({f"best_{name}": value for name, value in study.best_params.items()})
        mlflow.log_metric("best_cv_accuracy", study.best_value)
        model = RandomForestClassifier(**study.best_params, random_state=42).fit(x, y)
        mlflow.sklearn.log_model(
            model,
            name="best_model",
            serialization_format="cloudpickle",
            signature=infer_signature(x, model.predict(x)),
        )
    print(f"best of {options.n_trials} trials: {study.best_params}, accuracy {study.best_value:.4f}")


if __name__ == "__main__":
    main()
