"""Where the kit says what it did: `kit.log` in the step's spool directory, never the script's own output.

Outside a step there is no such directory; then the messages go to the logger `mlgate_tracking`.
"""

import os


def write(message: str) -> None:
    """One line; a failure to log is nobody's problem."""
    try:
        directory = os.environ.get("MLGATE_SPOOL")
        if directory:
            import time

            stamp = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime())
            line = "%s [%d] %s\n" % (stamp, os.getpid(), " ".join(message.split()))
            handle = os.open(os.path.join(directory, "kit.log"), os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
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


__all__ = ["failure", "write"]
