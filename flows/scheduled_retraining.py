"""Retrain every night: a pipeline of an MLproject as a flow, served with a schedule.

python flows/scheduled_retraining.py          # serve it from this process
prefect deploy --all                          # or as a deployment, see prefect.yaml beside this file
"""

from __future__ import annotations

import os

from mlgate.prefect import project_flow

PROJECT = os.environ.get("IRIS_PROJECT", "https://host/team/iris.git")

retrain = project_flow(PROJECT, "retrain", name="scheduled-retraining")

if __name__ == "__main__":
    retrain.serve(name="nightly", cron="0 3 * * *")
