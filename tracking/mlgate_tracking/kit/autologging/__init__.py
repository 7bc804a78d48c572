"""Logs what a framework's `fit` does, without a line in the script and without a change in what the script computes.

One module per framework hooks its training function; `observe` decides whether a call is the script's own training
(not a fold of a search, not a worker process) and keeps whatever goes wrong here away from the script. The first fit
of a run is logged to that run, each further one to a child run.
"""

from __future__ import annotations

import os
import sys
import threading
import time

from mlgate_tracking.kit import log
from mlgate_tracking.kit.autologging.quiet import quietly

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any

LIBRARIES = frozenset(
    """
    catboost imblearn joblib keras lightgbm lightning pytorch_lightning sklearn skopt sktime tensorflow xgboost
    """.split()
)
"""Packages whose own calls of `fit` are parts of a bigger one (folds, members of an ensemble, steps of a pipeline)."""

FURTHER_RUNS = 50
"""Child runs for further fits in one process; a script that fits in a long loop does not get thousands."""


class _Settings:
    def __init__(self) -> None:
        off = os.environ.get("MLGATE_AUTOLOG", "").strip().lower() in ("0", "false", "no", "off")
        self.enabled = bool(os.environ.get("MLGATE_RUN_ID")) and not off
        self.explicit = False
        self.log_models = True


class _Inside(threading.local):
    """How many observed trainings this thread is in."""

    depth = 0


settings = _Settings()
_inside = _Inside()
_used_runs: dict[str, int] = {}


def enable(on: bool = True, *, log_models: bool = True) -> None:
    """Switch auto-logging on or off in this process, whatever the environment says."""
    settings.enabled = settings.explicit = on
    settings.log_models = log_models
    if on:
        from mlgate_tracking.kit import hooks

        hooks.install(autolog=True)


def wanted(caller: str) -> bool:
    """Whether a training call from the module `caller` is one to log."""
    if not settings.enabled or _inside.depth:
        return False
    if caller.partition(".")[0] in LIBRARIES:
        return False
    if not settings.explicit and "mlflow" in sys.modules:
        return False
    return not _is_worker()


def _is_worker() -> bool:
    """Whether this is a helper process of multiprocessing or joblib: the script itself runs elsewhere."""
    multiprocessing = sys.modules.get("multiprocessing")
    if multiprocessing is not None and multiprocessing.parent_process() is not None:
        return True
    spec = getattr(sys.modules.get("__main__"), "__spec__", None)
    return str(getattr(spec, "name", "")).startswith(("joblib.", "loky."))


class Observer:
    """What one framework logs about one training; every method may fail without harm."""

    def before(self, run: FitRun) -> None:
        """Params and tags, before the training starts."""

    def after(self, run: FitRun, result: Any) -> None:
        """Metrics, model and pictures, once it has succeeded; `result` is what the training function returned."""


def observe(observer: Observer, call: Callable[[], Any]) -> Any:
    """Run the training and log it; what `call` returns or raises is returned or raised unchanged."""
    run = None
    try:
        with quietly():
            run = _begin()
            if run is not None:
                observer.before(run)
    except Exception as error:
        log.failure("auto-logging %s" % type(observer).__name__, error)
    _inside.depth += 1
    started = time.perf_counter()
    try:
        result = call()
    except BaseException:
        if run is not None:
            _end(run, "FAILED")
        raise
    finally:
        _inside.depth -= 1
    if run is not None:
        run.seconds = time.perf_counter() - started
        try:
            _inside.depth += 1
            with quietly():
                observer.after(run, result)
        except Exception as error:
            log.failure("auto-logging %s" % type(observer).__name__, error)
        finally:
            _inside.depth -= 1
        _end(run, "FINISHED")
    return result


