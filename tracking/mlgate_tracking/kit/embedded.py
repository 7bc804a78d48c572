"""A database as tracking URI (`sqlite:///x.db`): served to this process alone, where mlgate itself is installed."""

from __future__ import annotations

import importlib
import secrets

from mlgate_tracking.kit.transport import Refused

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any


def serve(uri: str) -> tuple[Any, str]:
    """(running server with `uri` and `__exit__`, its access token).

    Raises:
        Refused: mlgate is not installed here (a step's environment has the kit only), or the URI is no database.
    """
    # By name: the kit itself never depends on the server's packages.
    try:
        server = importlib.import_module("mlgate_tracking.server.embedded")
        settings = importlib.import_module("mlgate_tracking.server.settings")
        client = importlib.import_module("mlgate_tracking.client")
    except ImportError as error:
        raise Refused(
            "tracking URI %r: a database can be opened only where mlgate is installed (%s); "
            "start `mlgate server` and set its http:// address" % (uri, error)
        )
    token = secrets.token_urlsafe(24)
    try:
        destination = client.artifacts_destination_of(uri)
        client.connect(uri).close()  # a wrong URI is found here, not in the serving thread
    except Exception as error:
        raise Refused("tracking URI %r: %s" % (uri, error))
    options = settings.ServerSettings(artifacts_destination=destination, access_token=token)
    running = server.EmbeddedServer(lambda: client.connect(uri), options)
    running.__enter__()
    return running, token


__all__ = ["serve"]
