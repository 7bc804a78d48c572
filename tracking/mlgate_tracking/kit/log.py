"""Where the kit says what it did: `kit.log` in the step's spool directory, never the script's own output.

Outside a step there is no such directory; then the messages go to the logger `mlgate_tracking`.
"""

import os


def mode_in(directory: str) -> int:
    """Permissions of a new file: the runner must read what a container's other user leaves in its directory."""
    return 0o600 if not hasattr(os, "geteuid") or os.stat(directory).st_uid == os.geteuid() else 0o644


def write(message: str) -> None:
    """One line; a failure to log is nobody's problem."""
    try:
        directory = os.environ.get("MLGATE_SPOOL")
        if directory:
            import time

            stamp = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime())
            line = "%s [%d] %s\n" % (stamp, os.getpid(), " ".join(message.split()))
            handle = os.open(
                os.path.join(directory, "kit.log"), os.O_WRONLY | os.O_CREAT | os.O_APPEND, mode_in(directory)
            )
            try:
                os.write(handle, line.encode("utf-8", "replace"))
            finally:
                os.close(handle)
        elif not os.environ.get("MLGATE_RUN_ID"):
            import logging

            logging.getLogger("mlgate_tracking").info("%s", message)
    except Exception:
        pass


def failure(what: str, error: BaseException) -> None:
    """The kit could not do `what`."""
    write("%s failed: %s: %s" % (what, type(error).__name__, error))


__all__ = ["failure", "mode_in", "write"]
