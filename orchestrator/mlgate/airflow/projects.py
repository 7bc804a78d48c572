"""Whole DAGs from MLprojects: `ProjectDag` and `ProjectTaskGroup`.

Loading a DAG file reads YAML or a plan and makes tasks from it. Nothing is cloned, built or asked for over the network
before a task runs.
"""

from __future__ import annotations

import hashlib
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from typing import Any

from airflow.sdk import DAG, Param, TaskGroup

from mlgate.airflow.compat import backoff
from mlgate.airflow.steps import (
    ClosePipelineOperator,
    OpenPipelineOperator,
    PipelineStepOperator,
    PrewarmOperator,
    SelectOperator,
    StepOptions,
)
from mlgate.plan import Plan, PlannedStep, make_plan

_CODE = (".py", ".yaml", ".yml", ".sh", ".r", ".R", ".toml", ".txt", ".lock")
_MOST_FILES, _MOST_BYTES = 2000, 1 << 20


class ProjectDag(DAG):
    """A DAG of a project's pipeline: one task a step, a mapped task for a matrix, conditions, gates, promotion.

    Args:
        dag_id: as of any DAG; what is not listed here goes to `airflow.sdk.DAG` (`schedule`, `start_date`, …).
        source: a directory that holds an MLproject, a plan file (`*.json`, as `run-project --plan --json` and
            `mlgate deploy airflow` write it), or a git URL whose `commit` is in this machine's cache. Relative paths
            are relative to the DAG file.
        pipeline: name of an entry of `pipelines:`; a plan file has one already.
        commit: pins a git source.
        version: branch or tag that tasks take a git source from, when no commit is pinned.
        parameters: values instead of the pipeline's defaults; they become the DAG's params, which whoever triggers the
            DAG can change.
        experiment_name: instead of the pipeline's experiment.
        env_manager, env_options, env, tags_of_runs: for all steps.
        use_cache: whether steps with `cache:` may take earlier results.
        prewarm: make the environments in a setup task.
        poll: seconds between looks for answers to approvals.

    The DAG's documentation holds the digest of the plan, so a project that changes gives a new version of the DAG.
    """

    def __init__(
        self,
        dag_id: str,
        *,
        source: str,
        pipeline: str | None = None,
        commit: str | None = None,
        version: str | None = None,
        parameters: Mapping[str, Any] | None = None,
        experiment_name: str | None = None,
        mlgate_conn_id: str | None = None,
        env_manager: str | None = None,
        env_options: Mapping[str, Any] | None = None,
        env: Mapping[str, str] | None = None,
        tags_of_runs: Mapping[str, str] | None = None,
        use_cache: bool = True,
        prewarm: bool = False,
        poll: float = 10.0,
        **kwargs: Any,
    ) -> None:
        file = _caller()
        base = Path(file).parent if file else Path.cwd()
        loaded = load_plan(
            source, pipeline, parameters or {}, base=base, commit=commit, version=version, experiment=experiment_name
        )
        kwargs["params"] = {**loaded.params, **(kwargs.get("params") or {})}
        kwargs["doc_md"] = "\n\n".join(filter(None, (kwargs.get("doc_md"), loaded.description)))
        kwargs.setdefault("catchup", False)
        super().__init__(dag_id, **kwargs)
        if file:
            self.fileloc = file
        with self:
            add_tasks(
                loaded.plan,
                parameters={name: f"{{{{ params[{name!r}] }}}}" for name in loaded.plan.parameters},
                options=StepOptions(env_manager, env_options or {}, env or {}, tags_of_runs or {}, use_cache, poll),
                base=base,
                experiment_name=experiment_name,
                mlgate_conn_id=mlgate_conn_id,
                prewarm=prewarm,
            )


