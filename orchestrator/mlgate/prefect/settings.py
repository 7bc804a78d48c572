"""Settings in Prefect's own style: variables, `prefect.toml`, `[tool.prefect]` in pyproject.toml, or a profile.

    PREFECT_INTEGRATIONS_MLGATE_SERVER=tracking
    prefect config set PREFECT_INTEGRATIONS_MLGATE_TRACKING_URI=https://tracking.example.org

or in `prefect.toml`:

    [integrations.mlgate]
    tracking_uri = "https://tracking.example.org"

What is not set here comes from `MLGATE_*`, as everywhere.
"""

from __future__ import annotations

import os
from pathlib import Path

from prefect.settings.base import PrefectBaseSettings, build_settings_config
from pydantic import Field

from mlgate.settings import Settings, load_settings


class MlgateSettings(PrefectBaseSettings):
    """Where a worker finds things, when a task or flow does not say it."""

    model_config = build_settings_config(("integrations", "mlgate"))

    server: str | None = Field(default=None, description="Name of the TrackingServer block to use.")
    tracking_uri: str | None = Field(default=None, description="The store, as in MLGATE_TRACKING_URI.")
    artifacts: str | None = Field(default=None, description="Artifacts of a database store, as in MLGATE_ARTIFACTS.")
    home: Path | None = Field(default=None, description="Environments, mirrors and ledger, as in MLGATE_HOME.")
    env_manager: str | None = Field(
        default=None, description="How environments are made, when neither a call nor the project says it."
    )
    approval_poll_seconds: float = Field(
        default=2.0, gt=0, description="How often a paused (not suspended) flow run looks for an approval."
    )

    def resolve(self) -> Settings:
        """With what `MLGATE_*` says about everything that is not set here."""
        ours = {
            "MLGATE_TRACKING_URI": self.tracking_uri,
            "MLGATE_ARTIFACTS": self.artifacts,
            "MLGATE_HOME": str(self.home) if self.home else None,
        }
        return load_settings({**os.environ, **{name: value for name, value in ours.items() if value}})


__all__ = ["MlgateSettings"]
