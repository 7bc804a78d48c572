"""What a source of an import hands over, one record after the other, and the counts that must agree at the end."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field, fields
from typing import Protocol

from mlgate_tracking.entities import Experiment, LoggedModel, Metric, ModelVersion, RegisteredModel, Run


class History(Protocol):
    """Points that need not be in memory all at once; may be gone through more than once."""

    def __len__(self) -> int:
        """How many there were when they were counted, or gone through last."""
        ...

    def __iter__(self) -> Iterator[Metric]: ...


@dataclass(frozen=True, slots=True)
class RunRecord:
    """
    Attributes:
        run: as the source has it; its metrics are not looked at.
        history: every point of every metric.
        deleted_time: None for an active run.
        artifacts: where its files can be read now; None when they stay where they are.
    """

    run: Run
    history: History
    deleted_time: int | None
    artifacts: str | None


@dataclass(frozen=True, slots=True)
class LoggedModelRecord:
    model: LoggedModel
    deleted_time: int | None
    artifacts: str | None


@dataclass(frozen=True, slots=True)
class RegisteredModelRecord:
    """
    Attributes:
        versions: all of them, deleted ones too.
        deleted: numbers of the deleted ones.
    """

    model: RegisteredModel
    versions: tuple[ModelVersion, ...]
    deleted: frozenset[int]


@dataclass(slots=True)
class Counts:
    """How many of each thing there are."""

    experiments: int = 0
    runs: int = 0
    params: int = 0
    tags: int = 0
    metric_points: int = 0
    dataset_inputs: int = 0
    logged_models: int = 0
    registered_models: int = 0
    model_versions: int = 0
    aliases: int = 0
    artifact_files: int = 0

    def add_run(self, record: RunRecord) -> None:
        data = record.run.data
        self.runs += 1
        self.params += len(data.params)
        self.tags += len(data.tags)
        self.metric_points += len(record.history)
        self.dataset_inputs += len(record.run.inputs.dataset_inputs)

    def add_model(self, record: RegisteredModelRecord) -> None:
        self.registered_models += 1
        self.model_versions += len(record.versions)
        self.aliases += len(record.model.aliases)

    def differences(self, other: Counts) -> list[str]:
        """One line for each count in which the two differ."""
        return [
            f"{item.name.replace('_', ' ')}: {getattr(self, item.name)} there, {getattr(other, item.name)} here"
            for item in fields(self)
            if getattr(self, item.name) != getattr(other, item.name)
        ]


@dataclass(slots=True)
class ImportReport:
    """What an import found and did.

    Attributes:
        found: what the source holds.
        written: what was not here before.
        left: what the source holds and an import never brings, in words.
        missing: what should have come and did not, in words.
    """

    found: Counts = field(default_factory=Counts)
    written: Counts = field(default_factory=Counts)
    left: list[str] = field(default_factory=list)
    missing: list[str] = field(default_factory=list)


class Source(Protocol):
    """An MLflow store to read from. Everything is read in the same order each time."""

    def close(self) -> None: ...

    def experiments(self) -> list[Experiment]: ...

    def run_count(self) -> int: ...

    def runs(self, experiment_id: str) -> Iterator[list[RunRecord]]:
        """In batches, deleted ones too."""
        ...

    def logged_models(self, experiment_id: str) -> list[LoggedModelRecord]: ...

    def registered_models(self) -> list[RegisteredModelRecord]: ...

    def proxied_location(self) -> str | None:
        """An artifact location of a run or logged model whose files only an MLflow server can find, if there is one."""
        ...

    def unreadable(self) -> list[str]:
        """What cannot be brought though it should, in words: a run whose folder has another name than a run's."""
        ...

    def left(self) -> list[str]:
        """What it holds besides, in words: `12 traces`."""
        ...


__all__ = [
    "Counts",
    "History",
    "ImportReport",
    "LoggedModelRecord",
    "RegisteredModelRecord",
    "RunRecord",
    "Source",
]
