"""Real servers for tests: `mlgate server` as a process of its own, on a port that the system chooses."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

_LISTENS = re.compile(r"mlgate server listens on (\S+)")


@dataclass
class ServerProcess:
    """A running server. `log` collects what it wrote, line by line."""

    uri: str
    process: subprocess.Popen[str]
    home: Path
    log: list[str] = field(default_factory=list)

    @property
    def port(self) -> int:
        return int(self.uri.rpartition(":")[2])

    def kill(self) -> None:
        """End it as a crash would: no chance to clean up."""
        self.process.send_signal(signal.SIGKILL)
        self.process.wait(20)

    def stop(self) -> int:
        """Ask it to end, and return its exit code."""
        self.process.terminate()
        return self.process.wait(40)


@contextmanager
def mlgate_server(home: Path, *options: str, env: Mapping[str, str] | None = None) -> Iterator[ServerProcess]:
    """Start `mlgate server` with its home (database, artifacts, secret) in `home`; end it afterwards."""
    process = subprocess.Popen(
        [sys.executable, "-m", "mlgate", "server", "--port", "0", *options],
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        env={**os.environ, "MLGATE_HOME": str(home), **(env or {})},
        text=True,
    )
    server = ServerProcess("", process, home)
    listening = threading.Event()

    def read() -> None:
        assert process.stderr is not None
        for line in process.stderr:
            server.log.append(line)
            found = _LISTENS.search(line)
            if found:
                server.uri = found[1]
                listening.set()
        listening.set()

    reader = threading.Thread(target=read, daemon=True)
    reader.start()
    try:
        if not listening.wait(60) or not server.uri:
            raise AssertionError(f"the server did not start:\n{''.join(server.log)}")
        yield server
    finally:
        if process.poll() is None:
            process.terminate()
            try:
                process.wait(40)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()
        reader.join(20)
        assert process.stderr is not None
        process.stderr.close()


__all__ = ["ServerProcess", "mlgate_server"]
