"""A pipeline with everything, as a DAG."""

import os
from datetime import datetime

from mlgate.airflow import ProjectDag

ProjectDag(
    "project",
    source=os.environ["TEST_PIPELINE_PROJECT"],
    pipeline="retrain",
    env_manager="system",
    schedule=None,
    start_date=datetime(2026, 1, 1),
)
