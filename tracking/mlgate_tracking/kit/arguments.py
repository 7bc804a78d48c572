"""Arguments that are longer than Linux lets one be: the command line holds a token, a file holds the value.

`expand` puts the values back into `sys.argv` before the user's script reads it. Only exact tokens are replaced, only
while `MLGATE_ARGUMENT_FILES` names the directory, and only by files that lie directly in it.
"""

from __future__ import annotations

import os
import re
import sys

_TOKEN = re.compile(r"@mlgate-argument:(argument\.[A-Za-z0-9]+)\Z")


def expand(argv: list[str] | None = None) -> None:
    """Replace every token in `argv` (`sys.argv` when None), in place. Leaves alone what cannot be read."""
    directory = os.environ.get("MLGATE_ARGUMENT_FILES")
    if not directory:
        return
    if argv is None:
        argv = getattr(sys, "argv", [])
    for index, argument in enumerate(argv):
        match = _TOKEN.match(argument) if isinstance(argument, str) else None
        if match is None:
            continue
        try:
            with open(os.path.join(directory, match.group(1)), "rb") as stream:
                argv[index] = os.fsdecode(stream.read())
        except OSError:
            continue


__all__ = ["expand"]
