"""What every store must do with experiments, runs, metrics, inputs and steps: one test class, run over each store.

A plug-in's author subclasses `TrackingConformance` and gives it a fixture `store`. The store may be shared by all
tests: each makes experiments of its own and looks at nothing else.
"""

from __future__ import annotations

import base64
import json
import math
import threading
import uuid
from collections.abc import Callable, Iterable
from typing import Any

import pytest

from mlgate_tracking.contract import Store
from mlgate_tracking.entities import (
    Dataset,
    DatasetInput,
    Experiment,
    Fence,
    LifecycleStage,
    Metric,
    ModelOutput,
    Param,
    Run,
    RunStatus,
    Tag,
)
from mlgate_tracking.errors import (
    InvalidParameterValue,
    PermissionDenied,
    ResourceAlreadyExists,
    ResourceDoesNotExist,
    StaleAttempt,
    TrackingError,
)

LARGEST_DOUBLE = 1.7976931348623157e308


def fresh(prefix: str = "x") -> str:
    """A name that nothing else has."""
    return f"{prefix}-{uuid.uuid4().hex[:12]}"


def values(attributes: Iterable[Tag | Param | Metric]) -> dict[str, Any]:
    return {attribute.key: attribute.value for attribute in attributes}


def at_once(*calls: Callable[[], Any]) -> list[Any]:
    """Make calls from as many threads, all at the same moment; their results or errors, in order."""
    barrier = threading.Barrier(len(calls))
    outcomes: list[Any] = [None] * len(calls)

    def call(index: int) -> None:
        barrier.wait(30)
        try:
            outcomes[index] = calls[index]()
        except TrackingError as error:
            outcomes[index] = error

    threads = [threading.Thread(target=call, args=(index,)) for index in range(len(calls))]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    assert not any(thread.is_alive() for thread in threads)
    return outcomes


