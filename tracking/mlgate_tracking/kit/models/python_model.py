"""A model that is Python code: subclass `PythonModel`, or pass any object with `predict(context, model_input)`.

This file is copied into each such model (`code/mlgate_python_model.py`) and names itself as the model's loader, so it
stands alone: MLflow and every other reader of the format loads the model without mlgate.
"""

from __future__ import annotations

import os
import pickle

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any


class PythonModelContext:
    """Handed to the model's methods.

    Attributes:
        artifacts: name -> local path of the files that were logged with the model.
        model_config: settings that were logged with it.
    """

    def __init__(self, artifacts: Any, model_config: Any = None) -> None:
        self.artifacts = artifacts
        self.model_config = model_config or {}


class PythonModel:
    """Base class of models written in Python."""

    def load_context(self, context: Any) -> Any:
        """Called once after loading; open what lies in `context.artifacts` here."""

    def predict(self, context: Any, model_input: Any, params: Any = None) -> Any:
        """Answer for `model_input` (a DataFrame or an array)."""
        raise TypeError("%s has no predict(self, context, model_input)" % type(self).__name__)


class PythonModelRunner:
    """A loaded model with the `predict(data)` that pyfunc calls."""

    def __init__(self, python_model: Any, context: Any) -> None:
        self.python_model = python_model
        self.context = context

    def predict(self, model_input: Any, params: Any = None) -> Any:
        import inspect

        if "params" in inspect.signature(self.python_model.predict).parameters:
            return self.python_model.predict(self.context, model_input, params=params)
        return self.python_model.predict(self.context, model_input)


def run(python_model: Any, directory: Any, artifacts: Any, model_config: Any = None) -> Any:
    """Give a freshly unpickled model its context; `artifacts`: name -> path relative to the model's directory."""
    paths = {name: os.path.join(directory, path) for name, path in artifacts.items()}
    context = PythonModelContext(paths, model_config)
    if hasattr(python_model, "load_context"):
        python_model.load_context(context)
    return PythonModelRunner(python_model, context)


def _load_pyfunc(path: Any, model_config: Any = None) -> Any:
    """Entry point of MLflow's loader: `path` is the model's `python_model` directory."""
    import json

    with open(os.path.join(path, "python_model.json")) as file:
        told = json.load(file)
    with open(os.path.join(path, "python_model.pkl"), "rb") as stream:
        python_model = pickle.load(stream)  # noqa: S301 -- who loads a model has decided to trust it
    config = dict(told.get("config") or {}, **(model_config or {}))
    return run(python_model, path, told["artifacts"], config)
