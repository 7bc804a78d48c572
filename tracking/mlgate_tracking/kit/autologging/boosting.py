"""`xgboost.train` and `lightgbm.train`; their scikit-learn classes are seen by the scikit-learn hook."""

from __future__ import annotations

import functools
import inspect
import sys

from mlgate_tracking.kit import log
from mlgate_tracking.kit.autologging import FitRun, Observer, observe, wanted
from mlgate_tracking.kit.autologging.sklearn import log_evaluations, log_importances

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

_RECORDERS = {"xgboost": "evals_result", "lightgbm": "callbacks"}


def patch(module: Any) -> None:
    """Wrap `train` of `xgboost.training` or `lightgbm.engine`, before the package takes the name over."""
    package = module.__name__.partition(".")[0]
    original = module.train
    signature = inspect.signature(original)

    @functools.wraps(original)
    def train(*args: Any, **kwargs: Any) -> Any:
        call: Any = functools.partial(original, *args, **kwargs)
        observer = None
        try:
            if wanted(sys._getframe(1).f_globals.get("__name__", "")):
                bound = signature.bind(*args, **kwargs)
                observer = (_Xgboost if package == "xgboost" else _Lightgbm)(bound)
                call = functools.partial(original, *bound.args, **bound.kwargs)
        except Exception as error:  # such as arguments that the function itself will refuse
            log.failure("looking at %s.train" % package, error)
            observer = None
        return call() if observer is None else observe(observer, call)

    module.train = train


class _Boosting(Observer):
    """Common to both: params, rounds, importances, model."""

    def __init__(self, bound: Any) -> None:
        self.arguments = bound.arguments
        self.results: dict[str, Any] = {}

    def before(self, run: FitRun) -> None:
        run.tags({"estimator_name": type(self).__name__.strip("_")})
        params = dict(self.arguments.get("params") or {})
        for name in ("num_boost_round", "early_stopping_rounds", "maximize"):
            if self.arguments.get(name) is not None:
                params.setdefault(name, self.arguments[name])
        run.params(params)

    def after(self, run: FitRun, result: Any) -> None:
        log_evaluations(run, self.results)
        for name in ("best_iteration", "best_score"):
            try:
                value = getattr(result, name, None)
            except AttributeError:
                continue
            if isinstance(value, (int, float)):
                run.metrics({name: value})
        for title, values in self.importances(result).items():
            if values:
                log_importances(run, values, title)
        run.model(result, self.example())

    def importances(self, booster: Any) -> dict[str, dict[str, float]]:
        return {}

    def example(self) -> Any:
        return None


class _Xgboost(_Boosting):
    def __init__(self, bound: Any) -> None:
        super().__init__(bound)
        given = bound.arguments.get("evals_result")
        if given is None:
            bound.arguments["evals_result"] = self.results
        else:
            self.results = given

    def importances(self, booster: Any) -> dict[str, dict[str, float]]:
        scores = booster.get_score(importance_type="weight")
        return {"weight": {name: float(value) for name, value in scores.items()}}


class _Lightgbm(_Boosting):
    def __init__(self, bound: Any) -> None:
        super().__init__(bound)
        import lightgbm

        given = list(bound.arguments.get("callbacks") or ())
        bound.arguments["callbacks"] = [*given, lightgbm.record_evaluation(self.results)]

    def importances(self, booster: Any) -> dict[str, dict[str, float]]:
        values = booster.feature_importance(importance_type="split")
        return {"split": {name: float(value) for name, value in zip(booster.feature_name(), values)}}

    def example(self) -> Any:
        from mlgate_tracking.kit.models.signature import head

        data = self.arguments.get("train_set")
        return head(getattr(data, "data", None))


__all__ = ["patch"]
