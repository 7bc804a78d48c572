"""`mlflow.set_experiment("x")` in a step takes the step's run along into `x`.

MLflow's `start_run` resumes the run named by MLFLOW_RUN_ID, but refuses when that run is in another experiment than
the one the script has set. So once `set_experiment` has succeeded, and as long as nobody has resumed the step's run
yet (MLflow removes MLFLOW_RUN_ID when it does), the server is asked to move it. After that the script is on its own,
as with MLflow: a second `start_run` makes a new run, a nested one becomes a child.
"""

from __future__ import annotations

import functools
import os

from mlgate_tracking.kit import log
from mlgate_tracking.kit.transport import Connection, Refused, tracking_uri

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any


def patch(fluent: Any) -> None:
    """Wrap what `mlflow.tracking.fluent` defines, before `mlflow` itself takes the names over."""
    original_set_experiment, original_start_run = fluent.set_experiment, fluent.start_run

    @functools.wraps(original_set_experiment)
    def set_experiment(*args: Any, **kwargs: Any) -> Any:
        experiment = original_set_experiment(*args, **kwargs)
        try:
            if not _let_go():
                take_along(experiment.experiment_id)
        except Exception as error:
            log.failure("moving the step's run into experiment %s" % experiment.experiment_id, error)
        return experiment

    @functools.wraps(original_start_run)
    def start_run(*args: Any, **kwargs: Any) -> Any:
        try:
            _let_go()
        except Exception as error:
            log.failure("looking at MLflow's tracking URI", error)
        return original_start_run(*args, **kwargs)

    fluent.set_experiment, fluent.start_run = set_experiment, start_run


def _let_go() -> bool:
    """Forget the step's run when the script logs to another server, where nobody knows it and resuming must fail."""
    from mlflow import get_tracking_uri

    uri = str(get_tracking_uri()).rstrip("/")
    if uri == tracking_uri():
        return False
    if _waiting():
        del os.environ["MLFLOW_RUN_ID"]
        log.write("the script logs to another tracking server, in runs of its own there")
    return True


def _waiting() -> str:
    """Id of the step's run while MLflow has yet to resume it, else an empty string."""
    run_id = os.environ.get("MLFLOW_RUN_ID", "")
    return run_id if run_id == os.environ.get("MLGATE_RUN_ID") else ""


def take_along(experiment_id: str) -> None:
    """Move the step's run into the experiment, unless MLflow has resumed it already."""
    run_id = _waiting()
    if not run_id:
        return
    connection = Connection()
    try:
        connection.call("POST", "/api/3.0/mlgate/step-runs/move", {"run_id": run_id, "experiment_id": experiment_id})
        log.write("the step's run %s is in experiment %s" % (run_id, experiment_id))
    except Refused as error:
        if error.error_code != "ENDPOINT_NOT_FOUND":
            raise
        run = connection.call("GET", "/api/2.0/mlflow/runs/get", query=[("run_id", run_id)])
        if run["run"]["info"]["experiment_id"] != experiment_id:
            # A plain MLflow server cannot move runs: the script gets a run of its own in the experiment it wants.
            del os.environ["MLFLOW_RUN_ID"]
            log.write("the server cannot move runs; the script begins its own in experiment %s" % experiment_id)
    finally:
        connection.close()


__all__ = ["patch", "take_along"]
