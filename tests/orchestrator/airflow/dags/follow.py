"""Runs whenever the champion changes, whoever changes it."""

from datetime import datetime

from airflow.sdk import DAG, task

from mlgate.airflow import watched_model_asset

with DAG("follow", schedule=[watched_model_asset("toy", poll=0.5)], start_date=datetime(2026, 1, 1)) as dag:

    @task
    def noted() -> str:
        return "seen"

    noted()
