"""`Trainer.fit` of PyTorch Lightning, under both of its names."""

from __future__ import annotations

import functools
import importlib
import sys

from mlgate_tracking.kit import log
from mlgate_tracking.kit.autologging import FitRun, Observer, observe, wanted

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

_LOGGED = ("max_epochs", "min_epochs", "max_steps", "gradient_clip_val", "accumulate_grad_batches", "precision")


def patch(module: Any) -> None:
    """Wrap `fit` of the module's `Trainer`."""
    package = module.__name__.rpartition(".trainer.trainer")[0]
    original = module.Trainer.fit

    @functools.wraps(original)
    def fit(self: Any, *args: Any, **kwargs: Any) -> Any:
        observer = None
        try:
            if wanted(sys._getframe(1).f_globals.get("__name__", "")) and getattr(self, "is_global_zero", True):
                observer = _Fit(self, args[0] if args else kwargs.get("model"), package)
        except Exception as error:
            log.failure("looking at a Lightning fit", error)
        if observer is None:
            return original(self, *args, **kwargs)
        try:
            return observe(observer, lambda: original(self, *args, **kwargs))
        finally:
            observer.leave()

    module.Trainer.fit = fit


def _callback_class(package: str) -> Any:
    base = importlib.import_module(package + ".callbacks").Callback

    class EpochMetrics(base):  # type: ignore[misc, valid-type, unused-ignore]
        """Hands the metrics of each epoch over."""

        run: FitRun | None = None

        def on_train_epoch_end(self, trainer: Any, pl_module: Any) -> None:
            self._log(trainer)

        def on_validation_epoch_end(self, trainer: Any, pl_module: Any) -> None:
            if not trainer.sanity_checking:
                self._log(trainer)

        def _log(self, trainer: Any) -> None:
            try:
                if self.run is not None:
                    self.run.metrics(dict(trainer.callback_metrics), trainer.current_epoch)
            except Exception as error:
                log.failure("logging epoch %s" % trainer.current_epoch, error)

    return EpochMetrics


class _Fit(Observer):
    def __init__(self, trainer: Any, model: Any, package: str) -> None:
        self.trainer = trainer
        self.model = model
        self.callback = _callback_class(package)()
        trainer.callbacks.append(self.callback)

    def leave(self) -> None:
        """The trainer is the script's again, as it was."""
        try:
            self.trainer.callbacks.remove(self.callback)
        except ValueError:
            pass

    def before(self, run: FitRun) -> None:
        self.callback.run = run
        run.tags({"estimator_name": type(self.model).__name__})
        if run.child or run.owned:
            run.tags({"mlflow.runName": type(self.model).__name__})
        values = {name: getattr(self.trainer, name, None) for name in _LOGGED}
        run.params({name: value for name, value in values.items() if value is not None})
        run.params(dict(getattr(self.model, "hparams", None) or {}))

    def after(self, run: FitRun, result: Any) -> None:
        self.callback.run = None
        for optimizer in self.trainer.optimizers[:1]:
            settings = {key: value for key, value in optimizer.defaults.items() if not isinstance(value, dict)}
            run.params({"optimizer_name": type(optimizer).__name__})
            run.params({"optimizer_%s" % name: value for name, value in settings.items()})
        run.metrics({"epochs": self.trainer.current_epoch}, self.trainer.current_epoch)
        run.write("model_summary.txt", str(self.model).encode("utf-8"))
        best = getattr(getattr(self.trainer, "checkpoint_callback", None), "best_model_score", None)
        if best is not None:
            run.metrics({"best_model_score": best})
        self.leave()  # before the model, which may hold the trainer, is stored
        run.model(self.model)


__all__ = ["patch"]
