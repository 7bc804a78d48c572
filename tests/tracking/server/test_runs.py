"""Experiments, runs, metrics and models over the wire: what MLflow's clients send, and what they rely on."""

from __future__ import annotations

import json

import pytest


def test_an_experiments_life(api):
    made = api.post("experiments/create", name="flowers", tags=[{"key": "k", "value": "v"}])
    experiment_id = made["experiment_id"]
    shown = api.get("experiments/get", experiment_id=experiment_id)["experiment"]
    assert shown["artifact_location"] == f"mlflow-artifacts:/{experiment_id}"
    assert shown["tags"] == [{"key": "k", "value": "v"}]
    assert api.refused("POST", "experiments/create", name="flowers") == (400, "RESOURCE_ALREADY_EXISTS")
    assert api.refused("GET", "experiments/get-by-name", experiment_name="x") == (404, "RESOURCE_DOES_NOT_EXIST")
    api.post("experiments/update", experiment_id=experiment_id, new_name="plants")
    api.post("experiments/set-experiment-tag", experiment_id=experiment_id, key="a", value="b")
    api.post("experiments/delete-experiment-tag", experiment_id=experiment_id, key="k")
    api.post("experiments/delete", experiment_id=experiment_id)
    assert api.refused("POST", "experiments/delete", experiment_id=experiment_id)[0] == 404
    deleted = api.post("experiments/search", max_results=10, view_type="DELETED_ONLY")["experiments"]
    assert [experiment["name"] for experiment in deleted] == ["plants"]
    api.post("experiments/restore", experiment_id=experiment_id)
    found = api.get("experiments/search", max_results=1, order_by=["name DESC"])
    assert (found["experiments"][0]["name"], "next_page_token" in found) == ("plants", True)


@pytest.mark.parametrize("size", [0, 50_001, None])
def test_a_search_of_experiments_needs_a_page_size(api, size):
    fields = {} if size is None else {"max_results": size}
    assert api.refused("POST", "experiments/search", **fields) == (400, "INVALID_PARAMETER_VALUE")


def test_enums_come_by_name_or_number_and_others_are_refused(api):
    run_id = api.run()
    for status in ("FAILED", 3, "3"):
        answer = api.post("runs/update", run_id=run_id, status=status, end_time="5")
        assert answer["run_info"]["status"] == ("FAILED" if status == "FAILED" else "FINISHED")
    assert answer["run_info"]["end_time"] == 5
    assert api.refused("POST", "runs/update", run_id=run_id, status="BOGUS") == (400, "INVALID_PARAMETER_VALUE")
    assert api.refused("POST", "runs/search", experiment_ids=["0"], run_view_type=9)[0] == 400


def test_run_uuid_stands_in_for_run_id_where_clients_send_it(api):
    run_id = api.run()
    api.post("runs/log-metric", run_uuid=run_id, key="m", value="1.5", timestamp="7", step="-2")
    api.post("runs/log-parameter", run_uuid=run_id, run_id=run_id, key="p", value="")
    api.post("runs/set-tag", run_uuid=run_id, key="t")
    run = api.get("runs/get", run_uuid=run_id)["run"]
    assert run["data"]["metrics"] == [{"key": "m", "value": 1.5, "timestamp": 7, "step": -2}]
    assert run["data"]["params"] == [{"key": "p", "value": ""}]
    assert {"key": "t", "value": ""} in run["data"]["tags"]
    assert api.refused("GET", "runs/get") == (400, "INVALID_PARAMETER_VALUE")
    assert api.refused("POST", "runs/delete", run_uuid=run_id) == (400, "INVALID_PARAMETER_VALUE")


def test_a_run_without_an_experiment_goes_to_the_default_one_and_gets_a_name(api):
    info = api.post("runs/create")["run"]["info"]
    assert (info["experiment_id"], info["user_id"], info["start_time"]) == ("0", "", 0)
    assert info["run_name"]
    assert "end_time" not in info
    tags = [{"key": "mlflow.runName", "value": "b"}]
    assert api.refused("POST", "runs/create", run_name="a", tags=tags) == (400, "INVALID_PARAMETER_VALUE")


