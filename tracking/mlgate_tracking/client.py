"""The store behind a URI: `connect` opens a database or reaches a server.

As light to import as can be: a DAG file or a worker pays for databases, HTTP and TLS when it uses them.
"""

from __future__ import annotations

import importlib
import os
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from mlgate_tracking.contract import Store
    from mlgate_tracking.rest import RestStore
    from mlgate_tracking.transport import Credentials, RetryPolicy

_DATABASES = ("sqlite", "postgresql", "mysql", "mariadb")


def connect(
    uri: str,
    artifacts_destination: str | None = None,
    *,
    credentials: Credentials | None = None,
    retry: RetryPolicy | None = None,
) -> Store:
    """The store that a URI names.

    Args:
        uri: `http(s)://...` for a tracking server, `sqlite:///...`, `postgresql://...` or `mysql://...` for a database.
        artifacts_destination: where a database store keeps proxied artifacts; checked here, before any work.
        credentials, retry: for a server; by default from MLflow's environment variables.

    Raises:
        InvalidParameterValue: an unknown kind of URI, or a destination that cannot be one.
        MissingExtra: the database's driver is not installed.
    """
    scheme = uri.partition(":")[0].lower()
    if scheme in ("http", "https"):
        from mlgate_tracking.rest import RestStore

        return RestStore(uri, credentials=credentials, retry=retry)
    _check_database(uri)
    if artifacts_destination is not None:
        from mlgate_tracking.artifacts import check_destination

        check_destination(artifacts_destination)
    try:
        # By its name, so that a worker that only talks to servers needs no database library.
        module = importlib.import_module("mlgate_tracking.store.sql")
    except ModuleNotFoundError as error:
        if (error.name or "").startswith("mlgate_tracking"):
            raise
        from mlgate_tracking.errors import MissingExtra

        raise MissingExtra(f"tracking URI {scheme}://...: {error.name} is missing; install mlgate") from error
    store: Store = module.SqlStore(uri)
    return store


def _check_database(uri: str) -> None:
    scheme = uri.partition(":")[0]
    if scheme.lower().partition("+")[0] in _DATABASES:
        return
    from mlgate_tracking.errors import InvalidParameterValue

    if uri and (scheme == uri or scheme.lower() == "file"):
        raise InvalidParameterValue(
            f"store {uri!r} is no database; if it is a folder of MLflow's files, bring it into one with "
            f"`mlgate import mlflow {uri}`, and leave the URI out or name that one, as in sqlite:///mlgate.db"
        )
    raise InvalidParameterValue(
        f"tracking URI {uri.partition('://')[0]}://...: unknown kind; "
        "use http(s)://, sqlite:///, postgresql:// or mysql://"
    )


def artifacts_destination_of(uri: str, artifacts_destination: str | None = None) -> str:
    """Where a database store keeps proxied artifacts: as told, or beside a SQLite file in `artifacts`.

    Raises:
        InvalidParameterValue: not a database, or a database server, which has no place of its own for files.
    """
    _check_database(uri)
    if artifacts_destination:
        return artifacts_destination
    from urllib.parse import unquote

    kind, _, rest = uri.partition("://")
    path = unquote(rest.partition("?")[0]).removeprefix("/")
    if not kind.lower().startswith("sqlite") or path in ("", ":memory:"):
        from mlgate_tracking.errors import InvalidParameterValue

        raise InvalidParameterValue(
            f"store {kind}://...: name a place for artifacts, a directory or s3://, abfss:// or gs:// "
            "(MLGATE_ARTIFACTS, or --artifacts-destination of server, gc and import)"
        )
    return os.path.join(os.path.dirname(os.path.abspath(path)), "artifacts")  # noqa: PTH100, PTH118, PTH120 - light


def __getattr__(name: str) -> Any:
    if name == "RestStore":
        from mlgate_tracking.rest import RestStore

        return RestStore
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


__all__ = ["RestStore", "artifacts_destination_of", "connect"]
