"""Searches of runs and experiments through a client: every operator on every kind of field, orders, pages, deleted ones."""

import json
import math
import sys

import mlflow
from mlflow.entities import ViewType
from mlflow.exceptions import MlflowException

V3 = mlflow.__version__.startswith("3.")
PLACE = "searches-" + mlflow.__version__
client = mlflow.MlflowClient()
seen = {"version": mlflow.__version__}
experiment = client.create_experiment(PLACE, tags={"kind": "zoo"})
RUNS = {
    # name: metrics, params, tags, start time
    "a": ({"m": 1.0, "val/loss": 0.5}, {"p": "x", "depth of tree": "3"}, {"t": "Red"}, 30),
    "b": ({"m": 2.0}, {"p": "X"}, {"t": "red"}, 20),
    "c": ({"m": math.nan}, {"p": "xy"}, {}, 20),
    "d": ({}, {}, {"t": "blue", "mlflow.note.content": "n"}, 10),
    "gone": ({"m": 9.0}, {"p": "x"}, {"t": "red"}, 5),
}
ids = {}
for name, (metrics, params, tags, start) in RUNS.items():
    run = client.create_run(experiment, start_time=start, run_name=name, tags=tags)
    ids[name] = run.info.run_id
    for key, value in metrics.items():
        client.log_metric(run.info.run_id, key, value, timestamp=1)
    for key, value in params.items():
        client.log_param(run.info.run_id, key, value)
names = {run_id: name for name, run_id in ids.items()}
client.set_terminated(ids["a"], end_time=40)
client.set_terminated(ids["b"], "FAILED", end_time=50)
client.delete_run(ids["gone"])


def found(text="", order=None, view=ViewType.ACTIVE_ONLY, **options):
    runs = client.search_runs([experiment], text, view, order_by=order, **options)
    return "".join(names[run.info.run_id][0] for run in runs)


def refused(text="", order=None):
    try:
        found(text, order)
    except MlflowException as error:
        return error.error_code
    return None


filters = {
    "": "abcd",
    "metrics.m = 1": "a",
    "metrics.m != 1": "bc",
    "metrics.m > 1": "b",
    "metrics.m >= 1": "ab",
    "metrics.m < 2": "a",
    "metrics.m <= 2.0": "ab",
    "metrics.`val/loss` < 1e0": "a",
    'metrics."val/loss" = .5': "a",
    "params.p = 'x'": "a",
    "params.p != 'x'": "bc",
    "params.p LIKE 'x%'": "ac",
    "params.p ILIKE 'x%'": "abc",
    "params.`depth of tree` = \"3\"": "a",
    "parameters.p LIKE '_'": "ab",
    "tags.t = 'red'": "b",
    "tag.t ILIKE 'RED'": "ab",
    "tags.t != 'red' and metrics.m > 0": "a",
    "tags.mlflow.note.content = 'n'": "d",
    "attributes.status = 'FAILED'": "b",
    "status != 'FAILED'": "acd",
    "run_name = 'c'": "c",
    "attributes.`run name` LIKE '%'": "abcd",
    f"run_id IN ('{ids['a']}', '{ids['c']}', '{ids['gone']}')": "ac",
    f"run_id NOT IN ('{ids['a']}')": "bcd",
    f"run_id = '{ids['d']}'": "d",
    "start_time > 20": "a",
    "attributes.start_time <= 20": "bcd",
    "created >= 20 and end_time > 40": "b",
    "artifact_uri LIKE '%artifacts'": "abcd",
}
if V3:
    filters |= {"tags.t IS NULL": "c", "params.p IS NOT NULL": "abc"}
seen["filters"] = {text: ["".join(sorted(found(text))), wanted] for text, wanted in filters.items()}
orders = {
    # newest first, then by id; missing values last, NaN before them
    "metrics.m ASC": "abcd",
    "metrics.m DESC": "bacd",
    "params.p DESC": "cabd",
    "params.p ASC": "bacd",
    "tags.t ASC": "adbc",
    "attributes.end_time DESC": "ba??",
    "run_name DESC": "dcba",
    "start_time ASC": "d??a",
    "status ASC": "ba??",
}
seen["orders"] = {
    text: ["".join(got if want != "?" else "?" for got, want in zip(found(order=[text]), wanted)), wanted]
    for text, wanted in orders.items()
}
seen["two keys"] = found(order=["start_time ASC", "metrics.m DESC"])
seen["views"] = [found(view=ViewType.DELETED_ONLY), "".join(sorted(found(view=ViewType.ALL)))]
pages, token = [], None
while True:
    page = client.search_runs([experiment], max_results=3, order_by=["run_name ASC"], page_token=token)
    pages.append("".join(names[run.info.run_id] for run in page))
    token = page.token
    if not token:
        break
seen["pages"] = pages
client.restore_run(ids["gone"])
seen["restored"] = "".join(sorted(found("metrics.m > 8")))
client.delete_run(ids["gone"])
table = mlflow.search_runs(experiment_names=[PLACE], filter_string="metrics.m > 0", order_by=["metrics.m DESC"])
seen["table"] = [list(table["metrics.m"]), list(table["params.p"]), list(table["tags.mlflow.runName"])]
seen["everywhere"] = len(mlflow.search_runs(search_all_experiments=True, filter_string=f"run_id = '{ids['a']}'"))
seen["bad"] = [
    refused("metrics.m == 1"),
    refused("metrics.m > 'x'"),
    refused("params.p > 1"),
    refused("nothing.p = 'x'"),
    refused("params.p = 'x' OR params.p = 'y'"),
    refused(order=["metrics.m SIDEWAYS"]),
]
other = client.create_experiment(PLACE + "-other")
client.delete_experiment(other)
seen["experiments"] = {
    text: sorted(each.name[len(PLACE) :] for each in client.search_experiments(filter_string=text, view_type=view))
    for text, view in (
        (f"name LIKE '{PLACE}%'", ViewType.ACTIVE_ONLY),
        (f"name ILIKE '{PLACE.upper()}%'", ViewType.ALL),
        (f"name LIKE '{PLACE}%' and creation_time > 0", ViewType.DELETED_ONLY),
        (f"name = '{PLACE}' and tags.kind = 'zoo'", ViewType.ACTIVE_ONLY),
    )
}
client.restore_experiment(other)
ordered = client.search_experiments(filter_string=f"name LIKE '{PLACE}%'", order_by=["name DESC"], max_results=1)
seen["first experiment"] = [[each.name[len(PLACE) :] for each in ordered], bool(ordered.token)]
json.dump(seen, sys.stdout)