class ProjectTaskGroup(TaskGroup):
    """A project's pipeline as a group of tasks in a DAG of yours; takes what `ProjectDag` takes.

    `parameters` are templated. What follows the group runs when the pipeline has finished.
    """

    def __init__(
        self,
        group_id: str,
        *,
        source: str,
        pipeline: str | None = None,
        commit: str | None = None,
        version: str | None = None,
        parameters: Mapping[str, Any] | None = None,
        experiment_name: str | None = None,
        mlgate_conn_id: str | None = None,
        env_manager: str | None = None,
        env_options: Mapping[str, Any] | None = None,
        env: Mapping[str, str] | None = None,
        tags_of_runs: Mapping[str, str] | None = None,
        use_cache: bool = True,
        prewarm: bool = False,
        poll: float = 10.0,
        **kwargs: Any,
    ) -> None:
        file = _caller()
        base = Path(file).parent if file else Path.cwd()
        given = parameters or {}
        known = {name: value for name, value in given.items() if "{{" not in str(value)}
        loaded = load_plan(
            source, pipeline, known, base=base, commit=commit, version=version, experiment=experiment_name
        )
        if not kwargs.get("tooltip"):
            kwargs["tooltip"] = loaded.description
        super().__init__(group_id, **kwargs)
        with self:
            self._close = add_tasks(
                loaded.plan,
                parameters=given,
                options=StepOptions(env_manager, env_options or {}, env or {}, tags_of_runs or {}, use_cache, poll),
                base=base,
                experiment_name=experiment_name,
                mlgate_conn_id=mlgate_conn_id,
                prewarm=prewarm,
                group=str(self.group_id),
            )

    def get_leaves(self) -> Any:
        """The group ends with the task that closes the pipeline's run, not with the last steps before it."""
        yield self._close


@dataclass(frozen=True, slots=True)
class LoadedPlan:
    """A plan, the DAG params for its parameters, and a line about it that changes when the project does."""

    plan: Plan
    params: Mapping[str, Param]
    description: str


def load_plan(
    source: str,
    pipeline: str | None,
    parameters: Mapping[str, Any],
    *,
    base: Path,
    commit: str | None = None,
    version: str | None = None,
    experiment: str | None = None,
) -> LoadedPlan:
    """Plan a pipeline from what is on this machine already.

    Raises:
        ValueError: the source would have to be fetched first.
        ProjectError, InvalidPlan, UsageError: what is wrong with project, pipeline or values, with file and line.
    """
    if source.endswith(".json"):
        plan = Plan.from_json((base / source).read_bytes())
        if pipeline not in (None, plan.pipeline):
            raise ValueError(f"{source}: is a plan of pipeline '{plan.pipeline}', not of '{pipeline}'")
        return LoadedPlan(plan, _params({**plan.parameters, **parameters}), _description(plan, ""))
    from mlgate.settings import load_settings
    from mlgate_projects.parse import load_project
    from mlgate_projects.source import directory_at_hand

    uri = str(base / source) if _is_relative_path(source, base) else source
    directory = directory_at_hand(uri, commit, cache_root=load_settings().git)
    if directory is None:
        raise ValueError(
            f"source: {source} is not on this machine, and a DAG file must not fetch it; write its plan beside the DAG"
            f" file with `mlgate deploy airflow {source} --pipeline {pipeline or 'NAME'}`"
        )
    if pipeline is None:
        raise ValueError(f"pipeline: name a pipeline of {source}; for one entry point use RunProjectOperator")
    project = load_project(directory)
    plan = make_plan(
        project,
        pipeline,
        {name: str(value) for name, value in parameters.items()},
        uri=uri,
        version=version,
        commit=commit,
        experiment=experiment,
        working_directory=base,
    )
    return LoadedPlan(plan, _params(plan.parameters), _description(plan, code_digest(directory)))


