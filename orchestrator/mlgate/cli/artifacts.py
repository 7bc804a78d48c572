"""`mlgate artifacts`: the files of runs and models."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING

import click

from mlgate.cli.output import json_option, print_json, print_table, store_option

if TYPE_CHECKING:
    from mlgate.tracking import Tracking
    from mlgate_tracking.artifacts import ArtifactRepository


@click.group()
def artifacts() -> None:
    """List, download and log the files of runs and models."""


@artifacts.command("list")
@click.argument("source", metavar="RUN|URI")
@click.argument("path", default="")
@click.option("-r", "--recursive", is_flag=True, help="Everything below, not only one level.")
@store_option
@json_option
def list_artifacts(source: str, path: str, recursive: bool, tracking_uri: str | None, as_json: bool) -> None:
    """What RUN (an id or its beginning) or URI (runs:/, models:/, s3://) holds, below PATH."""
    from mlgate.cli.lookup import open_store
    from mlgate.units import format_size
    from mlgate_tracking.artifacts.paths import join_path, safe_path
    from mlgate_tracking.artifacts.transfer import walk
    from mlgate_tracking.errors import ResourceDoesNotExist
    from mlgate_tracking.wire import file_info_to_wire

    with open_store(tracking_uri) as tracking:
        repository, root = _locate(tracking, source)
        below = join_path(root, safe_path(path))
        info = repository.stat(below)
        if info is None and below:
            raise ResourceDoesNotExist(f"no artifact {below!r} in {repository.root_uri}")
        if info is not None and not info.is_dir:
            entries = [info]
        else:
            entries = list(walk(repository, below)) if recursive else list(repository.list(below).items)
    if as_json:
        print_json([file_info_to_wire(entry) for entry in entries])
        return
    rows = [
        (entry.path + ("/" if entry.is_dir else ""), "" if entry.size is None else format_size(entry.size))
        for entry in entries
    ]
    print_table(["path", "size"], rows, empty="no files")


@artifacts.command()
@click.argument("source", metavar="RUN|URI")
@click.argument("path", default="")
@click.option(
    "-o",
    "--output",
    default=".",
    show_default="here",
    type=click.Path(allow_dash=True),
    help="Folder to write to, made if needed; - prints one file.",
)
@click.option("-q", "--quiet", is_flag=True, help="No progress.")
@store_option
@json_option
def download(source: str, path: str, output: str, quiet: bool, tracking_uri: str | None, as_json: bool) -> None:
    """Copy a file or a whole tree at PATH of RUN or URI to this machine."""
    from mlgate.cli.lookup import open_store
    from mlgate.units import format_size
    from mlgate_tracking.artifacts.paths import join_path, safe_path
    from mlgate_tracking.artifacts.transfer import download_tree

    with open_store(tracking_uri) as tracking:
        repository, root = _locate(tracking, source)
        below = join_path(root, safe_path(path))
        if output == "-":
            for chunk in repository.download(below):
                sys.stdout.buffer.write(chunk)
            sys.stdout.buffer.flush()
            return
        folder = Path(output)
        # A named folder keeps its name, as a copy of it would; a run's whole tree is laid out as it is.
        info = repository.stat(below)
        if info is not None and info.is_dir and below:
            folder = folder / below.rpartition("/")[2]
        done = download_tree(repository, below, folder, progress=None if quiet else _tell)
    if as_json:
        print_json({"files": done.files, "size": done.size, "path": str(folder)})
    else:
        click.echo(f"{done.files} file{'' if done.files == 1 else 's'}, {format_size(done.size)}, in {folder}")


@artifacts.command()
@click.argument("run")
@click.argument("file", type=click.Path(exists=True, path_type=Path))
@click.option("-p", "--path", default="", help="Folder among the run's artifacts; default: the top.")
@click.option("-q", "--quiet", is_flag=True, help="No progress.")
@store_option
@json_option
def log(run: str, file: Path, path: str, quiet: bool, tracking_uri: str | None, as_json: bool) -> None:
    """Add FILE, or all files below a folder, to the artifacts of RUN."""
    from mlgate.cli.lookup import find_run, open_store
    from mlgate.errors import UsageError
    from mlgate.units import format_size
    from mlgate_tracking.artifacts.transfer import upload_tree

    with open_store(tracking_uri) as tracking:
        found = find_run(tracking.store, run)
        if found.info.lifecycle_stage != "active":
            raise UsageError(f"run {found.info.run_id} is deleted; mlgate runs restore brings it back")
        repository = tracking.repository(found.info.artifact_uri)
        done = upload_tree(repository, file, path, progress=None if quiet else _tell)
    if as_json:
        print_json({"files": done.files, "size": done.size, "run_id": found.info.run_id})
    else:
        click.echo(
            f"{done.files} file{'' if done.files == 1 else 's'}, {format_size(done.size)}, in run {found.info.run_id}"
        )


def _locate(tracking: Tracking, source: str) -> tuple[ArtifactRepository, str]:
    """The repository, and the path in it, that a run or a URI stands for."""
    from mlgate.cli.lookup import find_run
    from mlgate.fetch import locate
    from mlgate_tracking.artifacts.paths import safe_path

    if ":" not in source:
        return tracking.repository(find_run(tracking.store, source).info.artifact_uri), ""
    uri, path = locate(tracking.store, source)
    return tracking.repository(uri), safe_path(path)


def _tell(path: str, _size: int) -> None:
    if sys.stderr.isatty():
        click.echo(path, err=True)


__all__ = ["artifacts"]
