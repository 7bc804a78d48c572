"""scikit-learn and everything that derives from its `BaseEstimator` (XGBoost's and LightGBM's classes, the user's own).

`fit` is wrapped where classes are defined, so nothing has to be looked up later and third-party estimators count.
"""

from __future__ import annotations

import functools
import json
import sys
import time

from mlgate_tracking.kit import log
from mlgate_tracking.kit.autologging import FitRun, Observer, observe, wanted
from mlgate_tracking.kit.data import is_table

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any

ROWS = 10_000
"""Rows that training scores are computed on, at most."""
PROBE = 100
"""Rows of the first prediction, which tells how long the others will take."""
TRIALS = 100
"""Child runs of a search: the best ones."""


def patch(base: Any) -> None:
    """Wrap `fit` of every subclass of `sklearn.base.BaseEstimator`, those to come and those that are there."""
    estimator = base.BaseEstimator
    # `__init_subclass__` may be inherited (metadata routing, output containers) and must go on working.
    before = estimator.__dict__.get("__init_subclass__")

    def init_subclass(cls: Any, **kwargs: Any) -> None:
        if before is not None:
            before.__get__(None, cls)(**kwargs)
        else:
            super(estimator, cls).__init_subclass__(**kwargs)
        _wrap_class(cls)

    estimator.__init_subclass__ = classmethod(init_subclass)  # type: ignore[arg-type]
    waiting = estimator.__subclasses__()
    while waiting:
        cls = waiting.pop()
        waiting += cls.__subclasses__()
        _wrap_class(cls)


def _wrap_class(cls: Any) -> None:
    try:
        original = cls.__dict__.get("fit")
        if original is not None and type(original).__name__ == "function" and not hasattr(original, "__mlgate__"):
            cls.fit = wrap(original)
    except Exception as error:
        log.failure("hooking %s" % cls, error)


def wrap(original: Callable[..., Any]) -> Callable[..., Any]:
    """`fit` with a look at it. The wrapper names nothing of ours but by text: classes of `__main__` are pickled with
    their methods, and such a pickle must load where the kit is not.
    """

    def fit(self: Any, *args: Any, **kwargs: Any) -> Any:
        import sys

        kit = sys.modules.get("mlgate_tracking.kit.autologging.sklearn")
        if kit is None:
            return original(self, *args, **kwargs)
        return kit.on_fit(original, self, args, kwargs, sys._getframe(1).f_globals.get("__name__", ""))

    wrapped = functools.wraps(original)(fit)
    wrapped.__mlgate__ = True  # type: ignore[attr-defined]
    return wrapped


def on_fit(original: Callable[..., Any], estimator: Any, args: tuple[Any, ...], kwargs: Any, caller: str) -> Any:
    """Called in place of `fit`."""
    try:
        look = wanted(caller) and hasattr(estimator, "predict")  # transformers prepare data, they are no models
    except Exception:
        look = False
    if not look:
        return original(estimator, *args, **kwargs)
    return observe(_Fit(estimator, args, kwargs), lambda: original(estimator, *args, **kwargs))


