"""Real git repositories for tests, and servers that offer them over HTTP (smart and dumb protocol)."""

from __future__ import annotations

import contextlib
import os
import ssl
import subprocess
import threading
import time
from collections.abc import Iterator, Mapping, Sequence
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

from mlgate_projects.testing import project_dir

_IDENTITY = {
    "GIT_AUTHOR_NAME": "A",
    "GIT_AUTHOR_EMAIL": "a@example.invalid",
    "GIT_COMMITTER_NAME": "A",
    "GIT_COMMITTER_EMAIL": "a@example.invalid",
    "GIT_CONFIG_GLOBAL": os.devnull,
    "GIT_CONFIG_COUNT": "1",
    "GIT_CONFIG_KEY_0": "init.defaultBranch",
    "GIT_CONFIG_VALUE_0": "main",
}


def git(directory: Path, *arguments: str) -> str:
    """Run git in a directory and return what it says."""
    env = {**os.environ, **_IDENTITY}
    done = subprocess.run(["git", *arguments], cwd=directory, env=env, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout.strip()


def make_repository(directory: Path, commits: Sequence[Mapping[str, str]]) -> Path:
    """A work tree on branch `main` with one commit for each set of files."""
    directory.mkdir(parents=True)
    git(directory, "init", "-q")
    for number, files in enumerate(commits):
        project_dir(directory, files)
        git(directory, "add", "-A")
        git(directory, "commit", "-qm", f"commit {number}")
    return directory


class Requests(list[str]):
    """Paths asked for so far."""

    def wait_for(self, count: int, timeout: float) -> bool:
        end = time.monotonic() + timeout
        while len(self) < count and time.monotonic() < end:
            time.sleep(0.01)
        return len(self) >= count


@contextlib.contextmanager
def git_http_server(
    root: Path, *, smart: bool = True, hold: threading.Event | None = None, certificate: Path | None = None
) -> Iterator[tuple[str, Requests]]:
    """Serve the bare repositories in `root`; yields the URL and the requests so far.

    Args:
        smart: through `git http-backend`; else as plain files (after `git update-server-info`).
        certificate: file with a certificate and its key; the server speaks HTTPS with it.
        hold: from the third request on, answers wait for this.
    """
    requests = Requests()

    class Handler(SimpleHTTPRequestHandler):
        def __init__(self, *arguments: Any, **others: Any) -> None:
            super().__init__(*arguments, directory=str(root), **others)

        def log_message(self, format: str, *arguments: object) -> None:
            pass

        def do_GET(self) -> None:
            requests.append(self.path)
            if hold is not None and len(requests) >= 3:
                hold.wait(30)
            with contextlib.suppress(BrokenPipeError, ConnectionResetError):
                if smart:
                    self._backend(b"")
                else:
                    super().do_GET()

        def do_POST(self) -> None:
            requests.append(self.path)
            if self.headers.get("Transfer-Encoding") == "chunked":
                body = b""
                while size := int(self.rfile.readline(), 16):
                    body += self.rfile.read(size)
                    self.rfile.readline()
            else:
                body = self.rfile.read(int(self.headers.get("Content-Length", "0")))
            self._backend(body)

        def _backend(self, body: bytes) -> None:
            path, _, query = self.path.partition("?")
            env = {
                **os.environ,
                "GIT_PROJECT_ROOT": str(root),
                "GIT_HTTP_EXPORT_ALL": "1",
                "PATH_INFO": path,
                "QUERY_STRING": query,
                "REQUEST_METHOD": self.command,
                "CONTENT_TYPE": self.headers.get("Content-Type", ""),
                "GIT_PROTOCOL": self.headers.get("Git-Protocol", ""),
                "HTTP_CONTENT_ENCODING": self.headers.get("Content-Encoding", ""),
            }
            done = subprocess.run(["git", "http-backend"], env=env, input=body, capture_output=True, check=False)
            head, _, content = done.stdout.partition(b"\r\n\r\n")
            headers = dict(line.split(": ", 1) for line in head.decode().split("\r\n") if line)
            self.send_response(int(headers.pop("Status", "200").split()[0]))
            for name, value in headers.items():
                self.send_header(name, value)
            self.send_header("Content-Length", str(len(content)))
            self.end_headers()
            self.wfile.write(content)

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        if certificate is not None:
            context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
            context.load_cert_chain(certificate)
            server.socket = context.wrap_socket(server.socket, server_side=True, do_handshake_on_connect=False)
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True)
        thread.start()
        try:
            yield f"{'http' if certificate is None else 'https'}://127.0.0.1:{server.server_port}", requests
        finally:
            if hold is not None:
                hold.set()
            server.shutdown()
            thread.join()


def ssh_stand_in(directory: Path) -> tuple[Path, Path]:
    """A program to be used for `ssh` that runs the remote command on this machine, as `sshd` would on another.

    Returns:
        The program, and the file that gets a line with the arguments of each call.
    """
    program, calls = directory / "ssh", directory / "calls"
    program.write_text(f"""#!/bin/sh
echo "$*" >> {calls}
for last; do :; done   # options, host, then the command as one word
exec sh -c "$last"
""")
    program.chmod(0o755)
    return program, calls


__all__ = ["Requests", "git", "git_http_server", "make_repository", "ssh_stand_in"]
