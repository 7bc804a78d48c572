"""Where a champion comes from, how its versions differ, and who was champion when."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from mlgate.errors import UsageError
from mlgate.gates.evidence import Evaluation, Side, SignatureOf, SizeOf, Unmeasured
from mlgate.promotion import Measure, facts_of
from mlgate_tracking.errors import ResourceDoesNotExist
from mlgate_tracking.governance import Promotion, Verdict

if TYPE_CHECKING:
    from mlgate_tracking.contract import Store
    from mlgate_tracking.entities import ModelVersion, Run

_REFERENCE = re.compile(r"(?P<name>[^/@]+)(?:@(?P<alias>[^/@]+)|/(?P<version>[^/@]+))?")


@dataclass(frozen=True, slots=True)
class Lineage:
    """A version's way: promotion → verdict → run → pipeline → commit, data digests, environment lock.

    Attributes:
        promotion: the latest that gave it a target; None when it never had one.
        ancestors: run ids from its run to the outermost pipeline.
        data: name → digest of the datasets that the run read.
    """

    model: str
    version: int
    stage: str
    aliases: tuple[str, ...]
    source: str
    promotion: Promotion | None = None
    verdict: Verdict | None = None
    run_id: str | None = None
    ancestors: tuple[str, ...] = ()
    started_by: str = ""
    project: str = ""
    entry_point: str = ""
    commit: str = ""
    environment: str = ""
    environment_lock: str = ""
    engine: str = ""
    engine_run_id: str = ""
    data: Mapping[str, str] = field(default_factory=dict)


def find_version(store: Store, reference: str) -> ModelVersion:
    """The version that `MODEL@ALIAS`, `MODEL/VERSION`, `MODEL/STAGE` or `MODEL` (its newest) names.

    Raises:
        UsageError: none of these.
        ResourceDoesNotExist: no such model or version.
    """
    match = _REFERENCE.fullmatch(reference.removeprefix("models:/"))
    if match is None:
        raise UsageError(f"'{reference}' is no model version; write iris@champion, iris/3 or iris/Production")
    if match["alias"]:
        return store.get_model_version_by_alias(match["name"], match["alias"])
    wanted = match["version"]
    if wanted and wanted.isdecimal():
        return store.get_model_version(match["name"], int(wanted))
    found = store.get_latest_versions(match["name"], [wanted] if wanted and wanted.lower() != "latest" else ())
    if not found:
        raise ResourceDoesNotExist(f"{reference}: there is no such version; see mlgate models show {match['name']}")
    newest = max(found, key=lambda one: one.version)
    return store.get_model_version(match["name"], newest.version)


def lineage(store: Store, reference: str) -> Lineage:
    """Everything that is known of where a version comes from."""
    version = find_version(store, reference)
    promotion = _last_promotion(store, version)
    verdict = store.get_verdict(promotion.verdict_id) if promotion is not None and promotion.verdict_id else None
    run = store.get_run(version.run_id) if version.run_id else None
    return Lineage(
        model=version.name,
        version=version.version,
        stage=version.current_stage,
        aliases=version.aliases,
        source=version.source,
        promotion=promotion,
        verdict=verdict,
        **(_of_run(store, run) if run is not None else {}),
    )


def _last_promotion(store: Store, version: ModelVersion) -> Promotion | None:
    token: str | None = None
    while True:
        page = store.search_promotions(version.name, page_token=token)
        for promotion in page.items:
            if promotion.version == version.version:
                return promotion
        token = page.token
        if token is None:
            return None


def _of_run(store: Store, run: Run) -> dict[str, Any]:
    ancestors: list[str] = []
    above = run
    # A run that names itself, or a ring of them, must not keep us here.
    while (parent := above.tag("mlflow.parentRunId")) and parent not in (*ancestors, run.info.run_id):
        ancestors.append(parent)
        try:
            above = store.get_run(parent)
        except ResourceDoesNotExist:
            break
    return {
        "run_id": run.info.run_id,
        "ancestors": tuple(ancestors),
        "started_by": run.info.user_id or run.tag("mlflow.user") or "",
        "project": run.tag("mlflow.source.git.repoURL") or run.tag("mlflow.source.name") or "",
        "entry_point": run.tag("mlflow.project.entryPoint") or "",
        "commit": run.tag("mlflow.source.git.commit") or "",
        "environment": run.tag("mlgate.env.digest") or "",
        "environment_lock": run.tag("mlgate.env.lock") or "",
        "engine": run.tag("mlgate.engine") or "",
        "engine_run_id": run.tag("mlgate.engine.run_id") or "",
        "data": {one.dataset.name: one.dataset.digest for one in run.inputs.dataset_inputs},
    }


@dataclass(frozen=True, slots=True)
class Difference:
    """One thing in which two versions differ (or not): `kind` is metric, param, score, signature, size, ..."""

    kind: str
    name: str
    first: Any
    second: Any

    @property
    def same(self) -> bool:
        return bool(self.first == self.second)


def compare(
    store: Store,
    model: str,
    first: int,
    second: int,
    *,
    measure: Measure,
    data: str | None = None,
    target: str | None = None,
) -> tuple[Difference, ...]:
    """Metrics, params, signature, size, environment and code of two versions side by side.

    Args:
        data, target: a dataset and its truth column, to score both versions on.
    """
    if (data is None) != (target is None):
        raise UsageError("--data and --target go together: the file and the column that holds the truth")
    one, other = facts_of(store, model, first), facts_of(store, model, second)
    found = _side_by_side("metric", one.metrics, other.metrics) + _side_by_side("param", one.params, other.params)
    needs: list[Any] = [SignatureOf(), SizeOf()]
    evaluation = Evaluation(data, target) if data is not None and target is not None else None
    if evaluation is not None:
        needs.append(evaluation)
    measured = measure([(side, need) for side in Side for need in needs], one, other)
    for kind, need in (("signature", SignatureOf()), ("size", SizeOf())):
        found.append(Difference(kind, "", *(_shown(measured.get((side, need))) for side in Side)))
    if evaluation is not None:
        scores = [measured.get((side, evaluation)) for side in Side]
        if any(isinstance(score, Unmeasured) for score in scores):
            found.append(Difference("score", data or "", *(_shown(score) for score in scores)))
        else:
            found += _side_by_side("score", *(score.metrics for score in scores if score is not None))
    for name, tag in (("lock", "mlgate.env.lock"), ("kind", "mlgate.env.kind")):
        found.append(Difference("environment", name, one.tags.get(tag, ""), other.tags.get(tag, "")))
    commits = [facts.tags.get("mlflow.source.git.commit", "") for facts in (one, other)]
    found.append(Difference("commit", "", *commits))
    link = code_difference(one.tags.get("mlflow.source.git.repoURL", ""), *commits)
    if link:
        found.append(Difference("code", link, commits[0], commits[1]))
    return tuple(found)


def code_difference(repository: str, first: str, second: str) -> str:
    """Where the difference of two commits can be looked at; empty when nobody knows."""
    match = re.fullmatch(r"(?:https?://|ssh://)?(?:[^@/]+@)?([^:/]+)[:/](.+?)(?:\.git)?/?", repository)
    if not match or not first or not second or first == second or "." not in match[1]:
        return ""
    return f"https://{match[1]}/{match[2]}/compare/{first}...{second}"


def _side_by_side(kind: str, first: Mapping[str, Any], second: Mapping[str, Any]) -> list[Difference]:
    return [Difference(kind, name, first.get(name), second.get(name)) for name in sorted({*first, *second})]


def _shown(value: Any) -> Any:
    return f"unknown: {value.reason}" if isinstance(value, Unmeasured) else value


__all__ = ["Difference", "Lineage", "code_difference", "compare", "find_version", "lineage"]
