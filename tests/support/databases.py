"""Real PostgreSQL and MariaDB servers for tests: started on a free loopback port in a temporary directory."""

from __future__ import annotations

import contextlib
import itertools
import os
import pwd
import shutil
import signal
import socket
import subprocess
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

from tests.support import require

_names = itertools.count(1)


def free_port() -> int:
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        return int(listener.getsockname()[1])


def _find(program: str, *directories: Path) -> str | None:
    path = os.pathsep.join([*map(str, directories), os.environ.get("PATH", ""), "/usr/sbin"])
    return shutil.which(program, path=path)


def _postgresql_directories() -> list[Path]:
    versions = Path("/usr/lib/postgresql")
    return sorted((path / "bin" for path in versions.glob("*")), reverse=True)


class PostgreSQL:
    """A server of its own. Unless `durable`, it skips the wait for the disk but not the write: it survives a kill."""

    kind = "postgresql"

    def __init__(self, directory: Path, *, durable: bool = False) -> None:
        self.directory = directory
        self._options = "" if durable else "-F"
        self.port = free_port()
        self._as: list[str] = []
        if os.geteuid() == 0:  # it refuses to run as root
            account = pwd.getpwnam("postgres")
            os.chown(directory, account.pw_uid, account.pw_gid)
            self._as = ["setpriv", "--reuid=postgres", "--regid=postgres", "--clear-groups"]
        self._run("initdb", "-U", "postgres", "-A", "trust", "-E", "UTF8", "--locale=C.UTF-8", "--no-sync")
        self.start()

    def start(self) -> None:
        options = (
            f"-p {self.port} -c listen_addresses=127.0.0.1 -k {self.directory} -c max_connections=200 {self._options}"
        )
        self._run("pg_ctl", "-w", "-l", str(self.directory / "log"), "-o", options, "start")

    def stop(self, mode: str = "immediate") -> None:
        self._run("pg_ctl", "-m", mode, "stop")

    def create(self) -> str:
        """A new empty database; its URI."""
        name = f"test{next(_names)}"
        connection = f"postgresql://postgres@127.0.0.1:{self.port}"
        self._run("psql", "-q", "-c", f"CREATE DATABASE {name}", f"{connection}/postgres", data=False)
        return f"{connection}/{name}"

    def _run(self, program: str, *arguments: str, data: bool = True) -> None:
        found = _find(program, *_postgresql_directories())
        assert found is not None
        where = ["-D", str(self.directory / "data")] if data else []
        subprocess.run(
            [*self._as, found, *where, *arguments],
            check=True,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            cwd=self.directory,
            timeout=60,
        )


class MariaDB:
    kind = "mysql"

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        self.port = free_port()
        self._socket = directory / "s.sock"
        install = _find("mariadb-install-db")
        assert install is not None
        subprocess.run(
            [
                *(install, "--no-defaults", f"--datadir={directory}/data", "--auth-root-authentication-method=normal"),
                *("--skip-test-db", f"--user={pwd.getpwuid(os.geteuid()).pw_name}", "--skip-name-resolve"),
            ],
            check=True,
            stdout=subprocess.DEVNULL,
            timeout=60,
        )
        self.start()
        self._sql("CREATE USER 'mlgate'@'127.0.0.1' IDENTIFIED BY 'se:cr@t'; GRANT ALL ON *.* TO 'mlgate'@'127.0.0.1'")

    def start(self) -> None:
        server = _find("mariadbd")
        assert server is not None
        with (self.directory / "log").open("ab") as log:
            self._process = subprocess.Popen(
                [
                    *(server, "--no-defaults", f"--user={pwd.getpwuid(os.geteuid()).pw_name}"),
                    *(f"--datadir={self.directory}/data", f"--socket={self._socket}", f"--port={self.port}"),
                    *("--bind-address=127.0.0.1", "--skip-name-resolve", "--skip-log-bin", "--performance-schema=OFF"),
                    *("--innodb-flush-log-at-trx-commit=2", "--innodb-buffer-pool-size=64M"),
                    *("--innodb-log-file-size=16M",),
                ],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
            )
        for _ in range(300):
            with contextlib.suppress(subprocess.CalledProcessError):
                self._sql("SELECT 1")
                return
            assert self._process.poll() is None, (self.directory / "log").read_text()
            time.sleep(0.05)
        raise AssertionError((self.directory / "log").read_text())

    def stop(self) -> None:
        self._process.send_signal(signal.SIGKILL)
        self._process.wait(30)

    def create(self) -> str:
        name = f"test{next(_names)}"
        self._sql(f"CREATE DATABASE {name}")
        return f"mysql://mlgate:se%3Acr%40t@127.0.0.1:{self.port}/{name}"

    def _sql(self, statement: str) -> None:
        client = _find("mariadb")
        assert client is not None
        subprocess.run(
            [client, "--no-defaults", "-S", str(self._socket), "-u", "root", "-e", statement],
            check=True,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            timeout=60,
        )


@contextlib.contextmanager
def postgresql(*, durable: bool = False) -> Iterator[PostgreSQL]:
    require(_find("initdb", *_postgresql_directories()) is not None, "PostgreSQL (apt: postgresql)")
    with _directory() as directory:
        server = PostgreSQL(directory, durable=durable)
        try:
            yield server
        finally:
            with contextlib.suppress(subprocess.CalledProcessError):
                server.stop()


@contextlib.contextmanager
def mariadb() -> Iterator[MariaDB]:
    require(_find("mariadbd") is not None, "MariaDB (apt: mariadb-server)")
    with _directory() as directory:
        server = MariaDB(directory)
        try:
            yield server
        finally:
            server.stop()


@contextlib.contextmanager
def _directory() -> Iterator[Path]:
    # Not below pytest's directory, which other users (postgres) cannot enter; short, because of the sockets in it.
    directory = Path(tempfile.mkdtemp(prefix="mlgate-db-", dir="/tmp"))
    directory.chmod(0o755)
    try:
        yield directory
    finally:
        shutil.rmtree(directory, ignore_errors=True)


__all__ = ["MariaDB", "PostgreSQL", "free_port", "mariadb", "postgresql"]