def test_the_same_idempotency_key_makes_one_run(client):
    runs = {
        client.post("/api/2.0/mlflow/runs/create", json={}, headers={"Idempotency-Key": "once"}).json()["run"]["info"][
            "run_id"
        ]
        for _ in range(2)
    }
    assert len(runs) == 1


@pytest.mark.parametrize(("sent", "stored"), [("NaN", "NaN"), ("Infinity", 1.7976931348623157e308), (1, 1)])
def test_numbers_that_are_none_survive(api, sent, stored):
    run_id = api.run()
    api.post("runs/log-metric", run_id=run_id, key="m", value=sent, timestamp=1)
    assert api.get("runs/get", run_id=run_id)["run"]["data"]["metrics"][0]["value"] == stored


@pytest.mark.parametrize("value", [True, "abc", None, [1]])
def test_values_that_are_no_numbers_are_refused(api, value):
    run_id = api.run()
    refused = api.refused("POST", "runs/log-metric", run_id=run_id, key="m", value=value, timestamp=1)
    assert refused == (400, "INVALID_PARAMETER_VALUE")


def entries(count, **fields):
    return [{"key": f"k{number}", **fields} for number in range(count)]


@pytest.mark.parametrize(
    "fields",
    [
        {"metrics": entries(1001, value=1, timestamp=1)},
        {"params": entries(101, value="v")},
        {"tags": entries(101, value="v")},
        {"metrics": entries(950, value=1, timestamp=1), "params": entries(51, value="v")},
    ],
)
def test_a_batch_over_the_limits_is_refused(api, fields):
    run_id = api.run()
    assert api.refused("POST", "runs/log-batch", run_id=run_id, **fields) == (400, "INVALID_PARAMETER_VALUE")
    assert "data" in api.get("runs/get", run_id=run_id)["run"]


def test_a_batch_that_changes_a_param_writes_nothing(api):
    run_id = api.run()
    api.post("runs/log-batch", run_id=run_id, params=[{"key": "p", "value": "1"}])
    refused = api.refused(
        "POST", "runs/log-batch", run_id=run_id, params=[{"key": "p", "value": "2"}], tags=[{"key": "t", "value": "v"}]
    )
    assert refused == (400, "INVALID_PARAMETER_VALUE")
    assert "t" not in {tag["key"] for tag in api.get("runs/get", run_id=run_id)["run"]["data"]["tags"]}


def test_inputs_and_outputs_are_kept(api):
    run_id = api.run()
    dataset = {"name": "d", "digest": "1", "source_type": "local", "source": "s"}
    api.post("runs/log-inputs", run_id=run_id, datasets=[{"dataset": dataset, "tags": entries(1, value="v")}])
    model_id = api.post("logged-models", experiment_id="0", source_run_id=run_id)["model"]["info"]["model_id"]
    for step in (1, 2):
        api.post("runs/outputs", run_id=run_id, models=[{"model_id": model_id, "step": step}])
    run = api.get("runs/get", run_id=run_id)["run"]
    assert run["inputs"]["dataset_inputs"] == [{"tags": entries(1, value="v"), "dataset": dataset}]
    assert run["outputs"]["model_outputs"] == [{"model_id": model_id, "step": 2}]
    assert api.refused("POST", "runs/outputs", run_id=run_id)[0] == 400


