"""What a task tells OpenLineage: the run, the data that it has read and the model versions that it has made.

Imported when a task has ended and Airflow's OpenLineage provider asks; a DAG file loads nothing of it.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from mlgate.tracking import Tracking

_RUN_TAGS = {
    "mlgate.step": "step",
    "mlgate.pipeline": "pipeline",
    "mlgate.project.digest": "projectDigest",
    "mlgate.env.digest": "environmentDigest",
    "mlgate.env.lock": "environmentLock",
    "mlgate.verdict_id": "verdictId",
    "mlgate.promotion_id": "promotionId",
    "mlflow.source.git.commit": "commit",
    "mlflow.project.entryPoint": "entryPoint",
}


def facts_of(tracking: Tracking, run_id: str, made: Mapping[str, int]) -> dict[str, Any]:
    """The run's ids and digests, its input datasets, and model versions (those in `made`, and what the run registered).

    Returns: `run`, `code`, `inputs` and `outputs` as plain data.
    """
    run: dict[str, Any] = {}
    code: dict[str, str] = {}
    inputs: list[dict[str, str]] = []
    versions = dict(made)
    if run_id:
        found = tracking.store.get_run(run_id)
        tags = {tag.key: tag.value for tag in found.data.tags}
        run = {"runId": run_id, "experimentId": found.info.experiment_id}
        run |= {name: tags[key] for key, name in _RUN_TAGS.items() if tags.get(key)}
        if tags.get("mlflow.source.git.repoURL"):
            code = {"repoUrl": tags["mlflow.source.git.repoURL"], "version": tags.get("mlflow.source.git.commit", "")}
        inputs = [
            {"name": one.dataset.name, "digest": one.dataset.digest, "source": one.dataset.source}
            for one in found.inputs.dataset_inputs
        ]
        page = tracking.store.search_model_versions(filter_string=f"run_id = '{run_id}'", max_results=100)
        versions |= {one.name: one.version for one in page.items}
    outputs = [{"name": name, "version": str(version)} for name, version in sorted(versions.items())]
    return {"run": run, "code": code, "inputs": inputs, "outputs": outputs, "store": tracking.settings.tracking_uri}


def as_openlineage(facts: Mapping[str, Any]) -> Any:
    """The same as Airflow's OpenLineage provider wants it (an `OperatorLineage`)."""
    from airflow.providers.openlineage.extractors import OperatorLineage
    from openlineage.client.event_v2 import Dataset
    from openlineage.client.facet_v2 import RunFacet, dataset_version_dataset, source_code_location_job

    def dataset(namespace: str, name: str, version: str) -> Any:
        return Dataset(
            namespace=namespace,
            name=name,
            facets={"version": dataset_version_dataset.DatasetVersionDatasetFacet(datasetVersion=version)},
        )

    namespace = without_password(str(facts["store"]))
    jobs: dict[str, Any] = {}
    if facts["code"]:
        url = facts["code"]["repoUrl"]
        jobs["sourceCodeLocation"] = source_code_location_job.SourceCodeLocationJobFacet(
            type="git", url=url, repoUrl=url, version=facts["code"]["version"] or None
        )
    runs = {"mlgate_run": RunFacet().with_additional_properties(**facts["run"])} if facts["run"] else {}
    return OperatorLineage(
        inputs=[dataset(namespace, f"datasets/{one['name']}", one["digest"]) for one in facts["inputs"]],
        outputs=[dataset(namespace, f"models/{one['name']}", one["version"]) for one in facts["outputs"]],
        run_facets=runs,
        job_facets=jobs,
    )


def without_password(uri: str) -> str:
    """A store's URI as a namespace, without who opens it."""
    from urllib.parse import urlsplit

    parts = urlsplit(uri)
    return f"{parts.scheme}://{parts.netloc.rpartition('@')[2]}{parts.path}".rstrip("/")


__all__ = ["as_openlineage", "facts_of", "without_password"]
