"""How each framework's models are written to disk and read back, in the layout that MLflow's flavors use.

A flavor's `save` writes files into the model's directory and returns the flavor's entry and the `python_function`
entry of the MLmodel file; `load` reads them. Frameworks are imported only when a model of theirs is at hand.
"""

from __future__ import annotations

import importlib
import json
import os
import sys

from mlgate_tracking.kit.models import pickles
from mlgate_tracking.kit.transport import Refused

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    Conf = dict[str, Any]
    """An entry below `flavors:` of an MLmodel file."""


def _inside(directory: str, path: Any) -> str:
    """`directory/path`, refusing what leads out of the directory."""
    joined = os.path.realpath(os.path.join(directory, str(path)))
    if joined != os.path.realpath(directory) and not joined.startswith(os.path.realpath(directory) + os.sep):
        raise Refused("the model's file %r lies outside its directory" % path)
    return joined


def _class_name(model: Any) -> str:
    return "%s.%s" % (type(model).__module__, type(model).__qualname__)


def _load_class(name: str, package: str) -> Any:
    """The class of a dotted name, which must belong to the framework's own package."""
    module, _, cls = name.rpartition(".")
    if module.partition(".")[0] != package:
        raise Refused("model_class %r is not a class of %s" % (name, package))
    return getattr(importlib.import_module(module), cls)


class Flavor:
    """One kind of model.

    Attributes:
        name: key below `flavors:` in the MLmodel file.
        package: import name of the framework.
        loader: MLflow's loader module, named in the `python_function` entry.
        pickled: whether reading it may run code.
    """

    name = ""
    package = ""
    loader = ""

    def owns(self, model: Any) -> bool:
        """Whether this flavor writes such models; must not import the framework."""
        raise TypeError("%s.owns is not defined" % type(self).__name__)

    def save(self, model: Any, directory: str) -> tuple[Conf, Conf]:
        """Write the model; (flavor entry, what the pyfunc entry says beyond loader and environment)."""
        raise TypeError("%s.save is not defined" % type(self).__name__)

    def load(self, conf: Conf, directory: str) -> Any:
        """The model of an entry."""
        raise TypeError("%s.load is not defined" % type(self).__name__)

    def pickles(self, conf: Conf) -> list[str]:
        """Files that are unpickled by `load`, relative to the model's directory."""
        return []

    def predict(self, model: Any, data: Any) -> Any:
        """What pyfunc answers: predictions for a DataFrame or an array."""
        return model.predict(data)

    def modules(self, directory: str, conf: Conf) -> set[str]:
        """Import names that reading the model needs."""
        found = {self.package}
        for file in self.pickles(conf):
            found |= requirements_of(_inside(directory, file))
        return found


def requirements_of(file: str) -> set[str]:
    from mlgate_tracking.kit.models.requirements import modules_in_pickle

    return modules_in_pickle(file)


def _is_instance(model: Any, module: str, name: str) -> bool:
    """isinstance against a class of a module, if that is loaded at all."""
    loaded = sys.modules.get(module)
    cls = getattr(loaded, name, None)
    return isinstance(cls, type) and isinstance(model, cls)


class Sklearn(Flavor):
    name, package, loader = "sklearn", "sklearn", "mlflow.sklearn"

    def owns(self, model: Any) -> bool:
        return _is_instance(model, "sklearn.base", "BaseEstimator")

    def save(self, model: Any, directory: str) -> tuple[Conf, Conf]:
        file_format = pickles.dump(model, os.path.join(directory, "model.pkl"))
        import sklearn

        conf = {
            "code": None,
            "pickled_model": "model.pkl",
            "serialization_format": file_format,
            "sklearn_version": sklearn.__version__,
        }
        return conf, {"model_path": "model.pkl", "predict_fn": "predict"}

    def load(self, conf: Conf, directory: str) -> Any:
        file = _inside(directory, conf["pickled_model"])
        if conf.get("serialization_format") == "skops":
            try:
                import skops.io
            except ImportError:
                raise Refused("the model is stored in skops' format; install skops to load it")
            return skops.io.load(file, trusted=conf.get("skops_trusted_types") or None)
        return pickles.load(file)

    def pickles(self, conf: Conf) -> list[str]:
        return [] if conf.get("serialization_format") == "skops" else [conf["pickled_model"]]


