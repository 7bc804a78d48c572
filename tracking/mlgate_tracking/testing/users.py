"""What every store that stands behind a server must do with users: a test class, run over each store.

Give it a fixture `store`, which other tests may share unless a server stands before it: once a store has users, it has
users.
"""

from __future__ import annotations

import uuid
from collections.abc import Callable
from typing import Any

import pytest

from mlgate_tracking.contract import ServerStore
from mlgate_tracking.entities import Fence, WebhookEvent
from mlgate_tracking.errors import (
    BadRequest,
    InvalidParameterValue,
    PermissionDenied,
    ResourceAlreadyExists,
    ResourceDoesNotExist,
    TrackingError,
)
from mlgate_tracking.governance import (
    Approval,
    ApprovalStatus,
    GateResult,
    PromotionRequest,
    Reason,
    Target,
    Verdict,
    VerdictStatus,
    broken_link,
)
from mlgate_tracking.testing.stores import at_once, fresh
from mlgate_tracking.users import ADMIN, ENGINE, Identity

CHAMPION = Target(alias="champion")
SOURCE = "s3://bucket/model"


class UserConformance:
    # --- what the tests are made of -----------------------------------------------------------------------------

    @pytest.fixture
    def root(self, store: ServerStore) -> ServerStore:
        """The store as its first user, an admin, sees it."""
        if not store.has_users():
            with pytest.raises(InvalidParameterValue, match="add an admin first"):
                store.add_user("nobody", ["ml_engineer"])
            store.add_user("root", [ADMIN], user="installer")
        assert store.has_users()
        return store.identified(Identity("root", frozenset({ADMIN})))

    @pytest.fixture
    def join(self, store: ServerStore, root: ServerStore) -> Callable[..., ServerStore]:
        """Add a user; the store as they see it."""

        def join(name: str, *roles: str) -> ServerStore:
            identity = store.identity_of(root.add_user(name, roles).token)
            assert identity is not None
            return store.identified(identity)

        return join

    @pytest.fixture
    def model(self, store: ServerStore) -> str:
        name = fresh("model")
        store.create_registered_model(name)
        return name

    def asked(self, store: ServerStore, model: str, version: int, role: str, **more: Any) -> Approval:
        """An approval that a verdict asks for, as whoever makes verdicts may put it."""
        waiting = GateResult("approval", False, (Reason("waits", False),), True, settings={"role": role})
        verdict = Verdict(
            uuid.uuid4().hex, model, version, CHAMPION, VerdictStatus.PENDING, (waiting,),
            store.holder(model, CHAMPION), digests={"policy": "p"}, created_by="somebody",
        )  # fmt: skip
        approval = Approval(
            uuid.uuid4().hex, verdict.verdict_id, model, version, role,
            starter="somebody", requested_by="somebody", **more,
        )  # fmt: skip
        store.record_verdict(verdict, [approval])
        return store.get_approval(approval.approval_id)

    def last_entry(self, store: ServerStore, action: str) -> Any:
        return [entry for entry in store.audit_log(max_results=100_000) if entry.action == action][-1]

    # --- tokens ---------------------------------------------------------------------------------------------------

    def test_a_token_says_who_its_user_is_until_it_is_replaced_or_revoked(
        self, store: ServerStore, root: ServerStore
    ) -> None:
        name, role = fresh("user"), fresh("role")
        issued = root.add_user(name, [role, "ml_engineer"])
        assert issued.user.roles == tuple(sorted([role, "ml_engineer"]))
        assert (issued.user.created_by, issued.user.revoked_at) == ("root", None)
        assert store.identity_of(issued.token) == Identity(name, frozenset({role, "ml_engineer"}))
        again = root.rotate_token(name)
        assert store.identity_of(issued.token) is None
        assert store.identity_of(again.token) == Identity(name, frozenset({role, "ml_engineer"}))
        revoked = root.revoke_user(name)
        assert revoked.revoked_at is not None
        assert store.identity_of(again.token) is None
        assert root.revoke_user(name) == revoked
        assert store.identity_of("") is None

    def test_a_token_is_shown_once_and_stands_nowhere(self, store: ServerStore, root: ServerStore) -> None:
        issued = root.add_user(fresh("user"))
        assert issued.token not in repr(issued)
        assert issued.token not in repr(root.list_users())
        assert issued.token not in repr(store.audit_log(max_results=100_000))

    def test_a_revoked_user_loses_their_roles_and_comes_back_without(
        self, store: ServerStore, root: ServerStore, join: Callable[..., ServerStore]
    ) -> None:
        name, role = fresh("user"), fresh("role")
        join(name, role)
        root.revoke_user(name)
        assert store.role_members(role) == ()
        with pytest.raises(ResourceAlreadyExists, match="was revoked"):
            root.add_user(name)
        assert store.identity_of(root.rotate_token(name).token) == Identity(name)

    def test_names_are_taken_once_and_may_not_be_anything(self, root: ServerStore) -> None:
        name = fresh("user")
        root.add_user(name)
        with pytest.raises(ResourceAlreadyExists, match="exists already"):
            root.add_user(name)
        for bad in ("", "a:b", "a b", "-rf", "a" * 251, "ä", "a\n"):
            with pytest.raises(InvalidParameterValue, match="letters, digits"):
                root.add_user(bad)
        with pytest.raises(InvalidParameterValue, match="role"):
            root.add_user(fresh("user"), [""])
        for call in (root.rotate_token, root.revoke_user):
            with pytest.raises(ResourceDoesNotExist):
                call(fresh("nobody"))

    def test_users_are_listed_with_their_roles(self, store: ServerStore, root: ServerStore) -> None:
        name, role = fresh("user"), fresh("role")
        root.add_user(name, [role])
        root.grant_role("ml_engineer", name)
        listed = {user.name: user for user in root.list_users()}
        assert listed[name].roles == tuple(sorted(["ml_engineer", role]))
        assert ADMIN in listed["root"].roles
        assert list(listed) == sorted(listed)

    # --- who may do what ------------------------------------------------------------------------------------------

    def test_only_an_admin_changes_users_roles_protection_and_webhooks(
        self, join: Callable[..., ServerStore], model: str
    ) -> None:
        name = fresh("user")
        user = join(name, "ml_engineer", ENGINE)
        calls: list[Callable[[], object]] = [
            lambda: user.add_user(fresh("user")),
            lambda: user.rotate_token("root"),
            lambda: user.revoke_user("root"),
            lambda: user.grant_role(ADMIN, name),
            lambda: user.revoke_role("ml_engineer", "root"),
            lambda: user.protect_model(model),
            lambda: user.create_webhook("hook", "https://example.org", [WebhookEvent("model_version", "created")]),
        ]
        for call in calls:
            with pytest.raises(PermissionDenied, match=f"{name}.*role admin"):
                call()
        assert user.rotate_token(name).user.name == name
        assert user.whoami() == Identity(name, frozenset({"ml_engineer", ENGINE}))

    def test_a_step_has_no_say_in_users(self, store: ServerStore) -> None:
        step = store.open_step_run(fresh("step"), experiment_id=store.create_experiment(fresh("experiment")))
        fenced = store.fenced(Fence(step.run.info.run_id, step.attempt))
        for call in (
            lambda: fenced.add_user("mallory", [ADMIN]),
            lambda: fenced.rotate_token("root"),
            lambda: fenced.revoke_user("root"),
            fenced.list_users,
            fenced.whoami,
        ):
            with pytest.raises(PermissionDenied):
                call()

    def test_the_last_admin_stays(
        self, store: ServerStore, root: ServerStore, join: Callable[..., ServerStore]
    ) -> None:
        with pytest.raises(BadRequest, match="last admin"):
            root.revoke_user("root")
        with pytest.raises(BadRequest, match="last admin"):
            root.revoke_role(ADMIN, "root")
        first, second = fresh("first"), fresh("second")
        join(first, ADMIN)
        views = [join(second, ADMIN), root]
        root.grant_role(ADMIN, fresh("without-a-token"))
        # Each sends the other away at the same moment.
        root.revoke_user(first)
        outcomes = at_once(lambda: views[0].revoke_role(ADMIN, "root"), lambda: views[1].revoke_role(ADMIN, second))
        admins = {one.user for one in store.role_members(ADMIN)} & {"root", second}
        assert len([outcome for outcome in outcomes if isinstance(outcome, TrackingError)]) == 1
        assert len(admins) == 1
        store.grant_role(ADMIN, "root")

    # --- in whose name --------------------------------------------------------------------------------------------

    def test_whatever_name_comes_with_a_call_the_users_own_is_recorded(
        self, store: ServerStore, join: Callable[..., ServerStore], model: str
    ) -> None:
        name = fresh("user")
        alice = join(name)
        experiment = store.create_experiment(fresh("experiment"))
        assert alice.create_run(experiment, user_id="bob").info.user_id == name
        step = alice.open_step_run(fresh("step"), experiment_id=experiment, user_id="bob")
        assert step.run.info.user_id == name
        assert alice.create_model_version(model, SOURCE).user_id == name
        alice.create_model_version(model, SOURCE)
        made = alice.promote(PromotionRequest(model, 1, CHAMPION, user="bob"))
        alice.promote(PromotionRequest(model, 2, CHAMPION))
        intent = alice.intend_rollback(model, user="bob")
        done = alice.finish_rollback(intent.intent_id, user="bob")
        assert {made.user, intent.user, done.user} == {name}
        alice.set_registered_model_alias(model, "champion", 2)
        assert store.search_promotions(model, max_results=1).items[0].user == name
        verdict = alice.get_verdict(self.asked(alice, model, 1, "role").verdict_id)
        assert verdict.created_by == name
        entries = [entry for entry in store.audit_log(max_results=100_000) if entry.model == model]
        assert {entry.user for entry in entries} == {name}
        assert len(entries) == 7

    def test_nobody_answers_for_a_role_by_giving_another_name(
        self, store: ServerStore, root: ServerStore, join: Callable[..., ServerStore], model: str
    ) -> None:
        role = fresh("role")
        alice, mallory = fresh("alice"), fresh("mallory")
        views = {name: join(name) for name in (alice, mallory)}
        root.grant_role(role, alice)
        store.create_model_version(model, SOURCE)
        approval = self.asked(store, model, 1, role)
        with pytest.raises(PermissionDenied, match=mallory):
            views[mallory].decide_approval(approval.approval_id, alice, True)
        made = views[alice].decide_approval(approval.approval_id, "", True)
        assert (made.status, made.decisions[0].user) == (ApprovalStatus.APPROVED, alice)

    @pytest.mark.parametrize("how", ["started the run", "registered the version", "started the step that did it"])
    def test_four_eyes_go_by_what_the_store_knows_not_by_what_the_verdict_says(
        self, store: ServerStore, root: ServerStore, join: Callable[..., ServerStore], model: str, how: str
    ) -> None:
        role = fresh("role")
        alice, carol = fresh("alice"), fresh("carol")
        view, other = join(alice, role), join(carol, role)
        experiment = store.create_experiment(fresh("experiment"))
        if how == "started the run":
            store.create_model_version(model, SOURCE, run_id=view.create_run(experiment).info.run_id)
        elif how == "registered the version":
            strangers = store.create_run(experiment, user_id="bob").info.run_id
            view.create_model_version(model, SOURCE, run_id=strangers)
        else:
            step = view.open_step_run(fresh("step"), experiment_id=experiment)
            inside = store.fenced(Fence(step.run.info.run_id, step.attempt))
            inner = inside.create_run(experiment, user_id="bob")
            inside.create_model_version(model, SOURCE, run_id=inner.info.run_id)
        approval = self.asked(view, model, 1, role)
        assert (approval.starter, approval.requested_by) == ("somebody", alice)
        with pytest.raises(PermissionDenied, match="somebody else has to approve"):
            view.decide_approval(approval.approval_id, alice, True)
        assert other.decide_approval(approval.approval_id, carol, True).status is ApprovalStatus.APPROVED

    def test_an_engine_speaks_for_people_and_the_audit_log_says_so(
        self, store: ServerStore, root: ServerStore, join: Callable[..., ServerStore], model: str
    ) -> None:
        role, service = fresh("role"), fresh("airflow")
        engine = join(service, ENGINE)
        root.grant_role(role, "alice")
        store.create_model_version(model, SOURCE)
        approval = self.asked(engine, model, 1, role)
        with pytest.raises(PermissionDenied, match="bob"):
            engine.decide_approval(approval.approval_id, "bob", True)
        engine.decide_approval(approval.approval_id, "alice", True)
        entry = self.last_entry(store, "approval.approved")
        assert (entry.user, entry.data["through"]) == ("alice", service)
        assert engine.promote(PromotionRequest(model, 1, CHAMPION, user="alice")).user == "alice"
        assert self.last_entry(store, "promotion.done").data["through"] == service
        experiment = store.create_experiment(fresh("experiment"))
        assert engine.open_step_run(fresh("k"), experiment_id=experiment, user_id="bob").run.info.user_id == "bob"
        # Without a name, it is the service itself.
        assert engine.create_run(experiment).info.user_id == service

    def test_the_audit_log_tells_of_users_and_holds_together(self, store: ServerStore, root: ServerStore) -> None:
        name = fresh("user")
        root.add_user(name, ["ml_engineer"])
        root.rotate_token(name)
        root.revoke_user(name)
        told = [entry for entry in store.audit_log(max_results=100_000) if entry.data.get("name") == name]
        assert [(entry.user, entry.action) for entry in told] == [
            ("root", "user.added"),
            ("root", "user.token_rotated"),
            ("root", "user.revoked"),
        ]
        assert broken_link(store.audit_log(max_results=100_000)) is None


__all__ = ["UserConformance"]
