"""What Airflow asks a provider for; data only, read through the entry point `apache_airflow_provider`."""

from __future__ import annotations

from typing import Any

from mlgate import __version__

_INTEGRATION = "mlgate"


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


__all__ = ["get_provider_info"]
