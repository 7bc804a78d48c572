"""What an unmodified mlflow client does on a server that knows its users; credentials come by MLflow's variables."""

import json
import os

import mlflow
from mlflow.exceptions import MlflowException
from mlflow.tracking import MlflowClient

token, name = os.environ["USERS_TOKEN"], os.environ["MODEL"]
client = MlflowClient()
seen = {}


def work(how, model, **credentials):
    for variable in ("MLFLOW_TRACKING_TOKEN", "MLFLOW_TRACKING_USERNAME", "MLFLOW_TRACKING_PASSWORD"):
        os.environ.pop(variable, None)
    os.environ.update(credentials)
    try:
        mlflow.set_experiment("shared")
        with mlflow.start_run() as run:
            mlflow.log_metric("accuracy", 0.9)
            mlflow.log_text("hello", "note.txt")
        client.create_registered_model(model)
        version = client.create_model_version(model, run.info.artifact_uri, run_id=run.info.run_id)
        client.set_registered_model_alias(model, "challenger", version.version)
        seen[how] = {
            "user": client.get_run(run.info.run_id).info.user_id,
            "files": [file.path for file in client.list_artifacts(run.info.run_id)],
            "registered by": client.get_model_version(model, version.version).user_id,
        }
    except MlflowException as error:
        seen[how] = str(error)


work("nobody", name)
work("wrong password", name, MLFLOW_TRACKING_USERNAME="bob", MLFLOW_TRACKING_PASSWORD="wrong")
work("wrong name", name, MLFLOW_TRACKING_USERNAME="alice", MLFLOW_TRACKING_PASSWORD=token)
work("token", name + "-1", MLFLOW_TRACKING_TOKEN=token)
work("name and token", name + "-2", MLFLOW_TRACKING_USERNAME="bob", MLFLOW_TRACKING_PASSWORD=token)
print(json.dumps(seen))
