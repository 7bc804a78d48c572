"""`@task.mlproject`: a function says what to run, and the task runs it as a tracked step."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence
from typing import TYPE_CHECKING, Any, ClassVar

from airflow.sdk.bases.decorator import DecoratedOperator, TaskDecorator, task_decorator_factory

from mlgate.airflow.operators import RunProjectOperator

if TYPE_CHECKING:
    from airflow.sdk import Context

_RETURNED = ("uri", "entry_point", "version", "commit", "experiment_name", "run_name", "env", "tags")


class MlprojectDecoratedOperator(DecoratedOperator, RunProjectOperator):
    """Runs an entry point with the parameters that the function returns.

    The function returns the entry point's parameters by name; a mapping with a key `parameters` may also set
    `uri`, `entry_point`, `version`, `commit`, `experiment_name`, `run_name`, `env` and `tags`.
    """

    template_fields: Sequence[str] = (*DecoratedOperator.template_fields, *RunProjectOperator.template_fields)
    template_fields_renderers: ClassVar[dict[str, str]] = {
        **DecoratedOperator.template_fields_renderers,
        **RunProjectOperator.template_fields_renderers,
    }
    custom_operator_name: str = "@task.mlproject"

    def __init__(
        self,
        *,
        python_callable: Callable[..., Any],
        uri: str = "",
        op_args: Collection[Any] | None = None,
        op_kwargs: Mapping[str, Any] | None = None,
        **kwargs: Any,
    ) -> None:
        super().__init__(python_callable=python_callable, op_args=op_args, op_kwargs=op_kwargs, uri=uri, **kwargs)

    def execute(self, context: Context) -> dict[str, Any]:
        known: dict[str, Any] = {**context, **self.op_kwargs}
        returned = self.python_callable(*self.op_args, **self.determine_kwargs(known))
        if returned is None:
            returned = {}
        if not isinstance(returned, Mapping):
            raise TypeError(
                f"@task.mlproject {self.task_id}: returned {returned!r}; "
                "return a mapping of the entry point's parameters"
            )
        if isinstance(returned.get("parameters"), Mapping):
            unknown = [name for name in returned if name not in (*_RETURNED, "parameters")]
            if unknown:
                raise TypeError(
                    f"@task.mlproject {self.task_id}: '{unknown[0]}' is not known beside parameters; "
                    f"use {', '.join(_RETURNED)}"
                )
            for name in _RETURNED:
                if name in returned:
                    setattr(self, name, returned[name])
            returned = returned["parameters"]
        self.parameters = {**self.parameters, **returned}
        if not self.uri:
            raise TypeError(f"@task.mlproject {self.task_id}: no uri; give it to the decorator or return it")
        return self.run_step(context)


def mlproject_task(python_callable: Callable[..., Any] | None = None, **kwargs: Any) -> TaskDecorator:
    """Make a task of a function that returns parameters; keyword arguments are those of `RunProjectOperator`."""
    return task_decorator_factory(
        python_callable=python_callable, decorated_operator_class=MlprojectDecoratedOperator, **kwargs
    )


__all__ = ["MlprojectDecoratedOperator", "mlproject_task"]