class Xgboost(Flavor):
    name, package, loader = "xgboost", "xgboost", "mlflow.xgboost"

    def owns(self, model: Any) -> bool:
        return _is_instance(model, "xgboost", "Booster") or _is_instance(model, "xgboost.sklearn", "XGBModel")

    def save(self, model: Any, directory: str) -> tuple[Conf, Conf]:
        import xgboost

        model.save_model(os.path.join(directory, "model.ubj"))
        conf = {
            "code": None,
            "data": "model.ubj",
            "model_class": _class_name(model),
            "model_format": "ubj",
            "xgb_version": xgboost.__version__,
        }
        return conf, {"data": "model.ubj"}

    def load(self, conf: Conf, directory: str) -> Any:
        model = _load_class(conf.get("model_class", "xgboost.core.Booster"), "xgboost")()
        model.load_model(_inside(directory, conf["data"]))
        return model

    def predict(self, model: Any, data: Any) -> Any:
        import xgboost

        if isinstance(model, xgboost.Booster) and not isinstance(data, xgboost.DMatrix):
            data = xgboost.DMatrix(data)
        return model.predict(data)


class Lightgbm(Flavor):
    name, package, loader = "lightgbm", "lightgbm", "mlflow.lightgbm"

    def owns(self, model: Any) -> bool:
        return _is_instance(model, "lightgbm", "Booster") or _is_instance(model, "lightgbm.sklearn", "LGBMModel")

    def save(self, model: Any, directory: str) -> tuple[Conf, Conf]:
        import lightgbm

        if isinstance(model, lightgbm.Booster):
            data, file_format = "model.lgb", "cloudpickle"
            model.save_model(os.path.join(directory, data))
        else:
            data = "model.pkl"
            file_format = pickles.dump(model, os.path.join(directory, data))
        conf = {
            "code": None,
            "data": data,
            "lgb_version": lightgbm.__version__,
            "model_class": _class_name(model),
            "serialization_format": file_format,
        }
        return conf, {"data": data}

    def load(self, conf: Conf, directory: str) -> Any:
        file = _inside(directory, conf["data"])
        if self.pickles(conf):
            return pickles.load(file)
        if conf.get("serialization_format") == "skops" and not str(conf["data"]).endswith(".lgb"):
            return Sklearn().load({**conf, "pickled_model": conf["data"]}, directory)
        import lightgbm

        return lightgbm.Booster(model_file=file)

    def pickles(self, conf: Conf) -> list[str]:
        booster = conf.get("model_class", "lightgbm.basic.Booster") == "lightgbm.basic.Booster"
        return [] if booster or conf.get("serialization_format") == "skops" else [conf["data"]]


class Keras(Flavor):
    """Keras 3 as the flavor `keras`, the tf.keras of TensorFlow before 2.16 as the flavor `tensorflow`."""

    name, package, loader = "keras", "keras", "mlflow.keras"

    def owns(self, model: Any) -> bool:
        return _keras_major() >= 3 and _is_instance(model, "keras", "Model")

    def save(self, model: Any, directory: str) -> tuple[Conf, Conf]:
        import keras

        data = os.path.join(directory, "data")
        os.makedirs(data)
        model.save(os.path.join(data, "model.keras"))
        with open(os.path.join(data, "keras_module.txt"), "w") as file:
            file.write("keras")
        conf = {
            "data": "data",
            "keras_version": keras.__version__,
            "keras_backend": keras.backend.backend(),
            "save_exported_model": False,
        }
        return conf, {}

    def load(self, conf: Conf, directory: str) -> Any:
        data = _inside(directory, conf.get("data", "data"))
        if conf.get("save_exported_model"):
            raise Refused("the model was exported for serving; load it with tensorflow.saved_model.load(%r)" % data)
        return _load_keras(conf, data)

    def predict(self, model: Any, data: Any) -> Any:
        values = data.to_numpy() if hasattr(data, "to_numpy") else data
        return model.predict(values, verbose=0)


class Tensorflow(Keras):
    name, package, loader = "tensorflow", "tensorflow", "mlflow.tensorflow"

    def owns(self, model: Any) -> bool:
        return _keras_major() == 2 and (_is_instance(model, "keras", "Model") or _is_tf_keras(model))

    def save(self, model: Any, directory: str) -> tuple[Conf, Conf]:
        data = os.path.join(directory, "data")
        os.makedirs(data)
        model.save(os.path.join(data, "model"), save_format="tf")
        for name, content in (("keras_module.txt", "tensorflow.keras"), ("save_format.txt", "tf")):
            with open(os.path.join(data, name), "w") as file:
                file.write(content)
        version = getattr(sys.modules.get("keras"), "__version__", "")
        conf = {"code": None, "data": "data", "keras_version": version, "model_type": "keras", "save_format": "tf"}
        return conf, {"data": "data"}

    def load(self, conf: Conf, directory: str) -> Any:
        if conf.get("model_type", "keras") != "keras":
            raise Refused("the model holds no Keras model but a TensorFlow module; use tensorflow.saved_model.load")
        return _load_keras(conf, _inside(directory, conf.get("data", "data")))


