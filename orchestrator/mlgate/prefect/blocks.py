"""The block `TrackingServer`: a store and its credentials, kept by Prefect."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, cast

from prefect.blocks.core import Block
from pydantic import Field, SecretStr

if TYPE_CHECKING:
    from mlgate.settings import Settings


class TrackingServer(Block):
    """Where runs and models are kept.

    Load it with `TrackingServer.load("name")` and give it to a task or flow. Secrets stay secrets: a step's process
    gets a token of its own, never these.
    """

    _block_type_name = "mlgate tracking server"
    _block_type_slug = "mlgate-tracking-server"
    _description = "The tracking store and model registry that mlgate's tasks and flows use."

    uri: str = Field(description="http(s)://… of a tracking server, or postgresql://…, mysql://…, sqlite:///…")
    username: str | None = Field(default=None, description="For basic authentication.")
    password: SecretStr | None = Field(default=None, description="For basic authentication.")
    token: SecretStr | None = Field(default=None, description="A bearer token, instead of name and password.")
    artifacts_destination: str | None = Field(
        default=None, description="Where a database store keeps artifacts: a directory, s3://…, gs://…, abfss://…"
    )

    def settings(self) -> Settings:
        """Where things are, for `mlgate.runner`."""
        from mlgate.prefect.settings import MlgateSettings
        from mlgate_tracking.transport import Credentials

        settings = replace(MlgateSettings().resolve(), tracking_uri=self.uri)
        if self.artifacts_destination:
            settings = replace(settings, artifacts_destination=self.artifacts_destination)
        if self.username is not None:
            password = self.password.get_secret_value() if self.password else None
            return replace(settings, credentials=Credentials(self.username, password))
        if self.token is not None:
            return replace(settings, credentials=Credentials(token=self.token.get_secret_value()))
        return settings


def settings_of(server: TrackingServer | str | None = None) -> Settings:
    """Of a block, of the block that Prefect's settings name, or of the worker's environment."""
    from mlgate.prefect.settings import MlgateSettings

    if server is None:
        ours = MlgateSettings()
        if ours.server is None:
            return ours.resolve()
        server = ours.server
    if isinstance(server, str):
        server = cast("TrackingServer", TrackingServer.load(server, _sync=True))
    return server.settings()


__all__ = ["TrackingServer", "settings_of"]