def test_what_the_runs_of_experiments_have_read_is_listed_once(api):
    other = api.post("experiments/create", name="other")["experiment_id"]
    first, second, elsewhere = api.run(), api.run(), api.run(experiment_id=other)
    context = [{"key": "mlflow.data.context", "value": "training"}, {"key": "k", "value": "v"}]

    def read(run_id, name, tags=()):
        dataset = {"name": name, "digest": "1", "source_type": "local", "source": "s"}
        api.post("runs/log-inputs", run_id=run_id, datasets=[{"dataset": dataset, "tags": list(tags)}])

    for run_id in (first, second):
        read(run_id, "a", context)
    read(second, "b")
    read(elsewhere, "c")
    path = "/ajax-api/2.0/mlflow/experiments/search-datasets"
    assert api.post(path, experiment_ids=["0"])["dataset_summaries"] == [
        {"experiment_id": "0", "name": "a", "digest": "1", "context": "training"},
        {"experiment_id": "0", "name": "b", "digest": "1"},
    ]
    assert len(api.post(path, experiment_ids=["0", other])["dataset_summaries"]) == 3
    assert api.post(path, experiment_ids=["77"]) == {}
    for wrong in ([], ["0"] * 21):
        assert api.refused("POST", path, experiment_ids=wrong) == (400, "INVALID_PARAMETER_VALUE")


def test_a_2x_model_is_noted_in_the_runs_history_tag(api):
    run_id = api.run()
    model = {"artifact_path": "model", "flavors": {}, "utc_time_created": "now", "run_id": run_id, "model_uuid": "u"}
    api.post("runs/log-model", run_id=run_id, model_json=json.dumps(model))
    tags = {tag["key"]: tag["value"] for tag in api.get("runs/get", run_id=run_id)["run"]["data"]["tags"]}
    assert json.loads(tags["mlflow.log-model.history"])[0]["artifact_path"] == "model"
    assert api.refused("POST", "runs/log-model", run_id=run_id, model_json="{")[0] == 400


def test_histories_are_paged_and_sampled(api):
    run_id, other = api.run(), api.run()
    for run in (run_id, other):
        points = [{"key": "m", "value": step, "timestamp": step, "step": step} for step in range(10)]
        api.post("runs/log-batch", run_id=run, metrics=points)
    steps, token = [], ""
    while True:
        page = api.get("metrics/get-history", run_id=run_id, metric_key="m", max_results=4, page_token=token)
        steps += [point["step"] for point in page["metrics"]]
        token = page.get("next_page_token")
        if not token:
            break
    assert steps == list(range(10))
    assert api.get("metrics/get-history", run_id=run_id, metric_key="none") == {}
    assert api.refused("GET", "metrics/get-history", run_id=run_id, metric_key="m", max_results=0)[0] == 400
    bulk = api.get("/ajax-api/2.0/mlflow/metrics/get-history-bulk", run_id=[run_id, other], metric_key="m")
    assert len(bulk["metrics"]) == 20
    sampled = api.get("metrics/get-history-bulk-interval", run_ids=[run_id], metric_key="m", max_results=3)["metrics"]
    assert (sampled[0]["step"], sampled[-1]["step"], len(sampled)) == (0, 9, 3)
    assert api.refused("GET", "metrics/get-history-bulk-interval", run_ids=[run_id], metric_key="m", start_step=1)


def test_a_step_run_is_opened_found_moved_and_closed(api):
    base = "/api/3.0/mlgate/step-runs/"
    elsewhere = api.post("experiments/create", name="elsewhere")["experiment_id"]
    opened = api.post(base + "open", step_run_key="k", experiment_id="0", params=entries(1, value="1"))["step_run"]
    run_id = opened["run"]["info"]["run_id"]
    assert (opened["attempt"], opened["created"]) == (1, True)
    assert api.get(base + "get", step_run_key="k")["step_run"]["run"]["info"]["run_id"] == run_id
    assert api.refused("GET", base + "get", step_run_key="other") == (404, "RESOURCE_DOES_NOT_EXIST")
    moved = api.post(base + "move", run_id=run_id, experiment_id=elsewhere)["run"]["info"]
    assert moved["experiment_id"] == elsewhere
    again = api.post(base + "open", step_run_key="k", experiment_id="0")["step_run"]
    assert (again["attempt"], again["previous_status"]) == (2, "RUNNING")
    late = {"run_id": run_id, "attempt": 1, "status": "FAILED", "end_time": 9}
    assert api.refused("POST", base + "close", **late) == (409, "ABORTED")
    closed = api.post(base + "close", **{**late, "attempt": 2, "status": "FINISHED"})["run"]["info"]
    assert (closed["status"], closed["end_time"]) == ("FINISHED", 9)


