"""Models: autologging, logging, registry, aliases, stages, loading by every kind of URI, evaluation."""

import json
import os
import sys
import warnings

import mlflow
import pandas as pd
from mlflow.exceptions import MlflowException
from sklearn.datasets import load_iris
from sklearn.linear_model import LogisticRegression

warnings.simplefilter("ignore")
V3 = mlflow.__version__.startswith("3.")
MODEL = "iris-" + mlflow.__version__
client = mlflow.MlflowClient()
seen = {"version": mlflow.__version__}

table = load_iris(as_frame=True)
features, target = table.data, table.target
mlflow.set_experiment("models-" + mlflow.__version__)

mlflow.sklearn.autolog(log_models=False)
with mlflow.start_run() as automatic:
    fitted = LogisticRegression(max_iter=300, C=0.5).fit(features, target)
mlflow.sklearn.autolog(disable=True)
run = client.get_run(automatic.info.run_id)
seen["autolog"] = [run.data.params["C"], "training_accuracy_score" in run.data.metrics]
seen["datasets"] = [entry.dataset.name for entry in run.inputs.dataset_inputs]

named = {"name": "model"} if V3 else {"artifact_path": "model"}
with mlflow.start_run() as logged:
    mlflow.log_metric("accuracy", float(fitted.score(features, target)))
    info = mlflow.sklearn.log_model(fitted, **named, registered_model_name=MODEL, pip_requirements=["scikit-learn"])
uri = f"runs:/{logged.info.run_id}/model"
second = mlflow.register_model(uri, MODEL)
seen["versions"] = sorted(int(entry.version) for entry in client.search_model_versions(f"name = '{MODEL}'"))
seen["source run"] = client.get_model_version(MODEL, "2").run_id == logged.info.run_id

client.set_registered_model_alias(MODEL, "champion", "1")
client.transition_model_version_stage(MODEL, "1", "Production")
client.transition_model_version_stage(MODEL, "2", "Production", archive_existing_versions=True)
seen["stages"] = [client.get_model_version(MODEL, version).current_stage for version in ("1", "2")]
seen["latest"] = sorted((entry.current_stage, str(entry.version)) for entry in client.get_latest_versions(MODEL))
expected = list(fitted.predict(features[:5]))
uris = [f"models:/{MODEL}@champion", f"models:/{MODEL}/Production", f"models:/{MODEL}/1", f"models:/{MODEL}/latest", uri]
if V3:
    uris.append(info.model_uri)
seen["loaded"] = [list(mlflow.pyfunc.load_model(where).predict(features[:5])) == expected for where in uris]
seen["files"] = "MLmodel" in os.listdir(mlflow.artifacts.download_artifacts(artifact_uri=uri))

seen["alias"] = str(client.get_model_version_by_alias(MODEL, "champion").version)
client.set_registered_model_alias(MODEL, "champion", "2")
seen["moved alias"] = str(client.get_model_version_by_alias(MODEL, "champion").version)
client.delete_registered_model_alias(MODEL, "champion")
try:
    client.get_model_version_by_alias(MODEL, "champion")
except MlflowException as error:
    seen["no alias"] = error.error_code
client.update_registered_model(MODEL, description="flowers")
client.set_registered_model_tag(MODEL, "team", "botany")
client.set_model_version_tag(MODEL, "1", "checked", "yes")
client.update_model_version(MODEL, "1", description="the first")
version = client.get_model_version(MODEL, "1")
seen["described"] = [version.description, version.tags, client.get_registered_model(MODEL).description]
seen["found"] = [entry.name for entry in client.search_registered_models(f"name LIKE '{MODEL[:6]}%' and tags.team = 'botany'")]
client.rename_registered_model(MODEL, MODEL + "-renamed")
client.rename_registered_model(MODEL + "-renamed", MODEL)
seen["after rename"] = str(client.get_model_version(MODEL, "2").version)

with mlflow.start_run() as evaluated:
    result = mlflow.evaluate(
        f"models:/{MODEL}/2", features.assign(label=target), targets="label", model_type="classifier",
        evaluator_config={"log_model_explainability": False},
    )
seen["evaluated"] = [round(result.metrics["accuracy_score"], 2), len(client.list_artifacts(evaluated.info.run_id)) > 0]

if V3:
    model = client.get_logged_model(info.model_id)
    seen["logged model"] = [model.name, str(model.status), [metric.key for metric in model.metrics][:1]]
    place = client.get_experiment_by_name("models-" + mlflow.__version__).experiment_id
    hits = mlflow.search_logged_models(
        experiment_ids=[place], filter_string="metrics.accuracy > 0.5", output_format="list"
    )
    seen["logged models"] = [hit.model_id == info.model_id for hit in hits]

client.delete_model_version(MODEL, "1")
seen["left"] = sorted(int(entry.version) for entry in client.search_model_versions(f"name = '{MODEL}'"))
client.delete_registered_model(MODEL)
try:
    client.get_registered_model(MODEL)
except MlflowException as error:
    seen["gone"] = error.error_code
json.dump(seen, sys.stdout)