class _Fit(Observer):
    def __init__(self, estimator: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
        self.estimator = estimator
        self.kwargs = kwargs
        self.x = args[0] if args else kwargs.get("X")
        self.y = args[1] if len(args) > 1 else kwargs.get("y")
        self.example: Any = None

    def before(self, run: FitRun) -> None:
        from mlgate_tracking.kit.models.signature import head

        cls = type(self.estimator)
        run.tags({"estimator_name": cls.__name__, "estimator_class": "%s.%s" % (cls.__module__, cls.__qualname__)})
        if run.child or run.owned:
            run.tags({"mlflow.runName": cls.__name__})
        run.params(_params(self.estimator))
        self.example = head(self.x)  # now: some fits change their input
        if self.x is not None:
            run.dataset(self.x)

    def after(self, run: FitRun, result: Any) -> None:
        parts = (self._scores, self._evaluations, self._importances, self._search)
        for part in parts:
            try:
                part(run)
            except Exception as error:
                log.failure("auto-logging: %s of %s" % (part.__name__.strip("_"), type(self.estimator).__name__), error)
        run.model(getattr(self.estimator, "best_estimator_", self.estimator), self.example)

    # --- parts --------------------------------------------------------------------------------------------------

    def _scores(self, run: FitRun) -> None:
        """Scores on the training data, as MLflow names them, on a sample that is predicted in a short time."""
        if self.x is None:
            return
        if self.y is None:
            rows = _sample_rows(self.estimator, self.x, run.seconds)
            run.metrics({"training_score": self.estimator.score(rows(self.x))})
            return
        rows = _sample_rows(self.estimator, self.x, run.seconds)
        x, y = rows(self.x), rows(self.y)
        predicted = self.estimator.predict(x)
        kind = _kind(self.estimator)
        weight = self.kwargs.get("sample_weight")
        weights = {} if weight is None else {"sample_weight": rows(weight)}
        if kind == "classifier":
            run.metrics(_classification(self.estimator, x, y, predicted, weights))
            _log_confusion(run, y, predicted)
        elif kind == "regressor":
            run.metrics(_regression(y, predicted, weights))

    def _evaluations(self, run: FitRun) -> None:
        """XGBoost and LightGBM: a metric for each boosting round and evaluation set."""
        if type(self.estimator).__module__.partition(".")[0] == "xgboost":
            try:
                results = self.estimator.evals_result()
            except Exception:  # no eval_set was given
                return
        else:
            results = getattr(self.estimator, "evals_result_", None)
        log_evaluations(run, results)
        for name in ("best_iteration", "best_score", "best_iteration_"):
            value = getattr(self.estimator, name, None)
            if isinstance(value, (int, float)):
                run.metrics({name.rstrip("_"): value})

    def _importances(self, run: FitRun) -> None:
        model = getattr(self.estimator, "best_estimator_", self.estimator)
        if hasattr(model, "steps"):
            return  # its last step sees other columns than the ones that went in
        values = getattr(model, "feature_importances_", None)
        if values is None:
            coefficients = getattr(model, "coef_", None)
            if coefficients is None or getattr(coefficients, "ndim", 0) > 2:
                return
            values = abs(coefficients).mean(axis=0) if coefficients.ndim == 2 else coefficients
        if len(values) > 10_000:
            return
        names = _feature_names(self.example, len(values))
        log_importances(run, {name: float(value) for name, value in zip(names, values)})

    def _search(self, run: FitRun) -> None:
        """A search's trials as child runs, the best one in the run itself."""
        results = getattr(self.estimator, "cv_results_", None)
        if not isinstance(results, dict) or "params" not in results:
            return
        best = getattr(self.estimator, "best_params_", None)
        if isinstance(best, dict):
            run.params({"best_%s" % key: value for key, value in best.items()})
            run.metrics({"best_cv_score": getattr(self.estimator, "best_score_", None)})
        columns = {key: list(values) for key, values in results.items()}
        run.write("cv_results.json", json.dumps(columns, default=_plain).encode())
        ranks = next((columns[key] for key in columns if key.startswith("rank_test")), None)
        order = sorted(range(len(columns["params"])), key=lambda number: ranks[number] if ranks else number)
        name = type(getattr(self.estimator, "estimator", self.estimator)).__name__
        for number in order[:TRIALS]:
            _log_trial(run, columns, number, name)
        if len(order) > TRIALS:
            log.write("%d of %d trials are child runs; all are in cv_results.json" % (TRIALS, len(order)))


def _log_trial(run: FitRun, columns: dict[str, list[Any]], number: int, name: str) -> None:
    from mlgate_tracking.kit import runs
    from mlgate_tracking.kit.client import now
    from mlgate_tracking.kit.session import session

    trial = FitRun(runs.new_run(parent_run_id=run.run_id, run_name="%s trial %d" % (name, number)))
    trial.params(columns["params"][number])
    trial.tags({"estimator_name": name, "mlgate.trial": number})
    skipped = ("params", "param_", "split")
    trial.metrics({key: values[number] for key, values in columns.items() if not key.startswith(skipped)})
    session().buffer.end(trial.run_id, "FINISHED", now())


def _params(estimator: Any) -> dict[str, Any]:
    found = estimator.get_params(deep=True)
    return {key: value for key, value in found.items() if key not in ("steps", "transformers", "missing_values")}


def _kind(estimator: Any) -> str:
    """`classifier`, `regressor` or another of scikit-learn's words."""
    base = sys.modules["sklearn.base"]
    if base.is_classifier(estimator):
        return "classifier"
    return "regressor" if base.is_regressor(estimator) else ""


def _plain(value: Any) -> Any:
    """What json cannot write: numpy values as numbers, masked and everything else as text."""
    if hasattr(value, "item"):
        try:
            return value.item()
        except (TypeError, ValueError):
            pass
    return str(value)


def _length(data: Any) -> int:
    shape = getattr(data, "shape", None)
    return int(shape[0]) if shape else len(data)


def _rows(data: Any, step: int) -> Any:
    """Every `step`-th row."""
    if step == 1:
        return data
    if hasattr(data, "iloc"):
        return data.iloc[::step]
    return data[::step]


def _sample_rows(estimator: Any, x: Any, seconds: float) -> Callable[[Any], Any]:
    """A function that picks rows evenly, few enough that predicting them takes little beside the fit itself."""
    length = _length(x)
    if length <= PROBE:
        return lambda data: data
    budget = max(0.5, 0.05 * seconds)
    probe = max(1, length // PROBE)
    estimator.predict(_rows(x, probe))  # the first call may warm something up
    started = time.perf_counter()
    estimator.predict(_rows(x, probe))
    each = (time.perf_counter() - started) / max(1, length // probe)
    most = int(min(ROWS, max(PROBE, budget / max(each, 1e-9))))
    step = -(-length // most)
    return lambda data: _rows(data, step)


def _classification(estimator: Any, x: Any, y: Any, predicted: Any, weights: dict[str, Any]) -> dict[str, Any]:
    from sklearn import metrics

    found = {
        "training_score": metrics.accuracy_score(y, predicted, **weights),
        "training_accuracy_score": metrics.accuracy_score(y, predicted, **weights),
    }
    for name in ("precision", "recall", "f1"):
        score = getattr(metrics, name + "_score")
        found["training_%s_score" % name] = score(y, predicted, average="weighted", zero_division=0, **weights)
    if hasattr(estimator, "predict_proba"):
        try:
            shares = estimator.predict_proba(x)
            found["training_log_loss"] = metrics.log_loss(y, shares, labels=estimator.classes_, **weights)
            binary = shares.shape[1] == 2
            found["training_roc_auc"] = metrics.roc_auc_score(
                y, shares[:, 1] if binary else shares, average="weighted", multi_class="ovo" if not binary else "raise"
            )
        except Exception as error:
            log.failure("scores of probabilities", error)
    return found


def _regression(y: Any, predicted: Any, weights: dict[str, Any]) -> dict[str, Any]:
    from sklearn import metrics

    squared = metrics.mean_squared_error(y, predicted, **weights)
    determination = metrics.r2_score(y, predicted, **weights)
    return {
        "training_score": determination,
        "training_r2_score": determination,
        "training_mean_squared_error": squared,
        "training_root_mean_squared_error": squared**0.5,
        "training_mean_absolute_error": metrics.mean_absolute_error(y, predicted, **weights),
    }


def _log_confusion(run: FitRun, y: Any, predicted: Any) -> None:
    from sklearn import metrics
    from sklearn.utils.multiclass import unique_labels

    from mlgate_tracking.kit.autologging import pictures

    if getattr(y, "ndim", 1) > 1 and y.shape[1] > 1:
        return
    labels = unique_labels(y, predicted)
    picture = pictures.confusion_matrix(list(labels), metrics.confusion_matrix(y, predicted, labels=labels))
    if picture:
        run.write("training_confusion_matrix.svg", picture)


def _feature_names(example: Any, count: int) -> list[str]:
    if is_table(example) and len(example.columns) == count:
        return [str(name) for name in example.columns]
    return ["feature %d" % number for number in range(count)]


def log_importances(run: FitRun, values: dict[str, float], title: str = "feature importance") -> None:
    from mlgate_tracking.kit.autologging import pictures

    run.write("feature_importance.json", json.dumps(values, indent=2).encode())
    picture = pictures.importances(values, title)
    if picture:
        run.write("feature_importance.svg", picture)


def log_evaluations(run: FitRun, results: Any) -> None:
    """`{data set: {metric: [value for each round]}}` as metrics `data set-metric` with the round as step."""
    for data, found in (results or {}).items():
        for metric, values in found.items():
            for step, value in enumerate(values):
                run.metrics({"%s-%s" % (data, metric): value[0] if isinstance(value, tuple) else value}, step)


__all__ = ["log_evaluations", "log_importances", "on_fit", "patch", "wrap"]