def add_tasks(
    plan: Plan,
    *,
    parameters: Mapping[str, Any],
    options: StepOptions,
    base: Path,
    experiment_name: str | None = None,
    mlgate_conn_id: str | None = None,
    prewarm: bool = False,
    group: str = "",
) -> ClosePipelineOperator:
    """Make the tasks of a plan in the DAG or group that is open; returns the one that comes last."""
    common: dict[str, Any] = {"plan": plan, "options": options, "group": group, "mlgate_conn_id": mlgate_conn_id}
    taken = {step.name for step in plan.steps}

    def name(wanted: str) -> str:
        """A task id that is no step's."""
        while wanted in taken:
            wanted += "_"
        taken.add(wanted)
        return wanted

    opener = OpenPipelineOperator(
        task_id=name("open"), parameters=parameters, base=str(base), experiment_name=experiment_name, **common
    ).as_setup()
    common["opener"] = opener.task_id
    first = opener
    if prewarm:
        first = PrewarmOperator(task_id=name("prewarm"), **common).as_setup()
        opener >> first
    ends: dict[str, Any] = {}
    everything: list[Any] = []
    ordinary: list[Any] = []
    for step in plan.steps:
        before = [ends[name] for name in step.needs]
        if step.final:
            before += [task for task in ordinary if task not in before]
        task = _step_task(step, common, rule="all_done" if step.final else "none_failed" if before else "all_success")
        (before or [first]) >> task
        tasks = [task]
        if step.settings and step.select is not None:
            chosen = SelectOperator(
                task_id=name(f"{step.name}_select"), step=step.name, trigger_rule="all_done", **common
            )
            task >> chosen
            tasks.append(chosen)
        ends[step.name] = tasks[-1]
        everything += tasks
        if not step.final:
            ordinary += tasks
    close = ClosePipelineOperator(task_id=name("close"), **common)
    everything >> close
    close.as_teardown(setups=opener, on_failure_fail_dagrun=True)
    return close


def _step_task(step: PlannedStep, common: Mapping[str, Any], *, rule: str) -> Any:
    settings: dict[str, Any] = {
        "task_id": step.name,
        "step": step.name,
        "trigger_rule": rule,
        **_retries(step),
        "doc": step.description or None,
        **common,
    }
    if not step.settings:
        return PipelineStepOperator(**settings)
    return PipelineStepOperator.partial(map_index_template="{{ mlgate_setting }}", **settings).expand(
        index=list(step.instances)
    )


def _retries(step: PlannedStep) -> dict[str, Any]:
    """The step's own; a step without any leaves them to the DAG's defaults."""
    retries = step.retries
    if retries.count == 0:
        return {}
    return {
        "retries": retries.count,
        "retry_delay": timedelta(seconds=retries.delay),
        "max_retry_delay": timedelta(seconds=retries.max_delay),
        **backoff(retries.backoff),
    }


def code_digest(directory: Path) -> str:
    """A digest of the project's own small text files: enough to see that its code has changed, cheap to make."""
    digest = hashlib.sha256()
    files = sorted(
        path
        for path in directory.rglob("*")
        if (path.suffix in _CODE or path.name == "MLproject") and not _hidden(path.relative_to(directory))
    )
    for path in files[:_MOST_FILES]:
        if path.is_file() and path.stat().st_size <= _MOST_BYTES:
            digest.update(path.relative_to(directory).as_posix().encode() + b"\0")
            digest.update(hashlib.sha256(path.read_bytes()).digest())
    return digest.hexdigest()


def _hidden(path: Path) -> bool:
    return any(part.startswith(".") or part == "__pycache__" for part in path.parts)


def _description(plan: Plan, code: str) -> str:
    digest = hashlib.sha256((plan.to_json() + code).encode()).hexdigest()
    where = f"`{plan.uri}`" + (f" at commit `{plan.commit}`" if plan.commit else "")
    return f"Pipeline `{plan.pipeline}` of {where}; plan `{digest[:16]}`."


def _params(values: Mapping[str, Any]) -> dict[str, Param]:
    return {name: Param(str(value), type="string") for name, value in values.items()}


def _is_relative_path(source: str, base: Path) -> bool:
    location = source.partition("#")[0]
    return "://" not in location and not Path(location).is_absolute() and (base / location).exists()


def _caller() -> str:
    """The DAG file: the first frame outside this module."""
    frame = sys._getframe(1)
    while frame.f_code.co_filename == __file__ and frame.f_back is not None:
        frame = frame.f_back
    return frame.f_code.co_filename if Path(frame.f_code.co_filename).is_file() else ""


__all__ = ["LoadedPlan", "ProjectDag", "ProjectTaskGroup", "add_tasks", "code_digest", "load_plan"]