def _begin() -> FitRun | None:
    """The run that this fit is logged to; None when there have been too many."""
    from mlgate_tracking.kit import runs
    from mlgate_tracking.kit.session import in_step, step_run_id

    active = runs.active_run()
    if active is not None:
        run_id = active.info.run_id
    elif in_step():
        run_id = step_run_id()
    else:
        return FitRun(runs.start_run().info.run_id, owned=True)
    used = _used_runs.get(run_id, 0)
    _used_runs[run_id] = used + 1
    if not used:
        return FitRun(run_id)
    if used > FURTHER_RUNS:
        if used == FURTHER_RUNS + 1:
            log.write("this process has fitted %d models; further ones are not logged" % used)
        return None
    child = runs.new_run(parent_run_id=run_id)
    return FitRun(child, child=True)


def _end(run: FitRun, status: str) -> None:
    from mlgate_tracking.kit import runs
    from mlgate_tracking.kit.client import now
    from mlgate_tracking.kit.session import session

    try:
        if run.owned:
            runs.end_run(status)
        elif run.child:
            session().buffer.end(run.run_id, status, now())
    except Exception as error:
        log.failure("ending run %s" % run.run_id, error)


class FitRun:
    """The run that one training is logged to. Values are brought into the form that the server takes.

    Attributes:
        seconds: how long the training took.
        owned: the run was begun for this training, outside a step.
    """

    def __init__(self, run_id: str, *, owned: bool = False, child: bool = False) -> None:
        self.run_id = run_id
        self.owned = owned
        self.child = child
        self.seconds = 0.0

    def params(self, values: dict[str, Any]) -> None:
        """Params as text; what the script has logged under the same name stands."""
        from mlgate_tracking.kit import runs
        from mlgate_tracking.kit.session import session

        for key, value in values.items():
            name = valid_key(key)
            if not runs.logged_param(self.run_id, name):
                session().buffer.param(self.run_id, name, shown(value))

    def metrics(self, values: dict[str, Any], step: int = 0) -> None:
        from mlgate_tracking.kit.client import now
        from mlgate_tracking.kit.session import session

        moment = now()
        for key, value in values.items():
            number = as_float(value)
            if number is not None:
                session().buffer.metric(self.run_id, valid_key(key), number, moment, step)

    def tags(self, values: dict[str, Any]) -> None:
        from mlgate_tracking.kit.session import session

        for key, value in values.items():
            session().buffer.tag(self.run_id, key, str(value)[:5000])

    def write(self, path: str, content: bytes) -> None:
        from mlgate_tracking.kit.session import session

        session().write(self.run_id, path, content)

    def model(self, model: Any, example: Any = None, signature: Any = None) -> None:
        """Store the model as `model`; one that cannot be stored costs a line in the log."""
        if not settings.log_models:
            return
        from mlgate_tracking.kit.models import log_model

        try:
            log_model(model, "model", run_id=self.run_id, input_example=example, signature=signature)
        except Exception as error:
            log.failure("storing the %s" % type(model).__name__, error)

    def dataset(self, data: Any, context: str = "training") -> None:
        from mlgate_tracking.kit.data import input_record
        from mlgate_tracking.kit.session import session

        if session().buffer.away:
            return
        try:
            record = input_record(data, context, None)
            session().wait_for(lambda: session().client.log_inputs(self.run_id, [record]), patience=0.0)
        except Exception as error:
            log.failure("logging the data of the fit", error)


def valid_key(key: Any) -> str:
    """A name that every MLflow server takes."""
    text = "".join(letter if letter.isalnum() or letter in "_-./ " else "_" for letter in str(key))
    parts = [part for part in text.strip("/ ").split("/") if part not in ("", ".", "..")]
    return "/".join(parts)[:250] or "_"


def shown(value: Any) -> str:
    """A parameter's value as text of bounded length; an estimator is its class."""
    if hasattr(value, "get_params") and not isinstance(value, type):
        return type(value).__name__
    if callable(value) and hasattr(value, "__name__"):
        return str(value.__name__)
    if isinstance(value, (list, tuple)) and len(value) > 100:
        value = [*value[:100], "..."]
    return str(value)[:500]


def as_float(value: Any) -> float | None:
    try:
        return float(value)
    except (TypeError, ValueError):
        return None


__all__ = ["FitRun", "Observer", "enable", "observe", "settings", "wanted"]
