"""Bring an MLflow store over: a database or a folder of its file store, with ids, histories and files.

Each run arrives whole, its files first, so an import that was interrupted goes on where it stopped. At the end the
counts on both sides are compared.
"""

from __future__ import annotations

import posixpath
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path

from mlgate_tracking.artifacts import ArtifactRepository, repository_for
from mlgate_tracking.entities import ModelVersion
from mlgate_tracking.errors import InvalidParameterValue, ResourceDoesNotExist, TrackingError
from mlgate_tracking.store.experiments import default_location
from mlgate_tracking.store.mlflow_import.records import (
    Counts,
    ImportReport,
    LoggedModelRecord,
    RegisteredModelRecord,
    RunRecord,
    Source,
)
from mlgate_tracking.store.mlflow_import.target import Target
from mlgate_tracking.store.mlflow_import.vocabulary import local_path
from mlgate_tracking.store.part import StorePart


@dataclass(frozen=True, slots=True)
class ArtifactPlan:
    """What becomes of artifacts.

    Attributes:
        destination: where the store keeps its proxied artifacts; None leaves all files where they are.
        source_destination: where the MLflow server kept its proxied artifacts (its `--artifacts-destination`).
    """

    destination: str | None
    source_destination: str | None = None


class Incomplete(TrackingError):
    """After an import the counts on both sides differ."""


def open_source(uri: str) -> Source:
    """The MLflow store that a URI or path names.

    Raises:
        InvalidParameterValue: there is no such file or folder, or it is the URI of a server.
        BadRequest: it holds no MLflow data.
    """
    if uri.startswith(("http://", "https://")):
        raise InvalidParameterValue(f"{uri} is a server: name its database or folder (its --backend-store-uri)")
    if "://" in uri and not uri.startswith("file:"):
        from mlgate_tracking.store.mlflow_import.database_source import DatabaseSource

        return DatabaseSource(uri)
    path = local_path(uri) or Path(uri)
    if path.is_file():
        from mlgate_tracking.store.mlflow_import.database_source import DatabaseSource

        return DatabaseSource(f"sqlite:///{path.absolute()}")
    from mlgate_tracking.store.mlflow_import.folder_source import FolderSource

    return FolderSource(path)


def import_mlflow(
    source: Source,
    store: StorePart,
    artifacts: ArtifactPlan,
    *,
    dry_run: bool = False,
    progress: Callable[[int, int], None] = lambda done, total: None,
) -> ImportReport:
    """Bring everything over that is not here yet.

    Args:
        dry_run: read everything and look for conflicts, write nothing.
        progress: told how many of how many runs have been dealt with.

    Raises:
        Conflict: an experiment or model would get in the way of another one that is here; nothing was written.
        Incomplete: the counts differ at the end.
    """
    return _Import(source, Target(store), store.artifact_root, artifacts, dry_run, progress).run()


