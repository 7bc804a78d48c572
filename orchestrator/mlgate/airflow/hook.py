"""The connection type `mlgate`: a store, its credentials and where artifacts go."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from mlgate.airflow.compat import BaseHook

if TYPE_CHECKING:
    from mlgate.settings import Settings
    from mlgate.tracking import Tracking
    from mlgate_tracking.contract import Store


class MlgateHook(BaseHook):
    """Reaches the tracking store that a connection names.

    Args:
        mlgate_conn_id: id of a connection of type `mlgate`; empty takes `[mlgate] conn_id` of Airflow's configuration,
            and without that the worker's own `MLGATE_*` variables.

    The connection's host holds a URI (`https://tracking.example.org`) or a host name with schema and port; login and
    password are sent as basic authentication, a password alone as a bearer token. Extras: `tracking_uri` (instead of
    the host, for a database), `artifacts_destination`, `home`.
    """

    conn_name_attr = "mlgate_conn_id"
    default_conn_name = "mlgate_default"
    conn_type = "mlgate"
    hook_name = "mlgate tracking store"

    def __init__(self, mlgate_conn_id: str | None = None, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.mlgate_conn_id = mlgate_conn_id

    @classmethod
    def get_ui_field_behaviour(cls) -> dict[str, Any]:
        """How the connection form looks, for Airflow before 3.2; later ones read it from the provider's description."""
        from mlgate.airflow.provider import FORM

        return {name.replace("-", "_"): value for name, value in FORM.items()}

    @contextlib.contextmanager
    def tracking(self) -> Iterator[Tracking]:
        """The open store."""
        from mlgate.tracking import open_tracking

        with open_tracking(self.settings()) as tracking:
            yield tracking

    def get_conn(self) -> Store:
        """An open store; close it after use, or use `tracking()`."""
        from mlgate_tracking.client import connect

        settings = self.settings()
        return connect(settings.tracking_uri, settings.artifacts_destination, credentials=settings.credentials)

    def test_connection(self) -> tuple[bool, str]:
        """What the connection form's button shows."""
        try:
            with self.tracking() as tracking:
                tracking.store.get_experiment("0")
        except Exception as error:
            return False, f"{type(error).__name__}: {error}"
        return True, "the store answers"

    def settings(self) -> Settings:
        """Where things are, for `run_step`."""
        from mlgate.settings import load_settings

        conn_id = self.mlgate_conn_id or _configured_conn_id()
        if not conn_id:
            return load_settings()
        from pathlib import Path

        from mlgate_tracking.transport import Credentials

        connection = self.get_connection(conn_id)
        extra = connection.extra_dejson
        settings = load_settings(tracking_uri=extra.get("tracking_uri") or _uri_of(connection))
        if extra.get("artifacts_destination"):
            settings = replace(settings, artifacts_destination=str(extra["artifacts_destination"]))
        if extra.get("home"):
            home = Path(str(extra["home"]))
            settings = replace(settings, home=home, envs=home / "envs")
        if connection.login:
            return replace(settings, credentials=Credentials(connection.login, connection.password))
        return replace(settings, credentials=Credentials(token=connection.password) if connection.password else None)


def _uri_of(connection: Any) -> str | None:
    host: str = connection.host or ""
    if not host:
        return None
    if "://" in host:
        return host
    scheme = connection.schema if connection.schema in ("http", "https") else "http"
    return f"{scheme}://{host}" + (f":{connection.port}" if connection.port else "")


def _configured_conn_id() -> str:
    from mlgate.airflow.compat import configuration

    return str(configuration().get("mlgate", "conn_id", fallback="") or "")


__all__ = ["MlgateHook"]
