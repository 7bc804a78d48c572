"""A pipeline resolved to data: which steps run, in which order, with what. Made by pure functions, frozen, versioned.

`make_plan` reads nothing but the project's own files and changes nothing. Everything that can be known before a step
runs is checked here; what is left open are references to steps, to matrix settings and to the run itself, which
`mlgate.binding` fills in. A plan goes to JSON and back, so any engine can carry it.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field, fields, replace
from pathlib import Path
from typing import Any

from mlgate.errors import InvalidPlan, UsageError
from mlgate.matrix import MatrixError, Setting, expand, names_of
from mlgate.pipeline import CacheRule, Pipeline, PipelineStep, Retries, Select, problem_at, read_pipeline
from mlgate.references import LATER, Reference, as_text, fill_in, has_references, only_reference, references_in
from mlgate_projects.command import find_entry_point
from mlgate_projects.errors import EntryPointNotFound, ParameterError, Problem
from mlgate_projects.parameters import canonical_type, mismatch, resolve
from mlgate_projects.spec import EntryPoint, ProjectSpec, RawPipeline

PLAN_VERSION = 1
"""Raised whenever a plan of an older version would be misread."""


@dataclass(frozen=True, slots=True)
class PlannedStep(PipelineStep):
    """A step of a plan.

    Attributes:
        needs: all steps that must have ended before, named in `needs` or by a reference.
        settings: one for each instance of a matrix, in order of `map_index`; empty for a step that runs once.
        wave: 0 for steps that need nothing; else one more than the highest wave among its needs.
    """

    settings: tuple[Mapping[str, Any], ...] = ()
    wave: int = 0

    @property
    def instances(self) -> tuple[int, ...]:
        """Map indices: -1 alone for a step that runs once."""
        return tuple(range(len(self.settings))) or (-1,)


@dataclass(frozen=True, slots=True)
class Plan:
    """What will run.

    Attributes:
        uri, version, commit, digest: the source, pinned.
        pipeline: None when the plan is one entry point of a project.
        parameters: values of the pipeline's parameters, all filled in.
        steps: in an order that respects `needs`; those under `finally` last.
    """

    uri: str
    steps: tuple[PlannedStep, ...]
    pipeline: str | None = None
    version: str | None = None
    commit: str | None = None
    digest: str = ""
    project: str = ""
    parameters: Mapping[str, str] = field(default_factory=dict)
    experiment: str | None = None
    plan_version: int = PLAN_VERSION

    def step(self, name: str) -> PlannedStep:
        """The step of that name; `UsageError` names the known ones."""
        for step in self.steps:
            if step.name == name:
                return step
        raise UsageError(f"no step '{name}' in {self.title}; known: {', '.join(step.name for step in self.steps)}")

    @property
    def title(self) -> str:
        return f"pipeline {self.pipeline}" if self.pipeline else f"entry point {self.steps[0].entry_point}"

    @property
    def waves(self) -> tuple[tuple[PlannedStep, ...], ...]:
        """Steps that may run at the same time, wave by wave; `finally` steps not among them."""
        ordinary = [step for step in self.steps if not step.final]
        count = max((step.wave for step in ordinary), default=-1) + 1
        return tuple(tuple(step for step in ordinary if step.wave == wave) for wave in range(count))

    def upstream(self, name: str) -> frozenset[str]:
        """Names of all steps that must end before this one, however far up."""
        found = set(self.step(name).needs)
        for step in reversed(self.steps):
            if step.name in found:
                found.update(step.needs)
        return frozenset(found)

    def downstream(self, name: str) -> frozenset[str]:
        """Names of all steps that need this one, however far down."""
        found = {self.step(name).name}
        for step in self.steps:
            if not found.isdisjoint(step.needs):
                found.add(step.name)
        return frozenset(found - {name})

    def to_json(self) -> str:
        return json.dumps(asdict(self), sort_keys=True)

    @classmethod
    def from_json(cls, text: str | bytes) -> Plan:
        """Raises `UsageError` for a plan of another version, or text that is none."""
        try:
            data = json.loads(text)
            found = data["plan_version"]
        except (ValueError, TypeError, KeyError):
            raise UsageError("not a plan; pass what `run-project --plan --json` or Plan.to_json wrote") from None
        if found != PLAN_VERSION:
            raise UsageError(
                f"a plan of version {found} cannot be read here (this is version {PLAN_VERSION}); plan anew"
            )
        return cls(**{**data, "steps": tuple(_step_from(step) for step in data["steps"])})


def make_plan(
    spec: ProjectSpec,
    pipeline: str | None = None,
    parameters: Mapping[str, object] | None = None,
    *,
    uri: str,
    version: str | None = None,
    commit: str | None = None,
    digest: str = "",
    entry_point: str = "main",
    experiment: str | None = None,
    working_directory: Path | None = None,
) -> Plan:
    """Plan a pipeline of a project, or one entry point of it.

    Args:
        pipeline: None for a plan with one step, `entry_point` with these parameters.
        uri, version, commit, digest: the project's source, as resolved.
        experiment: instead of what the pipeline says.
        working_directory: what `path` parameters that were passed are relative to; the current one when None.

    Raises:
        InvalidPlan: with every mistake of the pipeline, each with file, line, key and what would work.
        ParameterError: with every value that was passed and does not fit, or is missing.
        UsageError: there is no pipeline of that name.
    """
    source = {"uri": uri, "version": version, "commit": commit, "digest": digest, "project": spec.name or ""}
    values = {name: str(value) for name, value in (parameters or {}).items()}
    if pipeline is None:
        step = PlannedStep(name=entry_point, entry_point=entry_point, parameters=values)
        return Plan(**source, steps=(step,), parameters=values, experiment=experiment)  # type: ignore[arg-type]
    raw = _raw_pipeline(spec, pipeline)
    planner = _Planner(spec, raw)
    here = working_directory or Path.cwd()
    planned = planner.steps(_pipeline_values(planner.pipeline, values, here, spec.directory))
    if planner.problems:
        unique = dict.fromkeys(planner.problems)
        raise InvalidPlan(sorted(unique, key=lambda problem: (problem.file, problem.line, problem.column)))
    return Plan(
        **source,  # type: ignore[arg-type]
        pipeline=pipeline,
        steps=planned,
        parameters=planner.values,
        experiment=experiment or fill_in(planner.pipeline.experiment, planner.lookup_parameter),
    )


def pipeline_problems(spec: ProjectSpec) -> list[Problem]:
    """Every mistake of every pipeline of a project, without values for their parameters."""
    problems: list[Problem] = []
    for raw in spec.pipelines.values():
        planner = _Planner(spec, raw)
        planner.steps(None)
        problems += planner.problems
    return list(dict.fromkeys(problems))


def _raw_pipeline(spec: ProjectSpec, name: str) -> RawPipeline:
    raw = spec.pipelines.get(name)
    if raw is None:
        known = ", ".join(spec.pipelines) or "none; add pipelines: to the MLproject"
        raise UsageError(f"{spec.file or spec.directory}: no pipeline '{name}'; known: {known}")
    return raw


def _pipeline_values(
    pipeline: Pipeline, values: Mapping[str, str], working_directory: Path, project: Path
) -> dict[str, str]:
    """Values of the pipeline's parameters, checked and completed; paths that were passed are made absolute."""
    stand_in = EntryPoint(name=pipeline.name, parameters=pipeline.parameters)
    key = f"pipelines.{pipeline.name}.parameters"
    known = _listed([parameter.name for parameter in pipeline.parameters])
    unknown = [name for name in values if stand_in.parameter(name) is None]
    if unknown:
        messages = [f"'{name}' is not declared; known: {known}" for name in unknown]
        raise ParameterError([Problem(pipeline.file, message, key, pipeline.line) for message in messages])
    try:
        resolved = resolve(stand_in, values, working_directory, project, file=pipeline.file)
    except ParameterError as error:
        below = f"entry_points.{pipeline.name}.parameters"
        raise ParameterError([replace(each, key=each.key.replace(below, key, 1)) for each in error.problems]) from None
    return {
        parameter.name: resolved.declared[parameter.name] if parameter.name in values else str(parameter.default)
        for parameter in pipeline.parameters
    }


