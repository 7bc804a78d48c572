"""What every store must do with logged models: one test class, run over each store.

Give it a fixture `store`, which all tests may share.
"""

from __future__ import annotations

import math
from typing import Any

import pytest

from mlgate_tracking.contract import Store
from mlgate_tracking.entities import Fence, LoggedModel, LoggedModelStatus, Metric, Param, Run, Tag
from mlgate_tracking.errors import BadRequest, InvalidParameterValue, PermissionDenied, ResourceDoesNotExist
from mlgate_tracking.store.search.parser import MAX_COMPARISONS, MAX_DATASETS, MAX_EXPERIMENTS, MAX_ORDERINGS
from mlgate_tracking.testing.stores import fresh, values


class LoggedModelConformance:
    @pytest.fixture
    def experiment_id(self, store: Store) -> str:
        return store.create_experiment(fresh("experiment"))

    @pytest.fixture
    def run(self, store: Store, experiment_id: str) -> Run:
        return store.create_run(experiment_id)

    @pytest.fixture
    def model(self, store: Store, run: Run) -> LoggedModel:
        return store.create_logged_model(run.info.experiment_id, name="iris", source_run_id=run.info.run_id)

    def test_a_model_keeps_what_it_was_created_with(self, store: Store, run: Run) -> None:
        made = store.create_logged_model(
            run.info.experiment_id,
            name="iris",
            model_type="classifier",
            source_run_id=run.info.run_id,
            params=[Param("depth", "3"), Param("empty", "")],
            tags=[Tag("team", "ml")],
        )
        assert made == store.get_logged_model(made.model_id)
        assert (made.name, made.model_type, made.source_run_id) == ("iris", "classifier", run.info.run_id)
        assert (made.experiment_id, made.status) == (run.info.experiment_id, LoggedModelStatus.PENDING)
        assert (values(made.params), values(made.tags)) == ({"depth": "3", "empty": ""}, {"team": "ml"})
        assert made.model_id.startswith("m-")
        assert len(made.model_id) == 34
        location = store.get_experiment(run.info.experiment_id).artifact_location
        assert made.artifact_uri == f"{location}/models/{made.model_id}/artifacts"

    def test_a_model_without_a_name_gets_one(self, store: Store, experiment_id: str) -> None:
        assert store.create_logged_model(experiment_id).name

    @pytest.mark.parametrize("name", ["a/b", "a:b", "a.b", "a%b", 'a"b', "a'b"])
    def test_a_bad_name_is_refused(self, store: Store, experiment_id: str, name: str) -> None:
        with pytest.raises(InvalidParameterValue):
            store.create_logged_model(experiment_id, name=name)

    def test_a_model_needs_an_active_experiment(self, store: Store, experiment_id: str) -> None:
        with pytest.raises(ResourceDoesNotExist):
            store.create_logged_model("987654321")
        store.delete_experiment(experiment_id)
        with pytest.raises(InvalidParameterValue):
            store.create_logged_model(experiment_id)

    def test_the_same_idempotency_key_makes_one_model(self, store: Store, experiment_id: str) -> None:
        key = fresh("key")
        first = store.create_logged_model(experiment_id, name="iris", idempotency_key=key)
        assert store.create_logged_model(experiment_id, name="iris", idempotency_key=key) == first
        assert store.create_logged_model(experiment_id, name="iris").model_id != first.model_id

    def test_a_model_is_finalized(self, store: Store, model: LoggedModel) -> None:
        assert store.finalize_logged_model(model.model_id, LoggedModelStatus.READY).status is LoggedModelStatus.READY
        assert store.get_logged_model(model.model_id).status is LoggedModelStatus.READY
        with pytest.raises(InvalidParameterValue):
            store.finalize_logged_model(model.model_id, LoggedModelStatus.UNSPECIFIED)

    def test_a_deleted_model_is_seen_only_when_asked_for(self, store: Store, model: LoggedModel) -> None:
        store.delete_logged_model(model.model_id)
        store.delete_logged_model(model.model_id)
        with pytest.raises(ResourceDoesNotExist, match=model.model_id):
            store.get_logged_model(model.model_id)
        assert store.get_logged_model(model.model_id, allow_deleted=True).model_id == model.model_id
        assert store.search_logged_models([model.experiment_id]).items == ()
        with pytest.raises(ResourceDoesNotExist):
            store.set_logged_model_tags(model.model_id, [Tag("k", "v")])

    def test_tags_are_overwritten_and_deleted(self, store: Store, model: LoggedModel) -> None:
        store.set_logged_model_tags(model.model_id, [Tag("k", "1"), Tag("l", "1")])
        store.set_logged_model_tags(model.model_id, [Tag("k", "2")])
        assert values(store.get_logged_model(model.model_id).tags) == {"k": "2", "l": "1"}
        store.delete_logged_model_tag(model.model_id, "k")
        for key in ("k", "never used by anyone"):
            with pytest.raises(ResourceDoesNotExist):
                store.delete_logged_model_tag(model.model_id, key)

    def test_params_stay_as_they_are(self, store: Store, model: LoggedModel) -> None:
        store.log_logged_model_params(model.model_id, [Param("depth", "3")])
        store.log_logged_model_params(model.model_id, [Param("depth", "3"), Param("rate", "0.1")])
        with pytest.raises(BadRequest, match="depth"):
            store.log_logged_model_params(model.model_id, [Param("new", "1"), Param("depth", "4")])
        assert values(store.get_logged_model(model.model_id).params) == {"depth": "3", "rate": "0.1"}

    def test_metrics_of_a_run_reach_their_model(self, store: Store, run: Run, model: LoggedModel) -> None:
        run_id, model_id = run.info.run_id, model.model_id
        point = Metric("acc", 0.9, 5, 1, model_id=model_id, dataset_name="iris", dataset_digest="1")
        store.log_batch(run_id, metrics=[point, Metric("acc", math.nan, 6, 2, model_id=model_id)])
        first, second = store.get_logged_model(model_id).metrics
        assert (first.key, first.value, first.timestamp, first.step) == ("acc", 0.9, 5, 1)
        assert (first.model_id, first.run_id) == (model_id, run_id)
        assert (first.dataset_name, first.dataset_digest) == ("iris", "1")
        assert math.isnan(second.value)
        assert len(store.metric_history(run_id, "acc").items) == 2

    def test_a_step_changes_only_its_own_models(self, store: Store, model: LoggedModel) -> None:
        step = store.open_step_run(fresh("step"), experiment_id=model.experiment_id)
        fenced = store.fenced(Fence(step.run.info.run_id, step.attempt))
        own = fenced.create_logged_model(model.experiment_id, source_run_id=step.run.info.run_id)
        fenced.set_logged_model_tags(own.model_id, [Tag("k", "v")])
        fenced.finalize_logged_model(own.model_id, LoggedModelStatus.READY)
        with pytest.raises(PermissionDenied):
            fenced.delete_logged_model(model.model_id)
        fenced.delete_logged_model(own.model_id)

    # --- search -------------------------------------------------------------------------------------------------

    @pytest.fixture
    def models(self, store: Store, run: Run) -> list[str]:
        """Four models: accuracies 0.1 on d1, 0.9 on d1 (was 0.2) and 0.5 on d2, NaN, none."""
        made = []
        for number in range(4):
            model = store.create_logged_model(
                run.info.experiment_id,
                name=f"Model-{number}",
                model_type="kind" if number % 2 else None,
                source_run_id=run.info.run_id,
                params=[Param("depth", str(number))],
                tags=[Tag("team", "ab"[number % 2])],
            )
            made.append(model.model_id)
        d1, d2 = ({"dataset_name": name, "dataset_digest": "1"} for name in ("d1", "d2"))
        store.log_batch(
            run.info.run_id,
            metrics=[
                Metric("acc", 0.1, 1, 0, model_id=made[0], **d1),
                Metric("acc", 0.2, 1, 0, model_id=made[1], **d1),
                Metric("acc", 0.9, 2, 1, model_id=made[1], **d1),
                Metric("acc", 0.5, 1, 0, model_id=made[1], **d2),
                Metric("acc", math.nan, 3, 0, model_id=made[2]),
            ],
        )
        store.finalize_logged_model(made[0], LoggedModelStatus.READY)
        return made

    def test_models_are_found(self, store: Store, run: Run, models: list[str]) -> None:
        def found(filter_string: str | None = None, **options: Any) -> list[int]:
            page = store.search_logged_models([run.info.experiment_id], filter_string=filter_string, **options)
            return sorted(models.index(model.model_id) for model in page.items)

        assert found() == [0, 1, 2, 3]
        assert found("metrics.acc > 0.4") == [1]
        assert found("metrics.acc < 0.25") == [0, 1]
        assert found("metrics.acc != 0.1") == [1, 2]
        assert found("params.depth = '2'") == [2]
        assert found("params.depth IN ('2', '3')") == [2, 3]
        assert found("tags.team = 'a' AND name LIKE 'Model%'") == [0, 2]
        assert found("name ILIKE 'model-1'") == [1]
        assert found("status = 'READY'") == [0]
        assert found("status != 'READY'") == [1, 2, 3]
        assert found(f"model_id IN ('{models[1]}')") == [1]
        assert found(f"attributes.source_run_id = '{run.info.run_id}' AND creation_time > 0") == [0, 1, 2, 3]
        assert found(f"experiment_id = '{run.info.experiment_id}' AND model_type = 'kind'") == [1, 3]
        assert found(datasets=[{"dataset_name": "d1"}]) == [0, 1]
        assert found(datasets=[{"dataset_name": "d1", "dataset_digest": "2"}]) == []
        assert found("metrics.acc > 0.4", datasets=[{"dataset_name": "d2", "dataset_digest": "1"}]) == [1]
        assert found("metrics.acc > 0.6", datasets=[{"dataset_name": "d2"}]) == []

    def test_models_are_ordered(self, store: Store, run: Run, models: list[str]) -> None:
        def found(*order_by: dict[str, object]) -> list[int]:
            page = store.search_logged_models([run.info.experiment_id], order_by=order_by)
            return [models.index(model.model_id) for model in page.items]

        by_metric: dict[str, object] = {"field_name": "metrics.acc"}
        names: dict[str, object] = {"field_name": "name"}
        assert found(names) == [0, 1, 2, 3]
        assert found({"field_name": "name", "ascending": False}) == [3, 2, 1, 0]
        assert found({"field_name": "model_type"}, names) == [1, 3, 0, 2]
        assert found(by_metric, names) == [0, 1, 2, 3]
        assert found({**by_metric, "ascending": False}, names) == [1, 0, 2, 3]
        assert found({**by_metric, "dataset_name": "d2"}, names)[0] == 1

    def test_pages_join_up(self, store: Store, run: Run, models: list[str]) -> None:
        search: dict[str, Any] = {"order_by": [{"field_name": "metrics.acc", "ascending": False}], "max_results": 1}
        found, token = [], None
        for _ in models:
            page = store.search_logged_models([run.info.experiment_id], page_token=token, **search)
            found += [model.model_id for model in page.items]
            token = page.token
        assert (sorted(found), token) == (sorted(models), None)
        first = store.search_logged_models([run.info.experiment_id], **search)
        with pytest.raises(InvalidParameterValue):
            store.search_logged_models([run.info.experiment_id], page_token=first.token)

    def test_a_search_names_experiments_and_datasets(self, store: Store, experiment_id: str) -> None:
        with pytest.raises(InvalidParameterValue, match="experiment"):
            store.search_logged_models([])
        with pytest.raises(InvalidParameterValue, match="dataset_name"):
            store.search_logged_models([experiment_id], datasets=[{"dataset_digest": "1"}])

    def test_as_many_experiments_datasets_and_orders_as_allowed(self, store: Store, model: LoggedModel) -> None:
        most: dict[str, Any] = {
            "experiment_ids": [model.experiment_id, *map(str, range(10**9, 10**9 + MAX_EXPERIMENTS - 1))],
            "datasets": [{"dataset_name": "d", "dataset_digest": str(number)} for number in range(MAX_DATASETS)],
            "order_by": [{"field_name": f"metrics.m{number}"} for number in range(MAX_ORDERINGS)],
        }
        comparisons = " AND ".join(["metrics.a > 1"] * MAX_COMPARISONS)
        assert store.search_logged_models(**{**most, "datasets": []}).items == (model,)
        assert store.search_logged_models(**most, filter_string=comparisons).items == ()
        one_more = {**{field: given[0] for field, given in most.items()}, "experiment_ids": str(10**10)}
        for field, given in most.items():
            with pytest.raises(InvalidParameterValue, match=f"{field}: .* at most .* are allowed"):
                store.search_logged_models(**{**most, field: [*given, one_more[field]]})


__all__ = ["LoggedModelConformance"]
