"""Names, stages and sizes of the model registry; each check raises `InvalidParameterValue`."""

from __future__ import annotations

import posixpath
import re
from collections.abc import Iterable

from mlgate_tracking.entities import STAGES, Tag
from mlgate_tracking.errors import InvalidParameterValue
from mlgate_tracking.store import validate

MAX_NAME = 256
MAX_ALIAS = 255
MAX_TAG_VALUE = 100_000
MAX_DESCRIPTION = 100_000
MAX_RUN_LINK = 500

_ALIAS = re.compile(r"[\w-]+")
_RESERVED_ALIAS = re.compile(r"v[0-9]+|latest", re.IGNORECASE)
_STAGES = {stage.lower(): stage for stage in STAGES}
_ARCHIVING = ("Staging", "Production")


def model_name(value: str) -> str:
    """A registered model's name: it stands in `models:/NAME/VERSION`, so no slash and no colon."""
    if not isinstance(value, str) or not value.strip():
        raise InvalidParameterValue(f"registered model name {value!r} is blank: give one")
    if "/" in value or ":" in value or posixpath.normpath(value) != value or value in {".", ".."} or "\0" in value:
        raise InvalidParameterValue(f"registered model name {value!r}: '/', ':' and relative paths do not fit into one")
    return validate.text(value, MAX_NAME, "registered model name")


def alias(value: str) -> str:
    if not isinstance(value, str) or _ALIAS.fullmatch(value) is None:
        raise InvalidParameterValue(f"alias {value!r}: use letters, digits, underscores and dashes")
    if _RESERVED_ALIAS.fullmatch(value):
        raise InvalidParameterValue(f"alias {value!r} is reserved, since it reads like a version: choose another")
    return validate.text(value, MAX_ALIAS, "alias")


def stage(value: str) -> str:
    """The stage in its usual spelling."""
    found = _STAGES.get(str(value).lower())
    if found is None:
        raise InvalidParameterValue(f"stage {value!r} is unknown: use one of {', '.join(STAGES)}")
    return found


def any_stage(value: str) -> str:
    """MLflow's stages in their usual spelling; those of a ladder (`Canary`) as they are."""
    return _STAGES.get(str(value).lower(), str(value))


def archiving(to_stage: str) -> None:
    if to_stage not in _ARCHIVING:
        raise InvalidParameterValue(
            f"archive_existing_versions has no meaning for stage {to_stage!r}: use it with {' or '.join(_ARCHIVING)}"
        )


def version(value: int) -> int:
    if isinstance(value, bool) or not isinstance(value, int) or not 0 <= value < 2**31:
        raise InvalidParameterValue(f"model version {value!r} is not a positive integer")
    return value


def tags(values: Iterable[Tag]) -> dict[str, str]:
    """Tags by key; the last of several wins."""
    return {
        validate.key(tag.key, "tag"): validate.text(tag.value or "", MAX_TAG_VALUE, f"tag {tag.key!r}")
        for tag in values
    }


def description(value: str | None) -> str | None:
    return None if value is None else validate.text(value, MAX_DESCRIPTION, "description")


__all__ = [
    "alias",
    "any_stage",
    "archiving",
    "description",
    "model_name",
    "stage",
    "tags",
    "version",
]