# What a reference stands for may go into a parameter of these types; `any` is not known before the step has run.
_FITS = {
    "int": ("int", "any"),
    "float": ("float", "int", "any"),
    "bool": ("bool", "any"),
    "uri": ("uri", "string", "any"),
    "path": ("path", "uri", "string", "any"),
}
_STEP_TYPES = {"run_id": "string", "artifacts": "uri", "status": "string", "model_version": "int", "metrics": "float"}


_UNKNOWN_SETTINGS: tuple[Setting, ...] = ({},)
_WITH_REFERENCES = ("parameters", "env", "tags", "experiment", "run_name", "action", "env_options")


class _Planner:
    """Turns one pipeline into planned steps, collecting what is wrong."""

    def __init__(self, spec: ProjectSpec, raw: RawPipeline) -> None:
        self.spec = spec
        self.raw = raw
        self.file = spec.file or "MLproject"
        self.pipeline, self.problems = read_pipeline(raw, self.file)
        prefix = f"pipelines.{raw.name}."
        self.problems += [
            each for each in spec.warnings if each.key.startswith(prefix) and "given twice" in each.message
        ]
        self.by_name = {step.name: step for step in self.pipeline.steps}
        self.values: Mapping[str, str] = {}
        self.values_known = False

    def steps(self, values: Mapping[str, str] | None) -> tuple[PlannedStep, ...]:
        """All steps in order; without values, references to parameters stay open."""
        self.values, self.values_known = values or {}, values is not None
        self.check_text(self.pipeline.experiment, ("experiment",), None)
        planned = [self.step(step) for step in self.pipeline.steps]
        return self.ordered(planned)

    def error(self, path: Sequence[object], message: str) -> None:
        self.problems.append(problem_at(self.raw, self.file, path, message))

    def lookup_parameter(self, reference: Reference) -> Any:
        if reference.path[0] == "params" and self.values_known:
            return self.values.get(reference.path[1], LATER)
        return LATER

    # --- one step -----------------------------------------------------------------------------------------------

    def step(self, step: PipelineStep) -> PlannedStep:
        path = self.path_of(step)
        settings = self.settings(step, path)
        needs = [*step.needs, *self.references_of(step, path, settings)]
        for name in step.needs:
            self.check_need(step, name, (*path, "needs"))
        if step.kind == "run":
            self.check_run(step, path, settings)
        elif isinstance(step.action.get("policy"), str) and not has_references(step.action["policy"]):
            self.check_policy(step.action["policy"], (*path, step.kind, "policy"))
        values = {one.name: getattr(step, one.name) for one in fields(PipelineStep)}
        try:
            filled = {name: fill_in(values[name], self.lookup_parameter) for name in _WITH_REFERENCES}
        except ValueError:  # reported above; nothing comes of this plan
            filled = {}
        unique = tuple(name for name in dict.fromkeys(needs) if name in self.by_name and name != step.name)
        return PlannedStep(**{**values, **filled, "matrix": None, "needs": unique, "settings": settings})

    def path_of(self, step: PipelineStep) -> tuple[object, ...]:
        return ("finally" if step.final else "steps", step.name)

    def settings(self, step: PipelineStep, path: tuple[object, ...]) -> tuple[Setting, ...]:
        if step.matrix is None:
            return ()
        matrix = fill_in(step.matrix, self.lookup_parameter)
        if has_references(matrix):
            for below, found in references_in(matrix):
                if isinstance(found, Reference) and found.path[0] != "params":
                    self.error((*path, "matrix", *below), f"${{{{ {found} }}}}: a matrix may refer to params only")
            return _UNKNOWN_SETTINGS
        try:
            return expand(matrix, self.read_json)
        except MatrixError as error:
            self.error((*path, "matrix", *error.path), str(error))
            return _UNKNOWN_SETTINGS  # so that references to it are not called wrong as well

    def read_json(self, name: str) -> Any:
        file = (self.spec.directory / name).resolve()
        if not file.is_relative_to(self.spec.directory.resolve()):
            raise ValueError(f"'{name}' is outside the project")
        try:
            return json.loads(file.read_text(encoding="utf-8"))
        except OSError:
            raise ValueError(f"'{name}' is not a file of the project") from None
        except ValueError as error:
            raise ValueError(f"'{name}' is not JSON: {error}") from None

    def check_run(self, step: PipelineStep, path: tuple[object, ...], settings: tuple[Setting, ...]) -> None:
        try:
            entry_point = find_entry_point(self.spec, step.entry_point)
        except EntryPointNotFound as error:
            known = ", ".join(error.known) or "none"
            self.error((*path, "entry_point"), f"no entry point or script '{step.entry_point}'; known: {known}")
            return
        for name, value in step.parameters.items():
            key = (*path, "parameters", name)
            declared = entry_point.parameter(name)
            if declared is None and not entry_point.script:
                known = ", ".join(parameter.name for parameter in entry_point.parameters) or "none"
                self.error(key, f"entry point {entry_point.name} declares no '{name}'; known: {known}")
            elif declared is not None:
                for why in self.misfits(declared.type, value, settings):
                    self.error(key, f"{why}; {entry_point.name}.{name} is {declared.type}")
        missing = [one.name for one in entry_point.parameters if one.required and one.name not in step.parameters]
        if missing:
            names = ", ".join(f"'{name}'" for name in missing)
            self.error((*path, "parameters"), f"entry point {entry_point.name} needs a value for {names}")
        for kind, file in (step.environment or {}).items():
            if kind != "docker_env" and not (self.spec.directory / str(file)).is_file():
                self.error((*path, "environment", kind), f"no such file in the project: '{file}'")

    def check_policy(self, name: str, path: tuple[object, ...]) -> None:
        from mlgate.policy import load_policy

        file = self.spec.directory / name
        if not file.is_file():
            self.error(path, f"no such file in the project: '{name}'")
            return
        try:
            load_policy(file)
        except InvalidPlan as error:
            self.problems += [replace(problem, file=name) for problem in error.problems]

    # --- references ---------------------------------------------------------------------------------------------

    def references_of(
        self, step: PipelineStep, path: tuple[object, ...], settings: tuple[Setting, ...]
    ) -> Iterator[str]:
        """Check every reference of a step; gives the names of the steps referred to."""
        action = {step.kind: step.action} if step.action else {}
        texts = {"parameters": step.parameters, "env": step.env, "tags": step.tags, "experiment": step.experiment,
                 "run_name": step.run_name, "environment": step.env_options, **action}  # fmt: skip
        found = list(references_in(texts))
        if step.when is not None:
            from mlgate.conditions import parse_condition

            found += [(("when",), self.of_condition(reference)) for reference in parse_condition(step.when).references]
        for below, reference in found:
            if isinstance(reference, ValueError):
                self.error((*path, *below), str(reference))
            elif self.check_reference(reference, (*path, *below), step, settings) and reference.step:
                yield reference.step

    @staticmethod
    def of_condition(reference: Reference) -> Reference | ValueError:
        if reference.path[0] != "matrix":
            return reference
        return ValueError(f"{reference}: the condition is decided once, for all settings of the matrix")

    def check_text(self, text: str | None, path: tuple[object, ...], step: PipelineStep | None) -> None:
        for _, reference in references_in(text):
            if isinstance(reference, ValueError):
                self.error(path, str(reference))
            else:
                self.check_reference(reference, path, step, ())

    def check_reference(
        self, reference: Reference, path: tuple[object, ...], step: PipelineStep | None, settings: tuple[Setting, ...]
    ) -> bool:
        shown = f"${{{{ {reference} }}}}"
        match reference.path:
            case ("params", name):
                declared = [parameter.name for parameter in self.pipeline.parameters]
                if name not in declared:
                    self.error(path, f"{shown}: the pipeline has no parameter '{name}'; known: {_listed(declared)}")
                    return False
            case ("matrix", name):
                known = names_of(settings) if settings else ()
                if name not in known and settings != _UNKNOWN_SETTINGS:
                    self.error(
                        path, f"{shown}: not a name that every setting of the matrix has; known: {_listed(known)}"
                    )
                    return False
            case ("steps", name, *_) if step is None:
                self.error(path, f"{shown}: no step has run yet where this is needed")
                return False
            case ("steps", name, *_):
                assert step is not None
                return self.check_need(step, name, path, shown)
            case ("run", "status") if step is None or not step.final:
                self.error(path, f"{shown}: known only to steps under finally")
                return False
        return True

    def check_need(self, step: PipelineStep, name: str, path: tuple[object, ...], shown: str = "") -> bool:
        begin = f"{shown}: " if shown else ""
        needed = self.by_name.get(name)
        if needed is None:
            known = [other for other in self.by_name if other != step.name]
            self.error(path, f"{begin}no step '{name}'; known: {_listed(known)}")
            return False
        if name == step.name:
            self.error(path, f"{begin}the step needs itself")
            return False
        if needed.final and not step.final:
            self.error(path, f"{begin}'{name}' runs under finally, after all others")
            return False
        return True

    def misfits(self, wanted_type: str, value: Any, settings: tuple[Setting, ...]) -> Iterator[str]:
        """Why a value cannot be one of the type."""
        wanted = canonical_type(wanted_type) or "string"
        reference = None
        if has_references(value):
            try:
                reference = only_reference(value)
            except ValueError:
                return  # reported where references are checked
            if reference is None:
                return
        if reference is None:
            if value is None or isinstance(value, list | Mapping):
                yield f"{value!r} is not a single value"
            elif why := mismatch(wanted_type, as_text(value)):
                yield why
            return
        if reference.path[0] == "matrix":
            for setting in settings:
                if reference.path[1] in setting and (why := mismatch(wanted_type, as_text(setting[reference.path[1]]))):
                    yield why
                    return
            return
        given = self.type_of(reference)
        if wanted in _FITS and given not in _FITS[wanted]:
            yield f"${{{{ {reference} }}}} is {given}"

    def type_of(self, reference: Reference) -> str:
        match reference.path:
            case ("params", name):
                declared = next((one for one in self.pipeline.parameters if one.name == name), None)
                return canonical_type(declared.type) or "any" if declared else "any"
            case ("steps", name, kind, *_):
                needed = self.by_name.get(name)
                many = needed is not None and needed.matrix is not None and needed.select is None
                return "string" if many else _STEP_TYPES.get(kind, "any")
            case ("run", _):
                return "string"
        return "any"

    # --- the graph ----------------------------------------------------------------------------------------------

    def ordered(self, planned: list[PlannedStep]) -> tuple[PlannedStep, ...]:
        """The steps with their waves, in an order that respects needs and otherwise that of the file."""
        waves: dict[str, int] = {}
        remaining = {step.name: step for step in planned}
        while remaining:
            ready = [step for step in remaining.values() if all(name not in remaining for name in step.needs)]
            if not ready:
                cycle = _cycle(remaining)
                path = (*self.path_of(remaining[cycle[0]]), "needs")
                self.error(path, f"the steps need each other in a circle: {' -> '.join(cycle)}; take one need out")
                return tuple(planned)
            for step in ready:
                waves[step.name] = max((waves[name] + 1 for name in step.needs), default=0)
                del remaining[step.name]
        position = {step.name: index for index, step in enumerate(planned)}
        with_waves = [replace(step, wave=waves[step.name]) for step in planned]
        return tuple(sorted(with_waves, key=lambda step: (step.final, step.wave, position[step.name])))


def _cycle(steps: Mapping[str, PlannedStep]) -> list[str]:
    """One circle among steps of which each needs another of them, closed by its first name again."""
    trail = [next(iter(steps))]
    while True:
        following = next(name for name in steps[trail[-1]].needs if name in steps)
        if following in trail:
            return [*trail[trail.index(following) :], following]
        trail.append(following)


def _listed(names: Sequence[str]) -> str:
    return ", ".join(names) or "none"


def _step_from(data: Mapping[str, Any]) -> PlannedStep:
    parts: dict[str, Callable[..., Any]] = {"retries": Retries, "select": Select, "cache": CacheRule}
    values = dict(data)
    for name, make in parts.items():
        if values.get(name) is not None:
            values[name] = make(**values[name])
    if values.get("cache") is not None:
        values["cache"] = replace(values["cache"], files=tuple(values["cache"].files))
    for name in ("needs", "secrets", "settings"):
        values[name] = tuple(values[name])
    return PlannedStep(**values)


__all__ = ["PLAN_VERSION", "Plan", "PlannedStep", "make_plan", "pipeline_problems"]
