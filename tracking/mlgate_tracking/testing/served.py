"""What every store that stands behind a server must do with traces and webhooks: a test class for each.

Give them a fixture `store`, which all tests may share.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from mlgate_tracking.contract import ServerStore
from mlgate_tracking.entities import Fence, Tag, TraceInfo, WebhookEvent
from mlgate_tracking.errors import InvalidParameterValue, PermissionDenied, ResourceDoesNotExist
from mlgate_tracking.store.search.parser import MAX_ORDERINGS
from mlgate_tracking.testing.stores import fresh, values


def trace_of(experiment_id: str, **fields: Any) -> TraceInfo:
    """A trace with an id of its own."""
    defaults: dict[str, Any] = {"trace_id": fresh("tr"), "experiment_id": experiment_id, "request_time": 1_000}
    return TraceInfo(**(defaults | fields))


class TraceConformance:
    @pytest.fixture
    def experiment_id(self, store: ServerStore) -> str:
        return store.create_experiment(fresh("experiment"))

    def test_a_trace_keeps_what_it_was_started_with(self, store: ServerStore, experiment_id: str) -> None:
        given = trace_of(
            experiment_id,
            state="OK",
            execution_duration=250,
            client_request_id="client-1",
            request_preview="in",
            response_preview="out",
            trace_metadata=(Tag("mlflow.sourceRun", "r"),),
            tags=(Tag("mlflow.traceName", "predict"),),
            assessments='[{"name": "good"}]',
        )
        made = store.start_trace(given)
        location = store.get_experiment(experiment_id).artifact_location
        artifacts = f"{location}/traces/{given.trace_id}/artifacts"
        assert values(made.tags) == {"mlflow.artifactLocation": artifacts, "mlflow.traceName": "predict"}
        assert replace(made, tags=given.tags) == given
        assert store.get_trace_info(given.trace_id) == made

    def test_a_trace_that_is_sent_again_is_overwritten(self, store: ServerStore, experiment_id: str) -> None:
        first = trace_of(experiment_id, state="IN_PROGRESS", tags=(Tag("a", "1"), Tag("b", "1")))
        store.start_trace(first)
        store.start_trace(replace(first, state="OK", execution_duration=5, tags=(Tag("a", "2"),)))
        found = store.get_trace_info(first.trace_id)
        assert (found.state, found.execution_duration) == ("OK", 5)
        assert (values(found.tags)["a"], values(found.tags)["b"]) == ("2", "1")

    def test_a_bad_trace_is_refused(self, store: ServerStore, experiment_id: str) -> None:
        for bad in (
            trace_of(experiment_id, trace_id=""),
            trace_of(experiment_id, trace_id="../x"),
            trace_of(experiment_id, state="DONE"),
        ):
            with pytest.raises(InvalidParameterValue):
                store.start_trace(bad)
        with pytest.raises(ResourceDoesNotExist):
            store.start_trace(trace_of("987654321"))
        with pytest.raises(ResourceDoesNotExist):
            store.get_trace_info("tr-nobody")

    def test_trace_tags_are_set_and_deleted(self, store: ServerStore, experiment_id: str) -> None:
        trace = store.start_trace(trace_of(experiment_id))
        store.set_trace_tag(trace.trace_id, Tag("k", "1"))
        store.set_trace_tag(trace.trace_id, Tag("k", "2"))
        assert values(store.get_trace_info(trace.trace_id).tags)["k"] == "2"
        store.delete_trace_tag(trace.trace_id, "k")
        with pytest.raises(ResourceDoesNotExist):
            store.delete_trace_tag(trace.trace_id, "k")
        with pytest.raises(ResourceDoesNotExist):
            store.set_trace_tag("tr-nobody", Tag("k", "1"))

    def test_traces_are_deleted_by_id_or_age(self, store: ServerStore, experiment_id: str) -> None:
        made = [store.start_trace(trace_of(experiment_id, request_time=time)).trace_id for time in (10, 20, 30, 40)]
        assert store.delete_traces(experiment_id, trace_ids=[made[3], "tr-nobody"]) == 1
        assert store.delete_traces(experiment_id, max_timestamp=30, max_traces=1) == 1
        assert [trace.trace_id for trace in store.search_traces([experiment_id]).items] == [made[2], made[1]]
        assert store.delete_traces(experiment_id, max_timestamp=25) == 1
        bad_calls: tuple[dict[str, Any], ...] = (
            {},
            {"trace_ids": ["a"], "max_timestamp": 1},
            {"max_timestamp": 1, "max_traces": 0},
        )
        for bad in bad_calls:
            with pytest.raises(InvalidParameterValue):
                store.delete_traces(experiment_id, **bad)

    def test_traces_are_found_and_ordered(self, store: ServerStore, experiment_id: str) -> None:
        made = []
        for number, state in enumerate(("OK", "ERROR", "IN_PROGRESS")):
            trace = trace_of(
                experiment_id,
                request_time=100 * number,
                execution_duration=None if state == "IN_PROGRESS" else 300 - 200 * number,
                state=state,
                client_request_id=f"c{number}",
                tags=(Tag("mlflow.traceName", f"Step-{number}"), Tag("k", str(number))),
                trace_metadata=(Tag("mlflow.sourceRun", f"run{number % 2}"),),
            )
            made.append(store.start_trace(trace).trace_id)

        def found(filter_string: str | None = None, *order_by: str) -> list[int]:
            page = store.search_traces([experiment_id], filter_string=filter_string, order_by=order_by)
            return [made.index(trace.trace_id) for trace in page.items]

        assert found() == [2, 1, 0]
        assert found(None, "timestamp ASC") == [0, 1, 2]
        assert found(None, "execution_time_ms") == [1, 0, 2]
        assert found(None, "end_time DESC") == [0, 1, 2]
        assert found(None, "tags.k") == [0, 1, 2]
        assert found(None, "name DESC") == [2, 1, 0]
        assert found("status = 'OK'") == [0]
        assert found("trace.status IN ('OK', 'ERROR')") == [1, 0]
        assert found("name = 'Step-1'") == [1]
        assert found("name RLIKE '^Step-[12]$'") == [2, 1]
        assert found("run_id = 'run0'") == [2, 0]
        assert found("metadata.`mlflow.sourceRun` LIKE '%1'") == [1]
        assert found("tags.k IS NOT NULL AND timestamp_ms >= 100") == [2, 1]
        assert found("client_request_id ILIKE 'C2'") == [2]
        assert found("end_time < 250") == [1]
        assert found(f"request_id = '{made[0]}'") == [0]
        assert store.search_traces([]).items == ()

    def test_as_many_trace_orders_as_allowed(self, store: ServerStore, experiment_id: str) -> None:
        made = store.start_trace(trace_of(experiment_id))
        orders = [f"tags.t{number}" for number in range(MAX_ORDERINGS)]
        assert store.search_traces([experiment_id], order_by=orders).items == (made,)
        with pytest.raises(InvalidParameterValue, match=f"at most {MAX_ORDERINGS} are allowed"):
            store.search_traces([experiment_id], order_by=[*orders, "timestamp"])

    def test_pages_of_traces_join_up(self, store: ServerStore, experiment_id: str) -> None:
        made = {store.start_trace(trace_of(experiment_id)).trace_id for _ in range(3)}
        found, token = [], None
        for _ in made:
            page = store.search_traces([experiment_id], max_results=1, page_token=token)
            found += [trace.trace_id for trace in page.items]
            token = page.token
        assert (set(found), token) == (made, None)
        with pytest.raises(InvalidParameterValue):
            store.search_traces([experiment_id], max_results=501)


CREATED = WebhookEvent("model_version", "created")
MOVED = WebhookEvent("model_version_alias", "created")


class WebhookConformance:
    def test_a_webhook_keeps_what_it_was_created_with_but_its_secret(self, store: ServerStore) -> None:
        made = store.create_webhook("hook", "https://x.org/h", [CREATED, MOVED, CREATED], description="d", secret="s")  # noqa: S106
        assert made == store.get_webhook(made.webhook_id)
        assert (made.name, made.url, made.events) == ("hook", "https://x.org/h", (CREATED, MOVED))
        assert (made.status, made.description) == ("ACTIVE", "d")
        assert "'s'" not in repr(made)
        assert store.get_webhook_secret(made.webhook_id) == "s"

    def test_a_webhook_changes_in_what_is_given(self, store: ServerStore) -> None:
        made = store.create_webhook("hook", "https://x.org/h", [CREATED], secret="s")  # noqa: S106
        changed = store.update_webhook(made.webhook_id, status="DISABLED", events=[MOVED])
        assert (changed.status, changed.events, changed.name) == ("DISABLED", (MOVED,), "hook")
        assert store.get_webhook_secret(made.webhook_id) == "s"
        assert store.update_webhook(made.webhook_id, name="other", url="https://y.org").name == "other"

    def test_a_deleted_webhook_is_gone(self, store: ServerStore) -> None:
        made = store.create_webhook("hook", "https://x.org/h", [CREATED])
        store.delete_webhook(made.webhook_id)
        for call in (store.get_webhook, store.delete_webhook, store.get_webhook_secret):
            with pytest.raises(ResourceDoesNotExist):
                call(made.webhook_id)
        assert made.webhook_id not in {hook.webhook_id for hook in store.list_webhooks().items}

    def test_an_event_finds_who_listens(self, store: ServerStore) -> None:
        event = WebhookEvent("prompt_tag", "deleted")
        listening = [store.create_webhook("hook", "https://x.org/h", [event, MOVED]).webhook_id for _ in range(2)]
        store.create_webhook("hook", "https://x.org/h", [event], status="DISABLED")
        store.create_webhook("hook", "https://x.org/h", [CREATED])
        assert [hook.webhook_id for hook in store.webhooks_for(event)] == listening

    def test_webhooks_are_listed_newest_first(self, store: ServerStore) -> None:
        made = [store.create_webhook("hook", "https://x.org/h", [CREATED]).webhook_id for _ in range(3)]
        first = store.list_webhooks(max_results=2)
        assert [hook.webhook_id for hook in first.items] == made[:0:-1]
        assert store.list_webhooks(max_results=1, page_token=first.token).items[0].webhook_id == made[0]
        bad_calls: tuple[dict[str, Any], ...] = ({"max_results": 0}, {"page_token": "x"})
        for bad in bad_calls:
            with pytest.raises(InvalidParameterValue):
                store.list_webhooks(**bad)

    @pytest.mark.parametrize(
        "bad",
        [
            {"name": ""},
            {"name": "-a"},
            {"name": "a" * 64},
            {"url": " "},
            {"status": "ON"},
            {"events": []},
            {"events": [WebhookEvent("model_version", "deleted")]},
        ],
    )
    def test_a_bad_webhook_is_refused(self, store: ServerStore, bad: dict[str, Any]) -> None:
        good: dict[str, Any] = {"name": "hook", "url": "https://x.org", "events": [CREATED]}
        with pytest.raises(InvalidParameterValue):
            store.create_webhook(**good | bad)
        made = store.create_webhook(**good)
        with pytest.raises(InvalidParameterValue):
            store.update_webhook(made.webhook_id, **bad)

    def test_a_step_subscribes_nobody(self, store: ServerStore) -> None:
        step = store.open_step_run(fresh("step"), experiment_id=store.create_experiment(fresh("experiment")))
        fenced = store.fenced(Fence(step.run.info.run_id, step.attempt))
        assert isinstance(fenced, ServerStore)
        with pytest.raises(PermissionDenied):
            fenced.create_webhook("hook", "https://x.org/h", [CREATED])


__all__ = ["TraceConformance", "WebhookConformance", "trace_of"]
