"""`mlgate env`: the environments in the cache, shared by everyone who runs steps here."""

from __future__ import annotations

import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from mlgate.cli.output import json_option, print_json, print_table

if TYPE_CHECKING:
    from mlgate_projects.envs import EnvOptions
    from mlgate_projects.envs.cache import Cache, Entry
    from mlgate_projects.source import Source
    from mlgate_projects.spec import EnvSpec, ProjectSpec

_KINDS = click.Choice(["virtualenv", "conda", "docker"])
_KEPT_FOR = "30d"


@click.group()
def env() -> None:
    """List, check, build ahead and collect environments."""


@env.command("list")
@click.option("--kind", "kinds", multiple=True, type=_KINDS, help="Only environments of this kind; may be repeated.")
@json_option
def list_(kinds: tuple[str, ...], as_json: bool) -> None:
    """List environments, the one used last first."""
    entries = _cache().entries(kinds)
    if as_json:
        print_json([_summary(entry) for entry in entries])
        return
    from mlgate.units import format_size

    rows = [
        (
            entry.fingerprint.kind,
            entry.fingerprint.digest[:12],
            entry.fingerprint.python_version,
            len(entry.fingerprint.packages),
            format_size(entry.size),
            _ago(entry.used),
            "in use" if entry.leased else "",
            entry.fingerprint.description,
        )
        for entry in entries
    ]
    print_table(
        ["kind", "digest", "python", "packages", "size", "last used", "", "made from"], rows, empty="no environments"
    )


@env.command()
@click.argument("digest")
@click.option("--lock", is_flag=True, help="Print the lock it was built from instead.")
@json_option
def show(digest: str, lock: bool, as_json: bool) -> None:
    """Show the environment whose digest begins with DIGEST: where it is, and what is in it."""
    entry = _find(digest)
    if lock:
        name = entry.fingerprint.extra.get("lock")
        if name is None:
            raise click.UsageError(f"{entry.fingerprint.kind} environment {digest} has no lock")
        click.echo((entry.path / name).read_text(encoding="utf-8"), nl=False)
        return
    packages = {package.name: package.version for package in entry.fingerprint.packages}
    data = {**_summary(entry), "packages": packages, "extra": dict(entry.fingerprint.extra)}
    if as_json:
        print_json(data)
        return
    for name in ("kind", "digest", "location", "python", "description", "lock", "size", "build_seconds"):
        click.echo(f"{name}: {data[name]}")
    print_table(["package", "version"], packages.items(), empty="no packages")


@env.command()
@click.argument("uri", default=".")
@click.option("-v", "--version", metavar="REF", help="Branch, tag or commit of a git project.")
@click.option("-e", "--entry-point", "entry_points", multiple=True, help="Only what this entry point needs.")
@click.option("--offline", is_flag=True, help="Use only what is cached.")
@click.option("--locked", is_flag=True, help="Refuse to resolve anew.")
@click.option("--strict-python", is_flag=True, help="Refuse another patch version of Python.")
@click.option("--build-image", is_flag=True, help="Docker: make an image with the project in it.")
@click.option("--conda-tool", type=click.Choice(["rattler", "conda", "mamba", "micromamba"]), help="Who solves conda.")
@json_option
def prewarm(uri: str, version: str | None, entry_points: tuple[str, ...], as_json: bool, **flags: Any) -> None:
    """Build the environments of the project at URI, so that its first steps find them ready."""
    from mlgate_projects.envs import environment_for

    source, project, options = _project(uri, version, flags)
    rows: list[dict[str, Any]] = []
    for spec in _specs(project, entry_points):
        started = time.monotonic()
        prepared = environment_for(spec.kind).prepare(spec, options, lambda line: click.echo(line, err=True))
        rows.append(
            {
                "kind": prepared.kind,
                "digest": prepared.digest,
                "state": "ready" if prepared.reused else "built",
                "seconds": round(time.monotonic() - started, 3),
                "packages": len(prepared.packages),
                "location": prepared.location,
            }
        )
    if as_json:
        print_json({"project": source.name, "environments": rows})
        return
    names = ("kind", "digest", "state", "seconds", "location")
    print_table(names, [[row[name] for name in names] for row in rows], empty="the project needs no environment")


@env.command()
@click.argument("directory", default=".", type=click.Path(exists=True, file_okay=False, path_type=Path))
@click.option("-e", "--entry-point", "entry_points", multiple=True, help="Only what this entry point needs.")
@click.option("--conda-tool", type=click.Choice(["rattler", "conda", "mamba", "micromamba"]), help="Who solves conda.")
def lock(directory: Path, entry_points: tuple[str, ...], **flags: Any) -> None:
    """Resolve the environments of the project in DIRECTORY anew and write their locks beside their files."""
    from mlgate_projects.envs import environment_for

    _, project, options = _project(str(directory), None, flags)
    written = 0
    for spec in _specs(project, entry_points):
        environment = environment_for(spec.kind)
        make = getattr(environment, "lock", None)
        if make is not None:
            click.echo(make(spec, options, lambda line: click.echo(line, err=True)))
            written += 1
    if not written:
        raise click.UsageError(f"{directory}: nothing to lock; locks are for python_env and conda_env")


