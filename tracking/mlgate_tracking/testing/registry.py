"""What every store must do with the model registry: one test class, run over each store.

Give it a fixture `store`, which all tests may share.
"""

from __future__ import annotations

import pytest

from mlgate_tracking.contract import Store
from mlgate_tracking.entities import Fence, ModelAlias, ModelVersion, Page, RegisteredModel, Run, Tag
from mlgate_tracking.errors import (
    InvalidParameterValue,
    PermissionDenied,
    ResourceAlreadyExists,
    ResourceDoesNotExist,
)
from mlgate_tracking.testing.stores import at_once, fresh, values

SOURCE = "s3://bucket/model"


class RegistryConformance:
    @pytest.fixture
    def model(self, store: Store) -> RegisteredModel:
        return store.create_registered_model(fresh("model"))

    @pytest.fixture
    def run(self, store: Store) -> Run:
        return store.create_run(store.create_experiment(fresh("experiment")))

    # --- registered models --------------------------------------------------------------------------------------

    def test_a_model_keeps_what_it_was_created_with(self, store: Store) -> None:
        name = fresh("iris model")
        made = store.create_registered_model(name, description="flowers", tags=[Tag("team", "ml"), Tag("a", "")])
        assert made == store.get_registered_model(name)
        assert (made.name, made.description, values(made.tags)) == (name, "flowers", {"team": "ml", "a": ""})
        assert made.creation_timestamp == made.last_updated_timestamp > 1_600_000_000_000
        assert (made.latest_versions, made.aliases) == ((), ())

    def test_a_name_is_given_once(self, store: Store, model: RegisteredModel) -> None:
        with pytest.raises(ResourceAlreadyExists, match=model.name):
            store.create_registered_model(model.name)

    @pytest.mark.parametrize("name", ["", "  ", "a/b", "a:b", "..", ".", "x" * 257])
    def test_a_bad_model_name_is_refused(self, store: Store, name: str) -> None:
        with pytest.raises(InvalidParameterValue):
            store.create_registered_model(name)

    def test_an_unknown_model_is_named(self, store: Store) -> None:
        for call in (store.get_registered_model, store.delete_registered_model, store.get_latest_versions):
            with pytest.raises(ResourceDoesNotExist, match="nobody"):
                call("nobody")
        with pytest.raises(ResourceDoesNotExist):
            store.create_model_version("nobody", SOURCE)

    def test_a_description_can_change_and_go(self, store: Store, model: RegisteredModel) -> None:
        assert store.update_registered_model(model.name, "new").description == "new"
        assert store.update_registered_model(model.name, None).description is None

    def test_a_rename_takes_everything_along(self, store: Store, model: RegisteredModel) -> None:
        store.create_model_version(model.name, SOURCE, tags=[Tag("k", "v")])
        store.set_registered_model_tag(model.name, Tag("team", "ml"))
        store.set_registered_model_alias(model.name, "champion", 1)
        new_name = fresh("renamed")
        renamed = store.rename_registered_model(model.name, new_name)
        assert (renamed.name, values(renamed.tags)) == (new_name, {"team": "ml"})
        assert renamed.aliases == (ModelAlias("champion", 1),)
        assert store.get_model_version(new_name, 1).name == new_name
        with pytest.raises(ResourceDoesNotExist):
            store.get_registered_model(model.name)

    def test_a_rename_onto_another_model_is_refused(self, store: Store, model: RegisteredModel) -> None:
        other = store.create_registered_model(fresh("model"))
        with pytest.raises(ResourceAlreadyExists):
            store.rename_registered_model(model.name, other.name)

    def test_a_deleted_model_is_gone_and_its_name_starts_again(self, store: Store, model: RegisteredModel) -> None:
        store.create_model_version(model.name, SOURCE)
        store.delete_registered_model(model.name)
        with pytest.raises(ResourceDoesNotExist):
            store.get_registered_model(model.name)
        store.create_registered_model(model.name)
        assert store.create_model_version(model.name, SOURCE).version == 1

    def test_model_tags_are_overwritten_and_deleted(self, store: Store, model: RegisteredModel) -> None:
        store.set_registered_model_tag(model.name, Tag("k", "1"))
        store.set_registered_model_tag(model.name, Tag("k", "2"))
        assert values(store.get_registered_model(model.name).tags) == {"k": "2"}
        store.delete_registered_model_tag(model.name, "k")
        store.delete_registered_model_tag(model.name, "k")
        assert store.get_registered_model(model.name).tags == ()

    # --- versions -----------------------------------------------------------------------------------------------

    def test_a_version_keeps_what_it_was_created_with(self, store: Store, model: RegisteredModel, run: Run) -> None:
        made = store.create_model_version(
            model.name,
            SOURCE,
            run_id=run.info.run_id,
            run_link="http://runs/1",
            description="first",
            tags=[Tag("k", "v")],
        )
        assert made == store.get_model_version(model.name, 1)
        assert (made.name, made.version, made.current_stage, made.status) == (model.name, 1, "None", "READY")
        assert (made.source, made.run_id, made.run_link) == (SOURCE, run.info.run_id, "http://runs/1")
        assert (made.description, values(made.tags), made.aliases) == ("first", {"k": "v"}, ())

    def test_numbers_count_up_and_are_never_used_again(self, store: Store, model: RegisteredModel) -> None:
        assert [store.create_model_version(model.name, SOURCE).version for _ in range(3)] == [1, 2, 3]
        store.delete_model_version(model.name, 3)
        assert store.create_model_version(model.name, SOURCE).version == 4

    def test_numbers_are_given_once_to_callers_at_once(self, store: Store, model: RegisteredModel) -> None:
        made = at_once(*[lambda: store.create_model_version(model.name, SOURCE)] * 6)
        assert sorted(version.version for version in made) == [1, 2, 3, 4, 5, 6]

    def test_a_repeated_create_makes_one_version(self, store: Store, model: RegisteredModel) -> None:
        key = fresh("key")
        first = store.create_model_version(model.name, SOURCE, idempotency_key=key)
        assert store.create_model_version(model.name, SOURCE, idempotency_key=key) == first

    def test_a_new_version_updates_its_model_and_a_tag_does_not(self, store: Store, model: RegisteredModel) -> None:
        store.create_model_version(model.name, SOURCE)
        updated = store.get_registered_model(model.name).last_updated_timestamp
        assert updated >= model.last_updated_timestamp
        store.set_model_version_tag(model.name, 1, Tag("k", "v"))
        store.set_registered_model_alias(model.name, "a", 1)
        assert store.get_registered_model(model.name).last_updated_timestamp == updated

    def test_a_version_can_be_described_tagged_and_deleted(self, store: Store, model: RegisteredModel) -> None:
        store.create_model_version(model.name, SOURCE)
        assert store.update_model_version(model.name, 1, "text").description == "text"
        assert store.update_model_version(model.name, 1, None).description is None
        store.set_model_version_tag(model.name, 1, Tag("k", "1"))
        store.set_model_version_tag(model.name, 1, Tag("k", "2"))
        assert values(store.get_model_version(model.name, 1).tags) == {"k": "2"}
        store.delete_model_version_tag(model.name, 1, "k")
        store.delete_model_version_tag(model.name, 1, "k")
        store.set_registered_model_alias(model.name, "champion", 1)
        store.delete_model_version(model.name, 1)
        with pytest.raises(ResourceDoesNotExist):
            store.get_model_version(model.name, 1)
        with pytest.raises(ResourceDoesNotExist):
            store.delete_model_version(model.name, 1)
        assert store.get_registered_model(model.name).aliases == ()
        assert store.search_model_versions(filter_string=f"name = '{model.name}'").items == ()

    # --- aliases ------------------------------------------------------------------------------------------------

    def test_an_alias_points_at_one_version_and_moves(self, store: Store, model: RegisteredModel) -> None:
        for _ in range(2):
            store.create_model_version(model.name, SOURCE)
        store.set_registered_model_alias(model.name, "champion", 1)
        store.set_registered_model_alias(model.name, "other", 1)
        assert store.get_model_version(model.name, 1).aliases == ("champion", "other")
        store.set_registered_model_alias(model.name, "champion", 2)
        assert store.get_model_version_by_alias(model.name, "champion").version == 2
        assert store.get_registered_model(model.name).aliases == (ModelAlias("champion", 2), ModelAlias("other", 1))
        store.delete_registered_model_alias(model.name, "champion")
        store.delete_registered_model_alias(model.name, "champion")
        with pytest.raises(InvalidParameterValue, match="champion"):
            store.get_model_version_by_alias(model.name, "champion")
        with pytest.raises(ResourceDoesNotExist):
            store.get_model_version_by_alias("nobody", "champion")

    def test_alias_names_mind_case_and_latest_is_the_newest(self, store: Store, model: RegisteredModel) -> None:
        for _ in range(2):
            store.create_model_version(model.name, SOURCE)
        store.set_registered_model_alias(model.name, "Champion", 1)
        with pytest.raises(InvalidParameterValue):
            store.get_model_version_by_alias(model.name, "champion")
        assert store.get_model_version_by_alias(model.name, "LATEST").version == 2

    @pytest.mark.parametrize("alias", ["", "latest", "Latest", "v1", "V22", "a b", "a.b", "x" * 256])
    def test_a_bad_alias_is_refused(self, store: Store, model: RegisteredModel, alias: str) -> None:
        store.create_model_version(model.name, SOURCE)
        with pytest.raises(InvalidParameterValue):
            store.set_registered_model_alias(model.name, alias, 1)

    def test_an_alias_of_no_version_is_refused(self, store: Store, model: RegisteredModel) -> None:
        with pytest.raises(ResourceDoesNotExist):
            store.set_registered_model_alias(model.name, "champion", 7)

    # --- stages -------------------------------------------------------------------------------------------------

    def test_a_transition_archives_the_others_when_asked(self, store: Store, model: RegisteredModel) -> None:
        for _ in range(3):
            store.create_model_version(model.name, SOURCE)
        store.transition_model_version_stage(model.name, 1, "production")
        store.transition_model_version_stage(model.name, 2, "PRODUCTION")
        assert self._stages(store, model) == {1: "Production", 2: "Production", 3: "None"}
        moved = store.transition_model_version_stage(model.name, 3, "Production", archive_existing_versions=True)
        assert moved.current_stage == "Production"
        assert self._stages(store, model) == {1: "Archived", 2: "Archived", 3: "Production"}

    def test_latest_versions_are_the_highest_of_each_stage(self, store: Store, model: RegisteredModel) -> None:
        for _ in range(4):
            store.create_model_version(model.name, SOURCE)
        store.transition_model_version_stage(model.name, 1, "Production")
        store.transition_model_version_stage(model.name, 2, "Production")
        assert self._numbers(store.get_latest_versions(model.name)) == [2, 4]
        assert self._numbers(store.get_latest_versions(model.name, ["production", "Staging"])) == [2]
        assert self._numbers(store.get_registered_model(model.name).latest_versions) == [2, 4]
        store.delete_model_version(model.name, 4)
        assert self._numbers(store.get_latest_versions(model.name, ["None"])) == [3]

    def test_a_bad_stage_is_refused(self, store: Store, model: RegisteredModel) -> None:
        store.create_model_version(model.name, SOURCE)
        with pytest.raises(InvalidParameterValue, match="Staging"):
            store.transition_model_version_stage(model.name, 1, "Live")
        with pytest.raises(InvalidParameterValue):
            store.get_latest_versions(model.name, ["Live"])
        for stage in ("None", "Archived"):
            with pytest.raises(InvalidParameterValue, match="archive_existing_versions"):
                store.transition_model_version_stage(model.name, 1, stage, archive_existing_versions=True)
        with pytest.raises(ResourceDoesNotExist):
            store.transition_model_version_stage(model.name, 9, "Staging")

    def test_two_promoters_at_once_leave_one_production_version(self, store: Store, model: RegisteredModel) -> None:
        for _ in range(4):
            store.create_model_version(model.name, SOURCE)

        def promote(number: int) -> ModelVersion:
            return store.transition_model_version_stage(
                model.name, number, "Production", archive_existing_versions=True
            )

        at_once(*(lambda number=number: promote(number) for number in (1, 2, 3, 4)))
        assert sorted(self._stages(store, model).values()) == ["Archived", "Archived", "Archived", "Production"]

    # --- sources ------------------------------------------------------------------------------------------------

    @pytest.mark.parametrize(
        "source",
        [
            "s3://bucket/../secret",
            "s3://bucket/%252e%252e/secret",
            "/etc/passwd",
            "file:///etc/passwd",
            "relative/path",
            "mlflow-artifacts:/0/other/artifacts/model",
            "mlflow-artifacts://elsewhere/0/x",
            "http://host/model",
            "ftp://host/model",
            "runs:/0123/model",
            "runs:///model",
            "models:/m-0123",
            "models://host/name/1",
            "models:/",
            "models:/a/b/c",
            "models:/a@",
        ],
    )
    def test_a_source_outside_of_the_run_is_refused(
        self, store: Store, model: RegisteredModel, run: Run, source: str
    ) -> None:
        with pytest.raises(InvalidParameterValue, match="Invalid model version source"):
            store.create_model_version(model.name, source)
        with pytest.raises(InvalidParameterValue, match="Invalid model version source"):
            store.create_model_version(model.name, source, run_id=run.info.run_id)

    def test_a_version_whose_texts_no_column_holds_is_refused(self, store: Store, model: RegisteredModel) -> None:
        for given in (
            {"run_id": "r" * 33},
            {"model_id": "m" * 65},
            {"run_link": "l" * 501},
            {"description": "a\0b"},
            {"tags": [Tag("t", "a\0b")]},
        ):
            with pytest.raises(InvalidParameterValue):
                store.create_model_version(model.name, "s3://bucket/model", **given)

    def test_a_source_inside_the_run_is_taken(self, store: Store, model: RegisteredModel, run: Run) -> None:
        run_id = run.info.run_id
        for source in (f"{run.info.artifact_uri}/model", f"runs:/{run_id}/model"):
            made = store.create_model_version(model.name, source, run_id=run_id)
            assert (made.source, made.run_id) == (source, run_id)
            assert store.get_model_version_download_uri(model.name, made.version) == source
        with pytest.raises(InvalidParameterValue):
            store.create_model_version(model.name, f"{run.info.artifact_uri}-other/model", run_id=run_id)

    def test_a_logged_model_is_a_source(self, store: Store, model: RegisteredModel, run: Run) -> None:
        logged = store.create_logged_model(run.info.experiment_id, source_run_id=run.info.run_id)
        source = f"models:/{logged.model_id}"
        made = store.create_model_version(model.name, source, model_id=logged.model_id)
        assert (made.source, made.run_id, made.model_id) == (source, run.info.run_id, logged.model_id)
        assert store.get_model_version_download_uri(model.name, 1) == logged.artifact_uri
        tag = values(store.get_logged_model(logged.model_id).tags)["mlflow.modelVersions"]
        assert (f'"name": "{model.name}"' in tag, '"version": 1' in tag) == (True, True)
        with pytest.raises(InvalidParameterValue, match="model_id"):
            store.create_model_version(model.name, source, model_id="m-" + "0" * 32)

    def test_another_version_is_a_source(self, store: Store, model: RegisteredModel, run: Run) -> None:
        run_id = run.info.run_id
        store.create_model_version(model.name, f"runs:/{run_id}/model", run_id=run_id)
        store.set_registered_model_alias(model.name, "champion", 1)
        store.transition_model_version_stage(model.name, 1, "Staging")
        target = store.create_registered_model(fresh("target")).name
        for spelling in ("/1", "@champion", "/staging", "/latest"):
            copy = store.create_model_version(target, f"models:/{model.name}{spelling}")
            assert (copy.source, copy.run_id) == (f"models:/{model.name}/1", run_id)
            assert store.get_model_version_download_uri(target, copy.version) == f"runs:/{run_id}/model"
        with pytest.raises(InvalidParameterValue):
            store.create_model_version(target, f"models:/{model.name}@nobody")
        with pytest.raises(ResourceDoesNotExist):
            store.create_model_version(target, f"models:/{model.name}/77")
        with pytest.raises(InvalidParameterValue, match="run_id"):
            store.create_model_version(target, f"models:/{model.name}/1", run_id="0" * 32)

    # --- fences -------------------------------------------------------------------------------------------------

    def test_a_step_registers_but_does_not_promote(self, store: Store, model: RegisteredModel) -> None:
        step = store.open_step_run(fresh("step"), experiment_id=store.create_experiment(fresh("experiment")))
        fenced = store.fenced(Fence(step.run.info.run_id, step.attempt))
        version = fenced.create_model_version(model.name, SOURCE).version
        fenced.set_model_version_tag(model.name, version, Tag("k", "v"))
        assert values(store.get_model_version(model.name, version).tags) == {"k": "v"}
        for refused in (
            lambda: fenced.set_registered_model_alias(model.name, "champion", version),
            lambda: fenced.transition_model_version_stage(model.name, version, "Production"),
            lambda: fenced.delete_registered_model(model.name),
            lambda: fenced.rename_registered_model(model.name, fresh("stolen")),
        ):
            with pytest.raises(PermissionDenied):
                refused()
        own = fenced.create_registered_model(fresh("own")).name
        fenced.create_model_version(own, SOURCE)
        fenced.set_registered_model_alias(own, "champion", 1)
        fenced.delete_registered_model(own)

    # --- search -------------------------------------------------------------------------------------------------

    def test_models_are_found_by_name_and_tag(self, store: Store) -> None:
        prefix = fresh("Find")
        names = [f"{prefix}-{letter}" for letter in "abc"]
        for name in names:
            store.create_registered_model(name, tags=[Tag("team", name[-1])])
        store.create_model_version(names[0], SOURCE)
        store.create_registered_model(f"{prefix}-prompt", tags=[Tag("mlflow.prompt.is_prompt", "true")])

        def found(filter_string: str, **options: object) -> list[str]:
            page: Page[RegisteredModel] = store.search_registered_models(filter_string=filter_string, **options)  # type: ignore[arg-type]
            return [model.name for model in page.items]

        mine = f"name LIKE '{prefix}%'"
        assert found(mine) == names
        assert found(mine, order_by=["name DESC"]) == names[::-1]
        assert found(mine, order_by=["timestamp DESC"])[0] == names[0]
        assert found(f"name LIKE '{prefix.lower()}%'") == []
        assert found(f"name ILIKE '{prefix.lower()}%'") == names
        assert found(f"{mine} AND tags.team = 'b'") == [names[1]]
        assert found(f"{mine} AND tags.team != 'b'") == [names[0], names[2]]
        assert found(f"name IN ('{names[2]}', 'nobody')") == [names[2]]
        assert found(f"{mine} AND tag.`mlflow.prompt.is_prompt` != 'true'") == names
        assert found(f"{mine} AND tag.`mlflow.prompt.is_prompt` = 'false'") == names
        assert found(f"{mine} AND tag.`mlflow.prompt.is_prompt` = 'true'") == [f"{prefix}-prompt"]

    def test_versions_are_found_by_run_source_and_number(self, store: Store, run: Run) -> None:
        name = store.create_registered_model(fresh("Find")).name
        store.create_model_version(name, SOURCE, tags=[Tag("k", "1")])
        store.create_model_version(name, "dbfs:/model", run_id=run.info.run_id, tags=[Tag("k", "2")])
        store.create_model_version(name, SOURCE)

        def found(filter_string: str, **options: object) -> list[int]:
            page: Page[ModelVersion] = store.search_model_versions(filter_string=filter_string, **options)  # type: ignore[arg-type]
            return [version.version for version in page.items]

        mine = f"name = '{name}'"
        assert found(mine, order_by=["version_number ASC"]) == [1, 2, 3]
        assert sorted(found(mine)) == [1, 2, 3]
        assert found(f"{mine} AND run_id = '{run.info.run_id}'") == [2]
        assert sorted(found(f"{mine} AND run_id != '{run.info.run_id}'")) == [1, 3]
        assert found(f"run_id IN ('{run.info.run_id}')") == [2]
        assert found(f"{mine} AND source_path LIKE 'dbfs%'") == [2]
        assert found(f"{mine} AND version_number >= 2", order_by=["version_number"]) == [2, 3]
        assert found(f"{mine} AND tags.k != '1'") == [2]
        assert found(f"{mine} AND version_number = '2'") == [2]

    def test_pages_of_models_join_up(self, store: Store) -> None:
        prefix = fresh("page")
        names = [store.create_registered_model(f"{prefix}-{number}").name for number in range(5)]
        filter_string = f"name LIKE '{prefix}%'"
        found, token = [], None
        for _ in range(5):
            page = store.search_registered_models(filter_string=filter_string, max_results=2, page_token=token)
            found += [model.name for model in page.items]
            token = page.token
            if token is None:
                break
        assert found == names
        first = store.search_registered_models(filter_string=filter_string, max_results=2)
        with pytest.raises(InvalidParameterValue, match="another search"):
            store.search_registered_models(filter_string="name = 'x'", page_token=first.token)
        with pytest.raises(InvalidParameterValue):
            store.search_registered_models(max_results=1001)

    # --- helpers ------------------------------------------------------------------------------------------------

    @staticmethod
    def _stages(store: Store, model: RegisteredModel) -> dict[int, str]:
        page = store.search_model_versions(filter_string=f"name = '{model.name}'")
        return {version.version: version.current_stage for version in page.items}

    @staticmethod
    def _numbers(versions: tuple[ModelVersion, ...]) -> list[int]:
        return sorted(version.version for version in versions)


__all__ = ["RegistryConformance"]
