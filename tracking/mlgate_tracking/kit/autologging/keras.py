"""`keras.Model.fit`, of Keras 3 and of the Keras inside TensorFlow 2."""

from __future__ import annotations

import functools
import sys

from mlgate_tracking.kit import log
from mlgate_tracking.kit.autologging import FitRun, Observer, observe, wanted
from mlgate_tracking.kit.models.signature import head

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

_ARGUMENTS = ("x", "y", "batch_size", "epochs", "verbose", "callbacks")
_LOGGED = ("batch_size", "epochs", "validation_split", "shuffle", "initial_epoch", "steps_per_epoch")


def patch(module: Any) -> None:
    """Wrap `fit` of the module's `Model`."""
    original = module.Model.fit

    @functools.wraps(original)
    def fit(self: Any, *args: Any, **kwargs: Any) -> Any:
        observer = None
        try:
            if wanted(sys._getframe(1).f_globals.get("__name__", "")):
                named = dict(zip(_ARGUMENTS, args))
                named.update(kwargs)
                observer = _Fit(self, named, len(args))
                args, kwargs = observer.arguments(args, kwargs)
        except Exception as error:
            log.failure("looking at a Keras fit", error)
            observer = None
        if observer is None:
            return original(self, *args, **kwargs)
        return observe(observer, lambda: original(self, *args, **kwargs))

    module.Model.fit = fit


def _callback_class() -> Any:
    keras = sys.modules.get("keras") or sys.modules["tensorflow"].keras

    class EpochMetrics(keras.callbacks.Callback):  # type: ignore[misc, name-defined, unused-ignore]
        """Hands the metrics of each epoch over."""

        run: FitRun | None = None

        def on_epoch_end(self, epoch: int, logs: Any = None) -> None:
            try:
                if self.run is not None:
                    self.run.metrics(dict(logs or {}), epoch)
            except Exception as error:
                log.failure("logging epoch %d" % epoch, error)

    return EpochMetrics


class _Fit(Observer):
    def __init__(self, model: Any, named: dict[str, Any], positional: int) -> None:
        self.model = model
        self.named = named
        self.positional = positional
        self.callback = _callback_class()()
        self.sample = head(named.get("x"))

    def arguments(self, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        """The call's arguments with our callback last."""
        given: Any = self.named.get("callbacks")
        if hasattr(given, "append") and hasattr(given, "on_epoch_end"):  # a CallbackList
            given.append(self.callback)
            return args, kwargs
        callbacks = list(given) if isinstance(given, (list, tuple)) else [given] if given is not None else []
        if self.positional > _ARGUMENTS.index("callbacks"):
            place = _ARGUMENTS.index("callbacks")
            return (*args[:place], [*callbacks, self.callback], *args[place + 1 :]), kwargs
        return args, {**kwargs, "callbacks": [*callbacks, self.callback]}

    def before(self, run: FitRun) -> None:
        self.callback.run = run
        run.tags({"estimator_name": type(self.model).__name__})
        if run.child or run.owned:
            run.tags({"mlflow.runName": str(self.model.name)})
        run.params({name: self.named[name] for name in _LOGGED if self.named.get(name) is not None})
        optimizer = getattr(self.model, "optimizer", None)
        if optimizer is not None:
            settings = optimizer.get_config()
            run.params(
                {"optimizer_%s" % name: value for name, value in settings.items() if not isinstance(value, dict)}
            )
        loss = getattr(self.model, "loss", None)
        if loss is not None:
            run.params({"loss": getattr(loss, "name", None) or loss})
        if self.named.get("x") is not None and self.sample is not None:
            run.dataset(self.named["x"])

    def after(self, run: FitRun, result: Any) -> None:
        lines: list[str] = []
        self.model.summary(print_fn=lambda line, **_: lines.append(str(line)))
        run.write("model_summary.txt", "\n".join(lines).encode("utf-8"))
        stopped = [each for each in getattr(self.model, "callbacks", None) or () if hasattr(each, "stopped_epoch")]
        for each in stopped:
            run.metrics({"stopped_epoch": each.stopped_epoch})
        run.model(self.model, self.sample)


__all__ = ["patch"]
