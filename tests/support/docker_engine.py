"""A Docker base image with Python, made from this machine's own CPython: no registry is needed."""

from __future__ import annotations

import functools
import io
import os
import re
import subprocess
import sys
import sysconfig
import tarfile
import zipfile
from pathlib import Path
from typing import IO, Any

from tests.support import require

BASE_IMAGE = "mlgate-test/python:4"
_LIBRARIES = "usr/lib/x86_64-linux-gnu/"
_TOOLS = tuple(
    "sh bash ls cat cp mv rm mkdir mktemp chmod sleep env id head tail date true false touch pwd uname timeout".split()  # noqa: SIM905
)
_LEFT_OUT = {"test", "tests", "__pycache__", "idlelib", "turtledemo", "tkinter", "lib2to3", "site-packages"}
_OF_GLIBC = "c.so.6 m.so.6 dl.so.2 rt.so.1 pthread.so.0 util.so.1 resolv.so.2 nss_dns.so.2 nss_files.so.2 gcc_s.so.1"
_OF_WHEELS = "stdc++.so.6 gomp.so.1 mvec.so.1 z.so.1"  # what wheels with compiled code take from the system
_CERTIFICATES = Path("/etc/ssl/certs/ca-certificates.crt")  # of this machine: pip in a build trusts what it trusts


@functools.cache
def base_image() -> str:
    """The image's name; made on first use (3 s), kept by the engine. Skips the test where no engine answers."""
    docker = _sdk()
    try:
        client = docker.from_env(timeout=120)
    except docker.errors.DockerException as error:
        require(False, f"no Docker engine answers: {error}")
        raise
    version = f"{sys.version_info[0]}.{sys.version_info[1]}"
    name = f"{BASE_IMAGE}-{version}"
    if not client.images.list(name=name):
        with io.BytesIO() as buffer:
            _write_root(buffer)
            client.api.import_image_from_data(
                buffer.getvalue(),
                repository=name.partition(":")[0],
                tag=name.partition(":")[2],
                changes=["ENV PATH=/usr/local/bin:/usr/bin:/bin"],
            )
    client.close()
    return name


def _sdk() -> Any:
    try:
        import docker
    except ImportError:
        require(present=False, reason="the Docker SDK is not installed")
        raise
    return docker


def _write_root(out: IO[bytes]) -> None:
    """A root file system with this interpreter's base CPython, a shell and glibc, as a tar file."""
    base, version = Path(sys.base_prefix), f"{sys.version_info[0]}.{sys.version_info[1]}"
    files: dict[str, Path] = {}
    binaries: list[Path] = []

    def add(path: Path, to: str | None = None) -> None:
        if to is None:
            shared = re.match(r"lib.*\.so(\.|$)", path.name)
            inside = path.is_relative_to(base)
            to = (
                _LIBRARIES + path.name if shared else f"usr/local/{path.relative_to(base)}" if inside else str(path)[1:]
            )
        files[to] = path.resolve()
        with path.open("rb") as file:
            if file.read(4) == b"\x7fELF":
                binaries.append(path)

    add(base / f"bin/python{version}")
    for folder, folders, names in os.walk(sysconfig.get_path("stdlib")):
        folders[:] = [name for name in folders if name not in _LEFT_OUT and not name.startswith("config-")]
        for name in names:
            add(Path(folder, name), f"usr/local/{Path(folder, name).relative_to(base)}")
    for tool in _TOOLS:
        found = next((Path(f) / tool for f in ("/usr/bin", "/bin") if (Path(f) / tool).exists()), None)
        if found is not None:
            add(found, f"usr/bin/{tool}")
    needed = {f"/lib/x86_64-linux-gnu/lib{name}" for name in f"{_OF_GLIBC} {_OF_WHEELS}".split()}
    for binary in binaries:
        said = subprocess.run(["ldd", binary], capture_output=True, text=True, check=False).stdout
        needed |= set(re.findall(r"(/[^ ]+) \(0x", said))
    for text in needed:
        path = Path(text)
        if path.exists():
            files[("usr/lib64/" if "ld-linux" in path.name else _LIBRARIES) + path.name] = path.resolve()
    data = {
        "etc/passwd": b"root:x:0:0:root:/root:/bin/sh\n",
        "etc/group": b"root:x:0:\n",
        "etc/nsswitch.conf": b"hosts: files dns\n",
    }
    if _CERTIFICATES.exists():
        files[str(_CERTIFICATES)[1:]] = _CERTIFICATES
        data["etc/pip.conf"] = f"[global]\ncert = {_CERTIFICATES}\n".encode()
    for wheel in Path(sysconfig.get_path("stdlib")).glob("ensurepip/_bundled/pip-*.whl"):
        with zipfile.ZipFile(wheel) as archive:
            site = f"usr/local/lib/python{version}/site-packages/"
            data |= {site + name: archive.read(name) for name in archive.namelist()}
    with tarfile.open(fileobj=out, mode="w|") as tar:
        _write_tar(tar, files, data, version)


def _write_tar(tar: tarfile.TarFile, files: dict[str, Path], data: dict[str, bytes], version: str) -> None:
    def put(name: str, *, kind: bytes = tarfile.REGTYPE, mode: int = 0o644, link: str = "", body: bytes = b"") -> None:
        info = tarfile.TarInfo(name)
        info.type, info.mode, info.linkname, info.size = kind, mode, link, len(body)
        tar.addfile(info, io.BytesIO(body))

    for folder in [
        "usr",
        "usr/bin",
        "usr/lib",
        "usr/lib64",
        "usr/sbin",
        "etc",
        "root",
        "home",
        "proc",
        "sys",
        "dev",
        "run",
        "var",
    ]:
        put(folder, kind=tarfile.DIRTYPE, mode=0o755)
    put("tmp", kind=tarfile.DIRTYPE, mode=0o1777)
    for folder in ["bin", "lib", "lib64", "sbin"]:
        put(folder, kind=tarfile.SYMTYPE, link=f"usr/{folder}")
    for name, path in sorted(files.items()):
        put(name, mode=path.stat().st_mode & 0o755 | 0o444, body=path.read_bytes())
    for name, body in data.items():
        put(name, body=body)
    for name in ("python", "python3"):
        put(f"usr/local/bin/{name}", kind=tarfile.SYMTYPE, link=f"python{version}")


__all__ = ["BASE_IMAGE", "base_image"]
