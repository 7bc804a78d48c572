"""Becomes `sitecustomize.py` of the staged directory: switches the kit on, then runs the environment's own file.

The environment's own sitecustomize behaves as if ours were not there: it ends up in `sys.modules`, and what it raises
is reported by Python as usual.
"""

from __future__ import annotations

import sys


def _switch_on() -> None:
    import os

    if os.environ.get("MLGATE_ARGUMENT_FILES"):
        from mlgate_tracking.kit import arguments

        arguments.expand()
    if os.environ.get("MLGATE_RUN_ID"):
        from mlgate_tracking.kit import hooks

        hooks.install()


def _chain() -> None:
    import _frozen_importlib
    import os

    here = os.path.dirname(os.path.abspath(__file__))
    elsewhere = [entry for entry in sys.path if os.path.abspath(entry or ".") != here]
    finder = next((each for each in sys.meta_path if getattr(each, "__name__", "") == "PathFinder"), None)
    spec = finder.find_spec("sitecustomize", elsewhere) if finder is not None else None
    if spec is None or spec.loader is None:
        return
    module = _frozen_importlib.module_from_spec(spec)
    sys.modules["sitecustomize"] = module
    spec.loader.exec_module(module)


try:
    _switch_on()
except Exception:  # whatever is wrong with the kit, the script comes first
    pass
_chain()
