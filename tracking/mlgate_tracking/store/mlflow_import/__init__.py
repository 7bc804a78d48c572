"""Bring an MLflow store over: a database or a folder of its file store, with ids, histories and files.

Each run arrives whole, its files first, so an import that was interrupted goes on where it stopped; files, versions and
aliases that are still missing are brought by the next one. At the end the counts on both sides are compared.
"""

from __future__ import annotations

import posixpath
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

from mlgate_tracking.entities import LoggedModelStatus, ModelVersion
from mlgate_tracking.errors import InvalidParameterValue, TrackingError
from mlgate_tracking.store.experiments import default_location
from mlgate_tracking.store.mlflow_import.files import ArtifactPlan, Files
from mlgate_tracking.store.mlflow_import.records import (
    Counts,
    ImportReport,
    LoggedModelRecord,
    RegisteredModelRecord,
    RunRecord,
    Source,
)
from mlgate_tracking.store.mlflow_import.target import RunHere, Target
from mlgate_tracking.store.mlflow_import.vocabulary import local_path, readable_location
from mlgate_tracking.store.part import StorePart


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
        self.report = ImportReport(left=source.left(), missing=source.unreadable())
        self.files = Files(artifacts, self.report, dry_run=dry_run)
        self.here = Counts()
        self.gone: dict[str, int] = {}
        """Folder that is not there -> how many runs had their files in it."""
        self.moved: dict[str, tuple[str, str]] = {}
        """Run or logged model that a version comes from -> its artifact URI there and here."""

    def run(self) -> ImportReport:
        experiments = self.source.experiments()
        models = self.source.registered_models()
        self.target.refuse_conflicts(experiments, models)
        self.files.require_source(self.source)
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
        self.files.finish()
        self.report.missing += [
            f"files of {runs} runs: there is no folder {folder}" for folder, runs in self.gone.items()
        ]
        if not self.dry_run:
            self.target.finish()
            names = [record.model.name for record in models]
            self.target.count_others([e.experiment_id for e in experiments], logged_models, names, self.here)
            self._compare()
        return self.report

    def _bring_logged_model(self, record: LoggedModelRecord) -> None:
        model = record.model
        what = f"logged model {model.model_id}"
        self.report.found.logged_models += 1
        was = self.target.logged_model_uri(model.model_id)
        uri = self._new_uri(model.artifact_uri, model.experiment_id, f"models/{model.model_id}/artifacts")
        if was is not None and was != model.artifact_uri:
            uri = was
        files = self.files.bring(what, record.artifacts, uri)
        if was != uri != model.artifact_uri and model.status is LoggedModelStatus.READY and not files:
            self.report.missing.append(f"{what}: there are no files in {record.artifacts or model.artifact_uri}")
            uri = model.artifact_uri
        self.moved[model.model_id] = (model.artifact_uri, uri)
        if self.dry_run:
            return
        if was is None:
            self.report.written.logged_models += self.target.write_logged_model(record, uri)
        elif was != uri:
            self.target.relocate_logged_model(model.model_id, uri)

    def _bring_runs(self, batch: list[RunRecord], wanted: set[str]) -> None:
        ids = [record.run.info.run_id for record in batch]
        present = self.target.runs_here(ids)
        missing = []
        for record in batch:
            info = record.run.info
            was = present.get(info.run_id)
            uri = self._run_uri(record, None if was is None else was.artifact_uri)
            if info.run_id in wanted:
                self.moved[info.run_id] = (info.artifact_uri, uri)
            self.report.found.add_run(record)
            self.files.bring(f"run {info.run_id}", record.artifacts, uri)
            if was is not None:
                self._look_at_run(record, was, uri)
            else:
                missing.append((record, uri))
        if not self.dry_run:
            self.target.write_runs(missing)
            for record, _ in missing:
                self.report.written.add_run(record)
            self.here.runs += len(self.target.runs_here(ids))
            self.target.count_run_data([record.run.info.run_id for record, _ in missing], self.here)

    def _run_uri(self, record: RunRecord, was: str | None) -> str:
        """Where the files of a run are to be; where they were, when they are out of reach."""
        info = record.run.info
        if was is not None and was != info.artifact_uri:
            return was
        uri = self._new_uri(info.artifact_uri, info.experiment_id, f"{info.run_id}/artifacts")
        if uri != info.artifact_uri and self.files.are_gone(record.artifacts):
            folder = str(Path(record.artifacts or "").parent.parent)
            self.gone[folder] = self.gone.get(folder, 0) + 1
            return info.artifact_uri
        return uri

    def _look_at_run(self, record: RunRecord, was: RunHere, uri: str) -> None:
        """A run that is here already keeps its data; its files have been brought now if they had not been before."""
        points = self.target.points_here(was)
        if len(record.history) > points:
            self.report.missing.append(
                f"run {was.run_id}: {len(record.history)} points there, {points} here: it went on since"
            )
        if uri != was.artifact_uri and not self.dry_run:
            self.target.relocate_run(was.run_id, uri)

    def _bring_registered_model(self, record: RegisteredModelRecord) -> None:
        self.report.found.add_model(record)
        versions = [self._relocated(version) for version in record.versions]
        update = self.target.update_registered_model(record, versions, dry_run=self.dry_run)
        if update is not None:
            self.report.missing += update.refused
            if not self.dry_run:
                self.report.written.model_versions += update.versions
                self.report.written.aliases += update.aliases
        elif not self.dry_run:
            self.target.write_registered_model(record, versions)
            self.report.written.add_model(record)
        if not self.dry_run:
            self.target.count_model_data(record, self.here)
            for version in versions:
                if version.version not in record.deleted:
                    self.files.check_version(version)

    def _compare(self) -> None:
        """Everything that was found is here; the data of runs that were written now is here with all of it.

        Runs that were here before may have changed since they were brought over. Whatever is known to be missing is
        told by name.
        """
        written = self.report.written
        expected = replace(
            self.report.found,
            params=written.params,
            tags=written.tags,
            metric_points=written.metric_points,
            dataset_inputs=written.dataset_inputs,
        )
        expected.artifact_files -= self.files.vanished
        self.here.artifact_files = self.files.here
        differences = expected.differences(self.here)
        if differences:
            raise Incomplete(f"the import is not complete: {'; '.join([*differences, *self.report.missing])}")

    # --- artifacts ----------------------------------------------------------------------------------------------

    def _new_uri(self, old: str, experiment_id: str, below: str) -> str:
        """An object store's files stay in place; others go below the store's own artifact root."""
        stays = bool(old) and readable_location(old) is None
        if stays or self.artifacts.destination is None:
            return old
        return posixpath.join(default_location(self.root, int(experiment_id)), below).rstrip("/")

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


__all__ = ["ArtifactPlan", "Counts", "ImportReport", "Incomplete", "import_mlflow", "open_source"]
