"""The live files of one attempt of a step: its logs while they grow, its named outputs, its spool.

A workspace is a directory below `$MLGATE_HOME/steps`. It goes when the step is closed; one that is still there
belongs to a running step or to a runner that was killed, whose files `mlgate reap` saves into the run.

What the step's process may write to lies in one directory of it, which a container gets to see alone. The runner trusts
nothing that it finds there: a link may lead to any file of this machine, and a pipe never ends.
"""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import IO, Any

from mlgate_projects.process import Stream
from mlgate_tracking.artifacts.paths import is_file_below

_TAIL = 64 * 1024


class Workspace:
    """Files of attempt `attempt` of the step whose run is `run_id`."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        self.inside = directory / "step"
        self.outputs_file = self.inside / "outputs.jsonl"
        self.spool = self.inside / "spool"
        self.arguments = self.inside / "arguments"
        self._logs: dict[Stream, IO[bytes]] = {}

    @classmethod
    def create(cls, home: Path, run_id: str, attempt: int) -> Workspace:
        """Make a fresh one, readable by this user only (output may hold what others should not see).

        `inside` alone is open to all, for a container whose process is another user: nobody else gets there.
        """
        workspace = cls(home / "steps" / f"{run_id}.{attempt}")
        shutil.rmtree(workspace.directory, ignore_errors=True)
        workspace.directory.mkdir(parents=True, mode=0o700)
        workspace.directory.chmod(0o700)
        for directory in (workspace.inside, workspace.spool):
            directory.mkdir()
            directory.chmod(0o777)
        workspace.outputs_file.touch()
        workspace.outputs_file.chmod(0o666)
        return workspace

    def log_file(self, stream: Stream) -> Path:
        return self.directory / f"{stream.value}.log"

    def write(self, stream: Stream, data: bytes) -> None:
        """Append output to the stream's log; it is on file before the next piece is read."""
        log = self._logs.get(stream)
        if log is None:
            log = self._logs[stream] = self.log_file(stream).open("ab", buffering=0)
        log.write(data)

    def close(self) -> None:
        for log in self._logs.values():
            log.close()
        self._logs.clear()

    def discard(self) -> None:
        self.close()
        shutil.rmtree(self.directory, ignore_errors=True)

    def artifacts(self) -> Iterator[tuple[str, Path]]:
        """(artifact path, file) of the logs that hold anything; `kit.log` is what the step kit says of itself."""
        for file in (*map(self.log_file, Stream), self.spool / "kit.log"):
            if is_file_below(self.directory, file) and file.stat().st_size:
                yield f"mlgate/{file.name}", file

    def last_line(self, stream: Stream) -> str:
        """The last line with text in it, for the reason of a failure; empty when there is none."""
        file = self.log_file(stream)
        if not file.exists():
            return ""
        with file.open("rb") as log:
            log.seek(max(0, file.stat().st_size - _TAIL))
            lines = [line.strip() for line in log.read().decode(errors="replace").splitlines()]
        return next((line for line in reversed(lines) if line), "")

    def outputs(self) -> tuple[dict[str, Any], tuple[str, ...]]:
        """Named outputs (later lines win) and a warning for each line that is no JSON object."""
        named: dict[str, Any] = {}
        warnings = []
        if not is_file_below(self.directory, self.outputs_file):
            return {}, ("MLGATE_OUTPUTS: the step has put something else than a file there",)
        with self.outputs_file.open(encoding="utf-8", errors="replace") as lines:
            for number, line in enumerate(lines, 1):
                if not line.strip():
                    continue
                try:
                    entry = json.loads(line)
                except ValueError:
                    entry = None
                if isinstance(entry, dict):
                    named.update(entry)
                else:
                    shown = line.strip()[:60]
                    warnings.append(f'MLGATE_OUTPUTS:{number}: {shown!r} is not a JSON object; write {{"name": value}}')
        return named, tuple(warnings)


__all__ = ["Workspace"]
