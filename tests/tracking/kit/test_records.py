"""Records of the client: frozen values, as `dataclasses` makes them, at a fraction of the import."""

from __future__ import annotations

import pytest

from mlgate_tracking.kit import records
from mlgate_tracking.kit.records import Metric, RunData, RunInfo


def test_fields_come_in_order_by_name_and_with_defaults() -> None:
    assert Metric("a", 1.0, 2, step=3) == Metric(key="a", value=1.0, timestamp=2, step=3)
    info = RunInfo("r", "0")
    assert (info.run_id, info.status, info.end_time) == ("r", "RUNNING", None)
    assert repr(Metric("a", 1.0, 2, 3)) == "Metric(key='a', value=1.0, timestamp=2, step=3)"
    assert Metric("a", 1.0, 2, 3) != Metric("a", 1.0, 2, 4)


@pytest.mark.parametrize(
    ("args", "named"), [(("a",), {}), (("a", 1, 2, 3, 4), {}), (("a", 1, 2, 3), {"key": "b"}), ((), {"x": 1})]
)
def test_wrong_arguments_are_refused(args: tuple[object, ...], named: dict[str, object]) -> None:
    with pytest.raises(TypeError, match=r"Metric\(key, value, timestamp, step\)"):
        Metric(*args, **named)  # type: ignore[arg-type]


def test_records_cannot_be_changed_and_share_no_dictionaries() -> None:
    first, second = RunData(), RunData()
    with pytest.raises(AttributeError, match="metrics of RunData cannot be changed"):
        first.metrics = {}  # type: ignore[misc]
    assert first.metrics is not second.metrics


def test_a_run_of_the_wire_has_mlflows_attribute_names() -> None:
    run = records.run(
        {
            "info": {"run_uuid": "r", "experiment_id": "1", "start_time": "12", "unknown": 1, "status": "FAILED"},
            "data": {"metrics": [{"key": "m", "value": "NaN"}], "params": [{"key": "p", "value": "v"}], "tags": []},
        }
    )
    assert (run.info.run_id, run.info.start_time, run.info.status) == ("r", 12, "FAILED")
    assert run.data.params == {"p": "v"}
    assert run.data.metrics["m"] != run.data.metrics["m"]