@env.command()
@click.argument("digests", nargs=-1)
@click.option("--deep", is_flag=True, help="Compare the content of every file with its hash.")
@click.option("--remove", is_flag=True, help="Remove what is broken; the next step builds it again.")
@json_option
@click.pass_context
def verify(ctx: click.Context, digests: tuple[str, ...], deep: bool, remove: bool, as_json: bool) -> None:
    """Check environments (all of them by default); exit code 1 when one is broken."""
    from mlgate_projects.envs.verify import verify as problems_of

    cache = _cache()
    entries = [_find(digest) for digest in digests] if digests else cache.entries()
    found = [(entry, problems_of(entry, deep=deep)) for entry in entries]
    removed = {entry.fingerprint.digest for entry, problems in found if problems and remove and cache.remove(entry)}
    if as_json:
        print_json(
            [
                {**_summary(entry), "problems": problems, "removed": entry.fingerprint.digest in removed}
                for entry, problems in found
            ]
        )
    else:
        rows = [
            (entry.fingerprint.kind, entry.fingerprint.digest[:12], problem)
            for entry, problems in found
            for problem in problems or ["whole"]
        ]
        print_table(["kind", "digest", "state"], rows, empty="no environments")
        for digest in sorted(removed):
            click.echo(f"removed {digest[:12]}", err=True)
    if any(problems for _, problems in found):
        ctx.exit(1)


@env.command()
@click.option("--unused-for", metavar="TIME", help=f"Remove what nobody used for so long ({_KEPT_FOR} by default).")
@click.option("--max-size", metavar="SIZE", help="Then remove the oldest until the rest fits: 20GB.")
@click.option("--all", "everything", is_flag=True, help="Remove everything that is not in use.")
@click.option("--kind", "kinds", multiple=True, type=_KINDS, help="Only environments of this kind; may be repeated.")
@click.option("-n", "--dry-run", is_flag=True, help="Only say what would go.")
@json_option
def gc(
    unused_for: str | None,
    max_size: str | None,
    everything: bool,
    kinds: tuple[str, ...],
    dry_run: bool,
    as_json: bool,
) -> None:
    """Remove environments that nobody uses. What a running step uses always stays."""
    from mlgate.units import format_size, seconds, size

    if everything and (unused_for or max_size):
        raise click.UsageError("--all takes everything; leave --unused-for and --max-size away")
    try:
        age = None if everything or (unused_for is None and max_size) else seconds(unused_for or _KEPT_FOR)
        limit = None if max_size is None else size(max_size)
    except ValueError as error:
        raise click.UsageError(str(error)) from None
    removed = _cache().gc(unused_for=age, max_size=limit, kinds=kinds, dry_run=dry_run, remove_image=_remove_image)
    if as_json:
        print_json([_summary(entry) for entry in removed])
        return
    rows = [
        (
            entry.fingerprint.kind,
            entry.fingerprint.digest[:12],
            format_size(entry.size),
            _ago(entry.used),
            entry.fingerprint.description,
        )
        for entry in removed
    ]
    print_table(["kind", "digest", "size", "last used", "made from"], rows, empty="nothing to remove")
    if rows:
        freed = format_size(sum(entry.size for entry in removed))
        click.echo(f"{'would free' if dry_run else 'freed'} {freed}", err=True)


def _cache() -> Cache:
    from mlgate.settings import load_settings
    from mlgate_projects.envs.cache import Cache

    return Cache(load_settings().envs)


def _find(digest: str) -> Entry:
    try:
        return _cache().find(digest)
    except KeyError as error:
        raise click.UsageError(str(error.args[0])) from None


def _remove_image(fingerprint: Any) -> None:
    from mlgate_projects.envs.docker import remove_image

    remove_image(fingerprint)


def _project(uri: str, version: str | None, flags: dict[str, Any]) -> tuple[Source, ProjectSpec, EnvOptions]:
    from mlgate.settings import load_settings
    from mlgate_projects.envs import EnvOptions
    from mlgate_projects.parse import load_project
    from mlgate_projects.source import resolve_source

    settings = load_settings()
    source = resolve_source(
        uri, version=version, cache_root=settings.git, progress=lambda line: click.echo(line, err=True)
    )
    options = EnvOptions(
        cache_root=settings.envs,
        project_directory=source.directory,
        strict_python=bool(flags.get("strict_python")),
        locked=bool(flags.get("locked")),
        offline=settings.offline or bool(flags.get("offline")),
        # Compiled ahead, because nobody waits for it here.
        extra={
            "compile_bytecode": True,
            **{name: flags[name] for name in ("build_image", "conda_tool") if flags.get(name)},
        },
    )
    return source, load_project(source.directory), options


def _specs(project: ProjectSpec, entry_points: tuple[str, ...]) -> list[EnvSpec]:
    """Each environment once: those of the entry points that are named, else of the project and all entry points."""
    from mlgate_projects.command import find_entry_point

    if entry_points:
        chosen = [find_entry_point(project, name) for name in entry_points]
        specs = [entry_point.environment or project.environment for entry_point in chosen]
    else:
        own = (entry_point.environment for entry_point in project.entry_points.values())
        specs = [project.environment, *(spec for spec in own if spec is not None)]
    return list(dict.fromkeys(specs))


def _summary(entry: Entry) -> dict[str, Any]:
    fingerprint = entry.fingerprint
    return {
        "kind": fingerprint.kind,
        "digest": fingerprint.digest,
        "location": str(entry.path) if fingerprint.directory else fingerprint.location,
        "python": fingerprint.python_version,
        "packages": len(fingerprint.packages),
        "lock": fingerprint.lock_digest,
        "description": fingerprint.description,
        "size": entry.size,
        "created": fingerprint.created,
        "build_seconds": fingerprint.seconds,
        "last_used": entry.used,
        "in_use": entry.leased,
    }


def _ago(moment: float) -> str:
    """`5 min ago`, as far as anybody needs to know."""
    passed = max(0.0, time.time() - moment)
    for unit, length in (("d", 86400), ("h", 3600), ("min", 60)):
        if passed >= length:
            return f"{int(passed // length)} {unit} ago"
    return "just now"


__all__ = ["env"]