def _keras_major() -> int:
    loaded = sys.modules.get("keras") or sys.modules.get("tensorflow")
    return int(str(getattr(loaded, "__version__", "0")).partition(".")[0])


def _is_tf_keras(model: Any) -> bool:
    return any(cls.__module__.startswith("keras.") and cls.__name__ == "Model" for cls in type(model).__mro__)


def _load_keras(conf: Conf, data: str) -> Any:
    files = [os.path.join(data, name) for name in ("model.keras", "model.h5", "model")] if os.path.isdir(data) else []
    file = next((each for each in files if os.path.exists(each)), data)
    if conf.get("save_format") and not file.endswith(".keras") and _keras_major() != 3:
        module = importlib.import_module("tensorflow.keras.models")
    else:
        module = importlib.import_module("keras.saving" if file.endswith(".keras") else "keras.models")
    return module.load_model(file)


class Pytorch(Flavor):
    name, package, loader = "pytorch", "torch", "mlflow.pytorch"

    def owns(self, model: Any) -> bool:
        return _is_instance(model, "torch.nn", "Module")

    def save(self, model: Any, directory: str) -> tuple[Conf, Conf]:
        import torch

        data = os.path.join(directory, "data")
        os.makedirs(data)
        with open(os.path.join(data, "pickle_module_info.txt"), "w") as file:
            file.write("pickle")
        torch.save(model, os.path.join(data, "model.pth"), pickle_module=pickles.TorchPickle())
        conf = {"code": None, "model_data": "data", "pytorch_version": str(torch.__version__)}
        return conf, {"data": "data", "pickle_module_name": "pickle"}

    def load(self, conf: Conf, directory: str) -> Any:
        import torch

        data = _inside(directory, conf["model_data"])
        exported = os.path.join(data, "model.pt2")
        if os.path.exists(exported):
            return torch.export.load(exported).module()
        options: dict[str, Any] = {"map_location": "cpu", "pickle_module": pickles.TorchPickle()}
        if tuple(int(part) for part in torch.__version__.split(".")[:2]) >= (1, 13):
            options["weights_only"] = False
        file = os.path.join(data, "model.pth") if os.path.isdir(data) else data
        model = torch.load(file, **options)
        return model.eval()

    def pickles(self, conf: Conf) -> list[str]:
        return ["%s/model.pth" % conf["model_data"]]

    def modules(self, directory: str, conf: Conf) -> set[str]:
        return {"torch", *requirements_in_zip(_inside(directory, "%s/model.pth" % conf["model_data"]))}

    def predict(self, model: Any, data: Any) -> Any:
        import numpy
        import torch

        values = data.to_numpy(dtype=numpy.float32) if hasattr(data, "to_numpy") else numpy.asarray(data)
        with torch.no_grad():
            return model(torch.from_numpy(values)).cpu().numpy()


def requirements_in_zip(file: str) -> set[str]:
    """Import names in the pickle inside a file that `torch.save` wrote."""
    import tempfile
    import zipfile

    with zipfile.ZipFile(file) as archive, tempfile.TemporaryDirectory() as folder:
        name = next((each for each in archive.namelist() if each.endswith("/data.pkl")), None)
        return requirements_of(archive.extract(name, folder)) if name else set()


