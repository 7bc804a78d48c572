"""Operators: run a project's entry point, judge, promote and roll back models.

An operator builds its arguments and hands its result on; the work is done by `mlgate.runner` and `mlgate.promotion`,
which the worker imports when the task runs. What goes into XCom is JSON: ids and numbers, never files.
"""

from __future__ import annotations

import json
import threading
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, ClassVar, NoReturn

from mlgate.airflow.assets import announced, model_asset, promotions_of
from mlgate.airflow.compat import AirflowException, AirflowFailException, AirflowSkipException, BaseOperator
from mlgate.airflow.hook import MlgateHook
from mlgate.airflow.links import RUN_URL, VERDICT_URL, RunLink, VerdictLink, run_url, verdict_url

if TYPE_CHECKING:
    from airflow.sdk import Context

    from mlgate.step import Engine, StepResult


class MlgateOperator(BaseOperator):
    """What all operators share: the connection and their colour."""

    ui_color = "#e3f0e8"
    ui_fgcolor = "#1d3b2a"

    def __init__(self, *, mlgate_conn_id: str | None = None, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.mlgate_conn_id = mlgate_conn_id
        self.links: dict[str, str] = {}
        self.made_run_id = ""
        self.made_versions: dict[str, int] = {}

    def heard(self, event: dict[str, Any], approval_ids: list[str] | None) -> str:
        """Record what somebody has answered in Airflow, if so; returns how the questions of the task stand."""
        from mlgate.airflow import asking

        ids = approval_ids or event["approval_ids"]
        with self.hook.tracking() as tracking:
            asking.take_answer(tracking.store, ids, event, self.log.warning)
            return asking.standing(tracking.store, ids)[0]

    def leave_links(self, context: Context, tracking_uri: str, *, run_id: str = "", verdict_id: str = "") -> None:
        """Keep what the task has made, and where it can be looked at, for its buttons and for OpenLineage."""
        self.made_run_id = run_id or self.made_run_id
        found = {
            RUN_URL: run_url(tracking_uri, run_id) if run_id else "",
            VERDICT_URL: verdict_url(tracking_uri, verdict_id) if verdict_id else "",
        }
        instance: Any = context["ti"]
        for key, url in found.items():
            if url:
                self.links[key] = url
                instance.xcom_push(key, url)

    def get_openlineage_facets_on_complete(self, _task_instance: Any) -> Any:
        """What Airflow's OpenLineage provider asks for: the run, its data, the model versions that came of it."""
        from mlgate.airflow.lineage import as_openlineage, facts_of

        with self.hook.tracking() as tracking:
            return as_openlineage(facts_of(tracking, self.made_run_id, self.made_versions))

    @property
    def hook(self) -> MlgateHook:
        return MlgateHook(self.mlgate_conn_id)


class RunProjectOperator(MlgateOperator):
    """Run one entry point of a project as a tracked step, in the environment that it declares.

    Args:
        uri: a directory on the worker, or a git URL; each with `#subdirectory` if need be.
        parameters: values by name; templated.
        commit: pins a git source for all tasks of a DAG run; `version` may be a branch or tag.
        env: extra variables for the step's process; templated.
        secrets: names of variables whose values are masked in the log.
        env_options: settings of one kind of environment (`docker_args`, `python`, …).

    Returns (XCom): the step's result: `run_id`, `status`, `metrics`, `params`, `outputs`, …

    The tracked run belongs to the DAG run, the task and its map index: a retry or a cleared task reopens it as the next
    attempt. Exit codes 64 to 78 are not retried.
    """

    template_fields: Sequence[str] = (
        "uri", "entry_point", "version", "commit", "parameters", "experiment_name", "run_name", "env", "tags",
    )  # fmt: skip
    template_fields_renderers: ClassVar[dict[str, str]] = {"parameters": "json", "env": "json", "tags": "json"}
    operator_extra_links = (RunLink(),)

    def __init__(
        self,
        *,
        uri: str,
        entry_point: str = "main",
        version: str | None = None,
        commit: str | None = None,
        parameters: Mapping[str, Any] | None = None,
        experiment_name: str | None = None,
        run_name: str | None = None,
        env_manager: str | None = None,
        env: Mapping[str, str] | None = None,
        secrets: Sequence[str] = (),
        tags: Mapping[str, str] | None = None,
        env_options: Mapping[str, Any] | None = None,
        autolog: bool | None = None,
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        self.uri = uri
        self.entry_point = entry_point
        self.version = version
        self.commit = commit
        self.parameters = dict(parameters or {})
        self.experiment_name = experiment_name
        self.run_name = run_name
        self.env_manager = env_manager
        self.env = dict(env or {})
        self.secrets = tuple(secrets)
        self.tags = dict(tags or {})
        self.env_options = dict(env_options or {})
        self.autolog = autolog
        self._cancel: threading.Event | None = None

    def execute(self, context: Context) -> dict[str, Any]:
        return self.run_step(context)

    def run_step(self, context: Context) -> dict[str, Any]:
        """Run the entry point with what the operator holds by now."""
        from mlgate.runner import Hooks, run_step
        from mlgate.step import Step
        from mlgate.user import acting_as

        instance: Any = context["ti"]
        self._cancel = threading.Event()
        mask_values(self.secrets, self.env)
        step = Step(
            uri=self.uri,
            engine=engine_of(context),
            name=self.task_id,
            entry_point=self.entry_point,
            parameters={name: text_of(value) for name, value in self.parameters.items()},
            version=self.version,
            commit=self.commit,
            env_manager=self.env_manager,
            map_index=instance.map_index if instance.map_index is not None else -1,
            attempt=instance.try_number,
            experiment_name=self.experiment_name,
            run_name=self.run_name,
            env=self.env,
            secrets=self.secrets,
            tags=self.tags,
            env_options=self.env_options,
            autolog=self.autolog,
        )
        with acting_as(user_of(context)), self.hook.tracking() as tracking:
            uri = tracking.settings.tracking_uri
            hooks = Hooks(
                progress=self.log.info,
                warn=self.log.warning,
                output=logged(self.log.info),
                opened=lambda opened: self.leave_links(context, uri, run_id=opened.run.info.run_id),
                cancel=self._cancel,
            )
            result = run_step(step, settings=tracking.settings, hooks=hooks, tracking=tracking)
        return as_task_result(result)

    def on_kill(self) -> None:
        """Airflow wants the task gone: the step's whole tree or container is ended in under 5 s, its run KILLED."""
        if self._cancel is not None:
            self._cancel.set()


class RunPipelineOperator(MlgateOperator):
    """Run a whole pipeline of a project in one task: its steps in parallel, cached, with gates and promotion.

    Args:
        pipeline: name of an entry of `pipelines:` in the MLproject file.
        jobs: steps at a time.
        keep_going: after a failure, go on with what does not need the failed step.

    Returns (XCom): `run_id` of the pipeline, `status`, and for each step its status, outcome and run ids.

    A retry is another attempt of the same pipeline run; steps with `cache:` that had finished are not run again.
    """

    template_fields: Sequence[str] = ("uri", "pipeline", "version", "parameters", "experiment_name")
    template_fields_renderers: ClassVar[dict[str, str]] = {"parameters": "json"}
    operator_extra_links = (RunLink(),)

    def __init__(
        self,
        *,
        uri: str,
        pipeline: str,
        version: str | None = None,
        parameters: Mapping[str, Any] | None = None,
        experiment_name: str | None = None,
        env_manager: str | None = None,
        jobs: int = 4,
        keep_going: bool = False,
        use_cache: bool = True,
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        self.uri = uri
        self.pipeline = pipeline
        self.version = version
        self.parameters = dict(parameters or {})
        self.experiment_name = experiment_name
        self.env_manager = env_manager
        self.jobs = jobs
        self.keep_going = keep_going
        self.use_cache = use_cache
        self._cancel: threading.Event | None = None

    def execute(self, context: Context) -> dict[str, Any]:
        from mlgate.binding import Overrides
        from mlgate.pipeline_runner import Course, PipelineHooks, run_plan, summary
        from mlgate.planning import plan_project
        from mlgate.user import acting_as

        self._cancel = threading.Event()
        settings = self.hook.settings()
        say = logged(self.log.info)
        planned = plan_project(
            self.uri,
            self.pipeline,
            {name: text_of(value) for name, value in self.parameters.items()},
            settings=settings,
            version=self.version,
            experiment=self.experiment_name,
        )
        with acting_as(user_of(context)):
            result = run_plan(
                planned.plan,
                settings=settings,
                course=Course(
                    jobs=self.jobs,
                    keep_going=self.keep_going,
                    use_cache=self.use_cache,
                    overrides=Overrides(env_manager=self.env_manager),
                ),
                hooks=PipelineHooks(
                    output=lambda _step, _index, stream, data: say(stream, data),
                    say=lambda step, _index, line: self.log.info("%s%s", f"{step.name}: " if step else "", line),
                    opened=lambda run_id: self.leave_links(context, settings.tracking_uri, run_id=run_id),
                    abort=self._cancel,  # what Airflow ends has five seconds: too little for steps under `finally`
                ),
                engine=engine_of(context, task=True),
                source=planned.source,
                project=planned.project,
            )
        if result.ok:
            return summary(result)
        message = f"{self.pipeline}: {result.status}: {result.reason} (run {result.run_id})"
        raise AirflowFailException(message) if result.status == "KILLED" else AirflowException(message)

    def on_kill(self) -> None:
        """Ends every step that runs."""
        if self._cancel is not None:
            self._cancel.set()


class EvaluateGateOperator(MlgateOperator):
    """Judge a model version by a policy. The task succeeds whatever the verdict; `on_reject="fail"` asks otherwise.

    Args:
        policy: path of a policy file on the worker, or the policy itself as a mapping.
        version: of the registered model; a number, or text that a template turns into one.
        to: target as in `mlgate promote --to`: an alias, a stage, or both (`champion,Production`).

    Returns (XCom): the verdict as JSON.
    """

    template_fields: Sequence[str] = ("model", "version", "policy", "to")
    template_fields_renderers: ClassVar[dict[str, str]] = {"policy": "json"}
    operator_extra_links = (VerdictLink(),)

    def __init__(
        self,
        *,
        model: str,
        version: int | str,
        policy: str | Mapping[str, Any],
        to: str | None = None,
        on_reject: str = "continue",
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        if on_reject not in ("continue", "skip", "fail"):
            raise ValueError(f"on_reject: '{on_reject}' is not known; use continue, skip or fail")
        self.model = model
        self.version = version
        self.policy = policy
        self.to = to
        self.on_reject = on_reject

    def execute(self, context: Context) -> dict[str, Any]:
        from mlgate.policy import read_policy
        from mlgate.promotion import check, parse_target
        from mlgate_tracking.governance import VerdictStatus

        policy = read_policy(self.policy)
        target = parse_target(self.to, policy.ladder) if self.to else None
        with self.hook.tracking() as tracking:
            verdict = check(tracking.store, self.model, int(self.version), policy, target=target, user=user_of(context))
        data: dict[str, Any] = as_json(verdict)
        self.leave_links(context, tracking.settings.tracking_uri, verdict_id=verdict.verdict_id)
        self.log.info("verdict on %s %s: %s", self.model, self.version, verdict.status.value)
        if verdict.status is VerdictStatus.REJECTED and self.on_reject != "continue":
            refuse(self.on_reject, f"{self.model} {self.version} was rejected; see the verdict {verdict.verdict_id}")
        return data


class PromoteModelOperator(MlgateOperator):
    """Promote a model version if its gates let it through; emits the model's asset only when it was promoted.

    Args:
        version: of the registered model; a number, or text that a template turns into one.
        source: instead of a version: a model to register first, as in `runs:/RUN_ID/model`; registered once, however
            often the task is tried.
        policy: path of a policy file on the worker, or the policy itself as a mapping; None promotes unguarded.
        to: an alias, a stage, or both (`champion,Production`); the policy's own target when None.
        expect: version that must hold the target now; anything when None.
        on_reject: `skip` this task and what follows (the default), or `fail`.
        wait_for_approval: when the policy asks people, wait for them in the triggerer (see `RequestApprovalOperator`);
            False fails the task, and a later try promotes.

    Returns (XCom): outcome, verdict and promotion as JSON.

    A retry, and a task that is cleared after it has promoted, give the first answer and no second event.
    """

    template_fields: Sequence[str] = ("model", "version", "source", "policy", "to", "comment")
    template_fields_renderers: ClassVar[dict[str, str]] = {"policy": "json"}
    operator_extra_links = (VerdictLink(),)

    def __init__(
        self,
        *,
        model: str,
        version: int | str | None = None,
        source: str | None = None,
        to: str | None = None,
        policy: str | Mapping[str, Any] | None = None,
        expect: int | None = None,
        comment: str = "",
        on_reject: str = "skip",
        wait_for_approval: bool = True,
        poll: float = 10.0,
        **kwargs: Any,
    ) -> None:
        if on_reject not in ("skip", "fail"):
            raise ValueError(f"on_reject: '{on_reject}' is not known; use skip or fail")
        if (version is None) == (source is None):
            raise ValueError("give either a version of the model, or a source to register one from")
        kwargs["outlets"] = [*kwargs.get("outlets", ()), promotions_of(model)]
        super().__init__(**kwargs)
        self.model = model
        self.version = version
        self.source = source
        self.to = to
        self.policy = policy
        self.expect = expect
        self.comment = comment
        self.on_reject = on_reject
        self.wait_for_approval = wait_for_approval
        self.poll = poll

    def answered(
        self, context: Context, event: dict[str, Any], approval_ids: list[str] | None = None
    ) -> dict[str, Any]:
        """Where a task that waits for people goes on."""
        if self.heard(event, approval_ids) == "expired":
            refuse(self.on_reject, f"{self.model}: nobody has approved in time")
        return self.execute(context)

    def execute(self, context: Context) -> dict[str, Any]:
        from mlgate.actions import version_of
        from mlgate.policy import read_policy
        from mlgate.promotion import Outcome, parse_target, promote
        from mlgate_tracking.governance import ANY

        policy = read_policy(self.policy) if self.policy is not None else None
        key = idempotency_key(context)
        about = {"version": self.version} if self.version is not None else {"source": self.source}
        with self.hook.tracking() as tracking:
            found = version_of(tracking, {"model": self.model, **about}, idempotency_key=key)
            result = promote(
                tracking.store,
                self.model,
                found.version,
                target=parse_target(self.to, policy.ladder if policy else ()) if self.to else None,
                policy=policy,
                expect=ANY if self.expect is None else self.expect,
                idempotency_key=key,
                user=user_of(context),
                comment=self.comment,
            )
        if result.verdict is not None:
            self.leave_links(context, tracking.settings.tracking_uri, verdict_id=result.verdict.verdict_id)
        what = f"{self.model} {found.version}"
        match result.outcome:
            case Outcome.PROMOTED:
                assert result.promotion is not None
                self.made_versions[self.model] = found.version
                emit_promotion(context, self.model, result.promotion)
            case Outcome.PENDING if self.wait_for_approval:
                wait_for_people(self, context, result.verdict, result.approvals, poll=self.poll)
            case Outcome.PENDING:
                raise AirflowException(f"{what} waits for an approval; see mlgate approvals list")
            case Outcome.REJECTED:
                refuse(self.on_reject, f"{what} was rejected by its gates; nothing was promoted")
            case Outcome.ROLLED_BACK:
                raise AirflowFailException(f"{what} was promoted and moved back: its smoke check failed")
        data: dict[str, Any] = as_json(result)
        return data


class RollbackModelOperator(MlgateOperator):
    """Move a target back to the version before, or to `to_version`. Returns (XCom): the promotion record as JSON."""

    template_fields: Sequence[str] = ("model", "to", "to_version", "reason")

    def __init__(
        self,
        *,
        model: str,
        to: str | None = None,
        to_version: int | str | None = None,
        reason: str = "",
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        self.model = model
        self.to = to
        self.to_version = to_version
        self.reason = reason

    def execute(self, context: Context) -> dict[str, Any]:
        from mlgate.promotion import parse_target, rollback

        with self.hook.tracking() as tracking:
            promotion = rollback(
                tracking.store,
                self.model,
                target=parse_target(self.to) if self.to else None,
                to_version=None if self.to_version in (None, "") else int(self.to_version),  # type: ignore[arg-type]
                reason=self.reason,
                user=user_of(context),
            )
        data: dict[str, Any] = as_json(promotion)
        return data


# --- shared -----------------------------------------------------------------------------------------------------------


def engine_of(context: Context, *, task: bool = False) -> Engine:
    """The DAG run (or with `task` this task of it) as the engine's run, and Airflow's own ids for tags."""
    from mlgate.step import Engine

    instance: Any = context["ti"]
    ids = {
        "dag_id": instance.dag_id,
        "dag_run_id": instance.run_id,
        "task_id": instance.task_id,
        "try_number": str(instance.try_number),
    }
    run = f"{instance.dag_id}/{instance.run_id}"
    if task:
        run += f"/{instance.task_id}/{instance.map_index if instance.map_index is not None else -1}"
    return Engine("airflow", run, ids)


def idempotency_key(context: Context) -> str:
    """The same for every try of a task in a DAG run."""
    from mlgate.step import step_run_key

    instance: Any = context["ti"]
    index = instance.map_index if instance.map_index is not None else -1
    return step_run_key(engine_of(context).run_id, "promotion", instance.task_id, index)


def user_of(context: Context) -> str:
    """Who is at work: whoever started the DAG run by hand or through the API, else the DAG."""
    run: Any = context.get("dag_run")
    instance: Any = context["ti"]
    return str(getattr(run, "triggering_user_name", None) or f"airflow:{instance.dag_id}")


def wait_for_people(
    operator: MlgateOperator, context: Context, verdict: Any, approvals: Sequence[Any], *, poll: float, **kwargs: Any
) -> NoReturn:
    """Ask on Airflow's pages and wait in the triggerer; the operator goes on in `answered(context, event, …)`."""
    from mlgate.airflow import asking
    from mlgate.airflow.triggers import ApprovalTrigger

    waiting = [one for one in approvals if one.status.value == "pending"]
    asking.show(context, subject=asking.subject_of(waiting), body=asking.body_of(verdict, waiting))
    ids = [one.approval_id for one in waiting]
    operator.log.info("waiting for the approvals %s", ", ".join(ids))
    instance: Any = context["ti"]
    operator.defer(
        trigger=ApprovalTrigger(str(instance.id), ids, operator.mlgate_conn_id, poll),
        method_name="answered",
        kwargs={**kwargs, "approval_ids": ids},
    )
    raise AssertionError("a deferred task does not come here")


def mask_values(names: Sequence[str], env: Mapping[str, str]) -> None:
    """Tell Airflow which values are secret; what the step's process prints is masked by the runner besides."""
    import os

    from mlgate.airflow.compat import mask

    for name in names:
        mask(env.get(name) or os.environ.get(name, ""))


def as_json(record: Any) -> Any:
    """A record for XCom: Airflow would wrap what is no plain JSON, such as a tuple, in a format of its own."""
    from mlgate_tracking.governance import encode

    return json.loads(json.dumps(encode(record)))


def text_of(value: Any) -> str:
    """A parameter's value as the project gets it."""
    return value if isinstance(value, str) else json.dumps(value)


def refuse(how: str, message: str) -> NoReturn:
    """End the task, and what needs it, without another try."""
    raise AirflowFailException(message) if how == "fail" else AirflowSkipException(message)


def logged(say: Callable[[str], None]) -> Callable[[Any, bytes], None]:
    """The step's output as lines of the task's log."""

    def output(_stream: Any, data: bytes) -> None:
        for line in data.decode(errors="replace").splitlines():
            say(line)

    return output


def as_task_result(result: StepResult) -> dict[str, Any]:
    """The result as JSON, or the exception that tells Airflow whether another try makes sense."""
    from dataclasses import asdict

    if not result.ok:
        raise failure_of(result)
    data: dict[str, Any] = json.loads(json.dumps(asdict(result)))
    return data


def failure_of(result: StepResult) -> Exception:
    """What to raise for a step that did not finish: a failure or a timeout may be tried again, the rest not."""
    from mlgate.runner import TIMED_OUT

    message = f"{result.name}: {result.status}: {result.reason} (run {result.run_id})"
    again = result.retryable or (result.status == "KILLED" and result.exit_code == TIMED_OUT)
    error: Exception = AirflowException(message) if again else AirflowFailException(message)
    return error


def emit_promotion(context: Context, model: str, promotion: Any) -> None:
    """An event for the assets of the targets that have changed, unless Airflow has it already.

    `model` names the outlet, which the task has declared.
    """
    instance: Any = context["ti"]
    again = promotion.replayed or instance.try_number > 1
    extra = {
        "model": promotion.model,
        "version": promotion.version,
        "promotion_id": promotion.promotion_id,
        "previous_version": promotion.previous_version,
        "run_id": promotion.run_id,
    }
    target = promotion.target
    for name in filter(None, (target.alias, target.stage)):
        if again and announced(promotion.model, name, promotion.promotion_id):
            continue
        context["outlet_events"][promotions_of(model)].add(model_asset(promotion.model, name), extra=extra)


__all__ = [
    "EvaluateGateOperator",
    "MlgateOperator",
    "PromoteModelOperator",
    "RollbackModelOperator",
    "RunPipelineOperator",
    "RunProjectOperator",
    "as_json",
    "as_task_result",
    "emit_promotion",
    "engine_of",
    "failure_of",
    "idempotency_key",
    "logged",
    "mask_values",
    "refuse",
    "text_of",
    "user_of",
    "wait_for_people",
]
