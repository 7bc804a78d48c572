"""Prints which modules a DAG file that makes a DAG of a project loads on top of `airflow.sdk`, and what it has done."""

import json
import os
import socket
import subprocess
import sys

from airflow.sdk import DAG, Asset, AssetAlias, BaseHook, BaseOperator, BaseOperatorLink, Param, TaskGroup, task  # noqa: F401

with DAG("plain", schedule=None):  # what any DAG loads

    @task
    def nothing():
        pass

    nothing()


def refuse(*_args, **_kwargs):
    raise AssertionError("a DAG file wants the network or another process")


socket.socket.connect = refuse
subprocess.Popen = refuse
before = set(sys.modules)

from mlgate.airflow import ProjectDag

dag = ProjectDag("imports", source=sys.argv[1], pipeline="retrain", schedule=None)
edges = {one.task_id: sorted(one.downstream_task_ids) for one in dag.tasks}
print(json.dumps({"loaded": sorted(set(sys.modules) - before), "edges": edges, "file": os.path.basename(dag.fileloc)}))