class _Import:
    def __init__(
        self,
        source: Source,
        target: Target,
        artifact_root: str,
        artifacts: ArtifactPlan,
        dry_run: bool,
        progress: Callable[[int, int], None],
    ) -> None:
        self.source = source
        self.target = target
        self.root = artifact_root
        self.artifacts = artifacts
        self.dry_run = dry_run
        self.progress = progress
        self.report = ImportReport(left=source.left())
        self.here = Counts()
        self.moved: dict[str, tuple[str, str]] = {}
        """Run or logged model that a version comes from -> its artifact URI there and here."""

    def run(self) -> ImportReport:
        experiments = self.source.experiments()
        models = self.source.registered_models()
        self.target.refuse_conflicts(experiments, models)
        wanted = {version.run_id for record in models for version in record.versions if version.run_id}
        total, done = self.source.run_count(), 0
        logged_models = []
        for experiment in experiments:
            location = self._new_uri(experiment.artifact_location, experiment.experiment_id, "")
            self.report.found.experiments += 1
            if not self.dry_run:
                self.report.written.experiments += self.target.write_experiment(experiment, location)
            for record in self.source.logged_models(experiment.experiment_id):
                logged_models.append(record.model.model_id)
                self._bring_logged_model(record)
            for batch in self.source.runs(experiment.experiment_id):
                self._bring_runs(batch, wanted)
                done += len(batch)
                self.progress(done, total)
        for model in models:
            self._bring_registered_model(model)
        if not self.dry_run:
            self.target.finish()
            names = [record.model.name for record in models]
            self.target.count_others([e.experiment_id for e in experiments], logged_models, names, self.here)
            self._compare()
        return self.report

    def _bring_logged_model(self, record: LoggedModelRecord) -> None:
        model = record.model
        uri = self._new_uri(model.artifact_uri, model.experiment_id, f"models/{model.model_id}/artifacts")
        self.moved[model.model_id] = (model.artifact_uri, uri)
        self.report.found.logged_models += 1
        if self.dry_run or self.target.has_logged_model(model.model_id):
            return
        self._copy(record.artifacts, model.artifact_uri, uri)
        self.report.written.logged_models += self.target.write_logged_model(record, uri)

    def _bring_runs(self, batch: list[RunRecord], wanted: set[str]) -> None:
        ids = [record.run.info.run_id for record in batch]
        present = self.target.present_runs(ids)
        missing = []
        for record in batch:
            info = record.run.info
            uri = self._new_uri(info.artifact_uri, info.experiment_id, f"{info.run_id}/artifacts")
            if info.run_id in wanted:
                self.moved[info.run_id] = (info.artifact_uri, uri)
            self.report.found.add_run(record)
            if info.run_id in present:
                continue
            missing.append((record, uri))
            if not self.dry_run:
                self.report.written.add_run(record)
                self._copy(record.artifacts, info.artifact_uri, uri)
        if not self.dry_run:
            self.target.write_runs(missing)
            self.here.runs += len(self.target.present_runs(ids))
            self.target.count_run_data([record.run.info.run_id for record, _ in missing], self.here)

    def _bring_registered_model(self, record: RegisteredModelRecord) -> None:
        self.report.found.add_model(record)
        if self.dry_run:
            return
        versions = [self._relocated(version) for version in record.versions]
        if self.target.write_registered_model(record, versions):
            self.report.written.add_model(record)
            self.target.count_model_data(record.model.name, self.here)

    def _compare(self) -> None:
        """Everything that was found is here; what was written now is here with all its data.

        Runs and models that were here before may have changed since they were brought over.
        """
        found, written = self.report.found, self.report.written
        expected = replace(
            written,
            experiments=found.experiments,
            runs=found.runs,
            logged_models=found.logged_models,
            registered_models=found.registered_models,
        )
        differences = expected.differences(self.here)
        if differences:
            raise Incomplete(f"the import is not complete: {'; '.join(differences)}")

    # --- artifacts ----------------------------------------------------------------------------------------------

    def _new_uri(self, old: str, experiment_id: str, below: str) -> str:
        """An object store's files stay in place; others go below the store's own artifact root."""
        stays = local_path(old) is None and not old.startswith("mlflow-artifacts:")
        if stays or self.artifacts.destination is None:
            return old
        return posixpath.join(default_location(self.root, int(experiment_id)), below).rstrip("/")

    def _copy(self, readable: str | None, old: str, new: str) -> None:
        if readable is None or self.artifacts.destination is None:
            return
        if readable.startswith("mlflow-artifacts:") and self.artifacts.source_destination is None:
            raise InvalidParameterValue(
                f"artifacts {old} are behind an MLflow server: say where it keeps them (--artifacts-source), "
                "or leave them (--no-artifacts)"
            )
        there = repository_for(readable, destination=self.artifacts.source_destination)
        here = repository_for(new, destination=self.artifacts.destination)
        for path in _files(there):
            here.upload(path, _chunks(there, path))
            self.report.files += 1

    def _relocated(self, version: ModelVersion) -> ModelVersion:
        """A version whose files have moved along with the run or logged model they belong to."""
        model_id = version.model_id
        if version.source.startswith("models:/m-"):
            model_id = version.source.removeprefix("models:/")
        pairs = [self.moved[key] for key in (version.run_id, model_id) if key in self.moved]
        return replace(
            version,
            model_id=model_id,
            source=_rebased(version.source, pairs),
            storage_location=_rebased(version.storage_location or version.source, pairs),
        )


def _rebased(uri: str, pairs: list[tuple[str, str]]) -> str:
    for old, new in pairs:
        plain, base = (text.removeprefix("file://").rstrip("/") for text in (uri, old))
        if base and (plain == base or plain.startswith(f"{base}/")):
            return new + plain[len(base) :]
    return uri


def _files(repository: ArtifactRepository, folder: str = "") -> Iterator[str]:
    token = None
    while True:
        page = repository.list(folder, page_token=token)
        for entry in page.items:
            if entry.is_dir:
                yield from _files(repository, entry.path)
            else:
                yield entry.path
        token = page.token
        if token is None:
            return


def _chunks(repository: ArtifactRepository, path: str) -> Iterator[bytes]:
    try:
        yield from repository.download(path)
    except ResourceDoesNotExist:  # removed while we read
        return


__all__ = ["ArtifactPlan", "Counts", "ImportReport", "Incomplete", "import_mlflow", "open_source"]
