"""What happened in the registry, told to whoever listens (webhooks): MLflow's events, their names and their data."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from typing import Any

from mlgate_tracking.entities import PROMOTION_EVENTS, PROMPT_TAG, ModelVersion, RegisteredModel, Tag
from mlgate_tracking.errors import ResourceDoesNotExist
from mlgate_tracking.server.endpoints import Call

PROMPT_TEXT_TAG = "mlflow.prompt.text"


@dataclass(frozen=True, slots=True)
class Event:
    """One change; `data` is what a webhook's body carries."""

    entity: str
    action: str
    data: dict[str, Any] = field(default_factory=dict)


_EXAMPLES: dict[str, dict[str, Any]] = {
    "registered_model": {"name": "example_model", "tags": {"team": "example"}, "description": "An example"},
    "model_version": {
        "name": "example_model",
        "version": "1",
        "source": "models:/m-00000000000000000000000000000000",
        "run_id": "00000000000000000000000000000000",
        "tags": {"team": "example"},
        "description": "An example",
    },
    "model_version_tag": {"name": "example_model", "version": "1", "key": "team", "value": "example"},
    "model_version_alias": {"name": "example_model", "alias": "champion", "version": "1"},
    "prompt": {"name": "example_prompt", "tags": {"team": "example"}, "description": "An example"},
    "prompt_version": {
        "name": "example_prompt",
        "version": "1",
        "template": "Hello {{name}}",
        "tags": {"team": "example"},
        "description": "An example",
    },
    "prompt_tag": {"name": "example_prompt", "key": "team", "value": "example"},
    "prompt_version_tag": {"name": "example_prompt", "version": "1", "key": "team", "value": "example"},
    "prompt_alias": {"name": "example_prompt", "alias": "production", "version": "1"},
    "budget_policy": {"name": "example_policy", "limit": 100.0, "spent": 120.0},
}
_GONE = {"model_version_alias": "version", "prompt_alias": "version"}


def example(entity: str, action: str) -> dict[str, Any]:
    """Data as an event of this kind would carry, for trying a webhook out."""
    if (entity, action) in PROMOTION_EVENTS:
        target = {"alias": "champion", "stage": None}
        return {"model": "example", "version": 2, "previous_version": 1, "target": target, "user": "mlgate"}
    left_out = _GONE.get(entity, "value") if action == "deleted" else None
    return {key: value for key, value in _EXAMPLES[entity].items() if key != left_out}


Listener = Callable[[Event], None]


def model_created(call: Call, model: RegisteredModel) -> None:
    prompt = _is_prompt(model.tags)
    data = {"name": model.name, "tags": _visible(model.tags), "description": model.description}
    call.server.emit(Event("prompt" if prompt else "registered_model", "created", data))


def version_created(call: Call, version: ModelVersion) -> None:
    data: dict[str, Any] = {"name": version.name, "version": str(version.version)}
    if _is_prompt(version.tags):
        template = next((tag.value for tag in version.tags if tag.key == PROMPT_TEXT_TAG), "")
        data |= {"template": template, "tags": _visible(version.tags), "description": version.description}
        call.server.emit(Event("prompt_version", "created", data))
        return
    data |= {"source": version.source, "run_id": version.run_id, "tags": _visible(version.tags)}
    data["description"] = version.description
    call.server.emit(Event("model_version", "created", data))


def model_tag_set(call: Call, name: str, key: str, value: str) -> None:
    """Tags of ordinary models tell nobody; those of prompts do."""
    if _names_prompt(call, name):
        call.server.emit(Event("prompt_tag", "set", {"name": name, "key": key, "value": value}))


def model_tag_deleted(call: Call, name: str, key: str) -> None:
    if _names_prompt(call, name):
        call.server.emit(Event("prompt_tag", "deleted", {"name": name, "key": key}))


def version_tag_set(call: Call, name: str, version: int, key: str, value: str) -> None:
    data = {"name": name, "version": str(version), "key": key, "value": value}
    _emit_either(call, name, "model_version_tag", "prompt_version_tag", "set", data)


def version_tag_deleted(call: Call, name: str, version: int, key: str) -> None:
    data = {"name": name, "version": str(version), "key": key}
    _emit_either(call, name, "model_version_tag", "prompt_version_tag", "deleted", data)


def alias_set(call: Call, name: str, alias: str, version: int) -> None:
    data = {"name": name, "alias": alias, "version": str(version)}
    _emit_either(call, name, "model_version_alias", "prompt_alias", "created", data)


def alias_deleted(call: Call, name: str, alias: str) -> None:
    _emit_either(call, name, "model_version_alias", "prompt_alias", "deleted", {"name": name, "alias": alias})


def _emit_either(call: Call, name: str, model: str, prompt: str, action: str, data: dict[str, Any]) -> None:
    if call.server.listeners:
        call.server.emit(Event(prompt if _names_prompt(call, name) else model, action, data))


def _names_prompt(call: Call, name: str) -> bool:
    if not call.server.listeners:
        return False
    try:
        return _is_prompt(call.store.get_registered_model(name).tags)
    except ResourceDoesNotExist:
        return False


def _is_prompt(tags: Iterable[Tag]) -> bool:
    return any(tag.key == PROMPT_TAG and tag.value.lower() == "true" for tag in tags)


def _visible(tags: Iterable[Tag]) -> dict[str, str]:
    return {tag.key: tag.value for tag in tags if tag.key not in (PROMPT_TAG, PROMPT_TEXT_TAG)}


__all__ = [
    "Event",
    "Listener",
    "alias_deleted",
    "alias_set",
    "example",
    "model_created",
    "model_tag_deleted",
    "model_tag_set",
    "version_created",
    "version_tag_deleted",
    "version_tag_set",
]
