"""Where things are: the one place that reads `MLGATE_*` (and MLflow's own) environment variables.

| variable              | meaning                                                          | default                 |
|-----------------------|------------------------------------------------------------------|-------------------------|
| `MLGATE_HOME`         | environments, git mirrors, ledger and the embedded store         | `~/.mlgate`             |
| `MLGATE_TRACKING_URI` | the store: `http(s)://`, `sqlite://`, `postgresql://`, `mysql://` | `mlgate.db` in the home |
| `MLFLOW_TRACKING_URI` | the same, when `MLGATE_TRACKING_URI` is not set                  |                         |
| `MLGATE_ARTIFACTS`    | artifacts of a database store: a path, `s3://`, `gs://`, ...     | beside the database     |
| `MLGATE_ENVS`         | environments only (a disk that workers share)                    | `envs` in the home      |
| `MLGATE_OFFLINE`      | `1`: use only what is cached                                     | off                     |
| `MLGATE_SMTP_URL`     | mail server for webhooks to `mailto:`                            | none: no mail is sent   |
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from mlgate_tracking.transport import Credentials

_TRUE = ("1", "true", "yes", "on")


@dataclass(frozen=True, slots=True)
class Settings:
    """Resolved settings; paths are absolute and need not exist yet."""

    home: Path
    tracking_uri: str
    artifacts_destination: str | None
    envs: Path
    offline: bool
    smtp_url: str | None = None
    credentials: Credentials | None = field(default=None, repr=False)
    """For a server; None takes MLflow's variables. Set by engines, which keep secrets in stores of their own."""

    @property
    def git(self) -> Path:
        return self.home / "git"

    @property
    def ledger(self) -> Path:
        return self.home / "ledger"

    @property
    def spool(self) -> Path:
        return self.home / "spool"

    @property
    def kit(self) -> Path:
        return self.home / "kit"

    @property
    def remote(self) -> bool:
        """Whether the store is a server; otherwise it is a database that this process opens itself."""
        return self.tracking_uri.startswith(("http://", "https://"))


def load_settings(environ: Mapping[str, str] | None = None, *, tracking_uri: str | None = None) -> Settings:
    """Read the environment; `tracking_uri` (a command-line option) wins over it."""
    env = os.environ if environ is None else environ
    home = Path(env.get("MLGATE_HOME") or Path.home() / ".mlgate").expanduser().absolute()
    uri = tracking_uri or env.get("MLGATE_TRACKING_URI") or env.get("MLFLOW_TRACKING_URI")
    return Settings(
        home=home,
        tracking_uri=uri or f"sqlite:///{home / 'mlgate.db'}",
        artifacts_destination=env.get("MLGATE_ARTIFACTS") or None,
        envs=Path(env.get("MLGATE_ENVS") or home / "envs").expanduser().absolute(),
        offline=env.get("MLGATE_OFFLINE", "").lower() in _TRUE,
        smtp_url=env.get("MLGATE_SMTP_URL") or None,
    )


__all__ = ["Settings", "load_settings"]
