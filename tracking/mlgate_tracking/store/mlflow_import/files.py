"""The files of an import: found there, copied here, and looked at again afterwards."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from mlgate_tracking.artifacts import ArtifactRepository, is_proxied, repository_for, subrepository
from mlgate_tracking.artifacts.transfer import walk
from mlgate_tracking.entities import ModelVersion
from mlgate_tracking.errors import InvalidParameterValue, ResourceDoesNotExist
from mlgate_tracking.store.mlflow_import.records import ImportReport, Source
from mlgate_tracking.store.mlflow_import.vocabulary import local_path
from mlgate_tracking.store.model_sources import PROMPT_SOURCES, without_server


@dataclass(frozen=True, slots=True)
class ArtifactPlan:
    """What becomes of artifacts.

    Attributes:
        destination: where the store keeps its proxied artifacts; None leaves all files where they are.
        source_destination: where the MLflow server kept its proxied artifacts (its `--artifacts-destination`).
    """

    destination: str | None
    source_destination: str | None = None


class Files:
    """
    Attributes:
        here: how many of the files that were found are here; only counted when it is no dry run.
        vanished: how many were found and then gone when they were read.
    """

    def __init__(self, plan: ArtifactPlan, report: ImportReport, *, dry_run: bool) -> None:
        self._plan = plan
        self._report = report
        self._dry_run = dry_run
        self.here = 0
        self.vanished = 0
        self._proxied = self._proxied_files = 0

    def require_source(self, source: Source) -> None:
        """Refuse to begin without the place where an MLflow server keeps files, or with an empty one."""
        if self._plan.destination is None:
            return
        root = self._plan.source_destination
        if root is None:
            location = source.proxied_location()
            if location is not None:
                raise InvalidParameterValue(
                    f"artifacts {location} are behind an MLflow server: say where it keeps them (--artifacts-source), "
                    "or leave them (--no-artifacts)"
                )
        elif not subrepository(root).list(max_results=1).items:
            raise InvalidParameterValue(
                f"there are no files in {root}: name the --artifacts-destination of the MLflow server; "
                "if it never had any, leave them (--no-artifacts)"
            )

    def are_gone(self, readable: str | None) -> bool:
        """Whether the files of a run are out of reach, with all else that its store has written.

        A run without a folder is one that never had a file: MLflow makes only the root of all of them at once.
        """
        if readable is None or is_proxied(readable):
            return False
        folder = Path(readable)
        return not folder.is_dir() and not any(root.is_dir() for root in folder.parents[:3])

    def bring(self, what: str, readable: str | None, uri: str) -> int:
        """Copy the files that are not here to an artifact URI; returns how many there are at the source."""
        if readable is None or self._plan.destination is None:
            return 0
        there = repository_for(readable, destination=self._plan.source_destination)
        wanted = _sizes(there)
        self._report.found.artifact_files += len(wanted)
        if is_proxied(readable):
            self._proxied += 1
            self._proxied_files += len(wanted)
        if wanted and not self._dry_run:
            self._copy(what, there, wanted, repository_for(uri, destination=self._plan.destination))
        return len(wanted)

    def _copy(
        self, what: str, there: ArtifactRepository, wanted: dict[str, int | None], here: ArtifactRepository
    ) -> None:
        found = _sizes(here)
        missing = [path for path in wanted if path not in found]
        for path in missing:
            try:
                chunks = there.download(path)
            except ResourceDoesNotExist:
                self.vanished += 1
                self._report.missing.append(f"{what}: file {path!r} vanished while it was read")
                continue
            here.upload(path, chunks)
            self._report.written.artifact_files += 1
        if missing:
            found = _sizes(here)
        self.here += sum(path in found for path in wanted)
        self._report.missing += [
            f"{what}: file {path!r} has {size} bytes there and {found[path]} here"
            for path, size in wanted.items()
            if path in found and found[path] != size
        ]

    def check_version(self, version: ModelVersion) -> None:
        """See that there is something where a version points to, if that is a place of ours."""
        uri = version.storage_location or version.source
        if self._plan.destination is None or uri in PROMPT_SOURCES:
            return
        if is_proxied(uri):
            served = repository_for(without_server(uri), destination=self._plan.destination)
            found = bool(served.list(max_results=1).items)
        else:
            path = local_path(uri)
            found = path is None or path.exists()
        if not found:
            self._report.missing.append(f"{version.name} version {version.version}: there are no files in {uri}")

    def finish(self) -> None:
        """Say so when a source of proxied files had none of anything."""
        if self._proxied and not self._proxied_files:
            self._report.missing.append(
                f"no file of {self._proxied} runs and models was found in {self._plan.source_destination}: "
                "is it the MLflow server's --artifacts-destination?"
            )


def _sizes(repository: ArtifactRepository) -> dict[str, int | None]:
    return {entry.path: entry.size for entry in walk(repository)}


__all__ = ["ArtifactPlan", "Files"]
