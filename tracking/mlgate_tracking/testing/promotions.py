"""What every store must do with verdicts, approvals, promotions and rollbacks: one test class, run over each store.

A plug-in's author subclasses `PromotionConformance` and gives it a fixture `store`.
"""

from __future__ import annotations

import time
import uuid
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import partial
from typing import Any

import pytest

from mlgate_tracking.contract import ServerStore, Store
from mlgate_tracking.entities import Fence, WebhookEvent
from mlgate_tracking.errors import (
    BadRequest,
    Conflict,
    InvalidParameterValue,
    PermissionDenied,
    ResourceDoesNotExist,
)
from mlgate_tracking.governance import (
    Approval,
    ApprovalStatus,
    GateMode,
    GateResult,
    Holder,
    IntentStatus,
    Promotion,
    PromotionKind,
    PromotionRequest,
    Reason,
    RequiredApproval,
    Target,
    Verdict,
    VerdictStatus,
    broken_link,
    status_of,
)
from mlgate_tracking.testing.stores import at_once, fresh

CHAMPION = Target(alias="champion")
PRODUCTION = Target(alias="champion", stage="Production")
PASSED = GateResult("metric", True, (Reason("accuracy 0.95 >= 0.9", True, "accuracy", 0.95, ">=", 0.9),))
REJECTED = GateResult("metric", False, (Reason("accuracy 0.8 not >= 0.9", False, "accuracy", 0.8, ">=", 0.9),))


def clock() -> int:
    return time.time_ns() // 1_000_000


def approval_result(role: str, *, passed: bool = False) -> GateResult:
    return GateResult("approval", passed, (Reason(f"waits for {role}", passed),), not passed, settings={"role": role})