class TrackingConformance:
    @pytest.fixture
    def experiment(self, store: Store) -> Experiment:
        return store.get_experiment(store.create_experiment(fresh("experiment")))

    @pytest.fixture
    def run(self, store: Store, experiment: Experiment) -> Run:
        return store.create_run(experiment.experiment_id, user_id="ann", start_time=1000)

    # --- experiments --------------------------------------------------------------------------------------------

    def test_there_is_a_default_experiment(self, store: Store) -> None:
        found = store.get_experiment("0")
        assert (found.name, found.experiment_id) == ("Default", "0")
        assert found.artifact_location.endswith("/0")

    def test_an_experiment_comes_back_as_created(self, store: Store) -> None:
        name = fresh("a/b \u00e9 ")
        experiment_id = store.create_experiment(name, tags=[Tag("team", "ml"), Tag("note", "")])
        found = store.get_experiment(experiment_id)
        assert found == store.get_experiment_by_name(name)
        assert found.name == name
        assert found.lifecycle_stage is LifecycleStage.ACTIVE
        assert found.creation_time == found.last_update_time > 1_600_000_000_000
        assert found.artifact_location.endswith(f"/{experiment_id}")
        assert values(found.tags) == {"team": "ml", "note": ""}

    def test_an_experiment_may_choose_its_artifact_location(self, store: Store) -> None:
        experiment_id = store.create_experiment(fresh(), artifact_location="s3://bucket/there")
        assert store.get_experiment(experiment_id).artifact_location == "s3://bucket/there"
        run = store.create_run(experiment_id)
        assert run.info.artifact_uri == f"s3://bucket/there/{run.info.run_id}/artifacts"

    @pytest.mark.parametrize(
        "location",
        [
            "/data/artifacts",
            "C:\\artifacts",
            "file:///data/my%20artifacts",
            "mlflow-artifacts:/team",
            "mlflow-artifacts://host:5000/team",
            "https://host/api/2.0/mlflow-artifacts/artifacts/team",
            "wasbs://container@account.blob.core.windows.net/folder",
            "hdfs://namenode:8020/mlflow",
            "dbfs:/mlflow",
            "sftp://user@host/mlflow",
            "plugin://somewhere/else",
        ],
    )
    def test_a_location_may_be_any_storage_that_a_client_can_read(self, store: Store, location: str) -> None:
        assert store.get_experiment(store.create_experiment(fresh(), location)).artifact_location == location

    @pytest.mark.parametrize(
        "location",
        [
            "s3://bucket/x#fragment",
            "s3://bucket/x;p=1",
            "s3://bucket/x?versionId=1",
            "s3://",
            "s3:/bucket/x",
            "gs:///x",
            "wasbs://account.blob.core.windows.net/x",
            "mlflow-artifacts:/../..",
            "mlflow-artifacts:/%252e%252e/x",
            "s3://bucket/../other",
            "/data/../etc",
            "file:///data/%2e%2e/etc",
            "file://host/data",
            "http://169.254.169.254/",
            "ftp://host/x",
            "http://[",
            "runs:/abc/model",
            "models:/m/1",
        ],
    )
    def test_a_location_that_cannot_hold_artifacts_is_refused(self, store: Store, location: str) -> None:
        with pytest.raises(InvalidParameterValue):
            store.create_experiment(fresh(), artifact_location=location)

    @pytest.mark.parametrize("name", ["", "  ", "n" * 501])
    def test_a_bad_experiment_name_is_refused(self, store: Store, name: str) -> None:
        with pytest.raises(InvalidParameterValue):
            store.create_experiment(name)

    def test_experiment_names_are_unique_among_deleted_ones_too(self, store: Store, experiment: Experiment) -> None:
        with pytest.raises(ResourceAlreadyExists):
            store.create_experiment(experiment.name)
        store.delete_experiment(experiment.experiment_id)
        with pytest.raises(ResourceAlreadyExists):
            store.create_experiment(experiment.name)

    def test_experiment_names_are_compared_byte_by_byte(self, store: Store) -> None:
        name = fresh("name")
        ids = {store.create_experiment(other) for other in (name, name.upper(), f"{name} ", f"{name}\u0301")}
        assert len(ids) == 4
        found = store.get_experiment_by_name(f"{name} ")
        assert found is not None
        assert found.name == f"{name} "

    def test_unknown_experiments(self, store: Store) -> None:
        assert store.get_experiment_by_name(fresh()) is None
        for call in (store.get_experiment, store.delete_experiment, store.restore_experiment):
            with pytest.raises(ResourceDoesNotExist):
                call("987654321")
        with pytest.raises(InvalidParameterValue):
            store.get_experiment("seven")

    def test_ensure_experiment_from_many_callers_makes_one(self, store: Store) -> None:
        name = fresh()
        found = at_once(*[lambda: store.ensure_experiment(name)] * 6)
        assert len({experiment.experiment_id for experiment in found}) == 1

    def test_an_experiment_can_be_renamed(self, store: Store, experiment: Experiment) -> None:
        other = store.create_experiment(fresh())
        new_name = fresh("renamed")
        store.rename_experiment(experiment.experiment_id, new_name)
        found = store.get_experiment(experiment.experiment_id)
        assert found.name == new_name
        assert found.last_update_time >= experiment.last_update_time
        assert store.get_experiment_by_name(experiment.name) is None
        with pytest.raises(ResourceAlreadyExists):
            store.rename_experiment(other, new_name)

    def test_deleting_an_experiment_deletes_its_runs_and_restoring_brings_them_back(
        self, store: Store, experiment: Experiment, run: Run
    ) -> None:
        store.delete_experiment(experiment.experiment_id)
        assert store.get_experiment(experiment.experiment_id).lifecycle_stage is LifecycleStage.DELETED
        assert store.get_run(run.info.run_id).info.lifecycle_stage is LifecycleStage.DELETED
        with pytest.raises(ResourceDoesNotExist):
            store.delete_experiment(experiment.experiment_id)
        for write in (
            lambda: store.create_run(experiment.experiment_id),
            lambda: store.rename_experiment(experiment.experiment_id, fresh()),
            lambda: store.set_experiment_tag(experiment.experiment_id, Tag("k", "v")),
            lambda: store.log_batch(run.info.run_id, tags=[Tag("k", "v")]),
        ):
            with pytest.raises(InvalidParameterValue):
                write()
        store.restore_experiment(experiment.experiment_id)
        assert store.get_experiment(experiment.experiment_id).lifecycle_stage is LifecycleStage.ACTIVE
        assert store.get_run(run.info.run_id).info.lifecycle_stage is LifecycleStage.ACTIVE
        with pytest.raises(ResourceDoesNotExist):
            store.restore_experiment(experiment.experiment_id)

    def test_experiment_tags_are_set_overwritten_and_deleted(self, store: Store, experiment: Experiment) -> None:
        experiment_id = experiment.experiment_id
        store.set_experiment_tag(experiment_id, Tag("a", "1"))
        store.set_experiment_tag(experiment_id, Tag("a", "2"))
        store.set_experiment_tag(experiment_id, Tag("mlflow.note.content", "x" * 20_000))
        assert values(store.get_experiment(experiment_id).tags) == {"a": "2", "mlflow.note.content": "x" * 20_000}
        store.delete_experiment_tag(experiment_id, "a")
        assert "a" not in values(store.get_experiment(experiment_id).tags)
        with pytest.raises(ResourceDoesNotExist):
            store.delete_experiment_tag(experiment_id, "a")
        with pytest.raises(InvalidParameterValue):
            store.set_experiment_tag(experiment_id, Tag("long", "x" * 20_001))

    # --- runs ---------------------------------------------------------------------------------------------------

    def test_a_run_comes_back_as_created(self, store: Store, experiment: Experiment) -> None:
        made = store.create_run(
            experiment.experiment_id, user_id="ann", run_name="first", start_time=123, tags=[Tag("k", "v")]
        )
        assert store.get_run(made.info.run_id) == made
        info = made.info
        assert len(info.run_id) == 32
        assert (info.run_name, info.user_id, info.start_time, info.end_time) == ("first", "ann", 123, None)
        assert (info.status, info.lifecycle_stage) == (RunStatus.RUNNING, LifecycleStage.ACTIVE)
        assert info.experiment_id == experiment.experiment_id
        assert info.artifact_uri == f"{experiment.artifact_location}/{info.run_id}/artifacts"
        assert values(made.data.tags) == {"k": "v", "mlflow.runName": "first"}
        assert not made.data.metrics
        assert not made.data.params
        assert not made.outputs
        assert not made.inputs.dataset_inputs

    def test_a_run_without_a_name_gets_one(self, store: Store, experiment: Experiment) -> None:
        made = store.create_run(experiment.experiment_id)
        adjective, noun, number = made.info.run_name.split("-")
        assert adjective.isalpha()
        assert noun.isalpha()
        assert 0 <= int(number) <= 1000
        assert made.tag("mlflow.runName") == made.info.run_name
        named = store.create_run(experiment.experiment_id, tags=[Tag("mlflow.runName", "by tag")])
        assert named.info.run_name == "by tag"

    def test_a_name_and_another_name_by_tag_are_refused(self, store: Store, experiment: Experiment) -> None:
        with pytest.raises(InvalidParameterValue):
            store.create_run(experiment.experiment_id, run_name="a", tags=[Tag("mlflow.runName", "b")])

    def test_the_same_idempotency_key_makes_one_run(self, store: Store, experiment: Experiment) -> None:
        key = fresh("key")
        made = at_once(*[lambda: store.create_run(experiment.experiment_id, idempotency_key=key)] * 4)
        assert len({run.info.run_id for run in made}) == 1
        assert len({run.info.run_name for run in made}) == 1
        other = store.create_run(experiment.experiment_id, idempotency_key=fresh("key"))
        assert other.info.run_id != made[0].info.run_id

    def test_unknown_runs_and_experiments(self, store: Store) -> None:
        unknown = uuid.uuid4().hex
        for call in (
            lambda: store.get_run(unknown),
            lambda: store.update_run(unknown, status=RunStatus.FINISHED),
            lambda: store.delete_run(unknown),
            lambda: store.restore_run(unknown),
            lambda: store.log_batch(unknown, tags=[Tag("k", "v")]),
            lambda: store.delete_tag(unknown, "k"),
            lambda: store.log_outputs(unknown, [ModelOutput("m-1")]),
            lambda: store.create_run("987654321"),
        ):
            with pytest.raises(ResourceDoesNotExist):
                call()

    def test_updating_a_run_changes_only_what_is_given(self, store: Store, run: Run) -> None:
        run_id = run.info.run_id
        info = store.update_run(run_id, status=RunStatus.FINISHED, end_time=2000)
        assert (info.status, info.end_time, info.run_name) == (RunStatus.FINISHED, 2000, run.info.run_name)
        info = store.update_run(run_id, run_name="other")
        assert (info.status, info.end_time, info.run_name) == (RunStatus.FINISHED, 2000, "other")
        assert store.update_run(run_id, run_name="").run_name == "other"
        found = store.get_run(run_id)
        assert found.info == info
        assert found.tag("mlflow.runName") == "other"

    def test_the_name_tag_renames_the_run(self, store: Store, run: Run) -> None:
        store.log_batch(run.info.run_id, tags=[Tag("mlflow.runName", "tagged")])
        assert store.get_run(run.info.run_id).info.run_name == "tagged"

    def test_a_deleted_run_can_be_read_but_not_written(self, store: Store, run: Run) -> None:
        run_id = run.info.run_id
        store.delete_run(run_id)
        store.delete_run(run_id)
        assert store.get_run(run_id).info.lifecycle_stage is LifecycleStage.DELETED
        for write in (
            lambda: store.update_run(run_id, status=RunStatus.FINISHED),
            lambda: store.log_batch(run_id, metrics=[Metric("m", 1.0, 1)]),
            lambda: store.delete_tag(run_id, "mlflow.runName"),
            lambda: store.log_inputs(run_id, model_ids=["m-1"]),
            lambda: store.log_outputs(run_id, [ModelOutput("m-1")]),
        ):
            with pytest.raises(InvalidParameterValue):
                write()
        store.restore_run(run_id)
        store.restore_run(run_id)
        store.log_batch(run_id, metrics=[Metric("m", 1.0, 1)])
        assert store.get_run(run_id).metric("m") == 1.0

    def test_a_run_moves_into_another_experiment_with_its_data(
        self, store: Store, experiment: Experiment, run: Run
    ) -> None:
        run_id = run.info.run_id
        store.log_batch(run_id, metrics=[Metric("m", 1.0, 1)], params=[Param("p", "1")], tags=[Tag("t", "1")])
        target = store.create_experiment(fresh())
        moved = store.move_run(run_id, target)
        assert moved == store.get_run(run_id)
        assert moved.info.experiment_id == target
        assert moved.info.artifact_uri == run.info.artifact_uri
        assert (moved.metric("m"), moved.param("p"), moved.tag("t")) == (1.0, "1", "1")
        store.delete_experiment(experiment.experiment_id)
        assert store.get_run(run_id).info.lifecycle_stage is LifecycleStage.ACTIVE

    # --- params and tags ----------------------------------------------------------------------------------------

    def test_params_are_written_once(self, store: Store, run: Run) -> None:
        run_id = run.info.run_id
        store.log_batch(run_id, params=[Param("a", "1"), Param("b", "")])
        store.log_batch(run_id, params=[Param("a", "1"), Param("c", "3")])
        with pytest.raises(InvalidParameterValue, match="Changing param values is not allowed"):
            store.log_batch(run_id, params=[Param("d", "4"), Param("a", "2")], metrics=[Metric("m", 1.0, 1)])
        found = store.get_run(run_id)
        assert values(found.data.params) == {"a": "1", "b": "", "c": "3"}
        assert found.data.metrics == ()

    def test_a_param_twice_in_one_batch_is_refused(self, store: Store, run: Run) -> None:
        with pytest.raises(InvalidParameterValue):
            store.log_batch(run.info.run_id, params=[Param("a", "1"), Param("a", "1")])

    def test_writers_of_one_param_agree_on_one_value(self, store: Store, run: Run) -> None:
        run_id = run.info.run_id
        outcomes = at_once(
            *[lambda value=value: store.log_batch(run_id, params=[Param("p", value)]) for value in "abcd"]
        )
        assert outcomes.count(None) == 1
        assert store.get_run(run_id).param("p") == "abcd"[outcomes.index(None)]

    def test_tags_overwrite_and_the_last_of_a_batch_wins(self, store: Store, run: Run) -> None:
        run_id = run.info.run_id
        store.log_batch(run_id, tags=[Tag("t", "1")])
        store.log_batch(run_id, tags=[Tag("t", "2"), Tag("t", "3"), Tag("u", "\U0001f642 line\nbreak 'quote' %s")])
        found = store.get_run(run_id)
        assert found.tag("t") == "3"
        assert found.tag("u") == "\U0001f642 line\nbreak 'quote' %s"
        store.delete_tag(run_id, "t")
        assert store.get_run(run_id).tag("t") is None
        with pytest.raises(ResourceDoesNotExist):
            store.delete_tag(run_id, "t")

    def test_long_values_are_cut(self, store: Store, run: Run) -> None:
        store.log_batch(run.info.run_id, params=[Param("p", "\u00e9" * 6001)], tags=[Tag("t", "\u00e9" * 8001)])
        found = store.get_run(run.info.run_id)
        assert found.param("p") == "\u00e9" * 6000
        assert found.tag("t") == "\u00e9" * 8000

    def test_a_text_that_no_column_holds_is_refused(self, store: Store, run: Run) -> None:
        run_id, experiment_id = run.info.run_id, run.info.experiment_id
        on_dataset = Metric("m", 1.0, 1, model_id="m-1", dataset_name="d", dataset_digest="d" * 37)
        for call in (
            lambda: store.log_batch(run_id, tags=[Tag("t", "a\0b")]),
            lambda: store.log_batch(run_id, params=[Param("p", "\0")]),
            lambda: store.log_batch(run_id, metrics=[on_dataset]),
            lambda: store.log_inputs(run_id, model_ids=["m\0"]),
            lambda: store.log_inputs(run_id, datasets=[DatasetInput(Dataset("n", "d", "t", "s", profile="\0"))]),
            lambda: store.create_run(experiment_id, run_name="a\0b"),
            lambda: store.create_run(experiment_id, user_id="u" * 257),
            lambda: store.create_experiment("a\0b"),
            lambda: store.create_experiment(fresh(), artifact_location="s3://bucket/" + "x" * 2036),
            lambda: store.create_experiment(fresh(), tags=[Tag("t", "\0")]),
            lambda: store.create_logged_model(experiment_id, source_run_id="r" * 33),
        ):
            with pytest.raises(InvalidParameterValue):
                call()
        assert store.get_run(run_id).data.tags == run.data.tags

    def test_keys_are_compared_byte_by_byte(self, store: Store, run: Run) -> None:
        keys = ["Key", "key", "KEY", "key ", "k\u00e9y", "ke\u0301y", "a/b", "a.b-c:d_e f"]
        store.log_batch(
            run.info.run_id,
            params=[Param(key, str(number)) for number, key in enumerate(keys) if "\u0301" not in key],
            metrics=[Metric(key, number, 1) for number, key in enumerate(keys) if "\u0301" not in key],
        )
        found = store.get_run(run.info.run_id)
        assert values(found.data.params) == {key: str(n) for n, key in enumerate(keys) if "\u0301" not in key}
        assert values(found.data.metrics) == {key: n for n, key in enumerate(keys) if "\u0301" not in key}

    @pytest.mark.parametrize("key", ["", "k" * 251, "a#b", "/a", "a/", "a//b", "./a", "../a", ".", "..", "a\nb"])
    def test_a_bad_key_is_refused(self, store: Store, run: Run, key: str) -> None:
        for batch in (
            {"metrics": [Metric(key, 1.0, 1)]},
            {"params": [Param(key, "1")]},
            {"tags": [Tag(key, "1")]},
        ):
            with pytest.raises(InvalidParameterValue):
                store.log_batch(run.info.run_id, **batch)

    def test_a_batch_has_limits_and_is_all_or_nothing(self, store: Store, run: Run) -> None:
        run_id = run.info.run_id
        points = [Metric(f"m{number}", 1.0, 1) for number in range(1001)]
        params = [Param(f"p{number}", "1") for number in range(101)]
        tags = [Tag(f"t{number}", "1") for number in range(101)]
        too_large: list[dict[str, Any]] = [
            {"metrics": points},
            {"params": params},
            {"tags": tags},
            {"metrics": points[:950], "params": params[:50], "tags": tags[:1]},
        ]
        for batch in too_large:
            with pytest.raises(InvalidParameterValue):
                store.log_batch(run_id, **batch)
        with pytest.raises(InvalidParameterValue):
            store.log_batch(run_id, metrics=[Metric("good", 1.0, 1)], params=params[:3], tags=[Tag("bad#", "")])
        found = store.get_run(run_id)
        assert not found.data.metrics
        assert not found.data.params
        store.log_batch(run_id, metrics=points[:900], params=params[:50], tags=tags[:50])
        found = store.get_run(run_id)
        assert len(found.data.metrics) == 900
        assert len(found.data.params) == 50
        store.log_batch(run_id)

    # --- metrics ------------------------------------------------------------------------------------------------

    def test_the_latest_metric_is_the_greatest_step_timestamp_value(self, store: Store, run: Run) -> None:
        run_id = run.info.run_id
        for point, latest in (
            (Metric("m", 1.0, 100, 5), 1.0),
            (Metric("m", 9.0, 900, 4), 1.0),  # a smaller step does not replace it
            (Metric("m", 2.0, 50, 5), 1.0),  # nor an earlier time
            (Metric("m", 0.5, 100, 5), 1.0),  # nor a smaller value
            (Metric("m", 3.0, 100, 5), 3.0),
            (Metric("m", -4.0, 101, 5), -4.0),
            (Metric("m", -5.0, 1, 6), -5.0),
        ):
            store.log_batch(run_id, metrics=[point])
            assert store.get_run(run_id).metric("m") == latest
        store.log_batch(run_id, metrics=[Metric("n", 1.0, 1, step) for step in (3, 7, -2)])
        assert store.get_run(run_id).data.metrics == (Metric("m", -5.0, 1, 6), Metric("n", 1.0, 1, 7))

    def test_a_point_is_stored_once(self, store: Store, run: Run) -> None:
        run_id = run.info.run_id
        points = [Metric("m", 1.0, 10, 0), Metric("m", 1.0, 10, 0), Metric("m", math.nan, 10, 0)]
        store.log_batch(run_id, metrics=points)
        store.log_batch(run_id, metrics=points)
        history = store.metric_history(run_id, "m").items
        assert [str(point.value) for point in history] in (["1.0", "nan"], ["nan", "1.0"])

    def test_odd_numbers_survive(self, store: Store, run: Run) -> None:
        run_id = run.info.run_id
        odd = [math.inf, -math.inf, math.nan, 5e-324, 0.1 + 0.2, -0.0, 1e300, 123456789.123456789]
        store.log_batch(run_id, metrics=[Metric("odd", value, 1, step) for step, value in enumerate(odd)])
        found = [point.value for point in store.metric_history(run_id, "odd").items]
        assert found[:2] == [LARGEST_DOUBLE, -LARGEST_DOUBLE]
        assert math.isnan(found[2])
        assert found[3:] == odd[3:]
        extreme = [Metric("far", 1.0, 2**62, 2**63 - 1), Metric("far", 2.0, 0, -(2**63))]
        store.log_batch(run_id, metrics=extreme)
        assert store.metric_history(run_id, "far").items == (extreme[1], extreme[0])
        store.log_batch(run_id, metrics=[Metric("last is nan", math.nan, 1, 1), Metric("last is nan", 5.0, 1, 0)])
        latest = store.get_run(run_id).metric("last is nan")
        assert latest is not None
        assert math.isnan(latest)

    @pytest.mark.parametrize(
        "point",
        [
            Metric("m", 1.0, -1),
            Metric("m", 1.0, 2**63),
            Metric("m", 1.0, 1, 2**63),
            Metric("m", "x", 1),  # type: ignore[arg-type]
        ],
    )
    def test_a_bad_point_is_refused(self, store: Store, run: Run, point: Metric) -> None:
        with pytest.raises(InvalidParameterValue):
            store.log_batch(run.info.run_id, metrics=[point])

    def test_a_history_is_ordered_and_comes_in_pages(self, store: Store, run: Run) -> None:
        run_id = run.info.run_id
        points = [Metric("m", float(value), time, step) for time in (3, 1, 2) for step in (1, 0) for value in (2, 1)]
        store.log_batch(run_id, metrics=[*points, Metric("other", 1.0, 1)])
        expected = tuple(sorted(points, key=lambda point: (point.timestamp, point.step, point.value)))
        assert store.metric_history(run_id, "m").items == expected
        found: list[Metric] = []
        token = None
        for _ in range(3):
            page = store.metric_history(run_id, "m", max_results=5, page_token=token)
            found += page.items
            token = page.token
        assert token is None
        assert tuple(found) == expected
        assert store.metric_history(run_id, "m", max_results=12).token is None

    def test_an_unknown_history_is_empty(self, store: Store, run: Run) -> None:
        assert store.metric_history(run.info.run_id, "nothing").items == ()
        assert store.metric_history(uuid.uuid4().hex, "nothing").items == ()
        with pytest.raises(InvalidParameterValue):
            store.metric_history(run.info.run_id, "m", max_results=0)

    @pytest.mark.parametrize("place", ["", "[" * 5000, "[1, 1, 1.0]", f"[{2**63}, 1, 1.0, 0]", "[Infinity, 1, 1.0, 0]"])
    def test_a_page_token_of_no_history_is_refused(self, store: Store, run: Run, place: str) -> None:
        token = base64.urlsafe_b64encode(place.encode()).decode() or "nonsense"
        with pytest.raises(InvalidParameterValue, match="page token"):
            store.metric_history(run.info.run_id, "m", page_token=token)

    def test_a_sampled_history_keeps_first_and_last(self, store: Store, experiment: Experiment) -> None:
        first, second = (store.create_run(experiment.experiment_id).info.run_id for _ in range(2))
        store.log_batch(first, metrics=[Metric("m", float(step), step, step) for step in range(100)])
        store.log_batch(second, metrics=[Metric("m", float(step), step, step) for step in range(3)])

        def steps(**options: int) -> dict[str | None, list[int]]:
            found: dict[str | None, list[int]] = {}
            for point in store.metric_history_sampled([first, second, uuid.uuid4().hex], "m", **options):
                found.setdefault(point.run_id, []).append(point.step)
            return found

        assert steps() == {first: list(range(100)), second: [0, 1, 2]}
        sampled = steps(max_results=5)
        assert sampled[second] == [0, 1, 2]
        assert len(sampled[first]) == 5
        assert (sampled[first][0], sampled[first][-1]) == (0, 99)
        gaps = [after - before for before, after in zip(sampled[first], sampled[first][1:], strict=False)]
        assert max(gaps) - min(gaps) <= 1
        assert steps(max_results=1) == {first: [99], second: [2]}
        assert steps(start_step=10, end_step=12) == {first: [10, 11, 12]}

    # --- inputs and outputs -------------------------------------------------------------------------------------

    def test_datasets_are_logged_once_per_run(self, store: Store, experiment: Experiment, run: Run) -> None:
        dataset = Dataset("iris", "abc123", "local", "data/iris.csv", schema='{"a": 1}', profile="{}")
        other = Dataset("wine", "def456", "http", "https://host/wine.csv")
        store.log_inputs(
            run.info.run_id,
            datasets=[
                DatasetInput(dataset, (Tag("mlflow.data.context", "train"),)),
                DatasetInput(dataset, (Tag("mlflow.data.context", "again"),)),
                DatasetInput(other),
            ],
            model_ids=["m-1", "m-2"],
        )
        store.log_inputs(
            run.info.run_id, datasets=[DatasetInput(dataset, (Tag("late", "1"),))], model_ids=["m-2", "m-3"]
        )
        found = store.get_run(run.info.run_id).inputs
        assert set(found.dataset_inputs) == {
            DatasetInput(dataset, (Tag("mlflow.data.context", "train"),)),
            DatasetInput(other),
        }
        assert found.model_inputs == ("m-1", "m-2", "m-3")
        second = store.create_run(experiment.experiment_id).info.run_id
        store.log_inputs(second, datasets=[DatasetInput(dataset)])
        assert store.get_run(second).inputs.dataset_inputs == (DatasetInput(dataset),)

    @pytest.mark.parametrize(
        "given",
        [
            DatasetInput(Dataset("n" * 501, "d", "t", "s")),
            DatasetInput(Dataset("n", "d" * 37, "t", "s")),
            DatasetInput(Dataset("n", "d", "t", "s"), (Tag("k", "v" * 501),)),
        ],
    )
    def test_an_oversized_dataset_is_refused(self, store: Store, run: Run, given: DatasetInput) -> None:
        with pytest.raises(InvalidParameterValue):
            store.log_inputs(run.info.run_id, datasets=[given])

    def test_outputs_are_upserts(self, store: Store, run: Run) -> None:
        store.log_outputs(run.info.run_id, [ModelOutput("m-1", 1), ModelOutput("m-2", 0)])
        store.log_outputs(run.info.run_id, [ModelOutput("m-1", 5)])
        assert store.get_run(run.info.run_id).outputs == (ModelOutput("m-1", 5), ModelOutput("m-2", 0))

    def test_models_of_old_clients_gather_in_a_tag(self, store: Store, run: Run) -> None:
        run_id = run.info.run_id
        for path in ("model", "other"):
            model = {
                "run_id": run_id,
                "artifact_path": path,
                "utc_time_created": "2024-01-01 00:00:00.000000",
                "model_uuid": "1234",
                "flavors": {"sklearn": {"pickled_model": "model.pkl", "config": {"secret": 1}}},
                "signature": {},
            }
            store.log_model_history(run_id, json.dumps(model))
        history = json.loads(store.get_run(run_id).tag("mlflow.log-model.history") or "")
        assert [model["artifact_path"] for model in history] == ["model", "other"]
        assert history[0]["flavors"] == {"sklearn": {"pickled_model": "model.pkl"}}
        assert set(history[0]) == {"run_id", "artifact_path", "utc_time_created", "model_uuid", "flavors"}
        for bad in ("not json", "{}", "[]", '{"flavors": {}}'):
            with pytest.raises(InvalidParameterValue):
                store.log_model_history(run_id, bad)

    # --- steps --------------------------------------------------------------------------------------------------

    def test_a_step_opens_one_run_and_reopens_it(self, store: Store, experiment: Experiment) -> None:
        key = fresh("step")
        parent = store.create_run(experiment.experiment_id).info.run_id
        opened = store.open_step_run(
            key,
            experiment_id=experiment.experiment_id,
            user_id="ann",
            run_name="train",
            start_time=5,
            parent_run_id=parent,
            params=[Param("depth", "3")],
            tags=[Tag("engine", "local")],
        )
        assert (opened.created, opened.attempt, opened.previous_status) == (True, 1, None)
        run_id = opened.run.info.run_id
        assert opened.run == store.get_run(run_id)
        assert (opened.run.info.run_name, opened.run.info.status) == ("train", RunStatus.RUNNING)
        assert opened.run.tag("mlflow.parentRunId") == parent
        assert opened.run.tag("mlgate.attempt") == "1"
        assert opened.run.tag("mlgate.step_run_key") == key

        closed = store.close_step_run(
            run_id, 1, status=RunStatus.FAILED, end_time=9, metrics=[Metric("m", 1.0, 1)], tags=[Tag("engine", "x")]
        )
        assert closed == store.get_run(run_id)
        assert (closed.info.status, closed.info.end_time, closed.metric("m")) == (RunStatus.FAILED, 9, 1.0)

        again = store.open_step_run(
            key,
            experiment_id=experiment.experiment_id,
            start_time=99,
            params=[Param("depth", "4"), Param("more", "1")],
            tags=[Tag("engine", "prefect")],
        )
        assert (again.created, again.attempt, again.previous_status) == (False, 2, RunStatus.FAILED)
        assert again.run == store.get_run(run_id)
        assert (again.run.info.status, again.run.info.end_time) == (RunStatus.RUNNING, None)
        assert again.run.info.run_name == "train"
        assert values(again.run.data.params) == {"depth": "3", "more": "1"}
        assert (again.run.tag("engine"), again.run.tag("mlgate.attempt")) == ("prefect", "2")

        found = store.find_step_run(key)
        assert found is not None
        assert (found.run.info.run_id, found.attempt) == (run_id, 2)
        assert store.find_step_run(fresh()) is None

    def test_an_older_attempt_is_refused(self, store: Store, experiment: Experiment) -> None:
        key = fresh("step")

        def open_attempt(attempt: int | None) -> int:
            return store.open_step_run(key, experiment_id=experiment.experiment_id, attempt=attempt).attempt

        run_id = store.open_step_run(key, experiment_id=experiment.experiment_id, attempt=3).run.info.run_id
        with pytest.raises(StaleAttempt):
            open_attempt(2)
        assert open_attempt(3) == 3  # the same attempt may ask again
        assert open_attempt(None) == 4
        with pytest.raises(StaleAttempt):
            store.close_step_run(run_id, 3, status=RunStatus.FINISHED, end_time=1, tags=[Tag("late", "1")])
        found = store.get_run(run_id)
        assert found.info.status is RunStatus.RUNNING
        assert found.tag("late") is None
        for bad in (
            lambda: store.close_step_run(run_id, 9, status=RunStatus.FINISHED, end_time=1),
            lambda: store.close_step_run(run_id, 4, status=RunStatus.RUNNING, end_time=1),
            lambda: open_attempt(0),
        ):
            with pytest.raises(InvalidParameterValue):
                bad()

    def test_openers_at_once_share_one_run_and_count_apart(self, store: Store, experiment: Experiment) -> None:
        key = fresh("step")
        opened = at_once(*[lambda: store.open_step_run(key, experiment_id=experiment.experiment_id)] * 6)
        assert len({step.run.info.run_id for step in opened}) == 1
        assert sorted(step.attempt for step in opened) == [1, 2, 3, 4, 5, 6]
        assert [step.created for step in opened].count(True) == 1


