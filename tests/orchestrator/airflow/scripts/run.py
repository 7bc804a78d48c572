"""Runs a DAG of `dags/` to its end, as `airflow dags test` does; prints task states and the run's asset events."""

import json
import subprocess
import sys

from airflow.models.asset import AssetEvent, AssetModel
from airflow.models.dagrun import DagRun
from airflow.utils.session import create_session
from sqlalchemy import select

dag_id = sys.argv[1]
done = subprocess.run(
    [sys.executable, "-m", "airflow", "dags", "test", dag_id], capture_output=True, text=True, check=False
)
with create_session() as session:
    run = session.scalars(select(DagRun).where(DagRun.dag_id == dag_id).order_by(DagRun.id.desc())).first()
    events = session.execute(
        select(AssetModel.uri, AssetEvent.extra)
        .join(AssetEvent, AssetEvent.asset_id == AssetModel.id)
        .where(AssetEvent.source_dag_id == dag_id, AssetEvent.source_run_id == run.run_id)
        .order_by(AssetEvent.id)
    ).all()
    states = {ti.task_id: str(ti.state) for ti in run.get_task_instances(session=session)}
    result = {
        "state": str(run.state),
        "tasks": states,
        "events": [[uri, extra] for uri, extra in events],
        "run_id": run.run_id,
        "log": (done.stdout + done.stderr)[-3000:] if str(run.state) != "success" else "",
    }
print(json.dumps(result, default=str))