def test_logged_models_over_the_wire(api):
    model_id = api.post("logged-models", experiment_id="0", name="m", params=entries(1, value="1"))["model"]["info"][
        "model_id"
    ]
    assert api.patch(f"logged-models/{model_id}", status="LOGGED_MODEL_READY")["model"]["info"]["status"] == (
        "LOGGED_MODEL_READY"
    )
    api.patch(f"logged-models/{model_id}/tags", tags=[{"key": "a/b", "value": "1"}])
    api.post(f"logged-models/{model_id}/params", params=[{"key": "q", "value": "2"}])
    found = api.post("logged-models/search", experiment_ids=["0"], filter="params.q = '2'")["models"]
    assert [model["info"]["model_id"] for model in found] == [model_id]
    api.delete(f"logged-models/{model_id}/tags/a%2Fb")
    assert "tags" not in api.get(f"logged-models/{model_id}")["model"]["info"]
    assert api.get(f"logged-models/{model_id}/artifacts/directories")["root_uri"].endswith(f"{model_id}/artifacts")
    api.delete(f"logged-models/{model_id}")
    assert api.refused("GET", f"logged-models/{model_id}")[0] == 404
    assert api.get(f"logged-models/{model_id}", allow_deleted="true")
    assert api.refused("POST", "logged-models/search") == (400, "INVALID_PARAMETER_VALUE")


def test_the_registry_over_the_wire(api):
    api.post("registered-models/create", name="m", description="d")
    assert api.refused("POST", "registered-models/create", name="m") == (400, "RESOURCE_ALREADY_EXISTS")
    for number in ("1", "2"):
        version = api.post("model-versions/create", name="m", source="s3://bucket/model")["model_version"]
        assert (version["version"], version["current_stage"], version["run_id"]) == (number, "None", "")
    api.post("registered-models/alias", name="m", alias="champion", version="1")
    assert api.get("registered-models/alias", name="m", alias="champion")["model_version"]["version"] == "1"
    assert api.refused("GET", "registered-models/alias", name="m", alias="x") == (400, "INVALID_PARAMETER_VALUE")
    assert api.refused("GET", "registered-models/alias", name="x", alias="x") == (404, "RESOURCE_DOES_NOT_EXIST")
    for number in ("1", "2"):
        api.post(
            "model-versions/transition-stage", name="m", version=number, stage="production",
            archive_existing_versions=True,
        )  # fmt: skip
    assert api.get("model-versions/get", name="m", version="1")["model_version"]["current_stage"] == "Archived"
    latest = api.get("registered-models/get-latest-versions", name="m", stages=["Production"])["model_versions"]
    assert [version["version"] for version in latest] == ["2"]
    assert api.get("model-versions/get-download-uri", name="m", version=2) == {"artifact_uri": "s3://bucket/model"}
    model = api.get("registered-models/get", name="m")["registered_model"]
    assert model["aliases"] == [{"alias": "champion", "version": "1"}]
    assert api.patch("registered-models/update", name="m")["registered_model"].get("description") is None
    assert api.refused("GET", "model-versions/get", name="m", version="x")[0] == 400
    assert api.refused(
        "POST", "model-versions/transition-stage", name="m", version=1, stage="None", archive_existing_versions=True
    ) == (400, "INVALID_PARAMETER_VALUE")
    api.delete("model-versions/delete", name="m", version="1")
    assert api.refused("DELETE", "model-versions/delete", name="m", version="1")[0] == 404
    api.post("registered-models/rename", name="m", new_name="n")
    api.delete("registered-models/delete", name="n")
    assert api.refused("GET", "registered-models/get", name="n")[0] == 404
