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

project = sys.argv[1]
dag = ProjectDag("imports", source=project, pipeline="retrain", schedule=None)
loaded = sorted(set(sys.modules) - before)
with open(os.path.join(project, "train.py"), "a") as file:
    file.write("# changed\n")
changed = ProjectDag("imports_changed", source=project, pipeline="retrain", schedule=None)
problems = []
for source in ("https://host/team/iris.git", os.path.join(project, "nothing")):
    try:
        ProjectDag("bad", source=source, pipeline="retrain", commit="a" * 40, schedule=None)
    except Exception as error:
        problems.append(str(error))
edges = {one.task_id: sorted(one.downstream_task_ids) for one in dag.tasks}
print(
    json.dumps(
        {
            "loaded": loaded,
            "edges": edges,
            "file": os.path.basename(dag.fileloc),
            "about": [dag.doc_md, changed.doc_md],
            "problems": problems,
        }
    )
)
