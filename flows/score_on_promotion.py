"""Score a table with the new champion, started by the event of its promotion."""

from __future__ import annotations

import os

from prefect import flow
from prefect.events import DeploymentEventTrigger

from mlgate.prefect import run_project

PROJECT = os.environ.get("IRIS_PROJECT", "https://host/team/iris.git")
MODEL = "iris_classifier"


@flow(name="score-on-promotion")
def score() -> dict[str, object]:
    """Run the project's `evaluate` with whoever is champion now."""
    return run_project(PROJECT, "evaluate", {"model_uri": f"models:/{MODEL}@champion"})


if __name__ == "__main__":
    promoted = DeploymentEventTrigger(
        name="iris promoted", expect={"mlgate.model.promoted"}, match={"prefect.resource.id": f"mlgate.model.{MODEL}"}
    )
    score.serve(name="on-promotion", triggers=[promoted])
