"""Solves and installs a conda environment with py-rattler; a script of its own, run as `python rattler_child.py JOB`.

A process that ends normally after rattler's work may crash in its native threads, so this one leaves by `os._exit`.
JOB is a JSON file: channels, channel_alias, specs, prefix, cache, offline, lock (text to replay, or null) and lock_file
(to write). Messages go to standard error; an error is one line that begins with `error: `.
"""

from __future__ import annotations

import asyncio
import json
import os
import sys
from pathlib import Path
from typing import Any


def main(job_file: str) -> int:
    job = json.loads(Path(job_file).read_text(encoding="utf-8"))
    try:
        asyncio.run(_make(job))
    except BaseException as error:  # rattler's panics are no Exceptions
        say(f"error: {' '.join(str(error).split()) or type(error).__name__}")
        return 1
    return 0


async def _make(job: dict[str, Any]) -> None:
    from rattler import install

    lock_file = Path(job["lock_file"])
    if job["lock"] is None:
        records = await _solve(job)
        _write_lock(job, records, lock_file)
    else:
        lock_file.write_text(job["lock"], encoding="utf-8")
        records = _read_lock(lock_file)
    say(f"installing {len(records)} conda packages")
    await install(
        records, job["prefix"], cache_dir=Path(job["cache"]) / "pkgs", show_progress=False, execute_link_scripts=True
    )


async def _solve(job: dict[str, Any]) -> list[Any]:
    from rattler import Gateway, MatchSpec, SourceConfig, VirtualPackage, solve
    from rattler.channel import ChannelPriority
    from rattler.virtual_package import VirtualPackageOverrides

    config = SourceConfig(cache_action="force-cache-only" if job["offline"] else "cache-or-fetch")
    gateway = Gateway(cache_dir=Path(job["cache"]) / "repodata", default_config=config)
    say(f"solving {len(job['specs'])} conda specifications")
    return await solve(
        _channels(job),
        # Objects, because plain strings are parsed more strictly than conda does (`python=3.10.*` would be refused).
        [MatchSpec(spec) for spec in job["specs"]],
        gateway=gateway,
        channel_priority=ChannelPriority.Strict,
        virtual_packages=VirtualPackage.detect(VirtualPackageOverrides.from_env()),
    )


def _channels(job: dict[str, Any]) -> list[Any]:
    from rattler import Channel, ChannelConfig

    config = ChannelConfig(channel_alias=job["channel_alias"]) if job["channel_alias"] else ChannelConfig()
    return [Channel(name, config) for name in job["channels"]]


def _write_lock(job: dict[str, Any], records: list[Any], path: Path) -> None:
    from rattler import LockChannel, LockFile, LockPlatform
    from rattler.platform import Platform

    platform = LockPlatform(str(Platform.current()))
    lock = LockFile([platform])
    lock.set_channels("default", [LockChannel(channel.base_url) for channel in _channels(job)])
    for record in sorted(records, key=lambda record: record.url):
        lock.add_conda_package("default", platform, record)
    lock.to_path(path)


def _read_lock(path: Path) -> list[Any]:
    from rattler import LockFile

    environment = LockFile.from_path(path).default_environment()
    assert environment is not None
    # The platform must be the lock's own object: another one of the same name makes rattler panic.
    found = environment.conda_repodata_records_for_platform(environment.platforms()[0])
    return list(found or [])


def say(line: str) -> None:
    print(line, file=sys.stderr, flush=True)


if __name__ == "__main__":
    code = main(sys.argv[1])
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(code)

__all__ = ["main"]
