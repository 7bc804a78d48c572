"""Checking, promoting, rolling back and watching, from Python against a real store."""

from __future__ import annotations

import shutil
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from mlgate.errors import UsageError
from mlgate.lineage import code_difference, compare, find_version, lineage
from mlgate.policy import Policy, parse_policy
from mlgate.promotion import (
    Outcome,
    PromotionResult,
    approvals_for,
    check,
    parse_target,
    promote,
    request_approval,
    rollback,
    tend,
    watch,
)
from mlgate.replay import replay
from mlgate_tracking.entities import Metric
from mlgate_tracking.errors import Conflict, PermissionDenied
from mlgate_tracking.governance import (
    ApprovalStatus,
    GateMode,
    IntentStatus,
    PromotionRequest,
    Target,
    VerdictStatus,
    decode,
    encode,
)
from mlgate_tracking.store.sql import SqlStore
from tests.support.registry import version_with_run

CHAMPION = Target(alias="champion")
BOTH = Target(alias="champion", stage="Production")


@pytest.fixture(scope="module")
def prepared(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A database with four versions of one model; each test gets a copy."""
    path = tmp_path_factory.mktemp("prepared") / "store.db"
    with SqlStore(f"sqlite:///{path}") as opened:
        for accuracy in (0.90, 0.95, 0.85, 0.97):
            version_with_run(opened, "iris", {"accuracy": accuracy}, tags={"mlflow.source.git.commit": "abc"})
        opened.grant_role("ml", "alice")
    return path


@pytest.fixture
def store(prepared: Path, tmp_path: Path) -> Iterator[SqlStore]:
    shutil.copy(prepared, tmp_path / "store.db")
    with SqlStore(f"sqlite:///{tmp_path}/store.db") as opened:
        yield opened


def policy(*gates: Any, **more: Any) -> Policy:
    return parse_policy({"name": "test", "to": {"alias": "champion"}, "gates": list(gates), **more})


ACCURATE = {"metric": {"name": "accuracy", "min": 0.88}}
BETTER = {"champion": {"metric": "accuracy", "min_change": 0.0}}
APPROVED = {"approval": {"role": "ml"}}


def champion(store: SqlStore) -> int | None:
    return store.holder("iris", CHAMPION).version


# --- promoting --------------------------------------------------------------------------------------------------------


def test_a_better_model_is_promoted_and_a_worse_one_rejected(store: SqlStore) -> None:
    rules = policy(ACCURATE, BETTER)
    assert promote(store, "iris", 1, policy=rules).promoted
    assert promote(store, "iris", 2, policy=rules, user="alice").promoted
    worse = promote(store, "iris", 3, policy=rules)
    assert worse.outcome is Outcome.REJECTED
    assert worse.promotion is None
    assert worse.verdict is not None
    assert [reason.message for reason in worse.verdict.failures] == [
        "accuracy 0.85 not >= 0.88",
        "change of accuracy -0.1 not >= 0 (0.85 against 0.95 of champion version 2)",
    ]
    assert champion(store) == 2
    assert len(store.events(model="iris")) == 2


def test_results_travel_as_json(store: SqlStore) -> None:
    result = promote(store, "iris", 1, policy=policy(ACCURATE))
    assert decode(PromotionResult, encode(result)) == result


def test_verdict_says_what_was_judged(store: SqlStore) -> None:
    rules = policy(ACCURATE)
    verdict = check(store, "iris", 1, rules, user="alice", run_id="a" * 32)
    assert verdict.digests["policy"] == rules.digest
    assert verdict.digests["commit"] == "abc"
    assert (verdict.created_by, verdict.run_id, verdict.champion.version) == ("alice", "a" * 32, None)
    assert store.get_verdict(verdict.verdict_id) == verdict


def test_a_verdict_made_before_is_used_and_void_when_the_champion_has_moved(store: SqlStore) -> None:
    rules = policy(ACCURATE)
    first, second = (check(store, "iris", version, rules) for version in (1, 2))
    assert promote(store, "iris", 1, verdict=first).promoted
    with pytest.raises(Conflict, match="is void"):
        promote(store, "iris", 2, verdict=second)


def test_dry_run_gates_are_recorded_and_in_nobodys_way(store: SqlStore) -> None:
    strict = {"metric": {"name": "accuracy", "min": 0.99}}
    result = promote(store, "iris", 1, policy=policy(ACCURATE, {**strict, "mode": "dry_run"}))
    assert result.promoted
    assert result.verdict is not None
    assert [(one.passed, one.enforced) for one in result.verdict.results] == [(True, True), (False, False)]
    whole = promote(store, "iris", 2, policy=policy(strict, mode="dry_run"))
    assert whole.promoted
    assert whole.verdict is not None
    assert whole.verdict.mode is GateMode.DRY_RUN


def test_a_retry_with_the_same_key_promotes_once_and_is_not_judged_against_itself(store: SqlStore) -> None:
    rules = policy({"champion": {"metric": "accuracy", "min_change": 0.001}})
    promote(store, "iris", 1, policy=rules)
    first = promote(store, "iris", 2, policy=rules, idempotency_key="step-1")
    again = promote(store, "iris", 2, policy=rules, idempotency_key="step-1")
    assert first.promotion is not None
    assert again.promotion is not None
    assert again.promotion.promotion_id == first.promotion.promotion_id
    assert again.promotion.replayed
    assert again.verdict == first.verdict
    assert len(store.events(model="iris")) == 2


def test_expect_names_the_version_to_be_replaced(store: SqlStore) -> None:
    promote(store, "iris", 1, target=CHAMPION, expect=None)
    with pytest.raises(Conflict):
        promote(store, "iris", 2, target=CHAMPION, expect=None)
    assert promote(store, "iris", 2, target=CHAMPION, expect=1).promoted


def test_versions_climb_a_ladder_one_rung_at_a_time(store: SqlStore) -> None:
    rungs = {"ladder": ["Development", "Canary", "Production"]}
    jump = promote(store, "iris", 1, policy=policy(ACCURATE, to={"stage": "Production"}, **rungs))
    assert jump.outcome is Outcome.REJECTED
    assert jump.verdict is not None
    assert jump.verdict.failures[0].message == "version 1 is at None; Production comes after Canary"
    for stage in rungs["ladder"]:
        assert promote(store, "iris", 1, policy=policy(ACCURATE, to={"stage": stage}, **rungs)).promoted
    assert store.get_model_version("iris", 1).current_stage == "Production"


def test_a_protected_model_takes_only_its_own_policy(store: SqlStore) -> None:
    rules = policy(ACCURATE)
    store.protect_model("iris", policy_digest=rules.digest)
    with pytest.raises(PermissionDenied):
        promote(store, "iris", 1, target=CHAMPION)
    with pytest.raises(PermissionDenied, match="under another policy"):
        promote(store, "iris", 1, policy=policy(BETTER))
    assert promote(store, "iris", 1, policy=rules).promoted


@pytest.mark.parametrize(
    ("text", "target"),
    [
        ("champion", CHAMPION),
        ("@champion", CHAMPION),
        ("production", Target(stage="Production")),
        ("champion,Production", BOTH),
        ("canary", Target(stage="Canary")),
    ],
)
def test_targets_are_stages_or_else_aliases(text: str, target: Target) -> None:
    assert parse_target(text, ["Canary"]) == target


@pytest.mark.parametrize("text", ["", " , ", "a,b", "Staging,Production"])
def test_targets_that_name_nothing_or_too_much_are_refused(text: str) -> None:
    with pytest.raises(UsageError):
        parse_target(text)


def test_a_policy_without_target_asks_for_one(store: SqlStore) -> None:
    with pytest.raises(UsageError, match="names no target"):
        check(store, "iris", 1, parse_policy({"gates": [ACCURATE]}))


# --- approvals --------------------------------------------------------------------------------------------------------


def test_promotion_waits_for_approval_and_goes_on_after_it(store: SqlStore) -> None:
    rules = policy(ACCURATE, APPROVED)
    waiting = promote(store, "iris", 1, policy=rules, user="bob")
    assert waiting.outcome is Outcome.PENDING
    (asked,) = waiting.approvals
    assert (asked.role, asked.starter, asked.requested_by) == ("ml", "bob", "bob")
    assert promote(store, "iris", 1, policy=rules).approvals[0].approval_id == asked.approval_id
    store.grant_role("ml", "bob")
    with pytest.raises(PermissionDenied, match="started the run"):
        store.decide_approval(asked.approval_id, "bob", True)
    store.decide_approval(asked.approval_id, "alice", True)
    assert promote(store, "iris", 1, policy=rules).promoted


def test_a_pending_verdict_can_be_promoted_once_it_is_approved(store: SqlStore) -> None:
    verdict = check(store, "iris", 1, policy(ACCURATE, APPROVED))
    assert verdict.status is VerdictStatus.PENDING
    assert promote(store, "iris", 1, verdict=verdict).outcome is Outcome.PENDING
    (asked,) = approvals_for(store, verdict)
    store.decide_approval(asked.approval_id, "alice", True)
    assert promote(store, "iris", 1, verdict=verdict).promoted


def test_a_rejected_approval_rejects(store: SqlStore) -> None:
    rules = policy(APPROVED)
    asked = promote(store, "iris", 1, policy=rules).approvals[0]
    store.decide_approval(asked.approval_id, "alice", False, "not on Fridays")
    result = promote(store, "iris", 1, policy=rules)
    assert result.outcome is Outcome.REJECTED
    assert result.verdict is not None
    assert result.verdict.failures[0].message == "rejected by alice as ml: not on Fridays"


def test_nobody_is_asked_about_a_model_that_fails_anyway(store: SqlStore) -> None:
    result = promote(store, "iris", 3, policy=policy(ACCURATE, APPROVED))
    assert result.outcome is Outcome.REJECTED
    assert store.search_approvals(model="iris").items == ()


def test_an_approval_given_before_the_champion_moved_is_asked_for_anew(store: SqlStore) -> None:
    rules = policy(ACCURATE, APPROVED)
    asked = promote(store, "iris", 2, policy=rules).approvals[0]
    store.decide_approval(asked.approval_id, "alice", True)
    promote(store, "iris", 1, target=CHAMPION)
    again = promote(store, "iris", 2, policy=rules)
    assert again.outcome is Outcome.PENDING
    assert again.approvals[0].approval_id != asked.approval_id
    assert store.get_approval(asked.approval_id).status is ApprovalStatus.VOID


def test_an_expired_approval_is_asked_for_anew(store: SqlStore) -> None:
    rules = policy({"approval": {"role": "ml", "expires": "1s"}})
    asked = promote(store, "iris", 1, policy=rules).approvals[0]
    store.decide_approval(asked.approval_id, "alice", True)
    time.sleep(1.1)
    assert store.get_approval(asked.approval_id).status is ApprovalStatus.EXPIRED
    again = promote(store, "iris", 1, policy=rules)
    assert again.outcome is Outcome.PENDING
    assert again.approvals[0].approval_id != asked.approval_id


def test_approval_can_be_requested_by_itself(store: SqlStore) -> None:
    rules = policy(ACCURATE, APPROVED)
    asked = request_approval(store, "iris", 1, "ml", target=CHAMPION, policy=rules, expires=3600, user="bob")
    assert asked.status is ApprovalStatus.PENDING
    assert request_approval(store, "iris", 1, "ml", target=CHAMPION, policy=rules).approval_id == asked.approval_id
    store.decide_approval(asked.approval_id, "alice", True)
    assert promote(store, "iris", 1, policy=rules).promoted


# --- rolling back and health ------------------------------------------------------------------------------------------


@pytest.fixture
def mood(monkeypatch: pytest.MonkeyPatch) -> SimpleNamespace:
    """A health check whose answer the test decides: `python: {call: "mood:check"}`."""
    state = SimpleNamespace(well=True, asked=0)

    def answer(_evidence: object) -> tuple[bool, str]:
        state.asked += 1
        return state.well, "well" if state.well else "error rate 0.3"

    monkeypatch.setitem(sys.modules, "mood", SimpleNamespace(check=answer))
    return state


MOOD = {"python": {"call": "mood:check"}}


def test_rollback_moves_the_champion_back_with_stage_and_alias(store: SqlStore) -> None:
    for version in (1, 2):
        promote(store, "iris", version, target=BOTH)
    back = rollback(store, "iris", reason="alarms", user="alice")
    assert (back.version, back.previous_version) == (1, 2)
    assert store.get_model_version("iris", 1).current_stage == "Production"
    assert store.get_model_version("iris", 2).current_stage == "Archived"


def test_a_smoke_check_that_fails_moves_the_champion_back_at_once(store: SqlStore, mood: SimpleNamespace) -> None:
    promote(store, "iris", 1, target=CHAMPION)
    mood.well = False
    result = promote(store, "iris", 2, policy=policy(ACCURATE, health={"smoke": [MOOD]}))
    assert result.outcome is Outcome.ROLLED_BACK
    assert result.promotion is not None
    assert result.promotion.comment == "smoke check: error rate 0.3"
    assert champion(store) == 1


def test_a_smoke_check_that_passes_leaves_nothing_behind(store: SqlStore, mood: SimpleNamespace) -> None:
    assert promote(store, "iris", 1, policy=policy(ACCURATE, health={"smoke": [MOOD]})).promoted
    assert store.search_rollbacks(status=IntentStatus.PENDING).items == ()
    assert mood.asked == 1


WINDOW = {"gates": [MOOD], "window": "1s", "every": "100ms"}


def test_a_window_that_ends_well_confirms(store: SqlStore, mood: SimpleNamespace) -> None:
    result = promote(store, "iris", 1, policy=policy(ACCURATE, health=WINDOW))
    assert result.promotion is not None
    assert result.promotion.intent_id is not None
    assert [one.done for one in tend(store)] == ["waiting"]
    assert watch(store, result.promotion.intent_id).done == "confirmed"
    assert champion(store) == 1
    assert mood.asked > 2


def test_a_window_that_goes_wrong_rolls_back(store: SqlStore, mood: SimpleNamespace) -> None:
    promote(store, "iris", 1, target=CHAMPION)
    result = promote(store, "iris", 2, policy=policy(ACCURATE, health={**WINDOW, "window": "1h"}))
    assert result.promotion is not None
    assert [one.done for one in tend(store)] == ["waiting"]
    mood.well = False
    (seen,) = tend(store)
    assert (seen.done, seen.intent.reason) == ("rolled_back", "error rate 0.3")
    assert champion(store) == 1
    assert tend(store) == ()


def test_any_worker_finishes_the_intent_of_a_dead_one(store: SqlStore) -> None:
    for version in (1, 2):
        promote(store, "iris", version, target=CHAMPION)
    store.intend_rollback("iris", reason="alarms")  # and then the worker died
    (seen,) = tend(store)
    assert seen.done == "rolled_back"
    assert champion(store) == 1


@pytest.mark.parametrize(("unconfirmed", "done", "left"), [("rollback", "rolled_back", 1), ("keep", "confirmed", 5)])
def test_a_window_that_nobody_can_judge_ends_as_the_policy_says(
    store: SqlStore, unconfirmed: str, done: str, left: int
) -> None:
    promote(store, "iris", 1, target=CHAMPION)
    orphan = store.create_model_version("iris", "s3://bucket/model", run_id="f" * 32)
    checks = {"gates": [MOOD], "window": "1s", "unconfirmed": unconfirmed}
    store.promote(PromotionRequest("iris", orphan.version, CHAMPION, health_due_at=1, health_checks=checks))
    assert [one.done for one in tend(store)] == [done]
    assert champion(store) == left


@pytest.mark.parametrize(("well", "left"), [(True, 2), (False, 1)])
def test_a_worker_that_died_in_its_smoke_check_is_followed_by_another(
    store: SqlStore, mood: SimpleNamespace, well: bool, left: int
) -> None:
    promote(store, "iris", 1, target=CHAMPION)
    store.promote(PromotionRequest("iris", 2, CHAMPION, health_due_at=1, health_checks={"smoke": [MOOD]}))
    mood.well = well
    tend(store)
    assert champion(store) == left


def test_a_retry_takes_up_the_smoke_check_of_a_dead_worker(store: SqlStore, mood: SimpleNamespace) -> None:
    promote(store, "iris", 1, target=CHAMPION)
    rules = policy(ACCURATE, health={"smoke": [MOOD]})
    far = {"health_due_at": time.time_ns() // 1_000_000 + 60_000, "health_checks": {"smoke": [MOOD]}}
    store.promote(PromotionRequest("iris", 2, CHAMPION, idempotency_key="step-1", **far))
    mood.well = False
    outcomes = [promote(store, "iris", 2, policy=rules, idempotency_key="step-1").outcome for _ in range(2)]
    assert outcomes == [Outcome.ROLLED_BACK, Outcome.ROLLED_BACK]
    assert champion(store) == 1
    assert mood.asked == 1


def test_somebody_elses_promotion_ends_the_watch(store: SqlStore, mood: SimpleNamespace) -> None:
    result = promote(store, "iris", 1, policy=policy(ACCURATE, health={**WINDOW, "window": "1h"}))
    promote(store, "iris", 2, target=CHAMPION)
    mood.well = False
    assert tend(store)[0].done == "superseded"
    assert champion(store) == 2
    assert result.promotion is not None
    assert watch(store, result.promotion.intent_id or "").done == "superseded"


# --- replay, lineage, comparison --------------------------------------------------------------------------------------


def test_replay_tells_which_promotions_would_have_gone_otherwise(store: SqlStore) -> None:
    for version in (1, 2, 3, 4):
        promote(store, "iris", version, target=CHAMPION)
    found = replay(store, "iris", policy(ACCURATE, BETTER), measure=lambda *_: {})
    assert [(one.promotion.version, one.changed) for one in found] == [(4, False), (3, True), (2, False), (1, False)]
    assert found[1].failures[0] == "accuracy 0.85 not >= 0.88"
    assert len(replay(store, "iris", policy(ACCURATE), last=2, measure=lambda *_: {})) == 2


def test_replay_counts_the_approvals_that_were_given_then(store: SqlStore) -> None:
    rules = policy(APPROVED)
    asked = promote(store, "iris", 1, policy=rules).approvals[0]
    store.decide_approval(asked.approval_id, "alice", True)
    promote(store, "iris", 1, policy=rules)
    promote(store, "iris", 2, target=CHAMPION)
    found = replay(store, "iris", policy({"approval": {"role": "ml", "four_eyes": False}}), measure=lambda *_: {})
    assert [(one.promotion.version, one.status) for one in found] == [
        (2, VerdictStatus.PENDING),
        (1, VerdictStatus.PASSED),
    ]


def test_lineage_leads_from_the_alias_to_commit_and_verdict(store: SqlStore) -> None:
    promote(store, "iris", 2, policy=policy(ACCURATE), user="alice")
    found = lineage(store, "iris@champion")
    assert (found.version, found.commit, found.started_by) == (2, "abc", "bob")
    assert found.promotion is not None
    assert found.promotion.user == "alice"
    assert found.verdict is not None
    assert found.verdict.passed
    assert find_version(store, "iris/3").version == 3
    assert find_version(store, "models:/iris").version == 4
    with pytest.raises(UsageError):
        find_version(store, "a/b/c")


def test_compare_puts_two_versions_side_by_side(store: SqlStore) -> None:
    run_id = store.get_model_version("iris", 1).run_id
    store.log_batch(run_id or "", metrics=[Metric("f1", 0.5, 1)])
    found = {(one.kind, one.name): one for one in compare(store, "iris", 1, 2, measure=lambda *_: {})}
    assert (found["metric", "accuracy"].first, found["metric", "accuracy"].second) == (0.90, 0.95)
    assert found["metric", "f1"].second is None
    assert found["commit", ""].same


@pytest.mark.parametrize(
    ("repository", "link"),
    [
        ("https://github.com/team/iris.git", "https://github.com/team/iris/compare/a...b"),
        ("git@gitlab.com:team/iris.git", "https://gitlab.com/team/iris/compare/a...b"),
        ("/home/me/iris", ""),
        ("", ""),
    ],
)
def test_code_difference_links_to_where_it_can_be_seen(repository: str, link: str) -> None:
    assert code_difference(repository, "a", "b") == link


def test_without_a_measurer_the_settings_of_the_environment_are_used(store: SqlStore) -> None:
    verdict = check(store, "iris", 1, policy(ACCURATE, {"size": {"max": "1MB"}}))
    assert verdict.status is VerdictStatus.REJECTED
    assert "has no files at mlflow-artifacts:/" in verdict.failures[0].message
