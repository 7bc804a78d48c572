"""What Airflow asks a provider for; data only, read through the entry point `apache_airflow_provider`."""

from __future__ import annotations

from typing import Any

from mlgate import __version__


def get_provider_info() -> dict[str, Any]:
    """The provider's description, in the shape of Airflow's `provider_info.schema.json`."""
    integration = "mlgate"
    return {
        "package-name": "mlgate",
        "name": "mlgate",
        "description": "Run MLproject files as tracked steps and promote models through gates.",
        "versions": [__version__],
        "integrations": [{"integration-name": integration, "external-doc-url": "", "tags": ["software"]}],
        "operators": [{"integration-name": integration, "python-modules": ["mlgate.airflow.operators"]}],
        "sensors": [{"integration-name": integration, "python-modules": ["mlgate.airflow.sensors"]}],
        "triggers": [{"integration-name": integration, "python-modules": ["mlgate.airflow.triggers"]}],
        "hooks": [{"integration-name": integration, "python-modules": ["mlgate.airflow.hook"]}],
        "connection-types": [
            {
                "connection-type": "mlgate",
                "hook-class-name": "mlgate.airflow.hook.MlgateHook",
                "hook-name": "mlgate tracking store",
            }
        ],
        "extra-links": ["mlgate.airflow.links.RunLink"],
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


__all__ = ["get_provider_info"]
