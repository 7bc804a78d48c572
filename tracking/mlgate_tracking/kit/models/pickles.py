"""Pickles of models: written so that others can load them, read with open eyes."""

from __future__ import annotations

import pickle

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any


def dump(model: Any, file: str) -> str:
    """Pickle a model; returns the serialization format, `cloudpickle` where that is installed, else `pickle`.

    Raises:
        whatever pickling raises (`PicklingError`, `TypeError`, ...).
    """
    try:
        import cloudpickle
    except ImportError:
        with open(file, "wb") as stream:
            pickle.dump(model, stream, protocol=4)
        return "pickle"
    with open(file, "wb") as stream:
        cloudpickle.dump(model, stream, protocol=4)
    return "cloudpickle"


class _StandIn:
    """Takes the place of an object of MLflow's that a pickled model carries along but does not need to predict."""

    def __init__(self, *_args: Any, **_kwargs: Any) -> None:
        pass

    def __setstate__(self, state: Any) -> None:
        pass


class _Unpickler(pickle.Unpickler):
    """Loads a PythonModel of MLflow's where MLflow is not installed: its base class has a counterpart of ours."""

    def find_class(self, module: str, name: str) -> Any:
        if module.partition(".")[0] != "mlflow":
            return super().find_class(module, name)
        try:
            return super().find_class(module, name)
        except ImportError:
            from mlgate_tracking.kit.models import python_model

            ours = {"PythonModel": python_model.PythonModel, "PythonModelContext": python_model.PythonModelContext}
            return ours.get(name) or type(name, (_StandIn,), {})


def load(file: str) -> Any:
    """Load a pickle. What it holds may run any code: check where it comes from first (see `models.load_model`)."""
    with open(file, "rb") as stream:
        return _Unpickler(stream).load()


class TorchPickle:
    """What `torch.save` and `torch.load` want as `pickle_module`: cloudpickle's writer, our reader."""

    __name__ = "pickle"
    Unpickler = _Unpickler
    load = staticmethod(pickle.load)
    loads = staticmethod(pickle.loads)
    dumps = staticmethod(pickle.dumps)

    def __init__(self) -> None:
        try:
            import cloudpickle

            self.Pickler = cloudpickle.Pickler
        except ImportError:
            self.Pickler = pickle.Pickler

    def dump(self, value: Any, file: Any, protocol: int = 4) -> None:
        self.Pickler(file, protocol).dump(value)


__all__ = ["TorchPickle", "dump", "load"]
