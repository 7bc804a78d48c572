"""Loads every flow file with the network refused; prints the names of the flows."""

import importlib.util
import json
import socket
import sys
from pathlib import Path

from prefect import Flow


def refuse(*_args, **_kwargs):
    raise AssertionError("a flow file wants the network")


socket.socket.connect = refuse
names = {}
for file in sorted(Path(sys.argv[1]).glob("*.py")):
    spec = importlib.util.spec_from_file_location(file.stem, file)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    names[file.stem] = sorted(value.name for value in vars(module).values() if isinstance(value, Flow))
print(json.dumps({"flows": names, "airflow": "airflow" in sys.modules}))