class PromotionConformance:
    # --- what the tests are made of -----------------------------------------------------------------------------

    @pytest.fixture
    def model(self, store: Store) -> str:
        """A model with versions 1 to 4."""
        name = fresh("model")
        store.create_registered_model(name)
        for _ in range(4):
            store.create_model_version(name, "s3://bucket/model")
        return name

    @pytest.fixture
    def role(self, store: Store) -> str:
        """A role that alice and carol have."""
        name = fresh("role")
        store.grant_role(name, "alice", user="root")
        store.grant_role(name, "carol", user="root")
        return name

    def verdict(
        self, store: Store, model: str, version: int, *results: GateResult, target: Target = CHAMPION, **more: Any
    ) -> Verdict:
        """A verdict against whoever holds the target now, not stored yet."""
        results = results or (PASSED,)
        more.setdefault("digests", {"policy": "p1"})
        return Verdict(
            uuid.uuid4().hex, model, version, target, status_of(results), results, store.holder(model, target), **more
        )

    def asked(
        self, store: Store, model: str, version: int, role: str, *, expires_at: int | None = None, **more: Any
    ) -> tuple[Verdict, Approval]:
        """A stored verdict that waits for an approval, and that approval."""
        verdict = self.verdict(store, model, version, PASSED, approval_result(role))
        approval = Approval(
            uuid.uuid4().hex, verdict.verdict_id, model, version, role,
            starter="bob", requested_by="bob", expires_at=expires_at, **more,
        )  # fmt: skip
        store.record_verdict(verdict, [approval])
        return verdict, approval

    def promote(self, store: Store, model: str, version: int, target: Target = CHAMPION, **more: Any) -> Promotion:
        return store.promote(PromotionRequest(model, version, target, **more))

    def champion(self, store: Store, model: str) -> int | None:
        return store.holder(model, CHAMPION).version

    # --- promotion ------------------------------------------------------------------------------------------------

    def test_promotion_moves_alias_and_stage_together_and_archives_the_old_version(
        self, store: Store, model: str
    ) -> None:
        self.promote(store, model, 1, PRODUCTION)
        made = self.promote(store, model, 2, PRODUCTION, user="alice", comment="better")
        assert (made.version, made.previous_version, made.archived) == (2, 1, (1,))
        assert store.get_model_version_by_alias(model, "champion").version == 2
        assert store.get_model_version(model, 2).current_stage == "Production"
        assert store.get_model_version(model, 1).current_stage == "Archived"
        assert store.get_promotion(made.promotion_id) == made

    def test_promotion_may_leave_other_versions_in_the_stage(self, store: Store, model: str) -> None:
        self.promote(store, model, 1, PRODUCTION)
        assert self.promote(store, model, 2, PRODUCTION, archive_existing=False).archived == ()
        assert store.get_model_version(model, 1).current_stage == "Production"

    def test_stages_of_a_ladder_are_as_good_as_mlflows(self, store: Store, model: str) -> None:
        self.promote(store, model, 1, Target(stage="Canary"))
        assert store.get_model_version(model, 1).current_stage == "Canary"
        assert store.holder(model, Target(stage="Canary")).version == 1
        assert [one.version for one in store.get_latest_versions(model, ["Canary"])] == [1]
        with pytest.raises(InvalidParameterValue):
            store.get_latest_versions(model, ["Cnary"])

    def test_holder_counts_every_change(self, store: Store, model: str) -> None:
        assert store.holder(model, CHAMPION) == Holder(None, 0)
        first = self.promote(store, model, 1)
        assert store.holder(model, CHAMPION) == Holder(1, first.revision)
        self.promote(store, model, 2)
        assert store.holder(model, CHAMPION).revision > first.revision
        assert store.holder(model, Target(alias="challenger")) == Holder(None, 0)

    def test_compare_and_swap_refuses_another_champion_and_names_the_winner(self, store: Store, model: str) -> None:
        winner = self.promote(store, model, 1, expect=None, user="alice")
        with pytest.raises(Conflict, match=r"held by version 1 since promotion .* by alice, not by nobody") as lost:
            self.promote(store, model, 2, expect=None)
        assert lost.value.details["winner"]["promotion_id"] == winner.promotion_id
        assert lost.value.details["version"] == 1
        assert self.promote(store, model, 2, expect=1).previous_version == 1

    def test_of_many_promoters_one_wins(self, store: Store, model: str) -> None:
        outcomes = at_once(*self._promoters(store, model, None, (1, 2, 3, 4)))
        winners = [outcome for outcome in outcomes if isinstance(outcome, Promotion)]
        losers = [outcome for outcome in outcomes if isinstance(outcome, Conflict)]
        assert (len(winners), len(losers)) == (1, 3)
        assert {loser.details["winner"]["promotion_id"] for loser in losers} == {winners[0].promotion_id}
        assert self.champion(store, model) == winners[0].version
        assert [event.event_id for event in self.events(store, model)] == [winners[0].event_id]

    def _promoters(
        self, store: Store, model: str, expect: int | None, versions: Sequence[int]
    ) -> list[Callable[[], Promotion]]:
        return [partial(self.promote, store, model, version, expect=expect) for version in versions]

    def test_same_idempotency_key_gives_the_first_answer_and_no_second_event(self, store: Store, model: str) -> None:
        key = fresh("key")
        first = self.promote(store, model, 1, expect=None, idempotency_key=key)
        self.promote(store, model, 2)
        again = self.promote(store, model, 1, expect=None, idempotency_key=key)
        assert again == replace(first, replayed=True)
        assert self.champion(store, model) == 2
        assert len(self.events(store, model)) == 2

    def test_idempotency_key_of_another_promotion_is_refused(self, store: Store, model: str) -> None:
        key = fresh("key")
        self.promote(store, model, 1, idempotency_key=key)
        with pytest.raises(InvalidParameterValue, match="belongs to the promotion of"):
            self.promote(store, model, 2, idempotency_key=key)

    def test_promoting_the_champion_again_changes_nothing(self, store: Store, model: str) -> None:
        first = self.promote(store, model, 1, PRODUCTION)
        assert self.promote(store, model, 1, PRODUCTION) == replace(first, replayed=True)
        assert len(store.search_promotions(model).items) == 1

    def test_what_is_not_there_cannot_be_promoted(self, store: Store, model: str) -> None:
        with pytest.raises(ResourceDoesNotExist):
            self.promote(store, fresh("nobody"), 1)
        with pytest.raises(ResourceDoesNotExist):
            self.promote(store, model, 9)
        with pytest.raises(ResourceDoesNotExist):
            self.promote(store, model, 1, verdict_id="nothing")
        for target in (Target(), Target(alias="a b"), Target(alias="latest"), Target(alias="v3")):
            with pytest.raises(InvalidParameterValue):
                self.promote(store, model, 1, target)
        assert store.search_promotions(model).items == ()

    def test_history_pages_newest_first(self, store: Store, model: str) -> None:
        for version in (1, 2, 3):
            self.promote(store, model, version)
        self.promote(store, model, 4, Target(alias="challenger"))
        first = store.search_promotions(model, target=CHAMPION, max_results=2)
        rest = store.search_promotions(model, target=CHAMPION, max_results=2, page_token=first.token)
        assert [one.version for one in (*first.items, *rest.items)] == [3, 2, 1]
        assert rest.token is None

    @pytest.mark.parametrize("token", ["nonsense", "-1", str(2**63), "9" * 5000])
    def test_a_token_of_another_store_is_refused(self, store: Store, model: str, token: str) -> None:
        with pytest.raises(InvalidParameterValue, match="page token"):
            store.search_promotions(model, page_token=token)

    def events(self, store: Store, model: str, after: int = 0) -> list[Any]:
        # A webhook of another test may have asked for more kinds of events.
        return [event for event in store.events(model=model, after=after) if event.type.startswith("model_version.")]

    def test_every_promotion_has_one_event(self, store: Store, model: str) -> None:
        made = [self.promote(store, model, version) for version in (1, 2)]
        events = self.events(store, model)
        assert [event.event_id for event in events] == [one.event_id for one in made]
        assert [event.type for event in events] == ["model_version.promoted"] * 2
        assert events[1].data["version"] == 2
        assert events[1].data["promotion_id"] == made[1].promotion_id
        assert self.events(store, model, after=events[0].sequence) == events[1:]

    # --- verdicts -------------------------------------------------------------------------------------------------

    def test_verdict_comes_back_as_it_was_stored(self, store: Store, model: str) -> None:
        verdict = self.verdict(store, model, 1, PASSED, REJECTED, created_at=5, policy="strict", created_by="alice")
        assert store.record_verdict(verdict) == verdict
        assert store.get_verdict(verdict.verdict_id) == verdict
        assert store.search_verdicts(model, version=1).items == (verdict,)
        assert store.search_verdicts(model, version=2).items == ()

    def test_recording_a_verdict_twice_stores_it_once(self, store: Store, model: str) -> None:
        verdict = store.record_verdict(self.verdict(store, model, 1))
        assert store.record_verdict(verdict) == verdict
        assert len(store.search_verdicts(model).items) == 1

    def test_a_verdict_cannot_claim_what_its_results_do_not_say(self, store: Store, model: str) -> None:
        forged = replace(self.verdict(store, model, 1, REJECTED), status=VerdictStatus.PASSED)
        with pytest.raises(InvalidParameterValue, match="is not what its results say"):
            store.record_verdict(forged)

    def test_promotion_keeps_the_verdict_that_allowed_it(self, store: Store, model: str) -> None:
        verdict = store.record_verdict(self.verdict(store, model, 1))
        assert self.promote(store, model, 1, verdict_id=verdict.verdict_id).verdict_id == verdict.verdict_id

    def test_a_rejecting_verdict_promotes_nothing(self, store: Store, model: str) -> None:
        verdict = store.record_verdict(self.verdict(store, model, 1, PASSED, REJECTED))
        with pytest.raises(PermissionDenied, match=r"accuracy 0\.8 not >= 0\.9"):
            self.promote(store, model, 1, verdict_id=verdict.verdict_id)
        assert self.champion(store, model) is None

    def test_a_verdict_is_void_once_the_champion_has_moved(self, store: Store, model: str) -> None:
        verdict = store.record_verdict(self.verdict(store, model, 2))
        self.promote(store, model, 1)
        with pytest.raises(Conflict, match="is void: it was made against nobody"):
            self.promote(store, model, 2, verdict_id=verdict.verdict_id)

    def test_a_verdict_stays_void_when_the_champion_moves_back(self, store: Store, model: str) -> None:
        self.promote(store, model, 1)
        verdict = store.record_verdict(self.verdict(store, model, 3))
        self.promote(store, model, 2)
        self.promote(store, model, 1)
        with pytest.raises(Conflict, match="is void"):
            self.promote(store, model, 3, verdict_id=verdict.verdict_id)

    def test_an_expired_verdict_promotes_nothing(self, store: Store, model: str) -> None:
        verdict = store.record_verdict(self.verdict(store, model, 1, expires_at=clock() - 1))
        with pytest.raises(PermissionDenied, match="has expired"):
            self.promote(store, model, 1, verdict_id=verdict.verdict_id)

    def test_a_verdict_holds_for_its_own_version_and_target_only(self, store: Store, model: str) -> None:
        verdict = store.record_verdict(self.verdict(store, model, 1))
        with pytest.raises(InvalidParameterValue, match="says nothing about"):
            self.promote(store, model, 2, verdict_id=verdict.verdict_id)
        with pytest.raises(InvalidParameterValue, match="was made for alias 'champion', not for"):
            self.promote(store, model, 1, PRODUCTION, verdict_id=verdict.verdict_id)

    # --- approvals ------------------------------------------------------------------------------------------------

    def test_promotion_waits_for_approval_and_then_goes_through(self, store: Store, model: str, role: str) -> None:
        verdict, approval = self.asked(store, model, 1, role)
        with pytest.raises(PermissionDenied, match="waits for approval"):
            self.promote(store, model, 1, verdict_id=verdict.verdict_id)
        decided = store.decide_approval(approval.approval_id, "alice", True, "looks good")
        assert decided.status is ApprovalStatus.APPROVED
        assert [(one.user, one.comment) for one in decided.decisions] == [("alice", "looks good")]
        assert self.promote(store, model, 1, verdict_id=verdict.verdict_id).version == 1

    def test_a_verdict_that_claims_an_approval_nobody_gave_promotes_nothing(
        self, store: Store, model: str, role: str
    ) -> None:
        forged = store.record_verdict(self.verdict(store, model, 1, approval_result(role, passed=True)))
        with pytest.raises(PermissionDenied, match="waits for approval"):
            self.promote(store, model, 1, verdict_id=forged.verdict_id)

    def test_only_members_of_the_role_decide(self, store: Store, model: str, role: str) -> None:
        _, approval = self.asked(store, model, 1, role)
        with pytest.raises(PermissionDenied, match="'mallory' does not have"):
            store.decide_approval(approval.approval_id, "mallory", True)
        store.revoke_role(role, "alice")
        with pytest.raises(PermissionDenied):
            store.decide_approval(approval.approval_id, "alice", True)
        assert [one.user for one in store.role_members(role)] == ["carol"]

    def test_the_starter_of_the_run_cannot_approve(self, store: Store, model: str, role: str) -> None:
        store.grant_role(role, "bob")
        _, approval = self.asked(store, model, 1, role)
        with pytest.raises(PermissionDenied, match="somebody else has to approve"):
            store.decide_approval(approval.approval_id, "bob", True)
        _, lenient = self.asked(store, model, 2, role, four_eyes=False)
        assert store.decide_approval(lenient.approval_id, "bob", True).status is ApprovalStatus.APPROVED

    def test_two_approvals_take_two_people(self, store: Store, model: str, role: str) -> None:
        _, approval = self.asked(store, model, 1, role, count=2)
        for _ in range(2):
            assert store.decide_approval(approval.approval_id, "alice", True).status is ApprovalStatus.PENDING
        assert store.decide_approval(approval.approval_id, "carol", True).status is ApprovalStatus.APPROVED

    def test_one_rejection_settles_it(self, store: Store, model: str, role: str) -> None:
        verdict, approval = self.asked(store, model, 1, role, count=2)
        store.decide_approval(approval.approval_id, "alice", True)
        assert store.decide_approval(approval.approval_id, "carol", False, "no").status is ApprovalStatus.REJECTED
        with pytest.raises(Conflict):
            store.decide_approval(approval.approval_id, "alice", False)
        with pytest.raises(PermissionDenied, match="the latest is rejected"):
            self.promote(store, model, 1, verdict_id=verdict.verdict_id)

    def test_an_expired_question_cannot_be_answered(self, store: Store, model: str, role: str) -> None:
        _, approval = self.asked(store, model, 1, role, expires_at=clock() - 1)
        with pytest.raises(BadRequest, match="has expired"):
            store.decide_approval(approval.approval_id, "alice", True)
        assert store.get_approval(approval.approval_id).status is ApprovalStatus.EXPIRED

    def test_an_approval_that_has_expired_since_is_refused(self, store: Store, model: str, role: str) -> None:
        verdict, approval = self.asked(store, model, 1, role, expires_at=clock() + 1500)
        store.decide_approval(approval.approval_id, "alice", True)
        while store.get_approval(approval.approval_id).status is not ApprovalStatus.EXPIRED:
            time.sleep(0.05)
        with pytest.raises(PermissionDenied, match="the latest is expired"):
            self.promote(store, model, 1, verdict_id=verdict.verdict_id)

    def test_an_approval_is_void_once_the_champion_has_moved(self, store: Store, model: str, role: str) -> None:
        verdict, approval = self.asked(store, model, 1, role)
        store.decide_approval(approval.approval_id, "alice", True)
        self.promote(store, model, 2)
        assert store.get_approval(approval.approval_id).status is ApprovalStatus.VOID
        with pytest.raises(Conflict, match="is void"):
            self.promote(store, model, 1, verdict_id=verdict.verdict_id)
        with pytest.raises(Conflict, match="is void"):
            store.decide_approval(approval.approval_id, "carol", True)

    def test_an_approval_under_another_policy_does_not_count(self, store: Store, model: str, role: str) -> None:
        _, approval = self.asked(store, model, 1, role)
        store.decide_approval(approval.approval_id, "alice", True)
        other = self.verdict(store, model, 1, approval_result(role), digests={"policy": "p2"})
        store.record_verdict(other)
        with pytest.raises(PermissionDenied, match="waits for approval"):
            self.promote(store, model, 1, verdict_id=other.verdict_id)

    def test_approvals_are_listed_by_status(self, store: Store, model: str, role: str) -> None:
        _, first = self.asked(store, model, 1, role)
        _, second = self.asked(store, model, 2, role)
        store.decide_approval(first.approval_id, "alice", True)
        open_ones = store.search_approvals(model=model, status=ApprovalStatus.PENDING).items
        assert [one.approval_id for one in open_ones] == [second.approval_id]
        assert Counter(one.status.value for one in store.search_approvals(model=model).items) == {
            "approved": 1,
            "pending": 1,
        }

    # --- rollback -------------------------------------------------------------------------------------------------

    def roll_back(self, store: Store, model: str, **more: Any) -> Promotion:
        return store.finish_rollback(store.intend_rollback(model, user="alice", **more).intent_id)

    def test_rollback_brings_back_the_champion_before(self, store: Store, model: str) -> None:
        for version in (1, 2, 3):
            self.promote(store, model, version, PRODUCTION)
        back = self.roll_back(store, model, reason="alarms")
        assert (back.kind, back.version, back.previous_version) == (PromotionKind.ROLLBACK, 2, 3)
        assert store.get_model_version_by_alias(model, "champion").version == 2
        assert store.get_model_version(model, 2).current_stage == "Production"
        assert store.get_model_version(model, 3).current_stage == "Archived"
        assert [event.type for event in self.events(store, model)][-1] == "model_version.rolled_back"

    def test_rolling_back_twice_goes_two_champions_back(self, store: Store, model: str) -> None:
        for version in (1, 2, 3):
            self.promote(store, model, version)
        assert [self.roll_back(store, model).version for _ in range(2)] == [2, 1]
        with pytest.raises(BadRequest, match="no version held alias 'champion' before"):
            self.roll_back(store, model)

    def test_rollback_to_a_named_version(self, store: Store, model: str) -> None:
        for version in (1, 2, 3):
            self.promote(store, model, version)
        assert self.roll_back(store, model, to_version=1).version == 1
        with pytest.raises(BadRequest, match="holds alias 'champion' already"):
            self.roll_back(store, model, to_version=1)
        with pytest.raises(ResourceDoesNotExist):
            self.roll_back(store, model, to_version=99)

    def test_rollback_passes_over_deleted_versions(self, store: Store, model: str) -> None:
        for version in (1, 2, 3):
            self.promote(store, model, version)
        store.delete_model_version(model, 2)
        assert self.roll_back(store, model).version == 1

    def test_an_intent_is_finished_once_by_whoever_comes(self, store: Store, model: str) -> None:
        self.promote(store, model, 1)
        self.promote(store, model, 2)
        intent = store.intend_rollback(model, intent_id=fresh("intent"))
        assert store.intend_rollback(model, intent_id=intent.intent_id) == intent
        done = at_once(*[lambda: store.finish_rollback(intent.intent_id)] * 4)
        assert {one.promotion_id for one in done} == {done[0].promotion_id}
        assert sum(not one.replayed for one in done) == 1
        assert self.champion(store, model) == 1
        assert [one.status for one in store.search_rollbacks(model=model).items] == [IntentStatus.DONE]

    def test_an_intent_is_superseded_when_the_champion_moves_first(self, store: Store, model: str) -> None:
        self.promote(store, model, 1)
        self.promote(store, model, 2)
        intent = store.intend_rollback(model)
        self.promote(store, model, 3)
        with pytest.raises(Conflict, match="held by version 3"):
            store.finish_rollback(intent.intent_id)
        assert self.champion(store, model) == 3
        (settled,) = store.search_rollbacks(model=model, status=IntentStatus.SUPERSEDED).items
        assert settled.intent_id == intent.intent_id

    def test_a_cancelled_intent_does_nothing(self, store: Store, model: str) -> None:
        self.promote(store, model, 1)
        self.promote(store, model, 2)
        intent = store.intend_rollback(model)
        assert store.cancel_rollback(intent.intent_id, reason="healthy").status is IntentStatus.CANCELLED
        with pytest.raises(Conflict, match="is cancelled already"):
            store.finish_rollback(intent.intent_id)
        assert self.champion(store, model) == 2

    def test_health_window_stores_the_way_back_with_the_promotion(self, store: Store, model: str) -> None:
        self.promote(store, model, 1)
        due = clock() + 60_000
        made = self.promote(store, model, 2, health_due_at=due, health_checks={"gates": [{"signature": {}}]})
        (intent,) = store.search_rollbacks(model=model, status=IntentStatus.PENDING).items
        assert (intent.intent_id, intent.promotion_id, intent.due_at) == (made.intent_id, made.promotion_id, due)
        assert (intent.from_version, intent.to_version) == (2, 1)
        assert intent.checks == {"gates": [{"signature": {}}]}
        assert store.finish_rollback(intent.intent_id, reason="error rate").version == 1

    def test_a_first_champion_that_fails_leaves_nobody(self, store: Store, model: str) -> None:
        made = self.promote(store, model, 1, PRODUCTION, health_due_at=clock())
        assert made.intent_id is not None
        back = store.finish_rollback(made.intent_id)
        assert back.version is None
        assert store.holder(model, PRODUCTION).version is None
        assert store.get_model_version(model, 1).current_stage == "Archived"

    # --- MLflow's own calls, and protection -----------------------------------------------------------------------

    def test_mlflows_own_changes_are_recorded_as_unguarded(self, store: Store, model: str) -> None:
        store.set_registered_model_alias(model, "champion", 1)
        store.set_registered_model_alias(model, "champion", 2)
        store.transition_model_version_stage(model, 3, "Production")
        store.transition_model_version_stage(model, 4, "Production", archive_existing_versions=True)
        store.delete_registered_model_alias(model, "champion")
        history = store.search_promotions(model).items
        assert {one.kind for one in history} == {PromotionKind.UNGUARDED}
        assert [(one.version, one.previous_version, one.archived) for one in reversed(history)] == [
            (1, None, ()),
            (2, 1, ()),
            (3, None, ()),
            (4, 3, (3,)),
            (None, 2, ()),
        ]
        assert self.events(store, model) == []

    def test_unguarded_changes_void_verdicts(self, store: Store, model: str) -> None:
        verdict = store.record_verdict(self.verdict(store, model, 1))
        store.set_registered_model_alias(model, "champion", 2)
        with pytest.raises(Conflict, match="is void"):
            self.promote(store, model, 1, verdict_id=verdict.verdict_id)

    def test_protected_model_refuses_mlflows_own_calls(self, store: Store, model: str) -> None:
        self.promote(store, model, 1, PRODUCTION)
        assert store.protect_model(model).protected
        for change in (
            lambda: store.set_registered_model_alias(model, "champion", 2),
            lambda: store.delete_registered_model_alias(model, "champion"),
            lambda: store.transition_model_version_stage(model, 2, "Production"),
            lambda: store.transition_model_version_stage(model, 1, "Archived"),
        ):
            with pytest.raises(PermissionDenied, match="is protected"):
                change()
        with pytest.raises(PermissionDenied, match="is protected"):
            store.delete_model_version(model, 1)
        with pytest.raises(PermissionDenied, match="is protected"):
            store.delete_registered_model(model)
        assert store.get_model_version_by_alias(model, "champion").version == 1
        assert not store.protect_model(model, protected=False).protected
        store.set_registered_model_alias(model, "champion", 2)

    def test_protected_model_needs_an_enforced_verdict_of_its_policy(self, store: Store, model: str) -> None:
        store.protect_model(model, policy_digest="p1")
        assert store.get_protection(model).policy_digest == "p1"
        with pytest.raises(PermissionDenied, match="is protected"):
            self.promote(store, model, 1)
        for wrong in ({"mode": GateMode.DRY_RUN}, {"digests": {"policy": "p2"}}):
            verdict = store.record_verdict(self.verdict(store, model, 1, **wrong))
            with pytest.raises(PermissionDenied):
                self.promote(store, model, 1, verdict_id=verdict.verdict_id)
        verdict = store.record_verdict(self.verdict(store, model, 1))
        self.promote(store, model, 1, verdict_id=verdict.verdict_id)
        verdict = store.record_verdict(self.verdict(store, model, 2))
        self.promote(store, model, 2, verdict_id=verdict.verdict_id)
        assert self.roll_back(store, model).version == 1

    def test_no_verdict_leaves_out_what_people_must_have_said(self, store: Store, model: str, role: str) -> None:
        needed = RequiredApproval(role, 2)
        assert store.protect_model(model, policy_digest="p1", approvals=[needed]).approvals == (needed,)
        assert store.get_protection(model).approvals == (needed,)
        forged = store.record_verdict(self.verdict(store, model, 1))
        with pytest.raises(PermissionDenied, match=f"nobody's approval as {role}"):
            self.promote(store, model, 1, verdict_id=forged.verdict_id)
        _, asked = self.asked(store, model, 1, role)  # by one instead of two
        store.decide_approval(asked.approval_id, "alice", True)
        with pytest.raises(PermissionDenied, match=f"nobody's approval as {role}"):
            self.promote(store, model, 1, verdict_id=forged.verdict_id)
        verdict, asked = self.asked(store, model, 1, role, count=2)
        for user in ("alice", "carol"):
            store.decide_approval(asked.approval_id, user, True)
        assert self.promote(store, model, 1, verdict_id=verdict.verdict_id).version == 1
        assert store.protect_model(model).approvals == ()

    def test_four_eyes_that_a_model_needs_are_counted_whatever_the_question_said(self, store: Store, role: str) -> None:
        name, run = fresh("model"), store.create_run("0", user_id="alice").info
        store.create_registered_model(name)
        store.create_model_version(name, f"{run.artifact_uri}/model", run_id=run.run_id)
        store.protect_model(name, approvals=[RequiredApproval(role)])
        verdict, asked = self.asked(store, name, 1, role, four_eyes=False)
        store.decide_approval(asked.approval_id, "alice", True)
        with pytest.raises(PermissionDenied, match=f"nobody's approval as {role}"):
            self.promote(store, name, 1, verdict_id=verdict.verdict_id)

    def test_what_a_model_needs_must_make_sense(self, store: Store, model: str) -> None:
        for wrong in (
            [RequiredApproval("")],
            [RequiredApproval("a", 0)],
            [RequiredApproval("a"), RequiredApproval("a")],
        ):
            with pytest.raises(InvalidParameterValue):
                store.protect_model(model, approvals=wrong)
        assert not store.get_protection(model).protected

    # --- audit ----------------------------------------------------------------------------------------------------

    def test_everything_is_in_the_audit_log_and_its_chain_holds(self, store: Store, model: str, role: str) -> None:
        before = len(self.whole_log(store))
        verdict, approval = self.asked(store, model, 1, role)
        store.decide_approval(approval.approval_id, "alice", True)
        self.promote(store, model, 1, verdict_id=verdict.verdict_id)
        self.promote(store, model, 2)
        self.roll_back(store, model)
        store.set_registered_model_alias(model, "champion", 4)
        store.protect_model(model, user="root")
        log = self.whole_log(store)
        assert [entry.action for entry in log[before:] if entry.model == model] == [
            "verdict.pending",
            "approval.requested",
            "approval.approved",
            "promotion.done",
            "promotion.done",
            "rollback.intended",
            "rollback.done",
            "promotion.unguarded",
            "model.protected",
        ]
        assert broken_link(log) is None

    def whole_log(self, store: Store) -> list[Any]:
        log: list[Any] = []
        while page := store.audit_log(after=log[-1].sequence if log else 0):
            log += page
        return log

    def test_the_chain_shows_what_was_changed_or_cut_out(self, store: Store, model: str) -> None:
        for version in (1, 2, 3):
            self.promote(store, model, version)
        log = self.whole_log(store)
        changed = [*log[:-2], replace(log[-2], user="mallory"), log[-1]]
        assert broken_link(changed) == f"audit entry {log[-2].sequence} was changed after it was written"
        assert "is missing" in str(broken_link([*log[:-2], log[-1]]))

    # --- steps ----------------------------------------------------------------------------------------------------

    def test_a_steps_token_judges_nobody(self, store: Store, model: str, role: str) -> None:
        _, approval = self.asked(store, model, 1, role)
        opened = store.open_step_run(fresh("step"), experiment_id=store.ensure_experiment(fresh("e")).experiment_id)
        view = store.fenced(Fence(opened.run.info.run_id, opened.attempt))
        for forbidden in (
            lambda: self.promote(view, model, 1),
            lambda: view.record_verdict(self.verdict(view, model, 1)),
            lambda: view.decide_approval(approval.approval_id, "alice", True),
            lambda: view.grant_role(role, "mallory"),
            lambda: view.protect_model(model, protected=False),
            lambda: view.intend_rollback(model, target=CHAMPION, to_version=1),
        ):
            with pytest.raises(PermissionDenied, match="may not"):
                forbidden()
        assert view.holder(model, CHAMPION) == Holder()


