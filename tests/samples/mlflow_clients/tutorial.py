"""The flow that MLflow is usually taught by: tuned runs under a parent, plots and tables, a registry with stages."""

import json
import os
import sys
import tempfile
import warnings

import matplotlib

matplotlib.use("Agg")
import matplotlib.pyplot as plt
import mlflow
import numpy as np
import pandas as pd
from mlflow.models import infer_signature
from mlflow.tracking import MlflowClient
from sklearn.datasets import load_iris
from sklearn.ensemble import RandomForestClassifier
from sklearn.metrics import accuracy_score
from sklearn.model_selection import train_test_split

warnings.simplefilter("ignore")
os.chdir(tempfile.mkdtemp())
client = MlflowClient()
seen = {}
mlflow.set_experiment("iris_classification")
flowers = load_iris()
x_train, x_test, y_train, y_test = train_test_split(flowers.data, flowers.target, test_size=0.2, random_state=42)


def train(trees, depth):
    for name, value in {"n_estimators": trees, "max_depth": depth, "layers": str([128, 64])}.items():
        mlflow.log_param(name, value)
    forest = RandomForestClassifier(n_estimators=trees, max_depth=depth, random_state=42).fit(x_train, y_train)
    guess = forest.predict(x_test)
    accuracy = accuracy_score(y_test, guess)
    mlflow.log_metric("accuracy", accuracy)
    for epoch in range(10):
        mlflow.log_metric("train_loss", 0.9**epoch, step=epoch)
        mlflow.log_metrics({"val_loss": 0.95**epoch, "epoch": epoch}, step=epoch)
    plt.figure()
    plt.bar(flowers.feature_names, forest.feature_importances_)
    plt.savefig("importance.png")
    plt.close()
    mlflow.log_artifact("importance.png")
    pd.DataFrame({"actual": y_test, "predicted": guess}).to_csv("predictions.csv", index=False)
    mlflow.log_artifact("predictions.csv", "tables")
    mlflow.sklearn.log_model(
        forest, "iris_model", registered_model_name="iris_classifier", input_example=x_train[:2],
        signature=infer_signature(x_train, guess), pip_requirements=["scikit-learn"],
    )
    mlflow.set_tag("framework", "sklearn")
    return accuracy


with mlflow.start_run(run_name="hyperparameter_tuning") as parent:
    mlflow.log_param("strategy", "grid")
    best, best_run = 0.0, ""
    for number, (trees, depth) in enumerate([(5, 1), (20, 5)]):
        with mlflow.start_run(run_name=f"experiment_{number}", nested=True) as child:
            train(trees, depth)
        accuracy = client.get_run(child.info.run_id).data.metrics["accuracy"]
        if accuracy > best:
            best, best_run = accuracy, child.info.run_id
    mlflow.log_metric("best_accuracy", best)
    mlflow.log_param("best_run_id", best_run)

seen["best"] = client.get_run(parent.info.run_id).data.params["best_run_id"] == best_run
frame = mlflow.search_runs(
    experiment_names=["iris_classification"], filter_string="metrics.accuracy > 0.9 and params.max_depth = '5'",
    order_by=["metrics.accuracy DESC"],
)
seen["search"] = list(frame["params.n_estimators"])

client.create_registered_model("iris_classifier_v2", description="with more trees")
version = client.create_model_version(
    name="iris_classifier_v2", source=f"runs:/{best_run}/iris_model", run_id=best_run, description="the best"
)
seen["by hand"] = [version.version, client.get_model_version("iris_classifier_v2", "1").description]

client.transition_model_version_stage("iris_classifier", "1", "Production")
client.transition_model_version_stage("iris_classifier", "2", "Staging")
scores = {}
for number in ("1", "2"):
    loaded = mlflow.pyfunc.load_model(f"models:/iris_classifier/{number}")
    scores[number] = accuracy_score(y_test, loaded.predict(x_test))
if scores["2"] >= scores["1"]:
    client.transition_model_version_stage("iris_classifier", "2", "Production")
    client.transition_model_version_stage("iris_classifier", "1", "Archived")
production = client.get_latest_versions("iris_classifier", stages=["Production"])
seen["production"] = [entry.version for entry in production]
seen["stages"] = [client.get_model_version("iris_classifier", number).current_stage for number in ("1", "2")]
served = mlflow.pyfunc.load_model("models:/iris_classifier/Production")
seen["same"] = bool(np.array_equal(served.predict(x_test), mlflow.sklearn.load_model(f"runs:/{best_run}/iris_model").predict(x_test)))
json.dump(seen, sys.stdout)
