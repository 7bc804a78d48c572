"""Runs in MLflow's own environment: fills its SQL store with the given data and answers the given searches.

Reads JSON from standard input: `{"directory", "experiments", "runs", "logged_models", "models", "searches"}`; writes a
JSON list, for each search the ids that were found, in order, or `{"error": message}`.
"""

import json
import sys
import types
import uuid

import mlflow.store.tracking.sqlalchemy_store as tracking
from mlflow.entities import (
    Dataset,
    DatasetInput,
    InputTag,
    LoggedModelParameter,
    LoggedModelStatus,
    LoggedModelTag,
    Metric,
    Param,
    RunStatus,
    RunTag,
    ViewType,
)
from mlflow.entities.model_registry import ModelVersionTag, RegisteredModelTag
from mlflow.exceptions import MlflowException
from mlflow.store.model_registry.sqlalchemy_store import SqlAlchemyStore as Registry


def use_ids(ids):
    """Let the store make these ids instead of random ones."""
    real, wanted = uuid.uuid4, iter(ids)
    tracking.uuid = types.SimpleNamespace(uuid4=lambda: uuid.UUID(hex=next(wanted)))
    return lambda: setattr(tracking, "uuid", types.SimpleNamespace(uuid4=real))


def fill_runs(store, given):
    for experiment in given["experiments"]:
        made = store.create_experiment(experiment["name"], experiment["artifact_location"])
        assert made == experiment["experiment_id"], (made, experiment)
    for run in given["runs"]:
        restore = use_ids([run["run_id"]])
        store.create_run(run["experiment_id"], run["user_id"], run["start_time"], [], run["run_name"])
        restore()
        store.log_batch(
            run["run_id"],
            [Metric(key, float(value), timestamp, step) for key, value, timestamp, step in run["metrics"]],
            [Param(key, value) for key, value in run["params"]],
            [RunTag(key, value) for key, value in run["tags"]],
        )
        inputs = [
            DatasetInput(Dataset(name, digest, "local", "{}"), [InputTag(key, value) for key, value in tags])
            for name, digest, tags in run["datasets"]
        ]
        if inputs:
            store.log_inputs(run["run_id"], inputs)
        if run["status"] != "RUNNING":
            store.update_run_info(run["run_id"], RunStatus.from_string(run["status"]), run["end_time"], None)
        if run["deleted"]:
            store.delete_run(run["run_id"])


def fill_logged_models(store, given):
    for model in given["logged_models"]:
        restore = use_ids([model["model_id"][2:]])
        store.create_logged_model(
            model["experiment_id"],
            name=model["name"],
            model_type=model["model_type"],
            tags=[LoggedModelTag(key, value) for key, value in model["tags"]],
            params=[LoggedModelParameter(key, value) for key, value in model["params"]],
        )
        restore()
        store.finalize_logged_model(model["model_id"], LoggedModelStatus[model["status"]])
        for run_id, key, value, timestamp, step, name, digest in model["metrics"]:
            point = Metric(key, float(value), timestamp, step, model["model_id"], name, digest, run_id)
            store.log_batch(run_id, [point], [], [])


def fill_registry(registry, given):
    for model in given["models"]:
        registry.create_registered_model(model["name"], [RegisteredModelTag(*pair) for pair in model["tags"]])
        for version in model["versions"]:
            registry.create_model_version(
                model["name"],
                version["source"],
                version["run_id"],
                tags=[ModelVersionTag(*pair) for pair in version["tags"]],
            )


def answer(store, registry, search):
    kind, options = search["kind"], dict(search["options"])
    try:
        if kind == "runs":
            view = ViewType.from_string(options.pop("view_type").lower())
            found = store.search_runs(run_view_type=view, max_results=1000, **options)
            return [run.info.run_id for run in found]
        if kind == "experiments":
            view = ViewType.from_string(options.pop("view_type").lower())
            return [each.experiment_id for each in store.search_experiments(view_type=view, **options)]
        if kind == "logged models":
            return [model.model_id for model in store.search_logged_models(**options)]
        if kind == "models":
            return [model.name for model in registry.search_registered_models(**options)]
        return [[version.name, int(version.version)] for version in registry.search_model_versions(**options)]
    except MlflowException as error:
        return {"error": error.message, "code": error.error_code}


def main():
    given = json.load(sys.stdin)
    uri = f"sqlite:///{given['directory']}/mlflow.db"
    store = tracking.SqlAlchemyStore(uri, given["directory"])
    registry = Registry(uri)
    fill_runs(store, given)
    fill_logged_models(store, given)
    fill_registry(registry, given)
    json.dump([answer(store, registry, search) for search in given["searches"]], sys.stdout)


if __name__ == "__main__":
    main()
