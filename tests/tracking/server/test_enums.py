"""Enumerations on the wire: by name or by number, anything else refused."""

from __future__ import annotations

import pytest

from mlgate_tracking.entities import LoggedModelStatus, RunStatus
from mlgate_tracking.errors import InvalidParameterValue
from mlgate_tracking.server.routes.common import enum_member

MODEL = {1: LoggedModelStatus.PENDING, 2: LoggedModelStatus.READY, 3: LoggedModelStatus.UPLOAD_FAILED}
RUN = {1: RunStatus.RUNNING, 3: RunStatus.FINISHED}


@pytest.mark.parametrize("value", ["LOGGED_MODEL_UPLOAD_FAILED", 3, "3"])
def test_a_member_is_known_by_its_wire_name_and_by_its_number(value: str | int) -> None:
    assert enum_member(value, "status", LoggedModelStatus, MODEL) is LoggedModelStatus.UPLOAD_FAILED


@pytest.mark.parametrize("value", ["UPLOAD_FAILED", "READY", 9, "9", "", "logged_model_ready"])
def test_anything_else_is_refused_with_the_names_that_there_are(value: str | int) -> None:
    with pytest.raises(InvalidParameterValue, match="LOGGED_MODEL_READY"):
        enum_member(value, "status", LoggedModelStatus, MODEL)


def test_run_status_is_known_by_its_name() -> None:
    assert enum_member("FINISHED", "status", RunStatus, RUN) is RunStatus.FINISHED
