"""Experiments."""

from __future__ import annotations

from typing import Annotated

import msgspec

from mlgate_tracking import wire
from mlgate_tracking.entities import Tag
from mlgate_tracking.errors import ResourceDoesNotExist
from mlgate_tracking.server.decode import Request, Text
from mlgate_tracking.server.endpoints import PAGED, Call, endpoint
from mlgate_tracking.server.routes.common import EnumIn, KeyValue, TagIn, tags_of, view_type
from mlgate_tracking.wire import Json


class CreateExperiment(Request, frozen=True):
    name: Text
    artifact_location: str | None = None
    tags: tuple[TagIn, ...] = ()


class ExperimentId(Request, frozen=True):
    experiment_id: Text


class ExperimentName(Request, frozen=True):
    experiment_name: Text


class SearchExperiments(Request, frozen=True):
    # MLflow's server takes an absent value for 0 and refuses it; clients always send one.
    max_results: Annotated[int, msgspec.Meta(ge=1, le=50_000)]
    page_token: str = ""
    filter: str = ""
    order_by: tuple[str, ...] = ()
    view_type: EnumIn = "ACTIVE_ONLY"


class UpdateExperiment(Request, frozen=True):
    experiment_id: Text
    new_name: Text


class SetExperimentTag(Request, frozen=True):
    experiment_id: Text
    key: Text
    value: str = ""


class SearchDatasets(Request, frozen=True):
    experiment_ids: Annotated[tuple[Text, ...], msgspec.Meta(min_length=1, max_length=20)]


class DeleteExperimentTag(KeyValue, frozen=True):
    experiment_id: Text


def create(call: Call, request: CreateExperiment) -> Json:
    """Create an experiment."""
    experiment_id = call.store.create_experiment(request.name, request.artifact_location or None, tags_of(request.tags))
    return {"experiment_id": experiment_id}


def get(call: Call, request: ExperimentId) -> Json:
    """Get an experiment by id, deleted ones too."""
    return {"experiment": wire.experiment_to_wire(call.store.get_experiment(request.experiment_id))}


def get_by_name(call: Call, request: ExperimentName) -> Json:
    """Get an experiment by name, deleted ones too."""
    experiment = call.store.get_experiment_by_name(request.experiment_name)
    if experiment is None:
        raise ResourceDoesNotExist(f"there is no experiment named {request.experiment_name!r}")
    return {"experiment": wire.experiment_to_wire(experiment)}


def search(call: Call, request: SearchExperiments) -> Json:
    """Search experiments."""
    page = call.store.search_experiments(
        filter_string=request.filter or None,
        order_by=request.order_by,
        view_type=view_type(request.view_type),
        max_results=request.max_results,
        page_token=request.page_token or None,
    )
    return wire.page_to_wire("experiments", page, wire.experiment_to_wire)


def update(call: Call, request: UpdateExperiment) -> Json:
    """Rename an experiment."""
    call.store.rename_experiment(request.experiment_id, request.new_name)
    return {}


def delete(call: Call, request: ExperimentId) -> Json:
    """Delete an experiment and its runs; they can be restored."""
    call.store.delete_experiment(request.experiment_id)
    return {}


def restore(call: Call, request: ExperimentId) -> Json:
    """Restore a deleted experiment and its runs."""
    call.store.restore_experiment(request.experiment_id)
    return {}


def set_tag(call: Call, request: SetExperimentTag) -> Json:
    """Set a tag of an experiment."""
    call.store.set_experiment_tag(request.experiment_id, Tag(request.key, request.value))
    return {}


def delete_tag(call: Call, request: DeleteExperimentTag) -> Json:
    """Delete a tag of an experiment."""
    call.store.delete_experiment_tag(request.experiment_id, request.key)
    return {}


def search_datasets(call: Call, request: SearchDatasets) -> Json:
    """What runs of up to 20 experiments have read: each dataset once for each context."""
    found = call.store.search_datasets(request.experiment_ids)
    return {"dataset_summaries": [wire.dataset_summary_to_wire(summary) for summary in found]} if found else {}


_BASE = "2.0/mlflow/experiments/"
_PAGE = {"experiments": "Experiment[]", **PAGED}

ENDPOINTS = (
    endpoint("POST", _BASE + "create", CreateExperiment, create, experiment_id="string"),
    endpoint("GET", _BASE + "get", ExperimentId, get, experiment="Experiment"),
    endpoint("GET", _BASE + "get-by-name", ExperimentName, get_by_name, experiment="Experiment"),
    endpoint("POST", _BASE + "search", SearchExperiments, search, **_PAGE),
    endpoint("GET", _BASE + "search", SearchExperiments, search, **_PAGE),
    endpoint("POST", _BASE + "update", UpdateExperiment, update),
    endpoint("POST", _BASE + "delete", ExperimentId, delete),
    endpoint("POST", _BASE + "restore", ExperimentId, restore),
    endpoint("POST", _BASE + "set-experiment-tag", SetExperimentTag, set_tag),
    endpoint("POST", _BASE + "delete-experiment-tag", DeleteExperimentTag, delete_tag),
    endpoint("POST", _BASE + "search-datasets", SearchDatasets, search_datasets, dataset_summaries="DatasetSummary[]"),
)

__all__ = ["ENDPOINTS"]
