"""mlgate runs MLproject files inside the orchestrator that a team already has.

`mlgate.run_project(uri, ...)` runs one entry point, `mlgate.run_pipeline(uri, name, ...)` a pipeline; everything else
is in the modules. Importing this package loads nothing: names are looked up on first use.
"""

from __future__ import annotations

TYPE_CHECKING = False  # the real one would load `typing`, which costs more than all the rest of this module
if TYPE_CHECKING:
    from typing import Any

    from mlgate.api import run_pipeline, run_project

__version__ = "0.1.0"

_API = {"run_pipeline": "mlgate.api", "run_project": "mlgate.api"}


def __getattr__(name: str) -> Any:
    if name in _API:
        import importlib

        return getattr(importlib.import_module(_API[name]), name)
    raise AttributeError(f"module 'mlgate' has no attribute '{name}'")


__all__ = ["__version__", "run_pipeline", "run_project"]
