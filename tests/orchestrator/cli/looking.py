"""A store with a little history, and the command line over it."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from mlgate.cli.main import call, cli
from mlgate_tracking.artifacts import repository_for
from mlgate_tracking.client import artifacts_destination_of, connect
from mlgate_tracking.entities import Metric, Param, Run, RunStatus, Tag

START = 1_700_000_000_000
"""14 November 2023, in milliseconds."""


@dataclass(frozen=True)
class Said:
    exit_code: int
    out: str
    err: str

    def json(self) -> Any:
        return json.loads(self.out)

    def rows(self) -> list[list[str]]:
        """The lines of a table as programs see it, without its header."""
        return [line.split("\t") for line in self.out.splitlines()[1:]]


class CommandLine:
    """Runs `mlgate` in this process on one store."""

    def __init__(self, uri: str, capsys: pytest.CaptureFixture[str]) -> None:
        self.uri = uri
        self._capsys = capsys

    def __call__(self, *arguments: str) -> Said:
        self._capsys.readouterr()
        exit_code = call(lambda: cli.main([*arguments], prog_name="mlgate", standalone_mode=False))
        captured = self._capsys.readouterr()
        return Said(exit_code, captured.out, captured.err)


def make_history(directory: Path) -> tuple[str, dict[str, Run]]:
    """A store in `directory`: its URI, and its runs by name."""
    uri = f"sqlite:///{directory / 'store.db'}"
    runs: dict[str, Run] = {}
    with connect(uri) as store:
        iris = store.create_experiment("iris", tags=[Tag("team", "blue")])
        wine = store.create_experiment("wine / reds")
        for name, experiment, status, minutes in [
            ("first", iris, RunStatus.FINISHED, 0),
            ("second", iris, RunStatus.FAILED, 1),
            ("third", wine, RunStatus.RUNNING, 2),
            ("gone", iris, RunStatus.FINISHED, 3),
        ]:
            start = START + minutes * 60_000
            run = store.create_run(experiment, run_name=name, user_id="ann", start_time=start)
            run_id = run.info.run_id
            points = [Metric("accuracy", 0.8 + minutes / 100 + step / 1000, start, step) for step in range(3)]
            tags = [Tag("note", f"the {name}"), Tag("mlflow.source.name", "/projects/iris")]
            store.log_batch(
                run_id, metrics=[*points, Metric("system/cpu", 1.0, start)], params=[Param("depth", "3")], tags=tags
            )
            if status is not RunStatus.RUNNING:
                store.update_run(run_id, status=status, end_time=start + 61_500)
            runs[name] = store.get_run(run_id)
        step = store.create_run(
            iris, run_name="step", start_time=START - 1000, tags=[Tag("mlflow.parentRunId", runs["first"].info.run_id)]
        )
        runs["step"] = store.get_run(step.info.run_id)
        store.delete_run(runs["gone"].info.run_id)
        files = repository_for(runs["first"].info.artifact_uri, artifacts_destination_of(uri))
        files.upload("model/MLmodel", iter([b"flavors: {}\n"]))
        files.upload("model/data/model.bin", iter([b"\x00" * 1500]))
        files.upload("notes é.txt", iter([b"hello\n"]))
    return uri, runs
