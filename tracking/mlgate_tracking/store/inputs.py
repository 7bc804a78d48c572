"""What a run read and made: datasets, input models, output models."""

from __future__ import annotations

from collections.abc import Sequence

from mlgate_tracking.entities import Dataset, DatasetInput, DatasetSummary, ModelOutput
from mlgate_tracking.errors import InvalidParameterValue
from mlgate_tracking.store import validate
from mlgate_tracking.store.part import StorePart
from mlgate_tracking.store.run_rows import RunRow, writable_run
from mlgate_tracking.store.transaction import Transaction

MAX_SUMMARIES = 1_000


class InputStore(StorePart):
    def log_inputs(self, run_id: str, *, datasets: Sequence[DatasetInput] = (), model_ids: Sequence[str] = ()) -> None:
        given: dict[tuple[str, str], DatasetInput] = {}
        for dataset_input in datasets:
            validate.dataset_input(dataset_input)
            given.setdefault((dataset_input.dataset.name, dataset_input.dataset.digest), dataset_input)
        models = [_model_id(model_id) for model_id in model_ids]

        def work(tx: Transaction) -> None:
            run = writable_run(tx, run_id, self.fence)
            for _, dataset_input in sorted(given.items()):
                write_dataset_input(tx, run, dataset_input)
            tx.insert_missing(
                "model_inputs",
                [{"run_pk": run.run_pk, "model_id": model_id} for model_id in models],
                ["run_pk", "model_id"],
            )

        self.write(work)

    def log_outputs(self, run_id: str, outputs: Sequence[ModelOutput]) -> None:
        steps = {_model_id(output.model_id): output.step for output in outputs}

        def work(tx: Transaction) -> None:
            run = writable_run(tx, run_id, self.fence)
            rows = [
                {"run_pk": run.run_pk, "model_id": model_id, "step": step} for model_id, step in sorted(steps.items())
            ]
            tx.upsert("model_outputs", rows, ["run_pk", "model_id"])

        self.write(work)

    def search_datasets(self, experiment_ids: Sequence[str]) -> Sequence[DatasetSummary]:
        from mlgate_tracking.store.search.runs import CONTEXT_TAG

        numbers = [validate.experiment_id(experiment_id) for experiment_id in experiment_ids]
        if not numbers:
            return []
        among, params = self.database.dialect.among("d.experiment_id", numbers)
        sql = (
            "SELECT DISTINCT d.experiment_id, d.name, d.digest, t.value FROM datasets d "
            "JOIN dataset_inputs i ON i.dataset_pk = d.dataset_pk LEFT JOIN dataset_input_tags t "
            "ON t.run_pk = i.run_pk AND t.dataset_pk = i.dataset_pk AND t.name = :context "
            f"WHERE {among} ORDER BY d.experiment_id, d.name, d.digest, t.value LIMIT {MAX_SUMMARIES}"
        )
        rows = self.read(lambda tx: tx.rows(sql, {**params, "context": CONTEXT_TAG}))
        return [DatasetSummary(str(experiment_id), *row) for experiment_id, *row in rows]


def write_dataset_input(tx: Transaction, run: RunRow, given: DatasetInput) -> None:
    """A dataset is shared by the runs of an experiment; a run that has it already keeps its tags as they are."""
    link = {"run_pk": run.run_pk, "dataset_pk": _dataset_pk(tx, run.experiment_id, given.dataset)}
    known = tx.row("SELECT 1 FROM dataset_inputs WHERE run_pk = :run_pk AND dataset_pk = :dataset_pk", link)
    if known is not None:
        return
    tx.insert("dataset_inputs", link)
    tags = {tag.key: tag.value for tag in given.tags}
    tx.insert_many("dataset_input_tags", [{**link, "name": name, "value": value} for name, value in tags.items()])


def _dataset_pk(tx: Transaction, experiment_id: int, dataset: Dataset) -> int:
    identity = {"experiment_id": experiment_id, "name": dataset.name, "digest": dataset.digest}
    found = tx.row(
        "SELECT dataset_pk FROM datasets WHERE experiment_id = :experiment_id AND name = :name AND digest = :digest",
        identity,
    )
    if found is not None:
        return int(found[0])
    values = {
        **identity,
        "source_type": dataset.source_type,
        "source": dataset.source,
        "schema_json": dataset.schema,
        "profile": dataset.profile,
    }
    return tx.insert_keyed("datasets", values, "dataset_pk")


def _model_id(value: str) -> str:
    if not value:
        raise InvalidParameterValue("a model id is empty")
    return validate.text(value, validate.MAX_MODEL_ID, "model id")


__all__ = ["InputStore", "write_dataset_input"]
