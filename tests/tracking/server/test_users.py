"""A server that knows its users: who gets in, and as whom."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import pytest

from mlgate_tracking.client import RestStore
from mlgate_tracking.errors import PermissionDenied, ResourceAlreadyExists, TemporarilyUnavailable, Unauthenticated
from mlgate_tracking.server.access import TRUST_SECONDS, Caller, Callers
from mlgate_tracking.server.app import create_app
from mlgate_tracking.server.settings import ServerSettings
from mlgate_tracking.server.tokens import StepTokens
from mlgate_tracking.store.sql import SqlStore
from mlgate_tracking.testing.inprocess import AsgiSend
from mlgate_tracking.transport import RetryPolicy
from mlgate_tracking.users import Identity
from tests.tracking.server.conftest import SECRET, Api
from tests.tracking.server.test_middleware import EXPERIMENTS, basic, bearer, opened_step


@pytest.fixture
def token(store: SqlStore) -> str:
    """The token of root, an admin, who is the only user."""
    return store.add_user("root", ["admin"]).token


def status(client, **headers) -> int:
    answer = client.get(EXPERIMENTS, headers=headers)
    if answer.status_code == 401:
        assert answer.json()["error_code"] == "UNAUTHENTICATED"
        assert answer.headers["www-authenticate"].startswith("Basic")
    return answer.status_code


# --- who gets in ----------------------------------------------------------------------------------------------------


def test_users_come_in_with_a_bearer_token_or_with_name_and_token(serve, token):
    client = serve()
    for headers in (bearer(token), basic("root", token), basic("", token)):
        assert status(client, **headers) == 200


@pytest.mark.parametrize("settings", [{}, {"access_token": "shared"}, {"require_auth": True}])
def test_a_server_with_users_takes_nobody_else(serve, token, settings):
    client = serve(**settings)
    strangers = [{}, bearer("shared"), bearer("mlgate-user.x"), bearer(token + "x"), basic("bob", token), basic("", "")]
    assert [status(client, **headers) for headers in strangers] == [401] * len(strangers)
    assert client.get("/health").status_code == 200


def test_an_open_server_closes_when_the_first_user_is_added_by_it(client):
    assert status(client) == 200
    answer = Api(client).post("/api/3.0/mlgate/users/add", name="root", roles=["admin"])
    assert status(client) == 401
    assert status(client, **bearer(answer["token"])) == 200


def test_a_server_that_wants_users_is_closed_before_the_first(serve, store):
    client = serve(require_auth=True)
    assert status(client) == 401
    assert "mlgate users add NAME --role admin" in client.get(EXPERIMENTS).json()["message"]
    by_holders = serve(require_auth=True, access_token="shared")
    assert [status(by_holders), status(by_holders, **bearer("shared"))] == [401, 200]


def test_a_token_that_was_revoked_or_replaced_through_the_server_is_worthless_at_once(serve, token):
    root = Api(serve())
    root.client.headers.update(bearer(token))
    first = root.post("/api/3.0/mlgate/users/add", name="alice")["token"]
    assert status(root.client, **bearer(first)) == 200
    second = root.post("/api/3.0/mlgate/users/rotate", name="alice")["token"]
    assert [status(root.client, **bearer(each)) for each in (first, second)] == [401, 200]
    root.post("/api/3.0/mlgate/users/revoke", name="alice")
    assert status(root.client, **bearer(second)) == 401


def test_what_another_server_changed_is_seen_after_a_moment(store, token):
    now = [100.0]
    callers = Callers(store, ServerSettings(), StepTokens(SECRET, 60), clock=lambda: now[0])
    header = bearer(token)["authorization"]
    known = Caller(identity=Identity("root", frozenset({"admin"})))
    assert callers.known(header) is None
    assert callers.find(header) == callers.known(header) == known
    store.grant_role("ml_engineer", "root")
    assert callers.known(header) == known
    now[0] += TRUST_SECONDS
    assert callers.known(header) is None
    assert callers.find(header).identity == Identity("root", frozenset({"admin", "ml_engineer"}))


def test_an_open_server_does_not_ask_the_database_for_every_request(store):
    now, asked = [100.0], []

    class Counted:
        def has_users(self) -> bool:
            asked.append(1)
            return store.has_users()

        identity_of = store.identity_of

    callers = Callers(Counted(), ServerSettings(), StepTokens(SECRET, 60), clock=lambda: now[0])  # type: ignore[arg-type]
    for _ in range(5):
        assert (callers.known("") or callers.find("")) == Caller()
    assert len(asked) == 1
    store.add_user("root", ["admin"])
    now[0] += TRUST_SECONDS
    assert callers.known("") is None
    with pytest.raises(Unauthenticated):
        callers.find("")


def test_a_database_that_is_away_is_no_reason_to_let_anybody_in(serve, store, token, monkeypatch):
    def away(_token: str) -> None:
        raise TemporarilyUnavailable("the database is away, try again")

    client = serve()
    monkeypatch.setattr(store, "identity_of", away)
    answer = client.get(EXPERIMENTS, headers=bearer(token))
    assert (answer.status_code, answer.json()["error_code"]) == (503, "TEMPORARILY_UNAVAILABLE")
    assert "www-authenticate" not in answer.headers


# --- as whom --------------------------------------------------------------------------------------------------------


def test_runs_of_mlflows_clients_belong_to_the_user(serve, token):
    root = Api(serve())
    root.client.headers.update(bearer(token))
    run = root.post("runs/create", experiment_id="0", user_id="bob")["run"]
    assert run["info"]["user_id"] == "root"


def test_a_step_keeps_to_its_run_and_needs_no_user(serve, token):
    client = serve()
    client.headers.update(bearer(token))
    step, other = opened_step(client), Api(client).run()
    client.headers.update(bearer(step["token"]))
    for path, fields, expected in (
        ("/api/2.0/mlflow/runs/set-tag", {"run_id": step["run_id"], "key": "k", "value": "v"}, 200),
        ("/api/2.0/mlflow/runs/set-tag", {"run_id": other, "key": "k", "value": "v"}, 403),
        ("/api/3.0/mlgate/users/add", {"name": "mallory", "roles": ["admin"]}, 403),
        ("/api/3.0/mlgate/roles/grant", {"role": "admin", "member": "mallory"}, 403),
    ):
        assert client.post(path, json=fields).status_code == expected, path


def test_users_and_webhooks_are_for_admins(serve, store, token):
    client = serve()
    client.headers.update(bearer(store.add_user("alice", ["ml_engineer", "engine"]).token))
    hook = {"name": "hook", "url": "https://example.org", "events": [{"entity": "MODEL_VERSION", "action": "CREATED"}]}
    for method, path, fields in (
        ("POST", "/api/3.0/mlgate/users/add", {"name": "mallory"}),
        ("POST", "/api/3.0/mlgate/users/rotate", {"name": "root"}),
        ("POST", "/api/3.0/mlgate/users/revoke", {"name": "root"}),
        ("POST", "/api/3.0/mlgate/roles/grant", {"role": "admin", "member": "alice"}),
        ("POST", "/api/3.0/mlgate/roles/revoke", {"role": "admin", "member": "root"}),
        ("POST", "/api/2.0/mlflow/webhooks", hook),
        ("GET", "/api/2.0/mlflow/webhooks", {}),
    ):
        assert Api(client).refused(method, path, **fields) == (403, "PERMISSION_DENIED"), path
    assert Api(client).get("/api/3.0/mlgate/users/me")["identity"] == {
        "user": "alice",
        "roles": ["engine", "ml_engineer"],
    }


def test_the_access_log_names_the_user(serve, token, caplog):
    client = serve(access_log=True)
    with caplog.at_level("INFO", "mlgate_tracking.access"):
        client.get(EXPERIMENTS, headers=bearer(token))
    assert '"user": "root"' in caplog.text
    assert token not in caplog.text


# --- mlgate's own client ----------------------------------------------------------------------------------------------


@pytest.fixture
def connect(store: SqlStore, tmp_path) -> Iterator[Callable[[str | None], RestStore]]:
    """Mlgate's client of the in-process server, with somebody's token."""
    app = create_app(store, ServerSettings(artifacts_destination=str(tmp_path / "artifacts")))
    with AsgiSend(app) as send:
        yield lambda token: RestStore("http://in-process", send=send, token=token, retry=RetryPolicy(retries=0))


def test_the_client_manages_users(connect, token, store):
    root = connect(token)
    assert root.whoami() == Identity("root", frozenset({"admin"}))
    issued = root.add_user("alice", ["ml_engineer"])
    assert issued.user.roles == ("ml_engineer",)
    assert issued.user.created_by == "root"
    with pytest.raises(ResourceAlreadyExists):
        root.add_user("alice")
    alice = connect(issued.token)
    assert alice.whoami() == Identity("alice", frozenset({"ml_engineer"}))
    with pytest.raises(PermissionDenied):
        alice.add_user("mallory")
    alice = connect(alice.rotate_token("alice").token)
    assert [user.name for user in alice.list_users()] == ["alice", "root"]
    assert root.revoke_user("alice").revoked_at is not None
    with pytest.raises(Unauthenticated):
        alice.whoami()


def test_the_client_is_nobody_in_particular_where_anybody_is_welcome(connect):
    assert connect(None).whoami() is None