class PythonFunction(Flavor):
    """Any object with `predict(context, model_input)`: a pickle plus a loader that travels with the model."""

    name, package, loader = "python_function", "cloudpickle", "mlgate_python_model"

    def __init__(self, artifacts: dict[str, str] | None = None, config: dict[str, Any] | None = None) -> None:
        self._artifacts = artifacts or {}
        self._config = config or {}

    def owns(self, model: Any) -> bool:
        return callable(getattr(model, "predict", None)) or callable(model)

    def save(self, model: Any, directory: str) -> tuple[Conf, Conf]:
        import shutil

        from mlgate_tracking.kit.models import python_model

        home = os.path.join(directory, "python_model")
        code = os.path.join(directory, "code")
        for folder in (home, code):
            os.makedirs(folder, exist_ok=True)
        shutil.copyfile(str(python_model.__file__), os.path.join(code, "mlgate_python_model.py"))
        kept = {}
        for name, source in self._artifacts.items():
            kept[name] = "artifacts/%s/%s" % (name, os.path.basename(os.path.normpath(source)))
            target = _inside(home, kept[name])
            os.makedirs(os.path.dirname(target), exist_ok=True)
            (shutil.copytree if os.path.isdir(source) else shutil.copyfile)(source, target)
        with open(os.path.join(home, "python_model.json"), "w") as file:
            json.dump({"artifacts": kept, "config": self._config}, file)
        _dump_by_value(_adapted(model), os.path.join(home, "python_model.pkl"))
        return {}, {"data": "python_model", "code": "code"}

    def load(self, conf: Conf, directory: str) -> Any:
        from mlgate_tracking.kit.models import python_model

        if conf.get("loader_module") == "mlflow.pyfunc.model":
            artifacts = {name: each["path"] for name, each in (conf.get("artifacts") or {}).items()}
            loaded = pickles.load(_inside(directory, conf["python_model"]))
            return python_model.run(loaded, directory, artifacts, _read_config(conf, directory))
        home = _inside(directory, conf["data"])
        with open(os.path.join(home, "python_model.json")) as file:
            told = json.load(file)
        loaded = pickles.load(os.path.join(home, "python_model.pkl"))
        return python_model.run(loaded, home, told["artifacts"], told["config"])

    def pickles(self, conf: Conf) -> list[str]:
        return [conf["python_model"] if conf.get("python_model") else "%s/python_model.pkl" % conf["data"]]

    def modules(self, directory: str, conf: Conf) -> set[str]:
        from mlgate_tracking.kit.models.requirements import of_main

        return super().modules(directory, conf) | of_main()


def _read_config(conf: Conf, directory: str) -> Any:
    config = conf.get("config")
    if isinstance(config, str):
        from mlgate_tracking.kit.simple_yaml import load

        with open(_inside(directory, config)) as file:
            return load(file.read())
    return config


class _FunctionModel:
    """A plain function `f(model_input)` as a model."""

    def __init__(self, function: Any) -> None:
        self._function = function

    def predict(self, context: Any, model_input: Any) -> Any:
        return self._function(model_input)


def _adapted(model: Any) -> Any:
    return model if hasattr(model, "predict") else _FunctionModel(model)


def _dump_by_value(model: Any, file: str) -> None:
    """Pickle with our own classes by value, so that the reader needs no mlgate."""
    try:
        import cloudpickle
    except ImportError:
        raise Refused("a Python model is stored with cloudpickle; install cloudpickle in the environment")
    from mlgate_tracking.kit.models import python_model

    ours = (python_model, sys.modules[__name__])
    for module in ours:
        cloudpickle.register_pickle_by_value(module)
    try:
        pickles.dump(model, file)
    finally:
        for module in ours:
            cloudpickle.unregister_pickle_by_value(module)


FLAVORS: tuple[Flavor, ...] = (Xgboost(), Lightgbm(), Sklearn(), Keras(), Tensorflow(), Pytorch(), PythonFunction())
"""In the order of asking: XGBoost's and LightGBM's scikit-learn classes are theirs."""


def flavor_of(model: Any) -> Flavor:
    """The flavor that writes this model.

    Raises:
        TrackingError: none does.
    """
    for flavor in FLAVORS:
        if flavor.owns(model):
            return flavor
    raise Refused(
        "cannot store a %s; known are models of scikit-learn, XGBoost, LightGBM, Keras, PyTorch, and objects with "
        "predict(context, model_input)" % _class_name(model)
    )


def flavor_in(flavors: dict[str, Any]) -> Flavor:
    """The flavor that reads a model, from the `flavors:` of its MLmodel file."""
    for flavor in FLAVORS:
        if flavor.name in flavors and flavor.name != PythonFunction.name:
            return flavor
    pyfunc = flavors.get(PythonFunction.name) or {}
    if pyfunc.get("loader_module") in ("mlflow.pyfunc.model", PythonFunction.loader):
        return FLAVORS[-1]
    raise Refused(
        "no known flavor in %s; known are %s" % (sorted(flavors), ", ".join(flavor.name for flavor in FLAVORS))
    )


__all__ = ["FLAVORS", "Flavor", "PythonFunction", "flavor_in", "flavor_of"]
