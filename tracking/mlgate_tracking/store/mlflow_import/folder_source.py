"""A folder that MLflow's file store wrote (`mlruns/`), versions 2.x and 3.x. It may have been moved since."""

from __future__ import annotations

from collections.abc import Iterator
from functools import cached_property
from pathlib import Path
from typing import Any

import yaml

from mlgate_tracking.artifacts import is_proxied
from mlgate_tracking.entities import (
    Dataset,
    DatasetInput,
    Experiment,
    LifecycleStage,
    LoggedModel,
    Metric,
    ModelAlias,
    ModelOutput,
    ModelVersion,
    Param,
    RegisteredModel,
    Run,
    RunData,
    RunInfo,
    RunInputs,
    RunStatus,
    Tag,
)
from mlgate_tracking.errors import BadRequest, InvalidParameterValue
from mlgate_tracking.store.mlflow_import.records import LoggedModelRecord, RegisteredModelRecord, RunRecord
from mlgate_tracking.store.mlflow_import.vocabulary import (
    DELETED_STAGE,
    LOGGED_MODEL_STATUSES,
    RUN_STATUSES,
    readable_location,
)
from mlgate_tracking.store.tables import RUN_ID_LENGTH
from mlgate_tracking.store.values import double_columns

_BATCH = 50
_META = "meta.yaml"
_TRASH = ".trash"
_Loader = getattr(yaml, "CSafeLoader", yaml.SafeLoader)


