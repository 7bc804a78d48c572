"""Train, let the gates judge, ask an ML engineer, promote: the flow run is suspended until somebody has answered.

Answer in Prefect's UI, or with `mlgate approvals approve`; who may answer is said by `mlgate approvals grant`.
"""

from __future__ import annotations

import os

from prefect import flow

from mlgate.prefect import promote_model, request_approval, run_project

PROJECT = os.environ.get("IRIS_PROJECT", "https://host/team/iris.git")
MODEL = "iris_classifier"
ROLE = "ml_engineer"
POLICY = {"gates": [{"metric": {"name": "accuracy", "min": 0.9}}, {"approval": {"role": ROLE}}]}


@flow(name="promotion-with-approval")
def release(max_depth: int = 4) -> dict[str, object]:
    """Nobody is asked about a model that the other gates rule out."""
    trained = run_project(PROJECT, parameters={"max_depth": max_depth})
    asked = request_approval(
        MODEL, source=f"runs:/{trained['run_id']}/iris_model", role=ROLE, to="champion", policy=POLICY
    )
    return promote_model(MODEL, asked["version"], to="champion", policy=POLICY)


if __name__ == "__main__":
    release.serve(name="with-approval")
