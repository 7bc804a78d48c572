"""What Airflow asks a provider for; data only, read through the entry point `apache_airflow_provider`."""

from __future__ import annotations

from typing import Any

from mlgate import __version__

_INTEGRATION = "mlgate"

FORM: dict[str, Any] = {
    "hidden-fields": [],
    "relabeling": {"host": "Tracking URI", "password": "Password or token"},
    "placeholders": {
        "host": "https://tracking.example.org",
        "extra": '{"artifacts_destination": "s3://bucket/artifacts"}',
    },
}
"""How the connection form looks."""


def get_provider_info() -> dict[str, Any]:
    """The provider's description, in the shape of Airflow's `provider_info.schema.json`."""
    return {
        "package-name": "mlgate",
        "name": "mlgate",
        "description": "Run MLproject files as tracked steps and promote models through gates.",
        "versions": [__version__],
        "integrations": [{"integration-name": _INTEGRATION, "external-doc-url": "", "tags": ["software"]}],
        "operators": [_modules("operators", "approval", "steps")],
        "sensors": [_modules("sensors")],
        "triggers": [_modules("triggers", "watching")],
        "hooks": [_modules("hook")],
        "connection-types": [
            {
                "connection-type": "mlgate",
                "hook-class-name": "mlgate.airflow.hook.MlgateHook",
                "hook-name": "mlgate tracking store",
                "ui-field-behaviour": FORM,
                "conn-fields": {
                    "tracking_uri": {
                        "label": "Database URI",
                        "description": "Instead of the host, for a store that is no server.",
                        # It may hold a password.
                        "schema": {"type": ["string", "null"], "format": "password"},
                    },
                    "artifacts_destination": {
                        "label": "Artifacts destination",
                        "description": "Where a database store keeps files, as in s3://bucket/artifacts.",
                        "schema": {"type": ["string", "null"]},
                    },
                    "home": {
                        "label": "Home on the worker",
                        "description": "For environments and work files; instead of MLGATE_HOME.",
                        "schema": {"type": ["string", "null"]},
                    },
                },
            }
        ],
        "extra-links": ["mlgate.airflow.links.RunLink", "mlgate.airflow.links.VerdictLink"],
        "task-decorators": [{"name": "mlproject", "class-name": "mlgate.airflow.decorator.mlproject_task"}],
        "config": {
            "mlgate": {
                "description": "Defaults of mlgate's operators.",
                "options": {
                    "conn_id": {
                        "description": "Connection that operators use when they are given none.",
                        "version_added": __version__,
                        "type": "string",
                        "example": "mlgate_default",
                        "default": "",
                    }
                },
            }
        },
    }


def _modules(*names: str) -> dict[str, Any]:
    return {"integration-name": _INTEGRATION, "python-modules": [f"mlgate.airflow.{name}" for name in names]}


__all__ = ["FORM", "get_provider_info"]