class DeliveryConformance:
    """What every store that can stand behind a server must do with the deliveries of events.

    Unlike the other tests these look at everything that waits, so they need a store of their own.
    """

    @pytest.fixture(autouse=True)
    def _only_ours(self, store: ServerStore) -> None:
        """What other tests left waiting is of no interest here."""
        for webhook in store.list_webhooks().items:
            store.delete_webhook(webhook.webhook_id)

    @pytest.fixture
    def models(self, store: ServerStore) -> tuple[str, str]:
        names = (fresh("model"), fresh("model"))
        for name in names:
            store.create_registered_model(name)
            for _ in range(3):
                store.create_model_version(name, "s3://bucket/model")
        return names

    def listen(self, store: ServerStore, *actions: str) -> str:
        events = [WebhookEvent("model_version", action) for action in actions or ("promoted",)]
        return store.create_webhook("hook", "https://example.org/", events, secret="hush").webhook_id  # noqa: S106

    def promote(self, store: ServerStore, model: str, version: int) -> str:
        return store.promote(PromotionRequest(model, version, CHAMPION)).event_id

    def test_each_model_comes_in_order_and_models_side_by_side(
        self, store: ServerStore, models: tuple[str, str]
    ) -> None:
        webhook = self.listen(store)
        first, second = models
        events = [self.promote(store, model, version) for model in models for version in (1, 2)]
        claimed = store.claim_deliveries()
        assert [(one.event.event_id, one.event.model) for one in claimed] == [(events[0], first), (events[2], second)]
        assert {(one.webhook_id, one.secret, one.attempts) for one in claimed} == {(webhook, "hush", 1)}
        assert store.claim_deliveries() == ()
        for one in claimed:
            store.settle_delivery(one)
        assert [one.event.event_id for one in store.claim_deliveries()] == [events[1], events[3]]

    def test_what_failed_waits_and_holds_up_what_comes_after(self, store: ServerStore, models: tuple[str, str]) -> None:
        self.listen(store)
        events = [self.promote(store, models[0], version) for version in (1, 2)]
        (failed,) = store.claim_deliveries()
        later = clock() + 60_000
        store.settle_delivery(failed, retry_at=later, problem="answer 500")
        assert store.next_delivery_at() is not None
        assert store.claim_deliveries() == ()
        store.settle_delivery(failed, retry_at=clock() - 1)
        (again,) = store.claim_deliveries()
        assert (again.event.event_id, again.attempts) == (events[0], 2)
        store.settle_delivery(again, problem="given up")
        assert store.audit_log(after=len_of_log(store) - 1)[0].action == "webhook.given_up"
        (last,) = store.claim_deliveries()
        assert last.event.event_id == events[1]
        store.settle_delivery(last)
        assert store.next_delivery_at() is None

    def test_of_many_workers_one_gets_a_delivery(self, store: ServerStore, models: tuple[str, str]) -> None:
        self.listen(store)
        self.promote(store, models[0], 1)
        claims = at_once(*[store.claim_deliveries] * 6)
        assert sorted(len(one) for one in claims) == [0] * 5 + [1]

    def test_events_that_nobody_asked_for_are_kept_and_not_delivered(
        self, store: ServerStore, models: tuple[str, str]
    ) -> None:
        self.listen(store, "rolled_back")
        event = self.promote(store, models[0], 1)
        assert [one.event_id for one in store.events(model=models[0])] == [event]
        assert store.next_delivery_at() is None
        assert store.publish_event("registered_model", "created", models[0], {}) is False
        assert store.publish_event("model_version", "rolled_back", models[0], {"name": models[0]}) is True
        (claimed,) = store.claim_deliveries()
        assert (claimed.event.type, claimed.event.data) == ("model_version.rolled_back", {"name": models[0]})


def len_of_log(store: Store) -> int:
    last = 0
    while page := store.audit_log(after=last):
        last = page[-1].sequence
    return last


__all__ = ["CHAMPION", "PRODUCTION", "DeliveryConformance", "PromotionConformance"]