class FolderSource:
    def __init__(self, folder: Path) -> None:
        self.folder = folder.absolute()
        if not self.folder.is_dir():
            raise InvalidParameterValue(f"there is no folder {self.folder}")
        if not self._experiment_folders:
            raise BadRequest(f"{self.folder} is no folder of MLflow's: no experiment (NUMBER/{_META}) is in it")

    def close(self) -> None:
        pass

    # --- experiments and runs -----------------------------------------------------------------------------------

    @cached_property
    def _experiment_folders(self) -> dict[str, Path]:
        found = {}
        for parent in (self.folder, self.folder / _TRASH):
            for path in parent.iterdir() if parent.is_dir() else ():
                if path.name.isdigit() and (path / _META).is_file():
                    found[path.name] = path
        return dict(sorted(found.items(), key=lambda item: int(item[0])))

    def experiments(self) -> list[Experiment]:
        found = []
        for experiment_id, folder in self._experiment_folders.items():
            meta = _read_meta(folder)
            experiment = Experiment(
                experiment_id=experiment_id,
                name=str(meta["name"]),
                artifact_location=meta.get("artifact_location") or "",
                lifecycle_stage=LifecycleStage(meta.get("lifecycle_stage", "active")),
                creation_time=meta.get("creation_time") or 0,
                last_update_time=meta.get("last_update_time") or 0,
                tags=_tags(folder),
            )
            found.append(experiment)
        return found

    def _run_folders(self, experiment_id: str) -> list[Path]:
        folder = self._experiment_folders[experiment_id]
        return sorted(path.parent for path in folder.glob(f"*/{_META}") if len(path.parent.name) == RUN_ID_LENGTH)

    def run_count(self) -> int:
        return sum(len(self._run_folders(experiment_id)) for experiment_id in self._experiment_folders)

    def runs(self, experiment_id: str) -> Iterator[list[RunRecord]]:
        folders = self._run_folders(experiment_id)
        for start in range(0, len(folders), _BATCH):
            yield [self._run_record(experiment_id, folder) for folder in folders[start : start + _BATCH]]

    def _run_record(self, experiment_id: str, folder: Path) -> RunRecord:
        meta = _read_meta(folder)
        tags = _tags(folder)
        names = [tag.value for tag in tags if tag.key == "mlflow.runName"]
        deleted = meta.get("lifecycle_stage") == LifecycleStage.DELETED
        info = RunInfo(
            run_id=folder.name,
            run_name=str(meta.get("run_name") or (names[0] if names else "")),
            experiment_id=experiment_id,
            user_id=str(meta.get("user_id") or ""),
            status=_status(meta.get("status")),
            start_time=meta.get("start_time") or 0,
            artifact_uri=meta.get("artifact_uri") or "",
            end_time=meta.get("end_time"),
            lifecycle_stage=LifecycleStage.DELETED if deleted else LifecycleStage.ACTIVE,
        )
        params = tuple(Param(key, _text(path)) for key, path in _files(folder / "params"))
        return RunRecord(
            run=Run(
                info,
                RunData(params=params, tags=tags),
                self._inputs(experiment_id, folder),
                tuple(_outputs(folder)),
            ),
            history=_history(folder),
            deleted_time=(meta.get("deleted_time") or meta.get("end_time") or 0) if deleted else None,
            artifacts=_artifacts(folder, info.artifact_uri, self.folder.parent),
        )

    def _inputs(self, experiment_id: str, folder: Path) -> RunInputs:
        datasets = []
        models = []
        for path in sorted(folder.glob(f"inputs/*/{_META}")):
            meta = _read_meta(path.parent)
            if meta["destination_type"] == "MODEL_INPUT":
                models.append(str(meta["destination_id"]))
                continue
            found = _read_meta(self._experiment_folders[experiment_id] / "datasets" / str(meta["source_id"]))
            dataset = Dataset(
                name=str(found["name"]),
                digest=str(found["digest"]),
                source_type=str(found["source_type"]),
                source=str(found["source"]),
                schema=found.get("schema"),
                profile=found.get("profile"),
            )
            tags = tuple(Tag(str(key), str(value)) for key, value in (meta.get("tags") or {}).items())
            datasets.append(DatasetInput(dataset, tags))
        return RunInputs(tuple(datasets), tuple(models))

    # --- models -------------------------------------------------------------------------------------------------

    def logged_models(self, experiment_id: str) -> list[LoggedModelRecord]:
        return [
            self._logged_model(experiment_id, path.parent)
            for path in sorted(self._experiment_folders[experiment_id].glob(f"models/*/{_META}"))
        ]

    def _logged_model(self, experiment_id: str, folder: Path) -> LoggedModelRecord:
        meta = _read_meta(folder)
        updated = meta["last_updated_timestamp"]
        model = LoggedModel(
            model_id=str(meta["model_id"]),
            experiment_id=experiment_id,
            name=str(meta["name"]),
            artifact_uri=meta["artifact_location"],
            status=LOGGED_MODEL_STATUSES[int(meta["status"])],
            creation_timestamp=meta["creation_timestamp"],
            last_updated_timestamp=updated,
            model_type=meta.get("model_type"),
            source_run_id=meta.get("source_run_id"),
            status_message=meta.get("status_message"),
            tags=_tags(folder),
            params=tuple(Param(key, _text(path)) for key, path in _files(folder / "params")),
            metrics=tuple(_history(folder)),
        )
        deleted = meta.get("lifecycle_stage") == LifecycleStage.DELETED
        where = _artifacts(folder, model.artifact_uri, self.folder.parent)
        return LoggedModelRecord(model, updated if deleted else None, where)

    def registered_models(self) -> list[RegisteredModelRecord]:
        return [_registered_model(path.parent) for path in sorted((self.folder / "models").glob(f"*/{_META}"))]

    def proxied_location(self) -> str | None:
        for experiment_id in self._experiment_folders:
            for folder in self._run_folders(experiment_id):
                uri = str(_read_meta(folder).get("artifact_uri") or "")
                if is_proxied(_artifacts(folder, uri, self.folder.parent) or ""):
                    return uri
            for record in self.logged_models(experiment_id):
                if is_proxied(record.artifacts or ""):
                    return record.artifacts
        return None

    def unreadable(self) -> list[str]:
        return [
            f"run {path.parent.name} of experiment {experiment_id}: its id has not {RUN_ID_LENGTH} characters"
            for experiment_id, folder in self._experiment_folders.items()
            for path in sorted(folder.glob(f"*/{_META}"))
            if len(path.parent.name) != RUN_ID_LENGTH
        ]

    def left(self) -> list[str]:
        traces = sum(1 for _ in self.folder.glob("*/traces/*/trace_info.yaml"))
        return [f"{traces} traces"] if traces else []