class FenceConformance:
    """For stores whose `fenced` gives a view: what an attempt of a step may do, and for how long."""

    @pytest.fixture
    def experiment(self, store: Store) -> Experiment:
        return store.get_experiment(store.create_experiment(fresh("experiment")))

    def test_a_fenced_view_writes_to_its_own_runs_only(self, store: Store, experiment: Experiment) -> None:
        step = store.open_step_run(fresh("step"), experiment_id=experiment.experiment_id)
        own = step.run.info.run_id
        stranger = store.create_run(experiment.experiment_id).info.run_id
        view = store.fenced(Fence(own, step.attempt))
        view.log_batch(own, metrics=[Metric("m", 1.0, 1)])
        child = view.create_run(experiment.experiment_id).info.run_id
        view.log_batch(child, params=[Param("p", "1")])
        view.update_run(child, status=RunStatus.FINISHED)
        view.set_experiment_tag(view.create_experiment(fresh()), Tag("k", "v"))
        assert view.get_run(stranger).info.run_id == stranger
        for forbidden in (
            lambda: view.log_batch(stranger, metrics=[Metric("m", 1.0, 1)]),
            lambda: view.update_run(stranger, status=RunStatus.FINISHED),
            lambda: view.delete_run(stranger),
            lambda: view.delete_run(own),
            lambda: view.delete_experiment(experiment.experiment_id),
            lambda: view.rename_experiment(experiment.experiment_id, fresh()),
            lambda: view.open_step_run(fresh(), experiment_id=experiment.experiment_id),
            lambda: view.close_step_run(own, 1, status=RunStatus.FINISHED, end_time=1),
        ):
            with pytest.raises(PermissionDenied):
                forbidden()
        view.delete_run(child)
        assert store.get_run(child).info.lifecycle_stage is LifecycleStage.DELETED
        assert store.get_run(stranger).data.metrics == ()

    def test_a_higher_attempt_ends_every_write_of_the_lower(self, store: Store, experiment: Experiment) -> None:
        key = fresh("step")
        first = store.open_step_run(key, experiment_id=experiment.experiment_id)
        own = first.run.info.run_id
        view = store.fenced(Fence(own, first.attempt))
        child = view.create_run(experiment.experiment_id).info.run_id
        second = store.open_step_run(key, experiment_id=experiment.experiment_id)
        for stale in (
            lambda: view.log_batch(own, metrics=[Metric("m", 1.0, 1)]),
            lambda: view.log_batch(child, metrics=[Metric("m", 1.0, 1)]),
            lambda: view.create_run(experiment.experiment_id),
            lambda: view.create_experiment(fresh()),
            lambda: view.set_experiment_tag(experiment.experiment_id, Tag("k", "v")),
        ):
            with pytest.raises(StaleAttempt):
                stale()
        assert view.get_run(own).data.metrics == ()
        newer = store.fenced(Fence(own, second.attempt))
        newer.log_batch(own, metrics=[Metric("m", 2.0, 1)])
        newer.log_batch(child, metrics=[Metric("m", 2.0, 1)])
        assert store.get_run(own).metric("m") == 2.0

    def test_an_owner_is_kept_for_a_server(self, store: Store, experiment: Experiment) -> None:
        step = store.open_step_run(fresh("step"), experiment_id=experiment.experiment_id)
        own = step.run.info.run_id
        child = store.create_run(experiment.experiment_id, owner_run_id=own).info.run_id
        store.fenced(Fence(own, step.attempt)).log_batch(child, tags=[Tag("k", "v")])
        assert store.get_run(child).tag("k") == "v"


__all__ = ["FenceConformance", "TrackingConformance", "at_once", "fresh", "values"]
