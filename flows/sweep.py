"""Train with several settings at once and promote the best one that beats the champion."""

from __future__ import annotations

import os

from prefect import flow

from mlgate.prefect import promote_model, run_project

PROJECT = os.environ.get("IRIS_PROJECT", "https://host/team/iris.git")


@flow(name="sweep")
def sweep(depths: tuple[int, ...] = (2, 4, 8)) -> dict[str, object]:
    """One mapped task run for each depth; the winner is registered and judged by its gates."""
    trained = run_project.map(PROJECT, parameters=[{"max_depth": depth} for depth in depths])
    best = max(trained.result(), key=lambda result: result["metrics"]["accuracy"])
    return promote_model(
        "iris_classifier",
        source=f"runs:/{best['run_id']}/iris_model",
        to="champion",
        policy={"gates": [{"champion": {"metric": "accuracy", "min_change": 0.0}}]},
    )


if __name__ == "__main__":
    sweep()
