"""Fills an MLflow store with what an import brings over. Runs inside an environment with mlflow 2.8 or 3.x."""

import json
import math
import sys

import mlflow
import pandas
from mlflow.entities import Metric, Param, RunTag
from mlflow.tracking import MlflowClient


class Echo(mlflow.pyfunc.PythonModel):
    def predict(self, context, model_input, params=None):
        return model_input


def seed(uri, artifacts):
    mlflow.set_tracking_uri(uri)
    client = MlflowClient()
    location = artifacts + "/iris" if artifacts else None
    iris = client.create_experiment("iris", artifact_location=location, tags={"team": "ml"})
    gone = client.create_experiment("gone", artifact_location=artifacts + "/gone" if artifacts else None)
    run = client.create_run(iris, tags={"mlflow.user": "ann", "note": "\u00e9 'x'"}, run_name="train").info.run_id
    client.log_batch(
        run,
        metrics=[Metric("loss", 1.0 / (step + 1), 1000 + step, step) for step in range(30)],
        params=[Param("depth", "3"), Param("model/alpha", "0.5")],
        tags=[RunTag("mlflow.note.content", "hello\nworld")],
    )
    client.log_metric(run, "odd", math.nan, 5, 0)
    client.log_metric(run, "odd", math.inf, 6, 1)
    client.log_metric(run, "a/b", 2.5, 7, -3)
    client.log_text(run, "hello", "notes/a b.txt")
    client.log_text(run, "", "empty.txt")
    client.set_terminated(run, "FAILED", 99999)
    child = client.create_run(iris, tags={"mlflow.parentRunId": run}, run_name="child").info.run_id
    client.log_param(child, "p", "v")
    client.delete_run(child)
    lost = client.create_run(gone).info.run_id
    client.delete_experiment(gone)

    mlflow.set_experiment("iris")
    with mlflow.start_run(run_name="model") as active:
        data = mlflow.data.from_pandas(pandas.DataFrame({"a": [1.0, 2.0]}), name="rows")
        mlflow.log_input(data, context="train")
        mlflow.log_metric("accuracy", 0.9)
        name = {"name": "model"} if mlflow.__version__ >= "3" else {"artifact_path": "model"}
        info = mlflow.pyfunc.log_model(python_model=Echo(), pip_requirements=[], **name)
        mlflow.register_model(info.model_uri, "echo", tags={"v": "1"})
    model_run = active.info.run_id
    client.update_registered_model("echo", "says it again")
    client.set_registered_model_tag("echo", "owner", "ann")
    source = client.get_model_version("echo", "1").source
    client.create_model_version("echo", source, run_id=model_run, description="two")
    client.create_model_version("echo", source, run_id=model_run)
    client.set_registered_model_alias("echo", "champion", "2")
    client.transition_model_version_stage("echo", "1", "Archived")
    client.transition_model_version_stage("echo", "2", "Production")
    client.delete_model_version("echo", "3")
    client.create_registered_model("empty")
    ids = {"iris": iris, "gone": gone, "run": run, "child": child, "lost": lost, "model_run": model_run}
    print(json.dumps(ids))


if __name__ == "__main__":
    seed(*sys.argv[1:])
