"""Runs a pipeline (or its entry point as tasks) as a flow; prints the id and state of the flow run."""

import asyncio
import json
import sys

from prefect import flow

from mlgate.prefect import aproject_flow, project_flow, run_project

project, pipeline = sys.argv[1:3]
how = sys.argv[3] if len(sys.argv) > 3 else "pipeline"


@flow
def submit() -> None:
    for future in [run_project.submit(project, tags={"n": str(number)}) for number in range(2)]:
        future.result()


@flow
def direct() -> None:
    run_project(project)


if how == "asynchronous":
    state = asyncio.run(aproject_flow(project, pipeline, experiment_name="toys")(return_state=True))
else:
    flows = {"pipeline": project_flow(project, pipeline, experiment_name="toys"), "submit": submit, "direct": direct}
    state = flows[how](return_state=True)
print(json.dumps({"flow_run_id": str(state.state_details.flow_run_id), "state": state.name}))