def _registered_model(folder: Path) -> RegisteredModelRecord:
    meta = _read_meta(folder)
    aliases = {alias: int(_text(path)) for alias, path in _files(folder / "aliases")}
    versions = []
    deleted = set()
    for path in folder.glob(f"version-*/{_META}"):
        row = _read_meta(path.parent)
        number = int(row["version"])
        if row.get("current_stage") == DELETED_STAGE:
            deleted.add(number)
        version = ModelVersion(
            name=str(meta["name"]),
            version=number,
            creation_timestamp=row.get("creation_timestamp") or 0,
            last_updated_timestamp=row.get("last_updated_timestamp") or 0,
            current_stage="None" if number in deleted else row.get("current_stage") or "None",
            source=row.get("source") or "",
            run_id=row.get("run_id"),
            run_link=row.get("run_link"),
            description=row.get("description"),
            user_id=row.get("user_id"),
            model_id=row.get("model_id"),
            storage_location=row.get("storage_location"),
            status=str(row.get("status") or "READY"),
            status_message=row.get("status_message"),
            tags=_tags(path.parent),
        )
        versions.append(version)
    model = RegisteredModel(
        name=str(meta["name"]),
        creation_timestamp=meta.get("creation_timestamp") or 0,
        last_updated_timestamp=meta.get("last_updated_timestamp") or 0,
        description=meta.get("description"),
        tags=_tags(folder),
        aliases=tuple(ModelAlias(alias, version) for alias, version in sorted(aliases.items())),
    )
    return RegisteredModelRecord(
        model, tuple(sorted(versions, key=lambda version: version.version)), frozenset(deleted)
    )


def _read_meta(folder: Path) -> dict[str, Any]:
    path = folder / _META
    try:
        meta = yaml.load(_text(path), Loader=_Loader)  # noqa: S506 - both loaders are the safe one
    except (OSError, yaml.YAMLError) as error:
        raise BadRequest(f"{path}: cannot be read: {str(error).splitlines()[0]}") from error
    if not isinstance(meta, dict):
        raise BadRequest(f"{path}: holds no mapping")
    return meta


def _files(folder: Path) -> list[tuple[str, Path]]:
    """Every file below a folder with its key: the relative path."""
    return sorted((path.relative_to(folder).as_posix(), path) for path in folder.rglob("*") if path.is_file())


def _text(path: Path) -> str:
    """What was written, line ends included."""
    try:
        return path.read_bytes().decode("utf-8")
    except UnicodeDecodeError as error:
        raise BadRequest(f"{path}: cannot be read: {error}") from error


def _tags(folder: Path) -> tuple[Tag, ...]:
    return tuple(Tag(key, _text(path)) for key, path in _files(folder / "tags"))


def _history(folder: Path) -> list[Metric]:
    """Points of `metrics/KEY`, a line each: `timestamp value step`, for a model `run_id` and dataset too."""
    points: dict[tuple[object, ...], Metric] = {}
    for key, path in _files(folder / "metrics"):
        for number, line in enumerate(_text(path).splitlines(), 1):
            fields = line.split(" ")
            try:
                timestamp, value, step = int(fields[0]), float(fields[1]), int(fields[2]) if len(fields) > 2 else 0
            except (ValueError, IndexError) as error:
                raise BadRequest(f"{path}:{number}: {line!r} is not 'timestamp value step'") from error
            run_id, name, digest = (*fields[3:6], None, None, None)[:3]
            point = Metric(key, value, timestamp, step, None, name, digest, run_id)
            points[key, timestamp, step, double_columns(value), run_id, name, digest] = point
    return list(points.values())


def _outputs(folder: Path) -> Iterator[ModelOutput]:
    for path in sorted(folder.glob(f"outputs/*/{_META}")):
        meta = _read_meta(path.parent)
        yield ModelOutput(str(meta["destination_id"]), int(meta.get("step") or 0))


def _status(value: object) -> RunStatus:
    return RUN_STATUSES[int(value)] if isinstance(value, int) else RunStatus(str(value))


def _artifacts(folder: Path, uri: str, base: Path) -> str | None:
    """The files that lie beside the metadata, wherever the folder is now; else where the metadata says."""
    beside = folder / "artifacts"
    return str(beside) if beside.is_dir() else readable_location(uri, base)


__all__ = ["FolderSource"]
