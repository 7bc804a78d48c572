"""Prints what Airflow makes of the provider."""

import importlib.resources
import json

import jsonschema
from airflow.configuration import conf
from airflow.providers_manager import ProvidersManager

from mlgate.airflow.provider import get_provider_info

schema = json.loads(importlib.resources.files("airflow").joinpath("provider_info.schema.json").read_text())
jsonschema.validate(get_provider_info(), schema)
manager = ProvidersManager()
hook = manager.hooks["mlgate"]
print(
    json.dumps(
        {
            "provider": "mlgate" in manager.providers,
            "hook": hook.hook_class_name,
            "decorator": "mlproject" in dict(manager.taskflow_decorators),
            "configuration": [
                dict(manager.provider_configs)["mlgate"]["mlgate"]["options"]["conn_id"]["example"],
                conf.get("mlgate", "conn_id"),
            ],
            "form": [
                manager.field_behaviours["mlgate"]["relabeling"]["host"],
                sorted(name for name in manager.connection_form_widgets if name.startswith("extra__mlgate__")),
            ],
            "links": [link for link in manager.extra_links_class_names if link.startswith("mlgate.")],
        }
    )
)
