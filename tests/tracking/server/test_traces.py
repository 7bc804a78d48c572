"""Traces as 3.x and as 2.x clients log, read, search and delete them."""

from __future__ import annotations

from contextlib import suppress

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mlgate_tracking.errors import InvalidParameterValue
from mlgate_tracking.server.trace_wire import duration_from_text, time_from_text, time_to_text

V3 = "/api/3.0/mlflow/traces"
ID = "tr-" + "0" * 32


def start(api, trace_id=ID, **more):
    info = {
        "trace_id": trace_id,
        "trace_location": {"type": "MLFLOW_EXPERIMENT", "mlflow_experiment": {"experiment_id": "0"}},
        "request_time": "2025-01-31T12:00:00.250Z",
        "execution_duration": "1.500s",
        "state": "OK",
        "trace_metadata": {"mlflow.sourceRun": "r"},
        "tags": {"mlflow.traceName": "answer"},
        **more,
    }
    return api.post(V3, trace={"trace_info": info})["trace"]["trace_info"]


def search(api, **fields):
    locations = [{"type": "MLFLOW_EXPERIMENT", "mlflow_experiment": {"experiment_id": "0"}}]
    return api.post(V3 + "/search", locations=locations, **fields)


def test_a_trace_comes_back_as_it_was_sent_with_the_place_of_its_spans(api):
    info = start(api, request_preview="q", assessments=[{"name": "good", "feedback": {"value": True}}])
    assert info == api.get(f"{V3}/{ID}")["trace"]["trace_info"]
    assert (info["request_time"], info["execution_duration"]) == ("2025-01-31T12:00:00.250Z", "1.500s")
    assert info["tags"]["mlflow.artifactLocation"] == f"mlflow-artifacts:/0/traces/{ID}/artifacts"
    assert info["assessments"] == [{"name": "good", "feedback": {"value": True}}]
    assert start(api, state="ERROR")["state"] == "ERROR"  # the same id again overwrites


@pytest.mark.parametrize("call", ["get", "batchGet", "batchGetInfos"])
def test_calls_for_spans_in_the_database_are_no_ids_of_traces(api, call):
    assert api.refused("GET", f"{V3}/{call}", trace_id=ID, trace_ids=[ID]) == (404, "ENDPOINT_NOT_FOUND")


def test_traces_are_searched_tagged_and_deleted(api):
    for number in range(3):
        start(api, f"tr-{number:032}", request_time=f"2025-01-31T12:00:0{number}Z")
    page = search(api, max_results=2)
    assert [trace["trace_id"][-1] for trace in page["traces"]] == ["2", "1"]
    assert len(search(api, max_results=2, page_token=page["next_page_token"])["traces"]) == 1
    last = f"tr-{2:032}"
    api.patch(f"{V3}/{last}/tags", key="kind", value="good")
    assert [trace["trace_id"] for trace in search(api, filter="tags.kind = 'good'")["traces"]] == [last]
    api.delete(f"{V3}/{last}/tags", key="kind")
    assert search(api, filter="tags.kind = 'good'") == {}
    assert api.refused("DELETE", f"{V3}/{last}/tags", key="kind") == (404, "RESOURCE_DOES_NOT_EXIST")
    deleted = api.post(V3 + "/delete-traces", experiment_id="0", request_ids=[last])
    assert deleted == {"traces_deleted": 1}
    deleted = api.post("traces/delete-traces", experiment_id="0", max_timestamp_millis=2**42, max_traces=1)
    assert deleted == {"traces_deleted": 1}
    assert api.refused("GET", f"{V3}/{last}") == (404, "RESOURCE_DOES_NOT_EXIST")


def test_2x_clients_begin_and_end_a_trace(api):
    begun = api.post("traces", experiment_id="0", timestamp_ms=1000, tags=[{"key": "a", "value": "b"}])["trace_info"]
    assert (begun["status"], "execution_time_ms" in begun) == ("IN_PROGRESS", False)
    request_id = begun["request_id"]
    metadata = [{"key": "m", "value": "n"}]
    ended = api.patch(f"traces/{request_id}", timestamp_ms=1250, status="OK", request_metadata=metadata)["trace_info"]
    assert (ended["status"], ended["execution_time_ms"], ended["request_metadata"]) == ("OK", 250, metadata)
    assert api.get(f"traces/{request_id}/info")["trace_info"] == ended
    assert api.get("traces", experiment_ids=["0"])["traces"] == [ended]
    assert api.get(f"{V3}/{request_id}")["trace"]["trace_info"]["execution_duration"] == "0.250s"


@pytest.mark.parametrize(
    "wrong",
    [{"request_time": "yesterday"}, {"execution_duration": "fast"}, {"execution_duration": "-1s"}, {"state": "FINE"}],
)
def test_what_is_no_trace_is_refused(api, wrong):
    with pytest.raises(AssertionError, match="INVALID_PARAMETER_VALUE"):
        start(api, **wrong)


@pytest.mark.parametrize("path", ["/v1/traces", "/api/3.0/mlflow/traces/get", "/api/3.0/mlflow/traces/batchGet"])
def test_spans_are_not_offered_by_the_server(client, path):
    assert client.get(path).status_code in (404, 405)


@given(st.integers(0, 253402300799999))
def test_times_survive_the_wire(milliseconds):
    assert time_from_text(time_to_text(milliseconds)) == milliseconds


@given(st.text())
def test_any_text_is_a_time_and_a_duration_or_refused(text):
    for read in (time_from_text, duration_from_text):
        with suppress(InvalidParameterValue):
            assert isinstance(read(text), int)
