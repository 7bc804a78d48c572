"""Everything a script does to experiments and runs through MLflow; prints what it saw as JSON."""

import json
import math
import os
import sys
import tempfile

import mlflow
from mlflow.exceptions import MlflowException

V3 = mlflow.__version__.startswith("3.")
NAME = "tracking-" + mlflow.__version__
client = mlflow.MlflowClient()
seen = {"version": mlflow.__version__}

mlflow.set_experiment(NAME)
experiment = client.get_experiment_by_name(NAME)
try:
    client.create_experiment(NAME)
except MlflowException as error:
    seen["taken"] = error.error_code

with mlflow.start_run(run_name="parent", tags={"team": "a"}) as parent:
    mlflow.log_param("depth", 3)
    mlflow.log_params({"solver": "lbfgs", "empty": "", "long": "x" * 500})
    for step in range(5):
        mlflow.log_metric("loss", 1 / (step + 1), step=step)
    mlflow.log_metrics({"nan": math.nan, "inf": math.inf, "train/acc": 0.5}, step=2)
    mlflow.set_tags({"k": "v", "a b/c": "1"})
    mlflow.log_text("été", "notes/é x.txt")
    mlflow.log_text("", "empty.txt")
    mlflow.log_dict({"a": [1, 2]}, "data.json")
    with tempfile.TemporaryDirectory() as folder:
        with open(os.path.join(folder, "big.bin"), "wb") as stream:
            stream.write(bytes(range(256)) * 10_000)
        mlflow.log_artifacts(folder, "files")
    with mlflow.start_run(run_name="child", nested=True) as child:
        mlflow.log_metric("loss", 0.1)
        mlflow.log_param("depth", 5)

run_id = parent.info.run_id
run = client.get_run(run_id)
seen["params"] = run.data.params
seen["metrics"] = {key: str(value) for key, value in run.data.metrics.items()}
seen["tags"] = {key: value for key, value in run.data.tags.items() if not key.startswith("mlflow.")}
seen["status"] = run.info.status
seen["parent"] = client.get_run(child.info.run_id).data.tags["mlflow.parentRunId"] == run_id
seen["history"] = [(point.step, point.value) for point in client.get_metric_history(run_id, "loss")]
seen["artifacts"] = sorted(entry.path for entry in client.list_artifacts(run_id))
seen["sizes"] = [(entry.path, entry.file_size) for entry in client.list_artifacts(run_id, "files")]
folder = mlflow.artifacts.download_artifacts(run_id=run_id, artifact_path="files")
seen["downloaded"] = os.path.getsize(os.path.join(folder, "big.bin"))
seen["text"] = mlflow.artifacts.load_text(run.info.artifact_uri + "/notes/é x.txt")

try:
    client.log_param(run_id, "depth", 4)
except MlflowException as error:
    seen["changed param"] = error.error_code


def found(filter_string="", **more):
    runs = client.search_runs([experiment.experiment_id], filter_string, **more)
    return [run.info.run_name for run in runs]


seen["searches"] = {
    text: sorted(found(text))
    for text in [
        "metrics.loss < 0.2", "metrics.loss <= 0.2", "metrics.loss > 0.15", "metrics.loss >= 0.2", "metrics.loss = 0.1",
        "metrics.loss != 0.1", "params.depth = '3'", "params.depth != '3'", "params.solver LIKE 'lb%'",
        "params.solver ILIKE 'LB%'", "tags.team = 'a'", "tags.`a b/c` = '1'", "attributes.status = 'FINISHED'",
        "run_name LIKE 'par%'", f"run_id IN ('{run_id}')", f"run_id NOT IN ('{run_id}')", "start_time > 0",
        "params.depth = '3' and tags.k = 'v' and metrics.loss < 1",
    ]
}
seen["ordered"] = [found(order_by=["metrics.loss ASC"]), found(order_by=["metrics.loss DESC"])]
page = client.search_runs([experiment.experiment_id], max_results=1)
seen["pages"] = [len(page), len(client.search_runs([experiment.experiment_id], max_results=1, page_token=page.token))]
seen["experiments"] = [entry.name for entry in client.search_experiments(filter_string=f"name = '{NAME}'")]

client.update_run(run_id, name="renamed")
client.set_terminated(run_id, "FAILED")
client.delete_tag(run_id, "k")
after = client.get_run(run_id)
seen["updated"] = [after.info.run_name, after.info.status, "k" in after.data.tags]
client.delete_run(run_id)
seen["deleted"] = client.get_run(run_id).info.lifecycle_stage
try:
    client.set_tag(run_id, "k", "v")
except MlflowException as error:
    seen["write to deleted"] = error.error_code
client.restore_run(run_id)
client.set_tag(run_id, "k", "v")
client.set_experiment_tag(experiment.experiment_id, "owner", "me")
client.rename_experiment(experiment.experiment_id, NAME + "-renamed")
client.delete_experiment(experiment.experiment_id)
seen["deleted experiment"] = [client.get_experiment(experiment.experiment_id).lifecycle_stage, found()]
client.restore_experiment(experiment.experiment_id)
seen["restored"] = [client.get_experiment_by_name(NAME + "-renamed").tags["owner"], len(found())]

if V3:
    mlflow.set_experiment(NAME + "-traces")

    @mlflow.trace(span_type="CHAIN")
    def outer(x):
        return inner(x) + 1

    @mlflow.trace
    def inner(x):
        if x < 0:
            raise ValueError("negative")
        return x * 2

    outer(1)
    try:
        outer(-1)
    except ValueError:
        pass
    mlflow.flush_trace_async_logging()
    place = client.get_experiment_by_name(NAME + "-traces").experiment_id

    def traces(filter_string=None):
        return mlflow.search_traces(locations=[place], filter_string=filter_string, return_type="list")

    trace = traces("attributes.status = 'OK'")[0]
    mlflow.set_trace_tag(trace.info.trace_id, "kind", "good")
    store = mlflow.tracking._tracking_service.utils._get_store()
    spans_in_the_store = []
    for call, argument in ((store.get_trace, trace.info.trace_id), (store.batch_get_traces, [trace.info.trace_id])):
        try:
            call(argument)
        except MlflowException as error:
            spans_in_the_store.append(error.error_code)
    seen["traces"] = {
        "spans in the store": spans_in_the_store,
        "all": sorted(str(entry.info.state) for entry in traces()),
        "spans": sorted(span.name for span in mlflow.get_trace(trace.info.trace_id).data.spans),
        "tagged": len(traces("tags.kind = 'good'")),
        "deleted": client.delete_traces(place, trace_ids=[trace.info.trace_id]),
        "left": len(traces()),
    }

json.dump(seen, sys.stdout)
